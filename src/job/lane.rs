//! One lane: a thread that owns partitions from their bytes to their panes and shares nothing until a window closes.
//!
//! Its partitions may be of several tables, when they come over one connection: each table has a decoder and windows of
//! its own in the lane.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use datafusion::arrow::array::{RecordBatch, UInt32Array};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::alignment::Track;
use super::derived::TableDecoder;
use super::discovery::Drift;
use super::input::{InputPlan, LanePipeline, LaneWork};
use super::keeping::{ForRows, Keeping};
use super::letters::Letters;
use super::message::{Assignment, Close, Course, FromLane, PartitionState, ReadBefore, Takes, ToLane};
use super::mirror::Mirror;
use super::multiset;
use super::outside::Outside;
use super::progress::Progress;
use super::report::WaitsFor;
use super::retraction::Signing;
use super::waiting::PIECE;
use super::{limits, rows};
use crate::change::{ChangeBatch, NO_TIME, OffsetRange, Op, TopicPartition};
use crate::checkpoint::Truncate;
use crate::error::{Error, Result};
use crate::format::infer::Sample;
use crate::format::watch::Watch;
use crate::source::{RawBatch, SourceReader};
use crate::state::{PartitionRows, Save};
use crate::window::NO_EVENT_TIME;
use crate::window::aggregate::{EventTimes, InputId, WindowAggregate, WindowState};
use crate::window::watermark::{BEGINNING_OF_TIME, PartitionClock};

/// How long a poll waits for records, and so how late an order may be heeded.
const POLL: Duration = Duration::from_millis(20);
/// How long a lane waits before it asks again for what its decoder could not get.
const RETRY: Duration = Duration::from_secs(1);

/// How a lane's turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It goes on at once.
    Worked,
    /// It has nothing to do before its next order.
    Idle,
    /// It was told to stop, or has failed.
    Ended,
}

/// A lane, to be moved to its thread.
pub struct Lane {
    number: usize,
    pub(super) tables: Vec<LaneTable>,
    pub(super) reader: Box<dyn SourceReader>,
    pub(super) partitions: BTreeMap<TopicPartition, Partition>,
    /// Batches read beyond a bound, for the next course, and those that wait for the decoder.
    pub(super) held: VecDeque<RawBatch>,
    /// When the decoder is asked again for what it could not get.
    retry_at: Option<Duration>,
    pub(super) course: Option<Arc<Course>>,
    /// Of a job that was set back.
    pub(super) read_before: Option<Arc<ReadBefore>>,
    /// When the partitions' clocks were last compared.
    pub(super) aligned: Duration,
    /// Whether the source has been asked since the lane last had to wait for the job.
    polled: bool,
    epoch: u64,
    /// Whether it has said what has changed, and waits to be asked for it before it reads on.
    holds: bool,
    orders: Receiver<ToLane>,
    /// The order that it was woken by.
    order: Option<ToLane>,
    /// What was read, kept for its memory.
    batches: Vec<RawBatch>,
    reports: Sender<FromLane>,
    pub(super) progress: Arc<Progress>,
    pub(super) outside: Arc<dyn Outside>,
}

/// What a lane has of a table.
pub(super) struct LaneTable {
    pub(super) plan: Arc<InputPlan>,
    decoder: TableDecoder,
    pub(super) windows: Vec<Option<WindowAggregate>>,
    pub(super) keeping: Keeping,
    /// Over a table whose columns were left out.
    watch: Option<Watch>,
    /// Whether it has got new columns: then it is not read any further.
    drifted: bool,
}

impl LaneTable {
    fn new(plan: Arc<InputPlan>) -> Result<Self> {
        let windows = plan.pipelines.iter().map(|pipeline| match &pipeline.work {
            LaneWork::Window { plan, .. } => WindowAggregate::new(Arc::clone(plan)).map(Some),
            _ => Ok(None),
        });
        let watch = plan.table.open.then(|| Watch::new(&plan.table.options, plan.table.rows()));
        let keeping = Keeping::new(&plan)?;
        Ok(Self {
            decoder: plan.decoder()?,
            windows: windows.collect::<Result<_>>()?,
            keeping,
            watch,
            drifted: false,
            plan,
        })
    }

