//! A running job.
//!
//! ```text
//!  gather ──tick──► cut: every lane says where it stands ──► close: windows behind the watermark come in
//!    ▲                                                                  │
//!    └── the next epoch's rows gather meanwhile ◄── deliver: checkpoint, then blocks ◄┘
//! ```
//!
//! One epoch is delivered at a time; while it is, the next one gathers. When that is full too, nothing more is taken
//! from the lanes, which then stop polling: that is all the back-pressure there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use super::blocking::block_in_place;
use super::cycle::Step;
use super::delivery::{Deliverer, Delivery};
use super::discovery::{Discovery, Drift};
use super::epoch::EpochRows;
use super::lanes::Lanes;
use super::lookup::SmallTables;
use super::message::{FromLane, ToLane};
use super::nested::NestedWindows;
use super::outputs::Outputs;
use super::progress::Progress;
use super::resting::{KeptSaves, Resting};
use super::revising::Revising;
use super::settings::{Ending, Settings};
use super::table_input::TableInput;
use super::ticker::Ticker;
use crate::checkpoint::{Checkpoint, Described, Fence, Replay, SavedSchemas, Truncate};
use crate::error::{Error, Result};
use crate::sql::query::Query;
use crate::state::{Memory, Save};
use crate::window::aggregate::{Held, InputId};

/// How often the source's client gets its turn, and the lag is measured.
const MAINTENANCE: Duration = Duration::from_secs(1);
/// How often new partitions are looked for.
const LOOK_AROUND: Duration = Duration::from_secs(10);

/// A running job.
pub struct Job {
    pub(super) query: Query,
    pub(super) outputs: Outputs,
    pub(super) settings: Settings,
    pub(super) inputs: Vec<TableInput>,
    /// The lanes, a group per connection.
    pub(super) groups: Vec<Lanes>,
    pub(super) deliverer: Deliverer,
    pub(super) reports: mpsc::Receiver<FromLane>,
    pub(super) progress: Arc<Progress>,
    /// When it was started afresh, milliseconds since the epoch.
    pub(super) started_at: i64,
    /// The number with which this process has taken it over.
    pub(super) claim: u64,
    /// The claim with which it last went back, or 0.
    pub(super) went_back: u64,
    /// The epoch that is being gathered.
    pub(super) epoch: u64,
    pub(super) rows: EpochRows,
    /// What the open windows of each lane hold, as it said last.
    pub(super) held: BTreeMap<usize, Vec<(InputId, Held)>>,
    pub(super) next_rows: EpochRows,
    pub(super) step: Step,
    /// How far the windows of each pipeline have been closed.
    pub(super) closed_to: BTreeMap<usize, i64>,
    /// Windows over windows.
    pub(super) nested: NestedWindows,
    /// The positions of the epoch that is being delivered.
    pub(super) delivering: Option<Checkpoint>,
    pub(super) state_epoch: u64,
    /// What kept rows may take.
    pub(super) memory: Arc<Memory>,
    pub(super) kept_saves: KeptSaves,
    /// Says whether the job is still this process's.
    pub(super) fence: Fence,
    /// The save of kept rows that the current cut is.
    pub(super) saving: Option<Save>,
    pub(super) state_saved: Duration,
    pub(super) looked_around: Duration,
    pub(super) wants_state: bool,
    /// Truncates to be applied to the other partitions of their topics, with the epochs that read them.
    pub(super) truncates: BTreeSet<(u64, Truncate)>,
    pub(super) reached: BTreeSet<usize>,
    pub(super) ends: BTreeMap<crate::change::TopicPartition, i64>,
    pub(super) stopping: bool,
    /// Whether the current cut comes after all that this run will read.
    pub(super) cut_is_last: bool,
    /// Whether the last cut is being saved once more, with its blocks in place.
    pub(super) settling: bool,
    pub(super) has_checkpoint: bool,
    /// What its numbers stand for.
    pub(super) described: Described,
    /// Since when the epoch before is on its way, by the wall clock.
    pub(super) delivering_since: Option<i64>,
    /// What was looked up for the query, when it leaves something out.
    pub(super) discovery: Option<Discovery>,
    pub(super) discovered: Option<SavedSchemas>,
    /// The tables that have got new columns.
    pub(super) drifts: Vec<Drift>,
    /// Whether it ends only to go on with another plan.
    pub(super) replans: bool,
    pub(super) resting: Resting,
    /// Of a job that was set back, until it is where it was.
    pub(super) replay: Option<Replay>,
    /// What has been written of windows that may still change.
    pub(super) revising: Revising,
    /// The small tables that are joined with, kept current.
    #[expect(dead_code, reason = "held, not used")]
    pub(super) small_tables: SmallTables,
    /// Held so that a job without lanes yet does not end.
    #[expect(dead_code, reason = "held, not used")]
    pub(super) own_reports: mpsc::Sender<FromLane>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All that it was bounded to has been read.
    Finished,
    /// It was told to stop.
    Stopped,
}

