//! Where checkpoints are kept: a folder or bucket per job, one object per number.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::encoding::{Saved, decode, encode_claim, newer_version};
use super::writer::{Claim, Process, Writer};
use super::{Checkpoint, FORMAT_VERSION};
use crate::error::{Error, Result};
use crate::options::without_user;

/// The checkpoints of one job.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    pub(super) store: Arc<dyn ObjectStore>,
    job: String,
    pub(super) folder: Path,
    /// The folder on this machine, whose files are flushed to disk: the store itself does not.
    local: Option<PathBuf>,
    place: String,
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
    /// How many numbers after the newest are taken, when checkpoints among them cannot be used; 0 when there are none. What these
    /// delivered is to be taken out of the tables, as it will be made again in other blocks.
    pub passed_over: u64,
}

/// What is still of use.
#[derive(Debug)]
pub(super) struct Needed {
    /// Checkpoints from this number on.
    pub(super) from: u64,
    /// Kept rows from this number on.
    pub(super) rows_from: u64,
    /// The settled windows of these numbers,
    pub(super) settled: BTreeSet<u64>,
    /// and all that are later than this one.
    pub(super) newest: u64,
}

impl Needed {
    fn nothing_before(number: u64) -> Self {
        Self { from: number, rows_from: number, settled: BTreeSet::new(), newest: number }
    }
}

