//! SIGKILL at any moment: afterwards everything is in ClickHouse once, and is what it would have been without.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_gen::events::EventsConfig;
use data_gen::units::Rate;

use crate::million::{check, query};
use crate::oracle::Oracle;
use crate::run::{Running, Said, highwater, wait_until};
use crate::stack::Database;
use crate::topic::Topic;

/// Kills in the run of many; `make soak` has more.
const KILLS: usize = 50;

/// Moments that differ from run to run; the failing ones are printed.
pub(crate) struct Moments(u64);

impl Moments {
    pub(crate) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        println!("moments from {now}");
        Self(now)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub(crate) fn pause(&mut self, from: u64, to: u64) {
        let pause = Duration::from_millis(from + self.below(to - from));
        println!("after {pause:?}");
        std::thread::sleep(pause);
    }
}

/// The binary on the query of `million`, with a folder of checkpoints.
pub(crate) struct Job {
    folder: tempfile::TempDir,
    pub(crate) database: Database,
    arguments: Vec<String>,
}

impl Job {
    pub(crate) fn new(topic: &str, what: &str) -> Self {
        let database = Database::new(what);
        let text = query(topic, &database.0);
        Self::of(database, &text)
    }

    pub(crate) fn of(database: Database, query: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.sql");
        std::fs::write(&path, query).unwrap();
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

    /// Runs it until it ends by itself.
    pub(crate) fn run(&self, more: &[&str]) -> Said {
        highwater(self.with(more))
    }

    /// Sets it back.
    pub(crate) fn rewind(&self, to: &str) -> Said {
        let own = self.arguments[1..6].iter().map(String::as_str);
        highwater(["job", "rewind"].into_iter().chain(own).chain(["--to", to]))
    }

    pub(crate) fn start(&self, more: &[&str]) -> Running {
        Running::start(self.with(more), &self.folder.path().join("log"))
    }

    /// How much its runs have said so far, in bytes.
    pub(crate) fn said(&self) -> usize {
        std::fs::metadata(self.folder.path().join("log")).map_or(0, |file| file.len() as usize)
    }

    /// Where its checkpoints are.
    pub(crate) fn checkpoints(&self) -> std::path::PathBuf {
        self.folder.path().join("checkpoints").join(&self.database.0)
    }

    /// The number of the newest checkpoint.
    pub(crate) fn newest(&self) -> u64 {
        let Ok(files) = std::fs::read_dir(self.checkpoints()) else { return 0 };
        let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
        let number = |name: String| name.strip_prefix("checkpoint-")?.strip_suffix(".hwcp")?.parse().ok();
        names.filter_map(number).max().unwrap_or(0)
    }

    /// Waits until a process that was started when the newest was this one has got on: its first number is only a claim.
    pub(crate) fn wait_for_progress(&self, running: &mut Running, before: u64) {
        wait_until("there is a checkpoint", || self.newest() > before + 1 || running.ended().is_some());
    }

    /// Runs it to the end, unless it is there already.
    pub(crate) fn end(&self) {
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
    let (job, mut moments) = (Job::new(&topic.name, "crash"), Moments::new());
    for number in 0..6 {
        let before = job.newest();
        let mut running = job.start(&["--bounded", "--lanes", ["1", "2", "4"][number % 3]]);
        // Some are killed while they start, others when they have got on.
        if number % 3 > 0 {
            job.wait_for_progress(&mut running, before);
        }
        moments.pause(0, 700);
        running.kill();
    }
    job.end();
    check(&job.database, &oracle);
}

/// Says enough when its scope ends: also when a test fails in it, or its publisher would go on for ever.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Fills a topic until it is told that it is enough.
pub(crate) fn publish_until(topic: &Topic, enough: &AtomicBool) {
    let mut config = EventsConfig { total: 3_000, ..EventsConfig::default() };
    while !enough.load(SeqCst) {
        config.seed += 1;
        topic.generate(config.clone(), Rate::per_second(3_000.0));
        config.start_ms = config.end_ms();
    }
}

#[test]
fn an_endless_run_that_is_killed_fifty_times_while_events_come() {
    let kills = std::env::var("HIGHWATER_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let topic = Topic::create("crash_endless", 4);
    let (job, mut moments, enough) = (Job::new(&topic.name, "crash_endless"), Moments::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _ends = Ends(&enough);
        scope.spawn(|| publish_until(&topic, &enough));
        for number in 0..kills {
            let before = job.newest();
            let mut running = job.start(&["--lanes", ["1", "2", "4"][number % 3]]);
            // Some are killed while they start, others while they go on from where the one before was, or at work.
            if number % 4 > 0 {
                job.wait_for_progress(&mut running, before);
            }
            moments.pause(0, [900, 40, 500, 300][number % 4]);
            if number % 10 == 5 {
                forget_tokens(&job.database);
            }
            running.kill();
        }
        enough.store(true, SeqCst);
    });
    // A graceful stop in between, then to the end.
    let running = job.start(&[]);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(running.stop(), 0);
    job.end();
    let oracle = Oracle::of(&topic.name, 3_000);
    println!("{kills} kills, {} events", oracle.events.len());
    check(&job.database, &oracle);
}

/// From here on the server remembers the last insert of a table only.
fn forget_tokens(database: &Database) {
    for table in
        database.ask("SELECT name FROM system.tables WHERE database = '{db}' AND engine LIKE '%MergeTree'").lines()
    {
        database.ask(&format!("ALTER TABLE {{db}}.`{table}` MODIFY SETTING non_replicated_deduplication_window = 1"));
    }
}
