//! What is saved so that a job can go on after any end, and where.
//!
//! Each epoch leaves one [`Checkpoint`]: it is durable before anything of the epoch is inserted, so it is also the
//! *intent* of the epoch's blocks. An epoch's checkpoint is only written when the blocks of the one before are in place.
//! What was read since can be read again; rows that came from windows cannot, so the checkpoint has them inside.
//!
//! Checkpoints are numbered one after the other, and each number is written once: who writes the next one is the one
//! [`Writer`] of the job. A process that starts takes a number first, without content, and so no process before it can
//! save anything any more, however long it slept.

mod encoding;
mod inspect;
#[cfg(test)]
mod inspect_tests;
mod kept_rows;
mod settled_windows;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

pub use inspect::{Content, Holds, Listed, OpenWindows, Outline, Part};
pub use settled_windows::SettledWindow;
pub use store::{CheckpointStore, Recovered};
pub use writer::{Fence, Process, Writer};

use crate::change::TopicPartition;
use crate::state::PartitionRows;
use crate::window::aggregate::{InputId, WindowState};

/// The version of the format, raised when it changes; older ones stay readable.
pub const FORMAT_VERSION: u32 = 7;

/// A consistent cut of a job.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Everything but the columns.
    pub manifest: Manifest,
    /// What the lanes remember, when this epoch's checkpoint has it.
    pub state: Option<State>,
    /// The rows of the intents that carry theirs, in the order of the intents.
    pub rows: Vec<Vec<RecordBatch>>,
}

impl Checkpoint {
    /// The tables whose rows are kept, of a checkpoint with state.
    pub fn kept_tables(&self) -> BTreeSet<&str> {
        let inside = self.state.iter().flat_map(|state| &state.keyed).map(|rows| rows.table.as_str());
        self.manifest.kept.iter().map(String::as_str).chain(inside).collect()
    }
}

/// What the lanes of a job remember at a cut.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The open windows of each input of windowed pipelines.
    pub windows: BTreeMap<InputId, Vec<WindowState>>,
    /// The rows of the tables whose rows are kept, by partition: what has changed of them. They are saved beside the checkpoint and are
    /// not here when it is read again, unless it is of before version 5; then they are all.
    pub keyed: Vec<PartitionRows>,
    /// Of each pipeline with early or corrected results, what has been written of windows that may still change.
    pub emitted: BTreeMap<usize, RecordBatch>,
    /// Of each pipeline that fills in groups, those that were there of late.
    pub filled: BTreeMap<usize, RecordBatch>,
}

/// The part of a checkpoint that people can read: JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of its writer.
    pub version: u32,
    /// The job's name.
    pub job: String,
    /// Its place among the job's checkpoints; before version 4 that was the epoch.
    #[serde(default)]
    pub number: u64,
    /// Who has written it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<Process>,
    /// When the job was started afresh, milliseconds since the epoch: tells its blocks from those of earlier jobs of its name.
    #[serde(default)]
    pub started_at: i64,
    /// The number of the claim with which the job last went back, to an older checkpoint or an earlier record: tells its blocks from those
    /// that it had sent before, whatever the clock says. 0: it never has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub went_back: u64,
    /// The number of the epoch that ended with this cut, from 1.
    pub epoch: u64,
    /// When the cut was made, milliseconds since the epoch.
    pub made_at: i64,
    /// The plan of each pipeline: state is only good for the same.
    pub fingerprints: Vec<String>,
    /// What each output is, in words; not of checkpoints that did not note it.
    #[serde(default)]
    pub outputs: Vec<String>,
    /// Where each partition stood.
    pub positions: Vec<Position>,
    /// The watermark of each table that has one, after this epoch's windows were closed; milliseconds.
    pub watermarks: BTreeMap<String, i64>,
    /// How far the windows of each pipeline have been closed, where that is not what its tables say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub closed: BTreeMap<usize, i64>,
    /// How far the windows of each pipeline had been closed before this cut. Its state is of then: it has what this cut closed, and
    /// what other windows need of those before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub closed_before: BTreeMap<usize, i64>,
    /// The blocks of this epoch.
    pub intents: Vec<Intent>,
    /// The epoch whose checkpoint has the open windows from which this one follows.
    pub state_epoch: u64,
    /// The number of that checkpoint.
    #[serde(default)]
    pub state_number: u64,
    /// The numbers whose kept rows, one after the other, are those that go with its state.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<u64>,
    /// The states of windows that are saved beside it, or beside a checkpoint before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settled: Vec<SettledWindow>,
    /// The tables that the kept rows are of.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kept: BTreeSet<String>,
    /// Truncates that this epoch has read, and that are to be applied to the other partitions of their topics.
    #[serde(default)]
    pub truncates: Vec<Truncate>,
    /// Of a job that was set back, until it is again where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// What had been looked up for tables that declare no columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovered: Option<SavedSchemas>,
    /// Whether the job had read all that it was bounded to and closed every window.
    #[serde(default)]
    pub finished: bool,
    /// What its numbers stand for, for people. Nothing is done by it.
    #[serde(default, skip_serializing_if = "Described::is_empty")]
    pub described: Described,
}

