//! A look at checkpoints without loading them: their heads, the places of their parts, what each window has.
//!
//! A checkpoint may be larger than memory. What is read here is the manifest and, of the columns, the messages that frame them and a
//! few of their values: some kilobytes a window, in pieces. Only [`CheckpointStore::check`] passes over every byte, and keeps none.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use datafusion::arrow::ipc::{MessageHeader, root_as_message};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::Manifest;
use super::encoding::{CLAIM, Kind, MAGIC, WINDOW_END};
use super::settled_windows::SettledWindow;
use super::store::{Beside, CheckpointStore, number_of};
use super::writer::Claim;
use crate::error::{Error, Result};
use crate::window::aggregate::InputId;

/// How much is read at a time.
const PIECE: u64 = 256 << 10;
/// Checkpoints up to this size are checked whenever they are looked at: they are read as a whole anyway.
const SMALL: u64 = PIECE;
/// The fixed bytes before the manifest: magic, version, length.
const HEAD: u64 = 16;
const CHECKSUM: u64 = 4;

/// A file of a job's folder.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its number.
    pub number: u64,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the store's clock, milliseconds since the epoch.
    pub written_at: i64,
    path: Path,
}

/// What a file holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// A process has taken the job over.
    Claim {
        /// Who.
        writer: super::Process,
        /// Whether what came before counts no more.
        afresh: bool,
        /// What came after this number counts no more.
        from: Option<u64>,
    },
    /// A checkpoint.
    Checkpoint(Box<Outline>),
}

/// A checkpoint without its columns.
#[derive(Debug, Clone)]
pub struct Outline {
    /// Everything but the columns.
    pub manifest: Manifest,
    /// Whether the open windows are in it.
    pub has_state: bool,
    /// Where its columns are in the file.
    pub parts: Vec<Part>,
    /// Whether its checksum has been compared.
    pub checked: bool,
}

/// A part of a checkpoint: a stream of Arrow's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub holds: Holds,
    /// Where it begins in the file.
    pub at: u64,
    /// Its length.
    pub bytes: u64,
}

/// What a part of a checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    /// The open windows of an input of a query.
    Windows(InputId),
    /// The rows of an intent, by its place among those that carry theirs.
    Rows(usize),
    /// Kept rows of a partition of a table.
    KeptRows,
    /// What a query has written of windows that may still change.
    Emitted(usize),
    /// Which groups a query had of late.
    Filled(usize),
}

/// The windows of an input that are open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenWindows {
    /// How many; of windows that overlap, the slices that they share.
    pub count: u64,
    /// The start of the first, milliseconds since the epoch.
    pub from: Option<i64>,
    /// The end of the last; of sessions, the time of the last row.
    pub to: Option<i64>,
    /// The end of the first to end; not of sessions.
    pub first_end: Option<i64>,
    /// Their groups; those that are in several lanes count in each.
    pub groups: u64,
    /// Whether they are sessions, each of which may be in several pieces.
    pub sessions: bool,
}

