//! What a job has of the outside: the time, its sources, its sinks.
//!
//! A running job has the [`World`]. Tests of queries put something else in its place and get the same job.

use std::fmt::Debug;
use std::sync::LazyLock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use super::lane::Lane;
use super::lookup::{self, SmallSource};
use crate::error::{Error, Result};
use crate::options::Options;
use crate::sink::{self, OutputTable, Sink};
use crate::source::{self, Source};

/// How much a Kafka client fetches ahead.
const FETCHED: &str = "properties.queued.max.messages.kbytes";

/// The outside of a job.
pub trait Outside: Debug + Send + Sync {
    /// The wall clock, milliseconds since the epoch.
    fn now(&self) -> i64;

    /// Time that only goes forward, since some beginning.
    fn elapsed(&self) -> Duration {
        static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGINNING.elapsed()
    }

    /// Waits.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    /// How much of the time since `start` the silence of a source is to be forgiven, when it was spent waiting for the job.
    fn since(&self, start: Instant) -> Duration {
        start.elapsed()
    }

    /// Which of these tables can be read over one connection, by their places: every table is in one group.
    fn groups(&self, tables: &[&Options]) -> Vec<Vec<usize>>;

    /// The sources of a group's tables. The readers of the first bring the records of all.
    fn sources(&self, tables: &[&Options]) -> Result<Vec<Box<dyn Source>>>;

    /// Where the rows of a small table come from.
    fn small_source(&self, table: &Options) -> Result<SmallSource> {
        lookup::small_source(table)
    }

    /// The sink of an output. `resume` when the job goes on from a checkpoint.
    fn sink(&self, table: &OutputTable, resume: bool) -> Result<Box<dyn Sink>>;

    /// Has a lane work beside the job until it is told to stop; the thread to wait for, if it has one.
    fn start_lane(&self, number: usize, lane: Lane) -> Result<Option<JoinHandle<()>>> {
        let thread = std::thread::Builder::new().name(format!("lane-{number}")).spawn(move || lane.work());
        thread.map(Some).map_err(|cause| Error::permanent("cannot start a thread", cause))
    }

    /// How many reports of lanes may wait for the job. Few: a report may be a batch of rows, some megabytes.
    fn reports(&self) -> usize {
        8
    }
}

/// This machine's clock, and the connectors that the tables name.
#[derive(Debug, Clone, Copy, Default)]
pub struct World {
    /// How many bytes each lane may have fetched ahead, if that is bounded.
    pub fetched: Option<usize>,
}

impl Outside for World {
    fn now(&self) -> i64 {
        super::lane::now()
    }

    fn groups(&self, tables: &[&Options]) -> Vec<Vec<usize>> {
        source::groups(tables)
    }

    fn sources(&self, tables: &[&Options]) -> Result<Vec<Box<dyn Source>>> {
        let Some(fetched) = self.fetched else { return source::open_together(tables) };
        let bounded = |options: &&Options| {
            let mut options = (*options).clone();
            if options.get("connector") == Some("kafka") && options.get(FETCHED).is_none() {
                options.set(FETCHED, (fetched / 1024).to_string());
            }
            options
        };
        let bounded: Vec<Options> = tables.iter().map(bounded).collect();
        source::open_together(&bounded.iter().collect::<Vec<_>>())
    }

    fn sink(&self, table: &OutputTable, resume: bool) -> Result<Box<dyn Sink>> {
        sink::open(table, resume)
    }
}
