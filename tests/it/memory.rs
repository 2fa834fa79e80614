//! A job that may take only so much memory: what can wait waits, and windows that cannot end it with a word.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use data_gen::events::EventsConfig;

use crate::crash::Job;
use crate::million::{check, query_at};
use crate::oracle::Oracle;
use crate::proxy::{Mood, Proxy};
use crate::run::{Running, highwater, wait_until};
use crate::stack::{Database, clickhouse_url, kafka_brokers};
use crate::topic::Topic;

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

/// The memory of a process that is its own, in MiB.
fn own_memory(running: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.split_whitespace().next().map_or(0, |kilobytes| kilobytes.parse::<u64>().unwrap() / 1024)
}

#[test]
fn a_clickhouse_that_is_a_hundred_times_slower() {
    let topic = Topic::create("slow_clickhouse", 4);
    topic.generate(EventsConfig { total: 300_000, ..EventsConfig::default() }, None);
    let proxy = Proxy::start(clickhouse_url().trim_start_matches("http://"));
    let database = Database::new("slow_clickhouse");
    let query = query_at(&topic.name, &database.0, &kafka_brokers(), &format!("http://127.0.0.1:{}", proxy.port));
    let job = Job::of(database, &query);
    let mut running = job.start(&["--memory", "256MiB"]);
    let before = job.newest();
    job.wait_for_progress(&mut running, before);
    proxy.set(Mood::Slow);
    let (slow, mut most) = (Instant::now(), 0);
    while slow.elapsed() < Duration::from_secs(15) {
        most = most.max(own_memory(&running));
        std::thread::sleep(Duration::from_millis(50));
    }
    let count = |database: &Database| database.ask("SELECT count() FROM {db}.changes").parse::<usize>().unwrap();
    let behind = count(&job.database);
    println!("{most} MiB at most, {behind} rows after 15 s");
    assert_eq!(running.ended(), None, "{}", running.log());
    proxy.set(Mood::Fair);
    let oracle = Oracle::of(&topic.name, 3_000);
    assert!(behind < oracle.events.len(), "it was not slow");
    wait_until("it has caught up", || {
        most = most.max(own_memory(&running));
        count(&job.database) == oracle.events.len()
    });
    println!("{most} MiB at most");
    assert!((1..256).contains(&most), "{most} MiB");
    assert_eq!(running.stop(), 0);
    job.end();
    check(&job.database, &oracle);
}
