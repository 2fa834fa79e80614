//! `KafkaSource` against a real Kafka: what librdkafka's mock cluster cannot do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use highwater::change::TopicPartition;
use highwater::options::Options;
use highwater::source::kafka::KafkaSource;
use highwater::source::{RawBatch, Source, SourceReader};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::stack::kafka_brokers;

const WAIT: Duration = Duration::from_secs(60);

/// A topic of this test's own, and what is done to it from the outside.
pub(crate) struct Topic {
    pub(crate) name: String,
    brokers: String,
    admin: AdminClient<DefaultClientContext>,
    producer: BaseProducer,
}

impl Topic {
    pub(crate) fn create(what: &str, partitions: i32, config: &[(&str, &str)]) -> Self {
        let brokers = kafka_brokers();
        let unique = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let name = format!("it-kafka-source-{what}-{unique}");
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &brokers);
        let admin: AdminClient<_> = client.create().unwrap();
        // The tests' timestamps are of 1970: retention by age would delete the records.
        let mut topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        for result in block_on(admin.create_topics([&topic], &AdminOptions::new())).unwrap() {
            result.unwrap();
        }
        let producer = producer(&brokers);
        Self { name, brokers, admin, producer }
    }

    pub(crate) fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition { topic: self.name.as_str().into(), partition }
    }

    pub(crate) fn source(&self, extra: &[(&str, &str)]) -> KafkaSource {
        let base = [("topic", self.name.as_str()), ("properties.bootstrap.servers", self.brokers.as_str())];
        let values = base.iter().chain(extra).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        KafkaSource::new(&Options::new("customer", values)).unwrap()
    }

    /// Produces a number as value, with a key and a timestamp.
    pub(crate) fn send(&self, producer: &BaseProducer, partition: i32, key: &str, value: &str, timestamp: i64) {
        let mut record = BaseRecord::to(&self.name).partition(partition).key(key).payload(value).timestamp(timestamp);
        while let Err((error, again)) = producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(rdkafka::error::RDKafkaErrorCode::QueueFull), "{error}");
            producer.poll(Duration::from_millis(10));
            record = again;
        }
        producer.poll(Duration::ZERO);
    }

    pub(crate) fn produce(&self, partition: i32, values: std::ops::Range<usize>) {
        for value in values {
            self.send(&self.producer, partition, "k", &value.to_string(), 1_000_000 + value as i64);
        }
        self.producer.flush(WAIT).unwrap();
    }

    fn transactional(&self, id: &str) -> BaseProducer {
        let id = format!("{}-{id}", self.name);
        let mut config = ClientConfig::new();
        let producer: BaseProducer =
            config.set("bootstrap.servers", &self.brokers).set("transactional.id", id).create().unwrap();
        producer.init_transactions(WAIT).unwrap();
        producer
    }

    fn delete_before(&self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, partition, Offset::Offset(offset)).unwrap();
        block_on(self.admin.delete_records(&list, &AdminOptions::new())).unwrap();
    }
}

fn producer(brokers: &str) -> BaseProducer {
    let settings = [("linger.ms", "20"), ("compression.type", "lz4"), ("queue.buffering.max.messages", "500000")];
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
    config.create().unwrap()
}

/// Where reading has come to and what it has seen, by partition.
pub(crate) type Read = BTreeMap<TopicPartition, (i64, Vec<usize>)>;

fn values(batch: &RawBatch) -> impl Iterator<Item = usize> {
    batch.iter().map(|record| std::str::from_utf8(record.value.unwrap()).unwrap().parse().unwrap())
}

/// Adds batches to what was read; ranges must follow each other, and records lie in them.
pub(crate) fn note(read: &mut Read, batches: &mut Vec<RawBatch>) {
    for batch in batches.drain(..) {
        let (position, seen) = read.get_mut(&batch.source).unwrap();
        assert_eq!(batch.range.from, *position, "ranges of {} are not contiguous", batch.source);
        assert!(batch.iter().all(|record| record.offset >= batch.range.from && record.offset < batch.range.to));
        *position = batch.range.to;
        seen.extend(values(&batch));
    }
}

