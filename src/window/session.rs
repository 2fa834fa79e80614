//! Sessions on one lane: stretches of rows of one key and one partition, at most a gap apart.
//!
//! A session may have rows in several partitions, which may be in several lanes. What counts must not depend on which
//! partition is ahead of which, so each partition has *fragments* of its own, made by its own clock alone:
//!
//! - A row belongs to the fragments of its key that it touches and that its clock has not passed; it joins them. Such a row counts,
//!   however late it is: the session decides, not the row.
//! - Without such a fragment it begins one, if its clock has not passed the row's own end (its time plus the gap); else it is late.
//!
//! When the watermark has passed the end of a fragment, it leaves the lane, and the job joins those of all partitions
//! ([`super::session_join`]). A fragment is past when the clock is *after* its end: a row exactly one gap after the last still joins.
//!
//! Where rows are also taken back, a fragment knows its times, and groups are kept per time: without a row it may be shorter, two, or none.
//! A row is taken back out of a fragment that is not past; else it is late.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, UInt64Array};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::UInt64Type;

use super::aggregate::{Held, WindowPlan, WindowState};
use super::pane::PaneInput;
use super::session_fragments::{Fragment, Fragments, of_points};
use super::session_groups::{Groups, Place, by_unit, take_or_null};
use super::session_points::Points;
use super::session_state::{Brief, FragmentRow, KeyRows, Reach, SessionPlan};
use super::watermark::END_OF_TIME;
use crate::change::TopicPartition;
use crate::error::Result;

/// The sessions of one lane.
pub(super) struct Sessions {
    pub(super) window: Arc<WindowPlan>,
    pub(super) plan: Arc<SessionPlan>,
    pub(super) rows: KeyRows,
    pub(super) fragments: Fragments,
    /// The groups of all fragments; a number of a fragment, or of one of its points, is the first key.
    pub(super) groups: Groups,
    /// Whether there was anything new since the fragments were last looked at.
    pub(super) has_changed: bool,
}

impl Sessions {
    pub(super) fn new(window: &Arc<WindowPlan>, plan: &Arc<SessionPlan>) -> Result<Self> {
        Ok(Self {
            window: Arc::clone(window),
            plan: Arc::clone(plan),
            rows: plan.key_rows()?,
            fragments: Fragments::new(plan, window.allowed_lateness),
            groups: Groups::new(plan)?,
            has_changed: false,
        })
    }

    pub(super) fn held(&self) -> Held {
        let (bytes, groups) = self.groups.size();
        Held { bytes: bytes + self.fragments.size(), panes: self.fragments.len(), groups, ..Held::default() }
    }

    /// A watermark before which none closes.
    pub(super) fn closes_next(&self) -> Option<i64> {
        self.fragments.earliest().filter(|earliest| self.fragments.len() > 0 && *earliest != END_OF_TIME)
    }

    /// The number under which the groups of each row are, in the order of the rows; `None` for late ones. Each row has its time, the
    /// clock that it met and its sign.
    pub(super) fn assign(
        &mut self,
        source: &TopicPartition,
        keys: &[ArrayRef],
        times: impl ExactSizeIterator<Item = Option<(i64, i64, i8)>>,
    ) -> Result<Vec<Option<u64>>> {
        self.has_changed = true;
        let rows = self.rows.convert(keys, times.len())?;
        let source = self.fragments.source(source);
        let mut ids = Vec::with_capacity(rows.len());
        for (row, time) in times.enumerate() {
            let key = rows.get(row);
            ids.push(time.and_then(|(time, met, sign)| match (self.plan.takes_back(), sign > 0) {
                (false, _) => self.assign_row(source, key, time, met),
                (true, true) => self.add_point(source, key, time, met),
                (true, false) => self.take_point(source, key, time, met),
            }));
        }
        Ok(ids)
    }

    /// When the clock has passed what has its last row then.
    fn end(&self, last: i64) -> i64 {
        last.saturating_add(self.plan.gap).saturating_add(self.window.allowed_lateness)
    }

    /// The fragments that a row belongs to: one, or two that it joins.
    fn touched_by(&self, source: usize, key: &[u8], time: i64, met: i64) -> (Option<u32>, Option<u32>) {
        let gap = self.plan.gap;
        self.fragments.find(source, key, |it| {
            self.end(it.last) >= met && it.start.saturating_sub(gap) <= time && time <= it.last.saturating_add(gap)
        })
    }

