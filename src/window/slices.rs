//! The open panes of tumbling, hopping and cumulating windows on one lane, and how windows are made of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;

use super::aggregate::{Held, WindowPlan, WindowState};
use super::assigner::{PaneKey, Windows};
use super::changed::Changed;
use super::frozen::Frozen;
use super::live_pane::LivePane;
use super::pane::{Pane, PaneInput, PaneLayout};
use super::watermark::BEGINNING_OF_TIME;
use crate::error::Result;

/// Panes by slice.
pub(super) struct Slices {
    pub(super) plan: Arc<WindowPlan>,
    /// Panes that still take rows.
    pub(super) live: BTreeMap<PaneKey, LivePane>,
    /// Hopping: panes that take none any more, because a window that they are in has closed.
    pub(super) frozen: Frozen,
    /// Cumulating: what the closed windows of a period have, by the period's start.
    pub(super) carried: BTreeMap<i64, RecordBatch>,
    /// Windows that close up to here have been closed.
    pub(super) closed_to: i64,
    /// Which windows have changed, when anybody wants to know.
    pub(super) changed: Option<Changed>,
}

impl Slices {
    pub(super) fn new(plan: &Arc<WindowPlan>) -> Self {
        Self {
            plan: Arc::clone(plan),
            live: BTreeMap::new(),
            frozen: Frozen::default(),
            carried: BTreeMap::new(),
            closed_to: BEGINNING_OF_TIME,
            changed: plan.revises.then(Changed::default),
        }
    }

    pub(super) fn held(&self) -> Held {
        let mut held = Held::default();
        for pane in self.live.values() {
            held += pane.held();
        }
        for state in self.frozen.states_held().chain(self.carried.values()) {
            held +=
                Held { bytes: state.get_array_memory_size(), panes: 1, groups: state.num_rows(), ..Held::default() };
        }
        held
    }

    /// The watermark at which the first window closes that has something in it.
    pub(super) fn closes_next(&self) -> Option<i64> {
        let windows = self.plan.windows;
        let end = match windows {
            Windows::Tumble(_) | Windows::Session { .. } => self.live.first_key_value()?.0.first_end,
            Windows::Hop { starts, .. } => {
                let mut start = windows.first_start_with(self.first_slice()?);
                let mut end = windows.end_after(start, start);
                while self.plan.closes_at(end) <= self.closed_to && end < i64::MAX {
                    start = starts.next(start);
                    end = windows.end_after(start, start);
                }
                end
            }
            Windows::Cumulate { .. } => {
                let passed = self.closed_to.saturating_sub(self.plan.allowed_lateness);
                let carried = self.carried.first_key_value();
                let carried = carried.map(|(&start, _)| windows.end_after(start, passed.max(start)));
                let live = self.live.first_key_value().map(|(key, _)| key.first_end);
                carried.into_iter().chain(live).min()?
            }
        };
        Some(self.plan.closes_at(end))
    }

    /// Adds rows to a pane.
    pub(super) fn update(&mut self, key: PaneKey, input: &PaneInput) -> Result<()> {
        self.pane(key)?.update(input)
    }

