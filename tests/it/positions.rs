//! What ClickHouse and Kafka do not say: whose rows are at a position, records that are gone, checkpoints and tables that somebody removes.

use std::path::Path;
use std::time::Duration;

use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};

use crate::crash::Job;
use crate::run::{block_on, highwater, wait_until};
use crate::stack::{Database, clickhouse_url, kafka_brokers};
use crate::topic::{Topic, admin};

fn query(topic: &str, database: &str, condition: &str) -> String {
    format!(
        "CREATE TABLE t (id BIGINT, at TIMESTAMP(3), PRIMARY KEY (id) NOT ENFORCED, WATERMARK FOR at AS at - INTERVAL '5' SECOND)
         WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', 'format' = 'debezium-json');
         CREATE TABLE x WITH ('connector' = 'clickhouse', 'url' = '{}', 'table' = '{database}.x');
         CREATE TABLE w WITH ('connector' = 'clickhouse', 'url' = '{}', 'table' = '{database}.w');
         INSERT INTO x SELECT id, _timestamp FROM CHANGES(t) WHERE {condition};
         INSERT INTO w SELECT window_start, window_end, count(*) AS n FROM TUMBLE(CHANGES(t), at, INTERVAL '1' MINUTE)
         WHERE {condition} GROUP BY window_start, window_end;",
        kafka_brokers(),
        clickhouse_url(),
        clickhouse_url()
    )
}