/// Why a file cannot be looked at.
enum Trouble {
    Damaged(String),
    Failed(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<&str> for Trouble {
    fn from(damage: &str) -> Self {
        Self::Damaged(damage.to_owned())
    }
}

/// Tells damage, which is a finding, from failures.
fn told<T>(found: Result<T, Trouble>) -> Result<Result<T, String>> {
    match found {
        Ok(found) => Ok(Ok(found)),
        Err(Trouble::Damaged(damage)) => Ok(Err(damage)),
        Err(Trouble::Failed(error)) => Err(error),
    }
}

impl Listed {
    /// The name of the file, without what kind it is.
    pub fn name(&self) -> &str {
        let name = self.path.filename().unwrap_or_default();
        name.split_once('.').map_or(name, |(name, _)| name)
    }
}

impl CheckpointStore {
    /// What there is of the job, in the order of the numbers. Reads no file.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        self.listed(number_of).await
    }

    /// The files whose names have a number, in the order of these.
    async fn listed(&self, number_of: impl Fn(&str) -> Option<u64>) -> Result<Vec<Listed>> {
        let failed = |cause: object_store::Error| {
            Error::transient(format!("cannot list the checkpoints in {}", self.place()), cause)
        };
        let objects: Vec<_> = self.store.list(Some(&self.folder)).try_collect().await.map_err(failed)?;
        let listed = objects.into_iter().filter_map(|it| {
            let number = number_of(it.location.filename()?)?;
            Some(Listed { number, bytes: it.size, written_at: it.last_modified.timestamp_millis(), path: it.location })
        });
        let mut listed: Vec<_> = listed.collect();
        listed.sort_unstable_by_key(|it| it.number);
        Ok(listed)
    }

    /// What a file holds, or what is wrong with it. `check` compares its checksum, however large it is.
    pub async fn inspect(&self, file: &Listed, check: bool) -> Result<Result<Content, String>> {
        told(self.try_inspect(file, check).await)
    }

    async fn try_inspect(&self, file: &Listed, check: bool) -> Result<Content, Trouble> {
        let mut pieces = self.pieces(file);
        if file.bytes < HEAD + CHECKSUM {
            return Err("it is cut off".into());
        }
        if pieces.read(0, 4).await? != MAGIC[..] {
            return Err("it is not a checkpoint".into());
        }
        let checked = check || file.bytes <= SMALL;
        if checked {
            pieces.check().await?;
        }
        let version = pieces.u32(4).await?;
        if version > super::FORMAT_VERSION {
            let newest = super::FORMAT_VERSION;
            return Err(Trouble::Damaged(format!(
                "its format is version {version}, this Highwater reads up to {newest}; use a newer one"
            )));
        }
        let length = pieces.u64(8).await?;
        let manifest = pieces.read(HEAD, length).await?;
        let what = pieces.read(HEAD + length, 1).await?[0];
        let unreadable = |error: serde_json::Error| Trouble::Damaged(format!("its manifest cannot be read: {error}"));
        if what == CLAIM {
            let Claim { writer, afresh, from, .. } = serde_json::from_slice(&manifest).map_err(unreadable)?;
            return Ok(Content::Claim { writer, afresh, from });
        }
        let mut manifest: Manifest = serde_json::from_slice(&manifest).map_err(unreadable)?;
        manifest.take_number(file.number);
        let parts = parts_from(&mut pieces, HEAD + length + 1).await?;
        Ok(Content::Checkpoint(Box::new(Outline { manifest, has_state: what == 1, parts, checked })))
    }

    /// What is saved beside a checkpoint and goes with its state: kept rows, and windows of many groups. Each file with its parts.
    pub async fn beside(&self, manifest: &Manifest) -> Result<Result<Vec<(Listed, Vec<Part>)>, String>> {
        let number = |name: &str| Beside::ALL.into_iter().find_map(|what| what.number_of(name));
        let mut found = Vec::new();
        for file in self.listed(number).await? {
            let is_rows = file.path.filename().is_some_and(|name| Beside::KeptRows.number_of(name).is_some());
            let places: BTreeSet<usize> =
                manifest.settled.iter().filter(|it| it.number == file.number).map(|it| it.place).collect();
            let is_named = if is_rows { manifest.rows.contains(&file.number) } else { !places.is_empty() };
            if !is_named {
                continue;
            }
            let mut pieces = self.pieces(&file);
            let parts = async {
                let length = pieces.u64(8).await?;
                parts_from(&mut pieces, HEAD + length + 1).await
            };
            match told(parts.await)? {
                Ok(parts) => {
                    let named = parts.into_iter().enumerate().filter(|(place, _)| is_rows || places.contains(place));
                    let named = named.map(|(_, part)| part).collect();
                    found.push((file, named));
                }
                Err(damage) => return Ok(Err(format!("{}: {damage}", file.path))),
            }
        }
        Ok(Ok(found))
    }

    /// The open windows of each input, as the file has them.
    pub async fn open_windows(
        &self,
        file: &Listed,
        outline: &Outline,
    ) -> Result<Result<BTreeMap<InputId, OpenWindows>, String>> {
        let mut pieces = self.pieces(file);
        let mut found: BTreeMap<InputId, OpenWindows> = BTreeMap::new();
        for part in &outline.parts {
            let Holds::Windows(input) = part.holds else { continue };
            let beside =
                outline.manifest.settled.iter().filter(|it| (it.pipeline, it.input) == (input.pipeline, input.input));
            match told(windows_of(&mut pieces, part, beside).await)? {
                Ok(windows) => found.insert(input, windows),
                Err(damage) => return Ok(Err(damage)),
            };
        }
        Ok(Ok(found))
    }

    /// How many rows a part has.
    pub async fn rows_of(&self, file: &Listed, part: &Part) -> Result<Result<u64, String>> {
        let mut pieces = self.pieces(file);
        let mut messages = Messages { at: part.at, end: part.at + part.bytes };
        let mut rows = 0;
        let counted = async {
            while let Some(message) = messages.next(&mut pieces).await? {
                rows += message.rows.max(0) as u64;
            }
            Ok(rows)
        };
        told(counted.await)
    }

    /// Hands over the bytes of a part, piece by piece.
    pub async fn copy(&self, file: &Listed, part: &Part, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut at = part.at;
        while at < part.at + part.bytes {
            let until = (at + PIECE).min(part.at + part.bytes);
            take(&self.range(file, at, until).await?)?;
            at = until;
        }
        Ok(())
    }

    fn pieces<'a>(&'a self, file: &'a Listed) -> Pieces<'a> {
        Pieces { store: self, file, piece: Bytes::new(), start: 0 }
    }

    async fn range(&self, file: &Listed, from: u64, until: u64) -> Result<Bytes> {
        let failed = |cause: object_store::Error| {
            Error::transient(format!("cannot read checkpoint {} in {}", file.number, self.place()), cause)
        };
        self.store.get_range(&file.path, from..until).await.map_err(failed)
    }
}

/// The parts of a file; how many there are is said at `at`.
async fn parts_from(pieces: &mut Pieces<'_>, mut at: u64) -> Result<Vec<Part>, Trouble> {
    let (count, mut rows) = (pieces.u32(at).await?, 0);
    at += 4;
    let mut parts = Vec::new();
    for _ in 0..count {
        let (kind, bytes) = (Kind::from_tag(pieces.u32(at).await?), pieces.u64(at + 4).await?);
        at += 12;
        let holds = match kind {
            Kind::Rows => {
                rows += 1;
                Holds::Rows(rows - 1)
            }
            Kind::State(input) => Holds::Windows(input),
            Kind::Keyed | Kind::Gone => Holds::KeptRows,
            Kind::Emitted(pipeline) => Holds::Emitted(pipeline),
            Kind::Filled(pipeline) => Holds::Filled(pipeline),
        };
        parts.push(Part { holds, at, bytes });
        at = at.checked_add(bytes).filter(|end| *end <= pieces.file.bytes).ok_or("it is cut off")?;
    }
    if at + CHECKSUM != pieces.file.bytes {
        return Err("it is longer or shorter than it says".into());
    }
    Ok(parts)
}

/// A file, of which one piece is in memory.
struct Pieces<'a> {
    store: &'a CheckpointStore,
    file: &'a Listed,
    piece: Bytes,
    start: u64,
}

