//! Who may write, what is found again, and what is forgotten, in a store and in a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt64Array};

use super::{Checkpoint, CheckpointStore, Content, Described, FORMAT_VERSION, Manifest, State, Writer};
use crate::change::TopicPartition;
use crate::state::{Part, PartitionRows};
use crate::window::aggregate::{InputId, WindowState};
use crate::window::settled::{SESSIONS, Saved};

fn checkpoint(epoch: u64, has_state: bool) -> Checkpoint {
    let manifest = Manifest {
        version: FORMAT_VERSION,
        job: "j".into(),
        number: 0,
        writer: None,
        started_at: 0,
        went_back: 0,
        epoch,
        made_at: 5,
        fingerprints: Vec::new(),
        outputs: Vec::new(),
        replay: None,
        positions: Vec::new(),
        watermarks: BTreeMap::new(),
        closed: BTreeMap::new(),
        closed_before: BTreeMap::new(),
        intents: Vec::new(),
        state_epoch: 0,
        state_number: 0,
        rows: Vec::new(),
        settled: Vec::new(),
        kept: BTreeSet::new(),
        truncates: Vec::new(),
        discovered: None,
        finished: false,
        described: Described::default(),
    };
    Checkpoint { manifest, state: has_state.then(State::default), rows: Vec::new() }
}

async fn save(writer: &mut Writer, epoch: u64, has_state: bool) {
    writer.save(&checkpoint(epoch, has_state)).await.unwrap();
}

async fn newest(store: &CheckpointStore) -> Option<(u64, u64)> {
    let (_, recovered) = store.recover().await.unwrap();
    recovered.map(|it| (it.last.manifest.number, it.last.manifest.epoch))
}

/// The checkpoint with state that a process goes on from.
async fn found(store: &CheckpointStore) -> Manifest {
    store.recover().await.unwrap().1.unwrap().with_state.manifest
}

fn files(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder.join("j")).unwrap().map(name).collect();
    names.sort();
    names
}

fn damage(folder: &Path, number: u64) {
    damage_file(folder, &format!("checkpoint-{number:012}.hwcp"));
}

fn damage_file(folder: &Path, name: &str) {
    let file = folder.join("j").join(name);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn who_was_taken_over_saves_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    for store in [CheckpointStore::in_memory("j"), CheckpointStore::in_folder(folder.path(), "j").unwrap()] {
        let mut old = store.claim(1_772_359_200_000).await.unwrap();
        save(&mut old, 70, true).await;
        old.fence().check().await.unwrap();
        let mut new = store.claim(1_772_359_260_000).await.unwrap();
        assert_eq!(newest(&store).await, Some((2, 70)), "a claim has no content");
        let pid = std::process::id();
        for error in [old.fence().check().await.unwrap_err(), old.save(&checkpoint(71, false)).await.unwrap_err()] {
            let message = error.to_string();
            let expected = format!("job \"j\" was taken over by process {pid} on ");
            assert!(message.starts_with(&expected) && message.contains("(at 2026-03-01 10:01:00 UTC)"), "{message}");
            assert!(!error.is_transient());
        }
        save(&mut new, 71, true).await;
        save(&mut new, 72, false).await;
        assert!(old.save(&checkpoint(71, false)).await.is_err());
        assert_eq!(newest(&store).await, Some((5, 72)));
    }
}

/// So long that the number which it would write next has been taken and forgotten.
#[tokio::test]
async fn who_slept_for_long_saves_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
    let mut old = store.claim(0).await.unwrap();
    save(&mut old, 1, true).await;
    let mut new = store.claim(0).await.unwrap();
    for epoch in 2..10 {
        save(&mut new, epoch, true).await;
    }
    assert!(!files(folder.path()).contains(&"checkpoint-000000000003.hwcp".to_owned()));
    let message = old.save(&checkpoint(2, true)).await.unwrap_err().to_string();
    assert!(message.contains("was taken over by"), "{message}");
    assert_eq!(newest(&store).await, Some((11, 9)));
    save(&mut new, 10, false).await;
}

