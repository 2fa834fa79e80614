//! Mirrors in ClickHouse: they equal the table, whatever happens to it, to its topic, and to the job.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use highwater::job::settings::{Ending, Settings};
use rdkafka::admin::{AdminOptions, NewPartitions};
use serde_json::{Value, json};

use crate::run::{Running, block_on, bounded, highwater, run, wait_until, with_checkpoints};
use crate::stack::{Database, assert_same, clickhouse_url, kafka_brokers};
use crate::topic::{Topic, admin};

/// What Debezium's connectors write.
struct Writer<'a> {
    topic: &'a Topic,
    partitions: i32,
    /// Whether events have whole images before changes, as MySQL's; else those of PostgreSQL's default replica identity.
    full: bool,
    table: BTreeMap<i32, String>,
}

impl Writer<'_> {
    fn partition(&self, id: i32) -> i32 {
        id % self.partitions
    }

    #[expect(clippy::needless_pass_by_value, reason = "the callers make them for it")]
    fn send(&self, partition: i32, op: &str, before: Option<Value>, after: Option<Value>) {
        let connector = if self.full { "mysql" } else { "postgresql" };
        let value = json!({"before": before, "after": after, "source": {"connector": connector, "ts_ms": 1}, "op": op});
        self.topic.send(partition, Some("k"), Some(value.to_string().as_bytes()), 1_700_000_000_000);
    }

    fn insert(&mut self, id: i32, name: &str) {
        self.send(self.partition(id), "c", None, Some(json!({"id": id, "name": name})));
        self.table.insert(id, name.to_owned());
    }

    fn update(&mut self, id: i32, name: &str) {
        let Some(old) = self.table.insert(id, name.to_owned()) else { return self.insert(id, name) };
        let before = self.full.then(|| json!({"id": id, "name": old}));
        self.send(self.partition(id), "u", before, Some(json!({"id": id, "name": name})));
    }

    /// A new key by one update.
    fn rekey(&mut self, from: i32, to: i32) {
        let Some(old) = self.table.remove(&from) else { return };
        let before = json!({"id": from, "name": if self.full { Some(&old) } else { None }});
        self.send(self.partition(from), "u", Some(before), Some(json!({"id": to, "name": old})));
        self.table.insert(to, old);
    }

    fn delete(&mut self, id: i32) {
        let Some(old) = self.table.remove(&id) else { return };
        let before = json!({"id": id, "name": if self.full { Some(&old) } else { None }});
        self.send(self.partition(id), "d", Some(before), None);
        self.topic.send(self.partition(id), Some("k"), None, 1_700_000_000_000);
    }

    fn truncate(&mut self, partition: i32) {
        self.send(partition, "t", None, None);
        self.table.clear();
    }

    fn snapshot(&self) {
        for (id, name) in &self.table {
            self.send(self.partition(*id), "r", None, Some(json!({"id": id, "name": name})));
        }
    }

    fn rows(&self) -> Vec<String> {
        let mut rows: Vec<String> = self.table.iter().map(|(id, name)| format!("{id}\t{name}")).collect();
        rows.sort();
        rows
    }
}

fn writer(topic: &Topic, partitions: i32, full: bool) -> Writer<'_> {
    Writer { topic, partitions, full, table: BTreeMap::new() }
}

fn query(topic: &str, database: &str, more: &str) -> String {
    format!(
        "CREATE TABLE t (id INT, name STRING, PRIMARY KEY (id) NOT ENFORCED)
         WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', 'format' = 'debezium-json'{more});
         CREATE TABLE m WITH ('connector' = 'clickhouse', 'url' = '{}', 'table' = '{database}.m');
         INSERT INTO m SELECT id, name FROM t;",
        kafka_brokers(),
        clickhouse_url()
    )
}

fn caught_up(name: &str, folder: &std::path::Path) -> Settings {
    let mut settings = with_checkpoints(bounded(name), folder);
    settings.ending = Ending::UntilCaughtUp;
    settings
}

#[track_caller]
fn check(database: &Database, writer: &Writer<'_>) {
    assert_same("mirror", &database.rows("SELECT id, name FROM {db}.m"), &writer.rows());
    // Tombstones carry the whole row.
    assert_eq!(database.ask("SELECT count() FROM {db}.m_versions WHERE _is_deleted = 1 AND name IS NULL"), "0");
    assert_eq!(database.ask("SELECT count() FROM {db}.m_versions WHERE _is_deleted > 1"), "0");
}

