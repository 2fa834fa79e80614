//! What is said of checkpoints without loading them is what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, UInt64Array};

use super::{
    Checkpoint, CheckpointStore, Content, Described, DescribedQuery, FORMAT_VERSION, Holds, Intent, Listed, Manifest,
    OpenWindows, Outline, Position, State,
};
use crate::window::aggregate::{InputId, WindowState};

fn manifest() -> Manifest {
    let position = |partition: i32| Position {
        table: "t".into(),
        topic: "x".into(),
        partition,
        from: 1,
        offset: 9,
        clock: 5_000,
        generation: 0,
        topic_id: None,
    };
    Manifest {
        version: FORMAT_VERSION,
        job: "j".into(),
        number: 0,
        writer: None,
        started_at: 0,
        went_back: 0,
        epoch: 7,
        made_at: 5,
        fingerprints: Vec::new(),
        outputs: Vec::new(),
        positions: vec![position(0), position(1)],
        watermarks: BTreeMap::new(),
        closed: BTreeMap::new(),
        closed_before: BTreeMap::new(),
        intents: vec![Intent { output: 0, token: "k".into(), made_at: 5, rows: 2, inline: true }],
        state_epoch: 7,
        state_number: 0,
        rows: Vec::new(),
        settled: Vec::new(),
        kept: BTreeSet::new(),
        truncates: Vec::new(),
        replay: None,
        discovered: None,
        finished: false,
        described: Described {
            queries: vec![DescribedQuery {
                fills: "w".into(),
                reads: vec!["t".into()],
                windows: vec!["TUMBLE".into()],
            }],
            tables: vec!["w".into()],
        },
    }
}

fn groups(rows: i64) -> RecordBatch {
    let text: ArrayRef = Arc::new(StringArray::from_iter((0..rows).map(|row| (row % 3 > 0).then_some("some text"))));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter((0..rows).map(|row| (row % 2 > 0).then_some(row))));
    RecordBatch::try_from_iter_with_nullable([("key0", text, true), ("key1", numbers, true)]).unwrap()
}

/// Fragments of sessions, two rows each.
fn sessions(count: i64) -> RecordBatch {
    let rows = || 0..count * 2;
    let columns: [(&str, ArrayRef); 8] = [
        ("session_number", Arc::new(UInt64Array::from_iter_values(rows().map(|row| row as u64 / 2)))),
        ("session_topic", Arc::new(StringArray::from_iter_values(rows().map(|_| "x")))),
        ("session_partition", Arc::new(Int32Array::from_iter_values(rows().map(|_| 1)))),
        ("session_start", Arc::new(Int64Array::from_iter_values(rows().map(|row| 1_000 - row)))),
        ("session_last", Arc::new(Int64Array::from_iter_values(rows().map(|row| 2_000 + row)))),
        ("session_begun_at", Arc::new(Int64Array::from_iter_values(rows().map(|_| 0)))),
        ("session_has_group", Arc::new(BooleanArray::from_iter(rows().map(|_| Some(true))))),
        ("value", Arc::new(Int64Array::from_iter_values(rows()))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, false))).unwrap()
}

fn id(pipeline: usize) -> InputId {
    InputId { pipeline, input: 0 }
}

fn state() -> State {
    let window = |start: i64, rows: i64| WindowState::new(start, start + 60_000, groups(rows));
    State {
        windows: BTreeMap::from([
            // Of two lanes that share a window, and with more rows than are read at a time.
            (id(0), vec![window(-60_000, 3), window(0, 100_000), window(-60_000, 2)]),
            (id(1), vec![WindowState::new(0, 0, sessions(5))]),
            (id(2), Vec::new()),
        ]),
        ..State::default()
    }
}

async fn saved(store: &CheckpointStore, state: Option<State>) -> (Listed, Outline) {
    let mut writer = store.claim(0).await.unwrap();
    writer.save(&Checkpoint { manifest: manifest(), state, rows: vec![vec![groups(2)]] }).await.unwrap();
    look(store).await
}

/// The newest.
async fn look(store: &CheckpointStore) -> (Listed, Outline) {
    let file = store.list().await.unwrap().pop().unwrap();
    match store.inspect(&file, true).await.unwrap().unwrap() {
        Content::Checkpoint(outline) => (file, *outline),
        Content::Claim { .. } => panic!("a claim"),
    }
}

