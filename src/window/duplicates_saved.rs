//! What checkpoints have of the keys of a deduplication.
//!
//! Keys that are new, or have been there again, settle many at a time: a batch that changes no more, which checkpoints share and save once. Of a key
//! that is in several the newest counts. A batch of which no key counts any more is forgotten; when half of all rows do not count,
//! those that do are taken out of the batch with the fewest of them, and settle again.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};

use super::aggregate::WindowState;
use super::duplicates::{Duplicates, Keep, Rows, Seen, rows_of};
use super::settled::{Saved, Settled};
use crate::error::{Error, Result};

/// So many keys settle.
const SETTLES_AT: usize = if cfg!(test) { 3 } else { 1 << 16 };
/// The column of what is said after settled keys: up to which watermark keys have been forgotten.
const SWEPT_TO: &str = "swept_to";

/// Which keys are new, and which have settled.
#[derive(Default)]
pub(super) struct SavedKeys {
    /// Those that have come or come again since others settled; some may be gone.
    fresh: Vec<Arc<[u8]>>,
    settled: BTreeMap<u64, SettledKeys>,
    next: u64,
    /// How many rows there are in all that have settled, and how many of them count.
    rows: usize,
    counting: usize,
}

/// Keys that change no more.
struct SettledKeys {
    keys: Settled,
    /// How many of them are newest here.
    counting: usize,
}

impl SavedKeys {
    /// The memory of those that have settled.
    pub(super) fn size(&self) -> usize {
        self.settled.values().map(|it| it.keys.groups.get_array_memory_size()).sum()
    }

    /// A key is new, or newly so.
    pub(super) fn note(&mut self, key: Arc<[u8]>) {
        self.fresh.push(key);
    }

    /// A key that settled there has come again, or is gone.
    pub(super) fn leave(&mut self, settled: u64) {
        let Some(keys) = self.settled.get_mut(&settled) else { return };
        (keys.counting, self.counting) = (keys.counting - 1, self.counting - 1);
        if keys.counting == 0 {
            self.rows -= keys.keys.groups.num_rows();
            self.settled.remove(&settled);
        }
    }

    fn add(&mut self, groups: RecordBatch, saved: Saved, counting: usize) -> u64 {
        (self.rows, self.counting) = (self.rows + groups.num_rows(), self.counting + counting);
        self.settled.insert(self.next, SettledKeys { keys: Settled { groups, saved }, counting });
        self.next += 1;
        self.next - 1
    }
}

impl Duplicates {
    /// Many new keys settle.
    pub(super) fn settle(&mut self) -> Result<()> {
        while self.saved.fresh.len() >= SETTLES_AT {
            let fresh = self.fresh();
            self.saved.fresh.clear();
            if fresh.is_empty() {
                return Ok(());
            }
            let groups = self.state_of(&fresh)?;
            let rows = self.rows_in(&groups)?;
            let settled = self.saved.add(groups, Saved::default(), fresh.len());
            for (row, key) in fresh.iter().enumerate() {
                let Some(seen) = self.seen.get_mut(key) else { continue };
                seen.settled = Some(settled);
                self.bytes = self.bytes.saturating_sub(seen.bytes());
                seen.row = rows.as_ref().map(|rows| (Arc::clone(rows), row as u32));
                self.bytes += seen.bytes();
            }
            self.clean()?;
        }
        Ok(())
    }

    /// The keys of the batch of which fewest count are new again, when half of all do not count.
    fn clean(&mut self) -> Result<()> {
        if self.saved.rows < 2 * self.saved.counting + 2 * SETTLES_AT {
            return Ok(());
        }
        let wasted = |it: &SettledKeys| ((it.keys.groups.num_rows() - it.counting) << 10) / it.keys.groups.num_rows();
        let Some((&settled, keys)) = self.saved.settled.iter().max_by_key(|(_, it)| wasted(it)) else { return Ok(()) };
        let bytes = self.converter.convert_columns(&self.keys_in(&keys.keys.groups))?;
        for row in 0..bytes.num_rows() {
            let key = bytes.row(row);
            if self.seen.get(key.data()).is_none_or(|seen| seen.settled != Some(settled)) {
                continue;
            }
            self.seen.get_mut(key.data()).into_iter().for_each(|seen| seen.settled = None);
            self.seen.get_key_value(key.data()).into_iter().for_each(|(key, _)| self.saved.note(Arc::clone(key)));
            self.saved.leave(settled);
        }
        Ok(())
    }

    /// The keys that are new and still there, in order.
    fn fresh(&self) -> Vec<Arc<[u8]>> {
        let is_fresh = |key: &&Arc<[u8]>| self.seen.get(*key).is_some_and(|seen| seen.settled.is_none());
        let mut fresh: Vec<_> = self.saved.fresh.iter().filter(is_fresh).cloned().collect();
        fresh.sort_by_cached_key(|key| (self.seen.get(key).map(|seen| seen.place), Arc::clone(key)));
        // One that was gone has come again.
        fresh.dedup();
        fresh
    }

    /// What is saved of these keys.
    fn state_of(&self, keys: &[Arc<[u8]>]) -> Result<RecordBatch> {
        let seen = || keys.iter().filter_map(|key| self.seen.get(key));
        let mut columns = match self.plan.keep {
            Keep::First => {
                let parser = self.converter.parser();
                self.converter.convert_rows(keys.iter().map(|key| parser.parse(key)))?
            }
            Keep::Last => {
                let rows = rows_of(seen().filter_map(|seen| seen.row.as_ref()))?;
                let partitions = Int32Array::from_iter_values(seen().map(|seen| seen.place.1));
                let offsets = Int64Array::from_iter_values(seen().map(|seen| seen.place.2));
                let places: [ArrayRef; 2] = [Arc::new(partitions), Arc::new(offsets)];
                rows.columns().iter().cloned().chain(places).collect()
            }
        };
        columns.push(Arc::new(Int64Array::from_iter_values(seen().map(|seen| seen.place.0))));
        Ok(RecordBatch::try_new(self.plan.state_schema(), columns)?)
    }

