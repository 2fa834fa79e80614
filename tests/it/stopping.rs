//! The disk of ClickHouse is full; a job is told to stop, or killed, in every state: afterwards each row is there once.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::crash::{Ends, Job, Moments, publish_until};
use crate::million::{check, query_at};
use crate::oracle::Oracle;
use crate::proxy::{Mood, Proxy};
use crate::run::{Running, wait_until};
use crate::stack::{Database, OwnStack, clickhouse_url, kafka_brokers};
use crate::topic::Topic;

/// Fills a disk to the last byte, and returns the file that does.
fn fill(folder: &std::path::Path) -> std::path::PathBuf {
    let path = folder.join("filler");
    let mut file = std::fs::File::create(&path).unwrap();
    for piece in [1 << 20, 4 << 10, 1] {
        let bytes = vec![7; piece];
        while file.write_all(&bytes).is_ok() {}
    }
    path
}

#[test]
fn the_disk_of_clickhouse_is_full() {
    let stack = OwnStack::with(3, &["clickhouse"], vec![("CLICKHOUSE_DISK", "100m".to_owned())]);
    let url = stack.address("CLICKHOUSE_URL");
    let topic = Topic::create("full_disk", 4);
    let database = Database::at(&url, "full_disk");
    let query = query_at(&topic.name, &database.0, &kafka_brokers(), &url);
    // When it merges on a full disk it may write parts without marks, and does not notice.
    database.ask("SYSTEM STOP MERGES");
    let (job, enough) = (Job::of(database, &query), AtomicBool::new(false));
    let disk = stack.data("clickhouse");
    std::thread::scope(|scope| {
        let _ends = Ends(&enough);
        scope.spawn(|| publish_until(&topic, &enough));
        let before = job.newest();
        let mut running = job.start(&[]);
        job.wait_for_progress(&mut running, before);
        for round in 0..2 {
            let filler = fill(&disk);
            let refused = |log: &str| log.matches("NOT_ENOUGH_SPACE").count() + log.matches("No space left").count();
            let known = refused(&running.log());
            wait_until("it has met the full disk", || refused(&running.log()) > known || running.ended().is_some());
            assert!(running.log().contains("trying again in"), "{}", running.log());
            if round == 1 {
                // One that goes on from a crash meets it, too.
                running.kill();
                running = job.start(&[]);
            }
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(running.ended(), None, "{}", running.log());
            std::fs::remove_file(filler).unwrap();
            let before = job.newest();
            wait_until("it goes on", || job.newest() > before + 3 || running.ended().is_some());
        }
        enough.store(true, SeqCst);
        assert_eq!(running.ended(), None, "{}", running.log());
        assert_eq!(running.stop(), 0);
    });
    job.end();
    check(&job.database, &Oracle::of(&topic.name, 3_000));
}

/// What a job is at when it is told to stop.
struct State {
    name: &'static str,
    arguments: &'static [&'static str],
    /// How ClickHouse is when it starts.
    begins: Mood,
    /// What it says, or that it has got on.
    reached: Reached,
    /// How ClickHouse is from then on.
    then: Mood,
    /// So long it goes on like this, milliseconds.
    pause: (u64, u64),
}

