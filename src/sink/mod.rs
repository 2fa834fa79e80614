//! Where rows go.
//!
//! A [`Sink`] is one output table. The job cuts rows into [`Block`]s, records each as an intent in the checkpoint store
//! before it is sent, and sends it until the sink says that it is durable. The same block sent again leaves one copy.

pub mod clickhouse;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use crate::change::{OffsetRange, TopicPartition};
use crate::error::Result;
use crate::options::Options;

pub mod blackhole;
mod encode;
pub mod file;
pub mod kafka;
pub mod limits;
pub mod print;
#[cfg(test)]
mod testing;

/// What an output table holds, which decides how it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableForm {
    /// Rows that are only ever added, each with its position: `CHANGES(t)`, an append-only stream.
    Log,
    /// The current row of each key. The rows end in [`VERSION`] and [`IS_DELETED`].
    Mirror,
    /// How often each row of a table without a key is there: rows that came and rows that went, [`ROW_HASH`] and [`COUNT`] after the
    /// query's columns, then positions. Sums do not fold repeats, so each is written once.
    Multiset,
    /// Results of windows, each group once, final when written.
    Results,
    /// Results of windows that come early or are corrected: a row takes the place of the one before of its window and group. After the
    /// query's columns come [`ROW_NUMBER`] where a window may have several rows with one key, [`IS_FINAL`], [`REVISION`],
    /// [`IS_DELETED`] and [`VERSION`].
    Revised,
    /// Rows that came after their windows had closed.
    Late,
    /// Records that could not be used.
    DeadLetters,
}

/// The version column of mirrors (`generation << 48 | offset`) and revised results, UInt64. The greatest of a key is its current row.
pub const VERSION: &str = "_version";
/// The tombstone column of mirrors and revised results, UInt8: 1 for a row that is gone.
pub const IS_DELETED: &str = "_is_deleted";
/// Of revised results, UInt8: 1 when the window is closed and the row settled, but for corrections.
pub const IS_FINAL: &str = "is_final";
/// Of revised results, UInt32: how often the row was written before.
pub const REVISION: &str = "revision";
/// Of revised results, UInt32: tells rows of one window and key from each other.
pub const ROW_NUMBER: &str = "_row";
/// Of a multiset: a hash of the row, by which equal rows lie together. UInt64.
pub const ROW_HASH: &str = "_row_hash";
/// Of a multiset: 1 for a row that came, -1 for one that went. Int8.
pub const COUNT: &str = "_count";
/// In the tombstone column: not a row but the order to take away every row with a lesser version. The table was truncated
/// there, and the job does not know its rows. Its other columns say nothing.
pub const EMPTIED: u8 = 2;
/// The column of results and late rows that says when their window begins, where a query selects it.
pub const WINDOW_START: &str = "window_start";
/// Position columns of [`TableForm::Log`], [`TableForm::Late`] and [`TableForm::DeadLetters`]: Utf8, Int32, Int64, not null.
pub const POSITION: [&str; 3] = ["_topic", "_partition", "_offset"];

/// The partition of dead letters that are groups of results, not records: their topic names the table, their offset is the window's start.
pub const OF_RESULTS: i32 = -1;

impl TableForm {
    /// Whether a row takes the place of the one before with its key.
    pub fn keeps_versions(&self) -> bool {
        matches!(self, Self::Mirror | Self::Revised)
    }
}

/// An output table as the job wants it.
#[derive(Debug, Clone)]
pub struct OutputTable {
    /// The table's `WITH (…)`: connector, place, format.
    pub options: Options,
    /// What it holds.
    pub form: TableForm,
    /// The columns of every block, in order.
    pub schema: SchemaRef,
    /// How many of the leading columns the query selected; the rest was added by Highwater (positions), and a file sink leaves it out.
    pub visible: usize,
    /// Names of the columns that identify a row: the primary key of a log's or mirror's source, the group keys of results (window_start first). May be empty.
    pub key: Vec<String>,
    /// The column with the event time (of results: `window_start`), when there is one.
    pub event_time: Option<String>,
    /// What each column means, for the table's comments.
    pub comments: BTreeMap<String, String>,
    /// What the table means, for its comment.
    pub comment: String,
    /// Whether its columns are those of the source, so that new ones are added to a table that exists.
    pub evolves: bool,
    /// The job's name: part of every token, and in results the column `_job`.
    pub job: String,
}

impl OutputTable {
    /// The table's name where it is; the name in the query for connectors that have no tables.
    pub fn name(&self) -> &str {
        self.options.get("table").unwrap_or(self.options.table())
    }
}

