//! Random histories of a table through lanes, cuts and crashes: the mirror equals the table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Int32Type, UInt8Type, UInt64Type};
use proptest::prelude::*;

use crate::testing::properties::properties;
use serde_json::{Value, json};

use super::derived::TableDecoder;
use super::input::by_table;
use super::input::{InputPlan, LaneWork};
use super::keeping::Keeping;
use super::mirror::Mirror;
use super::outputs::Outputs;
use crate::change::{ChangeBatch, NO_TIME, OffsetRange, TopicPartition};
use crate::sink::EMPTIED;
use crate::source::{RawBatch, RawRecord, RawRecords};
use crate::state::{Memory, PartitionRows, Save};

/// What Debezium writes for a value that it does not have.
const PLACEHOLDER: &str = "__debezium_unavailable_value";

/// What happens to the table.
#[derive(Debug, Clone)]
enum Event {
    Insert(i32, u8),
    /// Another name; the large value stays.
    Rename(i32, u8),
    Rewrite(i32, u8),
    Delete(i32, bool),
    /// Another key, as one update or as a delete and an insert.
    Move(i32, i32, bool),
    /// A change while no connector runs.
    Unseen(i32, u8),
    Snapshot,
    Truncate(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let (id, value) = (0..12_i32, any::<u8>());
    prop_oneof![
        6 => (id.clone(), value).prop_map(|(id, value)| Event::Insert(id, value)),
        4 => (id.clone(), value).prop_map(|(id, value)| Event::Rename(id, value)),
        2 => (id.clone(), value).prop_map(|(id, value)| Event::Rewrite(id, value)),
        3 => (id.clone(), any::<bool>()).prop_map(|(id, tombstone)| Event::Delete(id, tombstone)),
        2 => (id.clone(), id.clone(), any::<bool>()).prop_map(|(from, to, one)| Event::Move(from, to, one)),
        1 => (id, value).prop_map(|(id, value)| Event::Unseen(id, value)),
        1 => Just(Event::Snapshot),
        1 => (0..4_usize).prop_map(Event::Truncate),
    ]
}

type Row = (String, String);
type Table = BTreeMap<i32, Row>;

/// A topic: per partition its records, and where in time each is; when truncates were.
#[derive(Default)]
struct Topic {
    partitions: Vec<Vec<(usize, Option<Vec<u8>>)>>,
    /// Time, partition.
    truncates: Vec<(usize, usize)>,
    time: usize,
    full: bool,
}

impl Topic {
    fn send(&mut self, id: i32, value: Option<&Value>) {
        let partition = id as usize % self.partitions.len();
        self.send_to(partition, value);
    }

    fn send_to(&mut self, partition: usize, value: Option<&Value>) {
        self.time += 1;
        self.partitions[partition].push((self.time, value.map(|value| value.to_string().into_bytes())));
    }

    #[allow(clippy::needless_pass_by_value)] // reads better
    fn event(&self, op: &str, before: Option<Value>, after: Option<Value>) -> Value {
        let connector = if self.full { "mysql" } else { "postgresql" };
        json!({"before": before, "after": after, "source": {"connector": connector, "ts_ms": 1}, "op": op})
    }

    /// The image before a change, as far as the connector has it.
    fn before(&self, id: i32, row: &Row, always: bool) -> Option<Value> {
        match self.full {
            true => Some(image(id, row)),
            false => always.then(|| json!({"id": id, "name": null, "big": null})),
        }
    }

    fn update(&mut self, id: i32, old: &Row, row: &Row) {
        let mut after = row.clone();
        if !self.full && old.1 == row.1 {
            PLACEHOLDER.clone_into(&mut after.1);
        }
        let event = self.event("u", self.before(id, old, false), Some(image(id, &after)));
        self.send(id, Some(&event));
    }