    fn pane(&mut self, key: PaneKey) -> Result<&mut LivePane> {
        if let Some(changed) = &mut self.changed {
            changed.note(key);
        }
        Ok(match self.live.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(LivePane::new(&self.plan.layout)?),
        })
    }

    /// The states of every window that closes at or before the watermark. A window may have several states.
    pub(super) fn close(&mut self, watermark: i64) -> Result<Vec<WindowState>> {
        let mut closed = Vec::new();
        match self.plan.windows {
            Windows::Hop { .. } => self.close_hopping(watermark, &mut closed)?,
            Windows::Cumulate { on_update, .. } => self.close_cumulating(watermark, on_update, &mut closed)?,
            Windows::Tumble(_) | Windows::Session { .. } => {
                while let Some(entry) = self.live.first_entry() {
                    let PaneKey { slice, first_end } = *entry.key();
                    if self.plan.closes_at(first_end) > watermark {
                        break;
                    }
                    let states = entry.remove().take_states()?.into_iter();
                    closed.extend(states.map(|state| WindowState::new(slice, first_end, state)));
                }
            }
        }
        self.closed_to = self.closed_to.max(watermark);
        Ok(closed)
    }

    /// Windows in the order of their starts. A pane is frozen when the first window that it is in closes: later rows of its
    /// slice have met a clock after that window's end, so they have another pane.
    fn close_hopping(&mut self, watermark: i64, closed: &mut Vec<WindowState>) -> Result<()> {
        let windows = self.plan.windows;
        let Windows::Hop { starts, .. } = windows else { return Ok(()) };
        let mut next = i64::MIN;
        while let Some(slice) = self.first_slice() {
            let mut start = windows.first_start_with(slice).max(next);
            let mut end = windows.end_after(start, start);
            while self.plan.closes_at(end) <= self.closed_to && end < i64::MAX {
                start = starts.next(start);
                end = windows.end_after(start, start);
            }
            if self.plan.closes_at(end) > watermark {
                self.frozen.expire(start);
                break;
            }
            let frozen: Vec<_> =
                self.live.range(..PaneKey { slice: end, first_end: i64::MIN }).map(|(key, _)| *key).collect();
            for key in frozen.into_iter().filter(|key| key.first_end <= end) {
                if let Some(pane) = self.live.remove(&key) {
                    pane.take_states()?.into_iter().for_each(|state| self.frozen.push(key, state));
                }
            }
            self.frozen.expire(start);
            for state in self.frozen.states(&self.plan.layout)? {
                closed.push(WindowState::new(start, end, state));
            }
            next = starts.next(start);
            if next <= start {
                // The end of time.
                (self.frozen, self.live) = Default::default();
            }
            self.frozen.expire(next);
        }
        Ok(())
    }

    fn first_slice(&self) -> Option<i64> {
        let live = self.live.first_key_value().map(|(key, _)| key.slice);
        live.into_iter().chain(self.frozen.first_slice()).min()
    }

    /// Windows in the order of their periods and ends, each with all that came before in its period.
    fn close_cumulating(&mut self, watermark: i64, on_update: bool, closed: &mut Vec<WindowState>) -> Result<()> {
        let windows = self.plan.windows;
        loop {
            let live = self.live.first_key_value().map(|(key, _)| key.slice);
            let Some(start) = live.into_iter().chain(self.carried.keys().next().copied()).min() else { return Ok(()) };
            // Windows that have closed before, and those before the period's first row, are passed over.
            let mut end = windows.end_after(start, start);
            loop {
                let is_carried = self.carried.contains_key(&start);
                let first = self.live.range(PaneKey { slice: start, first_end: i64::MIN }..).next();
                let first = first.map(|(key, _)| *key).filter(|key| key.slice == start);
                if !is_carried {
                    let Some(first) = first else { break };
                    end = first.first_end;
                } else if self.plan.closes_at(end) <= self.closed_to {
                    end =
                        windows.end_after(start, self.closed_to.saturating_sub(self.plan.allowed_lateness).max(start));
                    end = first.map_or(end, |first| end.min(first.first_end));
                }
                if self.plan.closes_at(end) > watermark {
                    return Ok(());
                }
                self.close_step(start, end, on_update, closed)?;
                let next = windows.end_after(start, end);
                if next <= end {
                    break;
                }
                end = next;
            }
            self.carried.remove(&start);
            self.live.retain(|key, _| key.slice != start);
        }
    }

    fn close_step(&mut self, start: i64, end: i64, on_update: bool, closed: &mut Vec<WindowState>) -> Result<()> {
        let before = self.carried.remove(&start);
        let fresh = self.live.remove(&PaneKey { slice: start, first_end: end });
        let fresh = fresh.map(|pane| pane.take_states()).transpose()?;
        let fresh = fresh.map(|states| merged(&self.plan.layout, states)).transpose()?;
        // Other lanes may have changes of this step, so one without any gives what it has, too.
        let changed = match (on_update, &fresh, &before) {
            (true, Some(fresh), _) => Some(self.keys_of(fresh)?),
            (true, None, Some(before)) => Some(self.keys_of(&before.slice(0, 0))?),
            _ => None,
        };
        let all = match (before, fresh) {
            (Some(before), Some(fresh)) => merged(&self.plan.layout, vec![before, fresh])?,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return Ok(()),
        };
        closed.push(WindowState { changed, ..WindowState::new(start, end, all.clone()) });
        self.carried.insert(start, all);
        Ok(())
    }

    fn keys_of(&self, groups: &RecordBatch) -> Result<RecordBatch> {
        Ok(groups.project(&(0..self.plan.layout.key_count()).collect::<Vec<_>>())?)
    }

    /// A copy of all panes, of which some may have several states.
    pub(super) fn copy_state(&mut self) -> Result<Vec<WindowState>> {
        let mut all = Vec::new();
        for (key, pane) in &mut self.live {
            let states = pane.share()?.into_iter();
            all.extend(
                states.map(|(state, saved)| WindowState { saved, ..WindowState::new(key.slice, key.first_end, state) }),
            );
        }
        all.extend(self.frozen.panes().map(|(key, state)| WindowState::new(key.slice, key.first_end, state.clone())));
        all.extend(self.carried.iter().map(|(&start, state)| WindowState::new(start, start, state.clone())));
        // All rows may have been taken back.
        all.retain(|state| state.groups.num_rows() > 0);
        Ok(all)
    }

    /// Adds saved panes. Those of before panes had a first window are of the first that has them.
    pub(super) fn restore(&mut self, states: &[WindowState]) -> Result<()> {
        for state in states {
            let first_end = match state.end {
                None => self.plan.windows.pane_of(state.start, i64::MIN).map_or(i64::MAX, |key| key.first_end),
                Some(end) if end == state.start => {
                    // What closed windows of a period have had; lanes' shares come together.
                    let all = self.carried.remove(&state.start).into_iter().chain([state.groups.clone()]);
                    self.carried.insert(state.start, merged(&self.plan.layout, all.collect())?);
                    continue;
                }
                Some(end) => end,
            };
            self.pane(PaneKey { slice: state.start, first_end })?.add(state)?;
        }
        Ok(())
    }
}

/// One state of several of the same window.
pub(super) fn merged(layout: &Arc<PaneLayout>, mut states: Vec<RecordBatch>) -> Result<RecordBatch> {
    if states.len() == 1
        && let Some(only) = states.pop()
    {
        return Ok(only);
    }
    let mut pane = Pane::new(layout)?;
    states.iter().try_for_each(|state| pane.merge(state))?;
    pane.take_state()
}
