//! Early and corrected results in ClickHouse: the view shows what one run at the end gives, whatever happened in between, and no row
//! is written that has not changed.

use std::time::Duration;

use crate::filesystem::Folder;
use crate::run::{Running, bounded, highwater, run};
use crate::stack::{Database, assert_same, clickhouse_url, kafka_brokers};
use crate::topic::Topic;

const EVENTS: i64 = 24_000;
const PARTITIONS: i64 = 2;
/// 2026-03-01 10:00 UTC.
const BASE: i64 = 1_772_359_200_000;

/// An event every 20 ms of event time; one of eight comes up to 20 s late.
fn event(number: i64) -> (i64, String) {
    let random = |salt: i64, below: i64| ((number + salt) * 7_919 % 104_729 * 31 + number % 97) % below;
    let back = if random(1, 8) == 0 { random(2, 20_000) } else { 0 };
    let time = BASE + number * 20 - back;
    let page = ["a", "b", "c", "d", "e"][random(3, 5) as usize];
    (time, format!("{{\"page\":\"{page}\",\"n\":{},\"at\":{time}}}", random(4, 100)))
}

fn query(topic: &str, database: &str, emit: &str) -> String {
    let target = |name: &str| {
        format!(
            "CREATE TABLE {name} WITH ('connector' = 'clickhouse', 'url' = '{}', 'table' = '{database}.{name}');\n",
            clickhouse_url()
        )
    };
    format!(
        "CREATE TABLE events (page STRING, n BIGINT, at TIMESTAMP(3), WATERMARK FOR at AS at - INTERVAL '1' SECOND)
         WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', 'format' = 'json');
         {}{}{}
         INSERT INTO tumbling
         SELECT window_start, window_end, page, count(*) AS events, sum(n) AS total
         FROM TUMBLE(events, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end, page {emit};
         INSERT INTO top
         SELECT window_start, window_end, page, count(*) AS events
         FROM HOP(events, at, INTERVAL '5' SECOND, INTERVAL '20' SECOND) GROUP BY window_start, window_end, page
         ORDER BY events DESC, page LIMIT 2 {emit};
         INSERT INTO cumulating
         SELECT window_start, window_end, max(n) AS greatest, count(*) AS events
         FROM CUMULATE(events, at, INTERVAL '5' SECOND, INTERVAL '1' MINUTE) GROUP BY window_start, window_end {emit};",
        kafka_brokers(),
        target("tumbling"),
        target("top"),
        target("cumulating"),
    )
}

#[test]
fn the_view_is_right_after_any_number_of_crashes() {
    let topic = Topic::create("emission", PARTITIONS as i32);
    let (killed, whole) = (Database::new("emission"), Database::new("emission_whole"));
    let folder = Folder::new();
    folder.write(
        "killed.sql",
        &query(
            &topic.name,
            &killed.0,
            "EMIT CHANGES EVERY INTERVAL '100' MILLISECOND ALLOWED LATENESS INTERVAL '12' SECOND",
        ),
    );
    folder.write(
        "whole.sql",
        &query(&topic.name, &whole.0, "EMIT ON WINDOW CLOSE ALLOWED LATENESS INTERVAL '12' SECOND"),
    );
    let arguments = |name: &str, more: &[&str]| {
        let file = folder.path(&format!("{name}.sql")).display().to_string();
        let checkpoints = folder.path("checkpoints").display().to_string();
        let words = ["run", &file, "--name", name, "--checkpoint-dir", &checkpoints, "--flush-interval", "50ms"];
        let words = words.into_iter().chain(["--checkpoint-interval", "700ms"]).chain(more.iter().copied());
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            for number in 0..EVENTS {
                let (time, value) = event(number);
                topic.send((number % PARTITIONS) as i32, None, Some(value.as_bytes()), time);
                if number % 400 == 0 {
                    topic.flush();
                    std::thread::sleep(Duration::from_millis(150));
                }
            }
            topic.flush();
        });
        for (number, millis) in [1_900, 1_300, 2_300, 1_600].into_iter().enumerate() {
            let running =
                Running::start(arguments("killed", &["--lanes", ["1", "2"][number % 2]]), &folder.path("log"));
            std::thread::sleep(Duration::from_millis(millis));
            // One stops as it should.
            if number == 2 { assert_eq!(running.stop(), 0) } else { running.kill() }
        }
        publishing.join().unwrap();
    });
    for name in ["killed", "whole"] {
        let said = highwater(arguments(name, &["--bounded"]));
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    for table in ["tumbling", "top", "cumulating"] {
        let rows = |database: &Database| {
            let name = &database.0;
            database.rows(&format!("SELECT * EXCEPT (revision, updated_at, _job) FROM {name}.{table} ORDER BY ALL"))
        };
        let (found, expected) = (rows(&killed), rows(&whole));
        assert!(expected.len() > 40, "{table}: {} rows", expected.len());
        assert_same(table, &found, &expected);
        for database in [&killed, &whole] {
            let name = &database.0;
            assert_eq!(database.ask(&format!("SELECT count() FROM {name}.{table} WHERE NOT is_final")), "0", "{table}");
            // What a row says, and what the version before said.
            let (keys, values) = match table {
                "tumbling" => ("window_start, window_end, page", "events, total"),
                "top" => ("window_start, window_end, page", "events"),
                _ => ("window_start, window_end", "greatest, events"),
            };
            let unchanged = format!(
                "SELECT count() FROM (SELECT tuple({values}, is_final, _is_deleted) AS now, lagInFrame(now) OVER \
                 (PARTITION BY {keys} ORDER BY _version ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before \
                 FROM (SELECT DISTINCT * EXCEPT updated_at FROM {name}.{table}_versions)) WHERE now = before"
            );
            assert_eq!(database.ask(&unchanged), "0", "{table}: rows were written that had not changed");
        }
    }
    let (killed_name, whole_name) = (&killed.0, &whole.0);
    let gone =
        killed.ask(&format!("SELECT countIf(_is_deleted = 1) > 0, uniq(revision) > 1 FROM {killed_name}.top_versions"));
    assert_eq!(gone, "1\t1", "rows were pushed out, and written again and again");
    let corrected = whole.ask(&format!("SELECT countIf(revision > 0) > 0 FROM {whole_name}.tumbling"));
    assert_eq!(corrected, "1", "late rows have corrected closed windows");
}