/// What became of an object that must not be there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    Done,
    /// It was there already, from a try whose answer was lost: nobody knows what has been written after it.
    There,
    /// Another one is there.
    Refused,
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
        // Of a name with signs that are special somewhere, the store writes them in another way.
        let local = Some(folder.join(Path::from(job).as_ref()));
        Ok(Self { local, ..Self::in_store(Arc::new(store), place, job) })
    }

    /// Checkpoints at a place as people write it: a folder, or the URL of one in an object store (`s3://bucket/folder`, `gs://…`,
    /// `az://…`). What else a store needs (keys, region, endpoint) comes from `variables`, by the names that its own tools use.
    pub fn at(place: &str, variables: impl IntoIterator<Item = (String, String)>, job: &str) -> Result<Self> {
        Self::open(place, variables, job, Self::in_folder)
    }

    /// The same for who only looks: nothing is created.
    pub fn to_look_at(place: &str, variables: impl IntoIterator<Item = (String, String)>, job: &str) -> Result<Self> {
        Self::open(place, variables, job, |folder, job| {
            if !folder.is_dir() {
                return Err(Error::config(format!(
                    "there are no checkpoints in {}, it is no folder; say where they are with --checkpoint-dir",
                    folder.display()
                )));
            }
            Self::in_folder(folder, job)
        })
    }

    fn open(
        place: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        job: &str,
        in_folder: impl Fn(&std::path::Path, &str) -> Result<Self>,
    ) -> Result<Self> {
        let Some((scheme, _)) = place.split_once("://") else {
            return in_folder(std::path::Path::new(place), job);
        };
        let url = reqwest::Url::parse(place).map_err(|error| wrong_place(place, &error.to_string()))?;
        if scheme == "file" {
            let folder = url.to_file_path().map_err(|()| wrong_place(place, "it is no folder of this machine"))?;
            return in_folder(&folder, job);
        }
        if matches!(scheme, "memory" | "http") {
            return Err(wrong_place(place, "checkpoints cannot be kept there"));
        }
        let variables = variables.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
        let (store, folder) =
            object_store::parse_url_opts(&url, variables).map_err(|error| wrong_place(place, &error.to_string()))?;
        let shown = format!("{}/{job}", without_user(place.trim_end_matches('/')));
        Ok(Self { folder: folder.join(job), ..Self::in_store(Arc::from(store), shown, job) })
    }

    /// Checkpoints that end with the process, for runs that are not meant to be resumed.
    pub fn in_memory(job: &str) -> Self {
        Self::in_store(Arc::new(InMemory::new()), "memory", job)
    }

    /// Checkpoints in an object store.
    pub fn in_store(store: Arc<dyn ObjectStore>, place: impl Into<String>, job: &str) -> Self {
        Self { store, job: job.to_owned(), folder: Path::from(job), local: None, place: place.into() }
    }

    /// Makes a process the writer of the job: whoever was it can save nothing more.
    pub async fn claim(&self, now: i64) -> Result<Writer> {
        self.claim_as(now, false).await
    }

    /// The same for a process that goes on from a checkpoint which is not the newest, unless another process has taken a number after
    /// `newest`: from here on what follows that checkpoint counts no more.
    pub async fn claim_from(&self, number: u64, newest: u64, now: i64) -> Result<Option<Writer>> {
        self.try_claim(newest + 1, self.new_claim(now, false, Some(number))).await
    }

    async fn claim_as(&self, now: i64, afresh: bool) -> Result<Writer> {
        let claim = self.new_claim(now, afresh, None);
        loop {
            let number = self.numbers().await?.last().map_or(1, |newest| newest + 1);
            if let Some(writer) = self.try_claim(number, claim.clone()).await? {
                return Ok(writer);
            }
        }
    }

    pub(super) fn new_claim(&self, now: i64, afresh: bool, from: Option<u64>) -> Claim {
        Claim { version: FORMAT_VERSION, job: self.job.clone(), writer: Process::this(now), afresh, from }
    }

    pub(super) async fn try_claim(&self, number: u64, claim: Claim) -> Result<Option<Writer>> {
        if self.put(number, encode_claim(&claim)?).await? != Put::Done {
            return Ok(None);
        }
        // Who slept since it looked may take a number that was taken, and has been forgotten since with those before it.
        let numbers = self.numbers().await?;
        let is_next = if number == 1 { numbers == [1] } else { numbers.contains(&(number - 1)) };
        Ok(is_next.then(|| Writer::new(self.clone(), claim.writer, number)))
    }

    /// The newest number that is taken (0 when none is), and the newest checkpoint that is whole, with its state. Damaged ones are
    /// passed over with a warning, and so are those that are missing among the others. It is an error when there are some, and none
    /// can be used.
    pub async fn recover(&self) -> Result<(u64, Option<Recovered>)> {
        match self.look_for_newest().await? {
            (newest, found, 0) => Ok((newest, found)),
            // To start from nothing would write everything once more.
            (.., count) => Err(Error::config(format!(
                "none of the {count} checkpoints in {} can be used; put back the files from a copy, or run once with --from earliest, \
                 which takes the job's rows out of its tables and makes them again, or start afresh with --reset-state and empty \
                 tables, or under another --name",
                self.place
            ))),
        }
    }

    /// The same for who needs none: nothing is found when none can be used.
    pub async fn recover_if_whole(&self) -> Result<(u64, Option<Recovered>)> {
        self.look_for_newest().await.map(|(newest, found, _)| (newest, found))
    }

    /// And how many there are when none of them can be used.
    async fn look_for_newest(&self) -> Result<(u64, Option<Recovered>, u64)> {
        loop {
            let numbers = self.numbers().await?;
            let newest = numbers.last().copied().unwrap_or(0);
            let (mut damaged, mut from, mut above) = (0_u64, None, newest);
            let mut usable = None;
            for &number in numbers.iter().rev() {
                let after = std::mem::replace(&mut above, number);
                if from.is_some_and(|from| number > from) {
                    continue;
                }
                let found = match self.load(number).await? {
                    Ok(Saved::Claim(claim)) if claim.afresh => break,
                    Ok(Saved::Claim(claim)) => {
                        damaged += u64::from(from.is_none() && self.misses(number, after));
                        from = from.or(claim.from);
                        continue;
                    }
                    Ok(Saved::Checkpoint(last)) => self.with_state(*last, &numbers).await?,
                    Err(damage) => Err(damage),
                };
                match found {
                    Ok(recovered) => {
                        // Before version 4 numbers were epochs.
                        if from.is_none() && recovered.last.manifest.version >= 4 {
                            damaged += u64::from(self.misses(number, after));
                        }
                        usable = Some(recovered);
                        break;
                    }
                    Err(damage) => tracing::warn!(
                        "checkpoint {number} in {} cannot be used: {damage}; trying the one before",
                        self.place
                    ),
                }
                damaged += 1;
            }
            // Forgotten while we looked, or slept: others are there.
            if damaged > 0 && self.numbers().await? != numbers {
                continue;
            }
            if let Some(mut recovered) = usable {
                let is_newest = damaged == 0 && from.is_none();
                recovered.passed_over = if is_newest { 0 } else { newest - recovered.last.manifest.number };
                return Ok((newest, Some(recovered), 0));
            }
            return Ok((newest, None, damaged));
        }
    }

    /// Whether there are none between two numbers that should be there. Those that are forgotten are before all others.
    fn misses(&self, number: u64, after: u64) -> bool {
        let misses = after > number + 1;
        if misses {
            tracing::warn!("checkpoints {} to {} in {} are missing", number + 1, after - 1, self.place);
        }
        misses
    }

    /// Forgets everything. Who still writes is kept from it. What is left says that this was wanted.
    pub async fn clear(&self, now: i64) -> Result<()> {
        let writer = self.claim_as(now, true).await?;
        self.forget(&Needed::nothing_before(writer.number())).await
    }

    /// The jobs that have checkpoints beside this one's.
    pub async fn jobs(&self) -> Result<Vec<String>> {
        let mut parts: Vec<_> = self.folder.parts().collect();
        parts.pop();
        let parent: Path = parts.into_iter().collect();
        let failed =
            |cause: object_store::Error| Error::transient(format!("cannot look for jobs beside {}", self.place), cause);
        let found = self.store.list_with_delimiter(Some(&parent)).await.map_err(failed)?;
        Ok(found.common_prefixes.iter().filter_map(|folder| folder.filename().map(str::to_owned)).collect())
    }

    /// Where they are, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The job's name.
    pub fn job(&self) -> &str {
        &self.job
    }

    async fn with_state(&self, mut last: Checkpoint, numbers: &[u64]) -> Result<Result<Recovered, String>> {
        if last.state.is_some() {
            if let Err(damage) = self.add_settled(&mut last).await? {
                return Ok(Err(damage));
            }
            let rows = self.check_rows(&last.manifest).await?;
            return Ok(rows.map(|()| Recovered {
                with_state: last.clone(),
                last,
                between: Vec::new(),
                passed_over: 0,
            }));
        }
        let state_number = last.manifest.state_number;
        let mut with_state = match self.load(state_number).await? {
            Ok(Saved::Checkpoint(with_state)) if with_state.state.is_some() => *with_state,
            Ok(_) => return Ok(Err(format!("checkpoint {state_number}, which it follows, has no state"))),
            Err(damage) => {
                return Ok(Err(format!("checkpoint {state_number}, which it follows, cannot be used: {damage}")));
            }
        };
        let settled = self.add_settled(&mut with_state).await?;
        let rows = self.check_rows(&with_state.manifest).await?;
        if let Err(damage) = settled.and(rows) {
            return Ok(Err(format!("checkpoint {state_number}, which it follows, cannot be used: {damage}")));
        }
        let (mut between, mut from) = (Vec::new(), u64::MAX);
        let is_between = |number: &&u64| (state_number + 1..last.manifest.number).contains(number);
        for &number in numbers.iter().rev().filter(is_between) {
            if number > from {
                continue;
            }
            match self.load(number).await? {
                Ok(Saved::Checkpoint(checkpoint)) => between.push(*checkpoint),
                Ok(Saved::Claim(claim)) => from = claim.from.unwrap_or(from),
                Err(damage) => {
                    return Ok(Err(format!("checkpoint {number}, which it follows, cannot be used: {damage}")));
                }
            }
        }
        between.reverse();
        Ok(Ok(Recovered { last, with_state, between, passed_over: 0 }))
    }

    /// Writes an object that must not be there yet, unless it is the same; it is durable when this returns.
    pub(super) async fn put(&self, number: u64, bytes: Vec<u8>) -> Result<Put> {
        let failed = |cause: object_store::Error| {
            Error::transient(format!("cannot save checkpoint {number} in {}", self.place), cause)
        };
        let payload = PutPayload::from(bytes);
        let put = match self.store.put_opts(&self.path(number), payload.clone(), PutMode::Create.into()).await {
            Ok(_) => Put::Done,
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                let there = match self.store.get(&self.path(number)).await {
                    // It was another's, and has been forgotten since.
                    Err(object_store::Error::NotFound { .. }) => return Ok(Put::Refused),
                    there => there.map_err(failed)?.bytes().await.map_err(failed)?,
                };
                if bytes::Bytes::from(payload) != there {
                    return Ok(Put::Refused);
                }
                Put::There
            }
            Err(error) => return Err(failed(error)),
        };
        self.flush(number, file_name(number)).await?;
        Ok(put)
    }

    /// Writes what belongs beside a checkpoint that is to be written next; it is durable when this returns.
    pub(super) async fn put_beside(&self, what: Beside, number: u64, bytes: Vec<u8>) -> Result<()> {
        let failed = |cause: object_store::Error| {
            Error::transient(format!("cannot save {what} of checkpoint {number} in {}", self.place), cause)
        };
        let name = what.file_name(number);
        self.store.put(&self.folder.clone().join(name.as_str()), PutPayload::from(bytes)).await.map_err(failed)?;
        self.flush(number, name).await
    }

    async fn flush(&self, number: u64, file: String) -> Result<()> {
        let Some(folder) = self.local.clone() else { return Ok(()) };
        let file = folder.join(file);
        let flush = tokio::task::spawn_blocking(move || {
            std::fs::File::open(file)?.sync_all()?;
            std::fs::File::open(folder)?.sync_all()
        });
        let unflushed =
            |cause| Error::transient(format!("cannot flush checkpoint {number} in {} to disk", self.place), cause);
        flush.await.map_err(Error::internal)?.map_err(|error: std::io::Error| unflushed(error))
    }

    /// Whether a number is still there.
    pub(super) async fn exists(&self, number: u64) -> Result<bool> {
        match self.store.head(&self.path(number)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => {
                Err(Error::transient(format!("cannot look for checkpoint {number} in {}", self.place), error))
            }
        }
    }

    pub(super) async fn load(&self, number: u64) -> Result<Result<Saved, String>> {
        let failed = |cause: object_store::Error| {
            Error::transient(format!("cannot read checkpoint {number} in {}", self.place), cause)
        };
        let found = match self.store.get(&self.path(number)).await {
            Err(object_store::Error::NotFound { .. }) => self.store.get(&self.old_path(number)).await,
            found => found,
        };
        match found {
            Ok(found) => {
                let bytes = found.bytes().await.map_err(failed)?;
                if let Some(version) = newer_version(&bytes) {
                    // Not damage: to go on from the one before would undo what the newer Highwater has done.
                    return Err(Error::config(format!(
                        "checkpoint {number} in {} is of a newer Highwater: its format is version {version}, this one reads up to \
                         {FORMAT_VERSION}; go on with the newer one, or run the job under another --name",
                        self.place
                    )));
                }
                Ok(decode(&bytes).map(|saved| numbered(saved, number)))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(Err("it is missing".into())),
            Err(error) => Err(failed(error)),
        }
    }

    pub(super) async fn load_beside(&self, what: Beside, number: u64) -> Result<Result<bytes::Bytes, String>> {
        let failed = |cause: object_store::Error| {
            Error::transient(format!("cannot read {what} of checkpoint {number} in {}", self.place), cause)
        };
        match self.store.get(&self.folder.clone().join(what.file_name(number))).await {
            Ok(found) => Ok(Ok(found.bytes().await.map_err(failed)?)),
            Err(object_store::Error::NotFound { .. }) => Ok(Err("they are missing".into())),
            Err(error) => Err(failed(error)),
        }
    }

    /// All numbers that are taken, ascending.
    pub(super) async fn numbers(&self) -> Result<Vec<u64>> {
        Ok(numbered_by(number_of, &self.objects().await?).into_iter().map(|(number, _)| number).collect())
    }

    async fn objects(&self) -> Result<Vec<Path>> {
        let failed = |cause: object_store::Error| {
            Error::transient(format!("cannot list the checkpoints in {}", self.place), cause)
        };
        self.store.list(Some(&self.folder)).map_ok(|it| it.location).try_collect().await.map_err(failed)
    }

    /// Deletes what is of use to nobody, checkpoints with the least numbers first.
    pub(super) async fn forget(&self, needed: &Needed) -> Result<()> {
        let objects = self.objects().await?;
        let old = numbered_by(number_of, &objects).into_iter().take_while(|(old, _)| *old < needed.from);
        let old_rows = numbered_by(|name| Beside::KeptRows.number_of(name), &objects).into_iter();
        let old_rows = old_rows.take_while(|(old, _)| *old < needed.rows_from);
        let is_old = |(old, _): &(u64, _)| *old <= needed.newest && !needed.settled.contains(old);
        let old_settled = numbered_by(|name| Beside::Windows.number_of(name), &objects).into_iter().filter(is_old);
        for (old, path) in old.chain(old_rows).chain(old_settled) {
            let failed = |cause: object_store::Error| {
                Error::transient(format!("cannot delete checkpoint {old} in {}", self.place), cause)
            };
            match self.store.delete(path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    fn path(&self, number: u64) -> Path {
        self.folder.clone().join(file_name(number))
    }

    fn old_path(&self, number: u64) -> Path {
        self.folder.clone().join(format!("{OLD_PREFIX}{number:012}{SUFFIX}"))
    }
}

fn wrong_place(place: &str, why: &str) -> Error {
    Error::config(format!(
        "cannot use '{}' for checkpoints: {why}; expected a folder, or a URL such as 's3://bucket/folder', 'gs://bucket/folder' or \
         'az://container/folder'",
        without_user(place)
    ))
}

const PREFIX: &str = "checkpoint-";
/// Before version 4.
const OLD_PREFIX: &str = "epoch-";
const SUFFIX: &str = ".hwcp";

fn file_name(number: u64) -> String {
    format!("{PREFIX}{number:012}{SUFFIX}")
}

/// What is saved beside checkpoints, in objects that have the number of the checkpoint with which they were saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    KeptRows,
    /// Windows that change no more.
    Windows,
}

impl Beside {
    pub(super) const ALL: [Self; 2] = [Self::KeptRows, Self::Windows];

    fn prefix(self) -> &'static str {
        match self {
            Self::KeptRows => "rows-",
            Self::Windows => "windows-",
        }
    }

    fn file_name(self, number: u64) -> String {
        format!("{}{number:012}{SUFFIX}", self.prefix())
    }

    /// The number in the name of such an object.
    pub(super) fn number_of(self, name: &str) -> Option<u64> {
        name.strip_prefix(self.prefix())?.strip_suffix(SUFFIX)?.parse().ok()
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeptRows => "the kept rows",
            Self::Windows => "the windows",
        })
    }
}

pub(super) fn number_of(name: &str) -> Option<u64> {
    let name = name.strip_suffix(SUFFIX)?;
    name.strip_prefix(PREFIX).or_else(|| name.strip_prefix(OLD_PREFIX))?.parse().ok()
}

/// Those of the objects that have a number by their names, in order.
fn numbered_by(number_of: impl Fn(&str) -> Option<u64>, objects: &[Path]) -> Vec<(u64, &Path)> {
    let mut numbered: Vec<_> = objects.iter().filter_map(|path| Some((number_of(path.filename()?)?, path))).collect();
    numbered.sort_unstable();
    numbered
}

/// Checkpoints of before version 4 do not say their numbers, which were their epochs.
fn numbered(mut saved: Saved, number: u64) -> Saved {
    if let Saved::Checkpoint(checkpoint) = &mut saved {
        checkpoint.manifest.take_number(number);
    }
    saved
}