    fn assign_row(&mut self, source: usize, key: &[u8], time: i64, met: i64) -> Option<u64> {
        let (one, other) = self.touched_by(source, key, time, met);
        let Some(one) = one else {
            if self.end(time) < met {
                return None;
            }
            let (number, key) = (self.fragments.number(), self.fragments.key(source, key));
            let reach = Reach { start: time, since: met };
            let slot = self.fragments.insert(Fragment::new(number, source, key, (time, time), reach));
            self.fragments.touch(slot, number, time);
            return Some(number);
        };
        let other = other.and_then(|other| self.fragments.remove(other));
        let lateness = self.window.allowed_lateness;
        let fragment = self.fragments.get_mut(one)?;
        let number = fragment.number;
        match other {
            Some(other) => {
                if other.start < fragment.start {
                    (fragment.start, fragment.reach) = (other.start, other.reach);
                }
                fragment.last = fragment.last.max(other.last);
                let joined = std::iter::once(other.number).chain(other.joined);
                let first = fragment.joined.len();
                fragment.joined.extend(joined);
                let joined = fragment.joined[first..].to_vec();
                joined.into_iter().for_each(|unit| self.fragments.touch(one, unit, time));
            }
            None => {
                fragment.reach.extend(time, met, lateness);
                fragment.start = fragment.start.min(time);
                fragment.last = fragment.last.max(time);
            }
        }
        self.fragments.touch(one, number, time);
        Some(number)
    }

    fn add_point(&mut self, source: usize, key: &[u8], time: i64, met: i64) -> Option<u64> {
        let (one, other) = self.touched_by(source, key, time, met);
        if one.is_none() && self.end(time) < met {
            return None;
        }
        let id = self.fragments.number();
        let Some(one) = one else {
            let key = self.fragments.key(source, key);
            let mut points = Points::default();
            points.add(time, id, met);
            let slot = self.fragments.insert(of_points(id, source, key, points)?);
            self.fragments.touch(slot, id, time);
            return Some(id);
        };
        let count = |slot: u32| self.fragments.get(slot).and_then(|it| it.points.as_ref()).map_or(0, |it| it.len());
        // Those of the smaller move.
        let (one, other) = match other {
            Some(other) if count(other) > count(one) => (other, Some(one)),
            other => (one, other),
        };
        let joined = other.and_then(|other| self.fragments.remove(other)?.points);
        let moved: Vec<_> = joined.iter().flat_map(|points| points.iter()).map(|(time, it)| (it.id, time)).collect();
        let fragment = self.fragments.get_mut(one)?;
        let points = fragment.points.as_mut()?;
        joined.into_iter().for_each(|joined| points.join(*joined));
        let point = points.add(time, id, met);
        (fragment.start, fragment.last) = points.bounds()?;
        moved.into_iter().for_each(|(unit, time)| self.fragments.touch(one, unit, time));
        self.fragments.touch(one, point.id, time);
        Some(point.id)
    }

    fn take_point(&mut self, source: usize, key: &[u8], time: i64, met: i64) -> Option<u64> {
        let is_of = |it: &Fragment| self.end(it.last) >= met && it.points.as_ref().is_some_and(|it| it.has(time));
        let (slot, _) = self.fragments.find(source, key, is_of);
        let (slot, gap) = (slot?, self.plan.gap);
        let fragment = self.fragments.get_mut(slot)?;
        let points = fragment.points.as_mut()?;
        let point = points.take(time)?;
        let key = Arc::clone(&fragment.key);
        let mut pieces = std::mem::take(&mut **points).split(gap);
        // The largest stays where it is.
        let largest = pieces.iter().enumerate().max_by_key(|(_, piece)| piece.len()).map(|(place, _)| place);
        match largest.map(|largest| pieces.swap_remove(largest)) {
            Some(piece) => {
                (fragment.start, fragment.last) = piece.bounds()?;
                **points = piece;
                self.fragments.requeue(slot);
            }
            None => drop(self.fragments.remove(slot)),
        }
        for piece in pieces {
            let moved: Vec<_> = piece.iter().map(|(time, point)| (point.id, time)).collect();
            let number = self.fragments.number();
            let Some(fragment) = of_points(number, source, Arc::clone(&key), piece) else { continue };
            let slot = self.fragments.insert(fragment);
            moved.into_iter().for_each(|(unit, time)| self.fragments.touch(slot, unit, time));
        }
        match point.rows {
            ..=0 => self.groups.kill(vec![point.id]),
            // Where it is now was noted later, if it has moved.
            _ => self.touch_point(source, &key, time, point.id),
        }
        Some(point.id)
    }

