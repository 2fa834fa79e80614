//! Where checkpoints are kept: a folder or bucket per job, one object per epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::encoding::{decode, encode};
use super::{Checkpoint, Manifest};
use crate::error::{Error, Result};
use crate::state::PartitionRows;

/// How many checkpoints with state are kept, besides those that follow the newest of them.
const KEPT: usize = 3;

/// The checkpoints of one job.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    /// The folder on this machine, whose files are flushed to disk: the store itself does not.
    local: Option<PathBuf>,
    place: String,
    /// The epochs on whose kept rows a checkpoint builds, of those with state.
    chains: Arc<Mutex<BTreeMap<u64, Vec<u64>>>>,
}

/// What was found when a job starts: the newest checkpoint, and the one with the state that it follows from.
#[derive(Debug)]
pub struct Recovered {
    /// The newest checkpoint.
    pub last: Checkpoint,
    /// The checkpoint with the open windows: the newest one itself, or one before it.
    pub with_state: Checkpoint,
    /// Those between the two: the rows that they carry have been written since.
    pub between: Vec<Checkpoint>,
}

impl CheckpointStore {
    /// Checkpoints in a local folder, which is created when missing.
    pub fn in_folder(folder: &std::path::Path, job: &str) -> Result<Self> {
        let place = folder.join(job).display().to_string();
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::permanent(format!("cannot use {} for checkpoints", folder.display()), cause)
        };
        std::fs::create_dir_all(folder).map_err(|error| failed(error.into()))?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| failed(error.into()))?;
        Ok(Self {
            store: Arc::new(store),
            folder: Path::from(job),
            local: Some(folder.join(job)),
            place,
            chains: Arc::default(),
        })
    }

    /// Checkpoints that end with the process, for runs that are not meant to be resumed.
    pub fn in_memory(job: &str) -> Self {
        Self {
            store: Arc::new(InMemory::new()),
            folder: Path::from(job),
            local: None,
            place: "memory".into(),
            chains: Arc::default(),
        }
    }

    /// Checkpoints in an object store.
    pub fn in_store(store: Arc<dyn ObjectStore>, place: impl Into<String>, job: &str) -> Self {
        Self { store, folder: Path::from(job), local: None, place: place.into(), chains: Arc::default() }
    }

    /// Saves a checkpoint; it is durable when this returns. Then forgets those that are no longer of use.
    pub async fn save(&self, checkpoint: &Checkpoint) -> Result<()> {
        let epoch = checkpoint.manifest.epoch;
        let failed = |cause: object_store::Error| {
            Error::transient(format!("cannot save checkpoint {epoch} in {}", self.place), cause)
        };
        let bytes = encode(checkpoint)?;
        let payload = PutPayload::from(bytes.clone());
        match self.store.put_opts(&self.path(epoch), payload, PutMode::Create.into()).await {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. }) => self.check_own(epoch, &bytes).await?,
            Err(error) => return Err(failed(error)),
        }
        if let Some(folder) = &self.local {
            let file = folder.join(file_name(epoch));
            let folder = folder.clone();
            let flush = tokio::task::spawn_blocking(move || {
                std::fs::File::open(file)?.sync_all()?;
                std::fs::File::open(folder)?.sync_all()
            });
            let unflushed =
                |cause| Error::transient(format!("cannot flush checkpoint {epoch} in {} to disk", self.place), cause);
            flush.await.map_err(Error::internal)?.map_err(|error: std::io::Error| unflushed(error))?;
        }
        if checkpoint.state.is_some() {
            self.chains().insert(epoch, checkpoint.manifest.rows_epochs.clone());
            self.forget_before(epoch).await?;
        }
        Ok(())
    }

    /// The newest checkpoint that is whole, and its state. A damaged one is passed over with a warning.
    pub async fn recover(&self) -> Result<Option<Recovered>> {
        let epochs = self.epochs().await?;
        for &epoch in epochs.iter().rev() {
            let found = match self.load(epoch).await? {
                Ok(last) => self.with_state(last, &epochs).await?,
                Err(damage) => Err(damage),
            };
            match found {
                Ok(recovered) => {
                    // The damaged ones after it would stand in the way of those to come.
                    for damaged in epochs.iter().filter(|it| **it > epoch) {
                        self.delete(*damaged).await?;
                    }
                    return Ok(Some(recovered));
                }
                Err(damage) => tracing::warn!(
                    "checkpoint {epoch} in {} cannot be used: {damage}; trying the one before",
                    self.place
                ),
            }
        }
        match epochs.len() {
            0 => Ok(None),
            // To start from nothing would write everything once more.
            count => Err(Error::config(format!(
                "none of the {count} checkpoints in {} can be used; start afresh with --reset-state, or under another --name",
                self.place
            ))),
        }
    }

    /// Forgets everything.
    pub async fn clear(&self) -> Result<()> {
        for epoch in self.epochs().await? {
            self.delete(epoch).await?;
        }
        Ok(())
    }

    /// Where they are, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    async fn with_state(&self, last: Checkpoint, epochs: &[u64]) -> Result<Result<Recovered, String>> {
        if last.state.is_some() {
            let with_rows = self.with_rows(last.clone()).await?;
            return Ok(with_rows.map(|with_state| Recovered { with_state, last, between: Vec::new() }));
        }
        let (state_epoch, last_epoch) = (last.manifest.state_epoch, last.manifest.epoch);
        let with_state = match self.load(state_epoch).await? {
            Ok(with_state) => self.with_rows(with_state).await?,
            Err(damage) => Err(damage),
        };
        let with_state = match with_state {
            Ok(with_state) => with_state,
            Err(damage) => return Ok(Err(damage)),
        };
        let mut between = Vec::new();
        for &epoch in epochs.iter().filter(|epoch| (state_epoch + 1..last_epoch).contains(epoch)) {
            match self.load(epoch).await? {
                Ok(checkpoint) => between.push(checkpoint),
                Err(damage) => {
                    return Ok(Err(format!("checkpoint {epoch}, which it follows, cannot be used: {damage}")));
                }
            }
        }
        Ok(Ok(Recovered { last, with_state, between }))
    }

    /// The checkpoint with the kept rows of those that it builds on, in their order.
    async fn with_rows(&self, mut checkpoint: Checkpoint) -> Result<Result<Checkpoint, String>> {
        let Manifest { epoch, rows_epochs, .. } = &checkpoint.manifest;
        let mut keyed: Vec<PartitionRows> = Vec::new();
        let mut add = |parts: Vec<PartitionRows>| {
            for part in parts {
                if part.part.whole {
                    keyed.retain(|it| it.table != part.table || it.source != part.source);
                }
                keyed.push(part);
            }
        };
        for &earlier in rows_epochs {
            match self.load(earlier).await? {
                Ok(earlier) => add(earlier.state.map(|state| state.keyed).unwrap_or_default()),
                Err(damage) => return Ok(Err(format!("its kept rows are partly in checkpoint {earlier}: {damage}"))),
            }
        }
        self.chains().insert(*epoch, rows_epochs.clone());
        if let Some(state) = &mut checkpoint.state {
            add(std::mem::take(&mut state.keyed));
            state.keyed = keyed;
        }
        Ok(Ok(checkpoint))
    }

    fn chains(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<u64>>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A checkpoint that is there already is our own, from a try whose answer was lost, or that of another process.
    async fn check_own(&self, epoch: u64, bytes: &[u8]) -> Result<()> {
        let failed = |cause: object_store::Error| {
            Error::transient(format!("cannot read checkpoint {epoch} in {}", self.place), cause)
        };
        let found = self.store.get(&self.path(epoch)).await.map_err(failed)?.bytes().await.map_err(failed)?;
        if found == bytes {
            return Ok(());
        }
        Err(Error::config(format!(
            "checkpoint {epoch} in {} is somebody else's: another process runs this job; stop one of them, or give it another --name",
            self.place
        )))
    }

    pub(super) async fn load(&self, epoch: u64) -> Result<Result<Checkpoint, String>> {
        let failed = |cause: object_store::Error| {
            Error::transient(format!("cannot read checkpoint {epoch} in {}", self.place), cause)
        };
        match self.store.get(&self.path(epoch)).await {
            Ok(found) => Ok(decode(&found.bytes().await.map_err(failed)?)),
            Err(object_store::Error::NotFound { .. }) => Ok(Err("it is missing".into())),
            Err(error) => Err(failed(error)),
        }
    }

    /// All epochs saved, ascending.
    async fn epochs(&self) -> Result<Vec<u64>> {
        let failed = |cause: object_store::Error| {
            Error::transient(format!("cannot list the checkpoints in {}", self.place), cause)
        };
        let objects: Vec<_> = self.store.list(Some(&self.folder)).try_collect().await.map_err(failed)?;
        let epoch = |name: &str| name.strip_prefix("epoch-")?.strip_suffix(".hwcp")?.parse().ok();
        let mut epochs: Vec<u64> = objects.iter().filter_map(|it| epoch(it.location.filename()?)).collect();
        epochs.sort_unstable();
        Ok(epochs)
    }

    /// Keeps the last few: all that follow the oldest kept state, and those that they build on.
    async fn forget_before(&self, epoch: u64) -> Result<()> {
        let epochs = self.epochs().await?;
        let before: Vec<u64> = epochs.into_iter().filter(|it| *it < epoch).collect();
        let (old, kept) = before.split_at(before.len().saturating_sub(KEPT * 4));
        let needed: BTreeSet<u64> = {
            let chains = self.chains();
            kept.iter().chain([&epoch]).filter_map(|it| chains.get(it)).flatten().copied().collect()
        };
        for old in old.iter().filter(|old| !needed.contains(old)) {
            self.delete(*old).await?;
            self.chains().remove(old);
        }
        Ok(())
    }

    pub(super) async fn delete(&self, epoch: u64) -> Result<()> {
        let failed = |cause: object_store::Error| {
            Error::transient(format!("cannot delete checkpoint {epoch} in {}", self.place), cause)
        };
        self.store.delete(&self.path(epoch)).await.map_err(failed)
    }

    fn path(&self, epoch: u64) -> Path {
        self.folder.clone().join(file_name(epoch))
    }
}

fn file_name(epoch: u64) -> String {
    format!("epoch-{epoch:012}.hwcp")
}
