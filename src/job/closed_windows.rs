//! The rows of windows that have closed: lanes merged, then the rest of the query.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::util::pretty::pretty_format_batches;

use super::blocking::block_in_place;
use super::cycle::InputWindows;
use super::emission::Looked;
use super::merge::{merge, merge_sessions};
use super::retraction::is_sampled;
use super::running::Job;
use crate::change::{DeadLetter, DeadReason, NO_TIME, TopicPartition};
use crate::error::Result;
use crate::sink::OF_RESULTS;
use crate::sql::plan::pipeline::{ClosedWindow, Windowed};
use crate::window::aggregate::{InputId, WindowPlan, WindowState};
use crate::window::session_join;
use crate::window::session_state::Brief;

impl Job {
    /// The rows of a pipeline's windows that have closed: lanes merged, then the rest of the query.
    pub(super) async fn results(
        &mut self,
        pipeline: usize,
        mut states: InputWindows,
        neighbours: &mut BTreeMap<InputId, Vec<Brief>>,
        watermark: i64,
        looked: Option<(Looked, InputWindows)>,
    ) -> Result<Vec<RecordBatch>> {
        let compiled = Arc::clone(&self.query.pipelines[pipeline]);
        let Some(windowed) = compiled.windowed() else { return Ok(Vec::new()) };
        let Windowed { inputs, closing, .. } = windowed;
        let (looked, mut peeked) =
            looked.map_or((None, InputWindows::new()), |(looked, peeked)| (Some(looked), peeked));
        let mut windows = Vec::with_capacity(inputs.len());
        for (input, plan) in inputs.iter().enumerate() {
            let id = InputId { pipeline, input };
            let neighbours = neighbours.remove(&id).unwrap_or_default();
            let states = match windowed.nested(input) {
                Some(nested) => self.pass_on(id, &compiled, nested, &windows, watermark).await?,
                None => states.remove(&id).unwrap_or_default(),
            };
            let (mut closed, held) = self.merged(id, plan, states, neighbours)?;
            if let Some(looked) = &looked {
                closed.extend(self.merged_open(plan, peeked.remove(&id).unwrap_or_default(), held, looked)?);
            }
            if windowed.duplicates.contains_key(&input) {
                let watermark = windowed.watermark(input, watermark);
                closed = self.nested.without_duplicates(id, windowed, closed, watermark)?;
            }
            windows.push(closed);
        }
        let output = self.outputs.of_pipeline(pipeline);
        let finished = closing.finish(&windows).await?;
        for (start, rows, message) in &finished.failed {
            if inputs.iter().any(|plan| is_settled(plan, *start, looked.as_ref())) {
                self.refuse_groups(pipeline, *start, rows, DeadReason::ExpressionFailed, message)?;
            }
        }
        let visible = Arc::new(Schema::new(output.schema.fields()[..compiled.output.fields().len()].to_vec()));
        let rows = finished.rows.iter().map(|batch| super::rows::conform(batch.columns(), &visible));
        let mut rows = rows.collect::<Result<Vec<_>>>()?;
        if let Some(looked) = &looked {
            rows = self.revising.revise(pipeline, &rows, looked)?;
        }
        let mut held = Vec::new();
        for rows in rows {
            let (kept, refused) = super::limits::part(rows.clone(), &output.limits)?;
            for (row, message) in refused {
                let group = rows.slice(row, 1);
                let start = super::limits::window_start(&group);
                self.refuse_groups(pipeline, start, &group, DeadReason::ValueOutOfRange, &message)?;
            }
            held.push(kept);
        }
        Ok(held)
    }

    /// The windows of an input that stay open and are looked at, of all lanes together. Fragments of sessions that had left their
    /// lanes and are `held` are among them.
    fn merged_open(
        &self,
        plan: &WindowPlan,
        mut states: Vec<WindowState>,
        held: Vec<WindowState>,
        looked: &Looked,
    ) -> Result<Vec<ClosedWindow>> {
        // What fails in them is said when they close.
        let merged = match &plan.sessions {
            None => block_in_place(|| merge(states, plan))?,
            Some(_) if !looked.all => return Ok(Vec::new()),
            Some(sessions) => {
                states.extend(held);
                let join = || session_join::join(&states, Vec::new(), plan, sessions);
                let joined = block_in_place(join)?;
                block_in_place(|| merge_sessions(&joined.closed, plan))?
            }
        };
        Ok(merged.windows)
    }

    /// The windows of an input that have closed, of all lanes together, and the fragments of sessions that go on.
    fn merged(
        &mut self,
        id: InputId,
        plan: &WindowPlan,
        states: Vec<WindowState>,
        neighbours: Vec<Brief>,
    ) -> Result<(Vec<ClosedWindow>, Vec<WindowState>)> {
        let mut held = Vec::new();
        let (merged, closed_windows) = match &plan.sessions {
            None => {
                let merged = block_in_place(|| merge(states, plan))?;
                let closed_windows = merged.windows.len();
                (merged, closed_windows)
            }
            Some(sessions) => {
                let join = || session_join::join(&states, neighbours, plan, sessions);
                let joined = block_in_place(join)?;
                held = joined.held.clone();
                self.put_back(id, joined.held);
                (block_in_place(|| merge_sessions(&joined.closed, plan))?, joined.sessions)
            }
        };
        self.progress.closed_windows.fetch_add(closed_windows as u64, Relaxed);
        for (start, group, message) in &merged.left_out.failed {
            self.refuse_groups(id.pipeline, *start, group, DeadReason::ExpressionFailed, message)?;
        }
        for (start, group) in &merged.left_out.unmatched {
            if is_sampled(self.progress.count_unmatched(1)) {
                self.refuse_groups(id.pipeline, *start, group, DeadReason::UnmatchedRetraction, "")?;
            }
        }
        Ok((merged.windows, held))
    }

    /// Groups whose results cannot be computed go to the dead letters, with their window's start as their place.
    pub(super) fn refuse_groups(
        &mut self,
        pipeline: usize,
        window_start: i64,
        groups: &RecordBatch,
        reason: DeadReason,
        message: &str,
    ) -> Result<()> {
        let compiled = &self.query.pipelines[pipeline];
        let letter = DeadLetter {
            offset: window_start,
            timestamp: NO_TIME,
            reason,
            message: match reason {
                DeadReason::ExpressionFailed => format!("the results of a closed window cannot be computed: {message}"),
                DeadReason::UnmatchedRetraction => {
                    "more rows of this group were taken back than came, so it has no result (was the topic read \
                    from its beginning, is it compacted?); leave out 'before-images', so that rows are kept"
                        .to_owned()
                }
                _ => format!("the results of a closed window cannot be kept: {message}"),
            },
            key: None,
            value: Some(pretty_format_batches(std::slice::from_ref(groups))?.to_string().into_bytes()),
        };
        self.progress.count_dead_letter(letter.reason);
        let source =
            TopicPartition { topic: format!("results of {}", compiled.target_name()).into(), partition: OF_RESULTS };
        let output = self.outputs.dead_letters();
        let rows = super::rows::dead_letter_rows(
            &[letter],
            &source,
            &self.settings.name,
            &compiled.table_names().join(", "),
            &output.schema,
        )?;
        self.rows.add(output.number, source, rows);
        Ok(())
    }
}

/// Whether what failed in a window is said: of one that is looked at again and again, once, when nothing changes any more.
fn is_settled(plan: &WindowPlan, start: i64, looked: Option<&Looked>) -> bool {
    looked.is_none_or(|it| plan.closes_at(plan.windows.last_window(start).1) <= it.watermark)
}
