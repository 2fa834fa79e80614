//! Windows over windows: what closed windows give is counted into the windows above them, here and not on lanes.
//!
//! Rows of closed windows are never late: a window's time is before the watermark at which it closes and not before the one at which
//! the windows above closed last. So their state is a function of what has closed, and is saved as it is at each cut, before
//! that cut closes anything. What closes after a saved cut is made again on recovery, and counted again.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use super::blocking::block_in_place;
use super::cycle::InputWindows;
use super::epoch::EpochRows;
use super::rows::conform;
use super::running::Job;
use crate::change::{DeadReason, TopicPartition};
use crate::checkpoint::State;
use crate::error::Result;
use crate::sql::plan::pipeline::{Bounds, ClosedWindow, Nested, Pipeline, Windowed};
use crate::sql::query::Query;
use crate::window::NO_EVENT_TIME;
use crate::window::aggregate::{EventTimes, Held, InputId, Refused, Uncounted, WindowAggregate, WindowState};
use crate::window::duplicates::Duplicates;
use crate::window::row_windows::milliseconds;
use crate::window::session_state::Brief;
use crate::window::stage::Rows;
use crate::window::watermark::BEGINNING_OF_TIME;

/// What a job has between windows: the open windows over windows, and what is known of the keys of rows that are deduplicated.
#[derive(Default)]
pub(super) struct NestedWindows {
    windows: BTreeMap<InputId, WindowAggregate>,
    /// By a number of their own after those of the query's inputs, under which they are saved.
    duplicates: BTreeMap<InputId, Duplicates>,
}

/// Under which number an input's keys are saved: the lanes save its open slices under its own.
fn of_keys(id: InputId, windowed: &Windowed) -> InputId {
    InputId { input: windowed.inputs.len() + id.input, ..id }
}

/// Rows that could not be counted, each with why.
type LeftOut = Vec<(RecordBatch, String)>;

impl NestedWindows {
    /// None are open.
    pub(super) fn new(query: &Query) -> Result<Self> {
        let mut all = Self::default();
        for (number, pipeline) in query.pipelines.iter().enumerate() {
            let windowed = pipeline.windowed();
            for nested in windowed.iter().flat_map(|windowed| &windowed.nested) {
                let id = InputId { pipeline: number, input: nested.input };
                if let Some(plan) = windowed.and_then(|windowed| windowed.inputs.get(nested.input)) {
                    all.windows.insert(id, WindowAggregate::new(Arc::clone(plan))?);
                }
            }
            for (input, plan, windowed) in
                windowed.iter().flat_map(|it| it.duplicates.iter().map(move |(input, plan)| (*input, plan, it)))
            {
                let id = of_keys(InputId { pipeline: number, input }, windowed);
                all.duplicates.insert(id, Duplicates::new(Arc::clone(plan))?);
            }
        }
        Ok(all)
    }

    /// Whether an input is one of these.
    pub(super) fn has(&self, id: InputId) -> bool {
        self.windows.contains_key(&id) || self.duplicates.contains_key(&id)
    }

    /// What the open windows hold, and what is known of keys.
    pub(super) fn held(&self) -> impl Iterator<Item = (InputId, Held)> {
        let windows = self.windows.iter().map(|(id, aggregate)| (*id, aggregate.held()));
        windows.chain(self.duplicates.iter().map(|(id, duplicates)| (*id, duplicates.held())))
    }

    /// Adds copies of all to what a checkpoint saves.
    pub(super) fn save(&mut self, state: &mut State) -> Result<()> {
        for (id, windows) in &mut self.windows {
            state.windows.entry(*id).or_default().extend(windows.copy_state()?);
        }
        for (id, duplicates) in &self.duplicates {
            state.windows.entry(*id).or_default().extend(duplicates.save()?);
        }
        Ok(())
    }

    /// Takes over saved windows.
    pub(super) fn restore(&mut self, id: InputId, windows: &[WindowState]) -> Result<()> {
        if let Some(own) = self.windows.get_mut(&id) {
            own.restore(windows, &|_| true)?;
        }
        match self.duplicates.get_mut(&id) {
            Some(own) => own.restore(windows),
            None => Ok(()),
        }
    }

    /// The rows of an input's closed slices that stay, and those of before of which it is known now.
    pub(super) fn without_duplicates(
        &mut self,
        id: InputId,
        windowed: &Windowed,
        closed: Vec<ClosedWindow>,
        watermark: i64,
    ) -> Result<Vec<ClosedWindow>> {
        let Some(duplicates) = self.duplicates.get_mut(&of_keys(id, windowed)) else { return Ok(closed) };
        let slices = closed.into_iter().filter_map(|window| match window.bounds {
            Bounds::One(start, _) => Some((start, window.groups)),
            Bounds::Each(_) => None,
        });
        let mut slices: Vec<_> = slices.collect();
        slices.sort_by_key(|(start, _)| *start);
        let passed = block_in_place(|| duplicates.pass(&slices, watermark))?;
        let windows = passed.into_iter().map(|(start, end, groups)| {
            let bounds = Bounds::One(start, end);
            ClosedWindow { bounds, groups }
        });
        Ok(windows.collect())
    }

