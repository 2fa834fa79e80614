//! States that change no more: a checkpoint that has one is enough for all that follow.

use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::RecordBatch;

/// In the schema's metadata of a state that says something of the sessions of a lane: how many there are.
pub const SESSIONS: &str = "sessions";

/// The state of some groups, and where it is saved.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Keys and partial aggregates: [`PaneLayout::state_schema`](super::pane::PaneLayout::state_schema).
    pub groups: RecordBatch,
    /// Shared by all copies.
    pub saved: Saved,
}

/// Where a state is saved, once it is. Known to all who have it.
#[derive(Debug, Clone, Default)]
pub struct Saved(Arc<OnceLock<SavedAt>>);

/// A place among the objects of a job's checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedAt {
    /// The number of the checkpoint with which it was saved.
    pub number: u64,
    /// Which of the states that were saved with that one, from 0.
    pub place: usize,
}

impl Saved {
    /// Saved there already.
    pub fn at(place: SavedAt) -> Self {
        Self(Arc::new(OnceLock::from(place)))
    }

    /// Where; `None` before it is durable.
    pub fn get(&self) -> Option<SavedAt> {
        self.0.get().copied()
    }

    /// Notes where it is durable. It stays where it was saved first.
    pub fn set(&self, place: SavedAt) {
        self.0.get_or_init(|| place);
    }
}
