//! A million generated events, with disorder and late ones: the results are those of a batch query over the same
//! topic, with any number of lanes, and after stops and resumes.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use data_gen::events::EventsConfig;
use highwater::job::running::Outcome;

use crate::oracle::Oracle;
use crate::run::{bounded, run, run_until, with_checkpoints};
use crate::stack::{Database, assert_same, clickhouse_url, kafka_brokers};
use crate::topic::Topic;

/// Behind the greatest event time. Less than the disorder, so that the order of arrival decides about many rows.
const DELAY: i64 = 3_000;
/// Registrations, which are late when they came so.
const WINDOW: i64 = 10_000;
/// All changes: updates and deletes carry the time of the registration, so that most of them are late.
const WIDE_WINDOW: i64 = 60_000;

/// The query of these tests and those of `crash`.
pub(crate) fn query(topic: &str, database: &str) -> String {
    query_at(topic, database, &kafka_brokers(), &clickhouse_url())
}

/// The same, with the services at these addresses.
pub(crate) fn query_at(topic: &str, database: &str, brokers: &str, clickhouse: &str) -> String {
    let to = |table: &str| {
        format!(
            "'connector' = 'clickhouse', 'url' = '{clickhouse}', 'table' = '{database}.{table}', 'sink.timeout' = '20 s'"
        )
    };
    format!(
        "CREATE TABLE customer (
           customer_id INT, store_id INT, email STRING, create_date TIMESTAMP(3),
           PRIMARY KEY (customer_id), WATERMARK FOR create_date AS create_date - INTERVAL '3' SECOND
         ) WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{brokers}', 'format' = 'debezium-json');
         CREATE TABLE changes WITH ({});
         CREATE TABLE mirror WITH ({});
         CREATE TABLE registrations WITH ({});
         CREATE TABLE activity WITH ({});
         INSERT INTO changes SELECT customer_id, store_id, create_date, _op FROM CHANGES(customer);
         INSERT INTO mirror SELECT customer_id, store_id, email FROM customer;
         INSERT INTO registrations
         SELECT window_start, window_end, store_id, count(*) AS registrations, min(customer_id) AS first, sum(customer_id) AS ids, count(email) AS emails
         FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '10' SECOND)
         WHERE _op IN ('c', 'r') GROUP BY window_start, window_end, store_id;
         INSERT INTO activity
         SELECT window_start, _op AS op, count(*) AS events, max(email) AS last_email
         FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '1' MINUTE) GROUP BY window_start, window_end, _op;",
        to("changes"),
        to("mirror"),
        to("registrations"),
        to("activity")
    )
}

/// Compares all that a job left in ClickHouse with the oracle.
pub(crate) fn check(database: &Database, oracle: &Oracle) {
    let all = oracle.events.len();
    assert_eq!(
        database.ask("SELECT count(), uniqExact(_partition, _offset) FROM {db}.changes"),
        format!("{all}\t{all}"),
        "each change event once"
    );
    let digest = "SELECT _op, count(), sum(toInt64(customer_id)), sum(toInt64(store_id)), sum(toUnixTimestamp64Milli(create_date)) FROM {db}.changes GROUP BY _op";
    let expected =
        "SELECT op, count(*), sum(customer_id), sum(store_id), sum(CAST(create_date AS BIGINT)) FROM t GROUP BY op";
    assert_same("changes", &database.rows(digest), &oracle.query(WINDOW, expected));

    let late = "SELECT _partition, _offset FROM {db}.registrations_late";
    assert_same("late registrations", &database.rows(late), &oracle.late(WINDOW, &["c", "r"]));
    let late = "SELECT _partition, _offset FROM {db}.activity_late";
    assert_same("late changes", &database.rows(late), &oracle.late(WIDE_WINDOW, &["c", "r", "u", "d"]));

    let windows =
        "SELECT window_start, window_end, store_id, registrations, first, ids, emails FROM {db}.registrations";
    let batch = "SELECT date_bin(INTERVAL '10 seconds', create_date) AS s, date_bin(INTERVAL '10 seconds', create_date) + INTERVAL '10 seconds', store_id,
                 count(*), min(customer_id), sum(customer_id), count(email)
                 FROM t WHERE op IN ('c', 'r') AND NOT late GROUP BY 1, 2, 3";
    assert_same("windows of registrations", &database.rows(windows), &oracle.query(WINDOW, batch));
    let windows = "SELECT window_start, op, events, last_email FROM {db}.activity";
    let batch = "SELECT date_bin(INTERVAL '1 minute', create_date), op, count(*), max(email) FROM t WHERE NOT late GROUP BY 1, 2";
    assert_same("windows of all changes", &database.rows(windows), &oracle.query(WIDE_WINDOW, batch));

    // Final windows and late rows together are what the whole topic gives.
    let together = "SELECT s, store, sum(n) FROM (
                      SELECT window_start AS s, store_id AS store, registrations AS n FROM {db}.registrations
                      UNION ALL SELECT window_start, store_id, toInt64(sign) FROM {db}.registrations_late) GROUP BY s, store";
    let batch = "SELECT date_bin(INTERVAL '10 seconds', create_date), store_id, count(*) FROM t WHERE op IN ('c', 'r') GROUP BY 1, 2";
    assert_same("windows and late rows", &database.rows(together), &oracle.query(WINDOW, batch));

    assert_same("mirror", &database.rows("SELECT customer_id, store_id, email FROM {db}.mirror"), &oracle.current());
    assert_same("dead letters", &database.rows("SELECT _partition, _offset FROM {db}.dead_letters"), &oracle.malformed);
}