/// A life of some rows, in parts.
fn live(writer: &mut Writer<'_>, part: i32) {
    let base = part * 20;
    (0..20).for_each(|id| writer.insert(id + base, &format!("n{id}")));
    (0..20).step_by(3).for_each(|id| writer.update(id + base, &format!("u{id}")));
    (0..20).step_by(4).for_each(|id| writer.delete(id + base));
    writer.insert(base, "again");
    writer.rekey(base + 1, base + 1 + 1000 * writer.partitions);
    writer.snapshot();
    writer.delete(base + 2);
    writer.topic.flush();
}

fn lives(full: bool, partitions: i32) {
    let topic = Topic::create("mirror", partitions);
    let (database, folder) = (Database::new("mirror"), tempfile::tempdir().unwrap());
    let query = query(&topic.name, &database.0, "");
    let mut writer = writer(&topic, partitions, full);
    for part in 0..4 {
        live(&mut writer, part);
        if part == 2 {
            writer.truncate(0);
            writer.topic.flush();
            run(&query, caught_up("m", folder.path())).unwrap();
            check(&database, &writer);
        }
        (0..5).for_each(|id| writer.insert(id + 500 + part * 10, "after"));
        writer.topic.flush();
        run(&query, caught_up("m", folder.path())).unwrap();
        check(&database, &writer);
    }
    // The whole topic once more, as another job. Of several partitions, a truncate takes what has been read when it comes.
    if partitions == 1 {
        run(&query, bounded("replay")).unwrap();
        check(&database, &writer);
    }
}

#[test]
fn a_mirror_of_full_events() {
    lives(true, 1);
}

#[test]
fn a_mirror_of_events_without_images() {
    lives(false, 1);
}

#[test]
fn a_mirror_of_events_without_images_in_several_partitions() {
    lives(false, 3);
}

#[test]
fn a_truncate_waits_for_what_was_written_before_it_in_other_partitions() {
    let topic = Topic::create("mirror_waits", 2);
    let (database, folder) = (Database::new("mirror_waits"), tempfile::tempdir().unwrap());
    let query = query(&topic.name, &database.0, "");
    let mut writer = writer(&topic, 2, false);
    // Partition 0 has been read long before partition 1, and cuts come all the time.
    (0..60_000).for_each(|id| writer.insert(id * 2 + 1, "a name"));
    writer.insert(0, "zero");
    writer.truncate(0);
    topic.flush();
    let often = || {
        let mut settings = caught_up("m", folder.path());
        settings.flush_interval = Duration::from_millis(1);
        settings
    };
    run(&query, often()).unwrap();
    check(&database, &writer);
    (0..10).for_each(|id| writer.insert(id, "after"));
    topic.flush();
    run(&query, often()).unwrap();
    check(&database, &writer);
}

#[test]
fn a_truncate_in_one_of_several_partitions_needs_rows_that_are_kept() {
    let topic = Topic::create("mirror_truncate", 2);
    let database = Database::new("mirror_truncate");
    let mut writer = writer(&topic, 2, true);
    (0..10).for_each(|id| writer.insert(id, "n"));
    writer.send(0, "t", None, None);
    topic.flush();
    run(&query(&topic.name, &database.0, ""), bounded("trusted")).unwrap();
    check(&database, &writer);
    assert_eq!(
        database.ask("SELECT reason, position(message, '''kept''') > 0 FROM {db}.dead_letters"),
        "unsupported\t1"
    );
    let error = run(&query(&topic.name, &database.0, ", 'truncate' = 'stop'"), bounded("stop")).unwrap_err();
    assert!(error.to_string().contains("was truncated") && error.to_string().contains("[0] offset 5"), "{error}");
    run(&query(&topic.name, &database.0, ", 'before-images' = 'kept', 'truncate' = 'ignore'"), bounded("ignore"))
        .unwrap();
    check(&database, &writer);
    run(&query(&topic.name, &database.0, ", 'before-images' = 'kept'"), bounded("kept")).unwrap();
    assert_eq!(database.ask("SELECT count() FROM {db}.m"), "0");
}

