//! A running job as an operator sees it: served as JSON, told in sentences by `highwater why`.
//!
//! The job looks at itself once a second, and only when somebody may ask ([`Progress::watch`](super::progress::Progress::watch)).
//! All times are milliseconds since the epoch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Process;

/// All that is known of a job that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The job's name.
    pub job: String,
    /// The process that runs it; `since` is when it was started.
    pub process: Process,
    /// When this was said.
    pub now: i64,
    /// What has been counted since the process was started.
    pub counts: Counts,
    /// What it waits for, besides records.
    pub waits: Vec<Wait>,
    /// The last checkpoint that this process has saved.
    pub checkpoint: Option<SavedCheckpoint>,
    /// Blocks that are on their way, per output table.
    pub open_intents: BTreeMap<String, u64>,
    /// How the job saw itself last; `None` while it starts.
    pub seen: Option<Seen>,
}

/// Counters of a process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Change events decoded into rows.
    pub events: u64,
    /// Bytes of records taken from the source.
    pub bytes: u64,
    /// Rows that came after their windows had closed, per partition.
    pub late: Vec<LateRows>,
    /// Records that could not be used, by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// Rows that were taken back and had never been there.
    pub unmatched: u64,
    /// Rows that output tables have durably.
    pub written: BTreeMap<String, u64>,
    /// Inserts that were tried again, per output table.
    pub retries: BTreeMap<String, u64>,
    /// Rows that were in an output table already when their block was sent again.
    pub repeats_dropped: BTreeMap<String, u64>,
    /// Windows that have been closed.
    pub closed_windows: u64,
    /// Windows open on all lanes at the last cut.
    pub open_windows: u64,
    /// Partitions that wait for others to come near.
    pub paused_partitions: u64,
}

/// Late rows of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateRows {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// How many.
    pub rows: u64,
}

/// What kind of thing is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// Where records come from.
    Source,
    /// Where schemas come from.
    Schemas,
    /// Where rows go.
    Target,
    /// Where checkpoints are.
    Checkpoints,
}

impl WaitsFor {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Source, Self::Schemas, Self::Target, Self::Checkpoints];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Schemas => "schemas",
            Self::Target => "target",
            Self::Checkpoints => "checkpoints",
        }
    }
}

/// Something that does not answer and is tried again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What kind of thing.
    pub what: WaitsFor,
    /// Which one: a table's name.
    pub name: String,
    /// What it said last.
    pub error: String,
    /// Since when.
    pub since: i64,
    /// How often it has been tried.
    pub tries: u64,
}

/// A checkpoint that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedCheckpoint {
    /// Its number.
    pub number: u64,
    /// The epoch that it ends.
    pub epoch: u64,
    /// When it was saved.
    pub saved_at: i64,
}

/// How a job saw itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// When.
    pub at: i64,
    /// The epoch that it gathered.
    pub epoch: u64,
    /// Rows that waited for its end.
    pub gathered_rows: u64,
    /// Since when the epoch before has been on its way.
    pub delivering_since: Option<i64>,
    /// Whether nothing more is read until that is in place.
    pub is_full: bool,
    /// Whether it has been told to stop.
    pub stopping: bool,
    /// The tables that it reads.
    pub tables: Vec<TableSeen>,
    /// Its windowed queries.
    pub queries: Vec<QuerySeen>,
}

/// A table that is read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TableSeen {
    /// Its name.
    pub table: String,
    /// Whether some query counts its rows into windows: only then it has a watermark.
    pub has_windows: bool,
    /// Its watermark, once there is one.
    pub watermark: Option<i64>,
    /// Since when it has stood there, by the wall clock.
    pub watermark_since: i64,
    /// Which partition holds it back, by its place among the partitions; none when all are idle.
    pub held_by: Option<usize>,
    /// Since when it has been that one.
    pub held_since: i64,
    /// After how long without a record a partition that has been read to its end is idle; never in bounded runs.
    pub idle_after: Option<i64>,
    /// Its partitions.
    pub partitions: Vec<PartitionSeen>,
}

/// A partition that is read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PartitionSeen {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// The next record to read, at the last cut.
    pub offset: i64,
    /// The offset after its last record, as far as it is known.
    pub end: Option<i64>,
    /// Records between the two.
    pub lag: u64,
    /// Its watermark, once it has brought an event time.
    pub watermark: Option<i64>,
    /// Whether it is idle, and so holds nobody back.
    pub idle: bool,
    /// Whether it has been read to its end.
    pub at_end: bool,
    /// When its last record came, or when it was first read.
    pub last_arrival: i64,
}

/// A windowed query.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct QuerySeen {
    /// The table that it fills.
    pub fills: String,
    /// The tables that it reads.
    pub reads: Vec<String>,
    /// Its windows in words.
    pub windows: Vec<String>,
    /// How far its windows have been closed, once there is a watermark.
    pub closed_to: Option<i64>,
    /// At which watermark the first of its open windows closes; none when none is open.
    pub closes_next: Option<i64>,
    /// How long its windows stay open after their ends.
    pub allowed_lateness: i64,
    /// How many are open, on the lane that has most (of sessions, on all); of windows that overlap, the slices that they share.
    pub open_windows: u64,
}

impl TableSeen {
    /// The partition that holds the watermark back.
    pub fn holder(&self) -> Option<&PartitionSeen> {
        self.partitions.get(self.held_by?)
    }

    /// Records that its partitions have beyond what was read.
    pub fn lag(&self) -> u64 {
        self.partitions.iter().map(|it| it.lag).sum()
    }
}

impl std::fmt::Display for PartitionSeen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}
