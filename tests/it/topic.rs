//! Topics of a test's own, written and read without Highwater.

use std::time::{Duration, Instant};

use data_gen::events::{EventGenerator, EventsConfig, Summary};
use data_gen::kafka::{Target, publish};
use data_gen::units::Rate;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::run::{WAIT, block_on, wait_until};
use crate::stack::{kafka_brokers, unique};

/// A topic, and who writes to it.
pub(crate) struct Topic {
    pub(crate) name: String,
    brokers: String,
    producer: std::sync::Arc<BaseProducer>,
}

impl Topic {
    pub(crate) fn create(what: &str, partitions: i32) -> Self {
        Self::named(unique(what), partitions)
    }

    pub(crate) fn named(name: String, partitions: i32) -> Self {
        Self::all(&kafka_brokers(), vec![name], partitions).remove(0)
    }

    /// On brokers of the test's own.
    pub(crate) fn at(brokers: &str, what: &str, partitions: i32) -> Self {
        Self::all(brokers, vec![unique(what)], partitions).remove(0)
    }

    /// Topics of one partition, made at once.
    pub(crate) fn many(names: Vec<String>) -> Vec<Self> {
        Self::all(&kafka_brokers(), names, 1)
    }

    fn all(brokers: &str, names: Vec<String>, partitions: i32) -> Vec<Self> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", brokers).set("message.max.bytes", "10000000");
        let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
        // The tests' timestamps are not of today: retention by age would delete the records.
        let topic = |name| {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
            topic.set("retention.ms", "-1").set("max.message.bytes", "10000000")
        };
        let topics: Vec<_> = names.iter().map(|name| topic(name)).collect();
        for result in block_on(admin.create_topics(&topics, &AdminOptions::new())).unwrap() {
            result.unwrap();
        }
        let producer: std::sync::Arc<BaseProducer> = std::sync::Arc::new(client.create().unwrap());
        let topic = |name| Self { name, brokers: brokers.to_owned(), producer: std::sync::Arc::clone(&producer) };
        names.into_iter().map(topic).collect()
    }

    /// Sends a record of today to a partition, which is there after [`Self::flush`].
    pub(crate) fn queue(&self, partition: i32, key: &str, value: &str) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        self.send(partition, Some(key), Some(value.as_bytes()), now.as_millis() as i64);
    }

    /// A producer that knows nothing of the topic's past: after it was created anew.
    pub(crate) fn reconnect(&mut self) {
        let mut client = ClientConfig::new();
        self.producer = std::sync::Arc::new(client.set("bootstrap.servers", &self.brokers).create().unwrap());
    }

    /// Deletes it and creates it anew, with one partition.
    pub(crate) fn create_anew(&mut self) {
        block_on(admin().delete_topics(&[&self.name], &AdminOptions::new())).unwrap();
        let mut made = Vec::new();
        wait_until("the name is free", || {
            let anew = NewTopic::new(&self.name, 1, TopicReplication::Fixed(1)).set("retention.ms", "-1");
            made = block_on(admin().create_topics([&anew], &AdminOptions::new())).unwrap();
            made[0].is_ok()
        });
        self.reconnect();
    }

    /// The same topic, whose partitions have changed.
    pub(crate) fn again(mut self) -> Self {
        self.reconnect();
        self
    }

    /// Sends a record. It is there after [`Self::flush`].
    pub(crate) fn send(&self, partition: i32, key: Option<&str>, value: Option<&[u8]>, timestamp: i64) {
        let mut record = BaseRecord::<str, [u8]>::to(&self.name).partition(partition).timestamp(timestamp);
        record.key = key;
        record.payload = value;
        self.producer.send(record).unwrap();
        self.producer.poll(Duration::ZERO);
    }

    pub(crate) fn flush(&self) {
        self.producer.flush(WAIT).unwrap();
    }

    /// Fills the topic with generated events.
    pub(crate) fn generate(&self, config: EventsConfig, rate: Option<Rate>) -> Summary {
        let target = Target { brokers: self.brokers.clone(), topic: self.name.clone(), properties: Vec::new() };
        let mut events = EventGenerator::new(config).unwrap();
        let published = publish(&target, &mut events, rate, |_| std::ops::ControlFlow::Continue(())).unwrap();
        assert_eq!(published.undelivered, 0, "{:?}", published.first_error);
        events.summary().clone()
    }
}

/// Administers the brokers of the tests.
pub(crate) fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", kafka_brokers()).create().unwrap()
}

impl Drop for Topic {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let mut client = ClientConfig::new();
            let admin: AdminClient<DefaultClientContext> =
                client.set("bootstrap.servers", &self.brokers).create().unwrap();
            let _ = block_on(admin.delete_topics(&[&self.name], &AdminOptions::new()));
        }
    }
}

/// A record as it is in Kafka.
pub(crate) struct Record<'a> {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) value: Option<&'a [u8]>,
}

/// Hands over all records of a topic, each partition in order.
pub(crate) fn read(topic: &str, take: impl FnMut(Record<'_>)) {
    read_at(&kafka_brokers(), topic, take);
}

/// The same, from these brokers.
pub(crate) fn read_at(brokers: &str, topic: &str, mut take: impl FnMut(Record<'_>)) {
    let mut config = ClientConfig::new();
    let consumer: BaseConsumer = config
        .set("bootstrap.servers", brokers)
        .set("group.id", "tests")
        .set("enable.auto.commit", "false")
        .set("fetch.message.max.bytes", "10000000")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), WAIT).unwrap();
    let mut list = TopicPartitionList::new();
    let mut missing = 0;
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = watermarks(&consumer, topic, partition.id());
        missing += high - low;
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let give_up = Instant::now() + 2 * WAIT;
    while missing > 0 {
        assert!(Instant::now() < give_up, "{missing} records of {topic} did not come");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        missing -= 1;
        take(Record { partition: message.partition(), offset: message.offset(), value: message.payload() });
    }
}

/// First offset and end of a partition. One of a topic that is only just there may have no leader yet.
fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    let give_up = Instant::now() + WAIT;
    loop {
        match consumer.fetch_watermarks(topic, partition, WAIT) {
            Ok(found) => return found,
            Err(error) => assert!(Instant::now() < give_up, "{topic}[{partition}]: {error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
