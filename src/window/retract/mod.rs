//! Groups whose rows come and go.
//!
//! DataFusion's accumulators of groups only ever add. Those here count with signs: a row that is taken back leaves no trace,
//! in whatever order it came, and also when it came into another pane of the window. Beside the aggregates a hidden count says
//! how many rows a group has; one without rows has no result.

mod tally;
mod undo;
mod values;

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type};

pub use undo::{Undo, UndoPlan};

use crate::error::{Error, Result};

/// Rows of groups, for one aggregate.
pub(super) struct Batch<'a> {
    /// The aggregate's arguments.
    pub(super) arguments: &'a [ArrayRef],
    /// The group of each row.
    pub(super) groups: &'a [usize],
    /// 1 for a row that comes, -1 for one that is taken back; without, all come.
    pub(super) signs: Option<&'a [i8]>,
    /// `FILTER (WHERE …)`, without nulls.
    pub(super) filter: Option<&'a BooleanArray>,
    /// How many groups there are now.
    pub(super) total: usize,
}

impl Batch<'_> {
    fn sign(&self, row: usize) -> i64 {
        self.signs.map_or(1, |signs| i64::from(signs[row]))
    }

    /// Calls `each` with the places of the rows that pass the filter and are `valid`.
    fn each(&self, valid: Option<&BooleanArray>, mut each: impl FnMut(usize)) {
        let passes = |row: usize| {
            self.filter.is_none_or(|filter| filter.value(row)) && valid.is_none_or(|valid| valid.value(row))
        };
        match (self.filter, valid) {
            (None, None) => (0..self.groups.len()).for_each(each),
            _ => (0..self.groups.len()).filter(|&row| passes(row)).for_each(&mut each),
        }
    }
}

/// What an aggregate keeps of its groups.
pub(super) trait Tally: Send {
    /// Adds rows, and takes rows back.
    fn update(&mut self, batch: &Batch<'_>) -> Result<()>;
    /// Adds state as [`Self::take_state`] gives it.
    fn merge(&mut self, state: &[ArrayRef], groups: &[usize], total: usize) -> Result<()>;
    /// Whether a group has nothing: as if it had never had a row.
    fn is_zero(&self, group: usize) -> bool;
    /// The state of some groups, in ascending order; nothing is left after it.
    fn take_state(&mut self, kept: &[u32]) -> Result<Vec<ArrayRef>>;
    /// The results of some groups, in ascending order; nothing is left after it.
    fn evaluate(&mut self, kept: &[u32]) -> Result<ArrayRef>;
    /// Bytes held.
    fn size(&self) -> usize;
}

/// The state of a pane whose rows come and go.
pub(super) struct SignedState {
    /// The rows of each group. In one pane of many it may be negative: the row came into another.
    counts: Vec<i64>,
    /// Which groups have a result also without rows.
    filled: Vec<bool>,
    tallies: Vec<Box<dyn Tally>>,
}

/// The columns of a state between the keys and the aggregates: how many rows there are, and whether the group has a
/// result also without any.
pub(super) fn hidden_fields() -> [Field; 2] {
    [Field::new("rows", DataType::Int64, true), Field::new("filled", DataType::Boolean, true)]
}

impl SignedState {
    pub(super) fn new(plans: &[UndoPlan]) -> Result<Self> {
        Ok(Self {
            counts: Vec::new(),
            filled: Vec::new(),
            tallies: plans.iter().map(UndoPlan::tally).collect::<Result<_>>()?,
        })
    }

    pub(super) fn size(&self) -> usize {
        self.counts.capacity() * size_of::<i64>() + self.tallies.iter().map(|it| it.size()).sum::<usize>()
    }

    fn clear(&mut self) {
        self.counts.clear();
        self.filled.clear();
    }

    fn resize(&mut self, total: usize) {
        self.counts.resize(total, 0);
        self.filled.resize(total, false);
    }

    /// Gives groups a result also without rows.
    pub(super) fn fill(&mut self, groups: &[usize], total: usize) {
        self.resize(total);
        groups.iter().for_each(|&group| self.filled[group] = true);
    }

