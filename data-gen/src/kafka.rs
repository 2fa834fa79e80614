//! Publishes generated events: makes the topic, and sends as fast as librdkafka takes them, or at a rate.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use crate::events::EventGenerator;
use crate::retail::{Kind, RetailGenerator};
use crate::units::Rate;

/// How long a broker may take to answer a question.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a record may take to be stored, retries included, before it counts as undelivered.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// The number of replicas that lets the broker decide (`default.replication.factor`).
const BROKERS_DEFAULT: i32 = -1;

/// Events between two looks at the clock when there is no rate to keep.
const STEP_EVENTS: u64 = 4096;

/// How many looks at the clock a rate gets in a second.
const STEPS_PER_SECOND: f64 = 50.0;

/// Longest silence between two reports of progress while a rate is waited for.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// Where to publish.
#[derive(Debug, Clone)]
pub struct Target {
    /// `bootstrap.servers`: one or more brokers as `host:port`, with commas between them.
    pub brokers: String,
    /// The topic's name.
    pub topic: String,
    /// Further settings of librdkafka, such as those for TLS. They win over ours.
    pub properties: Vec<(String, String)>,
}

impl Target {
    fn client_config(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        for (key, value) in defaults {
            config.set(*key, *value);
        }
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config
    }
}

/// Why events could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A setting that librdkafka refuses.
    #[error("cannot make a client for the brokers `{brokers}`")]
    Client {
        /// The brokers asked for.
        brokers: String,
        /// What librdkafka says.
        source: Box<KafkaError>,
    },
    /// No broker answers, or it knows nothing about the topic.
    #[error("cannot look up topic `{topic}` at `{brokers}`: check the address, and that Kafka is up")]
    Lookup {
        /// The topic asked for.
        topic: String,
        /// The brokers asked.
        brokers: String,
        /// What librdkafka says.
        source: Box<KafkaError>,
    },
    /// The broker does not make the topic.
    #[error("cannot create topic `{topic}` with {partitions} partitions: {reason}")]
    Create {
        /// The topic asked for.
        topic: String,
        /// The partitions asked for.
        partitions: i32,
        /// What the broker says.
        reason: String,
    },
    /// A record that is never going to be taken, such as one for a partition that is not there.
    #[error("cannot send to topic `{topic}`: record {record} was refused")]
    Send {
        /// The topic.
        topic: String,
        /// The number of the record, from 0.
        record: u64,
        /// What librdkafka says.
        source: Box<KafkaError>,
    },
}

/// A topic that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// Partitions it has, whatever was asked for.
    pub partitions: i32,
    /// Whether it was made just now.
    pub created: bool,
}

/// Makes the topic unless it is there. A new one keeps its records for ever: their timestamps may lie far back.
///
/// # Errors
///
/// When no broker answers, or it refuses to make the topic.
pub async fn ensure_topic(target: &Target, partitions: i32) -> Result<Topic, PublishError> {
    if let Some(partitions) = partitions_of(target)? {
        return Ok(Topic { partitions, created: false });
    }
    let admin: AdminClient<DefaultClientContext> =
        target.client_config(&[]).create().map_err(|source| client_error(target, source))?;
    let replication = TopicReplication::Fixed(BROKERS_DEFAULT);
    let topic = NewTopic::new(&target.topic, partitions, replication).set("retention.ms", "-1");
    let options = AdminOptions::new().operation_timeout(Some(REQUEST_TIMEOUT)).request_timeout(Some(REQUEST_TIMEOUT));
    let refused = |reason: String| PublishError::Create { topic: target.topic.clone(), partitions, reason };
    let results = admin.create_topics([&topic], &options).await.map_err(|error| refused(error.to_string()))?;
    for result in results {
        match result {
            Ok(_) => {}
            // Somebody else was quicker.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {
                let found = partitions_of(target)?.unwrap_or(partitions);
                return Ok(Topic { partitions: found, created: false });
            }
            Err((_, code)) => return Err(refused(code.to_string())),
        }
    }
    Ok(Topic { partitions, created: true })
}

/// How many partitions the topic has; `None` when there is no such topic.
fn partitions_of(target: &Target) -> Result<Option<i32>, PublishError> {
    // A consumer, because a producer's question would make the topic, with the broker's default of partitions.
    let config = target.client_config(&[("allow.auto.create.topics", "false")]);
    let client: BaseConsumer = config.create().map_err(|source| client_error(target, source))?;
    let metadata = client.fetch_metadata(Some(&target.topic), REQUEST_TIMEOUT).map_err(|source| {
        PublishError::Lookup { topic: target.topic.clone(), brokers: target.brokers.clone(), source: source.into() }
    })?;
    let partitions = metadata.topics().iter().map(|topic| topic.partitions().len()).sum::<usize>();
    Ok(i32::try_from(partitions).ok().filter(|partitions| *partitions > 0))
}

fn client_error(target: &Target, source: KafkaError) -> PublishError {
    PublishError::Client { brokers: target.brokers.clone(), source: source.into() }
}

/// What has been published.
#[derive(Debug, Clone)]
pub struct Published {
    /// Records handed to librdkafka, tombstones among them.
    pub records: u64,
    /// Records of these that no broker has confirmed.
    pub undelivered: u64,
    /// Why the first of these was not delivered.
    pub first_error: Option<String>,
    /// From the first record to the last confirmation.
    pub elapsed: Duration,
}

/// A record on its way to Kafka.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Which of the topics it is for.
    pub topic: usize,
    /// Its partition.
    pub partition: i32,
    /// Its key.
    pub key: &'a [u8],
    /// Its value; `None` in a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its timestamp, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

/// What makes records, one after the other.
pub trait Records {
    /// The next record; `None` when all have been made.
    fn next_record(&mut self) -> Option<Record<'_>>;

