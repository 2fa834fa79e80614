//! Key → image: the rows of one partition. In memory; on disk, once all of them together take more than they may.
//!
//! It knows what has changed since it was last saved, so that a checkpoint has only that. Now and then everything is saved once
//! more, so that there need not be ever more checkpoints to go on from: at once while it is in memory, on disk a
//! stretch with each checkpoint, in the order of the keys. A stretch may be old when the last is saved; what
//! changed since is in the checkpoints after it.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::common::HashMap;
use datafusion::common::hash_map::EntryRef;

use super::Take;
use super::bytes::Bytes;
use super::disk_rows::DiskRows;
use super::memory::Memory;
use crate::error::Result;

/// A key and its image.
pub type Keyed = (Bytes, Bytes);

/// What a row takes beside its bytes: two boxes, its place in the table, what the allocator adds.
const OVERHEAD: usize = 80;
/// The least and most rows of a stretch.
const STRETCH: (usize, usize) = (16_384, 262_144);

/// The last image of each key.
#[derive(Debug, Default)]
pub struct RowsMap {
    store: Store,
    memory: Option<Arc<Memory>>,
    /// What it takes of `memory`.
    bytes: usize,
    /// What it has that is in no checkpoint.
    unsaved: usize,
    saved: Saved,
}

#[derive(Debug)]
enum Store {
    Memory(InMemory),
    Disk(DiskRows),
}

impl Default for Store {
    fn default() -> Self {
        Self::Memory(InMemory::default())
    }
}

#[derive(Debug, Default)]
struct InMemory {
    rows: HashMap<Bytes, Kept>,
    /// The keys that have changed or gone since the last save, some of them twice.
    changed: Vec<Bytes>,
}

#[derive(Debug)]
struct Kept {
    image: Bytes,
    /// Whether its key is among those that have changed.
    changed: bool,
}

/// What checkpoints have.
#[derive(Debug, Default)]
struct Saved {
    /// Whether they have anything.
    any: bool,
    /// Since which save they have everything; `None` of what was restored.
    since: Option<u64>,
    /// Rows in saves since everything was saved.
    rows: usize,
    /// Where the stretch ended that was saved last, and at which save the first of them was made.
    stretch: Option<(Bytes, u64)>,
}

/// What a save has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// All rows, whatever earlier saves have.
    pub whole: bool,
    /// The save from which on saves together have all rows; `None` from where those began that it was restored from.
    pub since: Option<u64>,
}

/// A save: its number, and which saves are so old that what they have is to be saved again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Save {
    /// Greater than those before.
    pub number: u64,
    /// This and the earlier ones.
    pub renews: Option<u64>,
}

impl InMemory {
    /// Shows what has changed; returns how much that is.
    fn save(&mut self, put: &mut Take<'_>, gone: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<usize> {
        let changed = std::mem::take(&mut self.changed);
        for key in &changed {
            match self.rows.get_mut(&key[..]) {
                Some(kept) => {
                    if std::mem::take(&mut kept.changed) {
                        put(key, &kept.image)?;
                    }
                }
                None => gone(key)?,
            }
        }
        Ok(changed.len())
    }

    fn save_all(&mut self, put: &mut Take<'_>) -> Result<()> {
        self.changed = Vec::new();
        self.rows.iter_mut().try_for_each(|(key, kept)| {
            kept.changed = false;
            put(key, &kept.image)
        })
    }
}

impl RowsMap {
    /// Counts what it takes as part of this memory, if it does not yet.
    pub fn share(&mut self, memory: Option<&Arc<Memory>>) {
        if self.memory.is_none()
            && let Some(memory) = memory
        {
            memory.take(self.bytes);
            memory.note_unsaved(self.unsaved);
            self.memory = Some(Arc::clone(memory));
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        match &self.store {
            Store::Memory(memory) => memory.rows.len(),
            Store::Disk(rows) => rows.len(),
        }
    }

    /// The image of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>> {
        Ok(match &self.store {
            Store::Memory(memory) => memory.rows.get(key).map(|kept| Cow::Borrowed(kept.image.as_ref())),
            Store::Disk(rows) => rows.get(key)?.map(|image| Cow::Owned(image.to_vec())),
        })
    }

    /// Puts an image in the place of the one before, and returns that.
    pub fn insert(&mut self, key: &[u8], image: &[u8]) -> Result<Option<Bytes>> {
        let (before, newly_changed) = match &mut self.store {
            Store::Memory(InMemory { rows, changed }) => match rows.entry_ref(key) {
                // The key is there already: no second copy of it.
                EntryRef::Occupied(mut entry) => {
                    let kept = entry.get_mut();
                    let newly_changed = !std::mem::replace(&mut kept.changed, true);
                    if newly_changed {
                        changed.push(key.into());
                    }
                    (Some(std::mem::replace(&mut kept.image, image.into())), newly_changed)
                }
                EntryRef::Vacant(entry) => {
                    changed.push(key.into());
                    entry.insert_with_key(key.into(), Kept { image: image.into(), changed: true });
                    (None, true)
                }
            },
            Store::Disk(rows) => (rows.insert(key, image)?, rows.note_changed(key)),
        };
        if newly_changed {
            self.note_unsaved(key.len() + image.len() + OVERHEAD);
        }
        if matches!(self.store, Store::Disk(_)) {
            return Ok(before);
        }
        match &before {
            Some(before) => self.account(image.len(), before.len()),
            None => self.account(key.len() + image.len() + OVERHEAD, 0),
        }
        if self.memory.as_ref().is_some_and(|memory| memory.is_too_small_for(self.bytes)) {
            self.move_to_disk()?;
        }
        Ok(before)
    }