#[test]
fn a_topic_that_is_created_anew() {
    let mut topic = Topic::create("mirror_anew", 1);
    let (database, folder) = (Database::new("mirror_anew"), tempfile::tempdir().unwrap());
    let query = query(&topic.name, &database.0, "");
    let mut before = writer(&topic, 1, true);
    (0..30).for_each(|id| before.insert(id, "old"));
    topic.flush();
    run(&query, caught_up("m", folder.path())).unwrap();
    check(&database, &before);
    let table = std::mem::take(&mut before.table);

    topic.create_anew();
    // More records than before: only the topic's id tells.
    let mut after = writer(&topic, 1, true);
    after.table = table;
    after.snapshot();
    (0..30).step_by(2).for_each(|id| after.delete(id));
    (0..30).step_by(3).for_each(|id| after.update(id, "new"));
    topic.flush();
    let error = run(&query, caught_up("m", folder.path())).unwrap_err().to_string();
    assert!(error.contains("created anew") && error.contains("--new-generation"), "{error}");
    let mut settings = caught_up("m", folder.path());
    settings.new_generation = true;
    run(&query, settings).unwrap();
    check(&database, &after);
    after.update(3, "newer");
    topic.flush();
    run(&query, caught_up("m", folder.path())).unwrap();
    check(&database, &after);
    assert_eq!(
        database.ask("SELECT DISTINCT bitShiftRight(_version, 48) AS g FROM {db}.m_versions ORDER BY g"),
        "0\n1"
    );
}

#[test]
fn partitions_that_are_added() {
    let topic = Topic::create("mirror_more", 1);
    let (database, folder) = (Database::new("mirror_more"), tempfile::tempdir().unwrap());
    let query = query(&topic.name, &database.0, "");
    let mut writer = writer(&topic, 1, true);
    (0..10).for_each(|id| writer.insert(id, "old"));
    (0..10).for_each(|id| writer.update(id, "older"));
    topic.flush();
    run(&query, caught_up("m", folder.path())).unwrap();
    block_on(admin().create_partitions(&[NewPartitions::new(&topic.name, 3)], &AdminOptions::new())).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let table = writer.table;
    let topic = topic.again();
    let mut writer = Writer { topic: &topic, partitions: 3, full: true, table };
    // Their offsets begin at 0.
    (0..10).for_each(|id| writer.update(id, "new"));
    (0..10).step_by(4).for_each(|id| writer.delete(id));
    topic.flush();
    run(&query, caught_up("m", folder.path())).unwrap();
    check(&database, &writer);
    (0..10).step_by(3).for_each(|id| writer.update(id, "newest"));
    topic.flush();
    run(&query, caught_up("m", folder.path())).unwrap();
    check(&database, &writer);
}

#[test]
fn a_job_with_kept_rows_that_is_killed_again_and_again() {
    let topic = Topic::create("mirror_killed", 3);
    let (database, folder) = (Database::new("mirror_killed"), tempfile::tempdir().unwrap());
    let path = folder.path().join("q.sql");
    std::fs::write(&path, query(&topic.name, &database.0, "")).unwrap();
    let checkpoints = folder.path().join("checkpoints");
    let words =
        ["run", path.to_str().unwrap(), "--name", &database.0, "--checkpoint-dir", checkpoints.to_str().unwrap()];
    let words = words.into_iter().chain(["--flush-interval", "50ms", "--checkpoint-interval", "300ms"]);
    let arguments: Vec<String> = words.map(str::to_owned).collect();
    let mut writer = writer(&topic, 3, false);
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..6 {
        let running = Running::start(&arguments, &folder.path().join("log"));
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(600 + 200 * round) {
            for _ in 0..50 {
                let id = random(300) as i32;
                match random(10) {
                    0..3 => writer.delete(id),
                    _ => writer.update(id, &format!("v{}", random(1_000_000))),
                }
            }
            topic.flush();
            std::thread::sleep(Duration::from_millis(5));
        }
        running.kill();
    }
    let ended = highwater(arguments.iter().map(String::as_str).chain(["--until-caught-up"]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    check(&database, &writer);
    wait_until("no dead letters", || database.ask("SELECT count() FROM {db}.dead_letters") == "0");
}
