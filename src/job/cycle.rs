//! The cycle of an epoch: cut, close, complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::changed_query::{fingerprints, outputs_in_words};
use super::delivery::Delivery;
use super::emission::Looked;
use super::epoch::{Cut, blocks, intents};
use super::input::LanePipeline;
use super::lanes::Lanes;
use super::message::{Close, Takes, ToLane};
use super::revising::{ChangedWindows, peeks};
use super::running::Job;
use super::settings::Ending;
use super::table_input::TableInput;
use crate::checkpoint::{Checkpoint, FORMAT_VERSION, Manifest, State};
use crate::error::Result;
use crate::state::PartitionRows;
use crate::window::aggregate::{InputId, WindowPlan, WindowState};
use crate::window::changed::WindowBounds;
use crate::window::session_join;
use crate::window::session_state::Brief;
use crate::window::watermark::{BEGINNING_OF_TIME, END_OF_TIME};

/// The windows of each input.
pub(super) type InputWindows = BTreeMap<InputId, Vec<WindowState>>;
/// The fragments of sessions of each input that others in the lanes may go on with.
pub(super) type InputBriefs = Vec<(InputId, Vec<Brief>)>;

/// Where the current epoch is.
pub(super) enum Step {
    Gathering,
    Cutting {
        waiting: BTreeSet<usize>,
        state: Option<State>,
        changed: ChangedWindows,
    },
    Closing {
        waiting: BTreeSet<usize>,
        state: Option<State>,
        closed: InputWindows,
        neighbours: Neighbours,
        /// Copies of windows that stay open.
        peeked: InputWindows,
        /// Why pipelines have been asked for them.
        looked: BTreeMap<usize, Looked>,
        /// How far event time has come in each pipeline.
        watermarks: BTreeMap<usize, i64>,
        /// How far each had been closed before.
        earlier: BTreeMap<usize, i64>,
    },
    Done,
}

/// What lanes say of the sessions that have left others.
#[derive(Default)]
pub(super) struct Neighbours {
    asked: bool,
    briefs: BTreeMap<InputId, Vec<Brief>>,
}

impl Job {
    /// Whether the current cut is the end of a bounded run: nothing more will ever be read.
    pub(super) fn is_finished(&self) -> bool {
        self.cut_is_last && self.settings.ending == Ending::Bounded && self.all_reached()
    }

    pub(super) fn all_reached(&self) -> bool {
        self.settings.ending != Ending::Endless && self.lanes().all(|lane| self.reached.contains(&lane))
    }

    /// Asks every lane where it stands, unless the epoch before is still on its way.
    pub(super) fn begin_cut(&mut self) -> Result<()> {
        if !matches!(self.step, Step::Gathering) || self.delivering.is_some() {
            return Ok(());
        }
        self.cut_is_last = self.stopping || self.all_reached();
        let is_due = self.settings.outside.elapsed() >= self.state_saved + self.settings.checkpoint_interval;
        self.apply_truncates()?;
        // What was read by the clock cannot be read again at the same time: every checkpoint has its windows.
        let reads_clock = self.inputs.iter().any(|input| input.plan.reads_clock);
        let with_state = self.cut_is_last || is_due || self.wants_state || reads_clock || self.memory.is_behind();
        let epoch = self.epoch;
        self.saving = with_state.then(|| self.kept_saves.next(epoch));
        let save = self.saving;
        self.order(|| ToLane::Cut { epoch, with_state: save, closes: true });
        self.raise_generations();
        let waiting = self.lanes().collect();
        let (state, changed) = (with_state.then(State::default), ChangedWindows::new());
        self.step = Step::Cutting { waiting, state, changed };
        Ok(())
    }

    /// Versions are of a new generation from here on, where keys have changed partitions.
    pub(super) fn raise_generations(&self) {
        for input in self.inputs.iter().filter(|input| !input.has_generation()) {
            self.groups[input.group].order(|| input.generation());
        }
    }

    /// Notes a lane's cut; true when it was the last that was missing.
    pub(super) fn cut_came(
        &mut self,
        lane: usize,
        windows: Vec<(InputId, Vec<WindowState>)>,
        keyed: Vec<PartitionRows>,
        have_changed: Vec<(InputId, Vec<WindowBounds>)>,
    ) -> bool {
        let Step::Cutting { waiting, state, changed } = &mut self.step else { return false };
        have_changed.into_iter().for_each(|(id, windows)| changed.entry(id.pipeline).or_default().extend(windows));
        if let Some(state) = state {
            let windows = windows.into_iter();
            windows.for_each(|(id, windows)| state.windows.entry(id).or_default().extend(windows));
            state.keyed.extend(keyed);
        }
        waiting.remove(&lane);
        waiting.is_empty()
    }