    /// Notes that a point has changed, wherever it is.
    fn touch_point(&mut self, source: usize, key: &[u8], time: i64, id: u64) {
        let has = |it: &Fragment| it.points.as_ref().and_then(|it| it.at(time)).is_some_and(|it| it.id == id);
        if let (Some(slot), _) = self.fragments.find(source, key, has) {
            self.fragments.touch(slot, id, time);
        }
    }

    /// Adds rows to the groups under these numbers.
    pub(super) fn update(&mut self, ids: &[u64], input: PaneInput) -> Result<()> {
        let ids: ArrayRef = Arc::new(UInt64Array::from(ids.to_vec()));
        let keys = [ids].into_iter().chain(input.keys).collect();
        self.groups.update(&PaneInput { keys, ..input })
    }

    /// Takes out the fragments that the watermark has passed.
    pub(super) fn close(&mut self, watermark: i64) -> Result<Vec<WindowState>> {
        self.settle()?;
        let leaving = self.fragments.take_past(watermark);
        let mut closed = Vec::new();
        if !leaving.is_empty() {
            let units = leaving.iter().flat_map(Fragment::units).map(|(unit, _)| unit).collect();
            closed.push(self.state_of(leaving, true)?);
            self.groups.kill(units);
        }
        self.groups.tidy()?;
        Ok(closed)
    }

    /// A copy of all fragments. It takes its time.
    pub(super) fn copy(&mut self) -> Result<Vec<WindowState>> {
        let all: Vec<Fragment> = self.fragments.iter().map(|(_, fragment)| fragment.clone()).collect();
        if all.is_empty() { Ok(Vec::new()) } else { Ok(vec![self.state_of(all, false)?]) }
    }

    /// All fragments, for a checkpoint: as one state if they are few; else what has settled, which is shared.
    pub(super) fn share(&mut self) -> Result<Vec<WindowState>> {
        self.groups.tidy()?;
        if !self.groups.has_settled() && !self.groups.settles(self.fragments.touched()) {
            self.join_groups()?;
            return self.copy();
        }
        // Also if it is little: the checkpoints that follow have it already.
        self.settle_changed()?;
        let states = self.groups.share(self.fragments.len())?;
        self.groups.tidy()?;
        Ok(states)
    }

    /// Gives groups of fragments that have joined others the numbers of these. All are in the pane.
    fn join_groups(&mut self) -> Result<()> {
        let mut joined = HashMap::new();
        self.fragments
            .each(|it| joined.extend(std::mem::take(&mut it.joined).into_iter().map(|unit| (unit, it.number))));
        if joined.is_empty() {
            return Ok(());
        }
        let pane = self.groups.take_pane()?;
        let number = |unit| joined.get(&unit).copied().unwrap_or(unit);
        let units: UInt64Array = pane.column(0).as_primitive::<UInt64Type>().unary(number);
        let columns = std::iter::once(Arc::new(units) as ArrayRef).chain(pane.columns()[1..].iter().cloned());
        self.groups.merge(&RecordBatch::try_new(pane.schema(), columns.collect())?)
    }

    /// Groups of a large pane stay as they are from now on.
    fn settle(&mut self) -> Result<()> {
        if self.groups.settles(self.fragments.touched()) { self.settle_changed() } else { Ok(()) }
    }

    fn settle_changed(&mut self) -> Result<()> {
        let pane = self.groups.take_pane()?;
        let changed = self.changed(&pane)?;
        self.fragments.forget_changes();
        changed.map_or(Ok(()), |changed| self.groups.settle(changed))
    }

