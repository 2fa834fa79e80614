//! Against librdkafka's mock cluster: what needs no real broker. Compaction, transactions, timestamps and restarts are in `tests/it`.

use std::time::Instant;

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::*;
use crate::change::OffsetRange;
use crate::source::RawBatch;

const TOPIC: &str = "shop.customer";

struct Rig {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Rig {
    fn new(partitions: i32) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, partitions, 1).unwrap();
        let producer = ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        Self { cluster, producer }
    }

    fn produce(&self, partition: i32, values: std::ops::Range<usize>) {
        for value in values {
            let value = value.to_string();
            let record = BaseRecord::to(TOPIC).partition(partition).key("k").payload(&value).timestamp(1_000);
            self.producer.send(record).unwrap();
        }
        self.producer.flush(Duration::from_secs(10)).unwrap();
    }

    fn source(&self, extra: &[(&str, &str)]) -> KafkaSource {
        let brokers = self.cluster.bootstrap_servers();
        let base = [("topic", TOPIC), ("properties.bootstrap.servers", brokers.as_str())];
        let values = base.iter().chain(extra).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        KafkaSource::new(&Options::new("customer", values)).unwrap()
    }
}

fn partition(partition: i32) -> TopicPartition {
    TopicPartition { topic: TOPIC.into(), partition }
}

fn values(batch: &RawBatch) -> Vec<usize> {
    batch.iter().map(|record| std::str::from_utf8(record.value.unwrap()).unwrap().parse().unwrap()).collect()
}

/// Polls until all these partitions are at their end; checks that the ranges of each are contiguous. Values and end by partition.
fn drain(
    reader: &mut dyn SourceReader,
    starts: &[(TopicPartition, i64)],
) -> BTreeMap<TopicPartition, (i64, Vec<usize>)> {
    let mut read: BTreeMap<_, _> =
        starts.iter().map(|(partition, from)| (partition.clone(), (*from, Vec::new()))).collect();
    let give_up = Instant::now() + Duration::from_secs(30);
    let mut batches = Vec::new();
    while !read.keys().all(|partition| reader.at_end(partition)) {
        assert!(Instant::now() < give_up, "not at the end: {read:?}");
        reader.poll(Duration::from_millis(100), &mut batches).unwrap();
        for batch in batches.drain(..) {
            let (position, seen) = read.get_mut(&batch.source).unwrap();
            assert_eq!(batch.range.from, *position, "a gap in {}", batch.source);
            assert!(batch.iter().all(|record| record.offset >= batch.range.from && record.offset < batch.range.to));
            assert!(batch.iter().map(|record| record.offset).is_sorted());
            *position = batch.range.to;
            seen.extend(values(&batch));
        }
    }
    read
}

#[test]
fn two_lanes_read_all_partitions_in_order() {
    let rig = Rig::new(3);
    for p in 0..3 {
        rig.produce(p, 0..1_000);
    }
    let mut source = rig.source(&[]);
    let partitions = source.partitions().unwrap();
    assert_eq!(partitions, [partition(0), partition(1), partition(2)]);
    let starts = source.start_offsets(&partitions).unwrap();
    assert!(starts.values().all(|&offset| offset == 0) && starts.len() == 3);
    assert!(source.end_offsets(&partitions).unwrap().values().all(|&offset| offset == 1_000));

    let (mut one, mut two) = (source.reader().unwrap(), source.reader().unwrap());
    source.assign(0, &partition(0), 0).unwrap();
    source.assign(1, &partition(1), 0).unwrap();
    source.assign(0, &partition(2), 400).unwrap();
    let read = drain(one.as_mut(), &[(partition(0), 0), (partition(2), 400)]);
    assert_eq!(read[&partition(0)], (1_000, (0..1_000).collect()));
    assert_eq!(read[&partition(2)], (1_000, (400..1_000).collect()));
    assert_eq!(drain(two.as_mut(), &[(partition(1), 0)])[&partition(1)], (1_000, (0..1_000).collect()));
    assert!(!two.at_end(&partition(0)), "that is the other lane's");

    // More: no longer at the end with the first record, and at the end again after the last.
    rig.produce(1, 1_000..1_010);
    let mut batches = Vec::new();
    while batches.is_empty() {
        two.poll(Duration::from_millis(100), &mut batches).unwrap();
    }
    assert_eq!(batches[0].range.from, 1_000);
    source.maintain().unwrap();
}

