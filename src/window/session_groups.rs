//! The groups of sessions: in a pane that takes rows, and in settled batches beside it.
//!
//! DataFusion's accumulators give their state away, all of it; putting it back takes as long as there are groups. So what a large pane has is given away
//! once, as a batch in the order of the groups' numbers, and the pane begins anew. What closes is picked out of the batches, whose rows
//! are then dead; rows of a group that goes on changing are in several, in their order. Small batches are merged beside the stream, and
//! those that are mostly dead rewritten, so that a row is moved no more often than the number of rows doubles.
//!
//! ```text
//!  rows ──► pane ──► settled  ▇▇▇▇▇▇▇▇ ▇▇▇▇ ▇ ▇        at a cut:  12 34 close        ▇▇▇▇▇▇▇▇ ▇▇▇▇ ▇ ▇
//!                                                                                     ╵ ╵    ╵   dead
//! ```
//!
//! Settled batches change no more, so checkpoints share them and save them once. Each row says what is known of its fragment: the last
//! row of a number is how it is.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, RecordBatch, UInt32Array, UInt64Array, new_null_array,
};
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::{DataType, Field, Schema, UInt64Type};

use super::aggregate::WindowState;
use super::pane::{Pane, PaneInput};
use super::session_merge::{Input, merged};
use super::session_state::{SessionPlan, damaged};
use super::settled::{SESSIONS, Saved};
use crate::error::{Error, Result};

/// From so many groups on the pane settles. Fewer are put back within milliseconds.
const SETTLES_AT: usize = if cfg!(test) { 3 } else { 1 << 16 };
/// As many batches are merged at least.
const MERGED_AT_LEAST: usize = 4;
/// The columns of what a checkpoint says of settled batches: what to add to the numbers of each, and which of its rows are dead.
const BASE: &str = "session_base";
const DEAD: &str = "session_dead";

/// The groups of the fragments of a lane.
pub(super) struct Groups {
    plan: Arc<SessionPlan>,
    pane: Pane,
    settled: Vec<SettledGroups>,
    merging: Option<Merging>,
    /// How many rows have been put into the pane or taken out of batches, but for those that came as rows.
    #[cfg(test)]
    pub(super) moved: usize,
}

/// Groups that change no more.
pub(super) struct SettledGroups {
    pub(super) rows: RecordBatch,
    /// What its numbers lack: those of a checkpoint may be others here.
    pub(super) base: u64,
    pub(super) dead: Dead,
    pub(super) saved: Saved,
    /// The first start and the last time of its fragments.
    bounds: (i64, i64),
}

/// Some of the batches, on their way to one.
struct Merging {
    first: usize,
    count: usize,
    /// What has died since.
    died: Vec<u64>,
    merged: JoinHandle<Result<RecordBatch>>,
}

/// Where a row of groups is: in which batch (the first place after them is the pane's), and which row.
pub(super) type Place = (usize, usize);

impl Groups {
    pub(super) fn new(plan: &Arc<SessionPlan>) -> Result<Self> {
        Ok(Self {
            plan: Arc::clone(plan),
            pane: Pane::new(&plan.fragments)?,
            settled: Vec::new(),
            merging: None,
            #[cfg(test)]
            moved: 0,
        })
    }

    /// Memory, and the number of groups; those that are in several batches count in each.
    pub(super) fn size(&self) -> (usize, usize) {
        // Lanes share what they have been given of a checkpoint: each counts its own part.
        let bytes = |it: &SettledGroups| {
            let rows = it.rows.num_rows().max(1) as u128;
            (it.rows.get_array_memory_size() as u128 * it.live() as u128 / rows) as usize + it.dead.bits.len() * 8
        };
        let bytes = self.pane.size() + self.settled.iter().map(bytes).sum::<usize>();
        (bytes, self.pane.group_count() + self.settled.iter().map(SettledGroups::live).sum::<usize>())
    }

    /// Adds rows, and takes rows back where the layout is for that.
    pub(super) fn update(&mut self, input: &PaneInput) -> Result<()> {
        self.pane.update(input)
    }

    /// Whether what has changed is to settle.
    pub(super) fn settles(&self, changed: usize) -> bool {
        self.pane.group_count().max(changed) >= SETTLES_AT
    }

    /// Whether anything has settled.
    pub(super) fn has_settled(&self) -> bool {
        !self.settled.is_empty()
    }

    /// Empties the pane: the numbers, then the groups.
    pub(super) fn take_pane(&mut self) -> Result<RecordBatch> {
        // Some accumulators that have seen nothing give no columns.
        if self.pane.group_count() == 0 {
            return Ok(RecordBatch::new_empty(Arc::clone(self.plan.fragments.state_schema())));
        }
        let state = self.pane.take_state()?;
        self.pane = Pane::new(&self.plan.fragments)?;
        Ok(state)
    }

    /// Puts groups into the pane.
    pub(super) fn merge(&mut self, state: &RecordBatch) -> Result<()> {
        #[cfg(test)]
        {
            self.moved += state.num_rows();
        }
        self.pane.merge(state)
    }

