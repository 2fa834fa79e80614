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

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array, UInt64Array, new_null_array};
use datafusion::arrow::compute::{filter_record_batch, take_record_batch};
use datafusion::arrow::datatypes::UInt64Type;

use super::aggregate::{Held, WindowPlan, WindowState};
use super::pane::{Pane, PaneInput};
use super::session_points::{Point, Points};
use super::session_state::{Brief, FragmentRow, KeyRows, Reach, SavedFragment, SessionPlan};
use super::watermark::{BEGINNING_OF_TIME, END_OF_TIME};
use crate::change::TopicPartition;
use crate::error::Result;

/// A stretch of rows. Milliseconds.
#[derive(Debug, Clone)]
pub(super) struct Fragment {
    /// Its number in the pane, among the pane's keys. Unused where there are points, which have their own.
    id: u64,
    pub(super) start: i64,
    pub(super) last: i64,
    /// Where there are points, they know.
    reach: Reach,
    /// Its times, where rows are taken back.
    points: Option<Points>,
}

impl Fragment {
    fn of(points: Points) -> Option<Self> {
        let (start, last) = points.bounds()?;
        Some(Self { id: 0, start, last, reach: Reach { start, since: BEGINNING_OF_TIME }, points: Some(points) })
    }

    fn reach(&self, allowed_lateness: i64) -> Reach {
        self.points.as_ref().and_then(|points| points.reach(allowed_lateness)).unwrap_or(self.reach)
    }

    /// What the pane has of it, each with its number.
    fn units(&self) -> Vec<(u64, Option<(i64, Point)>)> {
        match &self.points {
            Some(points) => points.iter().map(|(time, point)| (point.id, Some((time, point)))).collect(),
            None => vec![(self.id, None)],
        }
    }
}

/// Fragments of one partition, by key, in no order.
type Keys = HashMap<Box<[u8]>, Vec<Fragment>>;

/// The sessions of one lane.
pub(super) struct Sessions {
    window: Arc<WindowPlan>,
    plan: Arc<SessionPlan>,
    rows: KeyRows,
    sources: Vec<(TopicPartition, Keys)>,
    /// The groups of all fragments; a fragment's number is the first key.
    pane: Pane,
    next_id: u64,
    /// Fragments that have joined others, by their old numbers.
    joined: HashMap<u64, u64>,
    /// No fragment closes before.
    earliest: i64,
    count: usize,
    /// Whether there was anything new since the fragments were last looked at.
    pub(super) has_changed: bool,
}

/// A fragment on its way out.
struct Leaving {
    source: usize,
    key: Box<[u8]>,
    fragment: Fragment,
}

impl Sessions {
    pub(super) fn new(window: &Arc<WindowPlan>, plan: &Arc<SessionPlan>) -> Result<Self> {
        Ok(Self {
            window: Arc::clone(window),
            plan: Arc::clone(plan),
            rows: plan.key_rows()?,
            sources: Vec::new(),
            pane: Pane::new(&plan.fragments)?,
            next_id: 0,
            joined: HashMap::new(),
            earliest: END_OF_TIME,
            count: 0,
            has_changed: false,
        })
    }

    /// A fragment is in a map by its key, with what it is.
    pub(super) fn held(&self) -> Held {
        let fragment = size_of::<(Box<[u8]>, Vec<Fragment>, Fragment)>();
        Held { bytes: self.pane.size() + self.count * fragment, panes: self.count, groups: self.pane.group_count() }
    }

