//! Tests of the generator: each reads the whole stream, as a consumer would.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::units::{Rate, Share};

/// A record that outlives the generator's buffers.
#[derive(Debug, Clone, PartialEq)]
struct Record {
    op: Op,
    partition: i32,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    timestamp_ms: i64,
    event_time_ms: i64,
}

impl Record {
    fn json(&self) -> Value {
        self.value.as_deref().map_or(Value::Null, |value| serde_json::from_slice(value).unwrap())
    }
}

fn generate(config: EventsConfig) -> (Vec<Record>, Summary) {
    let mut generator = EventGenerator::new(config).unwrap();
    let mut records = Vec::new();
    while let Some(event) = generator.next_event() {
        records.push(Record {
            op: event.op,
            partition: event.partition,
            key: event.key.to_vec(),
            value: event.value.map(<[u8]>::to_vec),
            timestamp_ms: event.timestamp_ms,
            event_time_ms: event.event_time_ms,
        });
    }
    (records, generator.summary().clone())
}

fn config(total: u64) -> EventsConfig {
    EventsConfig { total, ..EventsConfig::default() }
}

#[test]
fn same_seed_same_bytes() {
    assert_eq!(generate(config(5_000)), generate(config(5_000)));
    let other_seed = EventsConfig { seed: 2, ..config(5_000) };
    assert_ne!(generate(config(5_000)).0, generate(other_seed).0);
}

#[test]
fn first_event_has_debeziums_form() {
    let (records, _) = generate(EventsConfig { out_of_order: Duration::ZERO, late: Share::ZERO, ..config(1) });
    let value = String::from_utf8(records[0].value.clone().unwrap()).unwrap();
    // The fields in the order of a captured record; only the person is the seed's.
    let (before_person, rest) = value.split_once(",\"first_name\":").unwrap();
    assert!(before_person.starts_with("{\"before\":null,\"after\":{\"customer_id\":1,\"store_id\":"), "{value}");
    let (_, after_person) = rest.split_once(",\"address_id\":").unwrap();
    assert_eq!(
        after_person,
        "11,\"active\":1,\"create_date\":1767225600000,\"last_update\":\"2026-01-01T00:00:00Z\"},\
         \"source\":{\"version\":\"3.5.0.Final\",\"connector\":\"mariadb\",\"name\":\"shop\",\
         \"ts_ms\":1767225600000,\"snapshot\":\"false\",\"db\":\"sakila\",\"sequence\":null,\
         \"ts_us\":1767225600000000,\"ts_ns\":1767225600000000000,\"table\":\"customer\",\"server_id\":1,\
         \"gtid\":\"0-1-1\",\"file\":\"binlog.000001\",\"pos\":314,\"row\":0,\"thread\":null,\"query\":null},\
         \"transaction\":null,\"op\":\"c\",\
         \"ts_ms\":1767225600020,\"ts_us\":1767225600020000,\"ts_ns\":1767225600020000142}"
    );
    assert_eq!(records[0].key, b"{\"customer_id\":1}");
    assert_eq!(records[0].timestamp_ms, 1_767_225_600_020);
}

/// Keeps the rows by key as a mirror would, and checks each image against them; returns how many rows are left.
fn replay<'a>(records: impl IntoIterator<Item = &'a Record>) -> usize {
    let mut rows = HashMap::new();
    let mut last_deleted = None;
    for record in records {
        let event = record.json();
        let row = rows.remove(&record.key).unwrap_or(Value::Null);
        if record.op == Op::Tombstone {
            assert_eq!((record.value.as_ref(), last_deleted.as_ref()), (None, Some(&record.key)));
            continue;
        }
        assert_eq!(event["op"], record.op.letter());
        assert_eq!(event["before"], row, "{event}");
        match record.op {
            Op::Insert => assert!(event["before"].is_null() && !event["after"].is_null()),
            Op::Update => assert!(event["before"] != event["after"]),
            Op::Delete | Op::Tombstone => assert!(!event["before"].is_null() && event["after"].is_null()),
        }
        last_deleted = (record.op == Op::Delete).then(|| record.key.clone());
        let image = if record.op == Op::Delete { &event["before"] } else { &event["after"] };
        assert_eq!(json!({"customer_id": image["customer_id"]}).to_string().as_bytes(), record.key);
        assert_eq!(image["create_date"], record.event_time_ms);
        assert_eq!(event["ts_ms"], record.timestamp_ms);
        if record.op != Op::Delete {
            rows.insert(record.key.clone(), event["after"].clone());
        }
    }
    rows.len()
}

#[test]
fn before_images_are_the_rows_in_each_partition_alone() {
    let shares = EventsConfig { updates: Share::percent(30.0), deletes: Share::percent(15.0), ..config(8_000) };
    let (records, summary) = generate(shares);
    let live = replay(&records);
    assert_eq!(live as u64, summary.inserts - summary.deletes);
    let live_by_partition = (0..4).map(|partition| replay(records.iter().filter(|r| r.partition == partition)));
    assert_eq!(live_by_partition.sum::<usize>(), live);
}