/// The queries and tables of a job by their numbers, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// The pipelines.
    pub queries: Vec<DescribedQuery>,
    /// The names of the tables that are filled.
    pub tables: Vec<String>,
}

/// A query in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribedQuery {
    /// The table that it fills.
    pub fills: String,
    /// The tables that it reads.
    pub reads: Vec<String>,
    /// The windows of each of its inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<String>,
}

impl Described {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What a pipeline fills.
    pub fn query(&self, number: usize) -> String {
        self.queries.get(number).map_or_else(|| format!("query {}", number + 1), |query| query.fills.clone())
    }

    /// The name of an output.
    pub fn table(&self, number: usize) -> String {
        self.tables.get(number).cloned().unwrap_or_else(|| format!("output {number}"))
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Manifest {
    /// Checkpoints of before version 4 do not say their numbers, which were their epochs.
    fn take_number(&mut self, number: u64) {
        if self.number == 0 {
            (self.number, self.state_number) = (number, self.state_epoch);
        }
    }
}

/// The columns of tables that declare none, as they were looked up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedSchemas {
    /// By the table's name.
    pub tables: BTreeMap<String, SavedRows>,
    /// Of the tables of databases, by the database's name and the topic.
    pub databases: BTreeMap<String, BTreeMap<String, SavedRows>>,
}

/// The columns of a table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedRows {
    /// In order.
    pub columns: Vec<SavedColumn>,
    /// The names of the key's columns.
    pub primary_key: Vec<String>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedColumn {
    /// Its name.
    pub name: String,
    /// Its Arrow type, as Arrow writes it.
    pub data_type: String,
    /// Whether it may be null.
    pub nullable: bool,
    /// What else is known of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// Where a partition stood at a cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The table that reads it.
    pub table: String,
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Where the epoch began.
    pub from: i64,
    /// The next record to read.
    pub offset: i64,
    /// Its clock, milliseconds of event time.
    pub clock: i64,
    /// The generation of the versions of the epoch's rows: raised when offsets started over, or keys changed partitions.
    #[serde(default)]
    pub generation: u64,
    /// What told the topic from others of its name, where the brokers say so.
    #[serde(default)]
    pub topic_id: Option<String>,
}

/// What a job that was set back makes again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// Windows that begin earlier stay as they are, with their late rows; milliseconds. `None`: all are made again.
    pub windows_from: Option<i64>,
    /// How far each partition had been read: its topic, its number, the next record.
    pub until: Vec<(String, i32, i64)>,
    /// Whether the rows that are made again are still to be taken out of the tables.
    pub takes_out: bool,
}

/// A truncate that one partition has read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Truncate {
    /// The table.
    pub table: String,
    /// The topic.
    pub topic: String,
    /// The partition that had it, which has applied it.
    pub partition: i32,
    /// When it was written, by its record's timestamp, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// How far the other partitions are to be read first: what was written before it is to be there when it is applied. `None` until
    /// that has been asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<BTreeMap<i32, i64>>,
}

impl Position {
    /// The partition that it is of.
    pub fn source(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.as_str().into(), partition: self.partition }
    }
}

/// A block that was, or was about to be, inserted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The number of the output.
    pub output: usize,
    /// The block's token.
    pub token: String,
    /// When the block was made, milliseconds since the epoch.
    pub made_at: i64,
    /// Number of rows.
    pub rows: usize,
    /// Whether the checkpoint has the rows inside; otherwise they are read again from the epoch's ranges.
    pub inline: bool,
}