#[tokio::test]
async fn starting_afresh_keeps_out_who_still_writes() {
    let store = CheckpointStore::in_memory("j");
    let mut old = store.claim(0).await.unwrap();
    save(&mut old, 1, true).await;
    store.clear(0).await.unwrap();
    assert_eq!(newest(&store).await, None);
    assert!(old.save(&checkpoint(2, true)).await.unwrap_err().to_string().contains("was taken over by"));
    let mut new = store.claim(0).await.unwrap();
    assert_eq!(newest(&store).await, None);
    save(&mut new, 1, true).await;
    assert_eq!(newest(&store).await, Some((5, 1)));
}

#[tokio::test]
async fn the_last_states_are_kept_with_what_follows_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
    let mut writer = store.claim(0).await.unwrap();
    for epoch in 0..50 {
        save(&mut writer, epoch, epoch % 10 == 0).await;
    }
    let kept = files(folder.path());
    assert_eq!(kept.first().unwrap(), "checkpoint-000000000022.hwcp", "{kept:?}");
    assert_eq!(kept.len(), 30);
    let recovered = store.recover().await.unwrap().1.unwrap();
    assert_eq!((recovered.with_state.manifest.number, recovered.between.len()), (42, 8));
}

#[tokio::test]
async fn damaged_ones_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
    let mut writer = store.claim(0).await.unwrap();
    for (epoch, has_state) in [(1, true), (2, false), (3, false), (4, true), (5, false)] {
        save(&mut writer, epoch, has_state).await;
    }
    damage(folder.path(), 6);
    assert_eq!(newest(&store).await, Some((5, 4)));
    // Its state: what follows from it cannot be used either.
    damage(folder.path(), 5);
    assert_eq!(newest(&store).await, Some((4, 3)));
    // One between it and its state.
    damage(folder.path(), 3);
    assert_eq!(newest(&store).await, Some((2, 1)));
    // What comes then has numbers of its own.
    let mut writer = store.claim(0).await.unwrap();
    writer.follow(&found(&store).await);
    save(&mut writer, 2, true).await;
    assert_eq!(newest(&store).await, Some((8, 2)));
    for number in [2, 8] {
        damage(folder.path(), number);
    }
    let message = store.recover().await.unwrap_err().to_string();
    assert!(message.contains("none of the") && message.contains("--reset-state"), "{message}");
}

/// Before version 4 they had the numbers of their epochs, and another name.
#[tokio::test]
async fn a_folder_of_an_older_version_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/checkpoints");
    std::fs::create_dir(folder.path().join("j")).unwrap();
    std::fs::copy(fixtures.join("version-3.hwcp"), folder.path().join("j/epoch-000000000007.hwcp")).unwrap();
    let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
    assert_eq!(newest(&store).await, Some((7, 7)));
    let mut writer = store.claim(0).await.unwrap();
    assert_eq!(writer.number(), 8);
    writer.follow(&found(&store).await);
    save(&mut writer, 8, false).await;
    let recovered = store.recover().await.unwrap().1.unwrap();
    assert_eq!((recovered.last.manifest.number, recovered.with_state.manifest.epoch), (9, 7));
    for epoch in 9..13 {
        save(&mut writer, epoch, true).await;
    }
    assert_eq!(files(folder.path()).first().unwrap(), "checkpoint-000000000011.hwcp");
}

/// With rows that say their epoch. All are there since the save of an epoch, or since before this process.
async fn save_rows(writer: &mut Writer, epoch: u64, since: Option<u64>) {
    let source = TopicPartition { topic: "x".into(), partition: 0 };
    let part = Part { whole: since == Some(epoch), since };
    let rows = PartitionRows {
        table: "t".into(),
        source,
        rows: vec![numbers(epoch)],
        gone: Vec::new(),
        part,
        unmatched: epoch,
    };
    let state = State { keyed: vec![rows], ..State::default() };
    writer.save(&Checkpoint { state: Some(state), ..checkpoint(epoch, true) }).await.unwrap();
}

