//! What kept rows may take of memory together, and the store on disk for what is more.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use crate::error::{Error, Result};

/// A map with less than this stays in memory, whatever the others take.
pub(super) const SMALL: usize = 64 << 10;
/// The least of the store's own memory.
const LEAST: u64 = 8 << 20;

/// The budget of a job. Shared by all its lanes.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    used: AtomicUsize,
    folder: PathBuf,
    disk: Mutex<Option<Disk>>,
    next: AtomicU64,
}

/// The store, and the folder that goes with it.
struct Disk {
    rows: Keyspace,
    // Dropped in this order: the folder after what is in it.
    _database: Database,
    _folder: Folder,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!("{} was left: {error}", self.0.display());
        }
    }
}

impl Memory {
    /// So many bytes. What is more goes to a folder of its own in this one, which is created then.
    pub fn new(limit: usize, folder: impl Into<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            folder: folder.into(),
            disk: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    /// How many bytes are in use.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    pub(super) fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
    }

    pub(super) fn is_full(&self) -> bool {
        self.used() > self.limit
    }

    /// The store on disk, and a number that nobody else in it has.
    pub(super) fn disk(&self) -> Result<(Keyspace, u64)> {
        let number = self.next.fetch_add(1, Relaxed);
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(disk) = disk.as_ref() {
            return Ok((disk.rows.clone(), number));
        }
        let opened = self.open()?;
        let rows = opened.rows.clone();
        *disk = Some(opened);
        Ok((rows, number))
    }

    fn open(&self) -> Result<Disk> {
        remove_left_over(&self.folder);
        let unique = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |it| it.as_nanos());
        let folder = Folder(self.folder.join(format!("rows-{}-{unique}", std::process::id())));
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
            let place = folder.0.display();
            Error::permanent(format!("cannot keep rows on disk in {place} (see --state-dir and --state-memory)"), cause)
        };
        std::fs::create_dir_all(&folder.0).map_err(|error| failed(error.into()))?;
        let cache = (self.limit as u64 / 4).max(LEAST);
        // Nothing here outlives the process: checkpoints do.
        let database = Database::builder(&folder.0)
            .cache_size(cache)
            .manual_journal_persist(true)
            .worker_threads(1)
            .open()
            .map_err(|error| failed(error.into()))?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(LEAST);
        let rows = database.keyspace("rows", options).map_err(|error| failed(error.into()))?;
        tracing::info!(
            "kept rows take more than {} MiB of memory: the rest goes to {}",
            self.limit >> 20,
            folder.0.display()
        );
        Ok(Disk { rows, _database: database, _folder: folder })
    }
}

/// What processes have left that were killed. Their numbers are in the names.
fn remove_left_over(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let own = std::process::id();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix("rows-")?.split('-').next()?.parse::<u32>().ok());
        // In a container every process may have the same number; another store of this process has its lock.
        let is_gone = |process: u32| {
            process != own && Path::new("/proc/self").exists() && !Path::new(&format!("/proc/{process}")).exists()
        };
        if process.is_some_and(is_gone) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