#[tokio::test]
async fn a_checkpoint_is_looked_at_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for store in [CheckpointStore::in_memory("j"), CheckpointStore::in_folder(folder.path(), "j").unwrap()] {
        let (file, outline) = saved(&store, Some(state())).await;
        assert_eq!((outline.manifest.number, outline.manifest.described.query(0).as_str()), (2, "w"));
        assert!(outline.has_state && outline.checked);
        let holds: Vec<_> = outline.parts.iter().map(|part| part.holds).collect();
        assert_eq!(holds, [Holds::Rows(0), Holds::Windows(id(0)), Holds::Windows(id(1)), Holds::Windows(id(2))]);
        assert_eq!(store.rows_of(&file, &outline.parts[0]).await.unwrap().unwrap(), 2);
        let open = store.open_windows(&file, &outline).await.unwrap().unwrap();
        let windows = OpenWindows {
            count: 2,
            from: Some(-60_000),
            to: Some(60_000),
            first_end: Some(0),
            groups: 100_005,
            sessions: false,
        };
        assert_eq!(open[&id(0)], windows);
        let found = &open[&id(1)];
        assert_eq!((found.count, found.groups, found.sessions), (5, 10, true));
        assert_eq!((found.from, found.to, found.first_end), (Some(991), Some(2_009), None));
        assert_eq!(open[&id(2)], OpenWindows::default());

        // What is exported is the part.
        let mut bytes = Vec::new();
        let part = &outline.parts[1];
        store
            .copy(&file, part, |piece| {
                bytes.extend(piece);
                Ok(())
            })
            .await
            .unwrap();
        let read = datafusion::arrow::ipc::reader::StreamReader::try_new(&bytes[..], None).unwrap();
        assert_eq!(read.map(|batch| batch.unwrap().num_rows()).collect::<Vec<_>>(), [3, 100_000, 2]);
    }
}

#[tokio::test]
async fn to_look_takes_nothing_from_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
    let mut writer = store.claim(0).await.unwrap();
    let place = folder.path().to_str().unwrap();
    let looking = CheckpointStore::to_look_at(place, [], "j").unwrap();
    assert!(matches!(
        looking.inspect(&looking.list().await.unwrap()[0], false).await.unwrap(),
        Ok(Content::Claim { afresh: false, from: None, .. })
    ));
    writer.save(&Checkpoint { manifest: manifest(), state: None, rows: Vec::new() }).await.unwrap();
    assert_eq!(looking.list().await.unwrap().len(), 2);
    assert_eq!(looking.jobs().await.unwrap(), ["j"]);
    let missing = folder.path().join("not-there");
    let message = CheckpointStore::to_look_at(missing.to_str().unwrap(), [], "j").unwrap_err().to_string();
    assert!(message.contains("--checkpoint-dir") && !missing.exists(), "{message}");
}

#[tokio::test]
async fn damage_is_found_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
    let (file, _) = saved(&store, Some(state())).await;
    let path = folder.path().join("j/checkpoint-000000000002.hwcp");
    let whole = std::fs::read(&path).unwrap();
    assert!(whole.len() > 1 << 20, "larger than what is checked unasked");
    for at in [2, 5, 40, whole.len() / 2, whole.len() - 3] {
        let mut damaged = whole.clone();
        damaged[at] ^= 64;
        std::fs::write(&path, &damaged).unwrap();
        store.inspect(&file, true).await.unwrap().unwrap_err();
    }
    // A file that was cut off is known without reading all of it.
    for end in [0, 3, 10, 19, 30, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..end]).unwrap();
        let file = store.list().await.unwrap().pop().unwrap();
        store.inspect(&file, false).await.unwrap().unwrap_err();
    }
}

/// One that no memory holds, of which the bytes after the manifest are not on any disk.
#[tokio::test]
async fn a_checkpoint_larger_than_memory_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
    std::fs::create_dir(folder.path().join("j")).unwrap();
    let manifest = serde_json::to_vec(&manifest()).unwrap();
    let part = 64_u64 << 30;
    let mut bytes = b"HWCP".to_vec();
    bytes.extend(FORMAT_VERSION.to_le_bytes());
    bytes.extend((manifest.len() as u64).to_le_bytes());
    bytes.extend(&manifest);
    bytes.push(1);
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(u32::MAX.to_le_bytes());
    bytes.extend(part.to_le_bytes());
    let path = folder.path().join("j/checkpoint-000000000003.hwcp");
    std::fs::write(&path, &bytes).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(bytes.len() as u64 + part + 4).unwrap();
    let listed = store.list().await.unwrap().pop().unwrap();
    let Ok(Content::Checkpoint(outline)) = store.inspect(&listed, false).await.unwrap() else { panic!("unreadable") };
    assert_eq!((outline.checked, outline.parts[0].bytes, outline.parts[0].holds), (false, part, Holds::KeptRows));
}

#[tokio::test]
async fn those_of_older_versions_are_looked_at() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/checkpoints");
    for version in 1..=FORMAT_VERSION {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("j")).unwrap();
        let name = if version < 4 { "j/epoch-000000000012.hwcp" } else { "j/checkpoint-000000000012.hwcp" };
        std::fs::copy(fixtures.join(format!("version-{version}.hwcp")), folder.path().join(name)).unwrap();
        let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
        let (file, outline) = look(&store).await;
        assert_eq!((outline.manifest.number, outline.manifest.positions[0].offset), (12, 9), "{version}");
        let open = store.open_windows(&file, &outline).await.unwrap().unwrap();
        let expected = OpenWindows {
            count: 2,
            from: Some(-60_000),
            to: (version > 1).then_some(9),
            first_end: (version > 1).then_some(0),
            groups: 3,
            sessions: false,
        };
        assert_eq!(open[&id(1)], expected, "{version}");
    }
}
