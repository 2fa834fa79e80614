//! Key → image: the rows of one partition. In memory; on disk, once all of them together take more than they may.
//!
//! It knows what has changed since it was last saved, so that a checkpoint has only that. Now and then everything is saved once
//! more, so that there need not be ever more checkpoints to go on from: at once while it is in memory, on disk a
//! stretch with each checkpoint, in the order of the keys. A stretch may be old when the last is saved; what
//! changed since is in the checkpoints after it.

use std::borrow::Cow;
use std::ops::Bound;
use std::sync::Arc;

use datafusion::common::hash_map::EntryRef;
use datafusion::common::{HashMap, HashSet};
use fjall::Keyspace;

use super::bytes::Bytes;
use super::memory::{Memory, SMALL};
use crate::error::{Error, Result};

/// A key and its image.
pub type Keyed = (Bytes, Bytes);

/// What a row takes beside its bytes: two boxes, its place in the table, what the allocator adds.
const OVERHEAD: usize = 80;
/// After so many saves everything is saved once more.
const SAVES: usize = 100;
/// The least and most rows of a stretch.
const STRETCH: (usize, usize) = (16_384, 262_144);

/// The last image of each key.
#[derive(Debug, Default)]
pub struct RowsMap {
    store: Store,
    memory: Option<Arc<Memory>>,
    /// What it takes of `memory`.
    bytes: usize,
    saved: Saved,
}

#[derive(Debug)]
enum Store {
    Memory(InMemory),
    Disk(Rows),
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

/// Rows in the store on disk: their keys begin with a number that is theirs.
struct Rows {
    store: Keyspace,
    prefix: [u8; 8],
    count: usize,
    /// The keys that have changed or gone since the last save.
    changed: HashSet<Bytes>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("count", &self.count).finish_non_exhaustive()
    }
}

/// What checkpoints have.
#[derive(Debug, Default)]
struct Saved {
    /// Since which save they have everything.
    since: Option<u64>,
    /// Saves, and rows in them, since everything was saved or has begun to be.
    saves: usize,
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

impl InMemory {
    /// Shows what has changed; returns how much that is.
    fn save(
        &mut self,
        put: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>,
        gone: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<usize> {
        let count = self.changed.len();
        for key in self.changed.drain(..) {
            match self.rows.get_mut(&key[..]) {
                Some(kept) => {
                    if std::mem::take(&mut kept.changed) {
                        put(&key, &kept.image)?;
                    }
                }
                None => gone(&key)?,
            }
        }
        Ok(count)
    }
}

impl Rows {
    fn note_changed(&mut self, key: &[u8]) {
        if !self.changed.contains(key) {
            self.changed.insert(key.into());
        }
    }

