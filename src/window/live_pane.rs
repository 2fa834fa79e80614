//! A pane that takes rows, and copies of it that cost the same however many groups it has.
//!
//! DataFusion's accumulators give their state away; putting ten million groups back takes seconds. So what a large pane has
//! when it is copied stays as it was given away, and is shared with the copy; the pane begins anew beside it. All states
//! together are the pane, as those of several lanes are a window. A group that goes on changing would be in all of them:
//! they are merged beside the stream, the small ones first, so that there are never many.
//!
//! ```text
//!  rows ──► pane ──copy──► settled  ▇▇▇▇▇▇▇▇ ▇▇▇▇ ▇ ▇ ▇ ▇     at the next copy:  ▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇ ▇
//!                                                ╰─merging─╯
//! ```

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use datafusion::arrow::array::RecordBatch;

use super::aggregate::{Held, WindowState};
use super::pane::{Pane, PaneInput, PaneLayout};
use super::settled::{Saved, Settled};
use super::slices::merged;
use crate::error::{Error, Result};

/// From so many groups on, a copy leaves them as they are. Fewer are put back within milliseconds.
const SETTLES_AT: usize = if cfg!(test) { 3 } else { 1 << 16 };
/// As many settled states are merged at least.
const MERGED_AT_LEAST: usize = 4;

/// The groups of a slice, in a pane and in settled states.
pub(super) struct LivePane {
    layout: Arc<PaneLayout>,
    pane: Pane,
    settled: Vec<Settled>,
    merging: Option<Merging>,
}

/// Some of the settled states, on their way to one.
struct Merging {
    first: usize,
    count: usize,
    merged: JoinHandle<Result<RecordBatch>>,
}

impl LivePane {
    /// Without groups.
    pub(super) fn new(layout: &Arc<PaneLayout>) -> Result<Self> {
        Ok(Self { layout: Arc::clone(layout), pane: Pane::new(layout)?, settled: Vec::new(), merging: None })
    }

    /// What it holds; groups that are in several states count in each.
    pub(super) fn held(&self) -> Held {
        let mut held = Held { bytes: self.pane.size(), panes: 1, groups: self.pane.group_count(), ..Held::default() };
        for Settled { groups, .. } in &self.settled {
            held.bytes += groups.get_array_memory_size();
            held.groups += groups.num_rows();
        }
        held
    }

    /// Adds rows, and takes rows back where the layout is for that.
    pub(super) fn update(&mut self, input: &PaneInput) -> Result<()> {
        self.pane.update(input)
    }

    /// Adds the saved state of another pane of the same slice.
    pub(super) fn add(&mut self, state: &WindowState) -> Result<()> {
        if state.groups.num_rows() < SETTLES_AT {
            return self.pane.merge(&state.groups);
        }
        let saved = state.saved.clone().unwrap_or_default();
        self.settled.push(Settled { groups: state.groups.clone(), saved });
        Ok(())
    }

    /// States that are a copy of it together.
    pub(super) fn share_states(&mut self) -> Result<Vec<RecordBatch>> {
        Ok(self.share()?.into_iter().map(|(state, _)| state).collect())
    }

    /// The same, with where those are saved that change no more.
    pub(super) fn share(&mut self) -> Result<Vec<(RecordBatch, Option<Saved>)>> {
        self.settle_merged()?;
        let is_large = self.pane.group_count() >= SETTLES_AT;
        if is_large {
            self.settled.push(Settled { groups: self.pane.take_state()?, saved: Saved::default() });
            self.pane = Pane::new(&self.layout)?;
        }
        let mut all: Vec<_> = self.settled.iter().map(|it| (it.groups.clone(), Some(it.saved.clone()))).collect();
        if self.has_unsettled() {
            all.push((self.pane.copy_state()?, None));
        }
        if is_large {
            self.merge_small()?;
        }
        Ok(all)
    }

    /// States that are all that it had together.
    pub(super) fn take_states(mut self) -> Result<Vec<RecordBatch>> {
        let has_unsettled = self.has_unsettled();
        let mut all: Vec<_> = self.settled.into_iter().map(|it| it.groups).collect();
        if has_unsettled {
            all.push(self.pane.take_state()?);
        }
        Ok(all)
    }

    /// Whether the pane adds something. A slice has a state at least, if an empty one.
    fn has_unsettled(&self) -> bool {
        self.pane.group_count() > 0 || self.settled.is_empty()
    }

    /// Takes over states that have been merged since.
    fn settle_merged(&mut self) -> Result<()> {
        let Some(merging) = self.merging.take_if(|it| it.merged.is_finished()) else { return Ok(()) };
        let merged = merging.merged.join().map_err(|_| Error::internal("the merging of windows has panicked"))?;
        // What cannot be added up says so when the window closes, with the group that it is.
        if let Ok(groups) = merged {
            let merged = Settled { groups, saved: Saved::default() };
            self.settled.splice(merging.first..merging.first + merging.count, [merged]);
        }
        Ok(())
    }

    /// Begins to merge the newest states and those before that have no more groups than all after them: a group is merged no more
    /// often than the number of states doubles.
    fn merge_small(&mut self) -> Result<()> {
        if self.merging.is_some() {
            return Ok(());
        }
        let mut rows = 0;
        let newest = self.settled.iter().rev().take_while(|state| {
            let joins = rows == 0 || state.groups.num_rows() <= rows;
            rows += state.groups.num_rows();
            joins
        });
        let count = newest.count();
        if count < MERGED_AT_LEAST {
            return Ok(());
        }
        let first = self.settled.len() - count;
        let states = self.settled[first..].iter().map(|it| it.groups.clone()).collect();
        let layout = Arc::clone(&self.layout);
        let merging = Builder::new().name("merge-panes".into()).spawn(move || merged(&layout, states));
        let merged = merging.map_err(|cause| Error::permanent("cannot start a thread that merges windows", cause))?;
        if cfg!(test) {
            // Simulations go the same way again.
            while !merged.is_finished() {
                std::thread::yield_now();
            }
        }
        self.merging = Some(Merging { first, count, merged });
        Ok(())
    }
}
