//! How much memory a job may take: an estimate of each part, kept by waiting or by ending with a word, never by the kernel's killer.
//!
//! What is fetched ahead and the rows that wait for delivery are bounded: beyond, reading stops. Open windows cannot wait; when they
//! outgrow their part, the job ends at a cut, and its checkpoint is good for a run with more memory.

use std::collections::BTreeMap;

use super::running::Job;
use crate::error::{Error, Result};
use crate::window::aggregate::{Held, InputId};

const MIB: usize = 1 << 20;

/// The memory of a job, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory(pub usize);

impl Memory {
    /// Less is not enough to work with.
    pub const LEAST: Self = Self(128 * MIB);

    /// What each lane may have fetched ahead, of so many.
    pub fn fetched(self, lanes: usize) -> usize {
        (self.0 / 8 / lanes.max(1)).clamp(MIB, 64 * MIB)
    }

    /// Rows of an epoch. There are two, and what is made of one on its way out.
    pub fn epoch(self) -> usize {
        (self.0 / 16).clamp(4 * MIB, 64 * MIB)
    }

    /// Rows that are kept of tables.
    pub fn rows(self) -> usize {
        self.0 / 8
    }

    /// Open windows.
    pub fn windows(self) -> usize {
        self.0 / 2
    }
}

impl Job {
    /// What the open windows of each input hold, of all lanes.
    pub(super) fn held(&self) -> BTreeMap<InputId, Held> {
        let mut held: BTreeMap<InputId, Held> = BTreeMap::new();
        for (id, of) in self.held.values().flatten().copied().chain(self.nested.held()) {
            *held.entry(id).or_default() += of;
        }
        held
    }

    /// Ends the job when its windows have outgrown their part.
    pub(super) fn check_memory(&self) -> Result<()> {
        let Some(memory) = self.settings.memory else { return Ok(()) };
        let held = self.held();
        let bytes: usize = held.values().map(|held| held.bytes).sum();
        if bytes <= memory.windows() {
            return Ok(());
        }
        let mut largest: Vec<(InputId, Held)> = held.into_iter().collect();
        largest.sort_by_key(|(_, held)| std::cmp::Reverse(held.bytes));
        let of = |(id, held): &(InputId, Held)| {
            let target = self.query.pipelines.get(id.pipeline).and_then(|pipeline| pipeline.target.as_ref());
            let target = target.map_or("the SELECT".to_owned(), |target| format!("INSERT INTO \"{}\"", target.name));
            format!("{target}: {} MiB, {} groups in {} panes", held.bytes / MIB, held.groups, held.panes)
        };
        let of: Vec<String> = largest.iter().take(3).map(of).collect();
        Err(Error::config(format!(
            "the open windows take {} MiB, more than the half of --memory that is theirs, {} MiB ({}). The checkpoint is good: run with \
             more --memory, or with fewer open groups: a shorter watermark delay or allowed lateness, smaller windows, a WHERE",
            bytes / MIB,
            memory.windows() / MIB,
            of.join("; ")
        )))
    }
}
