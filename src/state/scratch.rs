//! The store on disk for kept rows that have no room in memory.
//!
//! It is a scratch pad: checkpoints have the rows, and nothing in it is read again after the process has ended. So it needs no care
//! against crashes, and its folder goes with the process: at once, or when the next one finds it.

use std::fs::File;
use std::io::Write;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Slice};

use super::Visit;
use crate::error::{Error, Result};

/// How large a table in memory grows before it is written, and the least of the store's cache.
const TABLE: u64 = 8 << 20;
/// After so many bytes writers look whether the store keeps up.
const LOOK: usize = 64 << 10;
/// So many tables in memory wait to be written, and so many on disk to be merged, before writers wait too.
const WAITING: (usize, usize) = (2, 16);

const PREFIX: &str = "rows-";
/// In each folder: locked as long as its process lives.
const OWNER: &str = "owner";
/// Locked while folders come and go.
const GATE: &str = "lock";

/// How many stores this process has made.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// The store.
pub(super) struct Scratch {
    rows: Keyspace,
    written: AtomicUsize,
    // Dropped in this order: the folder after what is in it.
    database: Database,
    folder: Folder,
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scratch({})", self.folder.place.display())
    }
}

impl Scratch {
    /// A store in a folder of its own in this one. `memory` is what rows may take without it.
    pub(super) fn open(parent: &Path, memory: usize) -> Result<Self> {
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
            let context = format!(
                "cannot keep rows on disk in {}; give another folder (--state-dir), or more memory (--state-memory)",
                parent.display()
            );
            Error::permanent(context, cause)
        };
        let folder = Folder::create(parent).map_err(|error| failed(error.into()))?;
        // One thread writes, the other merges.
        let database = Database::builder(&folder.place)
            .cache_size((memory as u64 / 4).max(TABLE))
            .manual_journal_persist(true)
            .worker_threads(2)
            .open()
            .map_err(|error| failed(error.into()))?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(TABLE);
        let rows = database.keyspace("rows", options).map_err(|error| failed(error.into()))?;
        tracing::info!(
            "kept rows take more than {} MiB of memory (--state-memory): the rest goes to {}",
            memory >> 20,
            folder.place.display()
        );
        Ok(Self { rows, written: AtomicUsize::new(0), database, folder })
    }

    /// How many bytes it takes.
    pub(super) fn size(&self) -> u64 {
        self.database.disk_space().unwrap_or_else(|_| self.rows.disk_space())
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Slice>> {
        self.rows.get(key).map_err(|error| self.failed(error))
    }

    pub(super) fn insert(&self, key: &[u8], image: &[u8]) -> Result<()> {
        self.make_room(key.len() + image.len())?;
        self.rows.insert(key, image).map_err(|error| self.failed(error))
    }

    pub(super) fn remove(&self, key: &[u8]) -> Result<()> {
        self.make_room(key.len())?;
        self.rows.remove(key).map_err(|error| self.failed(error))
    }

    /// Shows what is behind a place, in the order of the keys, until `visit` says no.
    pub(super) fn walk(&self, from: Bound<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
        for row in self.rows.range::<&[u8], _>((from, Bound::Unbounded)) {
            let (key, image) = row.into_inner().map_err(|error| self.failed(error))?;
            if !visit(&key, &image)? {
                break;
            }
        }
        Ok(())
    }

    /// Waits for the store to keep up. It would itself, but for ever when its disk is full.
    fn make_room(&self, bytes: usize) -> Result<()> {
        if self.written.fetch_add(bytes, Relaxed) < LOOK {
            return Ok(());
        }
        self.written.store(0, Relaxed);
        let tree = &self.rows.tree;
        let is_behind = || {
            tree.sealed_memtable_count() >= WAITING.0
                || tree.l0_run_count() >= WAITING.1
                || tree.active_memtable().size() > 4 * TABLE
        };
        while is_behind() {
            // Only this says that the threads behind it have failed.
            self.database.persist(PersistMode::Buffer).map_err(|error| self.failed(error))?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn failed(&self, error: fjall::Error) -> Error {
        let place = &self.folder.place;
        // Of what its threads met, the store says nothing.
        let cause: Box<dyn std::error::Error + Send + Sync> = match probe(place) {
            Err(cause) => cause.into(),
            Ok(()) => error.into(),
        };
        let context = format!(
            "cannot keep rows on disk in {}; make room there, or give another folder (--state-dir) or more memory (--state-memory), and \
             start the job again: it goes on from its checkpoint",
            place.display()
        );
        Error::permanent(context, cause)
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        let mut note = |key: &[u8], _: &[u8]| {
            keys.push(key.to_vec());
            Ok(true)
        };
        self.walk(Bound::Unbounded, &mut note).unwrap();
        keys
    }
}

/// Whether something can be written in a folder.
fn probe(folder: &Path) -> std::io::Result<()> {
    let path = folder.join("probe");
    let mut file = File::create(&path)?;
    let written = file.write_all(&[0; 256 << 10]).and_then(|()| file.sync_all());
    std::fs::remove_file(path)?;
    written
}

/// A folder of this process.
struct Folder {
    place: PathBuf,
    /// Unlocked when it is closed, or the process ends.
    owner: Option<File>,
}

impl Folder {
    fn create(parent: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(parent)?;
        // Nobody removes it before it is locked. Where files cannot be locked, nobody removes anything.
        let gate = File::create(parent.join(GATE))?;
        let _ = gate.lock();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |it| it.as_nanos());
        // In containers every process may have the same number.
        let number = MADE.fetch_add(1, Relaxed);
        let place = parent.join(format!("{PREFIX}{}-{now}-{number}", std::process::id()));
        std::fs::create_dir(&place)?;
        let mut folder = Self { place, owner: None };
        let owner = File::create(folder.place.join(OWNER))?;
        let _ = owner.try_lock();
        folder.owner = Some(owner);
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.owner = None;
        if let Err(error) = std::fs::remove_dir_all(&self.place) {
            tracing::debug!("{} was left: {error}", self.place.display());
        }
    }
}

/// Removes what processes have left that were killed.
pub(super) fn remove_left_over(parent: &Path) {
    let (Ok(entries), Ok(gate)) = (std::fs::read_dir(parent), File::open(parent.join(GATE))) else { return };
    if gate.try_lock().is_err() {
        return;
    }
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let place = entry.path();
        let is_left = || match File::open(place.join(OWNER)) {
            Ok(owner) => owner.try_lock().is_ok(),
            // Its process did not come as far.
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        if is_ours && is_left() {
            match std::fs::remove_dir_all(&place) {
                Ok(()) => tracing::info!("removed {}, which a process had left that was killed", place.display()),
                Err(error) => tracing::warn!("cannot remove {}, which a process has left: {error}", place.display()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(parent: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(parent).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(PREFIX)).collect()
    }

    #[test]
    fn each_has_a_folder_of_its_own_until_its_end() {
        let parent = tempfile::tempdir().unwrap();
        let one = Scratch::open(parent.path(), 0).unwrap();
        let other = Scratch::open(parent.path(), 0).unwrap();
        one.insert(b"key", b"one").unwrap();
        other.insert(b"key", b"other").unwrap();
        assert_eq!(&*one.get(b"key").unwrap().unwrap(), b"one");
        // What another process has left, that got here or not as far as its lock.
        for (name, is_owned) in [("rows-1-1", true), ("rows-1-2", false), ("another", true)] {
            let left = parent.path().join(name);
            std::fs::create_dir(&left).unwrap();
            std::fs::write(left.join("0.jnl"), "x").unwrap();
            if is_owned {
                std::fs::write(left.join(OWNER), "").unwrap();
            }
        }
        remove_left_over(parent.path());
        assert_eq!(folders(parent.path()).len(), 2, "those of the living");
        assert!(parent.path().join("another").exists());
        drop(one);
        assert_eq!(&*other.get(b"key").unwrap().unwrap(), b"other");
        drop(other);
        assert!(folders(parent.path()).is_empty());
    }

    #[test]
    fn a_place_that_cannot_be_used_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        std::fs::write(&file, "").unwrap();
        let message = Scratch::open(&file, 0).unwrap_err().to_string();
        assert!(message.contains(file.to_str().unwrap()) && message.contains("--state-dir"), "{message}");
    }

    /// As when the disk is full: writers hear of it, however far the store is behind.
    #[test]
    fn what_the_store_meets_is_said() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(parent.path(), 0).unwrap();
        std::fs::remove_dir_all(&scratch.folder.place).unwrap();
        let image = vec![7; 64 << 10];
        let failed = (0..4_000_u64).find_map(|key| scratch.insert(&key.to_be_bytes(), &image).err()).unwrap();
        let message = failed.to_string();
        assert!(
            message.contains(scratch.folder.place.to_str().unwrap()) && message.contains("No such file"),
            "{message}"
        );
        assert!(!failed.is_transient());
    }
}