impl Pieces<'_> {
    async fn read(&mut self, at: u64, length: u64) -> Result<Bytes, Trouble> {
        let until = at.checked_add(length).filter(|until| *until <= self.file.bytes).ok_or("it is cut off")?;
        if at < self.start || until > self.start + self.piece.len() as u64 {
            let piece_end = until.max(at + PIECE).min(self.file.bytes);
            self.piece = self.store.range(self.file, at, piece_end).await?;
            self.start = at;
        }
        let from = (at - self.start) as usize;
        if self.piece.len() < from + length as usize {
            return Err("it is cut off".into());
        }
        Ok(self.piece.slice(from..from + length as usize))
    }

    async fn u32(&mut self, at: u64) -> Result<u32, Trouble> {
        let bytes = self.read(at, 4).await?;
        Ok(u32::from_le_bytes(bytes[..].try_into().map_err(|_| "it is cut off")?))
    }

    async fn u64(&mut self, at: u64) -> Result<u64, Trouble> {
        let bytes = self.read(at, 8).await?;
        Ok(u64::from_le_bytes(bytes[..].try_into().map_err(|_| "it is cut off")?))
    }

    async fn i64(&mut self, at: u64) -> Result<i64, Trouble> {
        Ok(self.u64(at).await? as i64)
    }

    /// Compares the checksum.
    async fn check(&mut self) -> Result<(), Trouble> {
        let (end, mut at) = (self.file.bytes - CHECKSUM, 0);
        let mut hasher = crc32fast::Hasher::new();
        while at < end {
            let length = PIECE.min(end - at);
            hasher.update(&self.read(at, length).await?);
            at += length;
        }
        match self.u32(end).await? == hasher.finalize() {
            true => Ok(()),
            false => Err("its checksum does not match: it is damaged or cut off".into()),
        }
    }
}

/// The messages of a stream of Arrow's, without their bodies.
struct Messages {
    at: u64,
    end: u64,
}

/// A message.
struct Message {
    /// How many rows it has; -1 when it is none of rows.
    rows: i64,
    /// Where its buffers are in the file, in order; of a compressed one they are of no use.
    buffers: Vec<u64>,
    /// The names of the first and the last column, of a schema.
    columns: Option<(String, String)>,
}

