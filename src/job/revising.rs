//! When windows are looked at that may still change, and which: early results, corrections, and groups that are filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;

use super::emission::{Emitted, Looked, version};
use super::filling::Filling;
use super::outputs::Outputs;
use super::running::Job;
use super::table_input::TableInput;
use crate::checkpoint::{Checkpoint, Recovered, State};
use crate::error::{Error, Result};
use crate::sql::plan::emission::Emission;
use crate::sql::query::Query;
use crate::window::aggregate::{InputId, WindowState};
use crate::window::changed::{EVERYTHING, WindowBounds};

/// The windows of pipelines, by their numbers.
pub(super) type ChangedWindows = BTreeMap<usize, BTreeSet<WindowBounds>>;

/// The pipelines of a job whose results are more than those of windows that close, by their numbers.
#[derive(Default)]
pub(super) struct Revising {
    emitted: BTreeMap<usize, Emitted>,
    filling: BTreeMap<usize, Filling>,
    /// When each had its last early results, milliseconds of the wall clock.
    emitted_at: BTreeMap<usize, i64>,
}

impl Revising {
    /// Nothing written yet.
    pub(super) fn new(query: &Query, outputs: &Outputs, now: i64) -> Result<Self> {
        let mut revising = Self::default();
        for (number, pipeline) in query.pipelines.iter().enumerate() {
            let Some(windowed) = pipeline.windowed() else { continue };
            let Some(plan) = windowed.inputs.first() else { continue };
            if let Some(identity) = &windowed.identity {
                let schema = outputs.of_pipeline(number).schema;
                let emitted = Emitted::new(identity, plan.windows, plan.allowed_lateness, &schema)?;
                revising.emitted.insert(number, emitted);
                revising.emitted_at.insert(number, now);
            }
            if let Some(most) = pipeline.emission.fill {
                revising.filling.insert(number, Filling::new(plan, most)?);
            }
        }
        Ok(revising)
    }

    /// Whether any pipeline has early or corrected results.
    pub(super) fn any(&self) -> bool {
        !self.emitted.is_empty()
    }

    /// Whether a pipeline has early or corrected results.
    pub(super) fn revises(&self, pipeline: usize) -> bool {
        self.emitted.contains_key(&pipeline)
    }

    /// Whether early results of a pipeline are due; notes that they come now.
    pub(super) fn is_due(&mut self, pipeline: usize, emission: &Emission, now: i64) -> bool {
        let (Some(every), Some(last)) = (emission.every, self.emitted_at.get_mut(&pipeline)) else { return false };
        // A wall clock may go back.
        let is_due = now - *last >= every || now < *last;
        if is_due {
            *last = now;
        }
        is_due
    }

    /// Up to where windows of a pipeline have been written as final.
    fn final_to(&self, pipeline: usize) -> i64 {
        self.emitted.get(&pipeline).map_or(i64::MIN, Emitted::final_to)
    }

    /// The rows to write, given those that windows have now.
    pub(super) fn revise(
        &mut self,
        pipeline: usize,
        rows: &[RecordBatch],
        looked: &Looked,
    ) -> Result<Vec<RecordBatch>> {
        let emitted = self.emitted.get_mut(&pipeline);
        emitted.ok_or_else(|| Error::internal("results are revised that are final"))?.revise(rows, looked)
    }

    /// The states of closed windows, and empty groups beside them.
    pub(super) fn fill(&mut self, pipeline: usize, states: Vec<WindowState>, passed: i64) -> Result<Vec<WindowState>> {
        match self.filling.get_mut(&pipeline) {
            Some(filling) => filling.fill(states, passed),
            None => Ok(states),
        }
    }

    /// Whether a pipeline fills in groups.
    pub(super) fn fills(&self, pipeline: usize) -> bool {
        self.filling.contains_key(&pipeline)
    }

    /// The pipelines that fill in groups.
    pub(super) fn filled(&self) -> impl Iterator<Item = usize> {
        self.filling.keys().copied()
    }