#[test]
fn a_partition_is_assigned_while_others_are_read() {
    let rig = Rig::new(2);
    rig.produce(0, 0..10);
    rig.produce(1, 0..10);
    let mut source = rig.source(&[]);
    let mut reader = source.reader().unwrap();
    source.assign(0, &partition(0), 0).unwrap();
    drain(reader.as_mut(), &[(partition(0), 0)]);
    source.assign(0, &partition(1), 5).unwrap();
    let read = drain(reader.as_mut(), &[(partition(1), 5), (partition(0), 10)]);
    assert_eq!(read[&partition(1)], (10, (5..10).collect()));
    assert_eq!(read[&partition(0)], (10, vec![]));
}

#[test]
fn batches_split_and_outlive_reader_and_source() {
    let rig = Rig::new(1);
    rig.produce(0, 0..100);
    let mut source = rig.source(&[]);
    let mut reader = source.reader().unwrap();
    source.assign(0, &partition(0), 0).unwrap();
    let mut batches = Vec::new();
    while batches.iter().map(RawBatch::len).sum::<usize>() < 100 {
        reader.poll(Duration::from_millis(100), &mut batches).unwrap();
    }
    drop(source);
    drop(reader);
    let mut batch = batches.remove(0);
    let end = batch.range.to;
    let rest = batch.split_off(40).unwrap();
    assert_eq!((batch.range, rest.range), (OffsetRange { from: 0, to: 40 }, OffsetRange { from: 40, to: end }));
    assert_eq!(values(&batch), (0..40).collect::<Vec<_>>());
    assert_eq!(
        rest.iter().next().map(|record| (record.offset, record.key, record.timestamp)),
        Some((40, Some(&b"k"[..]), 1_000))
    );
    // Read and dropped in another thread.
    std::thread::spawn(move || assert_eq!(values(&rest).first(), Some(&40))).join().unwrap();
    drop((batch, batches));
}

#[test]
fn offsets_are_committed_and_found_again() {
    let rig = Rig::new(2);
    rig.produce(0, 0..10);
    rig.produce(1, 0..10);
    let group = [("properties.group.id", "g")];
    let mut source = rig.source(&group);
    let partitions = source.partitions().unwrap();
    assert!(
        source.start_offsets(&partitions).unwrap().values().all(|&offset| offset == 0),
        "nothing committed: from the beginning"
    );
    source.commit(&BTreeMap::from([(partition(0), 7)])).unwrap();
    let give_up = Instant::now() + Duration::from_secs(10);
    loop {
        source.maintain().unwrap();
        let starts = source.start_offsets(&partitions).unwrap();
        if starts[&partition(0)] == 7 {
            assert_eq!(starts[&partition(1)], 0);
            break;
        }
        assert!(Instant::now() < give_up, "{starts:?}");
    }
    let strict = [("properties.group.id", "g"), ("properties.auto.offset.reset", "none")];
    let error = rig.source(&strict).start_offsets(&partitions).unwrap_err();
    assert!(error.to_string().contains("shop.customer[1]") && !error.is_transient(), "{error}");
}

#[test]
fn a_topic_that_is_not_there_is_named() {
    let rig = Rig::new(1);
    let error = rig.source(&[("topic", "shop.custmer")]).partitions();
    // The mock cluster makes topics that are asked for; a real one does not (tests/it).
    if let Err(error) = error {
        assert!(error.to_string().contains("shop.custmer"), "{error}");
    }
}

