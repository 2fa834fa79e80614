//! The tables that a job fills: one per INSERT, one for its late rows, one for the records that could not be used.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::emission::added_fields;
use super::input::OutputRef;
use super::rows::window_time_type;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::sink::limits::Limits;
use crate::sink::{COUNT, IS_DELETED, OutputTable, POSITION, ROW_HASH, ROW_NUMBER, TableForm, VERSION};
use crate::sql::catalog::Table;
use crate::sql::pipeline::{Pipeline, Work};
use crate::sql::query::Query;
use crate::window::aggregate::{WINDOW_COLUMNS, WindowPlan};
use crate::window::stage::output_schema;

/// All outputs of a job, by number.
#[derive(Debug)]
pub struct Outputs {
    /// What each output is.
    pub tables: Vec<OutputTable>,
    mains: Vec<usize>,
    lates: Vec<Option<(usize, Vec<usize>)>>,
    dead_letters: usize,
    /// What the columns of each output cannot hold, once its sink is prepared.
    limits: Vec<Arc<Limits>>,
}

impl Outputs {
    /// The outputs of a query.
    pub fn new(query: &Query, job: &str) -> Result<Self> {
        let mut outputs =
            Self { tables: Vec::new(), mains: Vec::new(), lates: Vec::new(), dead_letters: 0, limits: Vec::new() };
        for pipeline in &query.pipelines {
            outputs.mains.push(outputs.tables.len());
            let main = main_table(pipeline, job)?;
            let late = match &pipeline.work {
                Work::Window { lane, .. } => Some(late_table(pipeline, lane, &main, job)),
                _ => None,
            };
            outputs.tables.push(main);
            let late = late.map(|(table, columns)| {
                outputs.tables.push(table);
                (outputs.tables.len() - 1, columns)
            });
            outputs.lates.push(late);
        }
        outputs.dead_letters = outputs.tables.len();
        let target = query.pipelines.iter().find_map(|pipeline| pipeline.target.as_ref());
        outputs.tables.push(dead_letter_table(target, job));
        outputs.limits = vec![Arc::default(); outputs.tables.len()];
        Ok(outputs)
    }

    /// Notes what the columns of an output cannot hold.
    pub fn set_limits(&mut self, number: usize, limits: Limits) {
        self.limits[number] = Arc::new(limits);
    }

    /// Where the rows of a pipeline go.
    pub fn of_pipeline(&self, number: usize) -> OutputRef {
        self.reference(self.mains[number])
    }

    /// Where the late rows of a pipeline go, and which columns of the aggregation's input they keep.
    pub fn late_of_pipeline(&self, number: usize) -> (OutputRef, Vec<usize>) {
        let (output, columns) = self.lates[number].clone().unwrap_or((self.dead_letters, Vec::new()));
        (self.reference(output), columns)
    }

    /// Where records go that cannot be used.
    pub fn dead_letters(&self) -> OutputRef {
        self.reference(self.dead_letters)
    }

    fn reference(&self, number: usize) -> OutputRef {
        let (schema, limits) = (Arc::clone(&self.tables[number].schema), Arc::clone(&self.limits[number]));
        OutputRef { number, schema, limits }
    }
}

