//! Which windows have changed since their groups were last asked for, and copies of windows that stay open: what early and corrected
//! results are made of.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;

use super::aggregate::{WindowPlan, WindowState};
use super::assigner::{PaneKey, Windows};
use super::frozen::Frozen;
use super::pane::{Pane, PaneLayout};
use super::slices::{Slices, merged};
use super::watermark::BEGINNING_OF_TIME;
use crate::error::Result;

/// A window's start and end.
pub type WindowBounds = (i64, i64);

/// Stands for all windows: of sessions, whose bounds change, either all are looked at or none.
pub const EVERYTHING: WindowBounds = (i64::MIN, i64::MAX);

/// The windows of one lane that have changed.
pub(super) struct Changed {
    /// Panes that got rows since the windows were last looked for.
    panes: HashSet<PaneKey>,
    windows: BTreeSet<WindowBounds>,
    /// Cumulating: the last step that has begun, by the period's start. Later ones have nothing to show yet.
    reached: BTreeMap<i64, i64>,
    /// Windows that end up to here have been given out as final.
    final_to: i64,
}

impl Default for Changed {
    fn default() -> Self {
        let (panes, windows, reached) = Default::default();
        Self { panes, windows, reached, final_to: BEGINNING_OF_TIME }
    }
}

impl Changed {
    /// Notes that a pane has got rows.
    pub(super) fn note(&mut self, pane: PaneKey) {
        self.panes.insert(pane);
    }

    /// The windows that have changed and that are still open after `closed_to`.
    fn windows(&mut self, plan: &WindowPlan, closed_to: i64) -> &BTreeSet<WindowBounds> {
        for pane in std::mem::take(&mut self.panes) {
            match plan.windows {
                Windows::Cumulate { on_update: true, .. } => {
                    self.windows.insert((pane.slice, pane.first_end));
                }
                Windows::Cumulate { .. } => {
                    let reached = self.reached.entry(pane.slice).or_insert(pane.first_end);
                    // Steps that were passed over have what came before.
                    let before = std::mem::replace(reached, pane.first_end.max(*reached));
                    let (mut end, last) = (pane.first_end.min(before), *reached);
                    loop {
                        self.windows.insert((pane.slice, end));
                        let next = plan.windows.end_after(pane.slice, end);
                        if end >= last || next <= end {
                            break;
                        }
                        end = next;
                    }
                }
                windows => self.windows.extend(windows_of(windows, pane)),
            }
        }
        self.windows.retain(|&(_, end)| plan.closes_at(end) > closed_to);
        self.reached.retain(|&start, _| plan.closes_at(plan.windows.last_window(start).1) > closed_to);
        &self.windows
    }
}

/// The windows that a pane of tumbling or hopping windows is in.
fn windows_of(windows: Windows, pane: PaneKey) -> Vec<WindowBounds> {
    let Windows::Hop { starts, .. } = windows else { return vec![(pane.slice, pane.first_end)] };
    let mut found = Vec::new();
    let mut start = windows.first_start_with(pane.slice);
    while start <= pane.slice {
        let end = windows.end_after(start, start);
        if end >= pane.first_end && end > pane.slice {
            found.push((start, end));
        }
        let next = starts.next(start);
        if next <= start {
            break;
        }
        start = next;
    }
    found
}

impl Slices {
    /// The windows that have changed since they were last asked for.
    pub(super) fn changed(&mut self) -> Vec<WindowBounds> {
        let (plan, closed_to) = (Arc::clone(&self.plan), self.closed_to);
        self.changed.as_mut().map(|it| it.windows(&plan, closed_to).iter().copied().collect()).unwrap_or_default()
    }

    /// What there is of these windows, and of all others that end at or before the watermark for the first time, as far as
    /// they stay open. A window may have several states.
    pub(super) fn peek(&mut self, wanted: &[WindowBounds], watermark: i64) -> Result<Vec<WindowState>> {
        let plan = Arc::clone(&self.plan);
        let Some(changed) = self.changed.as_mut() else { return Ok(Vec::new()) };
        let final_to = changed.final_to;
        changed.final_to = final_to.max(watermark);
        let stays = |bounds: &WindowBounds| plan.closes_at(bounds.1) > watermark;
        let mut windows: BTreeSet<_> = wanted.iter().copied().filter(stays).collect();
        if plan.allowed_lateness > 0 {
            windows.extend(self.ended(final_to, watermark).into_iter().filter(stays));
        }
        if let Some(changed) = self.changed.as_mut() {
            changed.windows.retain(|window| !windows.contains(window));
        }
        if windows.is_empty() {
            return Ok(Vec::new());
        }
        match plan.windows {
            Windows::Hop { .. } => self.peek_hopping(&windows),
            Windows::Cumulate { on_update, .. } => self.peek_cumulating(&windows, on_update),
            Windows::Tumble(_) | Windows::Session { .. } => {
                let mut states = Vec::new();
                for (start, end) in windows {
                    if let Some(pane) = self.live.get_mut(&PaneKey { slice: start, first_end: end }) {
                        let copies = pane.share_states()?.into_iter();
                        states.extend(copies.map(|state| WindowState::new(start, end, state)));
                    }
                }
                Ok(states)
            }
        }
    }

