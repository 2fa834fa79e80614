//! The binary as a user meets it: help, messages, exit codes, signals.

use std::fs;
use std::path::Path;

use crate::run::{Running, highwater, wait_until};
use crate::stack::{Database, clickhouse_url, kafka_brokers, unique};
use crate::topic::Topic;

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const QUERY: &str = "\
CREATE TABLE customer (
  customer_id INT, store_id SMALLINT, email STRING, create_date TIMESTAMP(3),
  PRIMARY KEY (customer_id) NOT ENFORCED,
  WATERMARK FOR create_date AS create_date - INTERVAL '10' SECOND
) WITH (
  'connector' = 'kafka', 'topic' = '${TOPIC:-shop.sakila.customer}',
  'properties.bootstrap.servers' = '${KAFKA_BROKERS:-localhost:9092}', 'format' = 'debezium-json'
);
CREATE TABLE changes WITH ('connector' = 'clickhouse', 'url' = '${CLICKHOUSE_URL:-http://localhost:8123}', 'table' = '${DB:-shop}.changes');
CREATE TABLE windows WITH ('connector' = 'clickhouse', 'url' = '${CLICKHOUSE_URL:-http://localhost:8123}', 'table' = '${DB:-shop}.windows');
INSERT INTO changes SELECT * FROM CHANGES(customer);
INSERT INTO windows
SELECT window_start, window_end, store_id, count(*) AS registrations
FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '5' MINUTE)
WHERE _op IN ('c', 'r')
GROUP BY window_start, window_end, store_id
EMIT ON WINDOW CLOSE;
";

#[test]
fn help_has_examples_and_exit_codes() {
    let said = highwater(["--help"]);
    assert_eq!(said.code, Some(0));
    for part in ["Exit codes", "run", "validate", "explain"] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    let said = highwater(["run", "--help"]);
    assert_eq!(said.code, Some(0));
    for part in ["Examples:", "--bounded", "--until-caught-up", "--checkpoint-dir", "--set", "--name"] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    assert_eq!(highwater(["--version"]).code, Some(0));
    for arguments in [
        vec!["run"],
        vec!["rnu", "x.sql"],
        vec!["run", "x.sql", "--bounded", "--until-caught-up"],
        vec!["run", "x.sql", "--lanes", "0"],
    ] {
        assert_eq!(highwater(&arguments).code, Some(2), "{arguments:?}");
    }
}

