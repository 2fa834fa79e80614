//! Everything around a job fails while it works: afterwards each row is there once.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use data_gen::events::EventsConfig;

use crate::crash::{Ends, Job, Moments, publish_until};
use crate::million::{check, query_at};
use crate::oracle::Oracle;
use crate::proxy::{MOODS, Mood, Proxy};
use crate::run::{send_signal, wait_until};
use crate::stack::{Database, OwnStack, clickhouse_url, kafka_brokers};
use crate::topic::Topic;

#[test]
fn a_network_to_clickhouse_that_fails_in_every_way() {
    let topic = Topic::create("bad_network", 4);
    let proxy = Proxy::start(clickhouse_url().trim_start_matches("http://"));
    let database = Database::new("bad_network");
    let query = query_at(&topic.name, &database.0, &kafka_brokers(), &format!("http://127.0.0.1:{}", proxy.port));
    let (job, enough, mut moments) = (Job::of(database, &query), AtomicBool::new(false), Moments::new());
    std::thread::scope(|scope| {
        let _ends = Ends(&enough);
        scope.spawn(|| publish_until(&topic, &enough));
        let before = job.newest();
        let mut running = job.start(&[]);
        job.wait_for_progress(&mut running, before);
        for round in 0..5 {
            for mood in MOODS {
                proxy.set(mood);
                moments.pause(100, 900);
                // Some of the moods are met by a process that goes on from a crash.
                if round == 2 && matches!(mood, Mood::Unanswered | Mood::Torn | Mood::Slow) {
                    running.kill();
                    running = job.start(&[]);
                }
            }
            proxy.set(Mood::Fair);
            let before = job.newest();
            job.wait_for_progress(&mut running, before + 2);
        }
        enough.store(true, SeqCst);
        assert_eq!(running.ended(), None, "{}", running.log());
        assert_eq!(running.stop(), 0);
    });
    job.end();
    println!("{:?}", proxy.met());
    assert!(proxy.met().iter().all(|(_, met)| *met > 0), "{:?}", proxy.met());
    check(&job.database, &Oracle::of(&topic.name, 3_000));
}

#[test]
fn clickhouse_is_killed_stopped_and_started_again() {
    let stack = OwnStack::start(1, &["clickhouse"]);
    let url = stack.address("CLICKHOUSE_URL");
    let topic = Topic::create("clickhouse_faults", 4);
    let database = Database::at(&url, "clickhouse_faults");
    let query = query_at(&topic.name, &database.0, &kafka_brokers(), &url);
    let job = Job::of(database, &query);
    work_while_it_fails(&job, &topic, &stack, "clickhouse", 3);
    check(&job.database, &Oracle::of(&topic.name, 3_000));
}

#[test]
fn kafka_is_killed_stopped_and_started_again() {
    let stack = OwnStack::start(2, &["kafka"]);
    let brokers = stack.address("KAFKA_BROKERS");
    let topic = Topic::at(&brokers, "kafka_faults", 4);
    let database = Database::new("kafka_faults");
    let query = query_at(&topic.name, &database.0, &brokers, &clickhouse_url());
    let job = Job::of(database, &query);
    work_while_it_fails(&job, &topic, &stack, "kafka", 2);
    check(&job.database, &Oracle::at(&brokers, &topic.name, 3_000));
}

/// A job at work, on a service that is killed and started, then put to sleep and woken, in each round. In the second the job is killed
/// with it, and started while it is away.
fn work_while_it_fails(job: &Job, topic: &Topic, stack: &OwnStack, service: &str, rounds: usize) {
    let (enough, mut moments) = (AtomicBool::new(false), Moments::new());
    std::thread::scope(|scope| {
        let _ends = Ends(&enough);
        scope.spawn(|| publish_until(topic, &enough));
        let before = job.newest();
        let mut running = job.start(&[]);
        job.wait_for_progress(&mut running, before);
        for round in 0..rounds {
            moments.pause(0, 700);
            send_signal(stack.process(service), "KILL");
            moments.pause(0, 1_000);
            if round == 1 {
                running.kill();
                running = job.start(&[]);
            }
            stack.up();
            let before = job.newest();
            job.wait_for_progress(&mut running, before + 2);
            let process = stack.process(service);
            send_signal(process, "STOP");
            moments.pause(500, 3_000);
            send_signal(process, "CONT");
            let before = job.newest();
            job.wait_for_progress(&mut running, before + 2);
        }
        enough.store(true, SeqCst);
        assert_eq!(running.ended(), None, "{}", running.log());
        assert_eq!(running.stop(), 0);
    });
    job.end();
}

#[test]
fn kafka_is_not_there_yet() {
    let topic = Topic::create("late_kafka", 4);
    topic.generate(EventsConfig { total: 2_000, ..EventsConfig::default() }, None);
    let proxy = Proxy::start(&kafka_brokers());
    proxy.set(Mood::Cut);
    let database = Database::new("late_kafka");
    let query = query_at(&topic.name, &database.0, &format!("127.0.0.1:{}", proxy.port), &clickhouse_url());
    let job = Job::of(database, &query);
    let mut running = job.start(&[]);
    wait_until("it says that it waits", || running.log().contains("trying again in") || running.ended().is_some());
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(running.ended(), None, "{}", running.log());
    assert!(running.log().contains(&format!("127.0.0.1:{}", proxy.port)), "{}", running.log());
    proxy.set(Mood::Fair);
    wait_until("it has got on", || job.newest() > 2);
    assert_eq!(running.stop(), 0);
    job.end();
    check(&job.database, &Oracle::of(&topic.name, 3_000));
}