    /// Adds a batch that changes no more.
    pub(super) fn settle(&mut self, rows: RecordBatch) -> Result<()> {
        self.push(SettledGroups::new(&self.plan, rows, 0, Dead::default(), Saved::default())?);
        Ok(())
    }

    /// Adds one, the newest.
    pub(super) fn push(&mut self, batch: SettledGroups) {
        self.settled.push(batch);
    }

    /// The rows with groups of these numbers, which are ascending, each with a place; those of each number from the oldest on. `pane` is
    /// what has been taken out of it.
    pub(super) fn find(&mut self, units: &[(u64, usize)], pane: &RecordBatch) -> Vec<(usize, Place)> {
        let mut found = Vec::new();
        for (batch, settled) in self.settled.iter().enumerate() {
            let has_group = settled.rows.column(self.plan.has_group_column()).as_boolean();
            let mut from = 0;
            for &(unit, place) in units {
                let rows = settled.find(unit, from);
                from = rows.end;
                found.extend(rows.filter(|&row| has_group.value(row)).map(|row| (place, (batch, row))));
            }
        }
        let order = by_unit(pane);
        let mut from = 0;
        for &(unit, place) in units {
            from += order[from..].partition_point(|(it, _)| *it < unit);
            let rows = order[from..].iter().take_while(|(it, _)| *it == unit);
            found.extend(rows.map(|&(_, row)| (place, (self.settled.len(), row as usize))));
        }
        #[cfg(test)]
        {
            self.moved += found.len();
        }
        found
    }

    /// The group columns of these rows; nulls where there is none.
    pub(super) fn columns(&self, pane: &RecordBatch, rows: &[Option<Place>]) -> Result<Vec<ArrayRef>> {
        let none = (self.settled.len() + 1, 0);
        let rows: Vec<Place> = rows.iter().map(|place| place.unwrap_or(none)).collect();
        let columns = self.plan.settled_groups().zip(&pane.columns()[1..]).map(|(column, in_pane)| {
            let nulls = new_null_array(in_pane.data_type(), 1);
            let settled = self.settled.iter().map(|it| it.rows.column(column));
            let arrays: Vec<&dyn Array> = settled.chain([in_pane, &nulls]).map(AsRef::as_ref).collect();
            interleave(&arrays, &rows)
        });
        Ok(columns.collect::<std::result::Result<_, _>>()?)
    }

    /// Nobody asks for these numbers any more.
    pub(super) fn kill(&mut self, mut units: Vec<u64>) {
        units.sort_unstable();
        self.settled.iter_mut().for_each(|batch| batch.kill(&units));
        if let Some(merging) = &mut self.merging {
            merging.died.extend(units);
        }
    }

    /// Takes over what has been merged since, and has more merged when there is reason to.
    pub(super) fn tidy(&mut self) -> Result<()> {
        if let Some(Merging { first, count, died, merged }) = self.merging.take_if(|it| it.merged.is_finished()) {
            let merged = merged.join().map_err(|_| Error::internal("the merging of sessions has panicked"))?;
            // What cannot be added up says so when the session closes, with the group that it is.
            if let Ok(rows) = merged {
                let mut batch = SettledGroups::new(&self.plan, rows, 0, Dead::default(), Saved::default())?;
                batch.kill(&sorted(died));
                self.settled.splice(first..first + count, [batch]);
            }
        }
        if self.merging.is_some() {
            return Ok(());
        }
        self.settled.retain(|batch| batch.live() > 0);
        let mut live = 0;
        let newest = self.settled.iter().rev().take_while(|batch| {
            let joins = live == 0 || batch.live() <= live;
            live += batch.live();
            joins
        });
        let count = newest.count();
        let first = self.settled.len() - count;
        if count >= MERGED_AT_LEAST {
            return self.begin_to_merge(first, count);
        }
        let wasted = self.settled.iter().enumerate().filter(|(_, it)| it.dead.count > it.live());
        match wasted.max_by_key(|(_, it)| it.dead.count).map(|(place, _)| place) {
            Some(place) => self.begin_to_merge(place, 1),
            None => Ok(()),
        }
    }

    fn begin_to_merge(&mut self, first: usize, count: usize) -> Result<()> {
        let input = |it: &SettledGroups| Input { rows: it.rows.clone(), base: it.base, dead: it.dead.clone() };
        let inputs: Vec<Input> = self.settled[first..first + count].iter().map(input).collect();
        let plan = Arc::clone(&self.plan);
        let merging = Builder::new().name("merge-sessions".into()).spawn(move || merged(&plan, inputs));
        let merged = merging.map_err(|cause| Error::permanent("cannot start a thread that merges sessions", cause))?;
        if cfg!(test) {
            // Simulations go the same way again.
            while !merged.is_finished() {
                std::thread::yield_now();
            }
        }
        self.merging = Some(Merging { first, count, died: Vec::new(), merged });
        Ok(())
    }