    fn delete(&mut self, id: i32, old: &Row, tombstone: bool) {
        let event = self.event("d", self.before(id, old, true), None);
        self.send(id, Some(&event));
        if tombstone {
            self.send(id, None);
        }
    }
}

fn image(id: i32, row: &Row) -> Value {
    json!({"id": id, "name": row.0, "big": row.1})
}

fn row(value: u8) -> Row {
    let name = if value.is_multiple_of(5) { "hidden".to_owned() } else { format!("n{value}") };
    (name, "b".repeat(usize::from(value)))
}

/// The topic that the events leave, and the table.
fn history(events: &[Event], partitions: usize, full: bool) -> (Topic, Table) {
    let mut topic = Topic { partitions: vec![Vec::new(); partitions], full, ..Topic::default() };
    let mut table = Table::new();
    for event in events {
        match *event {
            Event::Insert(id, value) if !table.contains_key(&id) => {
                let event = topic.event("c", None, Some(image(id, &row(value))));
                topic.send(id, Some(&event));
                table.insert(id, row(value));
            }
            Event::Rename(id, value) | Event::Rewrite(id, value) => {
                let Some(old) = table.get(&id).cloned() else { continue };
                let mut new = row(value);
                if matches!(event, Event::Rename(..)) {
                    new.1.clone_from(&old.1);
                }
                topic.update(id, &old, &new);
                table.insert(id, new);
            }
            Event::Delete(id, tombstone) => {
                let Some(old) = table.remove(&id) else { continue };
                topic.delete(id, &old, tombstone);
            }
            Event::Move(from, to, as_one) if !table.contains_key(&to) => {
                let Some(old) = table.remove(&from) else { continue };
                let stays = from as usize % partitions == to as usize % partitions;
                if as_one && stays {
                    let mut after = old.clone();
                    if !full {
                        PLACEHOLDER.clone_into(&mut after.1);
                    }
                    let event = topic.event("u", topic.before(from, &old, true), Some(image(to, &after)));
                    topic.send(to, Some(&event));
                } else {
                    topic.delete(from, &old, true);
                    let mut after = old.clone();
                    if !full && partitions == 1 {
                        PLACEHOLDER.clone_into(&mut after.1);
                    }
                    let event = topic.event("c", None, Some(image(to, &after)));
                    topic.send(to, Some(&event));
                }
                table.insert(to, old);
            }
            Event::Unseen(id, value) if table.contains_key(&id) => {
                table.insert(id, row(value));
                snapshot(&mut topic, &table);
            }
            Event::Snapshot => snapshot(&mut topic, &table),
            Event::Truncate(partition) => {
                let partition = partition % partitions;
                let event = topic.event("t", None, None);
                topic.send_to(partition, Some(&event));
                topic.truncates.push((topic.time, partition));
                table.clear();
            }
            _ => {}
        }
    }
    table.retain(|_, row| row.0 != "hidden");
    (topic, table)
}

fn snapshot(topic: &mut Topic, table: &Table) {
    for (&id, row) in table {
        let event = topic.event("r", None, Some(image(id, row)));
        topic.send(id, Some(&event));
    }
}

struct Records(Vec<(i64, Option<Vec<u8>>)>);

impl RawRecords for Records {
    fn get(&self, index: usize) -> RawRecord<'_> {
        let (offset, value) = &self.0[index];
        RawRecord { offset: *offset, timestamp: NO_TIME, key: Some(b"k"), value: value.as_deref() }
    }
}

/// The mirror as ClickHouse folds it: the greatest version of a key counts, of equals the last.
#[derive(Default)]
struct Folded {
    rows: BTreeMap<i32, (u64, bool, Row)>,
    deletes: BTreeSet<(i32, Row)>,
}

impl Folded {
    fn take(&mut self, batch: &RecordBatch) {
        let ids = batch.column(0).as_primitive::<Int32Type>();
        let text = |column: usize, row: usize| {
            let values = batch.column(column).as_string::<i32>();
            if values.is_null(row) { "NULL".to_owned() } else { values.value(row).to_owned() }
        };
        let versions = batch.column(3).as_primitive::<UInt64Type>();
        let marks = batch.column(4).as_primitive::<UInt8Type>();
        for row in 0..batch.num_rows() {
            let (id, version, mark) = (ids.value(row), versions.value(row), marks.value(row));
            if mark == EMPTIED {
                let older = self.rows.values_mut().filter(|(own, ..)| *own < version);
                older.for_each(|(own, deleted, _)| (*own, *deleted) = (version, true));
                continue;
            }
            let value = (text(2, row), text(1, row));
            if mark == 1 {
                self.deletes.insert((id, value.clone()));
            }
            let entry = self.rows.entry(id).or_insert((0, true, value.clone()));
            if entry.0 <= version {
                *entry = (version, mark == 1, value);
            }
        }
    }

    fn table(&self) -> Table {
        self.rows.iter().filter(|(_, (_, deleted, _))| !deleted).map(|(id, (.., row))| (*id, row.clone())).collect()
    }
}

struct Lane {
    keeping: Keeping,
    decoder: TableDecoder,
}

struct Engine<'a> {
    plan: &'a InputPlan,
    topic: &'a Topic,
    lanes: Vec<Lane>,
    read: Vec<usize>,
    truncates: usize,
    /// What checkpoints have of the rows, by their numbers; where the last was.
    saves: Vec<(u64, Vec<PartitionRows>)>,
    saved: (Vec<usize>, usize),
    number: u64,
    letters: usize,
}