    /// Counts what closed windows have given, and returns what cannot be.
    fn push(&mut self, id: InputId, nested: &Nested, schema: &SchemaRef, rows: &[RecordBatch]) -> Result<LeftOut> {
        let mut left_out = LeftOut::new();
        let Some(windows) = self.windows.get_mut(&id) else { return Ok(left_out) };
        let source = TopicPartition { topic: "closed windows".into(), partition: 0 };
        for batch in rows {
            let batch = conform(batch.columns(), schema)?;
            let times = milliseconds(batch.column(nested.time))?;
            let times: Vec<i64> = times.iter().map(|time| time.unwrap_or(NO_EVENT_TIME)).collect();
            let times = EventTimes { met: vec![BEGINNING_OF_TIME; times.len()], times, ..EventTimes::default() };
            let mut uncounted = Uncounted::default();
            windows.push(&[], &Rows::all(batch.clone()), &times, &source, &mut uncounted)?;
            for (row, why) in uncounted.refused {
                let why = match why {
                    Refused::Expression(message) => message,
                    Refused::NoEventTime => "the event time is null".to_owned(),
                };
                left_out.push((batch.slice(row, 1), why));
            }
        }
        Ok(left_out)
    }

    /// The windows of a pipeline that share panes had been closed up to here, by their inputs, before they were saved.
    pub(super) fn stand_at(&mut self, pipeline: usize, closed_to: impl Fn(usize) -> i64) -> Result<()> {
        let mut own = self.windows.iter_mut().filter(|(id, windows)| id.pipeline == pipeline && windows.shares_panes());
        own.try_for_each(|(id, windows)| windows.close(closed_to(id.input)).map(drop))
    }

    fn close(&mut self, id: InputId, watermark: i64) -> Result<Vec<WindowState>> {
        self.windows.get_mut(&id).map_or(Ok(Vec::new()), |windows| windows.close(watermark))
    }
}

impl Job {
    /// Whether something is known of closed windows of a query that what closes next depends on.
    pub(super) fn has_nested(&self, pipeline: usize) -> bool {
        let windowed = self.query.pipelines.get(pipeline).and_then(|it| it.windowed());
        windowed.is_some_and(|windowed| !windowed.nested.is_empty() || !windowed.duplicates.is_empty())
    }

    /// Counts the rows of closed windows into the windows above them, and closes those.
    pub(super) async fn pass_on(
        &mut self,
        id: InputId,
        pipeline: &Pipeline,
        nested: &Nested,
        closed: &[Vec<ClosedWindow>],
        watermark: i64,
    ) -> Result<Vec<WindowState>> {
        let Some(windowed) = pipeline.windowed() else { return Ok(Vec::new()) };
        let finished = nested.closing.finish(closed).await?;
        for (start, rows, message) in &finished.failed {
            self.refuse_groups(id.pipeline, *start, rows, DeadReason::ExpressionFailed, message)?;
        }
        let plan = &windowed.inputs[id.input];
        let width = plan.windowed.fields().len() - crate::window::aggregate::WINDOW_COLUMNS.len();
        let schema = Arc::new(plan.windowed.project(&(0..width).collect::<Vec<_>>())?);
        for (rows, message) in self.nested.push(id, nested, &schema, &finished.rows)? {
            let start = super::limits::window_start(&rows);
            self.refuse_groups(id.pipeline, start, &rows, DeadReason::ExpressionFailed, &message)?;
        }
        self.nested.close(id, windowed.watermark(id.input, watermark))
    }

    /// Counts again what had closed since the windows above were saved. Their own results are in place.
    pub(super) async fn pass_on_again(
        &mut self,
        closed: &mut BTreeMap<usize, InputWindows>,
        neighbours: &mut BTreeMap<InputId, Vec<Brief>>,
        watermarks: &BTreeMap<usize, i64>,
    ) -> Result<()> {
        let gathered = std::mem::take(&mut self.rows);
        for (&pipeline, &watermark) in watermarks {
            if self.has_nested(pipeline) {
                let windows = closed.remove(&pipeline).unwrap_or_default();
                self.results(pipeline, windows, neighbours, watermark, None).await?;
            }
        }
        // Whatever could not be computed was said then.
        let _: EpochRows = std::mem::replace(&mut self.rows, gathered);
        Ok(())
    }
}
