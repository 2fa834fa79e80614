//! The one process that writes a job's checkpoints.
//!
//! ```text
//!  A  ─ 5 ─ 6 ─ 7 ─┐ stopped                  woken: 8 ✗ "taken over by B"
//!  B               └─ claims 8 ─ goes on from 7 ─ 9 ─ 10 ─
//! ```
//!
//! A number is written once ([`PutMode::Create`]). Old checkpoints are forgotten in their order, so a number that was taken
//! and forgotten is known by the one before it, which is gone too.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use serde::{Deserialize, Serialize};

use super::encoding::{Saved, encode};
use super::store::{CheckpointStore, Put};
use super::{Checkpoint, Manifest};
use crate::error::{Error, Result};

/// How many checkpoints with state are kept, with all that follow the oldest of them.
const KEPT: usize = 3;

/// A process that writes checkpoints, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Tells it from every other, on whatever machine.
    pub id: String,
    /// The machine's name.
    pub host: String,
    /// Its number there.
    pub pid: u32,
    /// When it took the job over, milliseconds since the epoch.
    pub since: i64,
}

impl Process {
    /// This process, which begins at this time.
    pub fn this(since: i64) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
        let host = host.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        Self {
            id: format!("{:016x}", RandomState::new().hash_one(std::process::id())),
            host: host.unwrap_or_else(|| "an unknown host".to_owned()),
            pid: std::process::id(),
            since,
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)?;
        match chrono::DateTime::from_timestamp_millis(self.since) {
            Some(since) => write!(f, " (at {})", since.format("%Y-%m-%d %H:%M:%S UTC")),
            None => Ok(()),
        }
    }
}

/// A number that is taken without a checkpoint: nobody before its writer saves any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) version: u32,
    pub(crate) job: String,
    pub(crate) writer: Process,
    /// Whether what was saved before counts no more.
    pub(crate) afresh: bool,
}

/// Saves the checkpoints of a job, as long as no other process has taken it over.
#[derive(Debug)]
pub struct Writer {
    fence: Fence,
    process: Process,
    /// The numbers of the last checkpoints with state.
    states: VecDeque<u64>,
}

impl Writer {
    pub(super) fn new(store: CheckpointStore, process: Process, number: u64) -> Self {
        let fence = Fence { store, number: Arc::new(AtomicU64::new(number)) };
        Self { fence, process, states: VecDeque::new() }
    }

    /// The number that it has written last.
    pub fn number(&self) -> u64 {
        self.fence.number.load(SeqCst)
    }

    /// Goes on from the checkpoint with state that has this number.
    pub fn follow(&mut self, state_number: u64) {
        self.states = VecDeque::from([state_number]);
    }

    /// What says whether the job is still this writer's.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Saves a checkpoint; it is durable when this returns. Then forgets those that are no longer of use. After a failure nobody
    /// knows whether it is saved, so it is saved again.
    pub async fn save(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let (store, before) = (&self.fence.store, self.number());
        let number = before + 1;
        let has_state = checkpoint.state.is_some();
        let state_number = if has_state { number } else { self.states.back().copied().unwrap_or(number) };
        let writer = Some(self.process.clone());
        let manifest = Manifest { number, writer, state_number, ..checkpoint.manifest.clone() };
        let bytes = encode(&manifest, checkpoint)?;
        // One that is there already is our own, from a try whose answer was lost, or that of another process.
        if store.put(number, bytes).await? == Put::Refused || !store.exists(before).await? {
            return Err(self.fence.lost().await);
        }
        self.fence.number.store(number, SeqCst);
        if has_state {
            self.states.push_back(number);
            while self.states.len() > KEPT {
                self.states.pop_front();
            }
            let oldest = self.states.front().copied().unwrap_or(number);
            if let Err(error) = store.forget_before(oldest.min(before)).await {
                tracing::warn!("{error}; what is left of old checkpoints is removed with the next ones");
            }
        }
        Ok(())
    }
}

/// Says whether a job still belongs to a writer.
#[derive(Debug, Clone)]
pub struct Fence {
    store: CheckpointStore,
    number: Arc<AtomicU64>,
}

impl Fence {
    /// Asks the store; an error that is not transient says who has taken the job over.
    pub async fn check(&self) -> Result<()> {
        let newest = self.store.numbers().await?.last().copied();
        if newest == Some(self.number.load(SeqCst)) { Ok(()) } else { Err(self.lost().await) }
    }

    /// The error for a job that belongs to somebody else.
    async fn lost(&self) -> Error {
        let (job, place) = (self.store.job(), self.store.place());
        match self.successor().await {
            Err(error) => error,
            Ok(None) => Error::config(format!(
                "the checkpoints of job \"{job}\" in {place} are gone, somebody has removed them; this process stops and writes nothing \
                 more: what it has delivered since is not known to the next run"
            )),
            Ok(Some((number, who))) => Error::config(format!(
                "job \"{job}\" was taken over by {who}, as checkpoint {number} in {place} says; this process stops and writes nothing \
                 more; a job is run by one process at a time: if both are wanted, give one of them another --name"
            )),
        }
    }

    /// Who has written the newest number that is not ours.
    async fn successor(&self) -> Result<Option<(u64, String)>> {
        let own = self.number.load(SeqCst);
        loop {
            let newest = self.store.numbers().await?.last().copied().filter(|newest| *newest > own);
            let Some(number) = newest else { return Ok(None) };
            let writer = match self.store.load(number).await? {
                Ok(Saved::Claim(claim)) => Some(claim.writer),
                Ok(Saved::Checkpoint(checkpoint)) => checkpoint.manifest.writer,
                Err(_) => None,
            };
            // Unless it has been forgotten meanwhile.
            if writer.is_some() || self.store.exists(number).await? {
                return Ok(Some((number, writer.map_or("another process".to_owned(), |it| it.to_string()))));
            }
        }
    }
}