enum Reached {
    AtOnce,
    Progress,
    Says(&'static str),
}

const fn state(name: &'static str, begins: Mood, reached: Reached, then: Mood, pause: (u64, u64)) -> State {
    State { name, arguments: &[], begins, reached, then, pause }
}

/// Gathering, cutting, closing and saving follow each other within the 50 ms of a flush: moments among them come by chance.
const STATES: &[State] = &[
    state("starting", Mood::Fair, Reached::AtOnce, Mood::Fair, (0, 100)),
    state("opening what it reads and writes", Mood::Fair, Reached::AtOnce, Mood::Fair, (100, 400)),
    state("ClickHouse does not answer yet", Mood::Cut, Reached::Says("trying again in"), Mood::Cut, (0, 300)),
    state("ClickHouse hangs at the start", Mood::Stuck, Reached::AtOnce, Mood::Stuck, (500, 900)),
    state("going on from a crash", Mood::Fair, Reached::Says("goes on from checkpoint"), Mood::Fair, (0, 100)),
    state(
        "going on, blocks are looked for",
        Mood::Fair,
        Reached::Says("goes on from checkpoint"),
        Mood::Slow,
        (0, 500),
    ),
    state("going on, ClickHouse hangs", Mood::Fair, Reached::Says("goes on from checkpoint"), Mood::Stuck, (0, 500)),
    state("at work", Mood::Fair, Reached::Progress, Mood::Fair, (0, 100)),
    state("at work", Mood::Fair, Reached::Progress, Mood::Fair, (0, 300)),
    state("at work", Mood::Fair, Reached::Progress, Mood::Fair, (0, 600)),
    state("inserting slowly", Mood::Fair, Reached::Progress, Mood::Slow, (100, 900)),
    state("inserting, the answer does not come", Mood::Fair, Reached::Progress, Mood::Stuck, (100, 900)),
    state("inserting again and again", Mood::Fair, Reached::Progress, Mood::Cut, (300, 900)),
    State {
        arguments: &["--from", "earliest"],
        ..state("set back", Mood::Fair, Reached::Says("rows out of"), Mood::Fair, (0, 300))
    },
    State {
        arguments: &["--from", "earliest"],
        ..state("set back slowly", Mood::Fair, Reached::Says("rows out of"), Mood::Slow, (0, 300))
    },
    State {
        arguments: &["--from", "earliest"],
        ..state(
            "set back, ClickHouse hangs",
            Mood::Fair,
            Reached::Says("goes on from checkpoint"),
            Mood::Stuck,
            (0, 300),
        )
    },
];

/// More than `--stop-within`: what is being asked is waited for, on a machine that may be busy.
const MOST: Duration = Duration::from_secs(40);

#[test]
fn told_to_stop_or_killed_in_every_state() {
    let topic = Topic::create("every_state", 4);
    let proxy = Proxy::start(clickhouse_url().trim_start_matches("http://"));
    let database = Database::new("every_state");
    let query = query_at(&topic.name, &database.0, &kafka_brokers(), &format!("http://127.0.0.1:{}", proxy.port));
    let (job, enough, mut moments) = (Job::of(database, &query), AtomicBool::new(false), Moments::new());
    std::thread::scope(|scope| {
        let _ends = Ends(&enough);
        scope.spawn(|| publish_until(&topic, &enough));
        let go_on = |running: &mut Running| {
            let before = job.newest();
            wait_until("it goes on", || job.newest() > before + 3 || running.ended().is_some());
            assert_eq!(running.ended(), None, "{}", running.log());
        };
        let mut first = job.start(&[]);
        go_on(&mut first);
        first.kill();
        for state in STATES {
            for is_killed in [false, true] {
                println!("{}, {}", state.name, if is_killed { "killed" } else { "told to stop" });
                proxy.set(state.begins);
                let arguments: Vec<&str> =
                    ["--stop-within", "3s"].into_iter().chain(state.arguments.iter().copied()).collect();
                let (before, known) = (job.newest(), job.said());
                let mut running = job.start(&arguments);
                match state.reached {
                    Reached::AtOnce => {}
                    Reached::Progress => job.wait_for_progress(&mut running, before),
                    Reached::Says(text) => {
                        wait_until(text, || {
                            running.log().get(known..).is_some_and(|log| log.contains(text))
                                || running.ended().is_some()
                        });
                    }
                }
                proxy.set(state.then);
                moments.pause(state.pause.0, state.pause.1);
                assert_eq!(running.ended(), None, "{}", running.log());
                if is_killed {
                    running.kill();
                } else {
                    running.signal("TERM");
                    let told = Instant::now();
                    let code = running.wait();
                    println!("  ends with {code} after {:?}", told.elapsed());
                    assert!(told.elapsed() < MOST, "{}", running.log());
                    // Before it listens to signals, it ends by them; it has begun nothing then.
                    let expected: &[i32] = match (state.name, state.then) {
                        ("starting", _) => &[0, -1],
                        (_, Mood::Fair) => &[0],
                        _ => &[0, 3],
                    };
                    assert!(expected.contains(&code), "{code}: {}", running.log());
                }
                proxy.set(Mood::Fair);
                if is_killed {
                    continue;
                }
                let mut next = job.start(&[]);
                go_on(&mut next);
                next.kill();
            }
        }
        enough.store(true, SeqCst);
    });
    job.end();
    check(&job.database, &Oracle::of(&topic.name, 3_000));
}