/// Rows that are inserted as one, and what identifies them.
#[derive(Debug, Clone)]
pub struct Block {
    /// The rows, in an order that is the same whenever the block is made again.
    pub rows: Vec<RecordBatch>,
    /// A function of job, table and ranges or epoch only: the same block always has the same token.
    pub token: String,
    /// The records that the block was made of; empty for results.
    pub ranges: Vec<(TopicPartition, OffsetRange)>,
    /// The checkpoint epoch that the block belongs to.
    pub epoch: u64,
    /// When the block was made, milliseconds since the epoch; kept with the intent, so that a repeat carries the same.
    pub made_at: i64,
}

impl Block {
    /// Number of rows.
    pub fn row_count(&self) -> usize {
        self.rows.iter().map(RecordBatch::num_rows).sum()
    }
}

/// The rows that a job which was set back, or goes on from an older checkpoint than its newest, makes again.
#[derive(Debug, Clone)]
pub struct TakeOut {
    /// Those of records from these offsets on.
    pub positions: Vec<(TopicPartition, i64)>,
    /// Of windows only those that begin at or after this time; `None`: all. Milliseconds.
    pub windows_from: Option<i64>,
    /// Of what comes from no record, only what was written after this; `None`: all.
    pub after: Option<Written>,
}

/// A place in what a job has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The epoch.
    pub epoch: u64,
    /// The [`VERSION`] of its revised results.
    pub version: u64,
}

/// Whether this process is still the one that may write.
#[async_trait]
pub trait Guard: fmt::Debug + Send + Sync {
    /// Fails when another process has taken over, and when that cannot be found out. An answer counts for a moment.
    async fn check(&self) -> Result<()>;

    /// The same, asked now: for what the tokens of inserts do not guard.
    async fn ask(&self) -> Result<()>;
}

/// One output table.
#[async_trait]
pub trait Sink: Send {
    /// Has the sink ask this before all that it sends.
    fn guard(&mut self, _guard: Arc<dyn Guard>) {}

    /// Creates the table when it is missing, or checks that it fits. Called once, before the first block.
    async fn prepare(&mut self) -> Result<()>;

    /// Whether [`Self::prepare`] has created the table.
    fn was_created(&self) -> bool {
        false
    }

    /// Whether there are rows that say they are of this job, and do not fold with others.
    async fn has_rows_of_job(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// What the columns of the prepared table cannot hold. Rows with such values are refused before they are cut into blocks.
    fn limits(&self) -> limits::Limits {
        limits::Limits::default()
    }

    /// Writes a block and returns when it is durable. The same block written again leaves one copy.
    /// Transient failures (`Error::is_transient`) are the caller's to retry.
    async fn write(&mut self, block: &Block) -> Result<()>;

    /// Writes a block that may have been written before a crash, so that it is there once: looks first where looking is possible.
    async fn write_again(&mut self, block: &Block) -> Result<()>;

    /// Rows that were in place already when their blocks were written again, since this was last asked.
    fn take_repeats(&mut self) -> u64 {
        0
    }

    /// Whether [`Self::take_out`] will do, asked before the job is set back.
    fn check_take_out(&self, _windows_from: Option<i64>) -> Result<()> {
        Ok(())
    }

    /// Whether nothing in it is of an epoch after this one, or [`Self::take_out`] will do. Asked before the job goes on from a checkpoint
    /// that is not its newest.
    async fn check_return(&mut self, _epoch: u64) -> Result<()> {
        self.check_take_out(None)
    }

    /// Takes out the rows that a job which was set back makes again; of a table whose rows fold by their versions, none. May be
    /// repeated.
    async fn take_out(&mut self, _what: &TakeOut) -> Result<()> {
        Ok(())
    }

    /// Rows and bytes are complete: called at the end of a run (files are closed here).
    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The connectors that can be written, for messages.
pub const CONNECTORS: &[&str] = &["clickhouse", "filesystem", "kafka", "print", "blackhole"];

/// The sink that a table's options describe. `resume` when the job goes on from a checkpoint, so that what was written stays.
pub fn open(table: &OutputTable, resume: bool) -> Result<Box<dyn Sink>> {
    match table.options.required("connector")? {
        "clickhouse" => Ok(Box::new(clickhouse::ClickHouseSink::new(table)?)),
        "filesystem" => Ok(Box::new(file::FileSink::new(table, resume)?)),
        "kafka" => Ok(Box::new(kafka::KafkaSink::new(table)?)),
        "print" => Ok(Box::new(print::PrintSink::new(table)?)),
        "blackhole" => Ok(Box::new(blackhole::BlackholeSink::default())),
        other => {
            let expected = "'clickhouse', 'filesystem', 'kafka', 'print' or 'blackhole' for a table that is written";
            Err(table.options.invalid("connector", other, expected))
        }
    }
}
