//! Going on from a checkpoint: the epoch that may not have been delivered is made again, block by block.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::blocking::block_in_place;
use super::cycle::{InputWindows, by_pipeline};
use super::delivery::Delivery;
use super::epoch::{Cut, EpochRows, blocks, inline_blocks, is_inline};
use super::message::{Course, FromLane, KeptRows, Takes, ToLane};
use super::running::Job;
use super::table_input::TableInput;
use crate::change::{OffsetRange, TopicPartition};
use crate::checkpoint::{Checkpoint, Manifest, Position, Recovered};
use crate::error::{Error, Result};
use crate::sink::Block;
use crate::state::PartitionRows;
use crate::window::aggregate::{InputId, WindowState};
use crate::window::session_join;
use crate::window::session_state::Brief;
use crate::window::watermark::BEGINNING_OF_TIME;

/// The kept rows of so many checkpoints are handed to the lanes before these have taken them.
const RESTORED_AT_ONCE: usize = 2;

impl Job {
    /// Takes the job to the last cut of `recovered`, with the blocks of its epoch in place.
    ///
    /// The open windows may be of an earlier cut than the last: what was read in between is counted again, up to where
    /// the last epoch began without rows (they are in place), and over the last epoch with them.
    pub(super) async fn recover(&mut self, recovered: &Recovered) -> Result<()> {
        let (last, with_state) = (&recovered.last.manifest, &recovered.with_state.manifest);
        let state_is_last = last.epoch == with_state.epoch;
        tracing::info!(
            "job {} goes on from checkpoint {} (epoch {}) in {}",
            last.job,
            last.number,
            last.epoch,
            self.settings.checkpoints.place()
        );
        let start: fn(&Position) -> i64 = if state_is_last { |it| it.from } else { |it| it.offset };
        block_in_place(|| {
            let groups = &mut self.groups;
            self.inputs.iter_mut().try_for_each(|it| it.assign(&mut groups[it.group], Some(with_state), start))
        })?;
        self.restore_rows(&recovered.with_state).await?;
        let state = recovered.with_state.state.as_ref();
        for (&id, windows) in state.into_iter().flat_map(|state| &state.windows) {
            self.restore(id, windows)?;
        }
        self.stand_where_closed(with_state).await?;
        if !state_is_last {
            self.replay(last, |position| position.from, true, false).await?;
        }
        let mut rows = self.replay(last, |position| position.offset, !state_is_last, true).await?;
        let mut carried: BTreeSet<usize> = last.intents.iter().filter(|it| it.inline).map(|it| it.output).collect();
        carried.extend(self.looked_up_outputs());
        rows.retain_outputs(|output| !is_inline(&self.outputs.tables[output].form) && !carried.contains(&output));
        self.inputs.iter_mut().for_each(|input| input.note_clocks(last));
        self.note_replay(last);
        self.revising.restore(recovered, &self.outputs)?;
        self.forget_closed(last).await?;

        let ranges: BTreeMap<TopicPartition, OffsetRange> = last.positions.iter().map(range_of).collect();
        let made_at = last.intents.first().map_or(last.made_at, |intent| intent.made_at);
        let (started_at, went_back) = (last.started_at, last.went_back);
        let cut = Cut { job: &self.settings.name, started_at, went_back, epoch: last.epoch, made_at, ranges: &ranges };
        let mut repeated = blocks(&cut, &self.outputs.tables, rows, BTreeMap::new());
        check_repeats(last, &repeated)?;
        repeated.extend(inline_blocks(&recovered.last));
        let delivery = Delivery {
            checkpoint: recovered.last.clone(),
            blocks: repeated,
            again: true,
            takes_out: self.take_outs(last, recovered.passed_over > 0)?,
        };
        self.deliverer.deliver(delivery).await?;
        self.deliverer.delivered().await?;
        self.inputs.iter_mut().for_each(|input| input.stand_at(last));
        self.truncates = last.truncates.iter().map(|truncate| (last.epoch, truncate.clone())).collect();
        self.raise_generations();
        Ok(())
    }

