//! The same decoding by way of `serde_json`, slow and plain, to compare with.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::*;
use serde_json::Value;

use super::super::super::DecodeSpec;
use super::super::super::tests::Record;
use crate::change::{ChangeBatch, NO_TIME};

/// What a record says: op, image, image before, source time; `None` for a tombstone or a message.
fn event(record: &Record) -> Option<(String, Value, Value, i64)> {
    let mut value: Value = serde_json::from_slice(record.1.as_deref()?).unwrap();
    if value.get("payload").is_some_and(Value::is_object) {
        value = value["payload"].take();
    }
    let op = value["op"].as_str()?.to_string();
    let image = if op == "d" { &value["before"] } else { &value["after"] };
    let before = if op == "u" { value["before"].clone() } else { Value::Null };
    (op != "m").then(|| (op, image.clone(), before, value["source"]["ts_ms"].as_i64().unwrap_or(NO_TIME)))
}

/// A value as the type's plainest form: an integer, or a text.
fn expected(value: Option<&Value>, data_type: &DataType, found: Value) -> Value {
    let value = value.unwrap_or(&Value::Null);
    match (data_type, value) {
        (_, Value::Null) => Value::Null,
        (DataType::Timestamp(unit, _), Value::String(text)) => {
            // Forms that chrono does not know are in the tests of timestamps.
            let Ok(instant) = chrono::DateTime::parse_from_rfc3339(text) else { return found };
            Value::from(if *unit == TimeUnit::Millisecond {
                instant.timestamp_millis()
            } else {
                instant.timestamp_micros()
            })
        }
        (DataType::Boolean, Value::Number(number)) => Value::from(number.as_i64() == Some(1)),
        // A number in quotes, or raw JSON in a text.
        (DataType::Utf8, value) if !value.is_string() => found,
        (data_type, Value::String(_)) if *data_type != DataType::Utf8 => found,
        _ => value.clone(),
    }
}

fn found(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().value(row).into()
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            array.as_primitive::<TimestampMicrosecondType>().value(row).into()
        }
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        other => panic!("{other}"),
    }
}

/// Panics unless the batch has what the records say, row by row, value by value.
pub(super) fn assert_like_naive(batch: &ChangeBatch, spec: &DecodeSpec, records: &[Record], topic: &str) {
    let events: Vec<_> =
        records.iter().enumerate().filter_map(|(offset, record)| Some((offset, event(record)?))).collect();
    assert_eq!(batch.len(), events.len(), "{topic}");
    for (row, (offset, (op, image, before, time))) in events.iter().enumerate() {
        assert_eq!(batch.offsets[row], *offset as i64, "{topic}");
        assert_eq!(char::from(batch.ops[row].letter()).to_string(), *op, "{topic}[{offset}]");
        if spec.source_time {
            assert_eq!(batch.source_times[row], *time, "{topic}[{offset}]");
        }
        for (field, array) in spec.columns.fields().iter().zip(batch.rows.columns()) {
            let found = found(array, row);
            let expected = expected(image.get(field.name()), field.data_type(), found.clone());
            assert_eq!(found, expected, "{topic}[{offset}].{}", field.name());
        }
        if let Some(found_before) = &batch.before {
            assert_eq!(found_before.present[row], before.is_object(), "{topic}[{offset}]");
            for (field, array) in spec.columns.fields().iter().zip(found_before.rows.columns()) {
                let found = found(array, row);
                let expected = expected(before.get(field.name()), field.data_type(), found.clone());
                assert_eq!(found, expected, "{topic}[{offset}].before.{}", field.name());
            }
        }
    }
}