fn numbers(epoch: u64) -> RecordBatch {
    let column: ArrayRef = Arc::new(UInt64Array::from(vec![epoch]));
    RecordBatch::try_from_iter([("id", column)]).unwrap()
}

/// The epochs whose rows a start gets.
async fn rows_of(store: &CheckpointStore, manifest: &Manifest) -> Vec<u64> {
    let mut epochs = Vec::new();
    for &number in &manifest.rows {
        epochs.extend(store.kept_rows(number).await.unwrap().iter().map(|rows| rows.unmatched));
    }
    epochs
}

fn rows_files(folder: &Path) -> usize {
    files(folder).iter().filter(|name| name.starts_with("rows-")).count()
}

#[tokio::test]
async fn kept_rows_that_a_checkpoint_builds_on_stay_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
    let mut writer = store.claim(0).await.unwrap();
    for epoch in 101..140 {
        save_rows(&mut writer, epoch, Some(101)).await;
        save(&mut writer, epoch, false).await;
    }
    let manifest = found(&store).await;
    assert_eq!(rows_of(&store, &manifest).await, (101..140).collect::<Vec<_>>(), "far more than are kept otherwise");
    assert_eq!((files(folder.path()).len(), rows_files(folder.path())), (6 + 39, 39));
    // From here on they build on another; three with state are kept.
    for epoch in 140..143 {
        save_rows(&mut writer, epoch, Some(140)).await;
    }
    assert_eq!(rows_of(&store, &found(&store).await).await, [140, 141, 142]);
    assert_eq!(rows_files(folder.path()), 3, "nothing needs the others any more");
    // Another process goes on from them, with what one has left that died before its checkpoint.
    std::fs::write(folder.path().join(format!("j/rows-{:012}.hwcp", writer.number() + 1)), "damaged").unwrap();
    let mut writer = store.claim(0).await.unwrap();
    writer.follow(&found(&store).await);
    save_rows(&mut writer, 3, None).await;
    save_rows(&mut writer, 4, None).await;
    assert_eq!(rows_of(&store, &found(&store).await).await, [140, 141, 142, 3, 4]);
    for epoch in 5..8 {
        save_rows(&mut writer, epoch, Some(4)).await;
    }
    assert_eq!(rows_of(&store, &found(&store).await).await, [4, 5, 6, 7]);
    assert_eq!(rows_files(folder.path()), 4);
    // Without one of them those that build on it cannot be used.
    let sixth = found(&store).await.rows[2];
    let before = store.recover().await.unwrap().1.unwrap().last.manifest.number;
    damage_file(folder.path(), &format!("rows-{sixth:012}.hwcp"));
    let fallen_back = found(&store).await;
    assert_eq!(rows_of(&store, &fallen_back).await, [4, 5]);
    assert!(fallen_back.number < before);
    // What it is followed by does not build on the damaged ones.
    let mut writer = store.claim(0).await.unwrap();
    writer.follow(&fallen_back);
    save_rows(&mut writer, 8, None).await;
    assert_eq!(rows_of(&store, &found(&store).await).await, [4, 5, 8]);
    store.clear(0).await.unwrap();
    assert_eq!(rows_files(folder.path()), 0);
}

#[tokio::test]
async fn rows_that_nobody_has_any_more_are_not_built_on() {
    let store = CheckpointStore::in_memory("j");
    let mut writer = store.claim(0).await.unwrap();
    let source = TopicPartition { topic: "x".into(), partition: 0 };
    let rows = PartitionRows {
        table: "t".into(),
        source,
        rows: vec![numbers(1)],
        gone: Vec::new(),
        part: Part::default(),
        unmatched: 0,
    };
    let state = State { keyed: vec![rows], ..State::default() };
    let checkpoint = Checkpoint { state: Some(state), ..checkpoint(1, true) };
    assert!(writer.save(&checkpoint).await.unwrap_err().to_string().contains("internal error"));
}

