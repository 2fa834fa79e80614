//! A topic as a sink: each row is there once for consumers that read what is committed, whatever happened on the way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use data_gen::events::EventsConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::Value;

use crate::crash::{Ends, Job, Moments, publish_until};
use crate::damaged::{damage, newest};
use crate::oracle::Oracle;
use crate::run::wait_until;
use crate::stack::{Database, assert_same, clickhouse_url, kafka_brokers, unique};
use crate::topic::Topic;

/// What consumers see that read only what is committed: keys and values, each partition in order.
fn committed(topic: &str) -> Vec<(Option<Value>, Option<Value>)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka_brokers()).set("group.id", "tests").set("enable.auto.commit", "false");
    let consumer: BaseConsumer =
        config.set("isolation.level", "read_committed").set("enable.partition.eof", "true").create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(20)).unwrap();
    let mut list = TopicPartitionList::new();
    let partitions = metadata.topics()[0].partitions();
    for partition in partitions {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut left, mut found) = (partitions.len(), Vec::new());
    let give_up = Instant::now() + Duration::from_secs(60);
    while left > 0 {
        assert!(Instant::now() < give_up, "{topic} has no end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Err(KafkaError::PartitionEOF(_))) => left -= 1,
            Some(message) => {
                let message = message.unwrap();
                let json = |bytes: Option<&[u8]>| bytes.map(|bytes| serde_json::from_slice(bytes).unwrap());
                found.push((json(message.key()), json(message.payload())));
            }
            None => {}
        }
    }
    found
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "\\N".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn row(value: &Value, columns: &[&str]) -> String {
    columns.iter().map(|column| text(&value[column])).collect::<Vec<_>>().join("\t")
}

#[test]
fn windows_late_rows_and_a_mirror_in_topics_after_kills() {
    let topic = Topic::create("to_kafka", 4);
    topic.generate(EventsConfig { total: 20_000, ..EventsConfig::default() }, None);
    let oracle = Oracle::of(&topic.name, 3_000);
    let (brokers, name) = (kafka_brokers(), unique("from_highwater"));
    let to = |table: &str| {
        format!(
            "'connector' = 'kafka', 'topic' = '{name}.{table}', 'properties.bootstrap.servers' = '{brokers}', 'format' = 'json',
             'sink.partitions' = '2', 'dead-letter-table' = '{name}.dead_letters'"
        )
    };
    let query = format!(
        "CREATE TABLE customer (
           customer_id INT, store_id INT, email STRING, create_date TIMESTAMP(3),
           PRIMARY KEY (customer_id), WATERMARK FOR create_date AS create_date - INTERVAL '3' SECOND
         ) WITH ('connector' = 'kafka', 'topic' = '{}', 'properties.bootstrap.servers' = '{brokers}', 'format' = 'debezium-json');
         CREATE TABLE registrations WITH ({});
         CREATE TABLE mirror WITH ({});
         INSERT INTO registrations
         SELECT window_start, store_id, count(*) AS registrations, sum(customer_id) AS ids
         FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '10' SECOND)
         WHERE _op IN ('c', 'r') GROUP BY window_start, window_end, store_id;
         INSERT INTO mirror SELECT customer_id, store_id, email FROM customer;",
        topic.name,
        to("registrations"),
        to("mirror")
    );
    let job = Job::of(Database::at(&clickhouse_url(), "to_kafka"), &query);
    let mut moments = Moments::new();
    for number in 0..6 {
        let before = job.newest();
        let mut running = job.start(&["--bounded"]);
        if number % 3 > 0 {
            job.wait_for_progress(&mut running, before);
        }
        moments.pause(0, 700);
        running.kill();
    }
    job.end();

    let windows = committed(&format!("{name}.registrations"));
    assert!(windows.iter().all(|(key, value)| {
        key.as_ref().zip(value.as_ref()).is_some_and(|(key, value)| key["store_id"] == value["store_id"])
    }));
    let columns = ["window_start", "store_id", "registrations", "ids"];
    let mut rows: Vec<String> =
        windows.iter().filter_map(|(_, value)| Some(row(value.as_ref()?, &columns).replace('T', " "))).collect();
    rows.sort();
    let batch = "SELECT date_bin(INTERVAL '10 seconds', create_date), store_id, count(*), sum(customer_id)
                 FROM t WHERE op IN ('c', 'r') AND NOT late GROUP BY 1, 2";
    assert_same("windows", &rows, &oracle.query(10_000, batch));
    assert_eq!(committed(&format!("{name}.registrations_late")).len(), oracle.late(10_000, &["c", "r"]).len());
    assert!(committed(&format!("{name}.dead_letters")).is_empty());

    let mut latest: BTreeMap<String, Value> = BTreeMap::new();
    for (key, value) in committed(&format!("{name}.mirror")) {
        let key = key.unwrap().to_string();
        match value {
            Some(value) => drop(latest.insert(key, value)),
            None => drop(latest.remove(&key)),
        }
    }
    let mut rows: Vec<String> =
        latest.values().map(|value| row(value, &["customer_id", "store_id", "email"])).collect();
    rows.sort();
    assert_same("mirror", &rows, &oracle.current());
}

/// Records cannot be taken out of a topic again: the job stops, unless it is told that rows may be there twice.
#[test]
fn a_job_that_fills_a_topic_does_not_go_back_by_itself() {
    let topic = Topic::create("to_kafka_damaged", 4);
    topic.generate(EventsConfig { total: 20_000, ..EventsConfig::default() }, None);
    let (brokers, name) = (kafka_brokers(), unique("from_damaged"));
    let query = format!(
        "CREATE TABLE customer (customer_id INT, PRIMARY KEY (customer_id)) WITH ('connector' = 'kafka', 'topic' = '{}',
           'properties.bootstrap.servers' = '{brokers}', 'format' = 'debezium-json');
         CREATE TABLE changes WITH ('connector' = 'kafka', 'topic' = '{name}.changes', 'properties.bootstrap.servers' = '{brokers}',
           'format' = 'json', 'sink.partitions' = '2', 'dead-letter-table' = '{name}.dead_letters');
         INSERT INTO changes SELECT customer_id FROM CHANGES(customer);",
        topic.name
    );
    let job = Job::of(Database::at(&clickhouse_url(), "to_kafka_damaged"), &query);
    let enough = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&enough);
        scope.spawn(|| publish_until(&topic, &enough));
        let mut running = job.start(&[]);
        wait_until("it has got on", || job.newest() > 12 || running.ended().is_some());
        running.kill();
        enough.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    // Each of the epochs has filled the topic, up to the last but one.
    let files = newest(&job.checkpoints(), 4);
    files.iter().for_each(|file| damage(file, 0));
    let (before, said) = (job.newest(), job.run(&["--until-caught-up"]));
    assert_eq!(said.code, Some(2), "{said:?}");
    for word in ["cannot be used", &format!("{name}.changes"), "--allow-repeats", "--reset-state"] {
        assert!(said.err.contains(word), "{word}: {said:?}");
    }
    assert_eq!(job.newest(), before, "who does not go on claims nothing");
    let said = job.run(&["--until-caught-up", "--allow-repeats"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("may be there twice"), "{said:?}");
    let all = Oracle::of(&topic.name, 3_000).events.len();
    assert!(committed(&format!("{name}.changes")).len() > all, "some are there twice");
}
