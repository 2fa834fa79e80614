//! Windows of every kind and form: files in, files out.

use std::sync::Arc;

use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use highwater::job::settings::Ending;
use serde_json::Value;

use crate::filesystem::{AGGREGATES, Events, Folder, is_same, json_of};
use crate::run::{block_on, bounded, run, run_until, with_checkpoints};

/// Two shops. The seventh row is late for the first ten seconds (the clock stands at 12), not for the first twenty; the last
/// one is late for all but sessions and the whole minute.
const SALES: &str = "\
{\"at\":\"2026-03-01T10:00:01\",\"shop\":\"a\",\"n\":1}
{\"at\":\"2026-03-01T10:00:04\",\"shop\":\"a\",\"n\":2}
{\"at\":\"2026-03-01T10:00:07\",\"shop\":\"b\",\"n\":4}
{\"at\":\"2026-03-01T10:00:09\",\"shop\":\"a\",\"n\":8}
{\"at\":\"2026-03-01T10:00:14\",\"shop\":\"a\",\"n\":16}
{\"at\":\"2026-03-01T10:00:22\",\"shop\":\"b\",\"n\":32}
{\"at\":\"2026-03-01T10:00:08\",\"shop\":\"b\",\"n\":64}
{\"at\":\"2026-03-01T10:00:33\",\"shop\":\"b\",\"n\":128}
";

const TABLE: &str =
    "CREATE TABLE sales (at TIMESTAMP(3), shop STRING, n BIGINT, WATERMARK FOR at AS at - INTERVAL '10' SECOND)
    WITH ('connector' = 'filesystem', 'path' = '{dir}/sales.json', 'format' = 'json');\n";

/// Runs `INSERT INTO out{number} {query}` for each query; the lines of each.
fn results_of(folder: &Folder, table: &str, queries: &[String]) -> Vec<Vec<String>> {
    let mut text = table.to_owned();
    for (number, query) in queries.iter().enumerate() {
        text += &format!(
            "CREATE TABLE out{number} WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out/{number}.json');
             INSERT INTO out{number} {query};\n"
        );
    }
    run(&folder.sql(&text), bounded("windows")).unwrap();
    (0..queries.len()).map(|number| folder.lines(&format!("out/{number}.json"))).collect()
}

/// The values of lines in their order, times of the morning as minutes and seconds.
fn short(lines: &[String]) -> Vec<String> {
    let short = |line: &String| {
        let members = line.trim_matches(['{', '}']).split(",\"");
        let values = members.map(|member| member.split_once("\":").unwrap().1.trim_matches('"'));
        let morning =
            |value: &str| value.strip_prefix("2026-03-01T").map_or(value.to_owned(), |time| time[3..].to_owned());
        values.map(morning).collect::<Vec<_>>().join(" ")
    };
    let mut lines: Vec<_> = lines.iter().map(short).collect();
    lines.sort();
    lines
}

#[test]
fn every_form_of_every_window() {
    let forms: &[(&[&str], &[&str])] = &[
        (
            &[
                "SELECT window_start, window_end, shop, sum(n) AS n FROM TUMBLE(sales, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end, shop",
                "SELECT window_start, window_end, shop, sum(n) AS n FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(at), INTERVAL '10' SECONDS)) GROUP BY window_start, window_end, shop",
                "SELECT window_start, window_end, shop, sum(n) AS n FROM TABLE(TUMBLE(DATA => TABLE sales, TIMECOL => DESCRIPTOR(at), SIZE => INTERVAL '10' SECOND, OFFSET => INTERVAL '-20' SECOND)) GROUP BY window_start, window_end, shop",
                "SELECT window.start AS window_start, window.end AS window_end, shop, sum(n) AS n FROM sales GROUP BY window(at, '10 seconds'), shop",
                "SELECT window(at, '10 seconds').start AS window_start, window.end AS window_end, s.shop, sum(n) AS n FROM sales AS s GROUP BY window(at, '10 seconds'), s.shop",
            ],
            &["00:00 00:10 a 11", "00:00 00:10 b 4", "00:10 00:20 a 16", "00:20 00:30 b 32", "00:30 00:40 b 128"],
        ),
        (
            &[
                "SELECT window_start, window_end, shop, sum(n) AS n FROM HOP(sales, at, INTERVAL '10' SECOND, INTERVAL '20' SECOND) GROUP BY window_start, window_end, shop",
                "SELECT window_start, window_end, shop, sum(n) AS n FROM TABLE(HOP(TABLE sales, DESCRIPTOR(at), INTERVAL '10' SECOND, INTERVAL '20' SECOND)) GROUP BY window_start, window_end, shop",
                "SELECT window_start, window_end, shop, sum(n) AS n FROM HOP(SIZE => INTERVAL '20' SECOND, SLIDE => INTERVAL '10' SECOND, DATA => sales, TIMECOL => at) GROUP BY window_start, window_end, shop",
                "SELECT window.start AS window_start, window.end AS window_end, shop, sum(n) AS n FROM sales GROUP BY shop, window(at, '20 seconds', '10 seconds', '0 seconds')",
            ],
            &[
                "00:00 00:20 a 27",
                "00:00 00:20 b 68",
                "00:10 00:30 a 16",
                "00:10 00:30 b 32",
                "00:20 00:40 b 160",
                "00:30 00:50 b 128",
                "59:50 00:10 a 11",
                "59:50 00:10 b 4",
            ],
        ),
        (
            &[
                "SELECT window_start, window_end, shop, sum(n) AS n FROM CUMULATE(sales, at, INTERVAL '10' SECOND, INTERVAL '30' SECOND) GROUP BY window_start, window_end, shop",
                "SELECT window_start, window_end, shop, sum(n) AS n FROM TABLE(CUMULATE(DATA => TABLE sales, TIMECOL => DESCRIPTOR(at), STEP => INTERVAL '10' SECOND, SIZE => INTERVAL '30' SECOND)) GROUP BY window_start, window_end, shop",
            ],
            &[
                "00:00 00:10 a 11",
                "00:00 00:10 b 4",
                "00:00 00:20 a 27",
                "00:00 00:20 b 68",
                "00:00 00:30 a 27",
                "00:00 00:30 b 100",
                "00:30 00:40 b 128",
                "00:30 00:50 b 128",
                "00:30 01:00 b 128",
            ],
        ),
        (
            &[
                "SELECT window_start, window_end, shop, sum(n) AS n FROM TABLE(CUMULATE(TABLE sales, DESCRIPTOR(at), INTERVAL '10' SECOND, INTERVAL '30' SECOND, emitOnlyOnUpdate => true)) GROUP BY window_start, window_end, shop",
            ],
            &[
                "00:00 00:10 a 11",
                "00:00 00:10 b 4",
                "00:00 00:20 a 27",
                "00:00 00:20 b 68",
                "00:00 00:30 b 100",
                "00:30 00:40 b 128",
            ],
        ),
        (
            &[
                "SELECT window_start, window_end, shop, sum(n) AS n FROM SESSION(sales PARTITION BY shop, at, INTERVAL '5' SECOND) GROUP BY window_start, window_end, shop",
                "SELECT window_start, window_end, shop, sum(n) AS n FROM TABLE(SESSION(TABLE sales PARTITION BY (shop), DESCRIPTOR(at), INTERVAL '5' SECOND)) GROUP BY window_start, window_end, shop",
                "SELECT window_start, window_end, shop, sum(n) AS n FROM TABLE(SESSION(DATA => TABLE sales PARTITION BY shop, TIMECOL => DESCRIPTOR(at), GAP => INTERVAL '5' SECOND)) GROUP BY window_start, window_end, shop",
                "SELECT session_window.start AS window_start, session_window.end AS window_end, shop, sum(n) AS n FROM sales WHERE n > 0 GROUP BY session_window(at, '5 seconds'), shop",
            ],
            // Of shop a, 4, 9 and 14 are exactly a gap apart. The row of b at 8 joins the one at 7, which is open at 12.
            &["00:01 00:19 a 27", "00:07 00:13 b 68", "00:22 00:27 b 32", "00:33 00:38 b 128"],
        ),
    ];
    let folder = Folder::new();
    folder.write("sales.json", SALES);
    let queries: Vec<String> =
        forms.iter().flat_map(|(forms, _)| forms.iter().map(|form| (*form).to_owned())).collect();
    let mut results = results_of(&folder, TABLE, &queries).into_iter().zip(&queries);
    for (forms, expected) in forms {
        for _ in *forms {
            let (lines, query) = results.next().unwrap();
            assert_eq!(short(&lines), *expected, "{query}");
        }
    }
    // One row is late for a tumbling window, and for none of the hopping ones.
    assert_eq!(folder.lines("out/0_late.json").len(), 1);
    assert_eq!(folder.lines("out/5_late.json").len(), 0);
}

#[test]
fn what_stands_around_a_window() {
    let hop = "HOP(sales, at, INTERVAL '10' SECOND, INTERVAL '20' SECOND)";
    let session = "SESSION(sales PARTITION BY shop, at, INTERVAL '5' SECOND)";
    let cases: &[(String, &[&str])] = &[
        // The window alone; a window's time; a filter before the window and one after it.
        (format!("SELECT window_start, sum(n) AS n FROM {hop} GROUP BY window_start, window_end HAVING count(*) > 2"), &["00:00 95", "59:50 15"]),
        (format!("SELECT window_time, sum(n) AS n FROM {hop} WHERE shop = 'a' GROUP BY window_time"), &["00:09.999 11", "00:19.999 27", "00:29.999 16"]),
        // Sessions of both shops that begin and end together would be one group; these do not.
        (format!("SELECT window_start, window_end, count(*) AS n FROM {session} GROUP BY window_start, window_end"), &["00:01 00:19 4", "00:07 00:13 2", "00:22 00:27 1", "00:33 00:38 1"]),
        // What WHERE drops after the window keeps its session together; what it drops before does not.
        (format!("SELECT window_start, window_end, sum(n) AS n FROM {session} WHERE n <> 8 AND shop = 'a' GROUP BY window_start, window_end"), &["00:01 00:19 19"]),
        ("SELECT window_start, window_end, sum(n) AS n FROM SESSION((SELECT * FROM sales WHERE n <> 8) PARTITION BY shop, at, INTERVAL '5' SECOND) WHERE shop = 'a' GROUP BY window_start, window_end".into(), &["00:01 00:09 3", "00:14 00:19 16"]),
        // Sessions without a key; by an expression; more group keys than the session has.
        ("SELECT window_start, window_end, count(*) AS n FROM SESSION(sales, at, INTERVAL '5' SECOND) GROUP BY window_start, window_end".into(), &["00:01 00:19 6", "00:22 00:27 1", "00:33 00:38 1"]),
        ("SELECT window_start, shop, count(*) AS n FROM SESSION(sales PARTITION BY n > 20, at, INTERVAL '5' SECOND) GROUP BY window_start, window_end, shop".into(), &["00:01 a 4", "00:01 b 1", "00:08 b 1", "00:22 b 1", "00:33 b 1"]),
        // The top of each window, both ways.
        (format!("SELECT window_start, shop, n FROM (SELECT window_start, window_end, shop, sum(n) AS n, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY sum(n) DESC) AS place FROM {hop} GROUP BY window_start, window_end, shop) WHERE place = 1"), &["00:00 b 68", "00:10 b 32", "00:20 b 160", "00:30 b 128", "59:50 a 11"]),
        (format!("SELECT window_start, shop, sum(n) AS n FROM {hop} GROUP BY window_start, window_end, shop ORDER BY n DESC LIMIT 1"), &["00:00 b 68", "00:10 b 32", "00:20 b 160", "00:30 b 128", "59:50 a 11"]),
        // Several levels: the best shop's share.
        (format!("WITH shops AS (SELECT window_start, window_end, shop, sum(n) AS n FROM {hop} GROUP BY window_start, window_end, shop), totals AS (SELECT window_start, max(n) AS best, sum(n) AS n FROM shops GROUP BY window_start, window_end) SELECT window_start, best * 100 / n AS share FROM totals WHERE n > 20"), &["00:00 71", "00:10 66", "00:20 100", "00:30 100"]),
        // The nth of the values.
        (format!("SELECT window_start, nth_value(n, 2 ORDER BY n DESC) AS second FROM {hop} GROUP BY window_start, window_end"), &["00:00 16", "00:10 16", "00:20 32", "00:30 null", "59:50 4"]),
        // Uneven slices: 15 s every 10 s.
        ("SELECT window_start, window_end, sum(n) AS n FROM HOP(sales, at, INTERVAL '10' SECOND, INTERVAL '15' SECOND) GROUP BY window_start, window_end".into(), &["00:00 00:15 95", "00:10 00:25 48", "00:20 00:35 160", "00:30 00:45 128", "59:50 00:05 3"]),
        // Grouping sets.
        (format!("SELECT window_start, shop, grouping(shop) AS all_shops, sum(n) AS n, count(DISTINCT n) FILTER (WHERE n > 1) AS kinds FROM {hop} GROUP BY window_start, window_end, ROLLUP (shop) HAVING sum(n) < 100"), &["00:00 a 0 27 3", "00:00 b 0 68 2", "00:00 null 1 95 5", "00:10 a 0 16 1", "00:10 b 0 32 1", "00:10 null 1 48 2", "59:50 a 0 11 2", "59:50 b 0 4 1", "59:50 null 1 15 3"]),
        (format!("SELECT window_start, shop, sum(n) AS n FROM {session} GROUP BY GROUPING SETS ((window_start, window_end, shop), (window_start, window_end))"), &["00:01 a 27", "00:01 null 27", "00:07 b 68", "00:07 null 68", "00:22 b 32", "00:22 null 32", "00:33 b 128", "00:33 null 128"]),
    ];
    let folder = Folder::new();
    folder.write("sales.json", SALES);
    let queries: Vec<String> = cases.iter().map(|(query, _)| query.clone()).collect();
    for (lines, (query, expected)) in results_of(&folder, TABLE, &queries).iter().zip(cases) {
        assert_eq!(short(lines), *expected, "{query}");
    }
}

#[test]
fn days_and_months_of_a_time_zone() {
    let folder = Folder::new();
    // An event an hour, from 2026-03-27 in UTC: in Berlin the 29th has 23 hours.
    let hour = |hour: i64| 1_774_569_600 + hour * 3_600;
    let time =
        |hour_: i64| chrono::DateTime::from_timestamp(hour(hour_), 0).unwrap().format("%Y-%m-%dT%H:%M:%S").to_string();
    let lines: String = (0..24 * 8).map(|hour| format!("{{\"at\":\"{}\"}}\n", time(hour))).collect();
    folder.write("sales.json", &lines);
    let table = "CREATE TABLE sales (at TIMESTAMP(3), WATERMARK FOR at AS at) WITH ('connector' = 'filesystem', 'path' = '{dir}/sales.json', 'format' = 'json');";
    let select =
        |from: &str| format!("SELECT window_start, count(*) AS n FROM {from} GROUP BY window_start, window_end");
    let results = results_of(
        &folder,
        table,
        &[
            select("TUMBLE(sales, at, INTERVAL '1' DAY, TIME ZONE 'Europe/Berlin')"),
            select("TUMBLE(DATA => sales, TIMECOL => at, SIZE => INTERVAL '1' MONTH, TIME ZONE => 'Europe/Berlin')"),
            select("HOP(sales, at, INTERVAL '1' DAY, INTERVAL '7' DAY, TIME ZONE 'Europe/Berlin')"),
            select("TUMBLE(sales, at, INTERVAL '1' WEEK, INTERVAL '6' HOUR, TIME ZONE 'Europe/Berlin')"),
            "SELECT window_end, count(*) AS n FROM CUMULATE(sales, at, INTERVAL '1' DAY, INTERVAL '1' MONTH, TIME ZONE 'Europe/Berlin') GROUP BY window_start, window_end HAVING count(*) BETWEEN 100 AND 117 OR count(*) = 70".into(),
            select("TUMBLE(sales, at, INTERVAL '30' DAY)"),
        ],
    );
    let days = short(&results[0]);
    assert_eq!(
        days[..5],
        [
            "2026-03-26T23:00:00 23",
            "2026-03-27T23:00:00 24",
            "2026-03-28T23:00:00 23",
            "2026-03-29T22:00:00 24",
            "2026-03-30T22:00:00 24"
        ]
    );
    assert_eq!(short(&results[1]), ["2026-02-28T23:00:00 118", "2026-03-31T22:00:00 74"]);
    let weeks = short(&results[2]);
    assert_eq!((weeks.len(), weeks[6].as_str()), (15, "2026-03-26T23:00:00 166"), "{weeks:?}");
    assert_eq!(short(&results[3]), ["2026-03-23T05:00:00 76", "2026-03-30T04:00:00 116"]);
    // To date: 23 + 24 + 23 + 24 hours by the end of the 30th, 118 by the end of March; 70 by the end of the 29th.
    assert_eq!(short(&results[4]), ["2026-03-29T22:00:00 70"]);
    assert_eq!(short(&results[5]), ["2026-03-08T00:00:00 192"]);
}

#[test]
fn every_aggregate_of_hopping_windows_equals_a_batch_query() {
    let folder = Folder::new();
    let events = Events::new(2_000);
    for file in 0..3 {
        let lines: String = (0..2_000).filter(|row| row % 3 == file).map(|row| events.line(row) + "\n").collect();
        folder.write(&format!("in/{file}.json"), &lines);
    }
    let expected = block_on(async {
        let context = SessionContext::new();
        let table = MemTable::try_new(events.batch().schema(), vec![vec![events.batch()]]).unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        let sql = format!(
            "SELECT window_start, store, {AGGREGATES}, nth_value(name, 3 ORDER BY id) AS third FROM (
               SELECT *, arrow_cast(arrow_cast(date_bin(INTERVAL '20 minutes', at), 'Int64') - k * 1200000, 'Timestamp(ms)') AS window_start
               FROM t CROSS JOIN (VALUES (0), (1), (2)) AS ks (k)
             ) GROUP BY GROUPING SETS ((window_start, store), (window_start))"
        );
        json_of(&context.sql(&sql).await.unwrap().collect().await.unwrap())
    });
    let text = folder.sql(&format!(
        "CREATE TABLE t (
           id INT, at TIMESTAMP(3), store SMALLINT, amount DOUBLE, units BIGINT, flag BOOLEAN, name STRING, price DECIMAL(10, 2),
           PRIMARY KEY (id), WATERMARK FOR at AS at - INTERVAL '1' DAY
         ) WITH ('connector' = 'filesystem', 'path' = '{{dir}}/in', 'format' = 'debezium-json');
         CREATE TABLE result WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out.json');
         INSERT INTO result SELECT window_start, store, {AGGREGATES}, nth_value(name, 3 ORDER BY id) AS third
         FROM HOP(CHANGES(t), at, INTERVAL '20' MINUTE, INTERVAL '1' HOUR) GROUP BY GROUPING SETS ((window_start, window_end, store), (window_start, window_end));"
    ));
    let mut settings = bounded("hopping-aggregates");
    settings.lanes = 2;
    run(&text, settings).unwrap();
    let found: Vec<Value> = folder.lines("out.json").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), expected.len());
    for wanted in &expected {
        let same = |row: &&Value| row["window_start"] == wanted["window_start"] && row["store"] == wanted["store"];
        let row = found.iter().find(same).unwrap_or_else(|| panic!("no row for {wanted}"));
        for (column, value) in wanted.as_object().unwrap() {
            assert!(is_same(column, &row[column], value), "{column}: {} instead of {value} in {row}", row[column]);
        }
    }
}

/// Stopped in the middle and resumed with another number of lanes: all kinds of windows as in one run, each row once.
#[test]
fn windows_of_all_kinds_survive_stops_and_other_numbers_of_lanes() {
    let folder = Folder::new();
    let count = 24_000;
    let events = Events::new(count);
    for file in 0..4 {
        let lines: String = (0..count).filter(|row| row % 4 == file).map(|row| events.line(row) + "\n").collect();
        folder.write(&format!("in/{file}.json"), &lines);
    }
    let kinds = [
        ("hop", "HOP(CHANGES(t), at, INTERVAL '2' MINUTE, INTERVAL '15' MINUTE)"),
        ("cumulate", "CUMULATE(CHANGES(t), at, INTERVAL '5' MINUTE, INTERVAL '1' HOUR)"),
        ("updates", "CUMULATE(CHANGES(t), at, INTERVAL '5' MINUTE, INTERVAL '1' HOUR, emitOnlyOnUpdate => true)"),
        ("session", "SESSION(CHANGES(t) PARTITION BY store, name, units, at, INTERVAL '2' MINUTE)"),
    ];
    let text = |out: &str| {
        let mut text = folder.sql(
            "CREATE TABLE t (id INT, at TIMESTAMP(3), store SMALLINT, units BIGINT, name STRING, PRIMARY KEY (id), WATERMARK FOR at AS at - INTERVAL '170' MINUTE)
             WITH ('connector' = 'filesystem', 'path' = '{dir}/in', 'format' = 'debezium-json');",
        );
        for (name, from) in kinds {
            text += &folder.sql(&format!(
                "CREATE TABLE {name}_out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/{out}/{name}.json');
                 INSERT INTO {name}_out SELECT window_start, window_end, store, name, units, count(*) AS n, min(id) AS least, sum(amount_of) AS s
                 FROM (SELECT *, id % 7 AS amount_of FROM {from}) GROUP BY window_start, window_end, store, name, units;"
            ));
        }
        text
    };
    run(&text("whole"), bounded("whole-windows")).unwrap();
    let mut settings = with_checkpoints(bounded("window-parts"), &folder.path("checkpoints"));
    settings.flush_interval = std::time::Duration::from_millis(50);
    settings.checkpoint_interval = std::time::Duration::from_millis(150);
    let mut outcomes = Vec::new();
    for (part, lanes) in [1, 4, 2, 3].into_iter().enumerate() {
        settings.lanes = lanes;
        settings.ending = Ending::Bounded;
        let enough = if part == 3 { u64::MAX } else { 3_000 };
        let (outcome, _) = run_until(&text("parts"), settings.clone(), move |progress| {
            progress.events.load(std::sync::atomic::Ordering::Relaxed) >= enough
        })
        .unwrap();
        outcomes.push(outcome);
        if outcome == highwater::job::running::Outcome::Finished {
            break;
        }
    }
    println!("{outcomes:?}");
    assert_eq!(*outcomes.last().unwrap(), highwater::job::running::Outcome::Finished);
    for (name, _) in kinds {
        for file in [format!("{name}.json"), format!("{name}_late.json")] {
            let (found, expected) = (folder.lines(&format!("parts/{file}")), folder.lines(&format!("whole/{file}")));
            assert!(!expected.is_empty() || file.ends_with("_late.json"), "{file}");
            crate::stack::assert_same(&file, &found, &expected);
        }
    }
}

/// So many that a checkpoint has them in objects of their own, which later ones and the next run go on from.
#[test]
fn windows_of_many_groups_are_saved_once_and_go_on() {
    const GROUPS: u64 = 150_000;
    let folder = Folder::new();
    let table = TABLE.replace("sales.json", "sales/");
    let text = table
        + "CREATE TABLE out WITH ('connector' = 'filesystem', 'path' = '{dir}/out.json');
           INSERT INTO out SELECT window_start, n, count(*) AS sold, max(shop) AS shop
           FROM TUMBLE(sales, at, INTERVAL '1' HOUR) GROUP BY window_start, window_end, n";
    let text = folder.sql(&text);
    let settings = |ending| {
        let mut settings = with_checkpoints(bounded("many"), &folder.path("checkpoints"));
        (settings.ending, settings.checkpoint_interval) = (ending, std::time::Duration::from_millis(300));
        settings
    };
    std::fs::create_dir_all(folder.path("sales")).unwrap();
    // Every run has a third of the groups once more, in another file.
    for (run_number, file) in ["a", "b", "c"].into_iter().enumerate() {
        let of_run = |n: &u64| run_number == 0 || n % 3 == run_number as u64;
        let line = |n: u64| format!("{{\"at\":\"2026-03-01T10:00:01\",\"shop\":\"{file}\",\"n\":{n}}}\n");
        folder.write(&format!("sales/{file}.json"), &(0..GROUPS).filter(of_run).map(line).collect::<String>());
        run(&text, settings(Ending::UntilCaughtUp)).unwrap();
        let saved = std::fs::read_dir(folder.path("checkpoints/many")).unwrap();
        let is_windows = |name: &std::ffi::OsString| name.to_str().unwrap().starts_with("windows-");
        assert!(saved.map(|entry| entry.unwrap().file_name()).any(|name| is_windows(&name)), "{file}");
    }
    run(&text, settings(Ending::Bounded)).unwrap();
    let mut found = vec![false; GROUPS as usize];
    for line in folder.lines("out.json") {
        let row: Value = serde_json::from_str(&line).unwrap();
        let n = row["n"].as_u64().unwrap();
        let expected = ["a", "b", "c"][(n % 3) as usize];
        assert_eq!(
            (row["sold"].as_u64(), row["shop"].as_str()),
            (Some(1 + u64::from(!n.is_multiple_of(3))), Some(expected)),
            "{n}"
        );
        assert!(!std::mem::replace(&mut found[n as usize], true), "{n} is there twice");
    }
    assert!(found.into_iter().all(|it| it));
}
