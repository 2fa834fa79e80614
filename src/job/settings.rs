//! How a job runs, besides its query.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::memory::Memory;
use super::outside::{Outside, World};
use super::set_back::StartingPoint;
use crate::checkpoint::CheckpointStore;

/// What kept rows may take of memory, if nothing else is said.
pub const KEPT_ROWS: usize = 1 << 30;

/// When a run ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Never.
    Endless,
    /// When all that the topics held at the start has been read; then every window closes.
    Bounded,
    /// When all that the topics held at the start has been read; windows stay open for the next run.
    UntilCaughtUp,
    /// Without reading: what is to be done before that is done.
    AtOnce,
}

/// How a job runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The job's name: part of every insert token, and the place of its checkpoints.
    pub name: String,
    /// Threads per table that is read; never more than it has partitions.
    pub lanes: usize,
    /// When it ends.
    pub ending: Ending,
    /// Where its checkpoints are.
    pub checkpoints: CheckpointStore,
    /// Whether to forget earlier checkpoints and start afresh.
    pub reset_state: bool,
    /// From where to read again into the same tables, when the job is to be set back.
    pub set_back: Option<StartingPoint>,
    /// Whether topics that were created anew are read from their beginning.
    pub new_generation: bool,
    /// Whether a job whose newest checkpoint cannot be used goes on from an older one although rows may be there twice then.
    pub allow_repeats: bool,
    /// How long a job that was told to stop may take to deliver what it has read.
    pub stop_within: Duration,
    /// The longest that rows wait before they are written.
    pub flush_interval: Duration,
    /// The most rows that wait before they are written.
    pub flush_rows: usize,
    /// The most bytes of rows that wait before they are written.
    pub flush_bytes: usize,
    /// How much memory it may take, if that is bounded.
    pub memory: Option<Memory>,
    /// How often the open windows are saved.
    pub checkpoint_interval: Duration,
    /// How many bytes of memory kept rows may take, if not what the job's memory or [`KEPT_ROWS`] says; more go to disk.
    pub state_memory: Option<usize>,
    /// Where they go then.
    pub state_folder: PathBuf,
    /// After so many checkpoints that have what has changed of them, all kept rows are saved once more.
    pub renew_after: usize,
    /// Its clock, sources and sinks.
    pub outside: Arc<dyn Outside>,
}

impl Settings {
    /// Has the job take no more memory than this. Of rows that wait for delivery as many bytes as are its part.
    pub fn bound_memory(&mut self, memory: Memory) {
        self.memory = Some(memory);
        self.flush_bytes = memory.epoch();
        self.outside = Arc::new(World { fetched: Some(memory.fetched(self.lanes)) });
    }

    /// The defaults for a job: one second to ClickHouse, windows saved every ten.
    pub fn new(name: impl Into<String>, ending: Ending, checkpoints: CheckpointStore) -> Self {
        Self {
            name: name.into(),
            lanes: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            ending,
            checkpoints,
            reset_state: false,
            set_back: None,
            new_generation: false,
            allow_repeats: false,
            stop_within: Duration::from_secs(25),
            flush_interval: Duration::from_secs(1),
            flush_rows: 250_000,
            flush_bytes: 64 << 20,
            memory: None,
            checkpoint_interval: Duration::from_secs(10),
            state_memory: None,
            state_folder: ".highwater/state".into(),
            renew_after: 100,
            outside: Arc::new(World::default()),
        }
    }

    /// How many bytes of memory kept rows may take.
    pub fn kept_rows(&self) -> usize {
        self.state_memory.unwrap_or_else(|| self.memory.map_or(KEPT_ROWS, Memory::rows))
    }
}
