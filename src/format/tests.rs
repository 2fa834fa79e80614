//! What all tests of decoders share, and the tests of choosing one.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::*;
use datafusion::arrow::util::display::array_value_to_string;

use super::*;
use crate::change::{ChangeBatch, OffsetRange, TopicPartition};
use crate::source::{RawRecord, RawRecords};

/// A record as tests write it: key and value.
pub(super) type Record = (Option<Vec<u8>>, Option<Vec<u8>>);

struct Memory(Vec<Record>);

impl RawRecords for Memory {
    fn get(&self, index: usize) -> RawRecord<'_> {
        let (key, value) = &self.0[index];
        let (offset, timestamp) = (index as i64, 1_000 + index as i64);
        RawRecord { offset, timestamp, key: key.as_deref(), value: value.as_deref() }
    }
}

pub(super) fn raw(records: Vec<Record>) -> RawBatch {
    let len = records.len();
    let source = TopicPartition { topic: "t".into(), partition: 0 };
    RawBatch::new(source, OffsetRange { from: 0, to: len as i64 }, Arc::new(Memory(records)), len)
}

/// Records with a key and these values.
pub(super) fn values<T: AsRef<[u8]>>(values: &[T]) -> RawBatch {
    raw(values.iter().map(|value| (Some(b"k".to_vec()), Some(value.as_ref().to_vec()))).collect())
}

pub(super) fn spec(columns: &[(&str, DataType)]) -> DecodeSpec {
    let fields: Vec<Field> = columns.iter().map(|(name, of)| Field::new(*name, of.clone(), true)).collect();
    spec_of(Schema::new(fields))
}

pub(super) fn spec_of(schema: Schema) -> DecodeSpec {
    let positions = (0..schema.fields().len()).collect();
    DecodeSpec {
        declared: Arc::new(schema.clone()),
        columns: Arc::new(schema),
        positions,
        before: false,
        source_time: false,
        envelope: Arc::new(Schema::empty()),
    }
}

pub(super) fn options(list: &[(&str, &str)]) -> Options {
    Options::new("t", list.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
}

pub(super) fn of_format(format: &str, spec: &DecodeSpec) -> Box<dyn Decoder> {
    decoder(&options(&[("format", format)]), spec).unwrap()
}

/// The values of a column as text, nulls as "null".
pub(super) fn shown(array: &ArrayRef) -> Vec<String> {
    let show = |row| if array.is_null(row) { "null".into() } else { array_value_to_string(array, row).unwrap() };
    (0..array.len()).map(show).collect()
}

/// A batch as text: a line a row, the op first.
pub(super) fn lines(batch: &ChangeBatch) -> Vec<String> {
    rows(&batch.rows)
        .into_iter()
        .zip(&batch.ops)
        .map(|(row, op)| format!("{}|{row}", char::from(op.letter())))
        .collect()
}

pub(super) fn rows(batch: &RecordBatch) -> Vec<String> {
    let columns: Vec<_> = batch.columns().iter().map(shown).collect();
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|column| column[row].clone()).collect::<Vec<_>>().join("|"))
        .collect()
}

/// What became of a single value of a type, as text: the value, or the reason and words of its dead letter.
pub(super) fn convert(format: &str, data_type: &DataType, value: &str) -> String {
    let record = match format {
        "debezium-json" => format!("{{\"op\":\"c\",\"after\":{{\"x\":{value}}}}}"),
        "json" => format!("{{\"x\":{value}}}"),
        _ => value.to_string(),
    };
    let batch = of_format(format, &spec(&[("x", data_type.clone())])).decode(&values(&[record]));
    match &batch.dead_letters[..] {
        [] => shown(batch.rows.column(0)).remove(0),
        [letter] => format!("{}: {}", letter.reason.as_str(), letter.message),
        more => panic!("{more:?}"),
    }
}

/// The same batch, whatever it is made of.
pub(super) fn assert_same(left: &ChangeBatch, right: &ChangeBatch) {
    assert_eq!(left.rows, right.rows);
    assert_eq!(left.ops, right.ops);
    assert_eq!(left.offsets, right.offsets);
    assert_eq!(left.timestamps, right.timestamps);
    assert_eq!(left.source_times, right.source_times);
    assert_eq!(left.dead_letters, right.dead_letters);
    assert_eq!(left.envelope, right.envelope);
    let before =
        |batch: &ChangeBatch| batch.before.as_ref().map(|before| (before.rows.clone(), before.present.clone()));
    assert_eq!(before(left), before(right));
}

