//! Settled batches of sessions → one, beside the stream.

use std::cmp::Reverse;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, UInt64Array};
use datafusion::arrow::compute::{filter_record_batch, interleave};
use datafusion::arrow::datatypes::UInt64Type;

use super::pane::Pane;
use super::session_groups::{Dead, by_unit, take_or_null};
use super::session_state::SessionPlan;
use crate::error::Result;

/// A settled batch as it is when the merging begins.
pub(super) struct Input {
    pub(super) rows: RecordBatch,
    /// What its numbers lack.
    pub(super) base: u64,
    pub(super) dead: Dead,
}

impl Input {
    /// The rows that are not dead, with their numbers.
    fn live(self) -> Result<RecordBatch> {
        let Self { rows, base, dead } = self;
        let rows = match dead.is_empty() {
            true => rows,
            false => {
                let live: BooleanArray = (0..rows.num_rows()).map(|row| Some(!dead.has(row))).collect();
                filter_record_batch(&rows, &live)?
            }
        };
        if base == 0 {
            return Ok(rows);
        }
        let mut columns = rows.columns().to_vec();
        let last = columns.len() - 1;
        for column in [0, last] {
            let numbers: UInt64Array = columns[column].as_primitive::<UInt64Type>().unary(|number| number + base);
            columns[column] = Arc::new(numbers);
        }
        Ok(RecordBatch::try_new(rows.schema(), columns)?)
    }
}

/// One batch of several, the oldest first.
pub(super) fn merged(plan: &SessionPlan, inputs: Vec<Input>) -> Result<RecordBatch> {
    let mut inputs = inputs.into_iter().map(Input::live).collect::<Result<Vec<_>>>()?;
    if inputs.len() == 1
        && let Some(only) = inputs.pop()
    {
        return Ok(only);
    }
    let (groups, has_group) = (plan.settled_groups(), plan.has_group_column());
    let unit = groups.end;
    let mut pane = Pane::new(&plan.fragments)?;
    for rows in &inputs {
        let columns = [unit].into_iter().chain(groups.clone()).map(|column| Arc::clone(rows.column(column)));
        let state = RecordBatch::try_new(Arc::clone(plan.fragments.state_schema()), columns.collect())?;
        pane.merge(&filter_record_batch(&state, rows.column(has_group).as_boolean())?)?;
    }
    // Some accumulators that have seen nothing give no columns.
    let state = match pane.group_count() {
        0 => RecordBatch::new_empty(Arc::clone(plan.fragments.state_schema())),
        _ => pane.take_state()?,
    };
    drop(pane);

    // Of each number, its last description.
    let mut described: Vec<(u64, Reverse<u32>, u32)> = Vec::new();
    for (input, rows) in inputs.iter().enumerate() {
        let units = rows.column(unit).as_primitive::<UInt64Type>().values().iter().enumerate();
        described.extend(units.map(|(row, unit)| (*unit, Reverse(input as u32), row as u32)));
    }
    described.sort_unstable();
    described.dedup_by_key(|(unit, ..)| *unit);
    let order = by_unit(&state);
    let (mut descriptions, mut rows, mut units) = (Vec::new(), Vec::<Option<u32>>::new(), Vec::new());
    let mut from = 0;
    for (unit, Reverse(input), row) in described {
        let own = order[from..].iter().take_while(|(it, _)| *it == unit);
        let before = rows.len();
        rows.extend(own.map(|(_, row)| Some(*row)));
        from += rows.len() - before;
        if rows.len() == before {
            rows.push(None);
        }
        descriptions.resize(rows.len(), (input as usize, row as usize));
        units.resize(rows.len(), unit);
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(unit + 1);
    for column in 0..groups.start {
        columns.push(match column == has_group {
            true => Arc::new(rows.iter().map(|row| Some(row.is_some())).collect::<BooleanArray>()),
            false => {
                let arrays: Vec<&dyn Array> = inputs.iter().map(|rows| rows.column(column).as_ref()).collect();
                interleave(&arrays, &descriptions)?
            }
        });
    }
    columns.extend(take_or_null(&state.columns()[1..], &UInt32Array::from(rows))?);
    columns.push(Arc::new(UInt64Array::from(units)));
    Ok(RecordBatch::try_new(Arc::clone(plan.settled_schema()), columns)?)
}