    pub(super) fn closed_came(
        &mut self,
        lane: usize,
        windows: Vec<(InputId, Vec<WindowState>)>,
        looked_at: Vec<(InputId, Vec<WindowState>)>,
    ) -> bool {
        let Step::Closing { waiting, closed, peeked, .. } = &mut self.step else { return false };
        windows.into_iter().for_each(|(id, windows)| closed.entry(id).or_default().extend(windows));
        looked_at.into_iter().for_each(|(id, windows)| peeked.entry(id).or_default().extend(windows));
        waiting.remove(&lane);
        waiting.is_empty()
    }

    pub(super) fn neighbours_came(&mut self, lane: usize, briefs: InputBriefs) -> bool {
        let Step::Closing { waiting, neighbours, .. } = &mut self.step else { return false };
        briefs.into_iter().for_each(|(id, briefs)| neighbours.briefs.entry(id).or_default().extend(briefs));
        waiting.remove(&lane);
        waiting.is_empty()
    }

    /// Asks the lanes which of the sessions that have left some lane go on in another; true when none has to be asked.
    pub(super) fn ask_neighbours(&mut self) -> Result<bool> {
        let Step::Closing { closed, neighbours, .. } = &self.step else { return Ok(true) };
        if neighbours.asked || self.is_finished() {
            return Ok(true);
        }
        let asking = self.briefs(closed)?;
        let asked = self.order_neighbours(&asking);
        let nobody = asked.is_empty();
        if let Step::Closing { waiting, neighbours, .. } = &mut self.step {
            (*waiting, neighbours.asked) = (asked, true);
        }
        Ok(nobody)
    }

    /// The fragments of sessions that have left their lanes.
    pub(super) fn briefs(&self, closed: &InputWindows) -> Result<InputBriefs> {
        let mut briefs = Vec::new();
        for (&id, states) in closed.iter().filter(|(_, states)| !states.is_empty()) {
            let Some(plan) = self.plan_of(id) else { continue };
            if let Some(sessions) = &plan.sessions {
                briefs.push((id, session_join::briefs(states, plan, sessions)?));
            }
        }
        Ok(briefs)
    }

    /// Has the lanes of these inputs look for neighbours of fragments; returns the lanes that will answer.
    pub(super) fn order_neighbours(&self, asking: &[(InputId, Vec<Brief>)]) -> BTreeSet<usize> {
        let mut asked = BTreeSet::new();
        for (group, lanes) in self.groups.iter().enumerate() {
            let is_here = |(id, _): &&(InputId, Vec<Brief>)| self.groups_of(*id).contains(&group);
            let own: Arc<InputBriefs> = Arc::new(asking.iter().filter(is_here).cloned().collect());
            if !own.is_empty() {
                lanes.order(|| ToLane::Neighbours(Arc::clone(&own)));
                asked.extend(lanes.numbers());
            }
        }
        asked
    }

    fn has_sessions(&self, pipeline: usize) -> bool {
        let windowed = self.query.pipelines.get(pipeline).and_then(|pipeline| pipeline.windowed());
        windowed.is_some_and(|windowed| windowed.inputs.iter().any(|plan| plan.sessions.is_some()))
    }

    /// The groups of lanes that an input is in.
    pub(super) fn groups_of(&self, id: InputId) -> BTreeSet<usize> {
        self.inputs.iter().filter(|input| input.feeds(id)).map(|input| input.group).collect()
    }

    /// How the rows of an input are counted.
    pub(super) fn plan_of(&self, id: InputId) -> Option<&Arc<WindowPlan>> {
        self.query.pipelines.get(id.pipeline)?.windowed()?.inputs.get(id.input)
    }

    /// Gives fragments back to a lane: their sessions go on. It need not be the lane that they came from, because no row
    /// of their own partition will join them any more.
    pub(super) fn put_back(&self, id: InputId, held: Vec<WindowState>) {
        if let Some(&group) = self.groups_of(id).first().filter(|_| !held.is_empty()) {
            self.groups[group].order_first(ToLane::Restore { windows: vec![(id, held)], takes: Takes::All });
        }
    }