    /// The windows of its rows, each with the input that they are of.
    fn aggregates(&mut self) -> impl Iterator<Item = (InputId, &mut WindowAggregate)> {
        let pipelines = self.plan.pipelines.iter().zip(&mut self.windows);
        pipelines.filter_map(|(pipeline, windows)| Some((pipeline.input()?, windows.as_mut()?)))
    }
}

pub(super) struct Partition {
    pub(super) table: usize,
    generation: u64,
    range: OffsetRange,
    pub(super) clock: PartitionClock,
    pub(super) last_arrival: i64,
    pub(super) at_bound: bool,
    /// How far it is, for the partitions that may wait for it.
    pub(super) track: Option<Arc<Track>>,
    /// Since when it waits for others, by the wall clock.
    pub(super) paused: Option<i64>,
    /// How many records are read at a time, while others may have to be waited for.
    pub(super) piece: usize,
}

impl Lane {
    /// A lane for these tables that waits for its orders.
    pub fn new(
        number: usize,
        plans: &[Arc<InputPlan>],
        reader: Box<dyn SourceReader>,
        orders: Receiver<ToLane>,
        reports: Sender<FromLane>,
        progress: Arc<Progress>,
        outside: Arc<dyn Outside>,
    ) -> Result<Self> {
        Ok(Self {
            number,
            tables: plans.iter().map(|plan| LaneTable::new(Arc::clone(plan))).collect::<Result<_>>()?,
            reader,
            partitions: BTreeMap::new(),
            held: VecDeque::new(),
            retry_at: None,
            course: None,
            read_before: None,
            aligned: outside.elapsed(),
            polled: false,
            epoch: 0,
            holds: false,
            orders,
            order: None,
            batches: Vec::new(),
            reports,
            progress,
            outside,
        })
    }

    /// Works until told to stop.
    pub fn work(mut self) {
        loop {
            match self.turn() {
                Turn::Worked => {}
                Turn::Idle => match self.orders.recv_timeout(Duration::from_secs(1)) {
                    Ok(order) => self.order = Some(order),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                },
                Turn::Ended => return,
            }
        }
    }