/// A checkpoint with these windows that change no more, and one that does.
async fn save_windows(writer: &mut Writer, epoch: u64, settled: &[(&RecordBatch, &Saved)]) {
    let settled = settled.iter().map(|(groups, saved)| WindowState {
        saved: Some((*saved).clone()),
        ..WindowState::new(0, 60_000, (*groups).clone())
    });
    let windows = settled.chain([WindowState::new(0, 60_000, numbers(epoch))]).collect();
    let state = State { windows: BTreeMap::from([(InputId { pipeline: 2, input: 1 }, windows)]), ..State::default() };
    writer.save(&Checkpoint { state: Some(state), ..checkpoint(epoch, true) }).await.unwrap();
}

/// The groups of the windows with which a process goes on, and how many are saved for good.
async fn windows_of(store: &CheckpointStore) -> (Vec<RecordBatch>, usize) {
    let state = store.recover().await.unwrap().1.unwrap().with_state.state.unwrap();
    let windows = &state.windows[&InputId { pipeline: 2, input: 1 }];
    assert!(windows.iter().all(|window| (window.start, window.end) == (0, Some(60_000))));
    let saved =
        windows.iter().filter(|window| window.saved.as_ref().is_some_and(|saved| saved.get().is_some())).count();
    (windows.iter().map(|window| window.groups.clone()).collect(), saved)
}

fn windows_files(folder: &Path) -> Vec<String> {
    files(folder).into_iter().filter(|name| name.starts_with("windows-")).collect()
}

#[tokio::test]
async fn windows_that_change_no_more_are_saved_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
    let mut writer = store.claim(0).await.unwrap();
    let (first, second) = (numbers(1), numbers(2));
    let (saved_first, saved_second) = (Saved::default(), Saved::default());
    save_windows(&mut writer, 1, &[(&first, &saved_first)]).await;
    for epoch in 2..9 {
        save_windows(&mut writer, epoch, &[(&first, &saved_first), (&second, &saved_second)]).await;
    }
    let both = ["windows-000000000002.hwcp", "windows-000000000003.hwcp"];
    assert_eq!(windows_files(folder.path()), both);
    assert_eq!(windows_of(&store).await, (vec![numbers(8), first.clone(), second.clone()], 2));
    // Who looks sees them, too.
    let file = store.list().await.unwrap().pop().unwrap();
    let Content::Checkpoint(outline) = store.inspect(&file, true).await.unwrap().unwrap() else { panic!("no state") };
    let open = store.open_windows(&file, &outline).await.unwrap().unwrap();
    let open = &open[&InputId { pipeline: 2, input: 1 }];
    assert_eq!((open.count, open.groups, open.from, open.to), (1, 3, Some(0), Some(60_000)));
    let beside = store.beside(&outline.manifest).await.unwrap().unwrap();
    let names: Vec<_> = beside.iter().map(|(file, parts)| (file.name(), parts.len())).collect();
    assert_eq!(names, [("windows-000000000002", 1), ("windows-000000000003", 1)]);

    // Another process knows what is saved, and goes on with it.
    let recovered = store.recover().await.unwrap().1.unwrap();
    let mut next = store.claim(1).await.unwrap();
    next.follow(&recovered.with_state.manifest);
    next.save(&recovered.with_state).await.unwrap();
    assert_eq!(windows_files(folder.path()), both);
    assert_eq!(windows_of(&store).await, (vec![numbers(8), first.clone(), second.clone()], 2));

    // Merged, they are one; the two are needed no more when the checkpoints that name them are forgotten.
    let (merged, saved) = (numbers(3), Saved::default());
    for (epoch, left) in [(10, 3), (11, 3), (12, 1)] {
        save_windows(&mut next, epoch, &[(&merged, &saved)]).await;
        assert_eq!(windows_files(folder.path()).len(), left, "{epoch}");
    }
    assert_eq!(windows_of(&store).await, (vec![numbers(12), merged], 1));
}