    /// All lanes stand: moves the watermarks, and asks for the windows behind them.
    pub(super) async fn close(&mut self) -> Result<()> {
        let Step::Cutting { mut state, changed, .. } = std::mem::replace(&mut self.step, Step::Gathering) else {
            return Ok(());
        };
        self.check_memory()?;
        if let Some(state) = &mut state {
            self.nested.save(state)?;
        }
        let at_the_end = self.is_finished();
        let before = self.watermarks();
        for input in self.inputs.iter_mut().filter(|input| input.has_windows()) {
            input.advance_watermark(at_the_end);
        }
        let after = self.watermarks();
        let of = |watermarks: &BTreeMap<String, i64>, table: &str| {
            watermarks.get(table).copied().unwrap_or(BEGINNING_OF_TIME)
        };
        let least = self.inputs.iter().filter(|it| it.has_windows()).map(TableInput::watermark).min();
        let least = least.unwrap_or(i64::MAX);
        let earlier = std::mem::take(&mut self.closed_to);
        let mut watermarks = match at_the_end {
            true => self.watermarks_of_pipelines(|_| (END_OF_TIME, false)),
            false => self.watermarks_of_pipelines(|table| (of(&after, table), self.is_idle(table))),
        };
        for (pipeline, watermark) in &mut watermarks {
            *watermark = earlier.get(pipeline).map_or(*watermark, |earlier| (*earlier).max(*watermark));
        }
        self.closed_to = watermarks.clone();
        let mut looked = BTreeMap::new();
        for (&pipeline, &watermark) in &watermarks {
            if self.revising.revises(pipeline) {
                looked.insert(pipeline, self.looked(pipeline, &changed, watermark));
            }
        }
        let mut closing = watermarks.clone();
        closing.retain(|pipeline, watermark| {
            let has_changed = changed.get(pipeline).is_some_and(|windows| !windows.is_empty());
            // What a session waited for may have been taken back. Recovery closes at each cut's state, so the cut does as well.
            let may_wait = self.has_sessions(*pipeline);
            has_changed || may_wait || earlier.get(pipeline).is_none_or(|earlier| *watermark > *earlier)
        });
        looked.retain(|pipeline, _| closing.contains_key(pipeline));
        let moved = |input: &TableInput| Some(input.watermark()).filter(|it| *it > of(&before, input.name()));
        let waiting = self.order_close(moved, |id| closing.get(&id.pipeline).copied(), &peeks(&looked));
        // Lanes with windows that may be looked at stand until they hear that nobody does.
        let may_stand = |lanes: &&Lanes| self.revising.any() && lanes.numbers().all(|lane| !waiting.contains(&lane));
        self.groups.iter().filter(may_stand).for_each(|lanes| lanes.order(|| ToLane::ReadOn));
        if !at_the_end && least != i64::MAX {
            self.progress.watermark.store(least, Relaxed);
            metrics::gauge!("highwater_watermark_seconds").set(least as f64 / 1_000.0);
        }
        let nothing_to_close = waiting.is_empty();
        let (closed, peeked, neighbours) = Default::default();
        self.step = Step::Closing { waiting, state, closed, neighbours, peeked, looked, watermarks, earlier };
        if nothing_to_close { self.complete().await } else { Ok(()) }
    }

    /// The watermark of each windowed pipeline, given those of tables and which of these are idle: the least of the tables that are
    /// not. When all are, nothing more is expected before the greatest. A table that rests holds it where it was.
    pub(super) fn watermarks_of_pipelines(&self, of_table: impl Fn(&str) -> (i64, bool)) -> BTreeMap<usize, i64> {
        let mut watermarks = BTreeMap::new();
        for (number, pipeline) in self.query.pipelines.iter().enumerate().filter(|(_, it)| it.windowed().is_some()) {
            let tables: Vec<_> = pipeline.feeds.iter().map(|feed| of_table(&feed.table.name)).collect();
            let active = tables.iter().filter(|(_, is_idle)| !is_idle).map(|(watermark, _)| *watermark).min();
            let watermark = active.or_else(|| tables.iter().map(|(watermark, _)| *watermark).max());
            watermarks.extend(watermark.map(|watermark| (number, watermark)));
        }
        watermarks
    }