impl Messages {
    async fn next(&mut self, pieces: &mut Pieces<'_>) -> Result<Option<Message>, Trouble> {
        if self.at + 8 > self.end {
            return Ok(None);
        }
        if pieces.u32(self.at).await? != u32::MAX {
            return Err("its columns are not as expected".into());
        }
        let length = u64::from(pieces.u32(self.at + 4).await?);
        if length == 0 {
            return Ok(None);
        }
        let body = self.at + 8 + length;
        let bytes = pieces.read(self.at + 8, length).await?;
        let unreadable =
            |error: &dyn std::fmt::Display| Trouble::Damaged(format!("its columns cannot be read: {error}"));
        let message = root_as_message(&bytes).map_err(|error| unreadable(&error))?;
        let end = body.checked_add_signed(message.bodyLength()).filter(|end| *end <= self.end);
        self.at = end.ok_or("its columns are cut off")?;
        let (mut rows, mut buffers, mut columns) = (-1, Vec::new(), None);
        match message.header_type() {
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch().ok_or("its columns are not as expected")?;
                rows = batch.length();
                if let Some(places) = batch.buffers() {
                    buffers = places.iter().filter_map(|it| body.checked_add_signed(it.offset())).collect();
                }
            }
            MessageHeader::Schema => {
                let fields = message.header_as_schema().and_then(|schema| schema.fields());
                let name = |at: usize| fields.and_then(|it| it.get(at).name()).unwrap_or_default().to_owned();
                columns = fields.map(|it| it.len()).filter(|len| *len > 0).map(|len| (name(0), name(len - 1)));
            }
            _ => {}
        }
        Ok(Some(Message { rows, buffers, columns }))
    }
}

/// The first columns of fragments of sessions: their numbers, and where among the buffers these, the starts and the last times are.
const SESSION: &str = "session_number";
const SESSION_BUFFERS: [usize; 3] = [1, 8, 10];

async fn windows_of(
    pieces: &mut Pieces<'_>,
    part: &Part,
    beside: impl Iterator<Item = &SettledWindow>,
) -> Result<OpenWindows, Trouble> {
    let mut messages = Messages { at: part.at, end: part.at + part.bytes };
    let mut found = OpenWindows::default();
    let mut bounds = BTreeSet::new();
    for window in beside {
        match window.sessions {
            Some(sessions) => {
                found.sessions = true;
                found.count += sessions;
            }
            None => {
                found.groups += window.groups;
                bounds.insert((window.start, window.end));
            }
        }
    }
    let mut ends = true;
    while let Some(message) = messages.next(pieces).await? {
        if let Some((first, last)) = &message.columns {
            found.sessions |= first == SESSION;
            ends = last == WINDOW_END;
        }
        if message.rows <= 0 {
            continue;
        }
        found.groups += message.rows as u64;
        let place = |at: usize| message.buffers.get(at).copied().ok_or("its columns are not as expected");
        if found.sessions {
            let [numbers, starts, lasts] = SESSION_BUFFERS;
            let mut number = None;
            for row in 0..message.rows as u64 {
                let this = pieces.i64(place(numbers)? + 8 * row).await?;
                found.count += u64::from(number.replace(this) != Some(this));
            }
            for row in 0..message.rows as u64 {
                let start = pieces.i64(place(starts)? + 8 * row).await?;
                found.from = Some(found.from.map_or(start, |from| from.min(start)));
            }
            for row in 0..message.rows as u64 {
                let last = pieces.i64(place(lasts)? + 8 * row).await?;
                found.to = found.to.max(Some(last));
            }
            continue;
        }
        // The last columns, each the same in all rows; a column without nulls has a buffer of values after one for nulls.
        let last = message.buffers.len().checked_sub(1).ok_or("its columns are not as expected")?;
        let (start, end) = match ends {
            true => {
                let start = pieces.i64(place(last.checked_sub(2).ok_or("its columns are not as expected")?)?).await?;
                (start, Some(pieces.i64(place(last)?).await?))
            }
            false => (pieces.i64(place(last)?).await?, None),
        };
        bounds.insert((start, end));
    }
    if found.sessions {
        found.from = bounds.iter().map(|(start, _)| *start).chain(found.from).min();
        found.to = bounds.iter().filter_map(|(_, end)| *end).chain(found.to).max();
    } else {
        found.count = bounds.len() as u64;
        found.from = bounds.iter().map(|(start, _)| *start).min();
        found.to = bounds.iter().filter_map(|(_, end)| *end).max();
        // What closed windows of a period have had ends where it begins.
        found.first_end = bounds.iter().filter_map(|(start, end)| end.filter(|end| end > start)).min();
    }
    Ok(found)
}
