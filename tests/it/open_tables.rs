//! Tables whose columns are left out: looked up in their records, followed when they change; and whole databases.

use std::path::Path;

use highwater::job::settings::Ending;

use crate::run::{Running, bounded, run, wait_until, with_checkpoints};
use crate::stack::{Database, clickhouse_url, kafka_brokers, unique};
use crate::topic::Topic;

const NOW: i64 = 1_767_225_600_000;

/// A change without a schema around it.
fn change(op: &str, before: &str, after: &str) -> String {
    format!(r#"{{"before":{before},"after":{after},"source":{{"ts_ms":{NOW}}},"op":"{op}","ts_ms":{NOW}}}"#)
}

fn send(topic: &Topic, partition: i32, key: &str, value: &str) {
    topic.send(partition, Some(key), Some(value.as_bytes()), NOW);
    topic.flush();
}

fn insert(topic: &Topic, id: u32, rest: &str) {
    send(topic, 0, &format!("{{\"id\":{id}}}"), &change("c", "null", &format!("{{\"id\":{id}{rest}}}")));
}

fn kafka(topic: &str) -> String {
    let brokers = kafka_brokers();
    format!(
        "'connector' = 'kafka', {topic}, 'properties.bootstrap.servers' = '{brokers}', 'format' = 'debezium-json', \
         'properties.topic.metadata.refresh.interval.ms' = '500'"
    )
}

fn clickhouse(database: &Database, table: &str) -> String {
    format!("'connector' = 'clickhouse', 'url' = '{}', 'database' = '{}'{table}", clickhouse_url(), database.0)
}

#[test]
fn columns_come_from_the_records_and_new_ones_appear_in_mid_stream() {
    let (topic, database) = (Topic::create("open", 1), Database::new("open"));
    insert(&topic, 1, r#","name":"a","price":1.5,"many":1,"nothing":null"#);
    insert(&topic, 2, r#","name":"b","price":2,"many":2,"tags":["x","y"]"#);
    let query = format!(
        "CREATE TABLE t WITH ({});
         CREATE TABLE m WITH ({});
         CREATE TABLE log WITH ({});
         INSERT INTO m SELECT * FROM t;
         INSERT INTO log SELECT * FROM CHANGES(t);",
        kafka(&format!("'topic' = '{}'", topic.name)),
        clickhouse(&database, ", 'table' = 'm'"),
        clickhouse(&database, ", 'table' = 'log'"),
    );
    let folder = tempfile::tempdir().unwrap();
    let settings = || {
        let mut settings = with_checkpoints(bounded("open"), folder.path());
        settings.ending = Ending::UntilCaughtUp;
        settings
    };
    run(&query, settings()).unwrap();
    let described = "SELECT name, type FROM system.columns WHERE database = '{db}' AND table = 'm' ORDER BY position";
    assert_eq!(
        database.ask(described),
        "id\tInt64\nname\tNullable(String)\nprice\tNullable(Float64)\nmany\tNullable(Int64)\ntags\tNullable(String)",
    );
    // A column that is new, one that was null before, and a row without either; the job is resumed.
    insert(&topic, 3, r#","name":"c","added":true"#);
    insert(&topic, 4, r#","nothing":7,"price":0.25"#);
    send(&topic, 0, "{\"id\":1}", &change("u", r#"{"id":1,"name":"a"}"#, r#"{"id":1,"name":"A","later":"x"}"#));
    send(&topic, 0, "{\"id\":2}", &change("d", r#"{"id":2,"name":"b"}"#, "null"));
    run(&query, settings()).unwrap();
    assert_eq!(
        database.ask("SELECT id, name, price, many, tags, added, nothing, later FROM {db}.m ORDER BY id"),
        "1\tA\t\\N\t\\N\t\\N\t\\N\t\\N\tx\n3\tc\t\\N\t\\N\t\\N\ttrue\t\\N\t\\N\n4\t\\N\t0.25\t\\N\t\\N\t\\N\t7\t\\N",
    );
    assert_eq!(
        database.ask("SELECT _offset, _op, id, tags, added FROM {db}.log ORDER BY _offset"),
        "0\tc\t1\t\\N\t\\N\n1\tc\t2\t[\"x\",\"y\"]\t\\N\n2\tc\t3\t\\N\ttrue\n3\tc\t4\t\\N\t\\N\n4\tu\t1\t\\N\t\\N\n5\td\t2\t\\N\t\\N",
    );
    // The whole topic once more, all columns known from its end, into other tables: the same.
    let again = query.replace("'m'", "'m2'").replace("'log'", "'log2'");
    run(&again, bounded("open2")).unwrap();
    for table in ["m", "log"] {
        let rows = |table: &str| {
            database.rows(&format!("SELECT id, name, price, many, tags, added, nothing, later FROM {{db}}.{table}"))
        };
        assert_eq!(rows(&format!("{table}2")), rows(table));
    }
}

#[test]
fn a_database_is_mirrored_with_the_tables_that_appear_and_without_those_that_break() {
    let (prefix, database) = (unique("db"), Database::new("db"));
    let topic = |name: &str| Topic::named(format!("{prefix}.shop.{name}"), 2);
    let (customers, orders, heartbeat) = (topic("customers"), topic("orders"), topic("heartbeat"));
    insert(&customers, 1, r#","name":"a""#);
    insert(&orders, 7, r#","amount":1"#);
    heartbeat.send(0, Some("{\"serverName\":\"x\"}"), Some(format!("{{\"ts_ms\":{NOW}}}").as_bytes()), NOW);
    heartbeat.flush();
    let query = format!(
        "CREATE DATABASE shop WITH ({});
         CREATE DATABASE copies WITH ({}) AS DATABASE shop INCLUDING ALL TABLES EXCLUDING TABLES 'secret.*';",
        kafka(&format!("'topic-pattern' = '{}[.]shop[.].*'", prefix)),
        clickhouse(&database, ""),
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("db.sql");
    std::fs::write(&file, query).unwrap();
    let log = folder.path().join("log");
    let start = || start(&file, folder.path(), &log);
    let mut job = start();
    let tables = || database.rows("SELECT name FROM system.tables WHERE database = '{db}' AND engine = 'View'");
    wait_until("the first tables are there", || tables() == ["customers", "orders"]);
    wait_until("their rows are there", || database.ask("SELECT amount FROM {db}.orders") == "1");
    let (late, secret) = (topic("late_comer"), topic("secrets"));
    insert(&secret, 1, "");
    insert(&late, 1, r#","x":"1""#);
    insert(&late, 2, r#","x":"2""#);
    // Wider, and a new column.
    insert(&orders, 8, r#","amount":5000000000000.5,"note":"n""#);
    wait_until("the new table is there", || tables() == ["customers", "late_comer", "orders"]);
    wait_until("the new column is there", || {
        database.ask("SELECT toTypeName(amount) FROM {db}.orders LIMIT 1") == "Nullable(Float64)"
    });
    wait_until("the wide row is there", || {
        database.ask("SELECT amount, note FROM {db}.orders WHERE id = 8") == "5000000000000.5\tn"
    });
    assert_eq!(job.ended(), None, "{}", job.log());
    // What does not go together with the old stops this table alone, now and after a restart.
    insert(&customers, 2, r#","name":"b","id2":1"#);
    send(&customers, 0, "\"k\"", &change("c", "null", r#"{"id":"x","name":"c","more":1}"#));
    insert(&customers, 3, r#","name":"d""#);
    wait_until("it is said", || job.log().contains("is not read any further"));
    insert(&late, 3, r#","x":"3""#);
    wait_until("other tables go on", || database.ask("SELECT count() FROM {db}.late_comer") == "3");
    assert_eq!(job.stop(), 0);
    let job = start();
    insert(&late, 4, r#","x":"4""#);
    wait_until("other tables go on", || database.ask("SELECT count() FROM {db}.late_comer") == "4");
    assert_eq!(database.rows("SELECT id, name, id2 FROM {db}.customers"), ["1\ta\t\\N", "2\tb\t1"]);
    assert_eq!(job.stop(), 0);
    assert_eq!(database.rows("SELECT _version % 100, count() FROM {db}.late_comer_versions GROUP BY 1").len(), 4);
}

fn start(file: &Path, folder: &Path, log: &Path) -> Running {
    let folder = folder.join("checkpoints");
    Running::start(
        ["run", file.to_str().unwrap(), "--checkpoint-dir", folder.to_str().unwrap(), "--flush-interval", "100ms"],
        log,
    )
}

/// Many tables over one connection. `HIGHWATER_TEST_TABLES=1000` by hand.
#[test]
fn many_tables_share_one_consumer() {
    let count: usize = std::env::var("HIGHWATER_TEST_TABLES").map_or(40, |text| text.parse().unwrap());
    let (prefix, database) = (unique("many"), Database::new("many"));
    let topics = Topic::many((0..count).map(|number| format!("{prefix}.t{number}")).collect());
    for round in 1..=3 {
        topics.iter().for_each(|topic| {
            topic.queue(
                0,
                &format!("{{\"id\":{round}}}"),
                &change("c", "null", &format!("{{\"id\":{round},\"x\":\"{round}\"}}")),
            )
        });
    }
    topics.iter().for_each(Topic::flush);
    let query = format!(
        "CREATE DATABASE d WITH ({});
         CREATE DATABASE copies WITH ({}) AS DATABASE d INCLUDING ALL TABLES;",
        kafka(&format!("'topic-pattern' = '{prefix}[.].*'")),
        clickhouse(&database, ""),
    );
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let before = threads();
    let most = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = std::sync::Arc::clone(&most);
    let watch = move |_: &highwater::job::progress::Progress| {
        seen.fetch_max(threads(), std::sync::atomic::Ordering::Relaxed);
        false
    };
    crate::run::run_until(&query, bounded("many"), watch).unwrap();
    let rows = database.ask(
        "SELECT count(), sum(total_rows) FROM system.tables WHERE database = '{db}' AND name LIKE 't%\\_versions'",
    );
    assert_eq!(rows, format!("{count}\t{}", 3 * count));
    let most = most.load(std::sync::atomic::Ordering::Relaxed);
    assert!(most < before + 60, "{most} threads, {before} before: a table must not cost threads");
}