/// Events with these ids, one a second, into partition 0.
fn send(topic: &Topic, ids: std::ops::Range<i64>) {
    for id in ids {
        let row = format!(r#"{{"id":{id},"at":{}}}"#, 1_767_225_600_000 + id * 1_000);
        topic.queue(0, "k", &format!(r#"{{"before":null,"after":{row},"op":"c","ts_ms":1}}"#));
    }
    topic.flush();
}

/// The arguments of a run that reads what there is.
fn arguments(folder: &Path, name: &str, text: &str, more: &[&str]) -> Vec<String> {
    let path = folder.join(format!("{name}.sql"));
    std::fs::write(&path, text).unwrap();
    let (path, checkpoints) = (path.display().to_string(), folder.join("checkpoints").display().to_string());
    let words = ["run", &path, "--checkpoint-dir", &checkpoints, "--until-caught-up"];
    words.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

#[test]
fn jobs_that_fill_one_table_leave_each_others_rows_alone() {
    let topic = Topic::create("shared", 1);
    let (database, folder) = (Database::new("shared"), tempfile::tempdir().unwrap());
    let run = |name: &str, more: &[&str]| {
        let rest = if name == "even" { "id % 2 = 0" } else { "id % 2 = 1" };
        highwater(arguments(folder.path(), name, &query(&topic.name, &database.0, rest), more))
    };
    let count = || database.ask("SELECT countIf(id % 2 = 0), countIf(id % 2 = 1), uniqExact(id) FROM {db}.x");
    send(&topic, 0..200);
    assert_eq!(run("even", &[]).code, Some(0));
    // Its rows are refused: it ends with a block on its way, at positions where the other has rows.
    database.ask("ALTER TABLE {db}.x ADD CONSTRAINT c CHECK id % 2 = 0");
    assert_eq!(run("odd", &[]).code, Some(3));
    database.ask("ALTER TABLE {db}.x DROP CONSTRAINT c");
    assert_eq!(count(), "100\t0\t100");
    assert_eq!(run("odd", &[]).code, Some(0));
    assert_eq!(count(), "100\t100\t200");
    // Each takes out its own.
    assert_eq!(run("even", &["--from", "earliest"]).code, Some(0));
    assert_eq!(count(), "100\t100\t200");
    let counted =
        highwater(["delivery", "odd", "--table", &format!("{}.x", database.0), "--clickhouse", &clickhouse_url()]);
    assert_eq!(counted.code, Some(0), "{counted:?}");
    assert!(counted.out.contains("1   199      100   100       99      0"), "{counted:?}");
}

#[test]
fn the_rows_of_a_topic_that_was_deleted_are_not_taken_for_those_of_the_new_one() {
    let mut topic = Topic::create("positions_anew", 1);
    let (database, folder) = (Database::new("positions_anew"), tempfile::tempdir().unwrap());
    let run = |topic: &str, more: &[&str]| {
        highwater(arguments(folder.path(), "anew", &query(topic, &database.0, "id >= 0"), more))
    };
    send(&topic, 0..200);
    topic.queue(0, "k", "not json");
    topic.flush();
    assert_eq!(run(&topic.name, &[]).code, Some(0));
    topic.create_anew();
    send(&topic, 1_000..1_150);
    // Each table refuses what comes; then one after the other takes it.
    database.ask("ALTER TABLE {db}.x ADD CONSTRAINT c CHECK id < 1000");
    let said = run(&topic.name, &["--new-generation"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    database.ask("ALTER TABLE {db}.x DROP CONSTRAINT c");
    assert_eq!(run(&topic.name, &[]).code, Some(0));
    assert_eq!(database.ask("SELECT count(), uniqExact(id) FROM {db}.x"), "350\t350");
    // And again, where the newest checkpoint is lost: what came since is taken out, and nothing of the topic before.
    send(&topic, 1_150..1_160);
    assert_eq!(run(&topic.name, &[]).code, Some(0));
    let files = crate::damaged::newest(&folder.path().join("checkpoints/anew"), 2);
    files.iter().for_each(|file| crate::damaged::damage(file, 2));
    let said = run(&topic.name, &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("taken out of the tables and made again"), "{said:?}");
    assert_eq!(database.ask("SELECT count(), uniqExact(id) FROM {db}.x"), "360\t360");
}

#[test]
fn records_that_were_deleted_before_they_were_read_are_named_and_the_job_can_go_on() {
    for (from, kept) in [("2020-01-01", "0 to 99, 150 to 199"), ("earliest", "0 to 99, 150 to 199")] {
        let topic = Topic::create("deleted_records", 1);
        let (database, folder) = (Database::new("deleted_records"), tempfile::tempdir().unwrap());
        let text = query(&topic.name, &database.0, "id >= 0");
        let run = |more: &[&str]| highwater(arguments(folder.path(), "retention", &text, more));
        send(&topic, 0..100);
        assert_eq!(run(&[]).code, Some(0));
        send(&topic, 100..200);
        let mut to = TopicPartitionList::new();
        to.add_partition_offset(&topic.name, 0, Offset::Offset(150)).unwrap();
        block_on(admin().delete_records(&to, &AdminOptions::new())).unwrap();
        let said = run(&[]);
        assert_eq!(said.code, Some(3), "{said:?}");
        assert!(said.err.contains("offsets from 150 up to") && said.err.contains("run once with --from"), "{said:?}");
        let said = run(&["--from", from]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.err.contains("records 100 to 149 of") && said.err.contains("are missing"), "{said:?}");
        let ids = "SELECT concat(min(id), ' to ', max(id)) FROM {db}.x GROUP BY intDiv(id, 50) > 1 ORDER BY 1";
        assert_eq!(database.rows(ids).join(", "), kept);
        assert_eq!(database.ask("SELECT count() FROM {db}.x"), "150");
        send(&topic, 200..210);
        assert_eq!(run(&[]).code, Some(0));
        assert_eq!(database.ask("SELECT count(), uniqExact(id) FROM {db}.x"), "160\t160");
    }
}

#[test]
fn checkpoints_that_are_removed_while_the_job_runs() {
    let topic = Topic::create("removed", 1);
    let database = Database::new("removed");
    let text = query(&topic.name, &database.0, "id >= 0");
    let job = Job::of(database, &text);
    let count = || job.database.ask("SELECT count(), uniqExact(id) FROM {db}.x");
    send(&topic, 0..100);
    let mut running = job.start(&[]);
    // By then there are tables.
    wait_until("it runs", || job.newest() > 0 || running.ended().is_some());
    wait_until("its rows are there", || count() == "100\t100" || running.ended().is_some());
    std::thread::sleep(Duration::from_secs(1));
    std::fs::remove_dir_all(job.checkpoints()).unwrap();
    send(&topic, 100..120);
    assert_eq!(running.wait(), 2);
    let log = running.log();
    assert!(log.contains("are gone, somebody has removed them") && log.contains("--from earliest"), "{log}");
    // It is not started afresh in silence: that would write everything once more.
    let said = job.run(&["--until-caught-up"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("can be used") && said.err.contains("--from earliest"), "{said:?}");
    let said = job.run(&["--until-caught-up", "--from", "earliest"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(count(), "120\t120");
}

#[test]
fn a_view_that_fails_and_a_table_that_somebody_has_dropped_are_told() {
    let topic = Topic::create("told", 1);
    let (database, folder) = (Database::new("told"), tempfile::tempdir().unwrap());
    let text = query(&topic.name, &database.0, "id >= 0");
    let run = |more: &[&str]| highwater(arguments(folder.path(), "told", &text, more));
    send(&topic, 0..10);
    assert_eq!(run(&[]).code, Some(0));
    // An error that may pass, as of a view's table that has too many parts.
    database.ask("CREATE TABLE {db}.seen (id Int64, s UInt8) ENGINE = MergeTree ORDER BY id");
    database.ask(
        "CREATE MATERIALIZED VIEW {db}.v TO {db}.seen AS SELECT assumeNotNull(id) AS id, sleepEachRow(2) AS s FROM {db}.x",
    );
    send(&topic, 10..20);
    let said = run(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("10 rows are in the ClickHouse table") && said.err.contains("may lack them"), "{said:?}");
    assert_eq!(database.ask("SELECT count(), uniqExact(id) FROM {db}.x"), "20\t20");
    database.ask("DROP TABLE {db}.v");
    database.ask("DROP TABLE {db}.x");
    let said = run(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains(".x was there when checkpoint") && !said.err.contains(".w was there"), "{said:?}");
    assert_eq!(run(&["--from", "earliest"]).code, Some(0));
    assert_eq!(database.ask("SELECT count(), uniqExact(id) FROM {db}.x"), "20\t20");
}

/// Such as in a container whose volume is not mounted.
#[test]
fn a_job_without_checkpoints_does_not_start_beside_its_rows() {
    let topic = Topic::create("volume", 1);
    let database = Database::new("volume");
    let text = query(&topic.name, &database.0, "id >= 0");
    let [mounted, empty] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let run = |folder: &Path, more: &[&str]| highwater(arguments(folder, "volume", &text, more));
    let count = || database.ask("SELECT count(), uniqExact(id) FROM {db}.x");
    send(&topic, 0..100);
    assert_eq!(run(mounted.path(), &[]).code, Some(0));
    let said = run(empty.path(), &[]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("is --checkpoint-dir right?") && said.err.contains("--from earliest"), "{said:?}");
    assert_eq!(count(), "100\t100");
    send(&topic, 100..110);
    assert_eq!(run(mounted.path(), &[]).code, Some(0));
    assert_eq!(count(), "110\t110");
    assert_eq!(run(empty.path(), &["--from", "earliest"]).code, Some(0));
    assert_eq!(count(), "110\t110");
    // Whoever wants it.
    let afresh = tempfile::tempdir().unwrap();
    assert_eq!(run(afresh.path(), &["--reset-state"]).code, Some(0));
    assert_eq!(count(), "220\t110");
}

/// Results that were on their way, of windows that are not made again.
#[test]
fn what_was_on_its_way_is_delivered_before_a_job_is_set_back() {
    let topic = Topic::create("waiting", 1);
    let (database, folder) = (Database::new("waiting"), tempfile::tempdir().unwrap());
    let text = query(&topic.name, &database.0, "id >= 0");
    let run = |more: &[&str]| highwater(arguments(folder.path(), "waiting", &text, more));
    let windows = || database.ask("SELECT count(), sum(n), uniqExact(window_start) FROM {db}.w");
    send(&topic, 0..100);
    assert_eq!(run(&[]).code, Some(0));
    assert_eq!(windows(), "1\t60\t1");
    database.ask("ALTER TABLE {db}.w ADD CONSTRAINT c CHECK n < 0");
    send(&topic, 100..400);
    assert_eq!(run(&[]).code, Some(3));
    database.ask("ALTER TABLE {db}.w DROP CONSTRAINT c");
    // Windows that begin before stay as they are: four of them are only in the checkpoint.
    let said = run(&["--from", "2026-01-01T00:05:00Z"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    send(&topic, 400..500);
    assert_eq!(run(&[]).code, Some(0));
    assert_eq!(windows(), "8\t480\t8");
    assert_eq!(database.ask("SELECT count(), uniqExact(id) FROM {db}.x"), "500\t500");
}
