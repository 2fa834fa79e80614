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
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::{mpsc, watch};

use super::alignment::align_together;
use super::blocking::block_in_place;
use super::cycle::Step;
use super::delivery::{Deliverer, Delivery};
use super::discovery::{Discovery, Drift};
use super::epoch::EpochRows;
use super::generation;
use super::input::{InputPlan, by_table};
use super::lanes::Lanes;
use super::lookup::SmallTables;
use super::message::{Course, FromLane, ToLane};
use super::nested::NestedWindows;
use super::observing::described;
use super::opening::{ALL_TABLES, opened, prepared};
use super::outputs::Outputs;
use super::progress::Progress;
use super::report::WaitsFor;
use super::resting::{KeptSaves, Resting};
use super::revising::Revising;
use super::settings::{Ending, Settings};
use super::table_input::TableInput;
use super::takeover::{Passed, check_afresh, look_up, recover, take_over, warn_of_emptied};
use super::ticker::Ticker;
use crate::checkpoint::{Checkpoint, Described, Fence, Recovered, Replay, SavedSchemas, Truncate};
use crate::error::{Error, Result};
use crate::sink;
use crate::sql::catalog::Table;
use crate::sql::query::Query;
use crate::sql::submission::Submission;
use crate::state::{Memory, Save};
use crate::window::aggregate::{Held, InputId};

/// How often the source's client gets its turn, and the lag is measured.
const MAINTENANCE: Duration = Duration::from_secs(1);
/// How many tables are created or checked at once.
const PREPARED_AT_ONCE: usize = 8;
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
    looked_around: Duration,
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
    discovery: Option<Discovery>,
    pub(super) discovered: Option<SavedSchemas>,
    /// The tables that have got new columns.
    drifts: Vec<Drift>,
    /// Whether it ends only to go on with another plan.
    replans: bool,
    pub(super) resting: Resting,
    /// Of a job that was set back, until it is where it was.
    pub(super) replay: Option<Replay>,
    /// What has been written of windows that may still change.
    pub(super) revising: Revising,
    /// The small tables that are joined with, kept current.
    #[expect(dead_code, reason = "held, not used")]
    small_tables: SmallTables,
    /// Held so that a job without lanes yet does not end.
    #[expect(dead_code, reason = "held, not used")]
    own_reports: mpsc::Sender<FromLane>,
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
pub async fn run(
    query: Query,
    settings: Settings,
    progress: Arc<Progress>,
    stop: watch::Receiver<bool>,
) -> Result<Outcome> {
    Box::pin(life(query, settings, progress, stop, None)).await.map(|(end, _)| end.outcome)
}

/// Runs a submission until it ends or `stop` turns true: as [`run`], but what it leaves out is looked up first, and when that
/// changes, the job goes on with the new plan from where it stood.
pub async fn submit(
    submission: Submission,
    mut settings: Settings,
    progress: Arc<Progress>,
    mut stop: watch::Receiver<bool>,
) -> Result<Outcome> {
    if std::mem::take(&mut settings.reset_state) {
        settings.checkpoints.clear(settings.outside.now()).await?;
    }
    let saved = match submission.is_open() {
        true => look_up(&settings).await?.1,
        false => None,
    };
    let mut discovery = Discovery::new(submission, saved.as_ref().map(|it| &it.last.manifest))?;
    loop {
        if !learn(&mut discovery, &settings, &progress, &mut stop).await? {
            return Ok(Outcome::Stopped);
        }
        let query = discovery.compile().await?;
        super::check::check(&query, &settings.name)?;
        query.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let settings = Settings { set_back: settings.set_back.take(), ..settings.clone() };
        let (progress, stop) = (Arc::clone(&progress), stop.clone());
        let (end, returned) = Box::pin(life(query, settings, progress, stop, Some(discovery))).await?;
        let Some(returned) = returned else { return Ok(end.outcome) };
        discovery = returned;
        discovery.note_run();
        for drift in &end.drifts {
            discovery.take_in(drift)?;
        }
        match (end.goes_on, discovery.stopped().values().next()) {
            (true, _) => {}
            (false, Some(message)) if end.outcome == Outcome::Finished => return Err(Error::config(message.clone())),
            (false, _) => return Ok(end.outcome),
        }
    }
}