    /// The key columns of what is saved.
    fn keys_in(&self, groups: &RecordBatch) -> Vec<ArrayRef> {
        let columns: Vec<usize> = match self.plan.keep {
            Keep::First => (0..self.plan.keys.len()).collect(),
            Keep::Last => self.plan.keys.clone(),
        };
        columns.into_iter().map(|column| Arc::clone(groups.column(column))).collect()
    }

    /// The rows of what has settled, where the last ones stay.
    fn rows_in(&self, groups: &RecordBatch) -> Result<Option<Arc<Rows>>> {
        if self.plan.keep == Keep::First {
            return Ok(None);
        }
        let columns = groups.columns()[..self.plan.rows.fields().len()].to_vec();
        Ok(Some(Rows::counted(RecordBatch::try_new(self.own_schema(), columns)?)))
    }

    /// A copy of what is known of keys, for a checkpoint: what has settled is shared.
    pub fn save(&self) -> Result<Vec<WindowState>> {
        let fresh = self.fresh();
        let fresh = (!fresh.is_empty()).then(|| self.state_of(&fresh)).transpose()?;
        if self.saved.settled.is_empty() {
            return Ok(fresh.into_iter().map(|state| WindowState::new(0, 0, state)).collect());
        }
        let schema = Schema::new(vec![Field::new(SWEPT_TO, DataType::Int64, false)]);
        let said: ArrayRef = Arc::new(Int64Array::from(vec![self.swept_to]));
        let said = RecordBatch::try_new(Arc::new(schema), vec![said])?;
        let settled = self.saved.settled.values().map(|it| (it.keys.groups.clone(), it.keys.saved.clone()));
        let new = fresh.into_iter().chain([said]).map(|state| (state, Saved::default()));
        let state = |(groups, saved)| WindowState { saved: Some(saved), ..WindowState::new(0, 0, groups) };
        Ok(settled.chain(new).map(state).collect())
    }

    /// Takes over what was saved.
    pub fn restore(&mut self, states: &[WindowState]) -> Result<()> {
        let says = |state: &WindowState| state.groups.schema_ref().field(0).name() == SWEPT_TO;
        let mut swept_to = None;
        for state in states.iter().filter(|state| says(state)) {
            let column = state.groups.column(0).as_primitive_opt::<Int64Type>().filter(|it| !it.is_empty());
            swept_to = Some(column.ok_or_else(damaged)?.value(0));
        }
        for state in states.iter().filter(|state| !says(state)) {
            self.restore_keys(state, swept_to)?;
        }
        self.swept_to = self.swept_to.max(swept_to.unwrap_or(self.swept_to));
        Ok(())
    }

    /// Those of a state that had not been forgotten; the newest come last.
    fn restore_keys(&mut self, state: &WindowState, swept_to: Option<i64>) -> Result<()> {
        let groups = &state.groups;
        if groups.num_columns() != self.plan.state_schema().fields().len() {
            return Err(damaged());
        }
        let times = groups.column(groups.num_columns() - 1).as_primitive_opt::<Int64Type>().ok_or_else(damaged)?;
        let rows = self.rows_in(groups)?;
        let width = self.plan.rows.fields().len();
        let places = match self.plan.keep {
            Keep::First => None,
            Keep::Last => {
                let partitions = groups.column(width).as_primitive_opt::<Int32Type>().ok_or_else(damaged)?;
                Some((partitions, groups.column(width + 1).as_primitive_opt::<Int64Type>().ok_or_else(damaged)?))
            }
        };
        let keys = self.converter.convert_columns(&self.keys_in(groups))?;
        // It stays where it is saved.
        let settled =
            state.saved.as_ref().map(|saved| self.saved.add(groups.clone(), saved.clone(), groups.num_rows()));
        for row in 0..groups.num_rows() {
            let (time, bytes) = (times.value(row), keys.row(row));
            if swept_to.is_some_and(|swept_to| self.is_over(time, swept_to)) {
                settled.into_iter().for_each(|settled| self.saved.leave(settled));
                continue;
            }
            let (partition, offset) =
                places.map_or((0, 0), |(partitions, offsets)| (partitions.value(row), offsets.value(row)));
            let row = rows.as_ref().map(|rows| (Arc::clone(rows), row as u32));
            let seen = Seen { place: (time, partition, offset), row, settled };
            self.bytes += seen.bytes();
            let before = match self.seen.get_mut(bytes.data()) {
                Some(before) => Some(std::mem::replace(before, seen)),
                None => {
                    self.bytes += bytes.data().len();
                    let key: Arc<[u8]> = bytes.data().into();
                    self.enqueue(&key, time);
                    self.seen.insert(key, seen)
                }
            };
            if let Some(before) = before {
                self.bytes = self.bytes.saturating_sub(before.bytes());
                before.settled.into_iter().for_each(|settled| self.saved.leave(settled));
            }
            if settled.is_none() {
                self.saved.note(bytes.data().into());
            }
        }
        Ok(())
    }
}

fn damaged() -> Error {
    Error::internal("saved keys of a deduplication do not have their columns")
}
