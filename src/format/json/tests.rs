//! The JSON decoders against captured records, a naive decoder, and damage.

use std::collections::HashMap;

use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use serde_json::Value;

use super::super::tests::{Record, assert_sound, lines, of_format, options, raw, rows, shown, spec, spec_of, values};
use super::super::{DecodeSpec, decoder, decoder_on};
use super::block::Isa;
use crate::change::{ChangeBatch, DeadReason, NO_TIME, OffsetRange, Op, TopicPartition};
use crate::source::{Header, RawBatch, RawRecord, RawRecords};

mod damage;
mod naive;
mod others;
mod unwrapped;
mod whole;

/// The records of a captured topic, as they were in Kafka.
fn sample(topic: &str) -> Vec<Record> {
    let path = format!("{}/tests/data/debezium/{topic}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let field = |line: &Value, name: &str| line[name].as_str().map(|text| text.as_bytes().to_vec());
    let record = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (field(&line, "key"), field(&line, "value"))
    };
    text.lines().map(record).collect()
}

/// Records with their headers.
struct Headed(Vec<(Record, TextHeaders)>);

type TextHeaders = Vec<(String, Option<String>)>;

impl Headed {
    fn batch(self) -> RawBatch {
        let len = self.0.len();
        let source = TopicPartition { topic: "t".into(), partition: 0 };
        RawBatch::new(source, OffsetRange { from: 0, to: len as i64 }, std::sync::Arc::new(self), len)
    }
}

impl RawRecords for Headed {
    fn get(&self, index: usize) -> RawRecord<'_> {
        let (key, value) = &self.0[index].0;
        RawRecord { offset: index as i64, timestamp: 0, key: key.as_deref(), value: value.as_deref() }
    }

    fn headers(&self, index: usize) -> Vec<Header<'_>> {
        let headers = self.0[index].1.iter();
        headers.map(|(name, value)| (name.into(), value.as_deref().map(str::as_bytes))).collect()
    }
}

/// The records of a captured topic with their headers.
fn captured(topic: &str) -> RawBatch {
    let path = format!("{}/tests/data/debezium/{topic}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let headers = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        serde_json::from_value(line["headers"].clone()).unwrap()
    });
    Headed(sample(topic).into_iter().zip(headers).collect()).batch()
}

const DATABASES: [&str; 3] = ["mysql", "mariadb", "postgres"];
const VARIANTS: [&str; 2] = ["json", "jsonschema"];
const TABLES: [&str; 4] = ["customer", "users_change_events", "store", "address"];

/// The columns of a table as a user would declare them.
fn columns(database: &str, table: &str) -> Vec<(&'static str, DataType)> {
    use DataType::*;
    let micros = Timestamp(TimeUnit::Microsecond, None);
    let millis = Timestamp(TimeUnit::Millisecond, None);
    let created = if database == "postgres" { micros.clone() } else { millis };
    let active = if database == "postgres" { Boolean } else { Int16 };
    match table {
        "customer" => vec![
            ("customer_id", Int32),
            ("store_id", Int16),
            ("first_name", Utf8),
            ("last_name", Utf8),
            ("email", Utf8),
            ("address_id", Int32),
            ("active", active),
            ("create_date", created),
            ("last_update", micros),
            ("loyalty_tier", Utf8),
        ],
        "users_change_events" => vec![
            ("event_id", UInt64),
            ("customer_id", Int32),
            ("event_type", Utf8),
            ("old_row", Utf8),
            ("new_row", Utf8),
            ("changed_at", micros),
        ],
        "store" => {
            vec![("store_id", Int16), ("manager_staff_id", Int16), ("address_id", Int32), ("last_update", micros)]
        }
        _ => vec![
            ("address_id", Int32),
            ("address", Utf8),
            ("address2", Utf8),
            ("district", Utf8),
            ("city_id", Int32),
            ("postal_code", Utf8),
            ("phone", Utf8),
            ("last_update", micros),
        ],
    }
}

fn full(database: &str, table: &str) -> DecodeSpec {
    DecodeSpec { before: true, source_time: true, ..spec(&columns(database, table)) }
}

fn decode(spec: &DecodeSpec, records: Vec<Record>) -> ChangeBatch {
    let count = records.len();
    let batch = of_format("debezium-json", spec).decode(&raw(records));
    assert_sound(&batch, count);
    batch
}