#[test]
fn mistakes_are_shown_where_they_are_with_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (
            "column",
            QUERY.replace("count(*) AS registrations", "count(emial) AS registrations"),
            13,
            50,
            "column \"emial\" not found",
            "did you mean \"email\"?",
        ),
        (
            "table",
            QUERY.replace("CHANGES(customer), create_date", "CHANGES(custmer), create_date"),
            14,
            21,
            "\"custmer\" not found",
            "did you mean \"customer\"?",
        ),
        (
            "target",
            QUERY.replace("INSERT INTO windows", "INSERT INTO window"),
            12,
            13,
            "\"window\" not found",
            "did you mean \"windows\"?",
        ),
        ("option", QUERY.replace("'topic' =", "'topci' ="), 6, 26, "option 'topci'", "did you mean \"topic\"?"),
        (
            "connector",
            QUERY.replace("'connector' = 'kafka'", "'connector' = 'kafak'"),
            6,
            3,
            "connector 'kafak'",
            "did you mean \"kafka\"?",
        ),
        ("type", QUERY.replace("email STRING", "email STRNG"), 2, 45, "STRNG", "STRING"),
        (
            "variable",
            QUERY.replace("${TOPIC:-shop.sakila.customer}", "${TOPIC_NOT_SET}"),
            6,
            37,
            "TOPIC_NOT_SET",
            "--set TOPIC_NOT_SET=VALUE",
        ),
        (
            "watermark",
            QUERY.replace("WATERMARK FOR create_date AS create_date", "WATERMARK FOR created_date AS created_date"),
            4,
            17,
            "created_date",
            "did you mean \"create_date\"?",
        ),
        (
            "syntax",
            QUERY.replace("GROUP BY window_start", "GROUP window_start"),
            16,
            7,
            "expected BY after GROUP, found `window_start`",
            "",
        ),
        ("hop", QUERY.replace("TUMBLE(", "HOP("), 14, 6, "HOP has 3 arguments", "the slide before the size"),
        ("function", QUERY.replace("count(*)", "cuont(*)"), 13, 44, "cuont", "count"),
    ];
    let mut wrong = Vec::new();
    for (name, text, line, column, what, hint) in cases {
        let path = file(folder.path(), &format!("{name}.sql"), &text);
        for command in ["validate", "explain"] {
            let said = highwater([command, &path]);
            assert_eq!(said.code, Some(2), "{name}: {said:?}");
            let place = format!("{name}.sql:{line}:{column}: ");
            if ![place.as_str(), what, hint].iter().all(|part| said.err.contains(part))
                || said.err.matches(&place).count() > 1
            {
                wrong.push(format!("{place}{what}{hint} is said as\n{}", said.err));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn validate_is_content_with_good_queries() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "good.sql", QUERY);
    let said = highwater(["validate", &path]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{said:?}");
    let said = highwater(["validate", "not-there.sql"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("not-there.sql"), "{said:?}");
}

#[test]
fn explain_prints_a_tree() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "good.sql", QUERY);
    let said = highwater(["explain", &path, "--set", "DB=mine"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for part in [
        "customer ← kafka shop.sakila.customer (debezium-json)",
        "├─ reads every change event of customer",
        "└─ reads every change event of customer",
        "event time create_date, watermark 10s behind",
        "window TUMBLE of 5 minutes",
        "groups by window, store_id",
        "→ clickhouse mine.changes (each row once)",
        "→ clickhouse mine.windows (each window and group once, final)",
        "records that cannot be used → clickhouse mine.dead_letters",
    ] {
        assert!(said.out.contains(part), "{part}:\n{}", said.out);
    }
}

#[test]
fn the_projects_queries_are_valid_and_explained() {
    let path = |name: &str| format!("{}/queries/{name}.sql", env!("CARGO_MANIFEST_DIR"));
    let lines: [(&str, &[&str]); 2] = [
        (
            "registrations_per_store",
            &[
                "customer ← kafka shop.sakila.customer (debezium-json)",
                "the current rows of customer",
                "→ clickhouse shop.customer_changes (each row once)",
                "→ clickhouse shop.customer (one row per primary key, the newest)",
                "→ clickhouse shop.registrations_per_store (each window and group once, final)",
            ],
        ),
        (
            "registrations_from_trigger",
            &[
                "users_change_events ← kafka shop.sakila.users_change_events (debezium-json)",
                "groups by window, store_id",
                "→ clickhouse shop.registrations_from_trigger (each window and group once, final)",
            ],
        ),
    ];
    for (name, parts) in lines {
        let said = highwater(["validate", &path(name)]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let said = highwater(["explain", &path(name)]);
        assert_eq!(said.code, Some(0), "{said:?}");
        for part in parts {
            assert!(said.out.contains(part), "{part}:\n{}", said.out);
        }
    }
}

#[test]
fn what_is_missing_outside_is_said_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "q.sql", QUERY);
    let (brokers, url) = (format!("KAFKA_BROKERS={}", kafka_brokers()), format!("CLICKHOUSE_URL={}", clickhouse_url()));
    let database = Database::new("cli_missing");
    let topic = format!("TOPIC={}", unique("not_there"));
    let said = highwater([
        "run",
        &path,
        "--bounded",
        "--set",
        &brokers,
        "--set",
        &url,
        "--set",
        &topic,
        "--set",
        &format!("DB={}", database.0),
    ]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(
        said.err.contains("does not exist at") && said.err.contains(topic.trim_start_matches("TOPIC=")),
        "{said:?}"
    );
    // A path that is not there.
    let text = "CREATE TABLE t (id INT) WITH ('connector' = 'filesystem', 'path' = '/not/there.json', 'format' = 'json'); SELECT id FROM t;";
    let said = highwater(["run", &file(folder.path(), "path.sql", text), "--bounded"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("/not/there.json"), "{said:?}");
}

#[test]
fn sigterm_ends_with_everything_delivered_and_what_a_changed_query_may_do() {
    let folder = tempfile::tempdir().unwrap();
    let (topic, database) = (Topic::create("cli", 2), Database::new("cli"));
    let send = |ids: std::ops::Range<i64>| {
        for id in ids {
            let value = format!(
                "{{\"before\":null,\"after\":{{\"customer_id\":{id},\"store_id\":{},\"email\":null,\"create_date\":{}}},\"op\":\"c\",\"source\":{{\"ts_ms\":1}}}}",
                id % 3,
                1_767_225_600_000 + id * 1000
            );
            topic.send(
                (id % 2) as i32,
                Some(&format!("{{\"customer_id\":{id}}}")),
                Some(value.as_bytes()),
                1_767_225_600_000 + id * 1000,
            );
        }
        topic.flush();
    };
    send(0..1000);
    let path = file(folder.path(), "cli_job.sql", QUERY);
    let checkpoints = folder.path().join("checkpoints");
    let set = [
        format!("KAFKA_BROKERS={}", kafka_brokers()),
        format!("CLICKHOUSE_URL={}", clickhouse_url()),
        format!("TOPIC={}", topic.name),
        format!("DB={}", database.0),
    ];
    let arguments = |path: &str, more: &[&str]| {
        let mut arguments =
            vec!["run".to_owned(), path.to_owned(), "--checkpoint-dir".into(), checkpoints.to_str().unwrap().into()];
        set.iter().for_each(|it| arguments.extend(["--set".to_owned(), it.clone()]));
        arguments.extend(more.iter().map(|&it| it.to_owned()));
        arguments
    };
    let log = folder.path().join("log");
    let count = || {
        if database.ask("EXISTS TABLE {db}.changes") == "1" {
            database.ask("SELECT count() FROM {db}.changes")
        } else {
            String::new()
        }
    };
    let running = Running::start(arguments(&path, &["--flush-interval", "100ms"]), &log);
    wait_until("the first rows are there", || count() == "1000");
    // What has been read when the signal comes is delivered; the flush interval of a minute would not have done it.
    assert_eq!(running.stop(), 0);
    let running = Running::start(arguments(&path, &["--flush-interval", "1min"]), &log);
    wait_until("it runs", || running.log().contains("goes on from checkpoint"));
    send(1000..1500);
    std::thread::sleep(std::time::Duration::from_secs(3));
    let log_before = running.log();
    assert_eq!(running.stop(), 0);
    assert_eq!(count(), "1500", "{log_before}");
    assert!(fs::read_to_string(&log).unwrap().contains("stopped, everything read is delivered"));

    // Another window: the old state is of no use.
    let changed = file(folder.path(), "cli_job.sql", &QUERY.replace("INTERVAL '5' MINUTE", "INTERVAL '6' MINUTE"));
    let said = highwater(arguments(&changed, &["--bounded"]));
    assert_eq!(said.code, Some(2), "{said:?}");
    let begins_late = "INSERT INTO \"windows\" is new or does something else than before, and its windows would begin in the middle of";
    for part in [begins_late, "cli_job", "--name", "--reset-state"] {
        assert!(said.err.contains(part), "{said:?}");
    }
    // The same windows at another place, other rows: the windows go on with what they had, the rows begin here.
    let (rows, windows) = QUERY.split_once("INSERT INTO changes SELECT * FROM CHANGES(customer);\n").unwrap();
    let more = rows[rows.find("CREATE TABLE changes").unwrap()..rows.find("CREATE TABLE windows").unwrap()]
        .replace("changes", "more");
    let changed = format!("{rows}{more}{windows}INSERT INTO more SELECT customer_id, store_id FROM CHANGES(customer);");
    let path = file(folder.path(), "cli_job.sql", &changed);
    send(1500..1600);
    let said = highwater(arguments(&path, &["--until-caught-up"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    for part in ["INSERT INTO \"more\" is new", "1 INSERTs of the query are gone"] {
        assert!(said.err.contains(part), "{said:?}");
    }
    assert_eq!(database.ask("SELECT count(), min(customer_id) FROM {db}.more"), "100\t1500");
    assert_eq!(count(), "1500");
    // It goes on and ends; then there is nothing more to do.
    let said = highwater(arguments(&path, &["--bounded"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("windows"), "{said:?}");
    assert_eq!(
        database.ask("SELECT sum(registrations), count() = uniqExact(window_start, store_id) FROM {db}.windows"),
        "1600\t1"
    );
    let said = highwater(arguments(&path, &["--bounded"]));
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("has run to its end"), "{said:?}");
}

#[test]
fn the_demo_finds_what_it_generated() {
    let folder = tempfile::tempdir().unwrap();
    let (place, log) = (folder.path().join("demo"), folder.path().join("log"));
    // Longer than until the job looks around for new topics, which the demo's mock cluster leaves without an answer.
    let load = ["--events", "20000", "--seconds", "15", "--folder", place.to_str().unwrap()];
    let mut demo = Running::start(["demo", "--parquet"].into_iter().chain(load), &log);
    assert_eq!(demo.wait(), 0);
    let said = demo.log();
    for part in ["✓ changelog: 20,000 events, each once", "✓ windows:", "✓ mirror:", "✓ dead letters: none"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