    /// What a checkpoint has of so many fragments, all of which have settled: the batches, and which rows are dead.
    pub(super) fn share(&self, fragments: usize) -> Result<Vec<WindowState>> {
        let state = |it: &SettledGroups| WindowState {
            saved: Some(it.saved.clone()),
            ..WindowState::new(it.bounds.0, it.bounds.1, it.rows.clone())
        };
        let bases = UInt64Array::from_iter_values(self.settled.iter().map(|it| it.base));
        let dead = BinaryArray::from_iter_values(self.settled.iter().map(|it| it.dead.to_bytes()));
        let fields = [Field::new(BASE, DataType::UInt64, false), Field::new(DEAD, DataType::Binary, false)];
        let about = [(SESSIONS.to_owned(), fragments.to_string())].into();
        let schema = Schema::new(fields.to_vec()).with_metadata(about);
        let said = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(bases), Arc::new(dead)])?;
        let said = WindowState { saved: Some(Saved::default()), ..WindowState::new(0, 0, said) };
        Ok(self.settled.iter().map(state).chain([said]).collect())
    }
}

impl SettledGroups {
    pub(super) fn new(plan: &SessionPlan, rows: RecordBatch, base: u64, dead: Dead, saved: Saved) -> Result<Self> {
        let columns = plan.settled_rows(&rows)?;
        let start = columns.starts.iter().copied().min().unwrap_or(0);
        let bounds = (start, columns.lasts.iter().copied().max().unwrap_or(0));
        Ok(Self { rows, base, dead, saved, bounds })
    }

    /// How many rows are not dead.
    pub(super) fn live(&self) -> usize {
        self.rows.num_rows() - self.dead.count
    }

    /// The rows of a number; `from` is none after the first.
    fn find(&self, unit: u64, from: usize) -> std::ops::Range<usize> {
        let units = self.rows.column(self.rows.num_columns() - 1).as_primitive::<UInt64Type>().values();
        let Some(unit) = unit.checked_sub(self.base) else { return from..from };
        let start = from + units[from..].partition_point(|it| *it < unit);
        start..start + units[start..].iter().take_while(|it| **it == unit).count()
    }

    fn kill(&mut self, units: &[u64]) {
        let mut from = 0;
        for &unit in units {
            let rows = self.find(unit, from);
            from = rows.end;
            rows.for_each(|row| self.dead.add(row, self.rows.num_rows()));
        }
    }
}

/// What [`Groups::share`] says of settled batches, oldest first: what to add to the numbers of each, and which rows are dead. `None` for
/// states that say something else.
pub(super) fn said(state: &RecordBatch) -> Result<Option<Vec<(u64, Dead)>>> {
    if state.schema_ref().fields().first().is_none_or(|field| field.name() != BASE) {
        return Ok(None);
    }
    let bases = state.column(0).as_primitive_opt::<UInt64Type>().ok_or_else(damaged)?;
    let dead = state.columns().get(1).and_then(|dead| dead.as_binary_opt::<i32>()).ok_or_else(damaged)?;
    Ok(Some((0..state.num_rows()).map(|row| (bases.value(row), Dead::of_bytes(dead.value(row)))).collect()))
}

/// The rows of what was in a pane in the order of their numbers.
pub(super) fn by_unit(pane: &RecordBatch) -> Vec<(u64, u32)> {
    let units = pane.column(0).as_primitive::<UInt64Type>().values().iter();
    let mut order: Vec<(u64, u32)> = units.enumerate().map(|(row, unit)| (*unit, row as u32)).collect();
    order.sort_unstable();
    order
}

/// Rows of columns, nulls where there is none.
pub(super) fn take_or_null(columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
    let take = |column: &ArrayRef| match column.len() {
        0 => Ok(new_null_array(column.data_type(), rows.len())),
        _ => datafusion::arrow::compute::take(column, rows, None),
    };
    Ok(columns.iter().map(take).collect::<std::result::Result<_, _>>()?)
}

fn sorted(mut units: Vec<u64>) -> Vec<u64> {
    units.sort_unstable();
    units
}

/// Which rows of a batch nobody asks for any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Dead {
    /// Empty as long as there are none.
    bits: Vec<u64>,
    count: usize,
}

impl Dead {
    /// One more, of so many rows.
    pub(super) fn add(&mut self, row: usize, rows: usize) {
        if self.bits.is_empty() {
            self.bits = vec![0; rows.div_ceil(64)];
        }
        let (word, bit) = (row / 64, 1 << (row % 64));
        self.count += usize::from(self.bits[word] & bit == 0);
        self.bits[word] |= bit;
    }

    pub(super) fn has(&self, row: usize) -> bool {
        self.bits.get(row / 64).is_some_and(|word| word & (1 << (row % 64)) != 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The same of so many rows.
    pub(super) fn of_rows(mut self, rows: usize) -> Self {
        if !self.bits.is_empty() {
            self.bits.resize(rows.div_ceil(64), 0);
        }
        self
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.bits.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let bits: Vec<u64> = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        Self { count: bits.iter().map(|word| word.count_ones() as usize).sum(), bits }
    }
}