/// Waits until enough is known for a plan. False when it was told to stop before.
async fn learn(
    discovery: &mut Discovery,
    settings: &Settings,
    progress: &Progress,
    stop: &mut watch::Receiver<bool>,
) -> Result<bool> {
    let mut said = false;
    loop {
        if !discovery.is_known() {
            match block_in_place(|| discovery.look()) {
                Err(error) if error.is_transient() && settings.ending == Ending::Endless => {
                    if progress.waits(WaitsFor::Source, ALL_TABLES, &error, settings.outside.now()) {
                        tracing::warn!("{error}; trying again");
                    }
                }
                looked => {
                    progress.goes_on(WaitsFor::Source, ALL_TABLES);
                    looked?;
                }
            }
        }
        let Some(missing) = discovery.missing() else { return Ok(true) };
        if settings.ending != Ending::Endless {
            return Err(Error::config(format!(
                "{missing} has no records that its columns could be known from; declare them: CREATE TABLE … (id INT, …) WITH (…)"
            )));
        }
        if !std::mem::replace(&mut said, true) {
            tracing::info!("{missing} has no records yet; waiting for the first, which tells its columns");
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = told(stop) => return Ok(false),
        }
    }
}

/// How a plan of a job ended.
struct End {
    outcome: Outcome,
    /// Whether the job goes on with another plan.
    goes_on: bool,
    drifts: Vec<Drift>,
}

/// Runs one plan of a job.
async fn life(
    query: Query,
    settings: Settings,
    progress: Arc<Progress>,
    stop: watch::Receiver<bool>,
    discovery: Option<Discovery>,
) -> Result<(End, Option<Discovery>)> {
    let mut stop = stop;
    let mut job = tokio::select! {
        biased;
        job = Job::start(query, settings, progress, discovery) => job?,
        // Nothing has been read yet that a checkpoint or the topic does not have.
        () = told(&mut stop) => return Ok((End { outcome: Outcome::Stopped, goes_on: false, drifts: Vec::new() }, None)),
    };
    let outcome = job.work(stop).await;
    block_in_place(|| {
        // Lanes may be waiting to report.
        job.reports.close();
        job.groups.iter_mut().for_each(Lanes::stop);
    });
    let outcome = outcome?;
    job.deliverer.finish().await?;
    Ok((End { outcome, goes_on: job.replans, drifts: job.drifts }, job.discovery))
}