    /// Events made so far: records, less what comes on top of them.
    fn events(&self) -> u64;
}

impl Records for EventGenerator {
    fn next_record(&mut self) -> Option<Record<'_>> {
        let event = self.next_event()?;
        let (partition, key, value, timestamp_ms) = (event.partition, event.key, event.value, event.timestamp_ms);
        Some(Record { topic: 0, partition, key, value, timestamp_ms })
    }

    fn events(&self) -> u64 {
        self.summary().events()
    }
}

/// Sales go to the first topic, movements to the second.
impl Records for RetailGenerator {
    fn next_record(&mut self) -> Option<Record<'_>> {
        let event = self.next_event()?;
        let (partition, key, value, timestamp_ms) = (event.partition, event.key, event.value, event.timestamp_ms);
        Some(Record {
            topic: usize::from(event.kind == Kind::Movement),
            partition,
            key,
            value: Some(value),
            timestamp_ms,
        })
    }

    fn events(&self) -> u64 {
        self.summary().events()
    }
}

/// Publishes all events of a generator to one topic, as [`publish_to`] does.
///
/// # Errors
///
/// As [`publish_to`].
pub fn publish(
    target: &Target,
    events: &mut impl Records,
    rate: Option<Rate>,
    progress: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<Published, PublishError> {
    publish_to(target, &[&target.topic], events, rate, progress)
}

/// Publishes all events of a generator, each to that of the `topics` that it names, and returns when the brokers have them.
/// Keeps the order in each partition. Blocks: call it from a thread of its own.
///
/// `progress` is called many times a second with the number of events so far; it may stop the run, or hold it up.
///
/// # Errors
///
/// When librdkafka refuses a setting or a record. Records that it took and could not deliver are no error here:
/// see [`Published::undelivered`].
pub fn publish_to(
    target: &Target,
    topics: &[&str],
    events: &mut impl Records,
    rate: Option<Rate>,
    mut progress: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<Published, PublishError> {
    let delivery_timeout_ms = DELIVERY_TIMEOUT.as_millis().to_string();
    let config = target.client_config(&[
        ("compression.type", "lz4"),
        // Keeps the order in a partition, and sends nothing twice, when a request has to be repeated.
        ("enable.idempotence", "true"),
        // Large batches: they compress well, and cost the broker little.
        ("linger.ms", "50"),
        ("batch.size", "1000000"),
        ("batch.num.messages", "10000"),
        // Several of them for each partition. Four times as much was no faster, and took 220 MB instead of 80.
        ("queue.buffering.max.messages", "50000"),
        ("queue.buffering.max.kbytes", "65536"),
        ("message.timeout.ms", &delivery_timeout_ms),
        // A report for each record would cost as much as making the record.
        ("delivery.report.only.error", "true"),
    ]);
    let producer: BaseProducer<DeliveryFailures> =
        config.create_with_context(DeliveryFailures::default()).map_err(|source| client_error(target, source))?;

    let step = rate.map_or(STEP_EVENTS, |rate| (rate.as_per_second() / STEPS_PER_SECOND).clamp(1.0, 4096.0) as u64);
    let started = Instant::now();
    let mut records = 0;
    let mut next_step = step;
    while let Some(record) = events.next_record() {
        let topic = topics.get(record.topic).copied().unwrap_or(&target.topic);
        send(&producer, topic, records, &record)?;
        records += 1;
        let sent = events.events();
        if sent >= next_step {
            next_step = sent + step;
            producer.poll(Duration::ZERO);
            let due = started + rate.map_or(Duration::ZERO, |rate| rate.time_for(sent));
            if report_until(due, || progress(sent)).is_break() {
                break;
            }
        }
    }
    // What is still in the queue afterwards has not been delivered either. The failure has its own count.
    let flushed = producer.flush(DELIVERY_TIMEOUT + REQUEST_TIMEOUT);
    let elapsed = started.elapsed();
    let failures = producer.context();
    let in_queue = producer.in_flight_count().unsigned_abs();
    let first_error = failures.first.lock().map_or(None, |first| first.clone());
    Ok(Published {
        records,
        undelivered: failures.count.load(Ordering::Relaxed) + u64::from(in_queue),
        first_error: first_error.or_else(|| flushed.err().map(|error| error.to_string())),
        elapsed,
    })
}

fn send(
    producer: &BaseProducer<DeliveryFailures>,
    topic: &str,
    number: u64,
    record: &Record<'_>,
) -> Result<(), PublishError> {
    let mut message =
        BaseRecord::<[u8], [u8]>::to(topic).partition(record.partition).key(record.key).timestamp(record.timestamp_ms);
    message.payload = record.value;
    loop {
        match producer.send(message) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), unsent)) => {
                producer.poll(Duration::from_millis(1));
                message = unsent;
            }
            Err((error, _)) => {
                return Err(PublishError::Send { topic: topic.to_owned(), record: number, source: error.into() });
            }
        }
    }
}

/// Reports at least once, and again and again until it is time to go on; a low rate can still be stopped.
fn report_until(due: Instant, mut report: impl FnMut() -> ControlFlow<()>) -> ControlFlow<()> {
    loop {
        report()?;
        let wait = due.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return ControlFlow::Continue(());
        }
        std::thread::sleep(wait.min(REPORT_INTERVAL));
    }
}

/// Counts the records that could not be delivered.
#[derive(Debug, Default)]
struct DeliveryFailures {
    count: AtomicU64,
    first: Mutex<Option<String>>,
}

impl ClientContext for DeliveryFailures {}

impl ProducerContext for DeliveryFailures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.count.fetch_add(1, Ordering::Relaxed);
            if let Ok(mut first) = self.first.lock() {
                first.get_or_insert_with(|| error.to_string());
            }
        }
    }
}