/// Reads all partitions with some lanes to the ends that they have now.
pub(crate) fn read_to_end(source: &mut KafkaSource, lanes: usize) -> Read {
    let partitions = source.partitions().unwrap();
    let starts = source.start_offsets(&partitions).unwrap();
    let ends = source.end_offsets(&partitions).unwrap();
    let mut readers: Vec<Box<dyn SourceReader>> = (0..lanes).map(|_| source.reader().unwrap()).collect();
    for (index, partition) in partitions.iter().enumerate() {
        source.assign(index % lanes, partition, starts[partition]).unwrap();
    }
    let mut read: Read = starts.into_iter().map(|(partition, from)| (partition, (from, Vec::new()))).collect();
    let (give_up, mut batches) = (Instant::now() + WAIT, Vec::new());
    while read.iter().any(|(partition, (position, _))| *position < ends[partition]) {
        assert!(Instant::now() < give_up, "not at the ends {ends:?}");
        for reader in &mut readers {
            reader.poll(Duration::from_millis(20), &mut batches).unwrap();
            note(&mut read, &mut batches);
        }
        source.maintain().unwrap();
    }
    read
}

#[test]
fn aborted_transactions_are_passed_over() {
    let topic = Topic::create("transactions", 1, &[]);
    let producer = topic.transactional("a");
    let mut expected = Vec::new();
    for round in 0..6 {
        producer.begin_transaction().unwrap();
        for value in round * 10..round * 10 + 10 {
            topic.send(&producer, 0, "k", &value.to_string(), 1);
        }
        producer.flush(WAIT).unwrap();
        if round % 2 == 0 {
            producer.commit_transaction(WAIT).unwrap();
            expected.extend(round * 10..round * 10 + 10);
        } else {
            producer.abort_transaction(WAIT).unwrap();
        }
    }
    // 60 records and 6 markers; the last 11 offsets are never seen, and still the end is reached.
    let mut source = topic.source(&[]);
    let read = read_to_end(&mut source, 1);
    assert_eq!(read[&topic.partition(0)], (66, expected.clone()));

    // An open transaction holds the end back, also for a bounded run.
    producer.begin_transaction().unwrap();
    topic.send(&producer, 0, "k", "60", 1);
    producer.flush(WAIT).unwrap();
    let mut source = topic.source(&[]);
    assert_eq!(source.end_offsets(&[topic.partition(0)]).unwrap()[&topic.partition(0)], 66);
    assert_eq!(read_to_end(&mut source, 1)[&topic.partition(0)], (66, expected));
    producer.abort_transaction(WAIT).unwrap();
}

#[test]
fn compaction_leaves_gaps_that_ranges_span() {
    let config = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("segment.bytes", "1048576"),
        ("segment.ms", "200"),
        ("max.compaction.lag.ms", "200"),
    ];
    let topic = Topic::create("compaction", 1, &config);
    let now = || {
        i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
    };
    for value in 0..3_000 {
        topic.send(&topic.producer, 0, &(value % 10).to_string(), &value.to_string(), now());
    }
    topic.producer.flush(WAIT).unwrap();
    let give_up = Instant::now() + WAIT;
    let mut next = 3_000;
    loop {
        // A segment is closed when something is written after its time; the cleaner looks every 15 seconds.
        std::thread::sleep(Duration::from_millis(500));
        topic.send(&topic.producer, 0, &(next % 10).to_string(), &next.to_string(), now());
        topic.producer.flush(WAIT).unwrap();
        next += 1;
        let mut source = topic.source(&[]);
        let read = read_to_end(&mut source, 1);
        let (position, seen) = &read[&topic.partition(0)];
        assert_eq!(*position, next as i64);
        assert_eq!(seen.last(), Some(&(next - 1)));
        if seen.len() < 1_000 {
            break;
        }
        if Instant::now() > give_up {
            eprintln!("skipped: the broker's cleaner did not run within {WAIT:?}");
            break;
        }
    }
}

