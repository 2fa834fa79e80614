//! What a query compiles to: what each INSERT reads, does to rows, and fills.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use super::closing::Closing;
use super::emission::Emission;
use super::relation::Reading;
use crate::sql::define::catalog::Table;
use crate::sql::define::small_table::SmallTable;
use crate::window::aggregate::WindowPlan;
use crate::window::duplicates::DuplicatePlan;
use crate::window::stage::Stage;
use crate::window::watermark::END_OF_TIME;

/// A compiled `INSERT INTO … SELECT`.
#[derive(Debug)]
pub struct Pipeline {
    /// What it reads, at least one.
    pub feeds: Vec<Feed>,
    /// What is done to the rows of the feeds.
    pub work: Work,
    /// The columns of the result, as the target gets them.
    pub output: SchemaRef,
    /// The table that is filled; `None` prints.
    pub target: Option<Arc<Table>>,
    /// The small tables that its rows are joined with.
    pub lookups: Vec<Arc<SmallTable>>,
    /// When its results come.
    pub emission: Emission,
    /// The plan in words: a job resumes from a checkpoint only when it is the same.
    pub fingerprint: String,
}

/// A table on its way into a query. `UNION ALL` and joins have several.
#[derive(Debug)]
pub struct Feed {
    /// The table that is read.
    pub table: Arc<Table>,
    /// How it is read.
    pub reading: Reading,
    /// The columns of it (and of [`METADATA`](crate::sql::define::catalog::METADATA)) that the query uses.
    pub scan: SchemaRef,
    /// What is done to its rows, each for itself; of a windowed query, before the window.
    pub stages: Vec<Stage>,
    /// Which input of a windowed query its rows are for; otherwise 0.
    pub input: usize,
}

/// The kinds of work.
#[derive(Debug)]
pub enum Work {
    /// Row by row, rows are only added: changelogs and plain streams.
    Append,
    /// Row by row, each row replaces the one with its key: the current rows of a table.
    Mirror {
        /// Where the primary key's columns are in the output.
        key: Vec<usize>,
    },
    /// Row by row, each change as rows that come and rows that go: the current rows of a table without a key.
    Multiset,
    /// Rows are counted into windows, then any SQL over the rows of each closed window.
    Window(Windowed),
}

/// A windowed query.
#[derive(Debug)]
pub struct Windowed {
    /// How rows are counted into windows, for each input: on the lanes, or, of windows over windows, where those close. All of them
    /// close at the least watermark of the tables that feed any.
    pub inputs: Vec<Arc<WindowPlan>>,
    /// How far each input stays behind the query's watermark, in milliseconds: a session is over only when the watermark is after its
    /// end, and what is made of sessions must wait for that.
    pub behind: Vec<i64>,
    /// Windows over windows: what closes first comes first.
    pub nested: Vec<Nested>,
    /// Inputs whose rows are deduplicated when their slices of time have closed.
    pub duplicates: BTreeMap<usize, Arc<DuplicatePlan>>,
    /// What happens when windows close.
    pub closing: Arc<Closing>,
    /// Which columns of the output are group keys.
    pub key: Vec<usize>,
    /// What tells rows from each other, when they may be revised.
    pub identity: Option<RowIdentity>,
}

/// What tells the rows of a query's result from each other, so that a later row replaces an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowIdentity {
    /// Where the output has the columns of [`WINDOW_COLUMNS`](crate::window::aggregate::WINDOW_COLUMNS): enough of them to tell a
    /// row's window.
    pub bounds: [Option<usize>; 3],
    /// Which columns of the output are bounds or group keys.
    pub key: Vec<usize>,
    /// Whether a window may have several rows with one key. Then they are numbered.
    pub numbered: bool,
}

/// Closed windows whose rows are counted into other windows.
#[derive(Debug)]
pub struct Nested {
    /// The rows that they give.
    pub closing: Arc<Closing>,
    /// For which input.
    pub input: usize,
    /// Which column of the rows has their time.
    pub time: usize,
}

/// Where a column of the aggregation's result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultColumn {
    /// One of [`WINDOW_COLUMNS`](crate::window::aggregate::WINDOW_COLUMNS), by its place there.
    Window(usize),
    /// A group key, by its place among the keys.
    Key(usize),
    /// The number of the grouping set.
    GroupingSet,
    /// An aggregate, by its place among the aggregates.
    Value(usize),
}

/// The merged groups of closed windows.
#[derive(Debug)]
pub struct ClosedWindow {
    /// Of which windows they are.
    pub bounds: Bounds,
    /// Keys, the grouping set's number when there are several, and values:
    /// [`PaneLayout::result_schema`](crate::window::pane::PaneLayout::result_schema).
    pub groups: RecordBatch,
}

/// The start and end of windows, milliseconds since the epoch.
#[derive(Debug, Clone)]
pub enum Bounds {
    /// All groups are of one window.
    One(i64, i64),
    /// Each group has its own.
    Each(Vec<(i64, i64)>),
}

impl Pipeline {
    /// The first table that it reads, for messages; most queries read one.
    pub fn table(&self) -> &Arc<Table> {
        &self.feeds[0].table
    }

    /// The names of the tables that it reads, in order, each once.
    pub fn table_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for feed in &self.feeds {
            if !names.contains(&feed.table.name.as_str()) {
                names.push(&feed.table.name);
            }
        }
        names
    }

    /// The windows of it, when it has some.
    pub fn windowed(&self) -> Option<&Windowed> {
        match &self.work {
            Work::Window(windowed) => Some(windowed),
            _ => None,
        }
    }

    /// What it fills, for messages.
    pub fn target_name(&self) -> &str {
        self.target.as_ref().map_or("print", |table| &table.name)
    }
}

impl Windowed {
    /// The watermark of an input when the query's is at `watermark`.
    pub fn watermark(&self, input: usize, watermark: i64) -> i64 {
        match watermark {
            END_OF_TIME => END_OF_TIME,
            other => other.saturating_sub(self.behind.get(input).copied().unwrap_or(0)),
        }
    }

    /// Whether the rows of an input are kept as they are until their window closes.
    pub fn collects(&self, input: usize) -> bool {
        let mut closings = self.nested.iter().map(|nested| &nested.closing).chain([&self.closing]);
        closings.any(|closing| closing.collects(input))
    }

    /// What gives an input its rows, when closed windows do.
    pub fn nested(&self, input: usize) -> Option<&Nested> {
        self.nested.iter().find(|nested| nested.input == input)
    }

    /// Whether all of its windows begin and end at whole seconds.
    pub fn in_whole_seconds(&self) -> bool {
        self.inputs.iter().all(|input| input.windows.in_whole_seconds())
    }
}