    /// Heeds its orders and takes what the source has for it. An error ends the lane and is reported, as is a panic: the job
    /// would wait for this lane for ever.
    pub fn turn(&mut self) -> Turn {
        let reports = self.reports.clone();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.try_turn()));
        if !matches!(outcome, Ok(Ok(Turn::Worked | Turn::Idle))) {
            let paused = self.partitions.values().filter(|it| it.paused.is_some()).count();
            self.progress.count_paused(-(paused as i64));
        }
        let error = match outcome {
            Ok(Ok(turn)) => return turn,
            Ok(Err(error)) => error,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
                Error::internal(format!("a lane panicked: {}", text.unwrap_or("without words")))
            }
        };
        let _ = send(&reports, FromLane::Failed(error));
        Turn::Ended
    }

    fn try_turn(&mut self) -> Result<Turn> {
        loop {
            match self.order.take().map_or_else(|| self.orders.try_recv(), Ok) {
                Ok(ToLane::Stop) | Err(TryRecvError::Disconnected) => return Ok(Turn::Ended),
                Ok(order) => self.obey(order)?,
                Err(TryRecvError::Empty) => break,
            }
        }
        if self.course.is_none() || self.holds {
            return Ok(Turn::Idle);
        }
        if let Some(at) = self.retry_at {
            let left = at.saturating_sub(self.outside.elapsed());
            if !left.is_zero() {
                std::thread::sleep(left.min(POLL));
                return Ok(Turn::Worked);
            }
            self.retry_at = None;
            self.take_in_held()?;
            self.check_bounds()?;
            return Ok(Turn::Worked);
        }
        self.align()?;
        let mut batches = std::mem::take(&mut self.batches);
        self.reader.poll(POLL, &mut batches)?;
        if batches.is_empty() {
            // A partition at its end is not to be waited for: the others should know soon.
            self.aligned = Duration::ZERO;
        }
        self.polled = true;
        for batch in batches.drain(..) {
            self.take_in(batch)?;
        }
        self.batches = batches;
        self.check_bounds()?;
        Ok(Turn::Worked)
    }

    fn obey(&mut self, order: ToLane) -> Result<()> {
        match order {
            ToLane::Assign(assignments) => assignments.into_iter().for_each(|it| self.assign(it)),
            ToLane::Restore { windows, takes } => {
                for (input, windows) in windows {
                    self.restore(input, &windows, &takes)?;
                }
            }
            ToLane::Neighbours(asked) => {
                let mut briefs = Vec::new();
                for (input, aggregate) in self.tables.iter_mut().flat_map(LaneTable::aggregates) {
                    let left = asked.iter().filter(|(asked, _)| *asked == input);
                    briefs.extend(left.map(|(_, left)| (input, aggregate.neighbours(left))));
                }
                self.report(FromLane::Neighbours { lane: self.number, briefs })?;
            }
            ToLane::RestoreRows(saved) => self.restore_rows(&saved.rows)?,
            ToLane::RowsRestored => self.tables.iter_mut().for_each(|table| table.keeping.set_restored()),
            ToLane::Truncate(truncate) => self.truncate(&truncate)?,
            ToLane::Generation { table, generation } => {
                let own = self.partitions.values_mut().filter(|partition| partition.table == table);
                own.for_each(|partition| partition.generation = generation);
            }
            ToLane::Run(course) => {
                self.course = Some(Arc::new(course));
                self.partitions.values_mut().for_each(|partition| partition.set_out());
                self.take_in_held()?;
                self.check_bounds()?;
            }
            ToLane::Pause => self.course = None,
            ToLane::Replay(before) => self.read_before = Some(before),
            ToLane::Cut { epoch, with_state, closes } => self.cut(epoch, with_state, closes)?,
            ToLane::ReadOn => self.holds = false,
            ToLane::Close(close) => self.close(&close)?,
            ToLane::Stop => {}
        }
        Ok(())
    }

    /// Several tables may feed an input: sessions are found where the rows of their partition look for them, everything else
    /// may be anywhere.
    fn restore(&mut self, input: InputId, windows: &[WindowState], takes: &Takes) -> Result<()> {
        for (number, table) in self.tables.iter_mut().enumerate() {
            let is_own = |source: &TopicPartition| match takes {
                Takes::All => true,
                Takes::Own => self.partitions.get(source).is_some_and(|partition| partition.table == number),
                Takes::Others(known) => !known.contains(source),
            };
            if let Some((_, aggregate)) = table.aggregates().find(|(own, _)| *own == input) {
                aggregate.restore(windows, &is_own)?;
                if !matches!(takes, Takes::Own) {
                    break;
                }
            }
        }
        Ok(())
    }

    fn assign(&mut self, assignment: Assignment) {
        let range = OffsetRange { from: assignment.from, to: assignment.from };
        let clock = PartitionClock::at(assignment.clock);
        let last_arrival = self.outside.now();
        let Assignment { table, generation, track, .. } = assignment;
        let partition = Partition {
            table,
            generation,
            range,
            clock,
            last_arrival,
            at_bound: false,
            track,
            paused: None,
            piece: PIECE,
        };
        self.partitions.insert(assignment.partition, partition);
    }

    pub(super) fn take_in_held(&mut self) -> Result<()> {
        std::mem::take(&mut self.held).into_iter().try_for_each(|batch| self.take_in(batch))
    }

    /// Works on a piece up to the bound of its partition and holds the rest back.
    pub(super) fn take_in_piece(&mut self, mut batch: RawBatch) -> Result<()> {
        let Some(course) = self.course.clone().filter(|_| self.retry_at.is_none()) else {
            self.held.push_back(batch);
            return Ok(());
        };
        if let Some(&bound) = course.bounds.as_ref().and_then(|bounds| bounds.get(&batch.source)) {
            if let Some(rest) = batch.split_off(bound) {
                self.held.push_back(rest);
            }
            if batch.range.from >= bound {
                return Ok(());
            }
        }
        let Some(partition) = self.partitions.get(&batch.source) else {
            return Err(Error::internal(format!("records of {} came to a lane that does not own it", batch.source)));
        };
        let table = &mut self.tables[partition.table];
        if table.drifted || partition.paused.is_some() {
            self.held.push_back(batch);
            return Ok(());
        }
        match table.decoder.prepare(&batch) {
            Ok(()) => {
                self.progress.goes_on(WaitsFor::Schemas, &table.plan.table.name);
                self.process_known(batch, &course)
            }
            Err(error) if error.is_transient() => {
                let name = &table.plan.table.name;
                if self.progress.waits(WaitsFor::Schemas, name, &error, self.outside.now()) {
                    tracing::warn!("table {name}: {error}; trying again");
                }
                self.retry_at = Some(self.outside.elapsed() + RETRY);
                self.held.push_back(batch);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Works on a batch up to the first record that has columns which its table does not have.
    fn process_known(&mut self, mut batch: RawBatch, course: &Course) -> Result<()> {
        let Some(partition) = self.partitions.get(&batch.source) else { return Ok(()) };
        let table = &mut self.tables[partition.table];
        let Some(offset) = table.watch.as_mut().and_then(|watch| watch.first_new(&batch)) else {
            return self.process(&batch, course);
        };
        table.drifted = true;
        let name = table.plan.table.name.clone();
        let rest = batch.split_off(offset);
        let record = rest.as_ref().and_then(|rest| rest.record_at(offset));
        let bytes = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let sample = record.map(|it| Sample { key: bytes(it.key), value: bytes(it.value) }).unwrap_or_default();
        let drift = Drift { table: name, source: batch.source.clone(), offset, sample };
        self.held.extend(rest);
        if batch.range.to > batch.range.from {
            self.process(&batch, course)?;
        }
        self.report(FromLane::Drifted(drift))
    }

    fn check_bounds(&mut self) -> Result<()> {
        let Some(bounds) = self.course.as_ref().and_then(|course| course.bounds.as_ref()) else { return Ok(()) };
        for (name, partition) in &mut self.partitions {
            let Some(&bound) = bounds.get(name) else { continue };
            partition.at_bound |= partition.range.to >= bound
                || (self.reader.at_end(name) && !self.held.iter().any(|it| it.source == *name));
        }
        if self.partitions.iter().all(|(name, partition)| partition.at_bound || !bounds.contains_key(name)) {
            self.course = None;
            // Nothing more is read here for now.
            let tracks = self.partitions.values().filter_map(|partition| partition.track.as_ref());
            tracks.for_each(|track| track.set_counts(false));
            self.report(FromLane::Reached { lane: self.number })?;
        }
        Ok(())
    }

    /// The walk of a batch: decode, note the clocks, send rows on, count into windows.
    fn process(&mut self, raw: &RawBatch, course: &Course) -> Result<()> {
        let Some(partition) = self.partitions.get_mut(&raw.source) else { return Ok(()) };
        let number = partition.table;
        let table = &mut self.tables[number];
        let plan = Arc::clone(&table.plan);
        let mut changes = table.decoder.decode(raw)?;
        plan.refuse_missing(raw, &mut changes)?;
        self.progress.count_batch(changes.len(), raw.iter().map(|record| record.value.map_or(0, <[u8]>::len)).sum());
        partition.range.to = raw.range.to;
        if !raw.is_empty() {
            partition.last_arrival = self.outside.now();
        }
        if table.keeping.is_kept() && !course.windows {
            // The rows are kept as they were after these records: the checkpoint has what came of them.
            return Ok(());
        }
        let mirrored = table.keeping.apply(&plan, raw, &mut changes)?;
        if plan.without_snapshot && changes.ops.contains(&Op::Read) {
            let others = (0..changes.len()).filter(|&row| changes.ops[row] != Op::Read).map(|row| row as u32);
            let others = changes.take(&UInt32Array::from_iter_values(others))?;
            changes = ChangeBatch { dead_letters: std::mem::take(&mut changes.dead_letters), ..others };
        }
        let mut letters = Letters::new(raw, &changes);
        let mut times = match plan.reads_clock {
            true => partition.read_at(self.outside.now(), changes.len()),
            false => observe(&plan, &changes, partition, course.windows, &mut letters)?,
        };
        if plan.positions {
            times.positions = Some((raw.source.partition, changes.offsets.clone()));
        }
        let generation = partition.generation;
        partition.show_clock();
        for pipeline in 0..plan.pipelines.len() {
            self.feed((number, pipeline), &changes, mirrored.as_ref(), &times, course, &mut letters)?;
        }
        if course.windows && plan.takes_back() {
            self.feed_signed(number, &changes, mirrored.as_ref(), &times, generation, course, &mut letters)?;
        }
        let letters = letters.into_letters();
        if mirrored.is_some_and(|it| it.truncated) && course.rows {
            let TopicPartition { topic, partition } = &raw.source;
            let table = plan.table.name.clone();
            let last = changes.ops.iter().rposition(|op| *op == Op::Truncate);
            let timestamp = last.map(|row| changes.timestamps[row]).filter(|at| *at != NO_TIME);
            let topic = topic.to_string();
            let truncate = Truncate { table, topic, partition: *partition, timestamp, after: None };
            self.report(FromLane::Truncated { epoch: self.epoch, truncate })?;
        }
        if course.rows && !letters.is_empty() {
            letters.iter().for_each(|letter| self.progress.count_dead_letter(letter.reason));
            let output = &plan.dead_letters;
            let rows = rows::dead_letter_rows(&letters, &changes.source, &plan.job, &plan.table.name, &output.schema)?;
            self.send(output.number, &changes, rows)?;
        }
        Ok(())
    }

    fn feed(
        &mut self,
        (table, number): (usize, usize),
        changes: &ChangeBatch,
        mirrored: Option<&ForRows>,
        times: &EventTimes,
        course: &Course,
        letters: &mut Letters<'_>,
    ) -> Result<()> {
        let plan = Arc::clone(&self.tables[table].plan);
        let pipeline = &plan.pipelines[number];
        if changes.is_empty() && mirrored.is_none_or(|it| it.changes.is_empty()) {
            return Ok(());
        }
        match &pipeline.work {
            LaneWork::Append { stages, more, output } if course.rows => {
                for rows in rows::of_branches((&pipeline.scan, stages), more, changes, letters)? {
                    let sent = rows::with_positions(&rows, changes, &output.schema)?;
                    let offset_of = |row| changes.offsets[rows.source_row(row)];
                    let rows = limits::hold(sent, output, offset_of, letters)?;
                    self.send(output.number, changes, rows)?;
                }
            }
            LaneWork::Mirror { output, .. } if course.rows => {
                let generation = self.generation(&changes.source);
                let known = mirrored.is_some_and(|it| it.knows_before);
                let Some(mirror) = mirror(pipeline, generation, known) else { return Ok(()) };
                let truncates = changes.ops.contains(&Op::Truncate) && mirrored.is_none();
                let refused = match truncates && plan.partitions.load(Relaxed) != 1 {
                    true => Some(letters.refuse_truncates(changes, PARTITIONED)?),
                    false => None,
                };
                let own = std::slice::from_ref(refused.as_ref().unwrap_or(changes));
                let whole = mirrored.map(ForRows::for_mirrors).transpose()?;
                for changes in whole.unwrap_or_else(|| own.iter().collect()) {
                    for rows in mirror.rows_or_refuse(changes, &mut |at, why| letters.expression_failed_at(at, why))? {
                        let rows = limits::hold_mirror(rows, output, letters)?;
                        self.send(output.number, changes, rows)?;
                    }
                }
            }
            LaneWork::Multiset { stages, output } if course.rows => {
                let changes = mirrored.and_then(|it| it.changes.first()).map_or(changes, |it| &it.changes);
                for rows in multiset::rows(stages, &pipeline.scan, changes, &output.schema, letters)? {
                    let rows = limits::hold_positioned(rows, output, letters)?;
                    self.send(output.number, changes, rows)?;
                }
            }
            LaneWork::Window { current: false, .. } if course.windows => {
                let (refused, late) = self.count((table, number), changes, times)?;
                letters.refuse(refused, changes);
                if course.rows {
                    self.send_late(changes, late, Some(letters))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn cut(&mut self, epoch: u64, with_state: Option<Save>, closes: bool) -> Result<()> {
        self.epoch = epoch + 1;
        let began = self.outside.elapsed();
        let mut state = Vec::new();
        let mut held = Vec::new();
        let mut changed = Vec::new();
        let mut keyed = Vec::new();
        for (table, save) in self.tables.iter_mut().filter_map(|table| with_state.map(|save| (table, save))) {
            keyed.extend(table.keeping.save(&table.plan.table.name, save)?);
        }
        for (input, aggregate) in self.tables.iter_mut().flat_map(LaneTable::aggregates) {
            held.push((input, aggregate.held()));
            if with_state.is_some() {
                state.push((input, aggregate.copy_state()?));
            }
            if aggregate.revises() {
                changed.push((input, aggregate.changed()));
            }
        }
        let now = self.outside.now();
        let by_clock = self.partitions.values_mut().filter(|it| self.tables[it.table].plan.reads_clock);
        // What is read from here on is no earlier: windows up to here are complete.
        by_clock.for_each(|partition| partition.raise(now));
        let partitions = self.partitions.iter().map(|(name, partition)| PartitionState {
            partition: name.clone(),
            range: partition.range,
            clock: partition.clock.time(),
            generation: partition.generation,
            at_end: self.polled && self.retry_at.is_none() && self.reader.at_end(name) && partition.paused.is_none(),
            at_bound: partition.at_bound,
            last_arrival: partition.last_arrival,
        });
        let partitions = partitions.collect();
        self.holds = closes && !changed.is_empty();
        if with_state.is_some() {
            let stood = self.outside.elapsed().saturating_sub(began);
            metrics::gauge!("highwater_checkpoint_pause_seconds", "lane" => self.number.to_string())
                .set(stood.as_secs_f64());
            tracing::debug!("lane {} stood for {stood:?} for the checkpoint of epoch {epoch}", self.number);
        }
        self.report(FromLane::Cut { lane: self.number, epoch, partitions, state, keyed, held, changed })
    }

    /// A window once closed stays closed: the clocks of idle partitions, which may be behind, go on to the watermark.
    fn close(&mut self, close: &Close) -> Result<()> {
        for &(table, watermark) in &close.tables {
            let own = self.partitions.values_mut().filter(|partition| partition.table == table);
            own.for_each(|partition| partition.raise(watermark));
        }
        self.holds = false;
        let (mut windows, mut peeked) = (Vec::new(), Vec::new());
        for (input, aggregate) in self.tables.iter_mut().flat_map(LaneTable::aggregates) {
            if let Some((_, watermark)) = close.inputs.iter().find(|(closing, _)| *closing == input) {
                if aggregate.revises() {
                    let wanted = close.peek.get(&input.pipeline).map_or(&[][..], Vec::as_slice);
                    let (closed, copies) = aggregate.close_and_peek(wanted, *watermark)?;
                    windows.push((input, closed));
                    peeked.push((input, copies));
                    continue;
                }
                windows.push((input, aggregate.close(*watermark)?));
            }
        }
        let held =
            self.tables.iter_mut().flat_map(LaneTable::aggregates).map(|(input, it)| (input, it.held())).collect();
        self.report(FromLane::Closed { lane: self.number, windows, held, peeked })
    }

    fn generation(&self, source: &TopicPartition) -> u64 {
        self.partitions.get(source).map_or(0, |partition| partition.generation)
    }

    fn restore_rows(&mut self, rows: &[PartitionRows]) -> Result<()> {
        for rows in rows {
            let Some(table) = self.tables.iter_mut().find(|it| it.plan.table.name == rows.table) else { continue };
            table.keeping.set_kept();
            if self.partitions.contains_key(&rows.source) {
                table.keeping.restore(rows)?;
            }
        }
        Ok(())
    }

    /// The rows of the other partitions go with the version of the last record that was read of each: a row that is as
    /// new as that is written before its tombstone, and of equals the later counts.
    fn truncate(&mut self, truncate: &Truncate) -> Result<()> {
        let Some(number) = self.tables.iter().position(|it| it.plan.table.name == truncate.table) else {
            return Ok(());
        };
        let plan = Arc::clone(&self.tables[number].plan);
        let is_other = |it: &TopicPartition| *it.topic == *truncate.topic && it.partition != truncate.partition;
        let others = self.partitions.iter().filter(|(source, it)| it.table == number && is_other(source));
        let others: Vec<_> = others.map(|(source, it)| (source.clone(), it.range.to - 1, it.generation)).collect();
        for (source, offset, generation) in others {
            for changes in self.tables[number].keeping.empty(&source, offset)? {
                if let (Some(event_time), true) = (&plan.event_time, plan.takes_back()) {
                    let clock = self.partitions.get(&source).map_or(BEGINNING_OF_TIME, |it| it.clock.time());
                    let signing = Signing { plan: &plan, event_time, met: &[clock], generation };
                    let signed = signing.emptied(&changes, &mut self.tables[number].keeping)?;
                    self.count_signed(number, &signed, true, None)?;
                }
                for pipeline in &plan.pipelines {
                    let Some(mirror) = mirror(pipeline, generation, true) else { continue };
                    let LaneWork::Mirror { output, .. } = &pipeline.work else { continue };
                    // A row that the query cannot compute has never been in the mirror.
                    for rows in mirror.rows_or_refuse(&changes, &mut |_, _| ())? {
                        self.send(output.number, &changes, rows)?;
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn send(&mut self, output: usize, changes: &ChangeBatch, rows: RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.report(FromLane::Rows { epoch: self.epoch, output, source: changes.source.clone(), rows })
    }

    /// Waits while the job is busy: what is not taken from the source stays there. Such waiting is not idleness of the
    /// partitions: their silence does not count it.
    fn report(&mut self, report: FromLane) -> Result<()> {
        let before = Instant::now();
        let sent = send(&self.reports, report);
        let waited = self.outside.since(before);
        if waited > POLL {
            self.polled = false;
            self.partitions.values_mut().for_each(|partition| partition.last_arrival += waited.as_millis() as i64);
        }
        sent
    }
}

impl Partition {
    fn set_out(&mut self) {
        self.at_bound = false;
        self.track.iter().for_each(|track| track.set_counts(true));
    }

    fn raise(&mut self, watermark: i64) {
        self.clock.raise(watermark);
        self.show_clock();
    }

    /// The event times of records whose time is that of reading them. Never late: wall clocks are set back now and then.
    fn read_at(&mut self, now: i64, records: usize) -> EventTimes {
        let times = vec![now.max(self.clock.time()); records];
        let mut met = Vec::with_capacity(records);
        self.clock.observe(&times, 0, &mut met);
        EventTimes { times, met, ..EventTimes::default() }
    }

    fn show_clock(&self) {
        self.track.iter().for_each(|track| track.set_clock(self.clock.time()));
    }
}

/// Waits where it must: only on a thread of its own.
fn send(reports: &Sender<FromLane>, report: FromLane) -> Result<()> {
    let sent = match reports.try_send(report) {
        Err(TrySendError::Full(report)) => reports.blocking_send(report).is_ok(),
        sent => sent.is_ok(),
    };
    if sent { Ok(()) } else { Err(Error::internal("the job ended before its lane")) }
}

/// Why a truncate is not applied.
const PARTITIONED: &str = "this topic is one of several partitions, whose rows are only known where they are kept; \
                           set 'before-images' = 'kept', or 'truncate' = 'ignore' or 'stop'";

/// What makes the rows of a mirror's pipeline.
fn mirror(pipeline: &LanePipeline, generation: u64, knows_before: bool) -> Option<Mirror<'_>> {
    let LaneWork::Mirror { stages, key, output } = &pipeline.work else { return None };
    Some(Mirror { stages, key, scan: &pipeline.scan, schema: &output.schema, generation, knows_before })
}

/// The event times of a batch and the clocks that they meet; moves the partition's clock, if windows count.
fn observe(
    plan: &InputPlan,
    changes: &ChangeBatch,
    partition: &mut Partition,
    moves: bool,
    letters: &mut Letters<'_>,
) -> Result<EventTimes> {
    let Some(event_time) = &plan.event_time else { return Ok(EventTimes::default()) };
    letters.set_range(&event_time.range);
    let mut times = super::scan::event_times(&event_time.column.of(changes)?, NO_EVENT_TIME)?;
    for (row, time) in times.iter_mut().enumerate() {
        let arrived = changes.timestamps[row];
        let is_ahead = arrived != NO_TIME && *time > arrived.saturating_add(event_time.max_future);
        if is_ahead || (*time != NO_EVENT_TIME && !event_time.range.contains(time)) {
            letters.note_unusable(row, *time);
            *time = NO_EVENT_TIME;
        }
    }
    let mut met = Vec::with_capacity(times.len());
    if moves {
        partition.clock.observe(&times, event_time.delay, &mut met);
    }
    Ok(EventTimes { times, met, ..EventTimes::default() })
}

/// Wall-clock milliseconds since the epoch.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
