//! What the lanes of one table do: which columns they decode, which queries they feed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use datafusion::arrow::array::{Array, UInt32Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::alignment::Alignment;
use super::derived::{Derived, TableDecoder};
use super::keeping::Keeping;
use super::letters::Letters;
use super::outputs::Outputs;
use super::scan::{Scan, ScanColumn};
use crate::change::{ChangeBatch, DeadReason, Op};
use crate::connector::SNAPSHOT;
use crate::error::{Error, Result};
use crate::format::{self, DecodeSpec};
use crate::sink::limits::Limits;
use crate::source::RawBatch;
use crate::sql::define::catalog::{TRANSACTION_ID, TRANSACTION_PATH, Table};
use crate::sql::define::metadata::MetadataOf;
use crate::sql::plan::pipeline::{Feed, Pipeline, Windowed, Work};
use crate::sql::plan::relation::Reading;
use crate::state::images::is_unwrapped;
use crate::state::{BeforeImages, Memory};
use crate::window::aggregate::{InputId, WindowPlan};
use crate::window::assigner::Windows;
use crate::window::calendar::CALENDAR_YEARS;
use crate::window::stage::Stage;

/// An output as a lane knows it.
#[derive(Debug, Clone)]
pub struct OutputRef {
    /// Its number in the job.
    pub number: usize,
    /// The columns of its rows.
    pub schema: SchemaRef,
    /// What they cannot hold.
    pub limits: Arc<Limits>,
}

/// The plan of all lanes that read one table.
#[derive(Debug)]
pub struct InputPlan {
    /// The table.
    pub table: Arc<Table>,
    /// What is decoded, for all queries together; with the columns that are derived.
    pub decode: DecodeSpec,
    /// What of that the records themselves have.
    decoded: DecodeSpec,
    derived: Option<Arc<Derived>>,
    /// Where the event time is, when a query has windows.
    pub event_time: Option<EventTimeColumn>,
    /// Whether the rows of a snapshot are left out.
    pub without_snapshot: bool,
    /// Whether windows are of the time at which records are read.
    pub reads_clock: bool,
    /// Whether a query asks for the positions of rows.
    pub positions: bool,
    /// The queries that read the table, a query several times if several inputs of it do.
    pub pipelines: Vec<LanePipeline>,
    /// Where records go that cannot be used.
    pub dead_letters: OutputRef,
    /// The job's name.
    pub job: String,
    /// How many partitions the table has now.
    pub partitions: AtomicUsize,
    /// What kept rows may take of memory.
    pub memory: Option<Arc<Memory>>,
    /// Its partitions and those that they wait for, when a query has windows.
    pub alignment: Option<Arc<Alignment>>,
}

/// The event time of a table. Milliseconds.
#[derive(Debug)]
pub struct EventTimeColumn {
    /// What it is taken from.
    pub column: ScanColumn,
    /// How far behind the greatest event time the clock stays.
    pub delay: i64,
    /// How far ahead of its broker timestamp an event time may be.
    pub max_future: i64,
    /// What the windows' bounds can be in the tables that they go to.
    pub range: RangeInclusive<i64>,
}

/// A table's way into a query.
#[derive(Debug, Clone)]
pub struct FeedOf {
    /// The query's number in the job.
    pub number: usize,
    /// The query.
    pub pipeline: Arc<Pipeline>,
    /// Which of its feeds.
    pub feed: usize,
}

impl FeedOf {
    /// All of a query.
    pub fn all(number: usize, pipeline: &Arc<Pipeline>) -> impl Iterator<Item = Self> {
        let of = move |feed| Self { number, pipeline: Arc::clone(pipeline), feed };
        (0..pipeline.feeds.len()).map(of)
    }

    /// What is read, and what is done to the rows.
    pub fn feed(&self) -> &Feed {
        &self.pipeline.feeds[self.feed]
    }
}

/// A query on a lane, or a part of it.
#[derive(Debug)]
pub struct LanePipeline {
    /// Its number in the job.
    pub number: usize,
    /// The columns that it scans.
    pub scan: Scan,
    /// What it does.
    pub work: LaneWork,
}

