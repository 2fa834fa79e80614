//! The demo's Kafka and its customers, and what must come of them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use data_gen::events::{EventGenerator, EventsConfig, Op};
use data_gen::kafka::{Target, publish};
use data_gen::units::Rate;
use indicatif::HumanCount;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use serde::Deserialize;
use tokio::sync::watch;

use super::DemoArgs;
use crate::error::{Error, Result};
use crate::job::lane::now;
use crate::job::progress::Progress;

/// The topic that the query file reads.
const TOPIC: &str = "shop.sakila.customer";
const PARTITIONS: i32 = 4;
const STORES: u16 = 8;
/// Windows that the events are spread over.
pub(super) const WINDOWS: u64 = 20;
/// The mock cluster keeps 5 MiB a partition and silently drops what is older: the generator stays at most so many events ahead of
/// the reader, which is a third of that.
const AHEAD_MAX: u64 = 8_000;
/// How long the generator waits for a reader that stands still.
const STALLED: Duration = Duration::from_secs(60);

/// A generator whose events go to the demo's Kafka.
pub(super) struct Shop {
    config: EventsConfig,
    rate: Option<Rate>,
    window_ms: i64,
    brokers: String,
}

/// A Kafka in this process, with an empty topic. It ends when this is dropped.
pub(super) struct Kafka(MockCluster<'static, DefaultProducerContext>);

impl Kafka {
    /// Starts it.
    pub(super) fn start() -> Result<Self> {
        let failed = |cause| Error::permanent("cannot start a Kafka in this process", cause);
        let cluster = MockCluster::new(1).map_err(failed)?;
        cluster.create_topic(TOPIC, PARTITIONS, 1).map_err(failed)?;
        Ok(Self(cluster))
    }
}

/// How the generator knows that it is to wait or to stop.
pub(super) struct Flow {
    pub(super) progress: Arc<Progress>,
    pub(super) job_ended: Arc<AtomicBool>,
    pub(super) interrupted: watch::Receiver<bool>,
}

impl Shop {
    /// Plans what is generated.
    pub(super) fn new(args: &DemoArgs, kafka: &Kafka) -> Result<Self> {
        let span_seconds = (args.window.as_secs() * WINDOWS) as f64;
        let rate = |seconds: f64| Rate::per_second(args.events as f64 / seconds);
        let speed = rate(span_seconds).ok_or_else(|| Error::config("--events and --window give no rate of events"))?;
        let mut config = EventsConfig {
            total: args.events,
            stores: STORES,
            partitions: PARTITIONS,
            speed,
            ..EventsConfig::default()
        };
        // Event time catches up with the clock at the end.
        config.start_ms = now() + args.seconds as i64 * 1_000 - config.speed.span_ms(config.total);
        Ok(Self {
            config,
            rate: rate(args.seconds as f64),
            window_ms: args.window.as_millis() as i64,
            brokers: kafka.0.bootstrap_servers(),
        })
    }

    pub(super) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// What is going to happen, in a few lines.
    pub(super) fn describe(&self, args: &DemoArgs) -> String {
        let pace = if args.seconds == 0 { "as fast as it goes".to_owned() } else { format!("in {} s", args.seconds) };
        format!(
            "Highwater demo: {} changes of customers in {STORES} stores, {:.0} minutes of event time, {pace}\n\
             \u{20} Kafka    in this process at {}, topic {TOPIC}, {PARTITIONS} partitions\n\
             \u{20} query    queries/registrations_per_store.sql with windows of {} s",
            HumanCount(args.events),
            (args.window.as_secs() * WINDOWS) as f64 / 60.0,
            self.brokers,
            args.window.as_secs()
        )
    }

    /// Publishes all events at the demo's pace, never too far ahead of the reader. Returns how many. Blocks.
    pub(super) fn publish(&self, flow: &Flow) -> Result<u64> {
        let target = Target { brokers: self.brokers.clone(), topic: TOPIC.to_owned(), properties: Vec::new() };
        let mut events = EventGenerator::new(self.config.clone()).map_err(|error| config_error(&error))?;
        let published = publish(&target, &mut events, self.rate, |sent| {
            let mut waited = Instant::now();
            let mut read_before = 0;
            loop {
                let read = flow.progress.events.load(Relaxed);
                if read != read_before {
                    (waited, read_before) = (Instant::now(), read);
                }
                if flow.job_ended.load(Relaxed) || *flow.interrupted.borrow() || waited.elapsed() > STALLED {
                    return ControlFlow::Break(());
                }
                if sent.saturating_sub(read) < AHEAD_MAX {
                    return ControlFlow::Continue(());
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        })
        .map_err(|error| Error::permanent("cannot publish the demo's events", error))?;
        let sent = events.summary().events();
        let is_stopped = flow.job_ended.load(Relaxed) || *flow.interrupted.borrow();
        match published.first_error {
            Some(cause) => Err(Error::permanent("cannot publish the demo's events", cause)),
            None if sent < self.config.total && !is_stopped => {
                Err(Error::permanent("the demo has stalled", format!("nothing was read for {} s", STALLED.as_secs())))
            }
            None => Ok(sent),
        }
    }

    /// What must come out: the same events, made once more, and counted one by one.
    pub(super) fn expected(&self) -> Result<Expected> {
        let mut events = EventGenerator::new(self.config.clone()).map_err(|error| config_error(&error))?;
        let mut expected = Expected::default();
        while let Some(event) = events.next_event() {
            let Some(value) = event.value else { continue };
            let envelope: Envelope<'_> = serde_json::from_slice(value).map_err(Error::internal)?;
            *expected.changes.entry(event.op.letter().to_owned()).or_default() += 1;
            match (event.op, envelope.after, envelope.before) {
                (Op::Delete, _, Some(gone)) => {
                    expected.customers.remove(&gone.customer_id);
                }
                (op, Some(row), _) => {
                    if op == Op::Insert {
                        let start_ms = event.event_time_ms - event.event_time_ms.rem_euclid(self.window_ms);
                        *expected.registrations.entry((window_name(start_ms), row.store_id)).or_default() += 1;
                    }
                    expected.customers.insert(row.customer_id, (row.store_id, row.email.to_owned()));
                }
                _ => {}
            }
        }
        Ok(expected)
    }
}

fn config_error(error: &data_gen::events::ConfigError) -> Error {
    Error::config(error.to_string())
}

/// A window by its start, as in `2026-11-21 07:06:12`.
fn window_name(start_ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(start_ms).unwrap_or_default().format("%Y-%m-%d %H:%M:%S").to_string()
}

/// What must come out.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Change events by `op`.
    pub(super) changes: BTreeMap<String, i64>,
    /// Inserts by window and store.
    pub(super) registrations: BTreeMap<(String, i64), i64>,
    /// Store and e-mail address, which are what changes, of each customer who is there in the end.
    pub(super) customers: BTreeMap<i64, (i64, String)>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    before: Option<Row<'a>>,
    #[serde(borrow)]
    after: Option<Row<'a>>,
}

#[derive(Deserialize)]
struct Row<'a> {
    customer_id: i64,
    store_id: i64,
    email: &'a str,
}
