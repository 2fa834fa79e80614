//! What a job has of the outside: the time, its sources, its sinks.
//!
//! A running job has the [`World`]. Tests of queries put something else in its place and get the same job.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::options::Options;
use crate::sink::{self, OutputTable, Sink};
use crate::source::{self, Source};

/// The outside of a job.
pub trait Outside: Debug + Send + Sync {
    /// The wall clock, milliseconds since the epoch.
    fn now(&self) -> i64;

    /// How much of the time since `start` the silence of a source is to be forgiven, when it was spent waiting for the job.
    fn since(&self, start: Instant) -> Duration {
        start.elapsed()
    }

    /// Which of these tables can be read over one connection, by their places: every table is in one group.
    fn groups(&self, tables: &[&Options]) -> Vec<Vec<usize>>;

    /// The sources of a group's tables. The readers of the first bring the records of all.
    fn sources(&self, tables: &[&Options]) -> Result<Vec<Box<dyn Source>>>;

    /// The sink of an output. `resume` when the job goes on from a checkpoint.
    fn sink(&self, table: &OutputTable, resume: bool) -> Result<Box<dyn Sink>>;
}

/// This machine's clock, and the connectors that the tables name.
#[derive(Debug, Clone, Copy, Default)]
pub struct World;

impl Outside for World {
    fn now(&self) -> i64 {
        super::lane::now()
    }

    fn groups(&self, tables: &[&Options]) -> Vec<Vec<usize>> {
        source::groups(tables)
    }

    fn sources(&self, tables: &[&Options]) -> Result<Vec<Box<dyn Source>>> {
        source::open_together(tables)
    }

    fn sink(&self, table: &OutputTable, resume: bool) -> Result<Box<dyn Sink>> {
        sink::open(table, resume)
    }
}