    /// Takes a row out.
    pub fn remove(&mut self, key: &[u8]) -> Result<Option<Bytes>> {
        match &mut self.store {
            Store::Memory(InMemory { rows, changed }) => {
                let Some(kept) = rows.remove(key) else { return Ok(None) };
                if !kept.changed {
                    changed.push(key.into());
                    self.note_unsaved(key.len() + OVERHEAD);
                }
                self.account(0, key.len() + kept.image.len() + OVERHEAD);
                Ok(Some(kept.image))
            }
            Store::Disk(rows) => {
                let before = rows.remove(key)?;
                if before.is_some() && rows.note_changed(key) {
                    self.note_unsaved(key.len() + OVERHEAD);
                }
                Ok(before)
            }
        }
    }

    /// Takes all rows out, ordered by their keys.
    pub fn take_sorted(&mut self) -> Result<Vec<Keyed>> {
        let mut taken: Vec<Keyed> = match std::mem::take(&mut self.store) {
            Store::Memory(memory) => memory.rows.into_iter().map(|(key, kept)| (key, kept.image)).collect(),
            Store::Disk(mut rows) => rows.take_all()?,
        };
        taken.sort_unstable_by(|(one, _), (other, _)| one[..].cmp(other));
        self.account(0, self.bytes);
        self.note_saved();
        self.saved = Saved::default();
        Ok(taken)
    }

    /// Shows what a checkpoint must have that follows those before: rows that are there, and keys that are no more.
    pub fn save(&mut self, save: Save, put: &mut Take<'_>, gone: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Part> {
        self.note_saved();
        let is_old = self.saved.since.is_none_or(|since| save.renews.is_some_and(|renews| since <= renews));
        let is_due = is_old || self.saved.rows > self.len().max(STRETCH.0);
        match &mut self.store {
            Store::Memory(memory) if is_due => memory.save_all(put)?,
            // All that there is has changed then.
            Store::Disk(rows) if !self.saved.any => drop(rows.save(put, &mut |_| Ok(()))?),
            Store::Memory(memory) => {
                self.saved.rows += memory.save(put, gone)?;
                return Ok(Part { whole: false, since: self.saved.since });
            }
            Store::Disk(rows) => {
                self.saved.rows += rows.save(put, gone)?;
                self.save_stretch(save.number, is_due, put)?;
                return Ok(Part { whole: false, since: self.saved.since });
            }
        }
        self.saved = Saved { any: true, since: Some(save.number), ..Saved::default() };
        Ok(Part { whole: true, since: Some(save.number) })
    }

    /// Of rows on disk a stretch, when everything is being saved.
    fn save_stretch(&mut self, number: u64, begins: bool, put: &mut Take<'_>) -> Result<()> {
        let Store::Disk(rows) = &self.store else { return Ok(()) };
        let (after, began) = match self.saved.stretch.take() {
            Some((after, began)) => (Some(after), began),
            None if begins => (None, number),
            None => return Ok(()),
        };
        let most = (rows.len() / 64).clamp(STRETCH.0, STRETCH.1);
        let (mut shown, mut last) = (0, None);
        rows.walk(after.as_deref(), &mut |key, image| {
            put(key, image)?;
            shown += 1;
            last = (shown == most).then(|| key.into());
            Ok(shown < most)
        })?;
        match last {
            Some(last) => self.saved.stretch = Some((last, began)),
            None => self.saved = Saved { any: true, since: Some(began), ..Saved::default() },
        }
        Ok(())
    }

    /// Everything that is there now is in checkpoints.
    pub fn set_restored(&mut self) {
        match &mut self.store {
            Store::Memory(InMemory { rows, changed }) => {
                for key in std::mem::take(changed) {
                    rows.get_mut(&key[..]).into_iter().for_each(|kept| kept.changed = false);
                }
            }
            Store::Disk(rows) => rows.forget_changed(),
        }
        self.note_saved();
        self.saved = Saved { any: true, ..Saved::default() };
    }

    fn account(&mut self, more: usize, less: usize) {
        self.bytes = (self.bytes + more).saturating_sub(less);
        if let Some(memory) = &self.memory {
            memory.take(more);
            memory.give_back(less);
        }
    }

    fn note_unsaved(&mut self, bytes: usize) {
        self.unsaved += bytes;
        self.memory.iter().for_each(|memory| memory.note_unsaved(bytes));
    }

    fn note_saved(&mut self) {
        let saved = std::mem::take(&mut self.unsaved);
        self.memory.iter().for_each(|memory| memory.note_saved(saved));
    }

    fn move_to_disk(&mut self) -> Result<()> {
        let (Some(memory), Store::Memory(InMemory { rows, changed })) = (&self.memory, &mut self.store) else {
            return Ok(());
        };
        let mut moved = DiskRows::new(memory.scratch()?, std::mem::take(changed).into_iter().collect());
        for (key, kept) in std::mem::take(rows) {
            moved.add(&key, &kept.image)?;
        }
        self.store = Store::Disk(moved);
        self.account(0, self.bytes);
        Ok(())
    }
}

impl Drop for RowsMap {
    fn drop(&mut self) {
        self.account(0, self.bytes);
        self.note_saved();
    }
}

#[cfg(test)]
#[path = "rows_map_tests.rs"]
mod tests;