    fn is_idle(&self, table: &str) -> bool {
        self.inputs.iter().any(|input| input.name() == table && input.is_idle())
    }

    /// What a checkpoint says of how far windows have been closed, where its tables do not say so: in queries over several, and after
    /// the job was set back.
    fn closed_beside_tables(&self) -> BTreeMap<usize, i64> {
        let watermarks = self.watermarks();
        let of_tables =
            self.watermarks_of_pipelines(|table| (watermarks.get(table).copied().unwrap_or(BEGINNING_OF_TIME), false));
        let is_other = |(pipeline, closed): &(&usize, &i64)| of_tables.get(pipeline) != Some(closed);
        self.closed_to.iter().filter(is_other).map(|(pipeline, closed)| (*pipeline, *closed)).collect()
    }

    /// Tells the lanes which watermarks have `moved`, and has the windows of inputs closed up to where `closing` says; returns the
    /// lanes that will answer.
    pub(super) fn order_close(
        &self,
        moved: impl Fn(&TableInput) -> Option<i64>,
        closing: impl Fn(InputId) -> Option<i64>,
        peek: &Arc<BTreeMap<usize, Vec<WindowBounds>>>,
    ) -> BTreeSet<usize> {
        let mut orders = vec![Close { peek: Arc::clone(peek), ..Close::default() }; self.groups.len()];
        for input in &self.inputs {
            let order = &mut orders[input.group];
            order.tables.extend(moved(input).map(|watermark| input.closing(watermark)));
            for id in input.plan.pipelines.iter().filter_map(LanePipeline::input) {
                let windowed = self.query.pipelines.get(id.pipeline).and_then(|pipeline| pipeline.windowed());
                let watermark = windowed.zip(closing(id));
                let watermark = watermark.map(|(it, watermark)| (id, it.watermark(id.input, watermark)));
                order.inputs.extend(watermark.filter(|it| !order.inputs.contains(it)));
            }
        }
        let asked = self.groups.iter().zip(orders).filter(|(_, order)| !order.is_empty());
        let ask = |(lanes, order): (&Lanes, Close)| {
            lanes.order(|| ToLane::Close(order.clone()));
            lanes.numbers().collect::<Vec<_>>()
        };
        asked.flat_map(ask).collect()
    }

