//! Who may write, what is found again, and what is forgotten, in a store and in a folder.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Checkpoint, CheckpointStore, FORMAT_VERSION, Manifest, State, Writer};

fn checkpoint(epoch: u64, has_state: bool) -> Checkpoint {
    let manifest = Manifest {
        version: FORMAT_VERSION,
        job: "j".into(),
        number: 0,
        writer: None,
        started_at: 0,
        epoch,
        made_at: 5,
        fingerprints: Vec::new(),
        outputs: Vec::new(),
        replay: None,
        positions: Vec::new(),
        watermarks: BTreeMap::new(),
        closed: BTreeMap::new(),
        intents: Vec::new(),
        state_epoch: 0,
        state_number: 0,
        truncates: Vec::new(),
        discovered: None,
        finished: false,
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

fn files(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder.join("j")).unwrap().map(name).collect();
    names.sort();
    names
}

fn damage(folder: &Path, number: u64) {
    let file = folder.join("j").join(format!("checkpoint-{number:012}.hwcp"));
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
    writer.follow(2);
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
    writer.follow(7);
    save(&mut writer, 8, false).await;
    let recovered = store.recover().await.unwrap().1.unwrap();
    assert_eq!((recovered.last.manifest.number, recovered.with_state.manifest.epoch), (9, 7));
    for epoch in 9..13 {
        save(&mut writer, epoch, true).await;
    }
    assert_eq!(files(folder.path()).first().unwrap(), "checkpoint-000000000011.hwcp");
}
