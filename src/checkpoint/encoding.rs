//! A checkpoint as bytes: magic, manifest as JSON, parts as Arrow IPC, checksum.
//!
//! ```text
//! "HWCP" version:u32 | length:u64 manifest | count:u32 (length:u64 part)… | crc32:u32 of all before
//! ```

use std::io::Cursor;
use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch, cast::AsArray};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;

use super::kept_rows::unkeyed;
use super::writer::Claim;
use super::{Checkpoint, FORMAT_VERSION, Manifest, State};
use crate::error::{Error, Result};
use crate::window::aggregate::{InputId, WindowState};

pub(super) const MAGIC: &[u8; 4] = b"HWCP";
/// The columns that say which window a row of saved state belongs to. Before version 2, there was only the start.
const WINDOW: &str = "window_start";
pub(super) const WINDOW_END: &str = "window_end";

/// What is saved under a number.
#[derive(Debug)]
pub(crate) enum Saved {
    Checkpoint(Box<Checkpoint>),
    Claim(Claim),
}

/// In the place where a checkpoint says whether it has state.
pub(super) const CLAIM: u8 = 2;

/// The bytes of a claim.
pub(crate) fn encode_claim(claim: &Claim) -> Result<Vec<u8>> {
    let claim = serde_json::to_vec(claim).map_err(Error::internal)?;
    Ok(assemble(&claim, CLAIM, Vec::new()))
}

/// The bytes of a checkpoint, under this manifest.
pub(crate) fn encode(manifest: &Manifest, checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    let manifest = serde_json::to_vec(manifest).map_err(Error::internal)?;
    let mut parts = Vec::new();
    for rows in &checkpoint.rows {
        parts.push((Kind::Rows, encode_batches(rows)?));
    }
    for (&input, windows) in checkpoint.state.iter().flat_map(|state| &state.windows) {
        parts.push((Kind::State(input), encode_batches(&inside(windows).map(tagged).collect::<Result<Vec<_>>>()?)?));
    }
    if let Some(state) = &checkpoint.state {
        for (&pipeline, rows) in &state.emitted {
            parts.push((Kind::Emitted(pipeline), encode_batches(std::slice::from_ref(rows))?));
        }
        for (&pipeline, rows) in &state.filled {
            parts.push((Kind::Filled(pipeline), encode_batches(std::slice::from_ref(rows))?));
        }
    }
    Ok(assemble(&manifest, u8::from(checkpoint.state.is_some()), parts))
}

/// The windows that are not saved beside the checkpoint.
fn inside(windows: &[WindowState]) -> impl Iterator<Item = &WindowState> {
    windows.iter().filter(|window| window.saved.is_none())
}