    /// Gives kept rows to the lanes, a checkpoint after the other: together they may be more than there is memory for.
    async fn restore_rows(&mut self, with_state: &Checkpoint) -> Result<()> {
        let inside = with_state.state.iter().flat_map(|state| &state.keyed).cloned().collect();
        self.hand_out(inside, None);
        let on_their_way = Arc::new(Semaphore::new(RESTORED_AT_ONCE));
        for &number in &with_state.manifest.rows {
            let permit = Arc::clone(&on_their_way).acquire_owned().await.map_err(Error::internal)?;
            let rows = match self.settings.checkpoints.kept_rows(number).await {
                // They were there: somebody else may have forgotten them since.
                Err(error) if !error.is_transient() => self.fence.check().await.and(Err(error)),
                rows => rows,
            };
            self.hand_out(rows?, Some(permit));
        }
        if !with_state.manifest.rows.is_empty() {
            self.order(|| ToLane::RowsRestored);
        }
        Ok(())
    }

    fn hand_out(&mut self, mut rows: Vec<PartitionRows>, permit: Option<OwnedSemaphorePermit>) {
        let is_read = |name: &str| self.inputs.iter().any(|input| input.name() == name);
        let resting = rows.extract_if(.., |rows| !is_read(&rows.table)).collect::<Vec<_>>();
        resting.into_iter().for_each(|rows| self.resting.rows.take(rows));
        if !rows.is_empty() {
            let kept = Arc::new(KeptRows { rows, permit });
            self.order(|| ToLane::RestoreRows(Arc::clone(&kept)));
        }
    }

    /// Gives saved windows to the lanes.
    fn restore(&mut self, id: InputId, windows: &[WindowState]) -> Result<()> {
        self.nested.restore(id, windows)?;
        let groups = self.groups_of(id);
        let restore = |takes: Takes| ToLane::Restore { windows: vec![(id, windows.to_vec())], takes };
        let Some(first) = groups.first().map(|&group| &self.groups[group]) else { return Ok(()) };
        if self.plan_of(id).is_some_and(|plan| plan.sessions.is_some()) {
            groups.iter().for_each(|&group| self.groups[group].order(|| restore(Takes::Own)));
            let feeding = self.inputs.iter().filter(|input| input.feeds(id));
            let known = feeding.flat_map(TableInput::ranges).map(|(partition, _)| partition).collect();
            first.order_first(restore(Takes::Others(Arc::new(known))));
        } else {
            first.order_first(restore(Takes::All));
        }
        Ok(())
    }

    /// Reads up to a saved offset of each partition and returns the rows that came.
    async fn replay(
        &mut self,
        to: &Manifest,
        bound: fn(&Position) -> i64,
        windows: bool,
        rows: bool,
    ) -> Result<EpochRows> {
        let bounds: BTreeMap<_, _> = to.positions.iter().map(|it| (range_of(it).0, bound(it))).collect();
        let course = Course { windows, rows, bounds: Some(self.with_strangers(bounds)) };
        self.order(|| ToLane::Run(course.clone()));
        let mut waiting: BTreeSet<usize> = self.lanes().collect();
        let mut gathered = EpochRows::default();
        while !waiting.is_empty() {
            match self.next_report().await? {
                FromLane::Reached { lane } => {
                    waiting.remove(&lane);
                }
                FromLane::Rows { output, source, rows, .. } => gathered.add(output, source, rows),
                FromLane::Drifted(drift) => {
                    return Err(Error::config(format!(
                        "the records of {} are no longer what they were when checkpoint {} was made: offset {} has other columns; \
                         run once with --from earliest, which takes the job's rows out of its tables and makes them again",
                        drift.source, to.epoch, drift.offset
                    )));
                }
                _ => {}
            }
        }
        Ok(gathered)
    }

    /// Partitions that the checkpoint does not know have nothing to repeat: they stay where they begin.
    fn with_strangers(&self, mut bounds: BTreeMap<TopicPartition, i64>) -> BTreeMap<TopicPartition, i64> {
        for (partition, range) in self.inputs.iter().flat_map(TableInput::ranges) {
            bounds.entry(partition).or_insert(range.from);
        }
        bounds
    }

    /// Windows that share panes had been closed before the state was saved, with panes that others still need: they are not to come
    /// again. Fragments of sessions that had been closed are not in it; those that are, wait.
    async fn stand_where_closed(&mut self, with_state: &Manifest) -> Result<()> {
        let mut before = with_state.closed_before.clone();
        before.retain(|pipeline, _| *pipeline < self.query.pipelines.len());
        let waiting = {
            let has_panes = |id: InputId| self.plan_of(id).is_some_and(|plan| plan.sessions.is_none());
            let closed_before = |id: InputId| before.get(&id.pipeline).copied().filter(|_| has_panes(id));
            self.order_close(|_| None, closed_before, &Arc::default())
        };
        self.closed_by(waiting).await?;
        for (&pipeline, &watermark) in &before {
            if let Some(windowed) = self.query.pipelines[pipeline].windowed() {
                self.nested.stand_at(pipeline, |input| windowed.watermark(input, watermark))?;
            }
        }
        Ok(())
    }