    /// The number of the fragment (or of its point) that each row belongs to, in the order of the rows; `None` for late ones. Each row
    /// has its time, the clock that it met and its sign.
    pub(super) fn assign(
        &mut self,
        source: &TopicPartition,
        keys: &[ArrayRef],
        times: impl ExactSizeIterator<Item = Option<(i64, i64, i8)>>,
    ) -> Result<Vec<Option<u64>>> {
        self.has_changed = true;
        let rows = self.rows.convert(keys, times.len())?;
        let source = self.source(source);
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

    fn assign_row(&mut self, source: usize, key: &[u8], time: i64, met: i64) -> Option<u64> {
        let (gap, lateness) = (self.plan.gap, self.window.allowed_lateness);
        let end = |last: i64| last.saturating_add(gap).saturating_add(lateness);
        let keys = &mut self.sources[source].1;
        let fresh = Fragment {
            id: self.next_id,
            start: time,
            last: time,
            reach: Reach { start: time, since: met },
            points: None,
        };
        let Some(fragments) = keys.get_mut(key) else {
            if end(time) < met {
                return None;
            }
            keys.insert(key.into(), vec![fresh]);
            return Some(self.begin(end(time)));
        };
        let touches = |it: &Fragment| {
            end(it.last) >= met && it.start.saturating_sub(gap) <= time && time <= it.last.saturating_add(gap)
        };
        let mut touched = fragments.iter().enumerate().filter(|(_, it)| touches(it)).map(|(place, _)| place);
        let (Some(one), other) = (touched.next(), touched.next()) else {
            if end(time) < met {
                return None;
            }
            fragments.push(fresh);
            return Some(self.begin(end(time)));
        };
        // Fragments that the clock has not passed are more than a gap apart, so a row touches two at most.
        if let Some(other) = other {
            let other = fragments.swap_remove(other);
            let one = &mut fragments[one];
            self.joined.insert(other.id, one.id);
            self.count -= 1;
            if other.start < one.start {
                (one.start, one.reach) = (other.start, other.reach);
            }
            one.last = one.last.max(other.last);
            return Some(one.id);
        }
        let one = &mut fragments[one];
        one.reach.extend(time, met, lateness);
        one.start = one.start.min(time);
        one.last = one.last.max(time);
        Some(one.id)
    }

    fn add_point(&mut self, source: usize, key: &[u8], time: i64, met: i64) -> Option<u64> {
        let (gap, lateness) = (self.plan.gap, self.window.allowed_lateness);
        let end = |last: i64| last.saturating_add(gap).saturating_add(lateness);
        let keys = &mut self.sources[source].1;
        let fragments = match keys.get_mut(key) {
            Some(fragments) => fragments,
            None if end(time) < met => return None,
            None => keys.entry(key.into()).or_default(),
        };
        let touches = |it: &Fragment| {
            end(it.last) >= met && it.start.saturating_sub(gap) <= time && time <= it.last.saturating_add(gap)
        };
        let mut points = Points::default();
        let mut joined = 0;
        // Two at most.
        while let Some(place) = fragments.iter().position(touches) {
            points.join(fragments.swap_remove(place).points.unwrap_or_default());
            joined += 1;
        }
        if joined == 0 && end(time) < met {
            return None;
        }
        let point = points.add(time, self.next_id, met);
        fragments.extend(Fragment::of(points));
        self.count = (self.count + 1).saturating_sub(joined);
        self.next_id += 1;
        self.earliest = self.earliest.min(end(time).saturating_add(1));
        Some(point.id)
    }

    fn take_point(&mut self, source: usize, key: &[u8], time: i64, met: i64) -> Option<u64> {
        let (plan, lateness) = (&self.plan, self.window.allowed_lateness);
        let closes_at = |it: &Fragment| plan.closes_at(it.last, lateness);
        let keys = &mut self.sources[source].1;
        let fragments = keys.get_mut(key)?;
        let has = |it: &Fragment| closes_at(it) > met && it.points.as_ref().is_some_and(|points| points.has(time));
        let place = fragments.iter().position(has)?;
        let mut points = fragments.swap_remove(place).points?;
        let point = points.take(time)?;
        self.count -= 1;
        for piece in points.split(plan.gap).into_iter().filter_map(Fragment::of) {
            self.count += 1;
            self.earliest = self.earliest.min(closes_at(&piece));
            fragments.push(piece);
        }
        if fragments.is_empty() {
            keys.remove(key);
        }
        Some(point.id)
    }

    fn begin(&mut self, end: i64) -> u64 {
        self.earliest = self.earliest.min(end.saturating_add(1));
        self.count += 1;
        self.next_id += 1;
        self.next_id - 1
    }

    fn source(&mut self, source: &TopicPartition) -> usize {
        let known = self.sources.iter().position(|(known, _)| known == source);
        known.unwrap_or_else(|| {
            self.sources.push((source.clone(), Keys::new()));
            self.sources.len() - 1
        })
    }

    /// Adds rows to the groups of their fragments.
    pub(super) fn update(&mut self, ids: &[u64], input: PaneInput) -> Result<()> {
        let ids: ArrayRef = Arc::new(UInt64Array::from_iter_values(ids.iter().map(|id| self.resolve(*id))));
        let keys = [ids].into_iter().chain(input.keys).collect();
        self.pane.update(&PaneInput { keys, ..input })
    }

    fn resolve(&self, mut id: u64) -> u64 {
        while let Some(joined) = self.joined.get(&id) {
            id = *joined;
        }
        id
    }

    /// Takes out the fragments that the watermark has passed.
    pub(super) fn close(&mut self, watermark: i64) -> Result<Vec<WindowState>> {
        if self.earliest > watermark {
            return Ok(Vec::new());
        }
        let plan = Arc::clone(&self.plan);
        let closes_at = |it: &Fragment| plan.closes_at(it.last, self.window.allowed_lateness);
        let mut leaving = Vec::new();
        self.earliest = END_OF_TIME;
        for (source, (_, keys)) in self.sources.iter_mut().enumerate() {
            keys.retain(|key, fragments| {
                fragments.retain(|fragment| {
                    let stays = closes_at(fragment) > watermark;
                    match stays {
                        true => self.earliest = self.earliest.min(closes_at(fragment)),
                        false => leaving.push(Leaving { source, key: key.clone(), fragment: fragment.clone() }),
                    }
                    stays
                });
                !fragments.is_empty()
            });
        }
        if leaving.is_empty() {
            return Ok(Vec::new());
        }
        self.count -= leaving.len();
        let groups = self.take_groups()?;
        self.state_of(leaving, &groups, true).map(|state| vec![state])
    }

    /// A copy of all fragments.
    pub(super) fn copy_state(&mut self) -> Result<Vec<WindowState>> {
        let mut all = Vec::new();
        for (source, (_, keys)) in self.sources.iter().enumerate() {
            for (key, fragments) in keys {
                let leaving = |fragment: &Fragment| Leaving { source, key: key.clone(), fragment: fragment.clone() };
                all.extend(fragments.iter().map(leaving));
            }
        }
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let groups = self.take_groups()?;
        self.state_of(all, &groups, false).map(|state| vec![state])
    }

    /// Takes all groups out of the pane, those of joined fragments under the number of the joint one.
    fn take_groups(&mut self) -> Result<RecordBatch> {
        let state = self.pane.take_state()?;
        self.pane = Pane::new(&self.plan.fragments)?;
        let mut columns = state.columns().to_vec();
        let ids = columns[0].as_primitive::<UInt64Type>().values().iter().map(|id| self.resolve(*id));
        columns[0] = Arc::new(UInt64Array::from_iter_values(ids));
        self.joined.clear();
        Ok(RecordBatch::try_new(state.schema(), columns)?)
    }

    /// The state of fragments, in the order of sources, keys and starts; puts the groups of all others back, or all groups.
    fn state_of(
        &mut self,
        mut fragments: Vec<Leaving>,
        groups: &RecordBatch,
        only_others: bool,
    ) -> Result<WindowState> {
        fragments.sort_by(|a, b| (a.source, &a.key, a.fragment.start).cmp(&(b.source, &b.key, b.fragment.start)));
        let of =
            |(place, it): (usize, &Leaving)| it.fragment.units().into_iter().map(move |(id, point)| (id, place, point));
        let units: Vec<(_, usize, _)> = fragments.iter().enumerate().flat_map(of).collect();
        let places: HashMap<u64, usize> = units.iter().enumerate().map(|(unit, (id, ..))| (*id, unit)).collect();
        let ids = groups.column(0).as_primitive::<UInt64Type>();
        let mut rows: Vec<(usize, Option<u32>)> = Vec::with_capacity(groups.num_rows());
        let mut leaves = Vec::with_capacity(groups.num_rows());
        for (row, id) in ids.values().iter().enumerate() {
            let unit = places.get(id);
            leaves.push(unit.is_some());
            rows.extend(unit.map(|&unit| (unit, Some(row as u32))));
        }
        match only_others {
            true => {
                let stay = leaves.iter().map(|leaves| !leaves).collect::<Vec<_>>().into();
                self.pane.merge(&filter_record_batch(groups, &stay)?)?;
            }
            false => self.pane.merge(groups)?,
        }
        // A fragment whose rows have all been filtered has no group, but keeps others together.
        let mut has_groups = vec![false; units.len()];
        rows.iter().for_each(|&(unit, _)| has_groups[unit] = true);
        rows.extend(has_groups.iter().enumerate().filter(|(_, has)| !**has).map(|(unit, _)| (unit, None)));
        rows.sort_unstable();
        let group_rows = match groups.num_rows() {
            0 => RecordBatch::try_new(
                groups.schema(),
                groups.columns().iter().map(|column| new_null_array(column.data_type(), rows.len())).collect(),
            )?,
            _ => take_record_batch(groups, &rows.iter().map(|&(_, row)| row).collect::<UInt32Array>())?,
        };
        let reaches: Vec<Reach> = fragments.iter().map(|it| it.fragment.reach(self.window.allowed_lateness)).collect();
        let described: Vec<FragmentRow<'_>> = rows
            .iter()
            .map(|&(unit, row)| {
                let (_, place, point) = units[unit];
                let Leaving { source, key, fragment } = &fragments[place];
                let source = &self.sources[*source].0;
                let reach = reaches[place];
                FragmentRow { number: place as u64, source, key, fragment, reach, point, has_group: row.is_some() }
            })
            .collect();
        let groups = self.plan.state(&described, &group_rows.columns()[1..], &self.rows)?;
        Ok(WindowState::new(0, 0, groups))
    }

    /// Adds saved fragments of the partitions that are `own`.
    pub(super) fn restore(&mut self, states: &[WindowState], own: &dyn Fn(&TopicPartition) -> bool) -> Result<()> {
        self.has_changed = true;
        for state in states {
            let plan = Arc::clone(&self.plan);
            let fragments = plan.fragments_of(&state.groups, &self.rows)?;
            let grouped = plan.grouped(&state.groups)?;
            let points = plan.points_of(&state.groups)?;
            let mut ids: Vec<Option<u64>> = vec![None; state.groups.num_rows()];
            for saved in fragments.into_iter().filter(|saved| own(&saved.source)) {
                let mut id =
                    self.begin(saved.last.saturating_add(plan.gap).saturating_add(self.window.allowed_lateness));
                let source = self.source(&saved.source);
                let mut times = points.as_ref().map(|_| Points::default());
                for row in saved.rows.clone() {
                    if let (Some(times), Some(points)) = (&mut times, &points) {
                        let (time, point) = points[row];
                        // The rows of a point stand together.
                        if !times.has(time) {
                            id = self.next_id;
                            self.next_id += 1;
                            times.insert(time, Point { id, ..point });
                        }
                    }
                    ids[row] = grouped.value(row).then_some(id);
                }
                let SavedFragment { start, last, reach, key, .. } = saved;
                let fragment = Fragment { id, start, last, reach, points: times };
                self.sources[source].1.entry(key).or_default().push(fragment);
            }
            let kept = filter_record_batch(
                &plan.groups_of(&state.groups)?,
                &ids.iter().map(|id| Some(id.is_some())).collect(),
            )?;
            let ids: ArrayRef = Arc::new(UInt64Array::from_iter_values(ids.into_iter().flatten()));
            let columns = [ids].into_iter().chain(kept.columns().iter().cloned()).collect();
            self.pane.merge(&RecordBatch::try_new(Arc::clone(plan.fragments.state_schema()), columns)?)?;
        }
        Ok(())
    }

    /// The fragments here that are of one session with some of those that have left.
    pub(super) fn neighbours(&self, left: &[Brief]) -> Vec<Brief> {
        let mut found = Vec::new();
        for brief in left {
            for fragment in self.sources.iter().filter_map(|(_, keys)| keys.get(&brief.key)).flatten() {
                let own = Brief {
                    key: brief.key.clone(),
                    start: fragment.start,
                    end: fragment.last.saturating_add(self.plan.gap),
                    closes_at: self.plan.closes_at(fragment.last, self.window.allowed_lateness),
                    reach: fragment.reach(self.window.allowed_lateness),
                };
                if own.is_one_session_with(brief) {
                    found.push(own);
                }
            }
        }
        found
    }
}
