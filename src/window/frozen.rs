//! The panes of hopping windows that take no more rows, merged once for many windows.
//!
//! A window of sixty panes is not sixty merges: stretches of two, four, eight … neighbouring panes are merged when a
//! window first needs them and kept while a later one may. A pane is merged once a level, and a window is
//! at most two stretches of each length. Memory is at most twice that of the panes.
//!
//! ```text
//!  panes     0 1 2 3 4 5 6 7 8 9        a window of the panes 1 … 9:
//!  twos      ╰─╯ ╰─╯ ╰─╯ ╰─╯ ╰─╯        1, 2–3, 4–7, 8–9
//!  fours     ╰─────╯ ╰─────╯
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;

use super::assigner::PaneKey;
use super::pane::PaneLayout;
use super::slices::merged;
use crate::error::Result;

/// Frozen panes in the order of their slices.
#[derive(Default)]
pub(super) struct Frozen {
    /// The number of the first pane.
    first: u64,
    panes: VecDeque<(PaneKey, RecordBatch)>,
    /// Panes of earlier slices that came after later ones: of rows that were late for some of their windows. Few.
    stragglers: Vec<(PaneKey, RecordBatch)>,
    /// Merged stretches: `2^level` panes from number `index * 2^level`.
    merged: HashMap<(u32, u64), RecordBatch>,
}

impl Frozen {
    /// The states of all panes and merged stretches.
    pub(super) fn states_held(&self) -> impl Iterator<Item = &RecordBatch> {
        self.panes.iter().chain(&self.stragglers).map(|(_, state)| state).chain(self.merged.values())
    }

    /// The first slice of them.
    pub(super) fn first_slice(&self) -> Option<i64> {
        let first = self.panes.front().map(|(key, _)| key.slice);
        self.stragglers.iter().map(|(key, _)| key.slice).chain(first).min()
    }

    /// Adds a pane.
    pub(super) fn push(&mut self, key: PaneKey, state: RecordBatch) {
        match self.panes.back() {
            Some((last, _)) if key.slice < last.slice => self.stragglers.push((key, state)),
            _ => self.panes.push_back((key, state)),
        }
    }

    /// Drops what lies before the start of the next window.
    pub(super) fn expire(&mut self, start: i64) {
        self.stragglers.retain(|(key, _)| key.slice >= start);
        let before = self.first;
        while self.panes.front().is_some_and(|(key, _)| key.slice < start) {
            self.panes.pop_front();
            self.first += 1;
        }
        if self.first > before {
            let first = self.first;
            self.merged.retain(|&(level, index), _| index << level >= first);
        }
    }

    /// States that are all panes together.
    pub(super) fn states(&mut self, layout: &Arc<PaneLayout>) -> Result<Vec<RecordBatch>> {
        let mut states: Vec<_> = self.stragglers.iter().map(|(_, state)| state.clone()).collect();
        states.extend(self.stretches(layout, self.first, self.first + self.panes.len() as u64)?);
        Ok(states)
    }

    /// States that are the panes from one slice up to another together, stragglers not among them.
    pub(super) fn states_between(&mut self, layout: &Arc<PaneLayout>, from: i64, to: i64) -> Result<Vec<RecordBatch>> {
        let place = |slice: i64| self.first + self.panes.partition_point(|(key, _)| key.slice < slice) as u64;
        let (from, to) = (place(from), place(to));
        self.stretches(layout, from, to)
    }

    /// States that are the panes from one number up to another together.
    fn stretches(&mut self, layout: &Arc<PaneLayout>, mut at: u64, end: u64) -> Result<Vec<RecordBatch>> {
        let mut states = Vec::new();
        while at < end {
            let level = at.trailing_zeros().min((end - at).ilog2());
            states.push(self.stretch(layout, level, at >> level)?);
            at += 1 << level;
        }
        Ok(states)
    }

    fn stretch(&mut self, layout: &Arc<PaneLayout>, level: u32, index: u64) -> Result<RecordBatch> {
        if level == 0 {
            return Ok(self.panes[(index - self.first) as usize].1.clone());
        }
        if let Some(state) = self.merged.get(&(level, index)) {
            return Ok(state.clone());
        }
        let halves = [2 * index, 2 * index + 1].map(|half| self.stretch(layout, level - 1, half));
        let state = merged(layout, halves.into_iter().collect::<Result<_>>()?)?;
        self.merged.insert((level, index), state.clone());
        Ok(state)
    }

    /// All panes.
    pub(super) fn panes(&self) -> impl Iterator<Item = &(PaneKey, RecordBatch)> {
        self.panes.iter().chain(&self.stragglers)
    }
}
