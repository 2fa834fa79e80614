//! Saved fragments of sessions → those of a lane.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use datafusion::arrow::compute::filter_record_batch;
use fnv::{FnvHashMap, FnvHashSet};

use super::aggregate::WindowState;
use super::session::Sessions;
use super::session_fragments::{Fragment, of_points};
use super::session_groups::{Dead, SettledGroups, said};
use super::session_points::{Point, Points};
use super::session_state::{SavedFragment, damaged};
use crate::change::TopicPartition;
use crate::error::Result;

/// Those of a state: the lane to whom they are given takes its own.
type Own<'a> = &'a dyn Fn(&TopicPartition) -> bool;

/// A fragment of points, as it is put together.
struct Gathered {
    source: usize,
    key: Arc<[u8]>,
    points: Points,
}

impl Sessions {
    /// Adds saved fragments of the partitions that are `own`.
    pub(super) fn restore(&mut self, states: &[WindowState], own: Own<'_>) -> Result<()> {
        self.has_changed = true;
        // The settled batches of a lane stand before what is said of them.
        let mut settled = Vec::new();
        for state in states {
            if self.plan.is_settled(&state.groups) {
                settled.push(state);
            } else if let Some(said) = said(&state.groups)? {
                if said.len() != settled.len() {
                    return Err(damaged());
                }
                self.restore_settled(settled.drain(..).zip(said).collect(), own)?;
            } else {
                self.restore_whole(&state.groups, own)?;
            }
        }
        if settled.is_empty() { Ok(()) } else { Err(damaged()) }
    }

    /// Adds the fragments of a state that has all of each.
    fn restore_whole(&mut self, state: &RecordBatch, own: Own<'_>) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let fragments = plan.fragments_of(state, &self.rows)?;
        let grouped = plan.grouped(state)?;
        let points = plan.points_of(state)?;
        let mut ids: Vec<Option<u64>> = vec![None; state.num_rows()];
        for saved in fragments.into_iter().filter(|saved| own(&saved.source)) {
            let SavedFragment { start, last, reach, rows, .. } = saved;
            let source = self.fragments.source(&saved.source);
            let (number, key) = (self.fragments.number(), self.fragments.key(source, &saved.key));
            let mut touched = vec![(number, start)];
            let fragment = match &points {
                None => {
                    rows.for_each(|row| ids[row] = grouped.value(row).then_some(number));
                    Some(Fragment::new(number, source, key, (start, last), reach))
                }
                Some(saved) => {
                    let mut points = Points::default();
                    touched.clear();
                    let mut id = number;
                    for row in rows {
                        let (time, point) = saved[row];
                        // The rows of a point stand together.
                        if !points.has(time) {
                            id = self.fragments.number();
                            points.insert(time, Point { id, ..point });
                            touched.push((id, time));
                        }
                        ids[row] = grouped.value(row).then_some(id);
                    }
                    of_points(number, source, key, points)
                }
            };
            if let Some(fragment) = fragment {
                let slot = self.fragments.insert(fragment);
                touched.into_iter().for_each(|(unit, time)| self.fragments.touch(slot, unit, time));
            }
        }
        let kept = filter_record_batch(&plan.groups_of(state)?, &ids.iter().map(|id| Some(id.is_some())).collect())?;
        let ids: ArrayRef = Arc::new(UInt64Array::from_iter_values(ids.into_iter().flatten()));
        let columns = [ids].into_iter().chain(kept.columns().iter().cloned()).collect();
        self.groups.merge(&RecordBatch::try_new(Arc::clone(plan.fragments.state_schema()), columns)?)
    }

    /// Adds the settled batches of a lane, the oldest first. They stay as they are, and where they are saved; what others have of them is
    /// dead here.
    fn restore_settled(&mut self, batches: Vec<(&WindowState, (u64, Dead))>, own: Own<'_>) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        // The numbers are those of another lane.
        let shift = self.fragments.next_number();
        let mut described: FnvHashSet<u64> = FnvHashSet::default();
        let mut joined: FnvHashMap<u64, u64> = FnvHashMap::default();
        let mut gathered: FnvHashMap<u64, Gathered> = FnvHashMap::default();
        let mut restored = Vec::new();
        let count = batches.len();
        for (state, (base, dead)) in batches.into_iter().rev() {
            let (groups, base) = (&state.groups, base + shift);
            let mut dead = dead.of_rows(groups.num_rows());
            let (rows, keys) = (plan.settled_rows(groups)?, plan.settled_keys(groups, &self.rows)?);
            // Which partition is whose, and its place here.
            let mut sources: HashMap<(i32, i32), Option<usize>> = HashMap::new();
            for row in 0..groups.num_rows() {
                let source = match sources.get(&rows.place(row)) {
                    Some(source) => *source,
                    None => {
                        let partition = rows.source(row)?;
                        let source = own(&partition).then(|| self.fragments.source(&partition));
                        sources.insert(rows.place(row), source);
                        source
                    }
                };
                let (number, unit) = (rows.numbers[row] + base, rows.units[row] + base);
                self.fragments.number_from(number.max(unit) + 1);
                let Some(source) = source else {
                    dead.add(row, groups.num_rows());
                    continue;
                };
                let is_known = row > 0 && rows.units[row - 1] == rows.units[row];
                // Of the newest batch that has it.
                if dead.has(row) || is_known || (count > 1 && !described.insert(unit)) {
                    continue;
                }
                let key = || self.fragments.key(source, keys.get(row));
                match rows.point(row) {
                    Some((time, point)) => {
                        let of = || Gathered { source, key: key(), points: Points::default() };
                        gathered.entry(number).or_insert_with(of).points.insert(time, Point { id: unit, ..point });
                    }
                    None if number != unit => drop(joined.insert(unit, number)),
                    None => {
                        let bounds = (rows.starts[row], rows.lasts[row]);
                        let fragment = Fragment::new(number, source, key(), bounds, rows.reach(row));
                        self.fragments.insert(fragment);
                    }
                }
            }
            let saved = state.saved.clone().unwrap_or_default();
            restored.push(SettledGroups::new(&plan, groups.clone(), base, dead, saved)?);
        }
        for (number, Gathered { source, key, points }) in gathered {
            if let Some(fragment) = of_points(number, source, key, points) {
                self.fragments.insert(fragment);
            }
        }
        restored.retain(|batch| batch.live() > 0);
        restored.into_iter().rev().for_each(|batch| self.groups.push(batch));
        self.join_again(&joined);
        self.groups.tidy()
    }

    /// Tells fragments which others have joined them.
    fn join_again(&mut self, joined: &FnvHashMap<u64, u64>) {
        if joined.is_empty() {
            return;
        }
        let mut by_number: FnvHashMap<u64, Vec<u64>> = FnvHashMap::default();
        for &unit in joined.keys() {
            let mut number = unit;
            while let Some(next) = joined.get(&number) {
                number = *next;
            }
            by_number.entry(number).or_default().push(unit);
        }
        self.fragments.each(|fragment| fragment.joined.extend(by_number.remove(&fragment.number).unwrap_or_default()));
    }
}
