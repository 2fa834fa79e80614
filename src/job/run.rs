//! A job from start to end.
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
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use tokio::sync::{mpsc, watch};

use super::delivery::{Deliverer, Delivery};
use super::epoch::{Cut, EpochRows, blocks, intents};
use super::input::InputPlan;
use super::lane::now;
use super::message::{Course, FromLane, ToLane};
use super::outputs::Outputs;
use super::progress::Progress;
use super::settings::{Ending, Settings};
use super::table_input::TableInput;
use crate::checkpoint::{Checkpoint, FORMAT_VERSION, Manifest};
use crate::error::{Error, Result};
use crate::sink;
use crate::sql::catalog::Table;
use crate::sql::pipeline::{ClosedWindow, Pipeline, Work};
use crate::sql::query::Query;
use crate::window::aggregate::WindowState;
use crate::window::pane::Pane;

/// How many reports of lanes may wait for the job. Few: a report may be a batch of rows, some megabytes.
const REPORTS: usize = 8;
/// How often the source's client gets its turn, new partitions are looked for, and the lag is measured.
const MAINTENANCE: Duration = Duration::from_secs(2);

/// A running job.
pub struct Job {
    pub(super) query: Query,
    pub(super) outputs: Outputs,
    pub(super) settings: Settings,
    pub(super) inputs: Vec<TableInput>,
    pub(super) deliverer: Deliverer,
    pub(super) reports: mpsc::Receiver<FromLane>,
    pub(super) progress: Arc<Progress>,
    /// The epoch that is being gathered.
    pub(super) epoch: u64,
    pub(super) rows: EpochRows,
    next_rows: EpochRows,
    step: Step,
    /// The positions of the epoch that is being delivered.
    delivering: Option<Checkpoint>,
    state_epoch: u64,
    state_saved: Instant,
    wants_state: bool,
    reached: BTreeSet<usize>,
    ends: BTreeMap<crate::change::TopicPartition, i64>,
    stopping: bool,
    /// Whether the current cut comes after all that this run will read.
    cut_is_last: bool,
    /// Whether the last cut is being saved once more, with its blocks in place.
    settling: bool,
    has_checkpoint: bool,
}

/// Where the current epoch is.
enum Step {
    Gathering,
    Cutting { waiting: BTreeSet<usize>, state: Option<BTreeMap<usize, Vec<WindowState>>>, open_windows: usize },
    Closing { waiting: BTreeSet<usize>, state: Option<BTreeMap<usize, Vec<WindowState>>>, closed: BTreeMap<usize, Vec<WindowState>> },
    Done,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All that it was bounded to has been read.
    Finished,
    /// It was told to stop.
    Stopped,
}

/// Runs a query until it ends or `stop` turns true. Everything read is delivered before this returns.
pub async fn run(query: Query, settings: Settings, progress: Arc<Progress>, stop: watch::Receiver<bool>) -> Result<Outcome> {
    let mut job = Job::start(query, settings, progress).await?;
    let outcome = job.work(stop).await;
    tokio::task::block_in_place(|| {
        // Lanes may be waiting to report.
        job.reports.close();
        job.inputs.iter_mut().for_each(TableInput::stop);
    });
    let outcome = outcome?;
    job.deliverer.finish().await?;
    Ok(outcome)
}

impl Job {
    async fn start(query: Query, settings: Settings, progress: Arc<Progress>) -> Result<Self> {
        let outputs = Outputs::new(&query, &settings.name)?;
        if settings.reset_state {
            settings.checkpoints.clear().await?;
        }
        let recovered = settings.checkpoints.recover().await?;
        if let Some(recovered) = &recovered {
            check_compatible(&recovered.last.manifest, &query, &settings)?;
        }
        let mut sinks = Vec::new();
        for table in &outputs.tables {
            let mut sink = sink::open(table, recovered.is_some())?;
            prepare(sink.as_mut(), table).await?;
            sinks.push(sink);
        }
        let (reports_in, reports) = mpsc::channel(REPORTS);
        let mut inputs = Vec::new();
        let mut first_lane = 0;
        for (table, pipelines) in by_table(&query.pipelines) {
            let plan = InputPlan::new(&table, &pipelines, &outputs, &settings.name)?;
            let open = || TableInput::open(plan, &settings, first_lane, &reports_in, &progress);
            let input = tokio::task::block_in_place(open)?;
            first_lane += input.lanes().count();
            inputs.push(input);
        }
        let deliverer = Deliverer::start(settings.checkpoints.clone(), sinks, outputs.tables.clone(), Arc::clone(&progress));
        let mut job = Self {
            query,
            outputs,
            settings,
            inputs,
            deliverer,
            reports,
            progress,
            epoch: 1,
            rows: EpochRows::default(),
            next_rows: EpochRows::default(),
            step: Step::Gathering,
            delivering: None,
            state_epoch: 0,
            state_saved: Instant::now(),
            wants_state: true,
            reached: BTreeSet::new(),
            ends: BTreeMap::new(),
            stopping: false,
            cut_is_last: false,
            settling: false,
            has_checkpoint: false,
        };
        match recovered {
            Some(recovered) => {
                job.recover(&recovered).await?;
                job.state_epoch = recovered.with_state.manifest.epoch;
                job.epoch = recovered.last.manifest.epoch + 1;
            }
            None => tokio::task::block_in_place(|| job.inputs.iter_mut().try_for_each(|input| input.assign(None, |it| it.offset)))?,
        }
        job.set_out()?;
        Ok(job)
    }