    /// Shows what has changed; returns how much that is.
    fn save(
        &mut self,
        put: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>,
        gone: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<usize> {
        let changed = std::mem::take(&mut self.changed);
        for key in &changed {
            match self.get(key)? {
                Some(image) => put(key, &image)?,
                None => gone(key)?,
            }
        }
        Ok(changed.len())
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }

    fn get(&self, key: &[u8]) -> Result<Option<fjall::Slice>> {
        self.store.get(self.key(key)).map_err(unreadable)
    }

    /// Shows rows in the order of their keys, after a key, until `visit` says no.
    fn walk(&self, after: Option<&[u8]>, visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<bool>) -> Result<()> {
        let first = Bound::Excluded(self.key(after.unwrap_or_default()));
        let first = if after.is_some() { first } else { Bound::Included(self.prefix.to_vec()) };
        for row in self.store.range((first, Bound::Unbounded)) {
            let (key, image) = row.into_inner().map_err(unreadable)?;
            let Some(key) = key.strip_prefix(&self.prefix) else { break };
            if !visit(key, &image)? {
                break;
            }
        }
        Ok(())
    }
}

fn unreadable(error: fjall::Error) -> Error {
    Error::permanent("cannot use the kept rows on disk (--state-dir)", error)
}

impl RowsMap {
    /// Counts what it takes as part of this memory, if it does not yet.
    pub fn share(&mut self, memory: Option<&Arc<Memory>>) {
        if self.memory.is_none()
            && let Some(memory) = memory
        {
            memory.take(self.bytes);
            self.memory = Some(Arc::clone(memory));
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        match &self.store {
            Store::Memory(memory) => memory.rows.len(),
            Store::Disk(rows) => rows.count,
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
        let before = match &mut self.store {
            Store::Memory(InMemory { rows, changed }) => match rows.entry_ref(key) {
                // The key is there already: no second copy of it.
                EntryRef::Occupied(mut entry) => {
                    let kept = entry.get_mut();
                    if !std::mem::replace(&mut kept.changed, true) {
                        changed.push(key.into());
                    }
                    Some(std::mem::replace(&mut kept.image, image.into()))
                }
                EntryRef::Vacant(entry) => {
                    changed.push(key.into());
                    entry.insert_with_key(key.into(), Kept { image: image.into(), changed: true });
                    None
                }
            },
            Store::Disk(rows) => {
                let before = rows.get(key)?.map(|image| Bytes::from(image.as_ref()));
                rows.store.insert(rows.key(key), image).map_err(unreadable)?;
                rows.count += usize::from(before.is_none());
                rows.note_changed(key);
                return Ok(before);
            }
        };
        match &before {
            Some(before) => self.account(image.len(), before.len()),
            None => self.account(key.len() + image.len() + OVERHEAD, 0),
        }
        if self.bytes > SMALL && self.memory.as_ref().is_some_and(|memory| memory.is_full()) {
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
                }
                self.account(0, key.len() + kept.image.len() + OVERHEAD);
                Ok(Some(kept.image))
            }
            Store::Disk(rows) => {
                let before = rows.get(key)?.map(|image| Bytes::from(image.as_ref()));
                if before.is_some() {
                    rows.store.remove(rows.key(key)).map_err(unreadable)?;
                    rows.count -= 1;
                    rows.note_changed(key);
                }
                Ok(before)
            }
        }
    }

    /// Takes all rows out, ordered by their keys.
    pub fn take_sorted(&mut self) -> Result<Vec<Keyed>> {
        let mut taken: Vec<Keyed> = match std::mem::take(&mut self.store) {
            Store::Memory(memory) => memory.rows.into_iter().map(|(key, kept)| (key, kept.image)).collect(),
            Store::Disk(rows) => {
                let mut taken = Vec::with_capacity(rows.count);
                rows.walk(None, &mut |key, image| {
                    taken.push((key.into(), image.into()));
                    Ok(true)
                })?;
                taken.iter().try_for_each(|(key, _): &Keyed| rows.store.remove(rows.key(key)).map_err(unreadable))?;
                taken
            }
        };
        taken.sort_unstable_by(|(one, _), (other, _)| one[..].cmp(other));
        self.account(0, self.bytes);
        self.saved = Saved::default();
        Ok(taken)
    }

