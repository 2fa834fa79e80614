//! What lanes and their job say to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;

use super::alignment::Track;
use super::discovery::Drift;
use crate::change::{OffsetRange, TopicPartition};
use crate::checkpoint::Truncate;
use crate::error::Error;
use crate::state::PartitionRows;
use crate::window::aggregate::{Held, InputId, WindowState};
use crate::window::changed::WindowBounds;
use crate::window::session_state::Brief;

/// From the job to a lane. Handled between two batches.
#[derive(Debug)]
pub enum ToLane {
    /// Read these partitions too.
    Assign(Vec<Assignment>),
    /// Rows of tables were kept: keep on, and take those of your partitions.
    RestoreRows(Arc<Vec<PartitionRows>>),
    /// A partition has read a truncate: take away the rows of the other partitions of its topic, as far as they have been read.
    Truncate(Truncate),
    /// Add saved windows to the open ones.
    Restore {
        /// The windows of each input.
        windows: Vec<(InputId, Vec<WindowState>)>,
        /// Which of them the lane takes.
        takes: Takes,
    },
    /// The versions of what is read from now on of a table, by its place in the lane, are of this generation.
    Generation {
        /// The table.
        table: usize,
        /// The generation.
        generation: u64,
    },
    /// Some of what is read was read before.
    Replay(Arc<ReadBefore>),
    /// Read, up to these offsets where given, then say `Reached` and wait.
    Run(Course),
    /// Read nothing more until the next `Run`.
    Pause,
    /// Everything up to here belongs to this epoch: answer with `Cut`.
    Cut {
        /// The epoch that ends.
        epoch: u64,
        /// Whether a copy of the open windows is wanted.
        with_state: bool,
        /// Whether a `Close` follows, which may ask for windows as they are at this cut, or `ReadOn`.
        closes: bool,
    },
    /// No `Close` follows the `Cut`.
    ReadOn,
    /// Watermarks have moved: answer with `Closed`.
    Close(Close),
    /// Say which sessions go on with these fragments, which have left their lanes, per input; answer with `Neighbours`.
    Neighbours(Arc<Vec<(InputId, Vec<Brief>)>>),
    /// End the thread.
    Stop,
}

/// What a job that was set back had read, of windows that stay as they were.
#[derive(Debug, Default)]
pub struct ReadBefore {
    /// The start of the first window that is made again, milliseconds.
    pub windows_from: i64,
    /// How far each partition had been read.
    pub until: BTreeMap<TopicPartition, i64>,
}

impl ReadBefore {
    /// Whether a late row is in the late table already: it was read, and its window stays as it was.
    pub fn has(&self, source: &TopicPartition, offset: i64, window: (i64, i64)) -> bool {
        window.0 < self.windows_from && self.until.get(source).is_some_and(|until| offset < *until)
    }
}

/// How far watermarks have come.
#[derive(Debug, Clone, Default)]
pub struct Close {
    /// Those of tables, by their places in the lane: the clocks of partitions that are behind go on to them.
    pub tables: Vec<(usize, i64)>,
    /// Those of inputs: windows that end at or before them close.
    pub inputs: Vec<(InputId, i64)>,
    /// Windows that have changed, per pipeline: what there is of them is wanted, as far as they stay open.
    pub peek: Arc<BTreeMap<usize, Vec<WindowBounds>>>,
}

impl Close {
    /// Whether nothing has moved.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.inputs.is_empty()
    }
}

/// Which of the saved windows that it is given a lane takes.
#[derive(Debug, Clone)]
pub enum Takes {
    /// All.
    All,
    /// Sessions of its own partitions: a row looks for the session of its own partition.
    Own,
    /// Sessions of partitions that are gone: of none of these.
    Others(Arc<BTreeSet<TopicPartition>>),
}

/// A partition that a lane is given.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The table that reads it, by its place in the lane.
    pub table: usize,
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset to read.
    pub from: i64,
    /// Its clock so far.
    pub clock: i64,
    /// The generation of its versions.
    pub generation: u64,
    /// Where the partitions that may wait for it look.
    pub track: Option<Arc<Track>>,
}

/// What to do with what is read, and how far.
#[derive(Debug, Clone, Default)]
pub struct Course {
    /// Whether what is remembered moves on: windows count the rows, kept rows change.
    pub windows: bool,
    /// Whether rows are sent on: changelogs, mirrors, late rows, dead letters.
    pub rows: bool,
    /// Where to stop, per partition; partitions that are not named are read on and on.
    pub bounds: Option<BTreeMap<TopicPartition, i64>>,
}

/// From a lane to the job, in order.
#[derive(Debug)]
pub enum FromLane {
    /// Rows for an output, all of one stretch of one partition.
    Rows {
        /// The epoch that they belong to.
        epoch: u64,
        /// The output's number.
        output: usize,
        /// Where they come from.
        source: TopicPartition,
        /// The rows, in offset order.
        rows: RecordBatch,
    },
    /// A truncate was read, and applied to its own partition.
    Truncated {
        /// The epoch that it belongs to.
        epoch: u64,
        /// Where.
        truncate: Truncate,
    },
    /// The answer to `Cut`.
    Cut {
        /// The lane.
        lane: usize,
        /// The epoch that ended.
        epoch: u64,
        /// Where each partition stands.
        partitions: Vec<PartitionState>,
        /// The open windows of each input, when they were asked for.
        state: Vec<(InputId, Vec<WindowState>)>,
        /// The kept rows of its partitions, when state was asked for.
        keyed: Vec<PartitionRows>,
        /// What the open windows of each input hold.
        held: Vec<(InputId, Held)>,
        /// The windows of each input with early or corrected results that have changed since they were last looked at. A lane that
        /// has such inputs reads on after the `Close` or `ReadOn`, so that what is looked at is of this cut.
        changed: Vec<(InputId, Vec<WindowBounds>)>,
    },
    /// The answer to `Close`.
    Closed {
        /// The lane.
        lane: usize,
        /// The closed windows of each input.
        windows: Vec<(InputId, Vec<WindowState>)>,
        /// What the open windows of each input hold.
        held: Vec<(InputId, Held)>,
        /// Copies of windows that stay open: those that were asked for, and those that have ended.
        peeked: Vec<(InputId, Vec<WindowState>)>,
    },
    /// The answer to `ToLane::Neighbours`.
    Neighbours {
        /// The lane.
        lane: usize,
        /// What each input has of the same sessions.
        briefs: Vec<(InputId, Vec<Brief>)>,
    },
    /// All bounds of the course have been reached.
    Reached {
        /// The lane.
        lane: usize,
    },
    /// A table has got columns that it does not know. The lane has stopped reading it before this record.
    Drifted(Drift),
    /// The lane has ended because of this.
    Failed(Error),
}

/// Where a partition stands in its lane.
#[derive(Debug, Clone)]
pub struct PartitionState {
    /// The partition.
    pub partition: TopicPartition,
    /// The records of it since it was assigned; `to` is the next to read.
    pub range: OffsetRange,
    /// Its clock.
    pub clock: i64,
    /// The generation of the versions of these records.
    pub generation: u64,
    /// Whether it has been read to its end.
    pub at_end: bool,
    /// Whether it has been read to the bound of the course.
    pub at_bound: bool,
    /// Wall-clock milliseconds when its last record came (or when it was assigned).
    pub last_arrival: i64,
}
