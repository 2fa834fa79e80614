//! The Avro decoders: against the JSON of the same changes, value by value, and against damage.

use std::sync::{LazyLock, Mutex};

use datafusion::arrow::datatypes::{DataType, Field, Schema as ArrowSchema, TimeUnit};
use serde_json::{Value, json};

use super::super::registry::tests::Server;
use super::super::tests::{Record, assert_sound, options, raw, rows, shown, spec, spec_of};
use super::super::{DecodeSpec, Decoder, decoder};
use crate::change::ChangeBatch;

mod changes;
mod damage;
mod plain;
mod samples;
mod schemas;
mod values;

/// A registry with the schemas of the captured records, for as long as the tests run.
static REGISTRY: LazyLock<Server> = LazyLock::new(|| {
    let server = Server::start();
    for (id, schema) in schemas() {
        server.has(id, &schema.to_string());
    }
    server
});

fn schemas() -> Vec<(u32, Value)> {
    let path = format!("{}/tests/data/debezium/avro-schemas-by-id.json", env!("CARGO_MANIFEST_DIR"));
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    all.as_object().unwrap().iter().map(|(id, schema)| (id.parse().unwrap(), schema.clone())).collect()
}

/// The records of a captured topic, as they were in Kafka.
fn sample(topic: &str) -> Vec<Record> {
    let path = format!("{}/tests/data/debezium/{topic}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let field = |line: &Value, name: &str| match line[format!("{name}_base64")].as_str() {
        Some(base64) => Some(bytes_of(base64)),
        None => line[name].as_str().map(|text| text.as_bytes().to_vec()),
    };
    let record = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (field(&line, "key"), field(&line, "value"))
    };
    text.lines().map(record).collect()
}

fn bytes_of(base64: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let text = base64.trim_end_matches('=').as_bytes();
    let four = |four: &[u8]| {
        let bits = four.iter().fold(0u32, |bits, &c| bits << 6 | u32::from(digit(c))) << (6 * (4 - four.len()));
        bits.to_be_bytes()[1..four.len()].to_vec()
    };
    text.chunks(4).flat_map(four).collect()
}

/// A decoder of records whose schemas are in the registry of the captured ones.
fn confluent(format: &str, spec: &DecodeSpec, more: &[(&str, &str)]) -> Box<dyn Decoder> {
    let url = format!("{format}.url");
    let mut list = vec![("format", format), (&url, REGISTRY.url.as_str())];
    list.extend(more);
    // One of them stays, and with it what the registry said.
    static KEPT: LazyLock<Mutex<Vec<Box<dyn Decoder>>>> = LazyLock::new(Mutex::default);
    let mut kept = KEPT.lock().unwrap();
    if kept.is_empty() {
        kept.push(decoder(&options(&list), spec).unwrap());
    }
    decoder(&options(&list), spec).unwrap()
}

fn decode(decoder: &mut dyn Decoder, records: Vec<Record>) -> ChangeBatch {
    let count = records.len();
    let records = raw(records);
    decoder.prepare(&records).unwrap();
    let batch = decoder.decode(&records);
    assert_sound(&batch, count);
    batch
}

fn debezium(spec: &DecodeSpec, records: Vec<Record>) -> ChangeBatch {
    decode(&mut *confluent("debezium-avro-confluent", spec, &[]), records)
}

/// What a value of Avro comes to in a column: its text, or the reason and words of its dead letter.
fn convert(of: &Value, value: apache_avro::types::Value, data_type: &DataType) -> String {
    let schema = json!({"type": "record", "name": "r", "fields": [{"name": "x", "type": of}]});
    let parsed = apache_avro::Schema::parse(&schema).unwrap();
    let record = apache_avro::types::Value::Record(vec![("x".into(), value)]);
    let bytes = datum_of(&parsed, record);
    convert_bytes(&schema, bytes, data_type)
}

fn datum_of(schema: &apache_avro::Schema, value: apache_avro::types::Value) -> Vec<u8> {
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(schema).build().unwrap();
    writer.write_value_to_vec(value).unwrap()
}

fn convert_bytes(schema: &Value, bytes: Vec<u8>, data_type: &DataType) -> String {
    let list = [("format", "avro"), ("avro.schema", &schema.to_string())];
    let mut decoder = decoder(&options(&list), &spec(&[("x", data_type.clone())])).unwrap();
    let batch = decode(&mut *decoder, vec![(None, Some(bytes))]);
    match &batch.dead_letters[..] {
        [] => shown(batch.rows.column(0)).remove(0),
        [letter] => format!("{}: {}", letter.reason.as_str(), letter.message),
        more => panic!("{more:?}"),
    }
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}
