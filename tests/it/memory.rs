//! A job that may take only so much memory: what can wait waits, and windows that cannot end it with a word.

use std::fmt::Write as _;
use std::fs;

use crate::run::highwater;

/// Visitors in a minute, each a group with a long name.
fn visits(count: usize) -> String {
    let (mut text, filler) = (String::new(), "a visitor whose name takes some room in memory, ".repeat(5));
    for number in 0..count {
        let second = number * 50 / count;
        let _ = writeln!(text, "{{\"visitor\":\"{filler} number {number}\",\"at\":\"2026-03-01T10:00:{second:02}\"}}");
    }
    text
}

#[test]
fn windows_that_outgrow_their_part_end_the_job_and_go_on_with_more() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let count = 300_000;
    fs::write(place("visits.json"), visits(count)).unwrap();
    let query = format!(
        "CREATE TABLE visits (visitor STRING, at TIMESTAMP(3), WATERMARK FOR at AS at) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
         CREATE TABLE visitors WITH ('connector' = 'filesystem', 'path' = '{}');
         INSERT INTO visitors SELECT window_start, count(*) AS visitors, sum(n) AS visits FROM (
           SELECT window_start, window_end, visitor, count(*) AS n
           FROM TUMBLE(visits, at, INTERVAL '1' MINUTE) GROUP BY window_start, window_end, visitor
         ) GROUP BY window_start, window_end;",
        place("visits.json"),
        place("visitors.json")
    );
    fs::write(place("q.sql"), query).unwrap();
    let run = |memory: &str| {
        let checkpoints = place("checkpoints");
        highwater([
            "run",
            &place("q.sql"),
            "--bounded",
            "--memory",
            memory,
            "--checkpoint-dir",
            &checkpoints,
            "--flush-interval",
            "200ms",
        ])
    };
    let said = run("128MiB");
    assert_eq!(said.code, Some(2), "{said:?}");
    for part in ["the open windows take", "64 MiB", "INSERT INTO \"visitors\"", "groups", "run with more --memory"] {
        assert!(said.err.contains(part), "{part}: {said:?}");
    }
    let said = run("2GiB");
    assert_eq!(said.code, Some(0), "{said:?}");
    let row = format!("{{\"window_start\":\"2026-03-01T10:00:00\",\"visitors\":{count},\"visits\":{count}}}\n");
    assert_eq!(fs::read_to_string(place("visitors.json")).unwrap(), row);

    let said = highwater(["run", &place("q.sql"), "--memory", "1MiB"]);
    assert!(said.code == Some(2) && said.err.contains("128 MiB"), "{said:?}");
}