#[test]
fn a_new_partition_is_noticed() {
    let mut topic = Topic::create("grows", 1, &[]);
    topic.produce(0, 0..10);
    let mut source = topic.source(&[("scan.startup.mode", "latest-offset")]);
    let partitions = source.partitions().unwrap();
    let starts = source.start_offsets(&partitions).unwrap();
    assert_eq!(starts[&topic.partition(0)], 10);
    let mut reader = source.reader().unwrap();
    source.assign(0, &partitions[0], 10).unwrap();

    block_on(topic.admin.create_partitions([&NewPartitions::new(&topic.name, 2)], &AdminOptions::new())).unwrap();
    // The old producer knows one partition for minutes.
    topic.producer = producer(&topic.brokers);
    topic.produce(1, 100..110);
    let give_up = Instant::now() + WAIT;
    let new = loop {
        let now = source.partitions().unwrap();
        if now.len() == 2 {
            break now[1].clone();
        }
        assert!(Instant::now() < give_up);
    };
    let start = source.start_offsets(std::slice::from_ref(&new)).unwrap()[&new];
    assert_eq!(start, 0, "a partition that appears later starts at its beginning, whatever the mode");
    source.assign(0, &new, start).unwrap();
    topic.produce(0, 10..20);
    let mut read: Read = [(partitions[0].clone(), (10, Vec::new())), (new.clone(), (0, Vec::new()))].into();
    let mut batches = Vec::new();
    while !(reader.at_end(&partitions[0]) && reader.at_end(&new) && read[&new].0 == 10 && read[&partitions[0]].0 == 20)
    {
        assert!(Instant::now() < give_up, "{read:?}");
        reader.poll(Duration::from_millis(100), &mut batches).unwrap();
        note(&mut read, &mut batches);
    }
    assert_eq!(read[&new].1, (100..110).collect::<Vec<_>>());
    assert_eq!(read[&partitions[0]].1, (10..20).collect::<Vec<_>>());
}

#[test]
fn records_deleted_by_retention_are_an_error_with_a_way_out() {
    let topic = Topic::create("retention", 1, &[]);
    topic.produce(0, 0..100);
    topic.delete_before(0, 60);
    let partition = topic.partition(0);
    let mut source = topic.source(&[]);
    assert_eq!(source.start_offsets(std::slice::from_ref(&partition)).unwrap()[&partition], 60);
    for (gone, way_out) in [(10, "run once with --from and a time"), (5_000, "run once with --new-generation")] {
        let mut source = topic.source(&[]);
        let mut reader = source.reader().unwrap();
        source.assign(0, &partition, gone).unwrap();
        let give_up = Instant::now() + WAIT;
        let error = loop {
            assert!(Instant::now() < give_up);
            let mut batches = Vec::new();
            if let Err(error) = reader.poll(Duration::from_millis(100), &mut batches) {
                break error;
            }
            assert!(batches.is_empty());
        };
        let text = error.to_string();
        for part in [
            topic.name.as_str(),
            "partition 0",
            &format!("offset {gone} "),
            "from 60 up to, not including, 100",
            way_out,
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!error.is_transient());
    }
}

#[test]
fn timestamps_choose_the_start() {
    let topic = Topic::create("timestamp", 2, &[]);
    topic.produce(0, 0..100);
    topic.produce(1, 0..10);
    let mut source = topic.source(&[("scan.startup.mode", "timestamp"), ("scan.startup.timestamp-millis", "1000050")]);
    let partitions = source.partitions().unwrap();
    let starts = source.start_offsets(&partitions).unwrap();
    assert_eq!(starts[&topic.partition(0)], 50);
    assert_eq!(starts[&topic.partition(1)], 10, "nothing so late: from the end on");
    let read = read_to_end(&mut source, 2);
    assert_eq!(read[&topic.partition(0)].1, (50..100).collect::<Vec<_>>());
}