    /// Adds rows and takes rows back.
    pub(super) fn update(
        &mut self,
        arguments: &[Vec<ArrayRef>],
        filters: &[Option<BooleanArray>],
        signs: Option<&[i8]>,
        groups: &[usize],
        total: usize,
    ) -> Result<()> {
        self.resize(total);
        match signs {
            None => groups.iter().for_each(|&group| self.counts[group] += 1),
            Some(signs) => {
                groups.iter().zip(signs).for_each(|(&group, &sign)| self.counts[group] += i64::from(sign));
            }
        }
        for ((tally, arguments), filter) in self.tallies.iter_mut().zip(arguments).zip(filters) {
            tally.update(&Batch { arguments, groups, signs, filter: filter.as_ref(), total })?;
        }
        Ok(())
    }

    /// Adds state: the columns after the keys.
    pub(super) fn merge(&mut self, state: &[ArrayRef], widths: &[usize], groups: &[usize], total: usize) -> Result<()> {
        self.resize(total);
        let [counts, filled, state @ ..] = state else { return Err(uncounted()) };
        let counts = counts.as_primitive_opt::<Int64Type>().ok_or_else(uncounted)?;
        let filled = filled.as_boolean_opt().ok_or_else(uncounted)?;
        for (row, &group) in groups.iter().enumerate() {
            self.counts[group] += counts.value(row);
            self.filled[group] |= filled.value(row);
        }
        let mut state = state;
        for (tally, &width) in self.tallies.iter_mut().zip(widths) {
            tally.merge(&state[..width], groups, total)?;
            state = &state[width..];
        }
        Ok(())
    }

    fn groups(&self, wanted: impl Fn(usize) -> bool) -> Vec<u32> {
        (0..self.counts.len()).filter(|&group| wanted(group)).map(|group| group as u32).collect()
    }

    fn has_result(&self, group: usize) -> bool {
        self.counts[group] > 0 || (self.counts[group] == 0 && self.filled[group])
    }

    /// The groups that have something: also such as have no rows here, but took some back that came into other panes.
    pub(super) fn touched(&self) -> Vec<u32> {
        let has_values = |group: usize| self.tallies.iter().any(|tally| !tally.is_zero(group));
        self.groups(|group| self.counts[group] != 0 || self.filled[group] || has_values(group))
    }

    /// The groups that have a result.
    pub(super) fn present(&self) -> Vec<u32> {
        self.groups(|group| self.has_result(group))
    }

    /// The groups of which more was taken back than came.
    pub(super) fn unmatched(&self) -> Vec<u32> {
        self.groups(|group| self.counts[group] < 0)
    }

    /// Whether every group has a result, and so all state is of rows that are there.
    pub(super) fn is_settled(&self) -> bool {
        (0..self.counts.len()).all(|group| self.has_result(group))
    }

    /// The state of some groups, the columns after the keys; nothing is left after it.
    pub(super) fn take_state(&mut self, kept: &[u32]) -> Result<Vec<ArrayRef>> {
        let counts = Int64Array::from_iter_values(kept.iter().map(|&group| self.counts[group as usize]));
        let filled: BooleanArray = kept.iter().map(|&group| Some(self.filled[group as usize])).collect();
        self.clear();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(counts), Arc::new(filled)];
        for tally in &mut self.tallies {
            columns.extend(tally.take_state(kept)?);
        }
        Ok(columns)
    }

    /// The results of some groups; nothing is left after it.
    pub(super) fn evaluate(&mut self, kept: &[u32]) -> Result<Vec<ArrayRef>> {
        self.clear();
        self.tallies.iter_mut().map(|tally| tally.evaluate(kept)).collect()
    }
}

fn uncounted() -> Error {
    Error::internal("the rows of groups are not counted")
}

/// Where all of some columns have values; `None` where no value is null.
fn all_valid(columns: &[ArrayRef]) -> Option<BooleanArray> {
    use datafusion::arrow::buffer::NullBuffer;
    let nulls = columns.iter().fold(None, |nulls, column| {
        NullBuffer::union(nulls.as_ref(), column.logical_nulls().filter(|it| it.null_count() > 0).as_ref())
    });
    nulls.map(|nulls| BooleanArray::new(nulls.into_inner(), None))
}

#[cfg(test)]
mod tests;
