//! SIGKILL at any moment: afterwards everything is in ClickHouse once, and is what it would have been without.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_gen::events::EventsConfig;
use data_gen::units::Rate;

use crate::million::{check, query};
use crate::oracle::Oracle;
use crate::run::{Running, highwater, wait_until};
use crate::stack::Database;
use crate::topic::Topic;

const KILLS: u32 = 6;

/// Moments that differ from run to run; the failing ones are printed.
fn moments(from: u64, to: u64) -> Vec<Duration> {
    let mut state = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis(from + (state >> 33) % (to - from))
    };
    let moments: Vec<_> = (0..KILLS).map(|_| next()).collect();
    println!("killed after {moments:?}");
    moments
}

struct Job {
    folder: tempfile::TempDir,
    database: Database,
    arguments: Vec<String>,
}

impl Job {
    fn new(topic: &str, what: &str) -> Self {
        let (folder, database) = (tempfile::tempdir().unwrap(), Database::new(what));
        let path = folder.path().join("q.sql");
        std::fs::write(&path, query(topic, &database.0)).unwrap();
        let checkpoints = folder.path().join("checkpoints");
        let words =
            ["run", path.to_str().unwrap(), "--name", &database.0, "--checkpoint-dir", checkpoints.to_str().unwrap()];
        let words = words.into_iter().chain(["--flush-interval", "50ms", "--checkpoint-interval", "300ms"]);
        let arguments = words.map(str::to_owned).collect();
        Self { folder, database, arguments }
    }

    fn with(&self, more: &[&str]) -> Vec<String> {
        self.arguments.iter().cloned().chain(more.iter().map(|&it| it.to_owned())).collect()
    }

    fn start(&self, more: &[&str]) -> Running {
        Running::start(self.with(more), &self.folder.path().join("log"))
    }

    /// Runs it to the end, unless it is there already.
    fn end(&self) {
        let said = highwater(self.with(&["--bounded"]));
        assert!(said.code == Some(0) || said.err.contains("has run to its end"), "{said:?}");
        println!("{}", said.err);
    }
}

#[test]
fn a_bounded_run_that_is_killed_again_and_again() {
    let topic = Topic::create("crash", 4);
    // Some records that cannot be used among the others.
    let mut config = EventsConfig { total: 15_000, ..EventsConfig::default() };
    for seed in 1..=8 {
        config.seed = seed;
        topic.generate(config.clone(), None);
        config.start_ms = config.end_ms();
        (0..40).for_each(|number| topic.send(number % 4, Some("k"), Some(b"not json"), config.start_ms));
        topic.flush();
    }
    let oracle = Oracle::of(&topic.name, 3_000);
    assert_eq!(oracle.malformed.len(), 320);
    let job = Job::new(&topic.name, "crash");
    let checkpoints =
        || std::fs::read_dir(job.folder.path().join("checkpoints").join(&job.database.0)).map_or(0, Iterator::count);
    for (number, moment) in moments(0, 700).into_iter().enumerate() {
        let before = checkpoints();
        let mut running = job.start(&["--bounded", "--lanes", ["1", "2", "4"][number % 3]]);
        // Some are killed while they start, others when they have got on.
        if number % 3 > 0 {
            wait_until("there is a checkpoint", || checkpoints() != before || running.ended().is_some());
        }
        std::thread::sleep(moment);
        running.kill();
    }
    job.end();
    check(&job.database, &oracle);
}

#[test]
fn an_endless_run_that_is_killed_while_events_come() {
    let topic = Topic::create("crash_endless", 4);
    let job = Job::new(&topic.name, "crash_endless");
    std::thread::scope(|scope| {
        let config = EventsConfig { total: 60_000, seed: 7, ..EventsConfig::default() };
        let publishing = scope.spawn(|| topic.generate(config, Rate::per_second(8_000.0)));
        for moment in moments(300, 1800) {
            let running = job.start(&[]);
            std::thread::sleep(moment);
            running.kill();
        }
        publishing.join().unwrap();
    });
    // A graceful stop in between, then to the end.
    let running = job.start(&[]);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(running.stop(), 0);
    job.end();
    check(&job.database, &Oracle::of(&topic.name, 3_000));
}