#[test]
fn customers_of_mariadb() {
    let batch = decode(&full("mariadb", "customer"), sample("mariadb_json.sakila.customer"));
    assert_eq!(batch.dead_letters, []);
    let customers = rows(&batch.rows.project(&[0, 1, 2, 3, 4, 6, 7, 9]).unwrap());
    let all: Vec<String> =
        customers.iter().zip(&batch.ops).map(|(row, op)| format!("{}|{row}", char::from(op.letter()))).collect();
    assert_eq!(all, include_str!("tests/customers_of_mariadb.txt").lines().collect::<Vec<_>>());
    assert_eq!(batch.source_times[0], 1_795_244_611_000);
}

#[test]
fn deletes_of_postgres_carry_the_row_and_messages_are_no_changes() {
    let batch = decode(&full("postgres", "customer"), sample("postgres_json.sakila.customer"));
    let deleted: Vec<String> = lines(&batch).into_iter().filter(|line| line.starts_with('d')).collect();
    assert!(deleted.iter().any(|line| line.starts_with("d|5|2|LINDA|WILLIAMS|L.W@sakilacustomer.org|")), "{deleted:?}");
    let batch = decode(&full("postgres", "customer"), sample("postgres_json.message"));
    assert_eq!((batch.len(), batch.dead_letters.len()), (0, 0));
}

#[test]
fn a_truncate_is_a_row_of_nulls() {
    let batch = decode(&full("postgres", "users_change_events"), sample("postgres_json.sakila.users_change_events"));
    let line = lines(&batch).into_iter().find(|line| line.starts_with('t'));
    assert_eq!(line.as_deref(), Some("t|null|null|null|null|null|null"));
    assert_eq!(batch.dead_letters, []);
}

#[test]
fn samples_decode_like_a_naive_decoder_does() {
    for (database, variant, table) in every_topic() {
        let topic = format!("{database}_{variant}.sakila.{table}");
        let spec = full(database, table);
        let batch = decode(&spec, sample(&topic));
        assert_eq!(batch.dead_letters, [], "{topic}");
        naive::assert_like_naive(&batch, &spec, &sample(&topic), &topic);
    }
}

fn every_topic() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    DATABASES.into_iter().flat_map(|database| {
        VARIANTS.into_iter().flat_map(move |variant| TABLES.into_iter().map(move |table| (database, variant, table)))
    })
}

#[test]
fn the_envelope_with_a_schema_says_the_same() {
    for (database, table) in DATABASES.into_iter().flat_map(|database| TABLES.map(|table| (database, table))) {
        let mut spec = full(database, table);
        // The connectors read their own logs, at times of their own; JSON texts keep the database's spacing.
        spec.source_time = false;
        let decode = |variant| lines(&decode(&spec, sample(&format!("{database}_{variant}.sakila.{table}"))));
        assert_eq!(decode("json"), decode("jsonschema"), "{database} {table}");
    }
}

#[test]
fn no_truncation_of_a_record_is_taken_for_the_record() {
    for topic in
        ["mysql_json.sakila.customer", "postgres_json.sakila.users_change_events", "mariadb_jsonschema.sakila.store"]
    {
        let (database, table) = (topic.split('_').next().unwrap(), topic.rsplit('.').next().unwrap());
        for needed in [full(database, table), spec(&columns(database, table)[..1]), spec(&[])] {
            for isa in [Isa::detect(), Isa::portable()] {
                let mut decoder = decoder_on(&options(&[("format", "debezium-json")]), &needed, isa).unwrap();
                for (_, value) in sample(topic).into_iter().filter(|(_, value)| value.is_some()).take(6) {
                    let value = value.unwrap();
                    let cuts: Vec<&[u8]> = (0..value.len()).map(|end| &value[..end]).collect();
                    let batch = decoder.decode(&values(&cuts));
                    assert_sound(&batch, cuts.len());
                    assert_eq!((batch.len(), batch.dead_letters.len()), (0, cuts.len()));
                }
            }
        }
    }
}

fn debezium(records: &[&str]) -> ChangeBatch {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ]);
    let spec = DecodeSpec { before: true, source_time: true, ..spec_of(schema) };
    let batch = of_format("debezium-json", &spec).decode(&values(records));
    assert_sound(&batch, records.len());
    batch
}

fn letters(batch: &ChangeBatch) -> Vec<String> {
    let words = |letter: &crate::change::DeadLetter| {
        format!("{} {}: {}", letter.offset, letter.reason.as_str(), letter.message)
    };
    batch.dead_letters.iter().map(words).collect()
}