    /// Adds to the state of a checkpoint what has been written, when the rows of its epoch are known.
    pub(super) fn save_emitted(&self, state: &mut State) -> Result<()> {
        for (&pipeline, emitted) in &self.emitted {
            state.emitted.extend(emitted.save()?.map(|saved| (pipeline, saved)));
        }
        Ok(())
    }

    /// Adds to the state of a checkpoint which groups were there, before the windows of its epoch close: lanes have saved them as they
    /// were before, too.
    pub(super) fn save_filled(&self, state: &mut State) -> Result<()> {
        for (&pipeline, filling) in &self.filling {
            state.filled.extend(filling.save()?.map(|saved| (pipeline, saved)));
        }
        Ok(())
    }

    /// Takes over what checkpoints say: the state, and the rows that have been written since.
    pub(super) fn restore(&mut self, recovered: &Recovered, outputs: &Outputs) -> Result<()> {
        let Some(state) = &recovered.with_state.state else { return Ok(()) };
        for (pipeline, filling) in &mut self.filling {
            state.filled.get(pipeline).map(|saved| filling.restore(saved)).transpose()?;
        }
        for (pipeline, emitted) in &mut self.emitted {
            state.emitted.get(pipeline).map(|saved| emitted.restore(saved)).transpose()?;
            let output = outputs.of_pipeline(*pipeline).number;
            let is_later = |it: &&Checkpoint| it.manifest.epoch > recovered.with_state.manifest.epoch;
            for checkpoint in recovered.between.iter().chain([&recovered.last]).filter(is_later) {
                let carried = checkpoint.manifest.intents.iter().filter(|intent| intent.inline).zip(&checkpoint.rows);
                for rows in carried.filter(|(intent, _)| intent.output == output).flat_map(|(_, rows)| rows) {
                    emitted.note_written(rows)?;
                }
            }
        }
        Ok(())
    }

    /// Windows of a pipeline have been closed up to here.
    pub(super) fn stand_at(&mut self, pipeline: usize, watermark: i64) {
        if let Some(emitted) = self.emitted.get_mut(&pipeline) {
            emitted.stand_at(watermark);
        }
    }
}

impl Job {
    /// Which of the windows that have changed are looked at now: of a query whose early results are due, all; otherwise those that
    /// have ended, whose rows are corrected.
    pub(super) fn looked(&mut self, pipeline: usize, changed: &ChangedWindows, watermark: i64) -> Looked {
        let emission = &self.query.pipelines[pipeline].emission;
        let is_due = self.revising.is_due(pipeline, emission, self.settings.outside.now());
        let version = version(self.started_at, self.epoch);
        let changed = changed.get(&pipeline).into_iter().flatten().copied();
        let inputs = self.query.pipelines[pipeline].windowed().map(|it| it.inputs.as_slice()).unwrap_or_default();
        if inputs.iter().any(|plan| plan.sessions.is_some()) {
            // A row may make one session of two: what there is can only be told of all together. Which sessions have ended is
            // not known here, so where they stay for late rows, they are looked at whenever the watermark has moved.
            let has_changed = changed.count() > 0;
            let moved = watermark > self.revising.final_to(pipeline);
            let all = has_changed && is_due || emission.allowed_lateness > 0 && (has_changed || moved);
            let windows = if all { BTreeSet::from([EVERYTHING]) } else { BTreeSet::new() };
            return Looked { windows, all, watermark, version };
        }
        let windows = changed.filter(|(_, end)| is_due || *end <= watermark).collect();
        Looked { windows, all: false, watermark, version }
    }

    /// How far event time has come in a pipeline's input, for windows without rows: the end of a run is not an event.
    pub(super) fn passed(&self, pipeline: usize, watermark: i64) -> i64 {
        let feeding = self.inputs.iter().filter(|input| input.feeds(InputId { pipeline, input: 0 }));
        feeding.map(TableInput::greatest_clock).max().map_or(i64::MIN, |clock| clock.min(watermark))
    }
}

/// What lanes are asked for.
pub(super) fn peeks(looked: &BTreeMap<usize, Looked>) -> Arc<BTreeMap<usize, Vec<WindowBounds>>> {
    Arc::new(looked.iter().map(|(pipeline, looked)| (*pipeline, looked.windows.iter().copied().collect())).collect())
}