    /// Sends the lanes on their way: without end, or up to the ends that the topics have now.
    fn set_out(&mut self) -> Result<()> {
        let is_bounded = self.settings.ending != Ending::Endless;
        for input in &mut self.inputs {
            let ends = tokio::task::block_in_place(|| input.end_offsets())?;
            let bounds = is_bounded.then(|| ends.clone());
            input.order(|| ToLane::Run(Course { windows: true, rows: true, bounds: bounds.clone() }));
            self.ends.extend(ends);
        }
        // The lanes' count of epochs starts with the first cut.
        let epoch = self.epoch - 1;
        self.inputs.iter().for_each(|input| input.order(|| ToLane::Cut { epoch, with_state: false }));
        Ok(())
    }

    async fn work(&mut self, mut stop: watch::Receiver<bool>) -> Result<Outcome> {
        let mut flush = tokio::time::interval(self.settings.flush_interval);
        let mut maintenance = tokio::time::interval(MAINTENANCE);
        flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        maintenance.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !matches!(self.step, Step::Done) {
            let is_full = self.rows.rows >= self.settings.flush_rows || self.rows.bytes >= self.settings.flush_bytes;
            if is_full || self.all_reached() || self.stopping {
                self.begin_cut();
            }
            let is_blocked = is_full && self.delivering.is_some() && matches!(self.step, Step::Gathering);
            tokio::select! {
                report = self.reports.recv(), if !is_blocked => match report {
                    Some(report) => self.heed(report).await?,
                    None => return Err(Error::internal("all lanes have ended")),
                },
                delivered = self.deliverer.delivered(), if self.delivering.is_some() => self.delivered(delivered?).await?,
                _ = flush.tick() => self.begin_cut(),
                _ = maintenance.tick() => self.maintain()?,
                changed = stop.changed(), if !self.stopping => self.stopping = changed.is_err() || *stop.borrow(),
            }
        }
        Ok(if self.all_reached() { Outcome::Finished } else { Outcome::Stopped })
    }

    /// Whether the current cut is the end of a bounded run: nothing more will ever be read.
    fn is_finished(&self) -> bool {
        self.cut_is_last && self.settings.ending == Ending::Bounded && self.all_reached()
    }

    fn all_reached(&self) -> bool {
        let mut lanes = self.inputs.iter().flat_map(TableInput::lanes);
        self.settings.ending != Ending::Endless && lanes.all(|lane| self.reached.contains(&lane))
    }

