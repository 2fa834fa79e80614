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
        Store::Memory(memory) => memory.rows.iter().map(|(key, kept)| (key.to_vec(), kept.image.to_vec())).collect(),
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
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_memory_and_on_disk_and_out_of_checkpoints(
        acts in prop::collection::vec(act(), 0..1_500),
        limit in prop_oneof![Just(0_usize), Just(20_000), Just(usize::MAX)],
        renewed_after in 1_u64..30,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(limit, folder.path());
        let (store, number) = memory.scratch().unwrap();
        let other = [&number.to_be_bytes(), b"key".as_slice()].concat();
        store.insert(&other, b"of another map").unwrap();
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
                    let before = map.remove(&[key]).unwrap();
                    prop_assert_eq!(before.map(|it| it.to_vec()), model.remove([key].as_slice()));
                }
                Act::Empty => {
                    let taken = map.take_sorted().unwrap();
                    let taken: Vec<_> = taken.into_iter().map(|(key, image)| (key.to_vec(), image.to_vec())).collect();
                    prop_assert_eq!(taken, std::mem::take(&mut model).into_iter().collect::<Vec<_>>());
                }
                Act::Save => {
                    let (mut put, mut gone) = (Model::new(), Vec::new());
                    let number = saves.len() as u64;
                    let part = map.save(
                        Save { number, renews: number.checked_sub(renewed_after) },
                        &mut |key, image| { put.insert(key.to_vec(), image.to_vec()); Ok(()) },
                        &mut |key| { gone.push(key.to_vec()); Ok(()) },
                    ).unwrap();
                    since = part.since.unwrap_or(since);
                    prop_assert!(number <= since + 2 * renewed_after, "{} goes back to {}", number, since);
                    saves.push((part, put, gone));
                    prop_assert_eq!(&restored(&saves, since), &model);
                    prop_assert_eq!(map.unsaved, 0);
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
        prop_assert!(store.keys().contains(&other));
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
        since.push(map.save(Save { number, renews: None }, &mut take, &mut lose).unwrap().since);
        gone.iter().for_each(|key| drop(saved.remove(key)));
        assert!(put <= STRETCH.0 + 1, "{put}");
    }
    // The last of three stretches had what was left.
    assert_eq!(since, [None, None, Some(10), Some(10), Some(10), Some(10)]);
    assert_eq!(saved, content(&map));
    assert!(matches!(map.store, Store::Disk(_)));
    assert_eq!(map.len() as u64, count - 6);
    let folders = || {
        let entries = std::fs::read_dir(folder.path()).unwrap().flatten();
        entries.filter(|entry| entry.file_type().unwrap().is_dir()).count()
    };
    assert_eq!(folders(), 1);
    drop((map, memory));
    assert_eq!(folders(), 0);
}

#[test]
fn what_changes_waits_for_a_checkpoint_no_longer_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::new(1 << 20, folder.path());
    let mut map = RowsMap::default();
    map.share(Some(&memory));
    let image = [7; 1_000];
    for key in 0..16_000_u64 {
        map.insert(&key.to_be_bytes(), &image).unwrap();
    }
    assert!(matches!(map.store, Store::Disk(_)) && memory.used() == 0);
    assert!(memory.is_behind());
    map.save(Save { number: 1, renews: None }, &mut |_, _| Ok(()), &mut |_| Ok(())).unwrap();
    assert!(!memory.is_behind());
    // Over and over the same row.
    for _ in 0..20_000 {
        map.insert(b"key", &image).unwrap();
    }
    assert!(!memory.is_behind());
}