fn main_table(pipeline: &Pipeline, job: &str) -> Result<OutputTable> {
    let source = &pipeline.table;
    let mut fields: Vec<Field> = pipeline.output.fields().iter().map(|field| field.as_ref().clone()).collect();
    let visible = fields.len();
    let has = |name: &str| pipeline.output.field_with_name(name).is_ok();
    let event_time = source.watermark.as_ref().map(|it| it.column.clone()).filter(|name| has(name));
    let key: Vec<_> = source.primary_key.iter().filter(|name| has(name)).cloned().collect();
    let options = target_options(pipeline);
    let comments = source.comments.clone();
    let (form, key, event_time, comment) = match &pipeline.work {
        Work::Append(_) => {
            fields.extend(position_fields(&fields));
            (TableForm::Log, key, event_time, format!("every change event of {}", source.name))
        }
        Work::Multiset(_) => {
            fields.extend([Field::new(ROW_HASH, DataType::UInt64, false), Field::new(COUNT, DataType::Int8, false)]);
            fields.extend(position_fields(&fields));
            let key = vec![ROW_HASH.to_owned()];
            (TableForm::Multiset, key, event_time, format!("the current rows of {}, which has no key", source.name))
        }
        Work::Mirror { key: places, .. } => {
            fields
                .extend([Field::new(VERSION, DataType::UInt64, false), Field::new(IS_DELETED, DataType::UInt8, false)]);
            let key = places.iter().map(|&place| pipeline.output.field(place).name().clone()).collect();
            (TableForm::Mirror, key, event_time, format!("the current rows of {}", source.name))
        }
        Work::Window { lane, key, identity, .. } => {
            let key = key_names(&fields, identity.as_ref().map_or(key, |it| &it.key));
            fields = result_fields(&fields, lane, &options);
            let time = has("window_start").then(|| "window_start".to_owned());
            let comment = format!("results of {} over {}", lane.windows, source.name);
            match identity {
                None => (TableForm::Results, key, time, comment),
                Some(identity) => {
                    let added = added_fields(identity.numbered);
                    refuse_own_columns(pipeline, &fields, &added)?;
                    fields.extend(added);
                    let number = identity.numbered.then(|| ROW_NUMBER.to_owned());
                    (TableForm::Revised, key.into_iter().chain(number).collect(), time, comment)
                }
            }
        }
    };
    let schema = Arc::new(Schema::new(fields));
    let is_left_out = pipeline.target.as_ref().is_some_and(|target| target.columns.fields().is_empty());
    let evolves = source.open && is_left_out && matches!(form, TableForm::Log | TableForm::Mirror);
    Ok(OutputTable { options, form, schema, visible, key, event_time, comments, comment, evolves, job: job.to_owned() })
}

/// Columns that are Highwater's own in the table.
fn refuse_own_columns(pipeline: &Pipeline, fields: &[Field], own: &[Field]) -> Result<()> {
    match fields.iter().find(|field| own.iter().any(|own| own.name() == field.name())) {
        None => Ok(()),
        Some(field) => Err(Error::config(format!(
            "table \"{}\": the column \"{}\" is Highwater's own where results are early or corrected; give yours another name with AS",
            pipeline.target_name(),
            field.name()
        ))),
    }
}

/// Result columns: a window always has bounds, in ClickHouse with whole seconds where all windows have them.
fn result_fields(fields: &[Field], lane: &WindowPlan, options: &Options) -> Vec<Field> {
    let is_clickhouse = options.get("connector") == Some("clickhouse");
    let result_field = |field: &Field| match field.name().as_str() {
        "window_start" | "window_end" if is_clickhouse => {
            let data_type = window_time_type(lane.windows, field.data_type());
            field.clone().with_data_type(data_type).with_nullable(false)
        }
        name => field.clone().with_nullable(field.is_nullable() && !WINDOW_COLUMNS.contains(&name)),
    };
    fields.iter().map(result_field).collect()
}

/// The sort key of results: the window's bounds first, then the other group keys that can be sorted by.
fn key_names(fields: &[Field], key: &[usize]) -> Vec<String> {
    let sortable = |field: &&Field| !field.data_type().is_floating() && !field.data_type().is_nested();
    let keys: Vec<_> = key.iter().map(|&at| &fields[at]).filter(sortable).map(|field| field.name().clone()).collect();
    let is_window = |name: &&String| WINDOW_COLUMNS.contains(&name.as_str());
    keys.iter().filter(is_window).chain(keys.iter().filter(|name| !is_window(name))).cloned().collect()
}

fn late_table(pipeline: &Pipeline, lane: &WindowPlan, main: &OutputTable, job: &str) -> (OutputTable, Vec<usize>) {
    let input = output_schema(&lane.after, &lane.windowed);
    let kept: Vec<usize> =
        (0..input.fields().len()).filter(|&at| !WINDOW_COLUMNS.contains(&input.field(at).name().as_str())).collect();
    let bound = window_time_type(lane.windows, &DataType::Timestamp(TimeUnit::Millisecond, None));
    let bound = match main.options.get("connector") {
        Some("clickhouse") => bound,
        _ => DataType::Timestamp(TimeUnit::Millisecond, None),
    };
    let mut fields = vec![Field::new("window_start", bound.clone(), false), Field::new("window_end", bound, false)];
    fields.extend(kept.iter().map(|&at| input.field(at).clone()));
    for (name, data_type) in [("sign", DataType::Int8), ("reason", DataType::Utf8)] {
        let taken = fields.iter().any(|field| field.name() == name);
        fields.push(Field::new(if taken { format!("_{name}") } else { name.to_owned() }, data_type, false));
    }
    fields.extend(position_fields(&fields));
    let table = OutputTable {
        options: beside(&main.options, "late-table", "late"),
        form: TableForm::Late,
        visible: fields.len(),
        schema: Arc::new(Schema::new(fields)),
        key: vec!["window_start".into()],
        event_time: Some("window_start".into()),
        comments: BTreeMap::from([("sign".into(), "1 for a row that came late, -1 for a row taken back late".into())]),
        comment: format!("rows of {} that came after their windows had closed", pipeline.table.name),
        evolves: false,
        job: job.to_owned(),
    };
    (table, kept)
}