    /// What has changed, with the groups that were in the pane, as a settled batch. Groups of what is there no more are left out.
    fn changed(&self, pane: &RecordBatch) -> Result<Option<RecordBatch>> {
        let order = by_unit(pane);
        let (mut rows, mut places) = (Vec::new(), Vec::<Option<u32>>::new());
        let mut from = 0;
        for (unit, fragment, point) in self.fragments.changed() {
            from += order[from..].partition_point(|(it, _)| *it < unit);
            let before = places.len();
            places.extend(order[from..].iter().take_while(|(it, _)| *it == unit).map(|(_, row)| Some(*row)));
            if places.len() == before {
                places.push(None);
            }
            rows.extend(places[before..].iter().map(|place| FragmentRow {
                number: fragment.number,
                unit,
                source: self.fragments.source_of(fragment),
                key: &fragment.key,
                fragment,
                // That of points is made of them.
                reach: fragment.reach,
                point,
                has_group: place.is_some(),
            }));
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let groups = take_or_null(&pane.columns()[1..], &UInt32Array::from(places))?;
        self.plan.settled(&rows, &groups, &self.rows).map(Some)
    }

    /// The state of fragments, in the order of sources, keys and starts. What is in the pane stays there, but for the groups of those that
    /// `leave`.
    fn state_of(&mut self, mut fragments: Vec<Fragment>, leave: bool) -> Result<WindowState> {
        fragments.sort_by(|a, b| (a.source, &a.key, a.start).cmp(&(b.source, &b.key, b.start)));
        let of = |(place, it): (usize, &Fragment)| it.units().into_iter().map(move |(id, point)| (id, place, point));
        let units: Vec<(u64, usize, _)> = fragments.iter().enumerate().flat_map(of).collect();
        let mut by_number: Vec<(u64, usize)> =
            units.iter().enumerate().map(|(place, (unit, ..))| (*unit, place)).collect();
        by_number.sort_unstable();
        let is_in_pane = fragments.iter().any(|it| it.is_touched);
        let pane = match is_in_pane {
            true => self.groups.take_pane()?,
            false => RecordBatch::new_empty(Arc::clone(self.plan.fragments.state_schema())),
        };
        let found = self.groups.find(&by_number, &pane);
        let mut rows: Vec<(usize, Option<Place>)> = found.into_iter().map(|(unit, row)| (unit, Some(row))).collect();
        // A fragment, or a point, whose rows have all been filtered has no group, but keeps others together.
        let (mut has_groups, mut has_any) = (vec![false; units.len()], vec![false; fragments.len()]);
        rows.iter().for_each(|&(unit, _)| (has_groups[unit], has_any[units[unit].1]) = (true, true));
        let stands_alone = |&unit: &usize| match units[unit] {
            (_, _, Some(_)) => !has_groups[unit],
            (number, place, None) => !has_any[place] && fragments[place].number == number,
        };
        rows.extend((0..units.len()).filter(stands_alone).map(|unit| (unit, None)));
        rows.sort_unstable();
        let places: Vec<Option<Place>> = rows.iter().map(|(_, row)| *row).collect();
        let groups = self.groups.columns(&pane, &places)?;
        if is_in_pane && leave {
            let units = pane.column(0).as_primitive::<UInt64Type>().values();
            let leaves = |unit: &u64| by_number.binary_search_by_key(unit, |(it, _)| *it).is_ok();
            let stays: BooleanArray = units.iter().map(|unit| Some(!leaves(unit))).collect();
            self.groups.merge(&filter_record_batch(&pane, &stays)?)?;
        } else if is_in_pane {
            self.groups.merge(&pane)?;
        }
        let reaches: Vec<Reach> = fragments.iter().map(|it| it.reach(self.window.allowed_lateness)).collect();
        let described: Vec<FragmentRow<'_>> = rows
            .iter()
            .map(|&(unit, row)| {
                let (unit, place, point) = units[unit];
                let fragment = &fragments[place];
                let (source, key) = (self.fragments.source_of(fragment), &fragment.key);
                let (number, reach) = (place as u64, reaches[place]);
                FragmentRow { number, unit, source, key, fragment, reach, point, has_group: row.is_some() }
            })
            .collect();
        let groups = self.plan.state(&described, &groups, &self.rows)?;
        Ok(WindowState::new(0, 0, groups))
    }

    /// The fragments here that are of one session with some of those that have left.
    pub(super) fn neighbours(&self, left: &[Brief]) -> Vec<Brief> {
        self.fragments.neighbours(left)
    }
}