/// What a query does on a lane.
#[derive(Debug)]
pub enum LaneWork {
    /// Rows are only added.
    Append {
        /// Filters and projections.
        stages: Vec<Stage>,
        /// Other branches of a `UNION ALL` over the same table.
        more: Vec<(Scan, Vec<Stage>)>,
        /// Where the rows go.
        output: OutputRef,
    },
    /// Each row replaces the one with its key.
    Mirror {
        /// Filters and projections.
        stages: Vec<Stage>,
        /// Where the primary key's columns are in the output.
        key: Vec<usize>,
        /// Where the rows go.
        output: OutputRef,
    },
    /// Rows come and go.
    Multiset {
        /// Filters and projections.
        stages: Vec<Stage>,
        /// Where the rows go.
        output: OutputRef,
    },
    /// Rows are counted into windows.
    Window {
        /// For which of the query's inputs.
        input: usize,
        /// Whether they are the table's current rows, and may be taken back.
        current: bool,
        /// Filters and projections before the window.
        stages: Vec<Stage>,
        /// How.
        plan: Arc<WindowPlan>,
        /// Where late rows go.
        late: OutputRef,
        /// Which column of the aggregation's input each column of a late row is.
        late_columns: Vec<Option<usize>>,
    },
}

impl LanePipeline {
    /// The windows that it counts rows into.
    pub fn input(&self) -> Option<InputId> {
        match self.work {
            LaneWork::Window { input, .. } => Some(InputId { pipeline: self.number, input }),
            _ => None,
        }
    }

    /// Whether it counts the table's current rows into windows.
    pub fn takes_back(&self) -> bool {
        matches!(self.work, LaneWork::Window { current: true, .. })
    }
}

impl InputPlan {
    /// The plan for all that `table` feeds.
    pub fn new(table: &Arc<Table>, feeds: &[FeedOf], outputs: &Outputs, job: &str) -> Result<Self> {
        let Decoded { spec: decode, of_records: decoded, derived } = decode_spec(table, feeds)?;
        let windowed = feeds.iter().any(|feed| feed.pipeline.windowed().is_some());
        let reads_clock = windowed && table.processing_time().is_some();
        let event_time = match &table.watermark {
            Some(watermark) if windowed && !reads_clock => Some(EventTimeColumn {
                column: event_time_column(table, &watermark.column, &decode)?,
                delay: watermark.delay,
                max_future: table.options.duration("max-future", Duration::from_secs(24 * 3600))?.as_millis() as i64,
                range: representable(feeds),
            }),
            _ => None,
        };
        let mut pipelines: Vec<LanePipeline> = Vec::new();
        for of in feeds {
            let scan = Scan::new(Arc::clone(&of.feed().scan), table, &decode)?;
            match pipelines.last_mut() {
                Some(LanePipeline { number, work: LaneWork::Append { more, .. }, .. }) if *number == of.number => {
                    more.push((scan, of.feed().stages.clone()));
                }
                _ => pipelines.push(LanePipeline { number: of.number, scan, work: lane_work(of, outputs) }),
            }
        }
        let windows = feeds.iter().filter_map(|of| of.pipeline.windowed()).flat_map(|windowed| &windowed.inputs);
        // By the wall clock all partitions are at the same time.
        let longest = windows.map(|input| input.windows.longest()).max().filter(|_| !reads_clock);
        let dead_letters = outputs.dead_letters();
        let positions = pipelines.iter().any(|it| matches!(&it.work, LaneWork::Window { plan, .. } if plan.positions));
        let alignment = longest.map(|longest| Alignment::of(&table.options, longest)).transpose()?.flatten();
        Ok(Self {
            alignment,
            memory: None,
            without_snapshot: without_snapshot(table, feeds)?,
            reads_clock,
            positions,
            table: Arc::clone(table),
            decode,
            decoded,
            derived,
            event_time,
            pipelines,
            dead_letters,
            job: job.to_owned(),
            partitions: AtomicUsize::new(0),
        })
    }