fn dead_letter_table(target: Option<&Arc<Table>>, job: &str) -> OutputTable {
    let text = |name: &str, nullable: bool| Field::new(name, DataType::Utf8, nullable);
    let mut fields: Vec<Field> = position_fields(&[]).collect();
    fields.extend([
        Field::new("_timestamp", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        text("reason", false),
        text("message", false),
        text("key", true),
        text("value", true),
        text("_job", false),
        text("_table", false),
    ]);
    let options = match target {
        Some(table) => beside(&table.options, "dead-letter-table", "dead_letters"),
        None => Options::new("dead_letters", BTreeMap::from([("connector".to_owned(), "print".to_owned())])),
    };
    OutputTable {
        options,
        form: TableForm::DeadLetters,
        visible: fields.len(),
        schema: Arc::new(Schema::new(fields)),
        key: Vec::new(),
        event_time: None,
        comments: BTreeMap::from([("value".into(), "the record's value, cut at 64 KiB".into())]),
        comment: "records that could not be used, with their positions and the reasons".into(),
        evolves: false,
        job: job.to_owned(),
    }
}

/// The place of a companion table: as the option says, or beside the main one. All queries of a database share its
/// dead letters; late rows have the columns of their query, so each has its own table.
fn beside(main: &Options, option: &str, suffix: &str) -> Options {
    let mut values: BTreeMap<String, String> = main.all().clone();
    let given = values.remove(option);
    // They are about the columns and rows of the main table.
    values.retain(|name, _| !name.starts_with("clickhouse.") && name != "deletes");
    let shared = suffix == "dead_letters";
    match main.get("connector") {
        Some("clickhouse") => {
            let table = main.get("table").unwrap_or(main.table());
            let default = match (table.split_once('.'), shared) {
                (Some((database, _)), true) => format!("{database}.{suffix}"),
                (None, true) => suffix.to_owned(),
                (_, false) => format!("{table}_{suffix}"),
            };
            values.insert("table".into(), given.unwrap_or(default));
        }
        Some("filesystem") => {
            let path = main.get("path").unwrap_or_default();
            values.insert("path".into(), given.unwrap_or_else(|| beside_path(path, suffix)));
        }
        _ => {}
    }
    Options::new(format!("{}_{suffix}", main.table()), values)
}

/// `out/x.json` → `out/x_late.json`; a folder `out/x/` → `out/x_late/`.
fn beside_path(path: &str, suffix: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    let (folder, name) = trimmed.rsplit_once('/').map_or((None, trimmed), |(folder, name)| (Some(folder), name));
    let name = match name.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem}_{suffix}.{extension}"),
        None => format!("{name}_{suffix}"),
    };
    let slash = if path.ends_with('/') { "/" } else { "" };
    folder.map_or_else(|| format!("{name}{slash}"), |folder| format!("{folder}/{name}{slash}"))
}

fn target_options(pipeline: &Pipeline) -> Options {
    match &pipeline.target {
        Some(table) => table.options.clone(),
        None => Options::new("print", BTreeMap::from([("connector".to_owned(), "print".to_owned())])),
    }
}

/// The position columns that `fields` lack.
fn position_fields(fields: &[Field]) -> impl Iterator<Item = Field> + use<> {
    let present: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
    let types = [DataType::Utf8, DataType::Int32, DataType::Int64];
    POSITION
        .into_iter()
        .zip(types)
        .filter(move |(name, _)| !present.iter().any(|it| it == name))
        .map(|(name, data_type)| Field::new(name, data_type, false))
}