/// Of many sessions there are batches that change no more, and how many they are is said beside them. The order stays.
#[tokio::test]
async fn sessions_that_have_settled_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
    let mut writer = store.claim(0).await.unwrap();
    let settled = |start, end, groups: &RecordBatch| WindowState {
        saved: Some(Saved::default()),
        ..WindowState::new(start, end, groups.clone())
    };
    let said = |sessions: u64| {
        let schema = numbers(0).schema().as_ref().clone();
        let schema = schema.with_metadata([(SESSIONS.to_owned(), sessions.to_string())].into());
        settled(0, 0, &numbers(sessions).with_schema(Arc::new(schema)).unwrap())
    };
    let id = InputId { pipeline: 2, input: 1 };
    let windows = vec![settled(30, 70, &numbers(1)), settled(20, 60, &numbers(2)), said(5)];
    let windows = windows.into_iter().chain([settled(40, 90, &numbers(3)), said(7)]).collect();
    let state = State { windows: BTreeMap::from([(id, windows)]), ..State::default() };
    writer.save(&Checkpoint { state: Some(state), ..checkpoint(1, true) }).await.unwrap();
    let state = store.recover().await.unwrap().1.unwrap().with_state.state.unwrap();
    let found: Vec<_> = state.windows[&id].iter().map(|it| it.groups.column(0).clone()).collect();
    assert_eq!(found, [1, 2, 5, 3, 7].map(|number| numbers(number).column(0).clone()));
    let file = store.list().await.unwrap().pop().unwrap();
    let Content::Checkpoint(outline) = store.inspect(&file, true).await.unwrap().unwrap() else { panic!("no state") };
    let open = &store.open_windows(&file, &outline).await.unwrap().unwrap()[&id];
    assert!(open.sessions);
    assert_eq!((open.count, open.groups, open.from, open.to, open.first_end), (12, 3, Some(20), Some(90), None));
}

#[tokio::test]
async fn a_checkpoint_whose_windows_are_damaged_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
    let mut writer = store.claim(0).await.unwrap();
    let (first, second) = (numbers(1), numbers(2));
    save_windows(&mut writer, 1, &[(&first, &Saved::default())]).await;
    save_windows(&mut writer, 2, &[(&second, &Saved::default())]).await;
    damage_file(folder.path(), "windows-000000000003.hwcp");
    assert_eq!(windows_of(&store).await, (vec![numbers(1), first], 1));
}

async fn passed_over(store: &CheckpointStore) -> (u64, u64) {
    let (_, recovered) = store.recover().await.unwrap();
    recovered.map(|it| (it.last.manifest.number, it.passed_over)).unwrap()
}

/// From the claim on that says so, what followed an older checkpoint counts no more, even when it is whole again.
#[tokio::test]
async fn what_was_gone_back_behind_counts_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
    let mut writer = store.claim(0).await.unwrap();
    for (epoch, has_state) in [(1, true), (2, false), (3, true), (4, false)] {
        save(&mut writer, epoch, has_state).await;
    }
    assert_eq!(passed_over(&store).await, (5, 0));
    let file = folder.path().join("j/checkpoint-000000000005.hwcp");
    let whole = std::fs::read(&file).unwrap();
    damage(folder.path(), 5);
    assert_eq!(passed_over(&store).await, (4, 1));
    // Somebody else was first.
    let other = store.claim(0).await.unwrap();
    assert_eq!(other.number(), 6);
    assert!(store.claim_from(4, 5, 0).await.unwrap().is_none());
    assert_eq!(passed_over(&store).await, (4, 2));
    let mut writer = store.claim_from(4, 6, 0).await.unwrap().unwrap();
    assert!(other.fence().check().await.is_err());
    std::fs::write(&file, whole).unwrap();
    assert_eq!(passed_over(&store).await, (4, 3), "it is whole again, and its rows are taken out");
    writer.follow(&found(&store).await);
    // Without state: those between it and its state are those before the claim, and after what it went back to.
    save(&mut writer, 9, false).await;
    let recovered = store.recover().await.unwrap().1.unwrap();
    assert_eq!((recovered.last.manifest.number, recovered.passed_over), (8, 0));
    assert_eq!(recovered.with_state.manifest.number, 4);
    assert!(recovered.between.is_empty(), "{:?}", recovered.between);
    save(&mut writer, 10, true).await;
    assert_eq!(passed_over(&store).await, (9, 0));
}