#[test]
fn a_bad_record_leaves_no_trace_in_the_columns() {
    let batch = debezium(&[
        r#"{"after":{"id":1,"name":"a","at":5},"op":"c"}"#,
        r#"{"after":{"id":2,"name":"b","at":"x"},"op":"c"}"#,
        r#"{"after":{"id":3,"name":"c","at":6},"op":"c""#,
        r#"{"before":{"id":4,"name":1,"at":true},"after":{"id":4,"name":"d","at":7},"op":"u"}"#,
        r#"{"before":{"name":"e"},"after":{"id":5,"name":"f"},"op":"u"}"#,
        r#"{"after":{"name":"g","at":1},"op":"c"}"#,
        r#"{"after":{"id":null,"name":"h"},"op":"c"}"#,
        r#"{"before":{"id":7,"name":"i"},"after":{"id":7,"name":"j","at":9},"op":"u","source":{"ts_ms":77}}"#,
    ]);
    assert_eq!(lines(&batch), ["c|1|a|1970-01-01T00:00:00.005", "u|7|j|1970-01-01T00:00:00.009"]);
    assert_eq!(batch.offsets, [0, 7]);
    assert_eq!(batch.timestamps, [1_000, 1_007]);
    assert_eq!(batch.source_times, [NO_TIME, 77]);
    let before = batch.before.as_ref().unwrap();
    assert_eq!(before.present, [false, true]);
    assert_eq!(rows(&before.rows), ["0|null|null", "7|i|null"]);
    assert_eq!(
        letters(&batch),
        [
            "1 wrong_type: column \"at\": expected TIMESTAMP(3), found \"x\" at byte 33",
            "2 malformed: the record is cut off at byte 44",
            "3 wrong_type: column \"at\": expected TIMESTAMP(3), found true at byte 32",
            "4 missing_field: column \"id\" is NOT NULL, but absent",
            "5 missing_field: column \"id\" is NOT NULL, but absent",
            "6 missing_field: column \"id\" is NOT NULL, but null",
        ]
    );
}

#[test]
fn what_is_missing_is_said_in_words() {
    let batch = debezium(&[
        r#"{"after":{"id":1}}"#,
        r#"{"op":"c"}"#,
        r#"{"op":"u","after":null,"before":{"id":1}}"#,
        r#"{"op":"d","before":null}"#,
        r#"{"op":"x","after":{"id":1}}"#,
        r#"{"op":null,"after":{"id":1}}"#,
        r#"{"op":"c","after":[1]}"#,
        r#"[]"#,
        "",
        r#"{"op":"c","after":{"id":1}} {}"#,
        r#"{"op":"c","after":{"id":1},}"#,
        r#"{"op":"c" "after":{"id":1}}"#,
        r#"{"op":"c","after":{"id":1},"x":nul}"#,
        r#"{"op":"c","after":{"id":1},"source":{"ts_ms":1.5}}"#,
    ]);
    assert_eq!(
        letters(&batch),
        [
            "0 missing_field: \"op\" is missing: this is no change event of Debezium",
            "1 missing_field: \"after\" is missing from a change that needs it",
            "2 missing_field: \"after\" is missing from a change that needs it",
            "3 missing_field: \"before\" is missing from a delete; in PostgreSQL, set REPLICA IDENTITY FULL",
            "4 malformed: \"op\" is none of c, r, u, d, t, m at byte 6",
            "5 missing_field: \"op\" is missing: this is no change event of Debezium",
            "6 malformed: expected an object or null at byte 18",
            "7 malformed: expected an object at byte 0",
            "8 malformed: the record is cut off at byte 0",
            "9 malformed: something follows the JSON value at byte 28",
            "10 malformed: expected a key in quotes at byte 27",
            "11 malformed: expected ',' or '}' at byte 10",
            "12 malformed: expected a JSON value at byte 31",
            "13 wrong_type: expected a whole number, found 1.5 at byte 45",
        ]
    );
}