    /// Columns that are declared NOT NULL are decoded as nullable, because the image of a delete may lack them. A row
    /// that exists must have them: one that does not is refused.
    pub fn refuse_missing(&self, raw: &RawBatch, changes: &mut ChangeBatch) -> Result<()> {
        let exists = |row: usize| !matches!(changes.ops[row], Op::Delete | Op::Truncate);
        let mut missing: BTreeMap<usize, &str> = BTreeMap::new();
        for (field, column) in changes.rows.schema_ref().fields().iter().zip(changes.rows.columns()) {
            let declared = self.table.columns.field_with_name(field.name()).map_err(Error::internal)?;
            if column.null_count() > 0 && !declared.is_nullable() {
                let is_key = self.table.primary_key.contains(declared.name());
                let needed = |row: usize| exists(row) || (is_key && changes.ops[row] == Op::Delete);
                // What an event leaves out because it did not change is filled in later, or refused.
                let place = changes.rows.schema_ref().index_of(field.name()).map_err(Error::internal)?;
                let left_out = |row: usize| changes.unavailable.binary_search(&(row as u32, place as u32)).is_ok();
                let nulls = (0..column.len()).filter(|&row| column.is_null(row) && needed(row) && !left_out(row));
                missing.extend(nulls.map(|row| (row, declared.name().as_str())));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut letters = Letters::new(raw, changes);
        for (&row, column) in &missing {
            letters.add(
                row,
                DeadReason::MissingField,
                format!("column \"{column}\" is NOT NULL, and the record has no value for it"),
            );
        }
        // A record of several rows is used as a whole or not at all.
        let refused: BTreeSet<i64> = missing.keys().map(|&row| changes.offsets[row]).collect();
        let is_kept = |row: &usize| !refused.contains(&changes.offsets[*row]);
        let kept = (0..changes.len()).filter(is_kept).map(|row| row as u32);
        let kept = UInt32Array::from_iter_values(kept);
        *changes = ChangeBatch { dead_letters: letters.into_letters(), ..changes.take(&kept)? };
        Ok(())
    }

    /// Whether rows are counted into windows that may be taken back.
    pub fn takes_back(&self) -> bool {
        self.pipelines.iter().any(LanePipeline::takes_back)
    }

    /// Whether changes are rows that do not say whether there was one before.
    pub fn is_unwrapped(&self) -> bool {
        is_unwrapped(&self.table.options, self.table.format())
    }

    /// A decoder for one lane.
    pub fn decoder(&self) -> Result<TableDecoder> {
        let decoder = format::decoder(&self.table.options, &self.decoded)?;
        Ok(TableDecoder::new(decoder, self.derived.clone()))
    }
}

fn without_snapshot(table: &Table, feeds: &[FeedOf]) -> Result<bool> {
    match table.options.get(SNAPSHOT) {
        None | Some("include") => Ok(false),
        Some("exclude") if feeds.iter().any(|of| of.feed().reading == Reading::Table) => Err(Error::config(format!(
            "table \"{0}\": option '{SNAPSHOT}' is 'exclude', but a query reads its current rows, which are those of the snapshot with all \
             changes since; read CHANGES({0}), or leave the option out",
            table.name
        ))),
        Some("exclude") => Ok(true),
        Some(other) => Err(table.options.invalid(SNAPSHOT, other, "'include' or 'exclude'")),
    }
}

fn event_time_column(table: &Table, name: &str, decode: &DecodeSpec) -> Result<ScanColumn> {
    ScanColumn::new(table.columns.field_with_name(name).map_err(Error::internal)?, table, decode)
}

/// The event times whose windows every target can hold: ClickHouse's DateTime, which windows of whole seconds have, is
/// of the years 1970 to 2106; calendars are of the years 1 to 9999.
fn representable(feeds: &[FeedOf]) -> RangeInclusive<i64> {
    let mut range = i64::MIN + 1..=i64::MAX;
    let mut narrow = |first: i64, last: i64| range = *range.start().max(&first)..=*range.end().min(&last);
    let windowed = feeds.iter().filter_map(|of| Some((of, of.pipeline.windowed()?)));
    for (FeedOf { pipeline, .. }, windows) in
        windowed.flat_map(|(of, windowed)| windowed.inputs.iter().map(move |input| (of, input.windows)))
    {
        if windows.is_calendar() {
            narrow(*CALENDAR_YEARS.start(), *CALENDAR_YEARS.end());
        }
        let target = pipeline.target.as_ref().and_then(|target| target.options.get("connector"));
        if windows.in_whole_seconds() && target == Some("clickhouse") {
            // The first window that does not begin too early, of those that a row is in.
            let first = windows.pane_of(0, i64::MIN).map_or(0, |pane| windows.first_start_with(pane.slice));
            let first = match windows {
                _ if first >= 0 => 0,
                Windows::Hop { .. } => windows.longest(),
                _ => windows.last_window(0).1,
            };
            narrow(first, i64::from(u32::MAX) * 1_000 - windows.longest());
        }
    }
    range
}

/// Whether the tables that are read can be decoded as they are declared.
pub fn check(pipelines: &[Arc<Pipeline>], outputs: &Outputs) -> Result<()> {
    for (table, feeds) in by_table(pipelines) {
        let plan = InputPlan::new(&table, &feeds, outputs, "check")?;
        plan.decoder()?;
        Keeping::new(&plan)?;
    }
    Ok(())
}

fn lane_work(of: &FeedOf, outputs: &Outputs) -> LaneWork {
    let output = outputs.of_pipeline(of.number);
    let Feed { input, stages, reading, .. } = of.feed();
    let current = *reading == Reading::Table;
    let (input, stages) = (*input, stages.clone());
    match &of.pipeline.work {
        Work::Append => LaneWork::Append { stages, more: Vec::new(), output },
        Work::Mirror { key } => LaneWork::Mirror { stages, key: key.clone(), output },
        Work::Multiset => LaneWork::Multiset { stages, output },
        Work::Window(Windowed { inputs, .. }) => {
            let (late, late_columns) = outputs.late_of_input(InputId { pipeline: of.number, input });
            LaneWork::Window { input, current, stages, plan: Arc::clone(&inputs[input]), late, late_columns }
        }
    }
}

/// What is decoded of a table.
pub struct Decoded {
    /// All columns that there are then.
    pub spec: DecodeSpec,
    /// What of that the records themselves have.
    pub of_records: DecodeSpec,
    /// The rest.
    pub derived: Option<Arc<Derived>>,
}

/// The columns that some query needs, in the order of the table.
pub fn decode_spec(table: &Arc<Table>, feeds: &[FeedOf]) -> Result<Decoded> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let (mut images, mut takes_back) = (false, false);
    for of in feeds {
        names.extend(of.feed().scan.fields().iter().map(|field| field.name().as_str()));
        match of.pipeline.work {
            Work::Mirror { .. } | Work::Multiset => images = true,
            Work::Window { .. } => {
                takes_back |= of.feed().reading == Reading::Table;
                names.extend(table.watermark.as_ref().map(|watermark| watermark.column.as_str()));
            }
            Work::Append => {}
        }
    }
    images |= takes_back;
    if table.has_changes() && (images || matches!(BeforeImages::of(&table.options), Ok(BeforeImages::Kept))) {
        names.extend(table.primary_key.iter().map(String::as_str));
    }
    // What is taken back is what was counted: metadata too.
    let kept = names.iter().copied().filter(|name| takes_back && table.metadata.contains_key(*name)).collect();
    spec_of(table, &names, &kept, images)
}

/// What is decoded for these columns, with the images before changes where they are wanted. Metadata is `kept` with the row where it is
/// part of what the row was.
pub(super) fn spec_of(table: &Table, names: &BTreeSet<&str>, kept: &BTreeSet<&str>, images: bool) -> Result<Decoded> {
    let wants_images = names.contains("_before") || names.contains("_after");
    let mut needed = names.clone();
    let computed: BTreeSet<&str> = names.iter().copied().filter(|name| table.computed.contains_key(*name)).collect();
    for inputs in computed.iter().filter_map(|name| table.computed.get(*name)).map(|it| &it.inputs) {
        needed.extend(inputs.fields().iter().map(|field| field.name().as_str()));
    }
    let decoded = table.nullable_columns();
    let columns: Vec<_> =
        decoded.fields().iter().filter(|it| wants_images || needed.contains(it.name().as_str())).cloned().collect();
    let metadata = || needed.iter().filter_map(|name| table.metadata.get(*name)).map(|metadata| &metadata.of);
    let wanted = metadata().filter_map(|of| match of {
        MetadataOf::Envelope { path, data_type } => Some((path.as_str(), data_type.clone())),
        _ => None,
    });
    let transaction = names.contains(TRANSACTION_ID).then_some((TRANSACTION_PATH, DataType::Utf8));
    let envelope: BTreeMap<_, _> =
        wanted.chain(transaction).map(|(path, data_type)| (path, Field::new(path, data_type, true))).collect();
    let of_records = DecodeSpec {
        positions: decoded
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, it)| columns.iter().any(|column| column.name() == it.name()))
            .map(|(place, _)| place)
            .collect(),
        columns: Arc::new(Schema::new(columns)),
        declared: table.declared_columns(),
        before: (images || names.contains("_before")) && table.has_changes(),
        source_time: names.contains("_source_ts") || metadata().any(|of| *of == MetadataOf::SourceTime),
        envelope: Arc::new(Schema::new(envelope.into_values().collect::<Vec<_>>())),
    };
    let kept = kept
        .iter()
        .filter(|name| table.metadata.get(**name).is_some_and(|metadata| metadata.of != MetadataOf::ProcessingTime));
    let derived: BTreeSet<&str> = computed.iter().chain(kept).copied().collect();
    Ok(match Derived::new(table, &derived, &of_records)? {
        Some((derived, spec)) => Decoded { spec, of_records, derived: Some(Arc::new(derived)) },
        None => Decoded { spec: of_records.clone(), of_records, derived: None },
    })
}

/// A table and all that it feeds.
pub type TableFeeds = (Arc<Table>, Vec<FeedOf>);

/// What pipelines read, by table, in the order of the query.
pub fn by_table(pipelines: &[Arc<Pipeline>]) -> Vec<TableFeeds> {
    let mut tables: Vec<TableFeeds> = Vec::new();
    for of in pipelines.iter().enumerate().flat_map(|(number, pipeline)| FeedOf::all(number, pipeline)) {
        match tables.iter_mut().find(|(table, _)| table.name == of.feed().table.name) {
            Some((_, feeds)) => feeds.push(of),
            None => tables.push((Arc::clone(&of.feed().table), vec![of])),
        }
    }
    tables
}