impl Job {
    /// Gives an order to all lanes.
    pub(super) fn order(&self, order: impl Fn() -> ToLane) {
        self.groups.iter().for_each(|lanes| lanes.order(&order));
    }

    /// The numbers of all lanes.
    pub(super) fn lanes(&self) -> impl Iterator<Item = usize> {
        self.groups.iter().flat_map(Lanes::numbers)
    }

    /// Ends this plan, so that the job goes on with another.
    fn replan(&mut self) {
        if !self.stopping {
            self.replans = true;
            self.stop_reading();
        }
    }

    /// Lanes stop at once, not when the epoch that is on its way has been delivered.
    fn stop_reading(&mut self) {
        self.stopping = true;
        self.order(|| ToLane::Pause);
    }

    /// Works until all has been read, or it is told to stop.
    pub(super) async fn work(&mut self, mut stop: watch::Receiver<bool>) -> Result<Outcome> {
        let mut flush = Ticker::new(&self.settings.outside, self.settings.flush_interval);
        let mut maintenance = Ticker::new(&self.settings.outside, MAINTENANCE);
        let (mut is_told, mut too_late): (bool, BoxFuture<'static, ()>) = (false, Box::pin(std::future::pending()));
        while !matches!(self.step, Step::Done) {
            let is_full = self.is_full();
            if is_full || self.memory.is_behind() || self.all_reached() || self.stopping {
                self.begin_cut()?;
            }
            let is_blocked = is_full && self.delivering.is_some() && matches!(self.step, Step::Gathering);
            // In this order, so that lanes that always have something to say keep nothing else from its turn, and so that a
            // simulation goes the same way again.
            tokio::select! {
                biased;
                delivered = self.deliverer.delivered(), if self.delivering.is_some() => self.delivered(delivered?).await?,
                () = flush.tick() => self.begin_cut()?,
                () = maintenance.tick() => self.maintain()?,
                () = told(&mut stop), if !is_told => {
                    is_told = true;
                    too_late = self.settings.outside.sleep(self.settings.stop_within);
                    if !self.stopping {
                        self.stop_reading();
                    }
                }
                () = &mut too_late => return Err(self.stopped_short()),
                report = self.reports.recv(), if !is_blocked => match report {
                    Some(report) => self.heed(report).await?,
                    None => return Err(Error::internal("all lanes have ended")),
                },
            }
        }
        Ok(if self.all_reached() { Outcome::Finished } else { Outcome::Stopped })
    }

    /// Told to stop, it could not deliver all that it has read.
    fn stopped_short(&self) -> Error {
        let why = self.progress.waited_for().unwrap_or_else(|| "it takes longer".to_owned());
        Error::transient(
            format!(
                "job \"{}\" stops without having delivered all that it has read within {:?}; the next run does so, nothing is lost",
                self.settings.name, self.settings.stop_within
            ),
            why,
        )
    }

    /// Whether as much has gathered as an epoch may have.
    pub(super) fn is_full(&self) -> bool {
        self.rows.rows >= self.settings.flush_rows || self.rows.bytes >= self.settings.flush_bytes
    }

    async fn heed(&mut self, report: FromLane) -> Result<()> {
        match report {
            FromLane::Rows { epoch, output, source, rows } => {
                let gathering = if epoch <= self.epoch { &mut self.rows } else { &mut self.next_rows };
                gathering.add(output, source, rows);
            }
            FromLane::Reached { lane } => {
                self.reached.insert(lane);
            }
            FromLane::Truncated { epoch, truncate } => {
                // Alone in its topic, the partition has done all that there is to do.
                if self.inputs.iter().any(|it| it.name() == truncate.table && it.has_beside(&truncate)) {
                    self.truncates.insert((epoch, truncate));
                }
            }
            FromLane::Failed(error) => return Err(error),
            FromLane::Drifted(drift) => {
                if !self.drifts.iter().any(|it| it.table == drift.table) {
                    self.drifts.push(drift);
                }
                self.replan();
            }
            FromLane::Cut { epoch, .. } if epoch < self.epoch => {}
            FromLane::Cut { lane, partitions, state, keyed, held, changed, .. } => {
                self.inputs.iter_mut().for_each(|input| input.note_cut(&partitions));
                self.held.insert(lane, held);
                if self.cut_came(lane, state, keyed, changed) {
                    self.close().await?;
                }
            }
            FromLane::Closed { lane, windows, held, peeked } => {
                self.held.insert(lane, held);
                if self.closed_came(lane, windows, peeked) && self.ask_neighbours()? {
                    self.complete().await?;
                }
            }
            FromLane::Neighbours { lane, briefs } => {
                if self.neighbours_came(lane, briefs) {
                    self.complete().await?;
                }
            }
        }
        Ok(())
    }

    async fn delivered(&mut self, epoch: u64) -> Result<()> {
        let Some(checkpoint) = self.delivering.take() else { return Ok(()) };
        self.delivering_since = None;
        debug_assert_eq!(checkpoint.manifest.epoch, epoch, "epochs are delivered in order");
        let positions = &checkpoint.manifest.positions;
        for input in &mut self.inputs {
            if let Err(error) = block_in_place(|| input.commit(positions)) {
                tracing::debug!("offsets were not committed to Kafka, which only tools look at: {error}");
            }
        }
        self.has_checkpoint = true;
        if self.settling {
            self.step = Step::Done;
        } else if self.cut_is_last && checkpoint.state.is_some() && matches!(self.step, Step::Gathering) {
            self.settle(checkpoint).await?;
        }
        Ok(())
    }

    /// The last cut once more, now that its blocks are in place: the next run has nothing to look for.
    async fn settle(&mut self, mut checkpoint: Checkpoint) -> Result<()> {
        let is_finished = self.is_finished();
        let manifest = &mut checkpoint.manifest;
        manifest.epoch = self.epoch;
        manifest.state_epoch = self.epoch;
        manifest.intents.clear();
        manifest.positions.iter_mut().for_each(|position| position.from = position.offset);
        manifest.finished = is_finished;
        checkpoint.rows.clear();
        for rows in checkpoint.state.iter_mut().flat_map(|state| &mut state.keyed) {
            *rows = rows.unchanged();
        }
        self.settling = true;
        self.delivering_since = Some(self.settings.outside.now());
        self.delivering = Some(checkpoint.clone());
        let delivery = Delivery { checkpoint, blocks: Vec::new(), again: false, takes_out: Vec::new() };
        self.deliverer.deliver(delivery).await
    }

    fn maintain(&mut self) -> Result<()> {
        // Asking the brokers takes its time, in which nothing else happens here: seldom, and not when the end is near.
        let looks_around = self.settings.outside.elapsed() >= self.looked_around + LOOK_AROUND && !self.stopping;
        let is_endless = self.settings.ending == Ending::Endless;
        let mut lag = 0;
        let groups = &mut self.groups;
        for input in &mut self.inputs {
            block_in_place(|| input.maintain())?;
            if is_endless {
                self.ends.extend(input.known_ends());
            }
            if is_endless && looks_around {
                block_in_place(|| input.check_topics())?;
                match block_in_place(|| input.notice_partitions(&mut groups[input.group])) {
                    Ok(appeared) => self.wants_state |= appeared,
                    Err(error) if error.is_transient() => tracing::debug!("cannot look for new partitions: {error}"),
                    Err(error) => tracing::warn!("{error}"),
                }
            }
            lag += input.lag(&self.ends);
        }
        if is_endless && looks_around {
            if self.looks_for_tables()? {
                self.replan();
            }
            // From when it is done, so that brokers which take long do not keep everything else from its turn.
            self.looked_around = self.settings.outside.elapsed();
        }
        self.progress.lag.store(lag, Relaxed);
        metrics::gauge!("highwater_lag_records").set(lag as f64);
        metrics::gauge!("highwater_kept_rows_memory_bytes").set(self.memory.used() as f64);
        metrics::gauge!("highwater_kept_rows_disk_bytes").set(self.memory.on_disk() as f64);
        self.observe();
        Ok(())
    }

    /// Whether databases have got tables that the plan does not have.
    fn looks_for_tables(&mut self) -> Result<bool> {
        let Some(discovery) = self.discovery.as_mut().filter(|it| it.may_grow()) else { return Ok(false) };
        match block_in_place(|| discovery.look()) {
            Err(error) if error.is_transient() => {
                tracing::debug!("cannot look for new tables: {error}");
                Ok(false)
            }
            looked => looked,
        }
    }
}

/// Returns when `stop` has turned true; never, when nobody can turn it any more.
pub(super) async fn told(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