impl<'a> Engine<'a> {
    fn new(plan: &'a InputPlan, topic: &'a Topic, lanes: usize) -> Self {
        let read = vec![0; topic.partitions.len()];
        let saved = (read.clone(), 0);
        let (lanes_of, saves) = (Vec::new(), Vec::new());
        let mut engine = Self { plan, topic, lanes: lanes_of, read, truncates: 0, saves, saved, number: 0, letters: 0 };
        engine.start(lanes);
        engine
    }

    fn start(&mut self, lanes: usize) {
        let lane = |_| Lane { keeping: Keeping::new(self.plan).unwrap(), decoder: self.plan.decoder().unwrap() };
        self.lanes = (0..lanes).map(lane).collect();
    }

    fn source(&self, partition: usize) -> TopicPartition {
        TopicPartition { topic: "t".into(), partition: partition as i32 }
    }

    fn save(&mut self) {
        self.number += 1;
        let save = Save { number: self.number, renews: self.number.checked_sub(3) };
        let rows = self.lanes.iter_mut().flat_map(|lane| lane.keeping.save("t", save).unwrap());
        self.saves.push((self.number, rows.collect()));
        let since = self.saves.last().unwrap().1.iter().map(|rows| rows.part.since).min();
        self.saves.retain(|(number, _)| since.is_none_or(|since| Some(*number) >= since));
        self.saved = (self.read.clone(), self.truncates);
    }

    /// Back to what was saved, with other lanes.
    fn crash(&mut self, lanes: usize) {
        self.start(lanes);
        let (read, truncates) = self.saved.clone();
        for rows in self.saves.iter().flat_map(|(_, rows)| rows) {
            self.lanes.iter_mut().for_each(|lane| lane.keeping.set_kept());
            self.lanes[rows.source.partition as usize % lanes].keeping.restore(rows).unwrap();
        }
        self.lanes.iter_mut().for_each(|lane| lane.keeping.set_restored());
        (self.read, self.truncates) = (read, truncates);
    }

    fn mirror(&self, changes: &ChangeBatch, knows_before: bool, mirror: &mut Folded) {
        let pipeline = &self.plan.pipelines[0];
        let LaneWork::Mirror { stages, key, output } = &pipeline.work else { panic!("a mirror") };
        let (scan, schema) = (&pipeline.scan, &output.schema);
        let rows = Mirror { stages, key, scan, schema, generation: 0, knows_before };
        for batch in rows.rows_or_refuse(changes, &mut |_, why| panic!("{why}")).unwrap() {
            mirror.take(&batch);
        }
    }

    /// Reads some records of a partition, but not beyond a truncate that another has to read first.
    fn read(&mut self, partition: usize, count: usize, mirror: &mut Folded) {
        let records = &self.topic.partitions[partition];
        let from = self.read[partition];
        let barrier = self.topic.truncates.get(self.truncates).map_or(usize::MAX, |(time, _)| *time);
        let rest = &records[from..];
        let to = from + rest.iter().take(count).take_while(|(time, _)| *time < barrier).count();
        self.records(partition, from..to, mirror);
        let stands = |(read, records): (&usize, &Vec<(usize, _)>)| records.get(*read).is_none_or(|it| it.0 >= barrier);
        if barrier == usize::MAX || !self.read.iter().zip(&self.topic.partitions).all(stands) {
            return;
        }
        // All stand at the truncate.
        let (_, partition) = self.topic.truncates[self.truncates];
        let at = self.read[partition];
        self.records(partition, at..at + 1, mirror);
        self.truncates += 1;
        for other in (0..self.read.len()).filter(|it| *it != partition) {
            let (source, offset) = (self.source(other), self.read[other] as i64 - 1);
            let lane = other % self.lanes.len();
            for changes in self.lanes[lane].keeping.empty(&source, offset).unwrap() {
                self.mirror(&changes, true, mirror);
            }
        }
        self.save();
    }

    fn records(&mut self, partition: usize, range: std::ops::Range<usize>, mirror: &mut Folded) {
        let records = self.topic.partitions[partition][range.clone()].iter().zip(range.clone());
        let records: Vec<_> = records.map(|((_, value), offset)| (offset as i64, value.clone())).collect();
        let count = records.len();
        let offsets = OffsetRange { from: range.start as i64, to: range.end as i64 };
        let raw = RawBatch::new(self.source(partition), offsets, Arc::new(Records(records)), count);
        self.read[partition] = range.end;
        let lane = partition % self.lanes.len();
        let lane = &mut self.lanes[lane];
        let mut changes = lane.decoder.decode(&raw).unwrap();
        mark_unavailable(&mut changes);
        self.plan.refuse_missing(&raw, &mut changes).unwrap();
        let mirrored = lane.keeping.apply(self.plan, &raw, &mut changes).unwrap();
        self.letters += changes.dead_letters.len();
        match mirrored {
            Some(mirrored) => {
                let changes = mirrored.for_mirrors().unwrap();
                changes.into_iter().for_each(|changes| self.mirror(changes, mirrored.knows_before, mirror));
            }
            None => self.mirror(&changes, false, mirror),
        }
    }
}