    /// Asks every lane where it stands, unless the epoch before is still on its way.
    fn begin_cut(&mut self) {
        if !matches!(self.step, Step::Gathering) || self.delivering.is_some() {
            return;
        }
        self.cut_is_last = self.stopping || self.all_reached();
        let is_due = self.state_saved.elapsed() >= self.settings.checkpoint_interval;
        let with_state = self.cut_is_last || is_due || self.wants_state;
        let epoch = self.epoch;
        if self.stopping {
            self.inputs.iter().for_each(|input| input.order(|| ToLane::Pause));
        }
        self.inputs.iter().for_each(|input| input.order(|| ToLane::Cut { epoch, with_state }));
        let waiting = self.inputs.iter().flat_map(TableInput::lanes).collect();
        self.step = Step::Cutting { waiting, state: with_state.then(BTreeMap::new), open_windows: 0 };
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
            FromLane::Failed(error) => return Err(error),
            FromLane::Cut { epoch, .. } if epoch < self.epoch => {}
            FromLane::Cut { lane, partitions, state, open_windows, .. } => {
                let input = self.inputs.iter_mut().find(|input| input.lanes().any(|it| it == lane));
                input.into_iter().for_each(|input| input.note_cut(&partitions));
                if self.cut_came(lane, state, open_windows) {
                    self.close().await?;
                }
            }
            FromLane::Closed { lane, windows } => {
                if self.closed_came(lane, windows) {
                    self.complete().await?;
                }
            }
        }
        Ok(())
    }

    /// Notes a lane's cut; true when it was the last that was missing.
    fn cut_came(&mut self, lane: usize, windows: Vec<(usize, Vec<WindowState>)>, open: usize) -> bool {
        let Step::Cutting { waiting, state, open_windows } = &mut self.step else { return false };
        *open_windows += open;
        if let Some(state) = state {
            windows.into_iter().for_each(|(pipeline, windows)| state.entry(pipeline).or_default().extend(windows));
        }
        waiting.remove(&lane);
        waiting.is_empty()
    }

    fn closed_came(&mut self, lane: usize, windows: Vec<(usize, Vec<WindowState>)>) -> bool {
        let Step::Closing { waiting, closed, .. } = &mut self.step else { return false };
        windows.into_iter().for_each(|(pipeline, windows)| closed.entry(pipeline).or_default().extend(windows));
        waiting.remove(&lane);
        waiting.is_empty()
    }

    /// All lanes stand: moves the watermarks, and asks for the windows behind them.
    async fn close(&mut self) -> Result<()> {
        let Step::Cutting { state, open_windows, .. } = std::mem::replace(&mut self.step, Step::Gathering) else { return Ok(()) };
        self.progress.open_windows.store(open_windows as u64, Relaxed);
        let at_the_end = self.is_finished();
        let mut waiting = BTreeSet::new();
        let mut least = i64::MAX;
        for input in self.inputs.iter_mut().filter(|input| input.has_windows()) {
            let before = input.watermark();
            let watermark = input.advance_watermark(at_the_end);
            least = least.min(watermark);
            if watermark > before {
                input.order(|| ToLane::Close { watermark });
                waiting.extend(input.lanes());
            }
        }
        if !at_the_end && least != i64::MAX {
            self.progress.watermark.store(least, Relaxed);
        }
        let nothing_to_close = waiting.is_empty();
        self.step = Step::Closing { waiting, state, closed: BTreeMap::new() };
        if nothing_to_close { self.complete().await } else { Ok(()) }
    }

    /// All windows have come in: makes the epoch's blocks and hands them over.
    async fn complete(&mut self) -> Result<()> {
        let Step::Closing { state, closed, .. } = std::mem::replace(&mut self.step, Step::Gathering) else { return Ok(()) };
        let mut results = BTreeMap::new();
        for (pipeline, windows) in closed {
            let rows = self.results(pipeline, windows).await?;
            if !rows.is_empty() {
                results.insert(self.outputs.of_pipeline(pipeline).number, rows);
            }
        }
        let ranges = self.inputs.iter().flat_map(TableInput::ranges).collect();
        let made_at = now();
        let cut = Cut { job: &self.settings.name, epoch: self.epoch, made_at, ranges: &ranges };
        let is_quiet = self.rows.is_empty() && results.is_empty() && ranges.values().all(|range| range.from == range.to);
        let blocks = blocks(&cut, &self.outputs.tables, std::mem::take(&mut self.rows), results);
        self.rows = std::mem::take(&mut self.next_rows);
        if is_quiet && !self.cut_is_last && self.has_checkpoint {
            self.epoch += 1;
            self.state_saved = Instant::now();
            return Ok(());
        }
        self.note_state(state.is_some());
        let (intents, rows) = intents(&blocks, &self.outputs.tables);
        let manifest = Manifest {
            version: FORMAT_VERSION,
            job: self.settings.name.clone(),
            epoch: self.epoch,
            made_at,
            fingerprints: fingerprints(&self.query),
            positions: self.inputs.iter().flat_map(TableInput::positions).collect(),
            watermarks: self.inputs.iter().map(|input| (input.name().to_owned(), input.watermark())).collect(),
            intents,
            state_epoch: self.state_epoch,
            finished: false,
        };
        let checkpoint = Checkpoint { manifest, state, rows };
        self.epoch += 1;
        self.delivering = Some(checkpoint.clone());
        self.deliverer.deliver(Delivery { checkpoint, blocks, again: false }).await
    }

    fn note_state(&mut self, saved: bool) {
        if saved {
            (self.state_epoch, self.state_saved, self.wants_state) = (self.epoch, Instant::now(), false);
        }
    }

    /// The rows of a pipeline's windows that have closed: lanes merged, then the rest of the query.
    async fn results(&self, pipeline: usize, windows: Vec<WindowState>) -> Result<Vec<RecordBatch>> {
        let Work::Window { lane, closing, .. } = &self.query.pipelines[pipeline].work else { return Ok(Vec::new()) };
        let merged = tokio::task::block_in_place(|| merge(windows, lane))?;
        self.progress.closed_windows.fetch_add(merged.len() as u64, Relaxed);
        let schema = self.outputs.of_pipeline(pipeline).schema;
        let rows = closing.finish(&merged).await?;
        rows.iter().map(|batch| super::rows::conform(batch.columns(), &schema)).collect()
    }

    async fn delivered(&mut self, epoch: u64) -> Result<()> {
        let Some(checkpoint) = self.delivering.take() else { return Ok(()) };
        debug_assert_eq!(checkpoint.manifest.epoch, epoch, "epochs are delivered in order");
        let positions = &checkpoint.manifest.positions;
        for input in &mut self.inputs {
            if let Err(error) = tokio::task::block_in_place(|| input.commit(positions)) {
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
        self.settling = true;
        self.delivering = Some(checkpoint.clone());
        self.deliverer.deliver(Delivery { checkpoint, blocks: Vec::new(), again: false }).await
    }

    fn maintain(&mut self) -> Result<()> {
        let is_endless = self.settings.ending == Ending::Endless;
        let mut lag = 0;
        for input in &mut self.inputs {
            tokio::task::block_in_place(|| input.maintain())?;
            if is_endless {
                match tokio::task::block_in_place(|| input.notice_partitions()) {
                    Ok(appeared) => self.wants_state |= appeared,
                    Err(error) if error.is_transient() => tracing::debug!("cannot look for new partitions: {error}"),
                    Err(error) => tracing::warn!("{error}"),
                }
                if let Ok(ends) = tokio::task::block_in_place(|| input.end_offsets()) {
                    self.ends.extend(ends);
                }
            }
            lag += input.lag(&self.ends);
        }
        self.progress.lag.store(lag, Relaxed);
        Ok(())
    }
}

/// The windows of all lanes, by start, each with the groups of all lanes.
fn merge(windows: Vec<WindowState>, plan: &crate::window::aggregate::WindowPlan) -> Result<Vec<ClosedWindow>> {
    let mut by_start: BTreeMap<i64, Vec<RecordBatch>> = BTreeMap::new();
    windows.into_iter().for_each(|window| by_start.entry(window.start).or_default().push(window.groups));
    let merge = |(start, states): (i64, Vec<RecordBatch>)| {
        let mut pane = Pane::new(&plan.layout)?;
        states.iter().try_for_each(|state| pane.merge(state))?;
        Ok(ClosedWindow { start, groups: pane.take_results()? })
    };
    by_start.into_iter().map(merge).collect()
}

/// The pipelines by the table that they read, in the order of the query.
pub fn by_table(pipelines: &[Arc<Pipeline>]) -> Vec<(Arc<Table>, Vec<(usize, Arc<Pipeline>)>)> {
    let mut tables: Vec<(Arc<Table>, Vec<(usize, Arc<Pipeline>)>)> = Vec::new();
    for (number, pipeline) in pipelines.iter().enumerate() {
        let entry = (number, Arc::clone(pipeline));
        match tables.iter_mut().find(|(table, _)| table.name == pipeline.table.name) {
            Some((_, entries)) => entries.push(entry),
            None => tables.push((Arc::clone(&pipeline.table), vec![entry])),
        }
    }
    tables
}

fn fingerprints(query: &Query) -> Vec<String> {
    query.pipelines.iter().map(|pipeline| pipeline.fingerprint.clone()).collect()
}

fn check_compatible(manifest: &Manifest, query: &Query, settings: &Settings) -> Result<()> {
    let (place, name) = (settings.checkpoints.place(), &settings.name);
    let choices = "run it under another --name, or start afresh with --reset-state";
    if manifest.fingerprints != fingerprints(query) {
        return Err(Error::config(format!("the query differs from the one that job \"{name}\" has its checkpoint of (in {place}); {choices}")));
    }
    if manifest.finished {
        return Err(Error::config(format!("job \"{name}\" has run to its end (checkpoint in {place}); {choices}")));
    }
    Ok(())
}

async fn prepare(sink: &mut dyn sink::Sink, table: &sink::OutputTable) -> Result<()> {
    let mut pause = Duration::from_millis(200);
    loop {
        match sink.prepare().await {
            Err(error) if error.is_transient() => {
                tracing::warn!("table {}: {error}; trying again in {pause:?}", table.options.table());
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(10));
            }
            outcome => return outcome,
        }
    }
}