#[test]
fn shares_are_about_right() {
    let (records, summary) = generate(EventsConfig { late: Share::percent(1.0), ..config(100_000) });
    let share = |count: u64| count as f64 / 100_000.0;
    assert!((share(summary.updates) - 0.12).abs() < 0.005, "{summary:?}");
    assert!((share(summary.deletes) - 0.03).abs() < 0.003, "{summary:?}");
    assert!((summary.late_inserts as f64 / summary.inserts as f64 - 0.01).abs() < 0.002, "{summary:?}");
    assert_eq!(summary.events(), 100_000);
    assert_eq!(summary.tombstones, summary.deletes);
    assert_eq!(summary.records(), records.len() as u64);
    let bytes = records.iter().map(|r| r.key.len() + r.value.as_ref().map_or(0, Vec::len));
    assert_eq!(summary.bytes, bytes.sum::<usize>() as u64);
}

#[test]
fn without_tombstones_there_are_none() {
    let (records, summary) = generate(EventsConfig { tombstones: false, ..config(5_000) });
    assert!(summary.deletes > 0 && summary.tombstones == 0);
    assert!(records.iter().all(|record| record.value.is_some()));
}

#[test]
fn disorder_is_bounded_and_late_ones_are_late() {
    let (records, summary) = generate(EventsConfig { late: Share::percent(2.0), ..config(50_000) });
    let inserts = records.iter().filter(|record| record.op == Op::Insert);
    let delays_ms: Vec<_> = inserts.map(|r| r.timestamp_ms - 20 - r.event_time_ms).collect();
    let (in_time, late): (Vec<i64>, Vec<i64>) = delays_ms.iter().partition(|delay_ms| **delay_ms <= 5_000);
    assert!(in_time.iter().all(|delay_ms| *delay_ms >= 0));
    assert!(in_time.iter().any(|delay_ms| *delay_ms > 4_900) && in_time.iter().any(|delay_ms| *delay_ms < 100));
    assert_eq!(late.len() as u64, summary.late_inserts);
    assert!(late.iter().all(|delay_ms| (5_000 + LATE_MS_MIN..=5_000 + LATE_MS_MAX).contains(delay_ms)));
    let times = records.iter().filter(|record| record.op == Op::Insert).map(|record| record.event_time_ms);
    assert_eq!(summary.event_times_ms, times.clone().min().zip(times.max()));
}

#[test]
fn base_clock_advances_with_the_speed() {
    let slow = EventsConfig { speed: Rate::per_second(0.5).unwrap(), out_of_order: Duration::ZERO, ..config(11) };
    let (records, _) = generate(EventsConfig { updates: Share::ZERO, deletes: Share::ZERO, ..slow });
    assert_eq!(records[10].timestamp_ms - records[0].timestamp_ms, 20_000);
}

#[test]
fn start_can_be_set_so_that_nothing_comes_after_the_end() {
    let end_ms = 1_795_000_000_000;
    let mut ending = EventsConfig { late: Share::ZERO, out_of_order: Duration::ZERO, ..config(1_500) };
    ending.start_ms = end_ms - ending.speed.span_ms(ending.total);
    let (_, summary) = generate(ending);
    let (_, last_ms) = summary.event_times_ms.unwrap();
    assert!((end_ms - 20..end_ms).contains(&last_ms), "{last_ms}");
}

#[test]
fn customers_move_to_other_stores_that_exist() {
    let (records, _) = generate(EventsConfig { stores: 3, updates: Share::percent(50.0), ..config(5_000) });
    for event in records.iter().filter(|record| record.op == Op::Update).map(Record::json) {
        let (before, after) = (&event["before"], &event["after"]);
        assert!((1..=3).contains(&after["store_id"].as_u64().unwrap()));
        assert_ne!(before["store_id"] == after["store_id"], before["email"] == after["email"], "{event}");
    }
    let (records, _) = generate(EventsConfig { stores: 1, ..config(1_000) });
    assert!(records.iter().filter(|record| record.value.is_some()).all(|record| {
        let event = record.json();
        event["before"]["store_id"].as_u64().or(event["after"]["store_id"].as_u64()) == Some(1)
    }));
}

#[test]
fn impossible_configurations_are_refused() {
    let refused = |config: EventsConfig| EventGenerator::new(config).map(|_| ()).unwrap_err().to_string();
    assert!(refused(EventsConfig { stores: 0, ..config(1) }).contains("stores"));
    assert!(refused(EventsConfig { partitions: 0, ..config(1) }).contains("partitions"));
    assert!(refused(EventsConfig { total: u64::MAX, ..config(1) }).contains("32 bits"));
    assert!(refused(EventsConfig { start_ms: -1, ..config(1) }).contains("1970"));
    assert!(refused(EventsConfig { speed: Rate::per_second(1e-9).unwrap(), ..config(100) }).contains("2105"));
    let all = EventsConfig { updates: Share::percent(60.0), deletes: Share::percent(40.0), ..config(1) };
    assert_eq!(refused(all), "cannot make 60% updates and 40% deletes: together they must be less than 100%");
}