/// So long that the number which it claims has been taken and forgotten.
#[tokio::test]
async fn who_slept_before_its_claim_does_not_get_what_others_had() {
    let folder = tempfile::tempdir().unwrap();
    for first in [1, 2] {
        let store = CheckpointStore::in_folder(&folder.path().join(first.to_string()), "j").unwrap();
        let mut writer = store.claim(0).await.unwrap();
        for epoch in 1..9 {
            save(&mut writer, epoch, true).await;
        }
        // It had looked when there was nothing, or one.
        assert!(store.try_claim(first, store.new_claim(0, false, None)).await.unwrap().is_none());
        writer.fence().check().await.unwrap();
        save(&mut writer, 9, true).await;
        assert_eq!(newest(&store).await, Some((10, 9)));
    }
}

#[tokio::test]
async fn one_that_is_missing_among_others_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
    let mut writer = store.claim(0).await.unwrap();
    for epoch in 1..4 {
        save(&mut writer, epoch, true).await;
    }
    store.claim(0).await.unwrap();
    assert_eq!(passed_over(&store).await, (4, 0));
    std::fs::remove_file(folder.path().join("j/checkpoint-000000000004.hwcp")).unwrap();
    assert_eq!(passed_over(&store).await, (3, 2));
    // Between two claims, too.
    let mut next = store.claim(0).await.unwrap();
    next.follow(&found(&store).await);
    save(&mut next, 4, true).await;
    store.claim(0).await.unwrap();
    assert_eq!(passed_over(&store).await, (7, 0));
    std::fs::remove_file(folder.path().join("j/checkpoint-000000000007.hwcp")).unwrap();
    assert_eq!(passed_over(&store).await, (3, 5));
}

/// Not damage: what the newer Highwater has delivered since the one before would be taken out of the tables.
#[tokio::test]
async fn those_of_a_newer_version_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
    let mut writer = store.claim(0).await.unwrap();
    save(&mut writer, 1, true).await;
    save(&mut writer, 2, true).await;
    let file = folder.path().join("j/checkpoint-000000000003.hwcp");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.truncate(bytes.len() - 4);
    bytes[4..8].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
    let checksum = crc32fast::hash(&bytes);
    bytes.extend(checksum.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    let error = store.recover().await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("of a newer Highwater"), "{error}");
}

#[tokio::test]
async fn a_job_may_have_any_name() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["orders~v2", "o'x\"; DROP", "a%2Fb", "100% [new] #1", "größe?"] {
        let store = CheckpointStore::in_folder(folder.path(), name).unwrap();
        save(&mut store.claim(0).await.unwrap(), 1, true).await;
        assert_eq!(newest(&store).await, Some((2, 1)), "{name}");
    }
}

#[tokio::test]
async fn checkpoints_that_somebody_has_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::in_folder(folder.path(), "j").unwrap();
    let mut writer = store.claim(0).await.unwrap();
    save(&mut writer, 1, true).await;
    std::fs::remove_dir_all(folder.path().join("j")).unwrap();
    let message = writer.save(&checkpoint(2, false)).await.unwrap_err().to_string();
    assert!(message.contains("are gone, somebody has removed them"), "{message}");
    // What it has written last keeps the next one from starting afresh in silence.
    let message = store.recover().await.unwrap_err().to_string();
    assert!(message.contains("none of the 1 checkpoints") && message.contains("--from earliest"), "{message}");
    assert!(store.recover_if_whole().await.unwrap().1.is_none());
}