/// That a batch is whole: as many of everything as rows, strings valid, each record at most once.
pub(super) fn assert_sound(batch: &ChangeBatch, records: usize) {
    let rows = batch.len();
    assert_eq!((batch.rows.num_rows(), batch.offsets.len(), batch.timestamps.len()), (rows, rows, rows));
    // A record has rows or a dead letter, and only Canal's have several rows.
    let mut looked_at: Vec<i64> = batch.offsets.clone();
    looked_at.dedup();
    looked_at.extend(batch.dead_letters.iter().map(|letter| letter.offset));
    let distinct: std::collections::BTreeSet<_> = looked_at.iter().collect();
    assert_eq!(distinct.len(), looked_at.len(), "{looked_at:?}");
    assert!(looked_at.len() <= records);
    if let Some(envelope) = &batch.envelope {
        assert_eq!(envelope.num_rows(), rows);
    }
    for column in batch.rows.columns() {
        column.to_data().validate_full().unwrap();
        if let Some(text) = column.as_string_opt::<i32>() {
            text.iter().flatten().for_each(|text| assert!(std::str::from_utf8(text.as_bytes()).is_ok()));
        }
    }
    if let Some(before) = &batch.before {
        assert_eq!((before.rows.num_rows(), before.present.len()), (rows, rows));
    }
}

#[test]
fn a_decoder_says_what_it_does_not_understand() {
    let spec = spec(&[("a", DataType::Int32)]);
    let error = |list: &[(&str, &str)]| decoder(&options(list), &spec).err().unwrap().to_string();
    assert_eq!(
        error(&[("format", "debezium_json")]),
        "table \"t\": option 'format' is 'debezium_json', expected one of debezium-json, debezium-avro-confluent, maxwell-json, canal-json, json, \
         avro-confluent, avro, csv; \
         did you mean \"debezium-json\"?"
    );
    assert_eq!(error(&[]), "table \"t\" needs the option 'format'");
    assert_eq!(
        error(&[("format", "csv"), ("csv.field-delimter", ";")]),
        "table \"t\": the format csv has no option 'csv.field-delimter'; did you mean \"csv.field-delimiter\"?"
    );
    assert!(error(&[("format", "csv"), ("csv.field-delimiter", "ab")]).contains("one ASCII character"));
    assert!(error(&[("format", "json"), ("max-record-bytes", "much")]).contains("expected a number of bytes"));
    assert!(error(&[("format", "debezium-json"), ("debezium-json.decimal.handling.mode", "x")]).contains("'precise'"));
}

#[test]
fn a_type_that_cannot_be_decoded_is_refused_with_the_column() {
    let nested = DataType::Struct(vec![Field::new("x", DataType::Int32, true)].into());
    let error = decoder(&options(&[("format", "csv")]), &spec(&[("place", nested)])).err().unwrap().to_string();
    assert!(error.starts_with("table \"t\": column \"place\" has the type "), "{error}");
    assert!(error.ends_with("declare it as STRING to get its text"), "{error}");
}

#[test]
fn records_beyond_the_bound_are_dead_letters() {
    let mut decoder = decoder(&options(&[("format", "json"), ("max-record-bytes", "9")]), &spec(&[])).unwrap();
    let batch = decoder.decode(&values(&["{\"a\":123}", "{\"a\":1234}"]));
    assert_eq!((batch.len(), batch.dead_letters.len()), (1, 1));
    let letter = &batch.dead_letters[0];
    assert_eq!((letter.offset, letter.reason.as_str()), (1, "too_large"));
    assert_eq!(letter.message, "the record has 10 bytes, more than 'max-record-bytes' = 9");
    assert_eq!(letter.value.as_deref(), Some(&b"{\"a\":1234}"[..]));
}

#[test]
fn the_default_bound_is_a_mebibyte() {
    let text = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    let batch = of_format("json", &spec(&[("a", DataType::Utf8)])).decode(&values(&[
        text(RECORD_BYTES_MAX),
        text(RECORD_BYTES_MAX + 1),
        text(5_000_000),
    ]));
    assert_eq!(batch.offsets, [0]);
    assert_eq!(batch.dead_letters.iter().map(|letter| letter.offset).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(batch.dead_letters[1].value.as_ref().unwrap().len(), 64 * 1024);
}
