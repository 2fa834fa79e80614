//! Joins with small tables that change while the job runs: files, topics, tables of ClickHouse.

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use highwater::checkpoint::CheckpointStore;
use highwater::job::running::Outcome;
use highwater::job::settings::{Ending, Settings};

use crate::filesystem::Folder;
use crate::run::{bounded, run, run_until, wait_until};
use crate::stack::{Database, clickhouse_url, kafka_brokers};
use crate::topic::Topic;

/// A job without end, beside the test, until there is a file of this name.
fn start(text: String, stop: PathBuf) -> JoinHandle<Outcome> {
    let mut settings = Settings::new("lookup", Ending::Endless, CheckpointStore::in_memory("lookup"));
    settings.flush_interval = Duration::from_millis(50);
    std::thread::spawn(move || run_until(&text, settings, move |_| stop.exists()).unwrap().0)
}

/// Appends rows with numbers until one comes out that satisfies.
fn send_until(folder: &Folder, number: &mut usize, is_there: &str) {
    wait_until(&format!("{is_there} comes"), || {
        *number += 1;
        folder.append("rows.json", &format!("{{\"n\":{number},\"id\":1}}\n"));
        std::thread::sleep(Duration::from_millis(100));
        folder.path("out").exists() && folder.lines("out").iter().any(|line| line.contains(is_there))
    });
}

const ROWS: &str = "CREATE TABLE numbered (n INT, id INT) WITH ('connector' = 'filesystem', 'path' = '{dir}/rows.json', 'format' = 'json');
CREATE TABLE results WITH ('connector' = 'filesystem', 'path' = '{dir}/out/', 'format' = 'json');";
const QUERY: &str = "INSERT INTO results SELECT n, name FROM numbered AS r LEFT JOIN small AS s ON r.id = s.id;";

#[test]
fn files_are_read_again_and_what_cannot_be_read_leaves_the_rows_as_they_were() {
    let folder = Folder::new();
    folder.write("rows.json", "");
    folder.write("small.csv", "id,name\n1,first\n2,other\n");
    let small = "CREATE TABLE small (id INT, name STRING) WITH ('connector' = 'filesystem', 'path' = '{dir}/small.csv', 'format' = 'csv',
                     'lookup.cache' = 'FULL', 'lookup.full-cache.periodic-reload.interval' = '200 ms');";
    let text = folder.sql(&[ROWS, small, QUERY].concat());
    let job = start(text.clone(), folder.path("stop"));
    let mut number = 0;
    send_until(&folder, &mut number, "first");
    folder.write("small.csv", "id,name\n1,second\n");
    send_until(&folder, &mut number, "second");
    std::fs::remove_file(folder.path("small.csv")).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let before = number;
    send_until(&folder, &mut number, &format!("{{\"n\":{},\"name\":\"second\"}}", before + 1));
    folder.write("stop", "");
    assert_eq!(job.join().unwrap(), Outcome::Stopped);
    let error = run(&text, bounded("missing")).unwrap_err().to_string();
    assert!(error.contains("small") && error.contains("small.csv"), "{error}");
}

#[test]
fn topics_are_followed() {
    let topic = Topic::create("small", 1);
    let now = 1_772_359_200_000;
    let send = |value: &str| {
        topic.send(0, Some("1"), Some(value.as_bytes()), now);
        topic.flush();
    };
    send("{\"op\":\"c\",\"after\":{\"id\":1,\"name\":\"first\"}}");
    let folder = Folder::new();
    folder.write("rows.json", "");
    let small = format!(
        "CREATE TABLE small (id INT, name STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector' = 'kafka', 'topic' = '{}',
             'properties.bootstrap.servers' = '{}', 'format' = 'debezium-json', 'lookup.cache' = 'FULL');",
        topic.name,
        kafka_brokers()
    );
    let job = start(folder.sql(&[ROWS, &small, QUERY].concat()), folder.path("stop"));
    let mut number = 0;
    send_until(&folder, &mut number, "first");
    assert!(!folder.lines("out").iter().any(|line| line.contains("null")), "the topic is read before the first row");
    send("{\"op\":\"u\",\"after\":{\"id\":1,\"name\":\"second\"}}");
    send_until(&folder, &mut number, "second");
    send("{\"op\":\"d\",\"before\":{\"id\":1,\"name\":\"second\"},\"after\":null}");
    send_until(&folder, &mut number, "null");
    folder.write("stop", "");
    assert_eq!(job.join().unwrap(), Outcome::Stopped);
}

#[test]
fn tables_of_clickhouse_are_read_again() {
    let database = Database::new("lookup");
    let ask = |sql: &str| database.ask(sql);
    ask("CREATE DATABASE {db}");
    ask("CREATE TABLE {db}.small (id Int32, name Nullable(String), price Decimal(10, 2), at DateTime64(3, 'Europe/Berlin'), big UInt64,
         version UInt64) ENGINE = ReplacingMergeTree(version) ORDER BY id");
    ask("INSERT INTO {db}.small VALUES (1, 'old', 1, '2026-03-01 00:00:00', 1, 1)");
    ask(
        "INSERT INTO {db}.small VALUES (1, 'it\\'s \"first\"', 1.50, '2026-03-01 11:00:00.125', 18446744073709551615, 2), (2, NULL, 0, 0, 0, 1)",
    );
    let folder = Folder::new();
    folder.write("rows.json", "{\"n\":1,\"id\":1}\n{\"n\":2,\"id\":2}\n{\"n\":3,\"id\":3}\n");
    let small = format!(
        "CREATE TABLE small (id INT, name STRING, price DECIMAL(10, 2), at TIMESTAMP(3), big BIGINT UNSIGNED) WITH ('connector' = 'clickhouse',
             'url' = '{}', 'table' = '{}.small', 'lookup.full-cache.periodic-reload.interval' = '200 ms');",
        clickhouse_url(),
        database.0
    );
    let all = "INSERT INTO results SELECT n, name, price, at, big FROM numbered AS r JOIN small AS s ON r.id = s.id;";
    run(&folder.sql(&[ROWS, &small, all].concat()), bounded("clickhouse")).unwrap();
    assert_eq!(
        folder.lines("out"),
        [
            "{\"n\":1,\"name\":\"it's \\\"first\\\"\",\"price\":1.50,\"at\":\"2026-03-01T10:00:00.125\",\"big\":18446744073709551615}",
            "{\"n\":2,\"name\":null,\"price\":0.00,\"at\":\"1970-01-01T00:00:00\",\"big\":0}",
        ]
    );
    let folder = Folder::new();
    folder.write("rows.json", "");
    let job = start(folder.sql(&[ROWS, &small, QUERY].concat()), folder.path("stop"));
    let mut number = 0;
    send_until(&folder, &mut number, "first");
    ask("INSERT INTO {db}.small VALUES (1, 'second', 1.50, 0, 3, 3)");
    send_until(&folder, &mut number, "second");
    folder.write("stop", "");
    assert_eq!(job.join().unwrap(), Outcome::Stopped);
}