/// Generated customers in a topic of their own, and what they mean.
pub(crate) fn customers(what: &str, total: u64) -> (Topic, Oracle) {
    let topic = Topic::create(what, 4);
    let summary = topic.generate(EventsConfig { total, ..EventsConfig::default() }, None);
    let oracle = Oracle::of(&topic.name, DELAY);
    assert_eq!(oracle.events.len() as u64, summary.events());
    assert!(!oracle.late(WINDOW, &["c"]).is_empty());
    (topic, oracle)
}

#[test]
fn a_million_events_give_what_a_batch_query_gives() {
    let total = std::env::var("HIGHWATER_TEST_EVENTS").map_or(1_000_000, |text| text.parse().unwrap());
    let started = Instant::now();
    let told = |what: &str| println!("{:6.1} s: {what}", started.elapsed().as_secs_f64());
    let (topic, oracle) = customers("million", total);
    told(&format!(
        "{} events generated and read, {} late registrations",
        oracle.events.len(),
        oracle.late(WINDOW, &["c"]).len()
    ));
    for lanes in [1, 2, 4] {
        let database = Database::new("million");
        let mut settings = bounded(&database.0);
        settings.lanes = lanes;
        settings.flush_interval = Duration::from_secs(1);
        let progress = run(&query(&topic.name, &database.0), settings).unwrap();
        assert_eq!(progress.events.load(Relaxed), total);
        told(&format!("{lanes} lanes"));
        check(&database, &oracle);
        told("checked");
    }

    // Stopped twice on the way, with other lanes each time.
    let (database, folder) = (Database::new("million_resumed"), tempfile::tempdir().unwrap());
    let mut settings = with_checkpoints(bounded(&database.0), folder.path());
    settings.checkpoint_interval = Duration::from_secs(2);
    for (lanes, enough, expected) in
        [(2, total / 4, Outcome::Stopped), (4, total / 4, Outcome::Stopped), (1, u64::MAX, Outcome::Finished)]
    {
        settings.lanes = lanes;
        let is_enough = move |progress: &highwater::job::progress::Progress| progress.events.load(Relaxed) >= enough;
        let (outcome, progress) = run_until(&query(&topic.name, &database.0), settings.clone(), is_enough).unwrap();
        told(&format!("{lanes} lanes, {outcome:?} after {} events", progress.events.load(Relaxed)));
        assert_eq!(outcome, expected);
    }
    check(&database, &oracle);
    told("checked");
}

/// A job that starts afresh in tables that have the rows of an earlier one of its name: all its rows are written beside
/// them, whatever the earlier epochs and ranges were; the server's memory of tokens drops none.
#[test]
fn a_job_that_is_started_afresh_is_written_wholly() {
    let (topic, oracle) = customers("again", 20_000);
    let database = Database::new("again");
    for (lanes, flush) in [(1, 20), (2, 90), (4, 40)] {
        let mut settings = bounded("again");
        settings.lanes = lanes;
        settings.flush_interval = Duration::from_millis(flush);
        run(&query(&topic.name, &database.0), settings).unwrap();
    }
    for table in ["changes", "registrations_late", "activity_late"] {
        let sql = format!(
            "SELECT uniqExact(n), any(n) FROM (SELECT count() AS n FROM {{db}}.{table} GROUP BY _partition, _offset)"
        );
        assert_eq!(database.ask(&sql), "1\t3", "{table}");
    }
    for (table, key) in [("registrations", "window_start, store_id"), ("activity", "window_start, op")] {
        let sql = format!("SELECT uniqExact(n), any(n) FROM (SELECT count() AS n FROM {{db}}.{table} GROUP BY {key})");
        assert_eq!(database.ask(&sql), "1\t3", "{table}");
    }
    assert_same("mirror", &database.rows("SELECT customer_id, store_id, email FROM {db}.mirror"), &oracle.current());
}
