//! What kept rows may take of memory together.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::scratch::{Scratch, remove_left_over};
use crate::error::Result;

/// A map with less than this stays in memory, whatever the others take, unless the budget is as small.
const SMALL: usize = 64 << 10;
/// So many bytes of changes may wait for a checkpoint at least.
const UNSAVED: usize = 16 << 20;

/// The budget of a job. Shared by all its lanes.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    used: AtomicUsize,
    /// Bytes of rows that have changed since checkpoints had them.
    unsaved: AtomicUsize,
    folder: PathBuf,
    scratch: Mutex<Option<Arc<Scratch>>>,
    next: AtomicU64,
}

impl Memory {
    /// So many bytes. What is more goes to a folder of its own in this one, which is created then.
    pub fn new(limit: usize, folder: impl Into<PathBuf>) -> Arc<Self> {
        let folder = folder.into();
        remove_left_over(&folder);
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            unsaved: AtomicUsize::new(0),
            folder,
            scratch: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    /// How many bytes of rows are in memory.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// How many bytes the store on disk takes, what it has not merged yet included.
    pub fn on_disk(&self) -> u64 {
        let scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        scratch.as_ref().map_or(0, |scratch| scratch.size())
    }

    /// Whether so much has changed that a checkpoint should have it soon: until then it is in memory, and it is once more
    /// while it is written.
    pub fn is_behind(&self) -> bool {
        self.unsaved.load(Relaxed) > (self.limit / 2).max(UNSAVED)
    }

    pub(super) fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
    }

    pub(super) fn note_unsaved(&self, bytes: usize) {
        self.unsaved.fetch_add(bytes, Relaxed);
    }

    pub(super) fn note_saved(&self, bytes: usize) {
        self.unsaved.fetch_sub(bytes, Relaxed);
    }

    /// Whether a map of so many bytes should go to disk.
    pub(super) fn is_too_small_for(&self, bytes: usize) -> bool {
        bytes > SMALL.min(self.limit / 16) && self.used() > self.limit
    }

    /// The store on disk, and a number that nobody else in it has.
    pub(super) fn scratch(&self) -> Result<(Arc<Scratch>, u64)> {
        let number = self.next.fetch_add(1, Relaxed);
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scratch) = scratch.as_ref() {
            return Ok((Arc::clone(scratch), number));
        }
        let opened = Arc::new(Scratch::open(&self.folder, self.limit)?);
        *scratch = Some(Arc::clone(&opened));
        Ok((opened, number))
    }
}
