//! The one process that writes a job's checkpoints.
//!
//! ```text
//!  A  ─ 5 ─ 6 ─ 7 ─┐ stopped                  woken: 8 ✗ "taken over by B"
//!  B               └─ claims 8 ─ goes on from 7 ─ 9 ─ 10 ─
//! ```
//!
//! A number is written once ([`object_store::PutMode::Create`]). Old checkpoints are forgotten in their order, so a number that was taken
//! and forgotten is known by the one before it, which is gone too.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use serde::{Deserialize, Serialize};

use super::encoding::{Saved, encode};
use super::kept_rows::encode_rows;
use super::settled_windows::SettledWindow;
use super::store::{Beside, CheckpointStore, Needed, Put};
use super::{Checkpoint, Manifest, State};
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
    /// What was saved after this number counts no more: the job goes on from there, as some of it cannot be used. It stays so if that
    /// is mended afterwards, since its rows are taken out of the tables by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<u64>,
}

/// Saves the checkpoints of a job, as long as no other process has taken it over.
#[derive(Debug)]
pub struct Writer {
    fence: Fence,
    process: Process,
    /// The last checkpoints with state.
    states: VecDeque<Kept>,
    /// The kept rows that the next ones may build on.
    rows: Vec<RowsAt>,
}

/// A checkpoint with state.
#[derive(Debug, Clone)]
struct Kept {
    number: u64,
    /// The first kept rows that it needs have this number, or a greater one.
    rows: u64,
    /// The numbers of the settled windows that it needs.
    settled: BTreeSet<u64>,
}

/// Kept rows that are saved.
#[derive(Debug, Clone, Copy)]
struct RowsAt {
    number: u64,
    /// The epoch by which lanes know the save, unless it was for an earlier process.
    epoch: Option<u64>,
}

impl Writer {
    pub(super) fn new(store: CheckpointStore, process: Process, number: u64) -> Self {
        let fence = Fence { store, number: Arc::new(AtomicU64::new(number)), process: process.id.clone() };
        Self { fence, process, states: VecDeque::new(), rows: Vec::new() }
    }

    /// The number that it has written last.
    pub fn number(&self) -> u64 {
        self.fence.number.load(SeqCst)
    }

    /// Goes on from this checkpoint, which has state.
    pub fn follow(&mut self, with_state: &Manifest) {
        let Manifest { number, rows, settled, .. } = with_state;
        let first_rows = rows.first().copied().unwrap_or(*number);
        self.states = VecDeque::from([Kept { number: *number, rows: first_rows, settled: numbers_of(settled) }]);
        self.rows = rows.iter().map(|&number| RowsAt { number, epoch: None }).collect();
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
        let state_number = if has_state { number } else { self.states.back().map_or(number, |it| it.number) };
        let rows = checkpoint.state.as_ref().map(|state| self.rows_of(state, checkpoint.manifest.epoch, number));
        let rows = rows.transpose()?.unwrap_or_default();
        if let Some(state) = checkpoint.state.as_ref().filter(|state| !state.keyed.is_empty()) {
            // First, so that a checkpoint has its rows. While the number is not taken by another writer, they are ours.
            store
                .put_beside(Beside::KeptRows, number, encode_rows(store.job(), number, &self.process, &state.keyed)?)
                .await?;
        }
        let settled = match &checkpoint.state {
            Some(state) => store.save_settled(number, &self.process, state).await?,
            None => Vec::new(),
        };
        let settled_in = numbers_of(&settled);
        let writer = Some(self.process.clone());
        let numbers = rows.iter().map(|it| it.number).collect();
        let kept = checkpoint.kept_tables().into_iter().map(str::to_owned).collect();
        let manifest =
            Manifest { number, writer, state_number, rows: numbers, settled, kept, ..checkpoint.manifest.clone() };
        let bytes = encode(&manifest, checkpoint)?;
        let put = store.put(number, bytes).await?;
        // Since an earlier try this process may have slept.
        let is_newest = put != Put::There || store.numbers().await?.last() == Some(&number);
        if put == Put::Refused || !is_newest || !store.exists(before).await? {
            return Err(self.fence.lost().await);
        }
        self.fence.number.store(number, SeqCst);
        if has_state {
            let first_rows = rows.first().map_or(number, |it| it.number);
            self.states.push_back(Kept { number, rows: first_rows, settled: settled_in });
            self.rows = rows;
            while self.states.len() > KEPT {
                self.states.pop_front();
            }
            let needed = Needed {
                from: self.states.iter().map(|it| it.number).min().unwrap_or(number).min(before),
                rows_from: self.states.iter().map(|it| it.rows).min().unwrap_or(number),
                settled: self.states.iter().flat_map(|it| &it.settled).copied().collect(),
                newest: number,
            };
            if let Err(error) = store.forget(&needed).await {
                tracing::warn!("{error}; what is left of old checkpoints is removed with the next ones");
            }
        }
        Ok(())
    }

    /// The kept rows that a checkpoint needs, its own the last.
    fn rows_of(&self, state: &State, epoch: u64, number: u64) -> Result<Vec<RowsAt>> {
        // By the epoch from which on they are all there; least are those of earlier processes.
        let Some(since) = state.keyed.iter().map(|rows| rows.part.since).min() else { return Ok(Vec::new()) };
        if since.is_none() && self.rows.first().is_none_or(|it| it.epoch.is_some()) {
            return Err(Error::internal("kept rows build on a checkpoint that nobody needs any more"));
        }
        let own = RowsAt { number, epoch: Some(epoch) };
        Ok(self.rows.iter().copied().filter(|it| it.epoch >= since).chain([own]).collect())
    }
}

fn numbers_of(settled: &[SettledWindow]) -> BTreeSet<u64> {
    settled.iter().map(|window| window.number).collect()
}

/// Says whether a job still belongs to a writer.
#[derive(Debug, Clone)]
pub struct Fence {
    store: CheckpointStore,
    number: Arc<AtomicU64>,
    /// The writer itself.
    process: String,
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
                 more. Put them back, or run once with --from earliest, which takes the job's rows out of its tables and makes them again: \
                 otherwise the next run does not know what is in the tables"
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
            // What it has written beside nothing: those before were gone.
            if writer.as_ref().is_some_and(|it| it.id == self.process) {
                return Ok(None);
            }
            // Unless it has been forgotten meanwhile.
            if writer.is_some() || self.store.exists(number).await? {
                return Ok(Some((number, writer.map_or("another process".to_owned(), |it| it.to_string()))));
            }
        }
    }
}