/// Returns when `stop` has turned true; never, when nobody can turn it any more.
async fn told(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl Job {
    async fn start(
        query: Query,
        settings: Settings,
        progress: Arc<Progress>,
        discovery: Option<Discovery>,
    ) -> Result<Self> {
        let mut outputs = Outputs::new(&query, &settings.name)?;
        if settings.reset_state {
            settings.checkpoints.clear(settings.outside.now()).await?;
        }
        // Within a process it is the same query, whatever columns it has got.
        let is_same = discovery.as_ref().is_some_and(Discovery::has_run);
        let found = recover((!is_same).then_some((&query, &outputs)), &settings).await?;
        let (is_resumed, tables) = (found.1.is_some(), outputs.tables.clone());
        let outside = &settings.outside;
        let prepared = tables
            .into_iter()
            .map(|table| prepared(outside.sink(&table, is_resumed), table, outside.as_ref(), &progress));
        let mut sinks: Vec<Box<dyn sink::Sink>> =
            futures::stream::iter(prepared).buffered(PREPARED_AT_ONCE).try_collect().await?;
        sinks.iter().enumerate().for_each(|(number, sink)| outputs.set_limits(number, sink.limits()));
        let described = described(&query, &outputs);
        check_afresh(&found, &settings, &described, &mut sinks).await?;
        if let Some(to) = settings.set_back {
            sinks.iter().try_for_each(|sink| sink.check_take_out(to.time()))?;
        }
        let endless = settings.ending == Ending::Endless;
        let small_tables = SmallTables::load(&query, &settings.outside, &progress, endless).await?;
        let (reports_in, reports) = mpsc::channel(settings.outside.reports());
        let mut plans = Vec::new();
        let is_read = |table: &Table| !discovery.as_ref().is_some_and(|it| it.stopped().contains_key(&table.name));
        for (table, feeds) in by_table(&query.pipelines).into_iter().filter(|(table, _)| is_read(table)) {
            plans.push(InputPlan::new(&table, &feeds, &outputs, &settings.name)?);
        }
        align_together(&mut plans);
        let memory = Memory::new(settings.kept_rows(), &settings.state_folder);
        plans.iter_mut().for_each(|plan| plan.memory = Some(Arc::clone(&memory)));
        let plans: Vec<_> = plans.into_iter().map(Arc::new).collect();
        let (mut inputs, groups) = opened(&plans, &settings, &reports_in, &progress).await?;
        // Only now: a process that cannot run the job does not take it from one that does.
        let known = (!is_same).then_some((&query, &outputs));
        let passed = Passed { sinks: &mut sinks, inputs: &mut inputs };
        let (writer, recovered) = take_over(found, known, &settings, passed).await?;
        warn_of_emptied(recovered.as_ref(), &settings, &described, &sinks);
        let (fence, claim) = (writer.fence(), writer.number());
        let deliverer = Deliverer::start(&settings, writer, sinks, outputs.tables.clone(), Arc::clone(&progress));
        let (now, clock) = (settings.outside.now(), settings.outside.elapsed());
        let revising = Revising::new(&query, &outputs, now)?;
        let nested = NestedWindows::new(&query)?;
        let kept_saves = KeptSaves::new(settings.renew_after);
        let mut job = Self {
            query,
            closed_to: BTreeMap::new(),
            nested,
            outputs,
            settings,
            inputs,
            groups,
            deliverer,
            reports,
            progress,
            started_at: recovered.as_ref().map_or(now, |it| it.last.manifest.started_at),
            claim,
            went_back: recovered.as_ref().map_or(0, |it| it.last.manifest.went_back),
            // A fresh start has epochs of its own: results say which epoch they are of, and earlier runs may have left some.
            epoch: (now / 1_000) as u64,
            rows: EpochRows::default(),
            held: BTreeMap::new(),
            next_rows: EpochRows::default(),
            step: Step::Gathering,
            delivering: None,
            state_epoch: 0,
            memory,
            kept_saves,
            fence,
            saving: None,
            state_saved: clock,
            looked_around: clock,
            wants_state: true,
            truncates: BTreeSet::new(),
            reached: BTreeSet::new(),
            ends: BTreeMap::new(),
            stopping: false,
            cut_is_last: false,
            settling: false,
            has_checkpoint: false,
            described,
            delivering_since: None,
            discovered: discovery.as_ref().and_then(Discovery::saved),
            discovery,
            drifts: Vec::new(),
            replans: false,
            resting: Resting::default(),
            replay: None,
            revising,
            small_tables,
            own_reports: reports_in,
        };
        let recovered = match job.settings.set_back {
            Some(to) => Some(job.set_back(recovered, to).await?),
            None => recovered,
        };
        match recovered {
            Some(mut recovered) => {
                job.renew(&mut recovered)?;
                job.rest(&recovered);
                job.recover(&recovered).await?;
                job.state_epoch = recovered.with_state.manifest.epoch;
                match recovered.passed_over {
                    0 => job.epoch = recovered.last.manifest.epoch + 1,
                    // The server may remember the tokens of blocks that have been taken out.
                    passed_over => job.begin_anew(Some(&recovered.last.manifest), passed_over + 1),
                }
            }
            None => block_in_place(|| {
                tracing::info!(
                    "job {} starts afresh; its checkpoints are in {}",
                    job.settings.name,
                    job.settings.checkpoints.place()
                );
                let (inputs, groups) = (&mut job.inputs, &mut job.groups);
                inputs.iter_mut().try_for_each(|it| it.assign(&mut groups[it.group], None, |it| it.offset))
            })?,
        }
        job.set_out()?;
        Ok(job)
    }

    /// Notices topics that were created anew since the checkpoint.
    fn renew(&mut self, recovered: &mut Recovered) -> Result<()> {
        let inputs = &mut self.inputs;
        let find =
            || inputs.iter_mut().map(|input| input.renewed(&recovered.last.manifest)).collect::<Result<Vec<_>>>();
        let renewed: Vec<_> = block_in_place(find)?.into_iter().flatten().collect();
        generation::renew(recovered, &renewed, self.settings.new_generation)
    }

    /// Takes over what a checkpoint has of tables that are not read.
    fn rest(&mut self, recovered: &Recovered) {
        let is_read = |name: &str| self.inputs.iter().any(|input| input.name() == name);
        let is_fed = |id: InputId| self.nested.has(id) || self.inputs.iter().any(|input| input.feeds(id));
        self.resting = Resting::new(recovered, is_read, is_fed);
    }

    /// Sends the lanes on their way: without end, or up to the ends that the topics have now.
    fn set_out(&mut self) -> Result<()> {
        let is_bounded = self.settings.ending != Ending::Endless;
        for input in &mut self.inputs {
            match self.settings.ending {
                Ending::AtOnce => self.ends.extend(input.ranges().map(|(source, range)| (source, range.to))),
                _ => self.ends.extend(block_in_place(|| input.end_offsets())?),
            }
        }
        let bounds = is_bounded.then(|| self.ends.clone());
        self.order(|| ToLane::Run(Course { windows: true, rows: true, bounds: bounds.clone() }));
        // The lanes' count of epochs starts with the first cut.
        let epoch = self.epoch - 1;
        self.order(|| ToLane::Cut { epoch, with_state: None, closes: false });
        Ok(())
    }

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

    async fn work(&mut self, mut stop: watch::Receiver<bool>) -> Result<Outcome> {
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
}

impl Job {
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