pub(super) fn assemble(manifest: &[u8], what: u8, parts: Vec<(Kind, Vec<u8>)>) -> Vec<u8> {
    let mut bytes =
        Vec::with_capacity(manifest.len() + parts.iter().map(|(_, part)| part.len() + 16).sum::<usize>() + 64);
    bytes.extend(MAGIC);
    bytes.extend(FORMAT_VERSION.to_le_bytes());
    bytes.extend((manifest.len() as u64).to_le_bytes());
    bytes.extend(manifest);
    bytes.push(what);
    bytes.extend((parts.len() as u32).to_le_bytes());
    for (kind, part) in parts {
        bytes.extend(kind.to_tag().to_le_bytes());
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend(part);
    }
    let checksum = crc32fast::hash(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

/// What [`assemble`] made bytes of, or what is wrong with them.
pub(super) struct Opened<'a> {
    pub(super) manifest: &'a [u8],
    pub(super) what: u8,
    parts: Reader<'a>,
}

impl<'a> Opened<'a> {
    pub(super) fn parts(mut self) -> Result<Vec<(Kind, &'a [u8])>, String> {
        let count = self.parts.u32()?;
        let part = |_| {
            let (kind, length) = (Kind::from_tag(self.parts.u32()?), self.parts.u64()?);
            Ok((kind, self.parts.take(length as usize)?))
        };
        (0..count).map(part).collect()
    }
}

/// Compares the checksum.
pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, String> {
    let body = bytes.len().checked_sub(4).ok_or("it is cut off")?;
    let (body, checksum) = bytes.split_at(body);
    if crc32fast::hash(body).to_le_bytes() != checksum {
        return Err("its checksum does not match: it is damaged or cut off".into());
    }
    let mut reader = Reader { rest: body };
    if reader.take(4)? != MAGIC {
        return Err("it is not a checkpoint".into());
    }
    let version = reader.u32()?;
    if version > FORMAT_VERSION {
        return Err(format!(
            "its format is version {version}, this Highwater reads up to {FORMAT_VERSION}; use a newer one"
        ));
    }
    let length = reader.u64()?;
    let manifest = reader.take(length as usize)?;
    let what = reader.take(1)?[0];
    Ok(Opened { manifest, what, parts: reader })
}

/// The version of what is whole, and too new for this Highwater.
pub(super) fn newer_version(bytes: &[u8]) -> Option<u32> {
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    let version = body.strip_prefix(MAGIC)?.first_chunk().map(|version| u32::from_le_bytes(*version))?;
    (version > FORMAT_VERSION && crc32fast::hash(body).to_le_bytes() == checksum).then_some(version)
}

/// What [`encode`] or [`encode_claim`] made bytes of, or what is wrong with them.
pub(crate) fn decode(bytes: &[u8]) -> Result<Saved, String> {
    let opened = open(bytes)?;
    let what = opened.what;
    if what == CLAIM {
        return serde_json::from_slice(opened.manifest).map(Saved::Claim).map_err(|error| error.to_string());
    }
    let manifest: Manifest = serde_json::from_slice(opened.manifest).map_err(|error| error.to_string())?;
    let mut state = State::default();
    let mut rows = Vec::new();
    for (kind, part) in opened.parts()? {
        let batches = decode_batches(part)?;
        match kind {
            Kind::Rows => rows.push(batches),
            // Before version 5.
            Kind::Keyed => state.keyed.push(unkeyed(&batches, Vec::new())?),
            Kind::Gone => {}
            Kind::Emitted(pipeline) => state.emitted.extend(batches.into_iter().map(|rows| (pipeline, rows))),
            Kind::Filled(pipeline) => state.filled.extend(batches.into_iter().map(|rows| (pipeline, rows))),
            Kind::State(input) => {
                let windows = batches.iter().map(untagged).collect::<Result<_, String>>()?;
                state.windows.insert(input, windows);
            }
        }
    }
    Ok(Saved::Checkpoint(Box::new(Checkpoint { manifest, state: (what == 1).then_some(state), rows })))
}

/// What a part is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Rows,
    State(InputId),
    Keyed,
    /// The keys that are gone, of the rows before.
    Gone,
    Emitted(usize),
    Filled(usize),
}

/// The tags of what pipelines have beside windows begin here.
const EMITTED: u32 = 1 << 30;
const FILLED: u32 = 1 << 31;
const GONE: u32 = u32::MAX - 1;
/// How many bits of a tag say the pipeline; those above say which input of it, the first (for long the only one) being 0.
const PIPELINE_BITS: u32 = 20;

impl Kind {
    fn to_tag(self) -> u32 {
        match self {
            Self::Rows => 0,
            Self::State(InputId { pipeline, input }) => (input as u32) << PIPELINE_BITS | (pipeline as u32 + 1),
            Self::Keyed => u32::MAX,
            Self::Gone => GONE,
            Self::Emitted(pipeline) => EMITTED + pipeline as u32,
            Self::Filled(pipeline) => FILLED + pipeline as u32,
        }
    }

