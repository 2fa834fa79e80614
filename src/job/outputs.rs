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
use crate::sql::define::catalog::Table;
use crate::sql::plan::pipeline::{Pipeline, Windowed, Work};
use crate::sql::query::Query;
use crate::window::aggregate::{InputId, WINDOW_COLUMNS, WindowPlan};
use crate::window::stage::output_schema;

/// Which column of the rows before an aggregation each column of a late table is; none where another input has it.
type LateColumns = Vec<Option<usize>>;

/// All outputs of a job, by number.
#[derive(Debug)]
pub struct Outputs {
    /// What each output is.
    pub tables: Vec<OutputTable>,
    mains: Vec<usize>,
    /// The late table of each pipeline, and for each input, which of its columns the table's are.
    lates: Vec<Option<(usize, Vec<LateColumns>)>>,
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
                Work::Window(windowed) => Some(late_table(pipeline, windowed, &main, job)),
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

    /// Where the late rows of an input go, and which columns of what it aggregates they are.
    pub fn late_of_input(&self, id: InputId) -> (OutputRef, LateColumns) {
        match &self.lates[id.pipeline] {
            Some((output, columns)) => (self.reference(*output), columns[id.input].clone()),
            None => (self.dead_letters(), Vec::new()),
        }
    }

    /// The number of a pipeline's late table.
    pub fn late_of_pipeline(&self, number: usize) -> Option<usize> {
        self.lates[number].as_ref().map(|(output, _)| *output)
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
    let source = pipeline.table();
    let is_alone = pipeline.feeds.len() == 1;
    let names = pipeline.table_names().join(", ");
    let mut fields: Vec<Field> = pipeline.output.fields().iter().map(|field| field.as_ref().clone()).collect();
    let visible = fields.len();
    let has = |name: &str| pipeline.output.field_with_name(name).is_ok();
    let event_time = source.watermark.as_ref().map(|it| it.column.clone()).filter(|name| has(name));
    let key: Vec<_> = source.primary_key.iter().filter(|name| is_alone && has(name)).cloned().collect();
    let options = target_options(pipeline);
    let comments = source.comments.clone();
    let (form, key, event_time, comment) = match &pipeline.work {
        Work::Append => {
            fields.extend(position_fields(&fields));
            (TableForm::Log, key, event_time, format!("every change event of {names}"))
        }
        Work::Multiset => {
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
        Work::Window(windowed) => {
            let identity = windowed.identity.as_ref();
            let key = key_names(&fields, identity.map_or(&windowed.key, |it| &it.key));
            fields = result_fields(&fields, windowed, &options);
            let is_time = |field: &Field| field.name() == "window_start" && !field.is_nullable();
            let time = fields.iter().any(is_time).then(|| "window_start".to_owned());
            let comment = format!("results of {} over {names}", windows_in_words(windowed));
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
    let evolves = source.open && is_alone && is_left_out && matches!(form, TableForm::Log | TableForm::Mirror);
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

/// The windows of a query, each kind once.
fn windows_in_words(windowed: &Windowed) -> String {
    let mut words: Vec<String> = Vec::new();
    for input in &windowed.inputs {
        let word = input.windows.to_string();
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(", ")
}

/// Result columns: the bounds of windows are in ClickHouse whole seconds where all windows have them.
fn result_fields(fields: &[Field], windowed: &Windowed, options: &Options) -> Vec<Field> {
    let is_clickhouse = options.get("connector") == Some("clickhouse");
    let result_field = |field: &Field| match field.name().as_str() {
        "window_start" | "window_end" if is_clickhouse => {
            field.clone().with_data_type(window_time_type(windowed.in_whole_seconds(), field.data_type()))
        }
        _ => field.clone(),
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

/// A late row has the columns that the aggregation would have read. Those of several inputs share the table: columns of one name
/// and type are one.
fn late_table(
    pipeline: &Pipeline,
    windowed: &Windowed,
    main: &OutputTable,
    job: &str,
) -> (OutputTable, Vec<LateColumns>) {
    let is_fed = |input: usize| windowed.nested(input).is_none();
    let (columns, kept) = late_columns(&windowed.inputs, is_fed);
    let whole = windowed.in_whole_seconds();
    let bound = window_time_type(whole, &DataType::Timestamp(TimeUnit::Millisecond, None));
    let bound = match main.options.get("connector") {
        Some("clickhouse") => bound,
        _ => DataType::Timestamp(TimeUnit::Millisecond, None),
    };
    let mut fields = vec![Field::new("window_start", bound.clone(), false), Field::new("window_end", bound, false)];
    fields.extend(columns);
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
        comment: format!("rows of {} that came after their windows had closed", pipeline.table_names().join(", ")),
        evolves: false,
        job: job.to_owned(),
    };
    (table, kept)
}

fn late_columns(inputs: &[Arc<WindowPlan>], is_fed: impl Fn(usize) -> bool) -> (Vec<Field>, Vec<LateColumns>) {
    let mut fields: Vec<Field> = Vec::new();
    let mut kept: Vec<LateColumns> = Vec::new();
    for (number, plan) in inputs.iter().enumerate() {
        if !is_fed(number) {
            // The rows of closed windows are never late.
            kept.push(LateColumns::new());
            continue;
        }
        let input = output_schema(&plan.after, &plan.windowed);
        let mut columns: LateColumns = vec![None; fields.len()];
        let own = input.fields().iter().enumerate();
        for (at, field) in own.filter(|(_, field)| !WINDOW_COLUMNS.contains(&field.name().as_str())) {
            let is_same = |place: &usize| {
                let known = &fields[*place];
                columns[*place].is_none() && known.name() == field.name() && known.data_type() == field.data_type()
            };
            let place = (0..fields.len()).find(is_same).filter(|_| inputs.len() > 1);
            match place {
                Some(place) => columns[place] = Some(at),
                None => {
                    let is_taken = |name: &String| fields.iter().any(|field| field.name() == name);
                    let numbered = (2..).map(|number| format!("{}_{number}", field.name()));
                    let mut names = [field.name().clone()].into_iter().chain(numbered);
                    let name = match inputs.len() {
                        1 => field.name().clone(),
                        _ => names.find(|name| !is_taken(name)).unwrap_or_default(),
                    };
                    fields.push(field.as_ref().clone().with_name(name));
                    columns.push(Some(at));
                }
            }
        }
        kept.push(columns);
    }
    kept.iter_mut().for_each(|columns| columns.resize(fields.len(), None));
    if inputs.len() > 1 {
        fields = fields.into_iter().map(|field| field.with_nullable(true)).collect();
    }
    (fields, kept)
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
        Some("kafka") => {
            let topic = main.get("topic").unwrap_or(main.table());
            let default = if shared { suffix.to_owned() } else { format!("{topic}_{suffix}") };
            values.insert("topic".into(), given.unwrap_or(default));
            values.remove("key.fields");
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