    /// The windows here that end after `from`, up to `to`.
    fn ended(&self, from: i64, to: i64) -> BTreeSet<WindowBounds> {
        let windows = self.plan.windows;
        let panes = self.live.keys().copied().chain(self.frozen.panes().map(|(key, _)| *key));
        let mut ended = BTreeSet::new();
        let Windows::Cumulate { .. } = windows else {
            ended.extend(panes.flat_map(|pane| windows_of(windows, pane)).filter(|&(_, end)| end > from && end <= to));
            return ended;
        };
        let carried = self.carried.keys().map(|&slice| PaneKey { slice, first_end: i64::MIN });
        for PaneKey { slice, first_end } in panes.chain(carried) {
            let mut end = windows.end_after(slice, first_end.saturating_sub(1).max(from));
            while end > from && end <= to {
                ended.insert((slice, end));
                let next = windows.end_after(slice, end);
                if next <= end {
                    break;
                }
                end = next;
            }
        }
        ended
    }

    /// Panes are copied once, and neighbours merged once, however many windows have them.
    fn peek_hopping(&mut self, windows: &BTreeSet<WindowBounds>) -> Result<Vec<WindowState>> {
        let (plan, layout) = (Arc::clone(&self.plan), Arc::clone(&self.plan.layout));
        let from = windows.first().map_or(i64::MAX, |window| window.0);
        let to = windows.iter().map(|window| window.1).max().unwrap_or(i64::MIN);
        // Frozen panes are in every window that is still open and has their slice.
        let frozen = self.frozen.panes().filter(|(key, _)| key.slice >= from);
        let mut panes: Vec<(PaneKey, RecordBatch)> =
            frozen.map(|(key, state)| (PaneKey { first_end: i64::MIN, ..*key }, state.clone())).collect();
        let bounds = |slice: i64| PaneKey { slice, first_end: i64::MIN };
        for (key, pane) in self.live.range_mut(bounds(from)..bounds(to)) {
            panes.extend(pane.share_states()?.into_iter().map(|state| (*key, state)));
        }
        panes.sort_by_key(|(key, _)| *key);
        let (mut whole, mut partly) = (Frozen::default(), Vec::new());
        for (key, state) in panes {
            let first = plan.windows.first_start_with(key.slice);
            match key.first_end <= plan.windows.end_after(first, first) {
                true => whole.push(key, state),
                // Of rows that were late for some of their windows.
                false => partly.push((key, state)),
            }
        }
        let mut states = Vec::new();
        for &(start, end) in windows {
            let late = partly.iter().filter(|(key, _)| (start..end).contains(&key.slice) && key.first_end <= end);
            let late = late.map(|(_, state)| state.clone());
            let all = whole.states_between(&layout, start, end)?.into_iter().chain(late);
            states.extend(all.map(|state| WindowState::new(start, end, state)));
        }
        Ok(states)
    }

    /// The windows of a period in the order of their ends: each has what came before.
    fn peek_cumulating(&mut self, windows: &BTreeSet<WindowBounds>, on_update: bool) -> Result<Vec<WindowState>> {
        let layout = Arc::clone(&self.plan.layout);
        let mut states = Vec::new();
        let mut rest = windows.iter().copied().peekable();
        while let Some(&(period, _)) = rest.peek() {
            let mut sum = Running::new(&layout, self.carried.get(&period))?;
            let of_period = |pane: &PaneKey| pane.slice == period;
            let keys: Vec<_> = self.live.range(PaneKey { slice: period, first_end: i64::MIN }..).collect::<Vec<_>>();
            let keys: Vec<_> = keys.into_iter().map(|(key, _)| *key).take_while(of_period).collect();
            let mut keys = keys.into_iter().peekable();
            while let Some((start, end)) = rest.next_if(|window| window.0 == period) {
                let mut changed = None;
                while let Some(key) = keys.next_if(|key| key.first_end <= end) {
                    let Some(pane) = self.live.get_mut(&key) else { continue };
                    let state = merged(&layout, pane.share_states()?)?;
                    changed = changed.or((key.first_end == end).then(|| state.clone()));
                    sum.add(&state)?;
                }
                let Some(groups) = sum.state()? else { continue };
                let keys = layout.key_count();
                let fresh = || changed.unwrap_or_else(|| groups.slice(0, 0)).project(&(0..keys).collect::<Vec<_>>());
                let changed = on_update.then(fresh).transpose()?;
                states.push(WindowState { changed, ..WindowState::new(start, end, groups) });
            }
        }
        Ok(states)
    }
}

/// States that are added up.
struct Running {
    pane: Pane,
    is_empty: bool,
}

impl Running {
    fn new(layout: &Arc<PaneLayout>, first: Option<&RecordBatch>) -> Result<Self> {
        let mut running = Self { pane: Pane::new(layout)?, is_empty: true };
        first.map(|first| running.add(first)).transpose()?;
        Ok(running)
    }

    fn add(&mut self, state: &RecordBatch) -> Result<()> {
        self.is_empty = false;
        self.pane.merge(state)
    }

    fn state(&mut self) -> Result<Option<RecordBatch>> {
        (!self.is_empty).then(|| self.pane.copy_state()).transpose()
    }
}