/// What decoders note, for one that does not.
fn mark_unavailable(changes: &mut ChangeBatch) {
    let Ok(place) = changes.rows.schema().index_of("big") else { return };
    if !changes.unavailable.is_empty() {
        return;
    }
    let values = changes.rows.column(place).as_string::<i32>().clone();
    let is_left_out = |row: &usize| values.is_valid(*row) && values.value(*row) == PLACEHOLDER;
    changes.unavailable = (0..changes.len()).filter(is_left_out).map(|row| (row as u32, place as u32)).collect();
}

fn plan(partitions: usize) -> InputPlan {
    let text = "CREATE TABLE t (id INT, name STRING NOT NULL, big STRING, PRIMARY KEY (id) NOT ENFORCED)
        WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'nowhere:1', 'format' = 'debezium-json');
        CREATE TABLE m WITH ('connector' = 'blackhole');
        INSERT INTO m SELECT id, big, name FROM t WHERE name <> 'hidden';";
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let texts = vec![("q.sql".to_owned(), text.to_owned())];
    let query =
        runtime.block_on(crate::sql::query::load_texts(texts, &crate::sql::text::Variables::default())).unwrap();
    let outputs = Outputs::new(&query, "j").unwrap();
    let plan = InputPlan::new(query.pipelines[0].table(), &by_table(&query.pipelines)[0].1, &outputs, "j").unwrap();
    plan.partitions.store(partitions, std::sync::atomic::Ordering::Relaxed);
    plan
}

type Turn = (usize, usize, bool, bool);

fn compare(events: &[Event], partitions: usize, full: bool, lanes: usize, turns: &[Turn]) {
    let (topic, table) = history(events, partitions, full);
    let mut plan = plan(partitions);
    let folder = tempfile::tempdir().unwrap();
    plan.memory = (lanes == 2).then(|| Memory::new(0, folder.path()));
    let mut mirror = Folded::default();
    // Twice: the second is a replay of the whole topic, as another job, into the same mirror.
    for _ in 0..2 {
        let mut engine = Engine::new(&plan, &topic, lanes);
        for (turn, &(partition, count, saves, crashes)) in turns.iter().enumerate() {
            engine.read(partition % partitions, count, &mut mirror);
            if saves {
                engine.save();
            }
            if crashes {
                engine.crash(turn % 3 + 1);
            }
        }
        while engine.read.iter().zip(&topic.partitions).any(|(read, records)| *read < records.len()) {
            (0..partitions).for_each(|partition| engine.read(partition, usize::MAX, &mut mirror));
        }
        assert_eq!(engine.letters, 0);
        assert_eq!(mirror.table(), table);
    }
    assert!(!mirror.deletes.iter().any(|(_, row)| row.1 == PLACEHOLDER || row.0 == "NULL"), "{:?}", mirror.deletes);
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = (0..4_usize, 1..12_usize, prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    prop::collection::vec(turn, 0..40)
}

proptest! {
    #![proptest_config(properties(192))]

    #[test]
    fn a_mirror_of_events_that_lack_images_equals_the_table(
        events in prop::collection::vec(event(), 0..80),
        partitions in 1..4_usize,
        lanes in 1..4_usize,
        turns in turns(),
    ) {
        compare(&events, partitions, false, lanes, &turns);
    }

    #[test]
    fn a_mirror_of_full_events_equals_the_table(
        events in prop::collection::vec(event(), 0..80),
        partitions in 1..4_usize,
        lanes in 1..4_usize,
        turns in turns(),
    ) {
        // Of several partitions, nobody knows the rows that a truncate takes away.
        let is_known = |event: &&Event| partitions == 1 || !matches!(event, Event::Truncate(_));
        let events: Vec<_> = events.iter().filter(is_known).cloned().collect();
        compare(&events, partitions, true, lanes, &turns);
    }
}

#[test]
fn a_left_out_value_that_nobody_knows_is_a_dead_letter() {
    let mut topic = Topic { partitions: vec![Vec::new()], ..Topic::default() };
    topic.update(1, &row(7), &row(7));
    topic.delete(1, &row(7), false);
    let plan = plan(1);
    let mut mirror = Folded::default();
    let mut engine = Engine::new(&plan, &topic, 1);
    engine.read(0, usize::MAX, &mut mirror);
    assert_eq!(engine.letters, 1);
    assert_eq!(mirror.table(), Table::new());
}
