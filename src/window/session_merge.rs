//! Settled batches of sessions → one, beside the stream.

use std::cmp::Reverse;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, UInt64Array};
use datafusion::arrow::compute::{filter_record_batch, interleave};
use datafusion::arrow::datatypes::UInt64Type;
use fnv::FnvHashMap;

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
    let mut described = descriptions(&inputs, unit);
    if !plan.takes_back() && join(&mut inputs, &described, unit)? {
        described = descriptions(&inputs, unit);
    }
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

    let order = by_unit(&state);
    let (mut places, mut rows, mut units) = (Vec::new(), Vec::<Option<u32>>::new(), Vec::new());
    let mut from = 0;
    for (unit, Reverse(input), row) in described {
        let own = order[from..].iter().take_while(|(it, _)| *it == unit);
        let before = rows.len();
        rows.extend(own.map(|(_, row)| Some(*row)));
        from += rows.len() - before;
        if rows.len() == before {
            rows.push(None);
        }
        places.resize(rows.len(), (input as usize, row as usize));
        units.resize(rows.len(), unit);
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(unit + 1);
    for column in 0..groups.start {
        columns.push(if column == has_group {
            Arc::new(rows.iter().map(|row| Some(row.is_some())).collect::<BooleanArray>())
        } else {
            let arrays: Vec<&dyn Array> = inputs.iter().map(|rows| rows.column(column).as_ref()).collect();
            interleave(&arrays, &places)?
        });
    }
    columns.extend(take_or_null(&state.columns()[1..], &UInt32Array::from(rows))?);
    columns.push(Arc::new(UInt64Array::from(units)));
    Ok(RecordBatch::try_new(Arc::clone(plan.settled_schema()), columns)?)
}

/// Of each number its last description: in which input, and which row.
type Description = (u64, Reverse<u32>, u32);

fn descriptions(inputs: &[RecordBatch], unit: usize) -> Vec<Description> {
    let mut described = Vec::new();
    for (input, rows) in inputs.iter().enumerate() {
        let units = rows.column(unit).as_primitive::<UInt64Type>().values().iter().enumerate();
        described.extend(units.map(|(row, unit)| (*unit, Reverse(input as u32), row as u32)));
    }
    described.sort_unstable();
    described.dedup_by_key(|(unit, ..)| *unit);
    described
}

/// What has joined others gets their numbers, or a session that goes on for ever would have more and more; whether there was any. What
/// is said of one that has joined another is what was known of the other then.
fn join(inputs: &mut [RecordBatch], described: &[Description], unit: usize) -> Result<bool> {
    let mut joined: FnvHashMap<u64, u64> = FnvHashMap::default();
    for (unit, Reverse(input), row) in described {
        let number = inputs[*input as usize].column(0).as_primitive::<UInt64Type>().value(*row as usize);
        if number != *unit {
            joined.insert(*unit, number);
        }
    }
    if joined.is_empty() {
        return Ok(false);
    }
    let resolve = |mut number: u64| {
        while let Some(next) = joined.get(&number) {
            number = *next;
        }
        number
    };
    for rows in inputs {
        let mut columns = rows.columns().to_vec();
        let numbers: ArrayRef = Arc::new(columns[unit].as_primitive::<UInt64Type>().unary::<_, UInt64Type>(resolve));
        (columns[0], columns[unit]) = (Arc::clone(&numbers), numbers);
        *rows = RecordBatch::try_new(rows.schema(), columns)?;
    }
    Ok(true)
}
