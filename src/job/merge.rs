//! The states that lanes gave of closed windows → the groups of each window, with their results.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array,
};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{Field, Int64Type, Schema, SchemaRef};
use datafusion::arrow::row::{RowConverter, SortField};

use crate::error::{Error, Result};
use crate::sql::plan::pipeline::{Bounds, ClosedWindow};
use crate::window::aggregate::{GroupingSet, WindowPlan, WindowState};
use crate::window::pane::{Pane, PaneLayout};

/// Closed windows, and the groups of them that have no result.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) windows: Vec<ClosedWindow>,
    pub(super) left_out: LeftOut,
}

/// Groups without results, each with the start of its window.
#[derive(Default)]
pub(super) struct LeftOut {
    /// An aggregate failed: state, why.
    pub(super) failed: Vec<(i64, RecordBatch, String)>,
    /// More rows were taken back than came: the keys, a row a group.
    pub(super) unmatched: Vec<(i64, RecordBatch)>,
}

/// The windows of all lanes, by start and end, each with the groups of all lanes.
pub(super) fn merge(states: Vec<WindowState>, plan: &WindowPlan) -> Result<Merged> {
    let mut by_window: BTreeMap<(i64, i64), Vec<WindowState>> = BTreeMap::new();
    for state in states {
        by_window.entry((state.start, state.end.unwrap_or(i64::MAX))).or_default().push(state);
    }
    let mut merged = Merged::default();
    for ((start, end), states) in by_window {
        let changed: Vec<_> = states.iter().filter_map(|state| state.changed.clone()).collect();
        let is_partial = states.iter().any(|state| state.changed.is_some());
        if is_partial && changed.iter().all(|keys| keys.num_rows() == 0) {
            continue;
        }
        let groups: Vec<_> = states.into_iter().map(|state| state.groups).collect();
        let changed = is_partial.then_some(changed.as_slice());
        let groups =
            Results { plan, layout: &plan.layout, bounds: 0 }.of(&groups, changed, start, &mut merged.left_out)?;
        if groups.num_rows() == 0 && plan.layout.undo().is_some() {
            // All of its rows have been taken back: there is no such window.
            continue;
        }
        merged.windows.push(ClosedWindow { bounds: Bounds::One(start, end), groups });
    }
    Ok(merged)
}

/// The groups of sessions that are over: each has its bounds before its keys.
pub(super) fn merge_sessions(groups: &[RecordBatch], plan: &WindowPlan) -> Result<Merged> {
    let mut merged = Merged::default();
    let Some(sessions) = plan.sessions.as_ref().filter(|_| !groups.is_empty()) else { return Ok(merged) };
    let groups = Results { plan, layout: &sessions.closed, bounds: 2 }.of(groups, None, 0, &mut merged.left_out)?;
    let times = |column: usize| {
        groups.column(column).as_primitive_opt::<Int64Type>().ok_or_else(|| Error::internal("sessions without bounds"))
    };
    let bounds = times(0)?.values().iter().copied().zip(times(1)?.values().iter().copied()).collect();
    let groups = groups.project(&(2..groups.num_columns()).collect::<Vec<_>>())?;
    merged.windows.push(ClosedWindow { bounds: Bounds::Each(bounds), groups });
    Ok(merged)
}

/// How results are computed.
struct Results<'a> {
    plan: &'a WindowPlan,
    layout: &'a Arc<PaneLayout>,
    /// How many of the layout's keys are bounds of windows, which every grouping set has.
    bounds: usize,
}