/// A job that is started afresh under its name writes newer versions than the one before.
#[test]
fn a_fresh_start_goes_over_what_was_there() {
    let database = Database::new("emission_afresh");
    let folder = Folder::new();
    let text = |lateness: &str| {
        folder.sql(&format!(
            "CREATE TABLE t (page STRING, at TIMESTAMP(3), WATERMARK FOR at AS at)
             WITH ('connector' = 'filesystem', 'path' = '{{dir}}/t.json', 'format' = 'json');
             CREATE TABLE pages WITH ('connector' = 'clickhouse', 'url' = '{}', 'table' = '{}.pages');
             INSERT INTO pages SELECT window_start, window_end, page, count(*) AS n
             FROM TUMBLE(t, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end, page {lateness};",
            clickhouse_url(),
            database.0
        ))
    };
    let lateness = "EMIT ON WINDOW CLOSE ALLOWED LATENESS INTERVAL '1' MINUTE";
    let one = "{\"page\":\"a\",\"at\":\"2026-03-01T10:00:01\"}\n";
    let rows = || database.rows(&format!("SELECT page, n, is_final, revision FROM {}.pages", database.0));
    folder.write("t.json", &one.repeat(3));
    run(&text(lateness), bounded("afresh")).unwrap();
    assert_eq!(rows(), ["a\t3\t1\t0"]);
    folder.write("t.json", one);
    run(&text(lateness), bounded("afresh")).unwrap();
    assert_eq!(rows(), ["a\t1\t1\t0"]);
    // Plain results have no place in the view, and say so.
    let error = run(&text(""), bounded("afresh")).unwrap_err().to_string();
    assert!(error.contains("is a view and cannot be written"), "{error}");
    // Nor have results that are corrected in a plain table.
    database.ask(&format!("DROP VIEW {}.pages", database.0));
    database.ask(&format!("DROP TABLE {}.pages_versions", database.0));
    run(&text(""), bounded("afresh")).unwrap();
    let error = run(&text(lateness), bounded("afresh")).unwrap_err().to_string();
    assert!(error.contains("has the engine MergeTree and cannot be part of results that come early"), "{error}");
}

/// A table that the user made is written as it is; it need not have every column of Highwater's.
#[test]
fn a_table_of_the_users_own() {
    let database = Database::new("emission_own");
    let name = &database.0;
    database.ask("CREATE DATABASE {db}");
    database.ask(&format!(
        "CREATE TABLE {name}.pages (window_end DateTime('UTC'), page String, n Int64, _version UInt64, _is_deleted UInt8)
         ENGINE = ReplacingMergeTree(_version, _is_deleted) ORDER BY (page, window_end)"
    ));
    let folder = Folder::new();
    folder.write(
        "t.json",
        "{\"page\":\"a\",\"at\":\"2026-03-01T10:00:01\"}\n{\"page\":\"b\",\"at\":\"2026-03-01T10:00:12\"}\n",
    );
    let text = folder.sql(&format!(
        "CREATE TABLE t (page STRING NOT NULL, at TIMESTAMP(3), WATERMARK FOR at AS at)
         WITH ('connector' = 'filesystem', 'path' = '{{dir}}/t.json', 'format' = 'json');
         CREATE TABLE pages WITH ('connector' = 'clickhouse', 'url' = '{}', 'table' = '{name}.pages');
         INSERT INTO pages SELECT window_end, page, count(*) AS n
         FROM TUMBLE(t, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end, page EMIT CHANGES;",
        clickhouse_url(),
    ));
    run(&text, bounded("own")).unwrap();
    let rows = database.rows(&format!(
        "SELECT toUnixTimestamp(window_end) - {}, page, n FROM {name}.pages FINAL ORDER BY page",
        BASE / 1_000
    ));
    assert_eq!(rows, ["10\ta\t1", "20\tb\t1"]);
}

/// Files get every version in its order.
#[test]
fn files_have_every_version() {
    let folder = Folder::new();
    folder.write(
        "t.json",
        "{\"page\":\"a\",\"at\":\"2026-03-01T10:00:01\"}\n{\"page\":\"b\",\"at\":\"2026-03-01T10:00:12\"}\n",
    );
    let text = folder.sql(
        "CREATE TABLE t (page STRING, at TIMESTAMP(3), WATERMARK FOR at AS at)
         WITH ('connector' = 'filesystem', 'path' = '{dir}/t.json', 'format' = 'json');
         CREATE TABLE pages WITH ('connector' = 'filesystem', 'path' = '{dir}/out.json', 'format' = 'json');
         INSERT INTO pages SELECT window_start, page, count(*) AS n
         FROM TUMBLE(t, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end, page EMIT CHANGES;",
    );
    run(&text, bounded("files")).unwrap();
    assert_eq!(
        folder.lines("out.json"),
        [
            "{\"window_start\":\"2026-03-01T10:00:00\",\"page\":\"a\",\"n\":1,\"is_final\":1,\"revision\":0,\"_is_deleted\":0}",
            "{\"window_start\":\"2026-03-01T10:00:10\",\"page\":\"b\",\"n\":1,\"is_final\":1,\"revision\":0,\"_is_deleted\":0}",
        ]
    );
}