    /// All windows have come in: makes the epoch's blocks and hands them over.
    pub(super) async fn complete(&mut self) -> Result<()> {
        let step = std::mem::replace(&mut self.step, Step::Gathering);
        let Step::Closing { mut state, closed, mut neighbours, peeked, mut looked, watermarks, earlier, .. } = step
        else {
            return Ok(());
        };
        self.progress.set_open_windows(self.held().values().map(|held| held.panes).sum());
        state.as_mut().map(|state| self.revising.save_filled(state)).transpose()?;
        let mut results = BTreeMap::new();
        let (mut by_pipeline, mut peeked_of) = (by_pipeline(closed), by_pipeline(peeked));
        // Also where no window has closed: rows may be filled in, or be gone.
        for pipeline in self.revising.filled().chain(looked.keys().copied()) {
            by_pipeline.entry(pipeline).or_default();
        }
        for (pipeline, mut windows) in by_pipeline {
            let watermark = watermarks.get(&pipeline).copied().unwrap_or(BEGINNING_OF_TIME);
            if self.revising.fills(pipeline) {
                let passed = self.passed(pipeline, watermark);
                let states = windows.entry(InputId { pipeline, input: 0 }).or_default();
                *states = self.revising.fill(pipeline, std::mem::take(states), passed)?;
            }
            let looked = looked.remove(&pipeline).map(|it| (it, peeked_of.remove(&pipeline).unwrap_or_default()));
            let rows = self.results(pipeline, windows, &mut neighbours.briefs, watermark, looked).await?;
            if !rows.is_empty() {
                results.insert(self.outputs.of_pipeline(pipeline).number, rows);
            }
        }
        let ranges = self.inputs.iter().flat_map(TableInput::ranges).collect();
        let made_at = self.settings.outside.now();
        let (started_at, went_back) = (self.started_at, self.went_back);
        let cut = Cut { job: &self.settings.name, started_at, went_back, epoch: self.epoch, made_at, ranges: &ranges };
        let is_quiet =
            self.rows.is_empty() && results.is_empty() && ranges.values().all(|range| range.from == range.to);
        let blocks = blocks(&cut, &self.outputs.tables, std::mem::take(&mut self.rows), results);
        self.rows = std::mem::take(&mut self.next_rows);
        // What the lanes have handed over of their kept rows is not handed over again.
        let has_rows = state.iter().flat_map(|state| &state.keyed).any(|rows| !rows.is_empty());
        if is_quiet && !has_rows && !self.cut_is_last && !self.wants_state && self.has_checkpoint {
            self.epoch += 1;
            self.state_saved = self.settings.outside.elapsed();
            return Ok(());
        }
        self.note_state(state.is_some());
        let epoch = self.epoch;
        let truncates = self.truncates.iter().filter(|(read, _)| *read <= epoch).map(|(_, it)| it.clone()).collect();
        let mut kept = state.as_ref().map(|state| self.kept_outputs(state)).unwrap_or_default();
        kept.extend(self.looked_up_outputs());
        let (intents, rows) = intents(&blocks, &self.outputs.tables, &kept);
        let manifest = Manifest {
            version: FORMAT_VERSION,
            job: self.settings.name.clone(),
            // The store knows.
            number: 0,
            writer: None,
            started_at,
            went_back,
            epoch: self.epoch,
            made_at,
            fingerprints: fingerprints(&self.query),
            outputs: outputs_in_words(&self.outputs.tables),
            positions: self
                .inputs
                .iter()
                .flat_map(TableInput::positions)
                .chain(self.resting.positions.clone())
                .collect(),
            watermarks: self.watermarks(),
            closed: self.closed_beside_tables(),
            closed_before: if state.is_some() { earlier } else { BTreeMap::new() },
            intents,
            state_epoch: self.state_epoch,
            state_number: 0,
            rows: Vec::new(),
            settled: Vec::new(),
            kept: BTreeSet::new(),
            truncates,
            replay: self.replay_left(),
            discovered: self.discovered.clone(),
            finished: self.is_finished(),
            described: self.described.clone(),
        };
        let state = state.map(|mut state| -> Result<State> {
            self.revising.save_emitted(&mut state)?;
            state.windows.extend(self.resting.windows.clone());
            if let Some(save) = self.saving {
                state.keyed.extend(self.resting.rows.save(save));
                self.kept_saves.note(save);
            }
            Ok(state)
        });
        let state = state.transpose()?;
        let checkpoint = Checkpoint { manifest, state, rows };
        self.epoch += 1;
        self.delivering_since = Some(made_at);
        self.delivering = Some(checkpoint.clone());
        self.deliverer.deliver(Delivery { checkpoint, blocks, again: false, takes_out: Vec::new() }).await
    }

    /// The outputs of tables whose rows are kept: their rows cannot be made again from rows that are kept as they were
    /// afterwards, so the checkpoint has them inside.
    fn kept_outputs(&self, state: &State) -> BTreeSet<usize> {
        let tables: BTreeSet<&str> = state.keyed.iter().map(|rows| rows.table.as_str()).collect();
        let inputs = self.inputs.iter().filter(|input| tables.contains(input.name()));
        let pipelines = inputs.flat_map(|input| &input.plan.pipelines);
        pipelines.map(|pipeline| self.outputs.of_pipeline(pipeline.number).number).collect()
    }

    /// The outputs of rows that were joined with small tables, which may have others when the rows are made again: checkpoints have
    /// them inside.
    pub(super) fn looked_up_outputs(&self) -> impl Iterator<Item = usize> + '_ {
        let joined = self.query.pipelines.iter().enumerate().filter(|(_, pipeline)| !pipeline.lookups.is_empty());
        joined.map(|(number, _)| self.outputs.of_pipeline(number).number)
    }

    fn watermarks(&self) -> BTreeMap<String, i64> {
        let own = self.inputs.iter().map(|input| (input.name().to_owned(), input.watermark()));
        own.chain(self.resting.watermarks.clone()).collect()
    }

    fn note_state(&mut self, saved: bool) {
        if saved {
            (self.state_epoch, self.wants_state) = (self.epoch, false);
            self.state_saved = self.settings.outside.elapsed();
        }
    }
}

/// The windows of each pipeline.
pub(super) fn by_pipeline(windows: InputWindows) -> BTreeMap<usize, InputWindows> {
    let mut found: BTreeMap<usize, InputWindows> = BTreeMap::new();
    for (id, windows) in windows {
        found.entry(id.pipeline).or_default().insert(id, windows);
    }
    found
}
