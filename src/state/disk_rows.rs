//! The rows of one map in the store on disk, which all maps share.

use std::ops::Bound;
use std::sync::Arc;

use datafusion::common::HashSet;

use super::bytes::Bytes;
use super::scratch::Scratch;
use super::{Take, Visit};
use crate::error::Result;

/// Rows whose keys begin with a number that is theirs.
pub(super) struct DiskRows {
    store: Arc<Scratch>,
    prefix: [u8; 8],
    count: usize,
    /// The keys that have changed or gone since the last save.
    changed: HashSet<Bytes>,
    /// Of a key with its prefix.
    buffer: Vec<u8>,
}

impl std::fmt::Debug for DiskRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskRows").field("count", &self.count).finish_non_exhaustive()
    }
}

impl DiskRows {
    /// No rows yet; these keys have changed already.
    pub(super) fn new((store, number): (Arc<Scratch>, u64), changed: HashSet<Bytes>) -> Self {
        Self { store, prefix: number.to_be_bytes(), count: 0, changed, buffer: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<fjall::Slice>> {
        self.store.get(&[&self.prefix, key].concat())
    }

    /// Adds a row that is not there.
    pub(super) fn add(&mut self, key: &[u8], image: &[u8]) -> Result<()> {
        self.place(key);
        self.store.insert(&self.buffer, image)?;
        self.count += 1;
        Ok(())
    }

    /// Puts an image in the place of the one before, and returns that.
    pub(super) fn insert(&mut self, key: &[u8], image: &[u8]) -> Result<Option<Bytes>> {
        self.place(key);
        let before = self.store.get(&self.buffer)?;
        if before.as_deref() != Some(image) {
            self.store.insert(&self.buffer, image)?;
        }
        self.count += usize::from(before.is_none());
        Ok(before.map(|image| Bytes::from(image.as_ref())))
    }

    /// Takes a row out.
    pub(super) fn remove(&mut self, key: &[u8]) -> Result<Option<Bytes>> {
        self.place(key);
        let Some(before) = self.store.get(&self.buffer)? else { return Ok(None) };
        self.store.remove(&self.buffer)?;
        self.count -= 1;
        Ok(Some(Bytes::from(before.as_ref())))
    }

    /// Takes all rows out, ordered by their keys.
    pub(super) fn take_all(&mut self) -> Result<Vec<(Bytes, Bytes)>> {
        let mut taken: Vec<(Bytes, Bytes)> = Vec::with_capacity(self.count);
        self.walk(None, &mut |key, image| {
            taken.push((key.into(), image.into()));
            Ok(true)
        })?;
        for (key, _) in &taken {
            self.place(key);
            self.store.remove(&self.buffer)?;
        }
        (self.count, self.changed) = (0, HashSet::default());
        Ok(taken)
    }

    /// Notes that a key has changed or gone; false when it had already.
    pub(super) fn note_changed(&mut self, key: &[u8]) -> bool {
        !self.changed.contains(key) && self.changed.insert(key.into())
    }

    /// Everything that has changed is in checkpoints.
    pub(super) fn forget_changed(&mut self) {
        self.changed = HashSet::default();
    }

    /// Shows what has changed; returns how much that is.
    pub(super) fn save(&mut self, put: &mut Take<'_>, gone: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<usize> {
        let changed = std::mem::take(&mut self.changed);
        for key in &changed {
            self.place(key);
            match self.store.get(&self.buffer)? {
                Some(image) => put(key, &image)?,
                None => gone(key)?,
            }
        }
        Ok(changed.len())
    }

    /// Shows rows in the order of their keys, after a key, until `visit` says no.
    pub(super) fn walk(&self, after: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
        let first = [&self.prefix, after.unwrap_or_default()].concat();
        let first = if after.is_some() { Bound::Excluded(&first[..]) } else { Bound::Included(&first[..]) };
        self.store.walk(first, &mut |key, image| match key.strip_prefix(&self.prefix) {
            Some(key) => visit(key, image),
            None => Ok(false),
        })
    }

    fn place(&mut self, key: &[u8]) {
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.prefix);
        self.buffer.extend_from_slice(key);
    }
}