#[test]
fn errors_of_a_fetch_pass_or_stop() {
    let rig = Rig::new(1);
    rig.produce(0, 0..10);
    let mut source = rig.source(&[]);
    let mut reader = source.reader().unwrap();
    rig.cluster.request_errors(
        rdkafka::types::RDKafkaApiKey::Fetch,
        &[rdkafka_sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN; 3],
    );
    source.assign(0, &partition(0), 0).unwrap();
    assert_eq!(drain(reader.as_mut(), &[(partition(0), 0)])[&partition(0)].0, 10);
    source.maintain().unwrap();

    // An offset that the topic does not have.
    let mut source = rig.source(&[]);
    let mut reader = source.reader().unwrap();
    source.assign(0, &partition(0), 500).unwrap();
    let error = loop {
        if let Err(error) = reader.poll(Duration::from_millis(100), &mut Vec::new()) {
            break error;
        }
    };
    let text = error.to_string();
    for part in ["shop.customer", "partition 0", "offset 500", "from 0 up to, not including, 10"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!error.is_transient());
}

#[test]
fn nobody_knows_the_end_while_the_broker_is_away() {
    let rig = Rig::new(1);
    rig.produce(0, 0..10);
    let mut source = rig.source(&[("properties.reconnect.backoff.max.ms", "200")]);
    let mut reader = source.reader().unwrap();
    source.assign(0, &partition(0), 0).unwrap();
    drain(reader.as_mut(), &[(partition(0), 0)]);
    let give_up = Instant::now() + Duration::from_secs(30);
    let mut batches = Vec::new();

    rig.cluster.broker_down(1).unwrap();
    while reader.at_end(&partition(0)) {
        assert!(Instant::now() < give_up);
        reader.poll(Duration::from_millis(20), &mut batches).unwrap();
        source.maintain().unwrap();
    }
    source.maintain().unwrap();
    assert!(!reader.at_end(&partition(0)) && batches.is_empty());

    rig.cluster.broker_up(1).unwrap();
    rig.produce(0, 10..20);
    let mut position = 10;
    while !reader.at_end(&partition(0)) {
        assert!(Instant::now() < give_up);
        reader.poll(Duration::from_millis(20), &mut batches).unwrap();
        position = batches.drain(..).next_back().map_or(position, |batch| batch.range.to);
        source.maintain().unwrap();
    }
    assert_eq!(position, 20, "at the end only when what came in the meantime has been read");
}

#[test]
fn records_keep_their_headers_and_what_the_broker_says() {
    use rdkafka::message::{Header as Sent, OwnedHeaders};
    let rig = Rig::new(1);
    let headers = || {
        OwnedHeaders::new()
            .insert(Sent { key: "__op", value: Some("u") })
            .insert(Sent::<&str> { key: "none", value: None })
    };
    for headers in [None, Some(headers()), None] {
        let record = BaseRecord::to(TOPIC).partition(0).key("k").payload("7").timestamp(1_000);
        rig.producer.send(headers.into_iter().fold(record, BaseRecord::headers)).unwrap();
    }
    rig.producer.flush(Duration::from_secs(10)).unwrap();
    let mut source = rig.source(&[]);
    source.partitions().unwrap();
    let mut reader = source.reader().unwrap();
    source.assign(0, &partition(0), 0).unwrap();
    let (mut batches, give_up) = (Vec::new(), Instant::now() + Duration::from_secs(30));
    while batches.iter().map(RawBatch::len).sum::<usize>() < 3 {
        assert!(Instant::now() < give_up);
        reader.poll(Duration::from_millis(100), &mut batches).unwrap();
    }
    let records: Vec<(&RawBatch, usize)> =
        batches.iter().flat_map(|batch| (0..batch.len()).map(move |index| (batch, index))).collect();
    let found: Vec<_> = records.iter().map(|(batch, index)| batch.headers(*index)).collect();
    let sent: Vec<(std::borrow::Cow<'_, str>, Option<&[u8]>)> =
        vec![("__op".into(), Some(b"u")), ("none".into(), None)];
    assert_eq!(found, [vec![], sent.clone(), vec![]]);
    // A second look finds what the first has parsed; two threads may look at once.
    let (batch, index) = records[1];
    std::thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(|| assert_eq!(batch.headers(index), sent))));
    });
    assert_eq!(batch.details(index).timestamp_type, Some("CreateTime"));
}