    /// Shows what a checkpoint must have that follows those before: rows that are there, and keys that are no more.
    pub fn save(
        &mut self,
        number: u64,
        put: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>,
        gone: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Part> {
        // All that there is has changed then.
        let is_fresh = self.saved.since.is_none() && self.saved.saves == 0;
        let is_due = self.saved.saves >= SAVES || self.saved.rows > self.len().max(STRETCH.0);
        if is_fresh || (is_due && matches!(self.store, Store::Memory(_))) {
            match &mut self.store {
                Store::Memory(InMemory { rows, changed }) => {
                    changed.clear();
                    for (key, kept) in rows.iter_mut() {
                        kept.changed = false;
                        put(key, &kept.image)?;
                    }
                }
                Store::Disk(rows) => {
                    rows.changed.clear();
                    rows.walk(None, &mut |key, image| put(key, image).map(|()| true))?;
                }
            }
            self.saved = Saved { since: Some(number), saves: 1, ..Saved::default() };
            return Ok(Part { whole: true, since: Some(number) });
        }
        self.saved.rows += match &mut self.store {
            Store::Memory(memory) => memory.save(put, gone)?,
            Store::Disk(rows) => rows.save(put, gone)?,
        };
        self.saved.saves += 1;
        self.save_stretch(number, is_due, put)?;
        Ok(Part { whole: false, since: self.saved.since })
    }

    /// Of rows on disk a stretch, when everything is being saved.
    fn save_stretch(
        &mut self,
        number: u64,
        begins: bool,
        put: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        let Store::Disk(rows) = &self.store else { return Ok(()) };
        let (after, began) = match self.saved.stretch.take() {
            Some((after, began)) => (Some(after), began),
            None if begins => (None, number),
            None => return Ok(()),
        };
        let most = (rows.count / 64).clamp(STRETCH.0, STRETCH.1);
        let (mut shown, mut last) = (0, None);
        rows.walk(after.as_deref(), &mut |key, image| {
            put(key, image)?;
            shown += 1;
            last = (shown == most).then(|| key.into());
            Ok(shown < most)
        })?;
        match last {
            Some(last) => self.saved.stretch = Some((last, began)),
            None => self.saved = Saved { since: Some(began), saves: 1, ..Saved::default() },
        }
        Ok(())
    }

    /// Everything that is there now is in checkpoints.
    pub fn set_restored(&mut self) {
        match &mut self.store {
            Store::Memory(InMemory { rows, changed }) => {
                for key in changed.drain(..) {
                    rows.get_mut(&key[..]).into_iter().for_each(|kept| kept.changed = false);
                }
            }
            Store::Disk(rows) => rows.changed.clear(),
        }
        self.saved = Saved { saves: SAVES, ..Saved::default() };
    }

    fn account(&mut self, more: usize, less: usize) {
        self.bytes = (self.bytes + more).saturating_sub(less);
        if let Some(memory) = &self.memory {
            memory.take(more);
            memory.give_back(less);
        }
    }

    fn move_to_disk(&mut self) -> Result<()> {
        let (Some(memory), Store::Memory(InMemory { rows, changed })) = (&self.memory, &mut self.store) else {
            return Ok(());
        };
        let (store, number) = memory.disk()?;
        let changed = changed.drain(..).collect();
        let mut moved = Rows { store, prefix: number.to_be_bytes(), count: 0, changed };
        for (key, kept) in std::mem::take(rows) {
            moved.store.insert(moved.key(&key), kept.image.as_ref()).map_err(unreadable)?;
            moved.count += 1;
        }
        self.store = Store::Disk(moved);
        self.account(0, self.bytes);
        Ok(())
    }
}

impl Drop for RowsMap {
    fn drop(&mut self) {
        if let Some(memory) = &self.memory {
            memory.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    #[derive(Debug, Clone)]
    enum Act {
        Put(u8, u16),
        Remove(u8),
        Empty,
        Save,
        Restart,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            30 => (any::<u8>(), 0_u16..600).prop_map(|(key, size)| Act::Put(key, size)),
            8 => any::<u8>().prop_map(Act::Remove),
            1 => Just(Act::Empty),
            8 => Just(Act::Save),
            1 => Just(Act::Restart),
        ]
    }

    /// The rows that saves since one of them have together.
    fn restored(saves: &[(Part, Model, Vec<Vec<u8>>)], since: u64) -> Model {
        let mut rows = Model::new();
        for (part, put, gone) in &saves[since as usize..] {
            if part.whole {
                rows.clear();
            }
            rows.extend(put.clone());
            gone.iter().for_each(|key| drop(rows.remove(key)));
        }
        rows
    }

    fn content(map: &RowsMap) -> Model {
        match &map.store {
            Store::Memory(memory) => {
                memory.rows.iter().map(|(key, kept)| (key.to_vec(), kept.image.to_vec())).collect()
            }
            Store::Disk(rows) => {
                let mut found = Model::new();
                rows.walk(None, &mut |key, image| {
                    found.insert(key.to_vec(), image.to_vec());
                    Ok(true)
                })
                .unwrap();
                found
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn in_memory_and_on_disk_and_out_of_checkpoints(acts in prop::collection::vec(act(), 0..1_500), limit in prop_oneof![Just(0_usize), Just(usize::MAX)]) {
            let folder = tempfile::tempdir().unwrap();
            let memory = Memory::new(limit, folder.path());
            let other = memory.disk().map(|(store, number)| (store, number.to_be_bytes())).unwrap();
            other.0.insert([&other.1, b"key".as_slice()].concat(), "of another map").unwrap();
            let fresh = || {
                let mut map = RowsMap::default();
                map.share(Some(&memory));
                map
            };
            let (mut map, mut model) = (fresh(), Model::new());
            let mut saves: Vec<(Part, Model, Vec<Vec<u8>>)> = Vec::new();
            let mut since = 0;
            for act in acts {
                match act {
                    Act::Put(key, size) => {
                        let image = vec![key; usize::from(size)];
                        let before = map.insert(&[key], &image).unwrap();
                        prop_assert_eq!(before.map(|it| it.to_vec()), model.insert(vec![key], image));
                    }
                    Act::Remove(key) => {
                        prop_assert_eq!(map.remove(&[key]).unwrap().map(|it| it.to_vec()), model.remove([key].as_slice()));
                    }
                    Act::Empty => {
                        let taken: Vec<_> = map.take_sorted().unwrap().into_iter().map(|(key, image)| (key.to_vec(), image.to_vec())).collect();
                        prop_assert_eq!(taken, std::mem::take(&mut model).into_iter().collect::<Vec<_>>());
                    }
                    Act::Save => {
                        let (mut put, mut gone) = (Model::new(), Vec::new());
                        let part = map.save(
                            saves.len() as u64,
                            &mut |key, image| { put.insert(key.to_vec(), image.to_vec()); Ok(()) },
                            &mut |key| { gone.push(key.to_vec()); Ok(()) },
                        ).unwrap();
                        since = part.since.unwrap_or(since);
                        saves.push((part, put, gone));
                        prop_assert_eq!(&restored(&saves, since), &model);
                    }
                    Act::Restart => {
                        // As at the last save.
                        model = restored(&saves, since);
                        map = fresh();
                        for (key, image) in &model {
                            map.insert(key, image).unwrap();
                        }
                        if !saves.is_empty() {
                            map.set_restored();
                        }
                    }
                }
                prop_assert_eq!(map.len(), model.len());
            }
            prop_assert_eq!(content(&map), model);
            drop(map);
            prop_assert_eq!(memory.used(), 0);
            let rest: Vec<_> = other.0.prefix(other.1).map(|row| row.into_inner().unwrap().1.to_vec()).collect();
            prop_assert_eq!(rest, vec![b"of another map".to_vec()]);
        }
    }

    #[test]
    fn rows_on_disk_are_saved_a_stretch_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(0, folder.path());
        let mut map = RowsMap::default();
        map.share(Some(&memory));
        let count = 3 * STRETCH.0 as u64;
        let mut saved = BTreeMap::new();
        let mut since = Vec::new();
        for key in 0..count {
            map.insert(&key.to_be_bytes(), b"old").unwrap();
        }
        map.set_restored();
        for number in 10..16_u64 {
            map.insert(&(number * 1_000).to_be_bytes(), b"new").unwrap();
            map.remove(&(number * 1_001).to_be_bytes()).unwrap();
            let (mut put, mut gone) = (0, Vec::new());
            let mut take = |key: &[u8], image: &[u8]| {
                put += 1;
                saved.insert(key.to_vec(), image.to_vec());
                Ok(())
            };
            let mut lose = |key: &[u8]| {
                gone.push(key.to_vec());
                Ok(())
            };
            since.push(map.save(number, &mut take, &mut lose).unwrap().since);
            gone.iter().for_each(|key| drop(saved.remove(key)));
            assert!(put <= STRETCH.0 + 1, "{put}");
        }
        // The last of three stretches had what was left.
        assert_eq!(since, [None, None, Some(10), Some(10), Some(10), Some(10)]);
        assert_eq!(saved, content(&map));
        assert!(matches!(map.store, Store::Disk(_)));
        assert_eq!(map.len() as u64, count - 6);
        assert!(std::fs::read_dir(folder.path()).unwrap().count() == 1);
        drop((map, memory));
        assert!(std::fs::read_dir(folder.path()).unwrap().count() == 0);
    }
}