#[test]
fn offsets_are_committed_for_tools_that_show_lag() {
    let topic = Topic::create("commit", 1, &[]);
    topic.produce(0, 0..10);
    let group = [("properties.group.id", topic.name.as_str())];
    let mut source = topic.source(&group);
    let partition = topic.partition(0);
    assert_eq!(read_to_end(&mut source, 1)[&partition].0, 10);
    source.commit(&BTreeMap::from([(partition.clone(), 7)])).unwrap();
    let give_up = Instant::now() + WAIT;
    while topic.source(&group).start_offsets(std::slice::from_ref(&partition)).unwrap()[&partition] != 7 {
        assert!(Instant::now() < give_up);
        source.maintain().unwrap();
    }
}

#[test]
fn what_is_missing_is_named() {
    let topic = Topic::create("there", 1, &[]);
    let error = topic.source(&[("topic", "it-kafka-source-not-there")]).partitions().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("topic \"it-kafka-source-not-there\" does not exist at ") && !error.is_transient(), "{text}");
    // Asking has not created it.
    assert!(topic.source(&[("topic", "it-kafka-source-not-there")]).partitions().is_err());

    let error = topic.source(&[("properties.bootstrap.servers", "127.0.0.1:1")]).partitions().unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1") && error.is_transient(), "{error}");
}

#[test]
fn a_million_records_and_none_lost() {
    let topic = Topic::create("million", 4, &[]);
    let padding = "x".repeat(600);
    for value in 0..1_000_000_usize {
        let text = format!("{value:07}{padding}");
        topic.send(&topic.producer, i32::try_from(value % 4).unwrap(), "key", &text, 1);
    }
    topic.producer.flush(WAIT).unwrap();
    for lanes in [1, 2] {
        let mut source = topic.source(&[]);
        let partitions = source.partitions().unwrap();
        let ends = source.end_offsets(&partitions).unwrap();
        assert_eq!(ends.values().sum::<i64>(), 1_000_000);
        let mut readers = Vec::new();
        for _ in 0..lanes {
            readers.push((source.reader().unwrap(), Vec::new()));
        }
        let start = Instant::now();
        for (index, partition) in partitions.iter().enumerate() {
            source.assign(index % lanes, partition, 0).unwrap();
            readers[index % lanes].1.push((partition.clone(), ends[partition]));
        }
        let read: Vec<(u64, u64)> = std::thread::scope(|scope| {
            let lanes: Vec<_> =
                readers.into_iter().map(|(reader, todo)| scope.spawn(move || sum_to_end(reader, &todo))).collect();
            lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
        });
        let (count, sum) = read.iter().fold((0, 0), |all, lane| (all.0 + lane.0, all.1 + lane.1));
        assert_eq!((count, sum), (1_000_000, 999_999 * 1_000_000 / 2));
        let seconds = start.elapsed().as_secs_f64();
        println!("{lanes} lanes: {count} records in {seconds:.2} s, {:.0}/s", count as f64 / seconds);
    }
}

/// Number and sum of the values of some partitions up to their ends.
fn sum_to_end(mut reader: Box<dyn SourceReader>, todo: &[(TopicPartition, i64)]) -> (u64, u64) {
    let mut positions: BTreeMap<TopicPartition, i64> =
        todo.iter().map(|(partition, _)| (partition.clone(), 0)).collect();
    let (mut count, mut sum, mut batches) = (0, 0, Vec::new());
    let give_up = Instant::now() + WAIT;
    while todo.iter().any(|(partition, end)| positions[partition] < *end) {
        assert!(Instant::now() < give_up, "{positions:?}");
        reader.poll(Duration::from_millis(100), &mut batches).unwrap();
        for batch in batches.drain(..) {
            assert_eq!(positions.insert(batch.source.clone(), batch.range.to), Some(batch.range.from));
            for record in batch.iter() {
                count += 1;
                sum += std::str::from_utf8(&record.value.unwrap()[..7]).unwrap().parse::<u64>().unwrap();
            }
        }
    }
    (count, sum)
}