#[test]
fn tombstones_and_records_without_a_value() {
    let key = || Some(b"k".to_vec());
    let null = || Some(b"null".to_vec());
    let records = vec![
        (key(), None),
        (key(), null()),
        (None, None),
        (None, null()),
        (key(), Some(br#"{"schema":null,"payload":null}"#.to_vec())),
    ];
    let batch = decode(&spec(&[]), records.clone());
    assert_eq!(letters(&batch), ["2 null_value: the record has no value", "3 null_value: the record has no value"]);
    let batch = of_format("json", &spec(&[])).decode(&raw(records));
    assert_eq!(batch.dead_letters.iter().filter(|letter| letter.reason == DeadReason::NullValue).count(), 5);
}

#[test]
fn order_spaces_escapes_and_repeats_do_not_matter() {
    let batch = debezium(&[
        r#"{"op":"c","after":{"at":1,"name":"a","id":1},"before":null}"#,
        "\n{ \"after\" : { \"id\" : 2 ,\t\"name\":\"b\" } , \"op\" : \"c\" }\r\n",
        "\n{ \"after\" : { \"id\" : 3 ,\t\"name\":\"c\" } , \"op\" : \"c\" }\r\n",
        r#"{"\u006fp":"c","after":{"\u0069d":4,"n\u0061me":"\u0062\n"}}"#,
        r#"{"op":"d","after":{"id":0,"name":"x","name":"y","at":1},"after":{"id":5,"id":6,"name":"z"},"op":"c"}"#,
        r#"{"op":"c","after":{"id":7,"name":"w","at":3},"after":null,"op":"d","before":{"id":8}}"#,
        r#"{"a very long key that no one-step comparison would hold":{},"op":"c","after":{"id":9,"":{"id":[0]}}}"#,
        r#"{"op":"m","after":{"id":9,"name":"gone"}}"#,
        r#"{"op":"t","after":{"id":9,"name":"gone"}}"#,
    ]);
    assert_eq!(letters(&batch), [""; 0]);
    assert_eq!(
        lines(&batch),
        [
            "c|1|a|1970-01-01T00:00:00.001",
            "c|2|b|null",
            "c|3|c|null",
            "c|4|b\n|null",
            "c|6|z|null",
            "d|8|null|null",
            "c|9|null|null",
            "t|0|null|null",
        ]
    );
}

#[test]
fn plain_objects_with_an_envelope_or_none() {
    let schema = spec(&[("a", DataType::Int64), ("b", DataType::Utf8)]);
    let batch = of_format("json", &schema).decode(&values(&[
        r#"{"a":1,"b":{"c":[1,2]},"c":0}"#,
        r#"{"b":"x"}"#,
        r#"{}"#,
        r#"{"schema":{"type":"struct","fields":[]},"payload":{"a":3,"b":"in"}}"#,
        r#"{"schema":"public","a":4,"payload":{"a":5}}"#,
        r#"{"schema":{},"payload":{"a":6},"a":7}"#,
        r#"[1]"#,
        r#"{"a":1}x"#,
    ]));
    assert_eq!(
        lines(&batch),
        ["c|1|{\"c\":[1,2]}|", "c|null|x", "c|null|null", "c|3|in", "c|4|null"].map(|line| line.trim_end_matches('|'))
    );
    assert_eq!(
        letters(&batch),
        [
            "5 malformed: expected the envelope's end at byte 30",
            "6 malformed: expected an object at byte 0",
            "7 malformed: something follows the JSON value at byte 7",
        ]
    );
    let spec = spec(&[("payload", DataType::Utf8)]);
    let batch = of_format("json", &spec).decode(&values(&[r#"{"schema":{},"payload":{"a":6}}"#]));
    assert_eq!(shown(batch.rows.column(0)), ["{\"a\":6}"]);
}

#[test]
fn keys_that_come_in_ever_new_orders_are_found() {
    let mut names: Vec<String> = (0..40).map(|index| format!("column_{index}")).collect();
    let list: Vec<_> = names.iter().map(|name| (name.as_str(), DataType::Int64)).collect();
    let mut decoder = of_format("json", &spec(&list));
    let mut expected: HashMap<String, usize> = HashMap::new();
    for round in 0..50 {
        names.rotate_left(round % 7 + 1);
        names.swap(round % 40, round * 7 % 40);
        let members: Vec<_> = names.iter().enumerate().map(|(value, name)| format!("\"{name}\":{value}")).collect();
        expected.extend(names.iter().enumerate().map(|(value, name)| (name.clone(), value)));
        let batch = decoder.decode(&values(&[format!("{{{}}}", members.join(","))]));
        for (column, (name, _)) in batch.rows.columns().iter().zip((0..40).map(|i| (format!("column_{i}"), ()))) {
            assert_eq!(shown(column), [expected[&name].to_string()]);
        }
    }
}