    pub(super) fn from_tag(tag: u32) -> Self {
        match tag {
            0 => Self::Rows,
            u32::MAX => Self::Keyed,
            GONE => Self::Gone,
            FILLED.. => Self::Filled((tag - FILLED) as usize),
            EMITTED.. => Self::Emitted((tag - EMITTED) as usize),
            tag => {
                let pipeline = (tag & ((1 << PIPELINE_BITS) - 1)).saturating_sub(1) as usize;
                Self::State(InputId { pipeline, input: (tag >> PIPELINE_BITS) as usize })
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("it is cut off")?;
        self.rest = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| "it is cut off")?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| "it is cut off")?))
    }
}

/// A batch with its window's start as metadata would be lost between batches of one stream, so it is a column.
fn tagged(window: &WindowState) -> Result<RecordBatch> {
    let groups = &window.groups;
    let end = window.end.map(|_| WINDOW_END);
    let bounds = [WINDOW].into_iter().chain(end).map(|name| Arc::new(Field::new(name, DataType::Int64, false)));
    let fields = groups.schema().fields().iter().cloned().chain(bounds).collect::<Vec<_>>();
    let mut columns = groups.columns().to_vec();
    for bound in [window.start].into_iter().chain(window.end) {
        columns.push(Arc::new(Int64Array::from_value(bound, groups.num_rows())));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn untagged(batch: &RecordBatch) -> Result<WindowState, String> {
    let schema = batch.schema();
    let bound = |column: usize| {
        let times = batch.column(column).as_primitive_opt::<Int64Type>().ok_or("a window has no bounds")?;
        times.values().first().copied().ok_or("a window has no groups")
    };
    let last = batch.num_columns().checked_sub(1).ok_or("a window has no columns")?;
    let (start, end) = match schema.field(last).name() == WINDOW_END && last > 0 {
        true => (last - 1, Some(bound(last)?)),
        false => (last, None),
    };
    let groups = batch.project(&(0..start).collect::<Vec<_>>()).map_err(|error| error.to_string())?;
    Ok(WindowState { start: bound(start)?, end, groups, changed: None, saved: None })
}

pub(super) fn encode_batches(batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let mut writer = StreamWriter::try_new(Vec::new(), &first.schema())?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.finish()?;
    Ok(writer.into_inner()?)
}

pub(super) fn decode_batches(bytes: &[u8]) -> Result<Vec<RecordBatch>, String> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(|error| error.to_string())?;
    reader.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::change::TopicPartition;
    use crate::checkpoint::kept_rows::{decode_rows, encode_rows};
    use crate::checkpoint::settled_windows::{decode_settled, encode_settled};
    use crate::checkpoint::{Described, Intent, Position, Process};
    use crate::state::{Part, PartitionRows};

    fn checkpoint() -> Checkpoint {
        let schema = Arc::new(Schema::new(vec![Field::new("key0", DataType::Int64, true)]));
        let groups = |values: Vec<i64>| {
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from(values))]).unwrap()
        };
        let window =
            |start, end, values| WindowState { start, end, groups: groups(values), changed: None, saved: None };
        Checkpoint {
            manifest: Manifest {
                version: FORMAT_VERSION,
                job: "j".into(),
                number: 12,
                writer: Some(Process::this(3)),
                started_at: 0,
                went_back: 0,
                epoch: 7,
                made_at: 5,
                fingerprints: vec!["f".into()],
                outputs: vec!["t".into()],
                replay: None,
                positions: vec![Position {
                    table: "t".into(),
                    topic: "x".into(),
                    partition: 3,
                    from: 1,
                    offset: 9,
                    clock: i64::MIN,
                    generation: 2,
                    topic_id: Some("id".into()),
                }],
                watermarks: BTreeMap::from([("t".into(), i64::MAX)]),
                closed: BTreeMap::from([(4, 17)]),
                closed_before: BTreeMap::from([(4, 16)]),
                intents: vec![Intent { output: 0, token: "k".into(), made_at: 5, rows: 2, inline: true }],
                state_epoch: 7,
                state_number: 12,
                rows: vec![3, 12],
                settled: Vec::new(),
                kept: BTreeSet::from(["t".into()]),
                truncates: Vec::new(),
                discovered: None,
                finished: false,
                described: Described::default(),
            },
            state: Some(State {
                windows: BTreeMap::from([
                    (id(1, 0), vec![window(-60_000, Some(0), vec![1]), window(0, Some(9), vec![2, 3])]),
                    // As versions before 2 have saved it.
                    (id(1, 3), vec![window(-60_000, None, vec![1])]),
                    (id(4, 0), vec![]),
                ]),
                keyed: vec![PartitionRows {
                    table: "t".into(),
                    source: TopicPartition { topic: "x".into(), partition: 3 },
                    rows: vec![groups(vec![5]), groups(vec![6])],
                    gone: vec![groups(vec![7, 8])],
                    part: Part { whole: false, since: None },
                    unmatched: 7,
                }],
                emitted: BTreeMap::from([(0, groups(vec![1])), (3, groups(vec![2, 3]))]),
                filled: BTreeMap::from([(1, groups(vec![4]))]),
            }),
            rows: vec![vec![groups(vec![8, 9])]],
        }
    }

    fn id(pipeline: usize, input: usize) -> InputId {
        InputId { pipeline, input }
    }

    fn bounds(state: &State, pipeline: usize, input: usize) -> Vec<(i64, Option<i64>)> {
        state.windows[&id(pipeline, input)].iter().map(|window| (window.start, window.end)).collect()
    }

    fn bytes_of(checkpoint: &Checkpoint) -> Vec<u8> {
        encode(&checkpoint.manifest, checkpoint).unwrap()
    }

    fn checkpoint_of(bytes: &[u8]) -> Checkpoint {
        match decode(bytes).unwrap() {
            Saved::Checkpoint(checkpoint) => *checkpoint,
            Saved::Claim(claim) => panic!("{claim:?}"),
        }
    }

    fn with_version(mut bytes: Vec<u8>, version: u32) -> Vec<u8> {
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        bytes.truncate(bytes.len() - 4);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }

    #[test]
    fn older_versions_are_read_and_newer_ones_are_not() {
        // Version 1 had no ends of windows.
        let mut old = checkpoint();
        let state = old.state.as_mut().unwrap();
        state.windows.values_mut().flatten().for_each(|window| window.end = None);
        let state = checkpoint_of(&with_version(bytes_of(&old), 1)).state.unwrap();
        assert_eq!(bounds(&state, 1, 0), [(-60_000, None), (0, None)]);

        let newer = decode(&with_version(bytes_of(&checkpoint()), FORMAT_VERSION + 1)).unwrap_err();
        assert!(newer.contains("use a newer one"), "{newer}");
    }

    #[test]
    fn a_checkpoint_comes_back_as_it_was() {
        let original = checkpoint();
        let copy = checkpoint_of(&bytes_of(&original));
        assert_eq!(copy.manifest.positions, original.manifest.positions);
        assert_eq!((copy.manifest.epoch, copy.manifest.intents), (7, original.manifest.intents));
        assert_eq!((copy.manifest.number, copy.manifest.writer), (12, original.manifest.writer));
        assert_eq!(copy.rows, original.rows);
        let (state, expected) = (copy.state.unwrap(), original.state.unwrap());
        assert_eq!(state.windows.keys().collect::<Vec<_>>(), expected.windows.keys().collect::<Vec<_>>());
        assert_eq!(state.windows[&id(1, 0)][1].groups, expected.windows[&id(1, 0)][1].groups);
        assert_eq!(bounds(&state, 1, 0), [(-60_000, Some(0)), (0, Some(9))]);
        assert_eq!(bounds(&state, 1, 3), [(-60_000, None)]);
        assert!(state.keyed.is_empty(), "those are beside it");
        assert_eq!(copy.manifest.rows, [3, 12]);
        assert_eq!((state.emitted, state.filled), (expected.emitted, expected.filled));
    }

    #[test]
    fn kept_rows_come_back_as_they_were() {
        let keyed = checkpoint().state.unwrap().keyed;
        let without_gone =
            PartitionRows { gone: Vec::new(), part: Part { whole: true, since: Some(3) }, ..keyed[0].clone() };
        let keyed = [without_gone, keyed[0].clone(), keyed[0].clone()];
        let bytes = encode_rows("j", 12, &Process::this(3), &keyed).unwrap();
        let copy = decode_rows(&bytes, 12).unwrap();
        assert_eq!(copy.len(), 3);
        for (copy, original) in copy.iter().zip(&keyed) {
            assert_eq!((&copy.table, &copy.source, copy.unmatched), (&original.table, &original.source, 7));
            assert_eq!(
                (&copy.rows, &copy.gone, copy.part.whole),
                (&original.rows, &original.gone, original.part.whole)
            );
        }
        assert!(decode_rows(&bytes, 13).is_err() && decode_rows(&bytes_of(&checkpoint()), 12).is_err());
        for at in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(decode_rows(&damaged, 12).is_err() && decode_rows(&bytes[..at], 12).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_claim_is_no_checkpoint() {
        let claim =
            Claim { version: FORMAT_VERSION, job: "j".into(), writer: Process::this(3), afresh: true, from: Some(4) };
        assert!(matches!(decode(&encode_claim(&claim).unwrap()), Ok(Saved::Claim(it)) if it == claim));
    }

    /// What each version has left behind stays readable. Those of the current one are written by `UPDATE_EXPECT=1`.
    #[test]
    fn files_of_all_versions_are_read() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/checkpoints");
        let file = |version: u32| folder.join(format!("version-{version}.hwcp"));
        let rows_file = |version: u32| folder.join(format!("version-{version}-rows.hwcp"));
        let windows_file = |version: u32| folder.join(format!("version-{version}-windows.hwcp"));
        let settled = checkpoint().state.unwrap().windows[&id(1, 0)][1].groups.clone();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            let mut current = checkpoint();
            let writer = Process { id: "1".into(), host: "h".into(), pid: 1, since: 2 };
            let rows = encode_rows("j", 12, &writer, &current.state.as_ref().unwrap().keyed).unwrap();
            std::fs::write(windows_file(FORMAT_VERSION), encode_settled("j", 12, &writer, &[&settled]).unwrap())
                .unwrap();
            current.manifest.writer = Some(writer);
            std::fs::write(rows_file(FORMAT_VERSION), rows).unwrap();
            std::fs::write(file(FORMAT_VERSION), bytes_of(&current)).unwrap();
        }
        for version in 1..=FORMAT_VERSION {
            let found = checkpoint_of(&std::fs::read(file(version)).unwrap());
            let expected = checkpoint();
            assert_eq!(found.manifest.positions, expected.manifest.positions, "{version}");
            assert_eq!(found.manifest.number, if version < 4 { 0 } else { 12 }, "{version}");
            assert_eq!(found.rows, expected.rows, "{version}");
            let (state, expected) = (found.state.unwrap(), expected.state.unwrap());
            let ends = if version < 2 { [None, None] } else { [Some(0), Some(9)] };
            assert_eq!(bounds(&state, 1, 0), [(-60_000, ends[0]), (0, ends[1])], "{version}");
            let keyed = match version {
                ..5 => state.keyed,
                _ => decode_rows(&std::fs::read(rows_file(version)).unwrap(), 12).unwrap(),
            };
            if version >= 6 {
                let windows = std::fs::read(windows_file(version)).unwrap();
                assert_eq!(decode_settled(&windows, 12).unwrap(), std::slice::from_ref(&settled));
            }
            assert_eq!(keyed[0].rows, expected.keyed[0].rows, "{version}");
            assert_eq!((keyed[0].part.whole, keyed[0].gone.len()), if version < 5 { (true, 0) } else { (false, 1) });
            assert_eq!(state.emitted.len(), if version < 3 { 0 } else { 2 }, "{version}");
        }
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        let bytes = bytes_of(&checkpoint());
        for at in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