impl Results<'_> {
    /// Keys, with several grouping sets the set's number, and values. Of the groups that changed, when those are given.
    fn of(
        &self,
        states: &[RecordBatch],
        changed: Option<&[RecordBatch]>,
        start: i64,
        left_out: &mut LeftOut,
    ) -> Result<RecordBatch> {
        if self.plan.grouping_sets.is_empty() {
            return self.changed(self.computed(states, start, left_out)?, changed);
        }
        // All keys together once, then summed up for each set.
        let mut finest = merged_pane(states, self.layout)?;
        self.note_unmatched(start, &mut finest, left_out)?;
        let finest = finest.take_state()?;
        let schema = self.schema();
        let mut results = Vec::new();
        for set in &self.plan.grouping_sets {
            let only = |batch: &RecordBatch| self.only(set, batch);
            let changed = changed.map(|keys| keys.iter().map(only).collect::<Result<Vec<_>>>()).transpose()?;
            let groups = self.computed(&[only(&finest)?], start, left_out)?;
            let groups = self.changed(groups, changed.as_deref())?;
            let mut columns = groups.columns().to_vec();
            let id: ArrayRef = Arc::new(UInt64Array::from_value(set.id, groups.num_rows()));
            columns.insert(self.layout.key_count(), id);
            results.push(RecordBatch::try_new(Arc::clone(&schema), columns)?);
        }
        Ok(concat_batches(&schema, &results)?)
    }

    fn schema(&self) -> SchemaRef {
        let mut fields: Vec<_> = self.layout.result_schema().fields().iter().map(|it| it.as_ref().clone()).collect();
        fields
            .insert(self.layout.key_count(), Field::new("set", datafusion::arrow::datatypes::DataType::UInt64, false));
        Arc::new(Schema::new(fields))
    }

    /// Groups with the keys that are not of the set made null.
    fn only(&self, set: &GroupingSet, groups: &RecordBatch) -> Result<RecordBatch> {
        let column = |(number, column): (usize, &ArrayRef)| {
            let is_of_set = number < self.bounds || set.keys.get(number - self.bounds).copied().unwrap_or(true);
            if is_of_set { Arc::clone(column) } else { new_null_array(column.data_type(), column.len()) }
        };
        let columns = groups.columns().iter().enumerate().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(groups.num_rows()));
        Ok(RecordBatch::try_new_with_options(groups.schema(), columns, &options)?)
    }

    fn computed(&self, states: &[RecordBatch], start: i64, left_out: &mut LeftOut) -> Result<RecordBatch> {
        let mut pane = merged_pane(states, self.layout)?;
        self.note_unmatched(start, &mut pane, left_out)?;
        match pane.take_results() {
            Err(Error::Expression(_)) => {
                let groups = merged_pane(states, self.layout)?.take_state()?;
                self.one_by_one(start, &groups, left_out)
            }
            results => results,
        }
    }

    /// The results of the groups that have any.
    fn one_by_one(&self, start: i64, groups: &RecordBatch, left_out: &mut LeftOut) -> Result<RecordBatch> {
        let mut results = Vec::new();
        for group in (0..groups.num_rows()).map(|row| groups.slice(row, 1)) {
            match merged_pane(std::slice::from_ref(&group), self.layout)?.take_results() {
                Ok(result) => results.push(result),
                Err(Error::Expression(message)) => {
                    left_out.failed.push((self.start_of(&group, start), group, message));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(concat_batches(self.layout.result_schema(), &results)?)
    }

    /// Leaves out the groups of which more was taken back than there was.
    fn note_unmatched(&self, start: i64, pane: &mut Pane, left_out: &mut LeftOut) -> Result<()> {
        let Some(unmatched) = pane.take_unmatched()? else { return Ok(()) };
        let groups = (0..unmatched.num_rows()).map(|row| unmatched.slice(row, 1));
        left_out.unmatched.extend(groups.map(|group| (self.start_of(&group, start), group)));
        Ok(())
    }

    /// The start of the window of one group.
    fn start_of(&self, group: &RecordBatch, start: i64) -> i64 {
        let bound = group.columns()[..self.bounds].first().and_then(|it| it.as_primitive_opt::<Int64Type>());
        bound.map_or(start, |bound| bound.value(0))
    }

    fn changed(&self, groups: RecordBatch, changed: Option<&[RecordBatch]>) -> Result<RecordBatch> {
        let keys = self.layout.key_count();
        let Some(changed) = changed.filter(|_| keys > 0) else { return Ok(groups) };
        let columns = &groups.columns()[..keys];
        let converter = RowConverter::new(columns.iter().map(|it| SortField::new(it.data_type().clone())).collect())?;
        let mut wanted = HashSet::new();
        let changed = changed.iter().filter(|batch| batch.num_rows() > 0);
        for batch in changed {
            let rows = converter.convert_columns(batch.columns())?;
            wanted.extend(rows.iter().map(|row| row.owned()));
        }
        let rows = converter.convert_columns(columns)?;
        let mask: BooleanArray = rows.iter().map(|row| Some(wanted.contains(&row.owned()))).collect();
        Ok(filter_record_batch(&groups, &mask)?)
    }
}

fn merged_pane(states: &[RecordBatch], layout: &Arc<PaneLayout>) -> Result<Pane> {
    let mut pane = Pane::new(layout)?;
    states.iter().try_for_each(|state| pane.merge(state))?;
    Ok(pane)
}