    /// The windows that these lanes have been told to close.
    async fn closed_by(&mut self, mut waiting: BTreeSet<usize>) -> Result<InputWindows> {
        let mut closed = InputWindows::new();
        while !waiting.is_empty() {
            if let FromLane::Closed { lane, windows, .. } = self.next_report().await? {
                waiting.remove(&lane);
                windows.into_iter().for_each(|(id, states)| closed.entry(id).or_default().extend(states));
            }
        }
        Ok(closed)
    }

    /// Closes the windows that had been closed by the last cut. Their results are in place, or in the checkpoint.
    async fn forget_closed(&mut self, last: &Manifest) -> Result<()> {
        let watermark = |table: &str| last.watermarks.get(table).copied().unwrap_or(BEGINNING_OF_TIME);
        let moved = |input: &TableInput| input.has_windows().then(|| watermark(input.name()));
        let mut watermarks = self.watermarks_of_pipelines(|table| (watermark(table), false));
        watermarks.extend(last.closed.iter().filter(|(pipeline, _)| **pipeline < self.query.pipelines.len()));
        self.closed_to = watermarks.clone();
        let waiting = self.order_close(moved, |id| watermarks.get(&id.pipeline).copied(), &Arc::default());
        let closed = self.closed_by(waiting).await?;
        for (&pipeline, &watermark) in &watermarks {
            self.revising.stand_at(pipeline, watermark);
            // Which groups were there is known from the windows that have been closed since the state was saved.
            let states = closed.get(&InputId { pipeline, input: 0 }).cloned().unwrap_or_default();
            let passed = self.passed(pipeline, watermark);
            self.revising.fill(pipeline, states, passed)?;
        }
        self.hold_sessions(closed, &watermarks).await
    }

    /// Of the sessions that have left their lanes, those go back that had not been closed.
    async fn hold_sessions(&mut self, closed: InputWindows, watermarks: &BTreeMap<usize, i64>) -> Result<()> {
        let mut waiting = self.order_neighbours(&self.briefs(&closed)?);
        let mut neighbours: BTreeMap<InputId, Vec<Brief>> = BTreeMap::new();
        while !waiting.is_empty() {
            if let FromLane::Neighbours { lane, briefs } = self.next_report().await? {
                waiting.remove(&lane);
                briefs.into_iter().for_each(|(id, it)| neighbours.entry(id).or_default().extend(it));
            }
        }
        let mut closed = by_pipeline(closed);
        self.pass_on_again(&mut closed, &mut neighbours, watermarks).await?;
        for (&id, states) in closed.values().flatten() {
            let Some(plan) = self.plan_of(id) else { continue };
            if let Some(sessions) = &plan.sessions {
                let neighbours = neighbours.remove(&id).unwrap_or_default();
                self.put_back(id, session_join::join(states, neighbours, plan, sessions)?.held);
            }
        }
        Ok(())
    }

    async fn next_report(&mut self) -> Result<FromLane> {
        match self.reports.recv().await {
            Some(FromLane::Failed(error)) => Err(error),
            Some(report) => Ok(report),
            None => Err(Error::internal("all lanes have ended")),
        }
    }
}

/// What is read again must be what was read: each block with its token and its number of rows.
fn check_repeats(last: &Manifest, repeated: &[(usize, Block)]) -> Result<()> {
    for intent in last.intents.iter().filter(|intent| !intent.inline) {
        let rows = repeated.iter().find(|(_, block)| block.token == intent.token).map(|(_, block)| block.row_count());
        if rows != Some(intent.rows) {
            return Err(Error::config(format!(
                "checkpoint {} has an insert of {} rows on its way (\"{}\"), but reading its records again gives {}: the topic or \
                 the query is no longer what it was; run once with --from earliest, which takes the job's rows out of its tables and makes \
                 them again",
                last.epoch,
                intent.rows,
                intent.token,
                rows.map_or("none".to_owned(), |rows| rows.to_string())
            )));
        }
    }
    Ok(())
}

fn range_of(position: &Position) -> (TopicPartition, OffsetRange) {
    (position.source(), OffsetRange { from: position.from, to: position.offset })
}
