//! Publishes to the broker that librdkafka brings along for tests, and reads back what is there.
// A test says best by a panic what it did not find.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use data_gen::events::{EventGenerator, EventsConfig};
use data_gen::kafka::{Target, ensure_topic, publish};
use data_gen::units::Rate;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const TOPIC: &str = "shop.sakila.customer";

/// Key, value and timestamp, in the order of a partition.
type Records = Vec<(Vec<u8>, Option<Vec<u8>>, i64)>;

fn cluster(partitions: i32) -> (MockCluster<'static, DefaultProducerContext>, Target) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, partitions, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    (cluster, Target { brokers, topic: TOPIC.to_owned(), properties: Vec::new() })
}

fn generator(total: u64) -> EventGenerator {
    EventGenerator::new(EventsConfig { total, partitions: 3, ..EventsConfig::default() }).unwrap()
}

fn consume(brokers: &str, records: u64) -> HashMap<i32, Records> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "test").create().unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..3 {
        partitions.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let mut found: HashMap<i32, Records> = HashMap::new();
    for _ in 0..records {
        let record = consumer.poll(Duration::from_secs(20)).unwrap_or_else(|| panic!("no more records")).unwrap();
        let timestamp_ms = record.timestamp().to_millis().unwrap();
        let value = record.payload().map(<[u8]>::to_vec);
        found.entry(record.partition()).or_default().push((record.key().unwrap().to_vec(), value, timestamp_ms));
    }
    found
}

#[tokio::test]
async fn topic_holds_the_events_in_the_order_of_each_partition() {
    let (_cluster, target) = cluster(3);
    let topic = ensure_topic(&target, 8).await.unwrap();
    assert_eq!((topic.partitions, topic.created), (3, false));

    let mut events = generator(5_000);
    let published = publish(&target, &mut events, None, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((published.records, published.undelivered), (events.summary().records(), 0));

    let mut expected: HashMap<i32, Records> = HashMap::new();
    let mut again = generator(5_000);
    while let Some(event) = again.next_event() {
        let record = (event.key.to_vec(), event.value.map(<[u8]>::to_vec), event.timestamp_ms);
        expected.entry(event.partition).or_default().push(record);
    }
    assert_eq!(consume(&target.brokers, published.records), expected);
}

#[test]
fn rate_is_kept_and_progress_can_stop() {
    let (_cluster, target) = cluster(3);
    let mut events = generator(5_000);
    let rate = Rate::per_second(1_000.0);
    let stop_at_300 = |sent| if sent < 300 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
    let published = publish(&target, &mut events, rate, stop_at_300).unwrap();
    assert_eq!(events.summary().events(), 300);
    assert!(published.elapsed >= Duration::from_millis(300), "{published:?}");
    assert_eq!(published.undelivered, 0);
}

#[test]
fn partitions_that_are_not_there_are_an_error() {
    let (_cluster, target) = cluster(1);
    let published = publish(&target, &mut generator(5_000), None, |_| ControlFlow::Continue(()));
    // Refused at once when the topic's partitions are known already, and by the delivery reports otherwise.
    assert!(published.is_err() || published.is_ok_and(|published| published.undelivered > 0));
}
