//! What ExtractNewRecordState leaves of a change, in the ways that it can be set up.

use std::collections::BTreeMap;

use super::*;

fn unwrapped(spec: &DecodeSpec, more: &[(&str, &str)], records: &RawBatch) -> ChangeBatch {
    let own = [("format", "debezium-json"), ("debezium-json.unwrapped", "true")];
    let list: Vec<_> = own.into_iter().chain(more.iter().copied()).collect();
    let batch = decoder(&options(&list), spec).unwrap().decode(records);
    assert_sound(&batch, records.len());
    batch
}

fn with_envelope(columns: &[(&str, DataType)], paths: &[(&str, DataType)]) -> DecodeSpec {
    DecodeSpec { source_time: true, envelope: spec(paths).columns, ..spec(columns) }
}

/// The rows by key as they are after all changes; every change as text.
fn table(batch: &ChangeBatch) -> BTreeMap<String, String> {
    let mut table = BTreeMap::new();
    for (row, op) in rows(&batch.rows).into_iter().zip(&batch.ops) {
        let key = row.split('|').next().unwrap_or_default().to_owned();
        match op {
            Op::Delete => table.remove(&key),
            Op::Truncate => {
                table.clear();
                None
            }
            _ => table.insert(key, row),
        };
    }
    table
}

#[test]
fn rows_are_those_of_the_whole_envelope() {
    for database in DATABASES {
        // Ids from the whole envelopes; the connectors read their logs at times of their own.
        let columns: Vec<_> =
            columns(database, "customer").into_iter().filter(|(name, _)| *name != "last_update").collect();
        let spec = spec(&columns);
        let whole = decode(&spec, sample(&format!("{database}_json.sakila.customer")));
        for variant in ["unwrap", "unwraptomb"] {
            let records = captured(&format!("{database}_{variant}.sakila.customer"));
            let flat = unwrapped(&spec, &[], &records);
            assert_eq!(letters(&flat), [""; 0], "{database} {variant}");
            // PostgreSQL's truncate does not pass the transform.
            if database != "postgres" {
                assert_eq!(table(&flat), table(&whole), "{database} {variant}");
            }
            let deletes = |batch: &ChangeBatch| batch.ops.iter().filter(|op| **op == Op::Delete).count();
            assert_eq!(deletes(&flat), deletes(&whole), "{database} {variant}");
        }
    }
}

#[test]
fn ops_and_times_come_from_fields_or_headers() {
    let columns = [("a", DataType::Int32), ("b", DataType::Utf8)];
    let millis = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let paths = [
        ("source.table", DataType::Utf8),
        ("source.lsn", DataType::Int64),
        ("source.ts_ms", millis),
        ("op", DataType::Utf8),
    ];
    let shown = |variant: &str| {
        let records = captured(&format!("postgres_{variant}.sakila.compound_pk"));
        let batch = unwrapped(&with_envelope(&columns, &paths), &[], &records);
        assert_eq!(letters(&batch), [""; 0]);
        let envelope = rows(batch.envelope.as_ref().unwrap());
        let line = |((line, envelope), time): ((String, String), &i64)| format!("{line} {time} {envelope}");
        lines(&batch).into_iter().zip(envelope).zip(&batch.source_times).map(line).collect::<Vec<_>>()
    };
    assert_eq!(
        shown("unwrap"),
        [
            "r|1|x 1795244611767 compound_pk|23321408|2026-11-21T07:03:31.767Z|r",
            "r|1|y 1795244611767 compound_pk|23321408|2026-11-21T07:03:31.767Z|r",
            "d|1|y 1795244780793 compound_pk|23404696|2026-11-21T07:06:20.793Z|d",
            "c|1|z 1795244780793 compound_pk|23404696|2026-11-21T07:06:20.793Z|c",
            "d|1|x 1795244780793 compound_pk|23404904|2026-11-21T07:06:20.793Z|d",
        ]
    );
    assert_eq!(
        shown("unwraptomb"),
        [
            "r|1|x 1795244611749 compound_pk|23321520|2026-11-21T07:03:31.749Z|r",
            "r|1|y 1795244611749 compound_pk|23321520|2026-11-21T07:03:31.749Z|r",
            "d|1|y 1795244780793 compound_pk|23404696|2026-11-21T07:06:20.793Z|d",
            "c|1|z 1795244780793 compound_pk|23404696|2026-11-21T07:06:20.793Z|c",
            "d|1|x 1795244780793 compound_pk|23404904|2026-11-21T07:06:20.793Z|d",
        ]
    );
}

fn keyed(records: &[(Option<&str>, Option<&str>)]) -> RawBatch {
    let bytes = |text: &Option<&str>| text.map(|text| text.as_bytes().to_vec());
    raw(records.iter().map(|(key, value)| (bytes(key), bytes(value))).collect())
}

#[test]
fn the_ways_to_say_what_happened() {
    let spec = spec(&[("id", DataType::Int32), ("name", DataType::Utf8), ("__op", DataType::Utf8)]);
    let records = keyed(&[
        (Some(r#"{"id":1}"#), Some(r#"{"id":1,"name":"no op: an upsert"}"#)),
        (Some(r#"{"id":1}"#), Some(r#"{"id":1,"name":"b","__op":"c","__deleted":"false"}"#)),
        (Some(r#"{"id":1}"#), Some(r#"{"id":1,"name":"b","__deleted":false}"#)),
        (Some(r#"{"id":1}"#), Some(r#"{"id":1,"name":"b","__deleted":"true"}"#)),
        (Some(r#"{"id":1}"#), Some(r#"{"id":1,"name":"b","__deleted":true,"__op":"d"}"#)),
        (Some(r#"{"id":1}"#), Some(r#"{"schema":{"type":"struct"},"payload":{"id":2,"name":"c","__op":"r"}}"#)),
        (Some(r#"{"id":3}"#), None),
        (Some(r#"{"schema":{"type":"struct"},"payload":{"id":4}}"#), Some("null")),
        (Some(r#"{"id":5}"#), Some(r#"{"schema":null,"payload":null}"#)),
        (None, None),
        (Some("6"), None),
        (Some(r#"{"id":"x"}"#), None),
        (Some(r#"{"id":7}"#), Some(r#"{"id":7,"__op":"x"}"#)),
        (Some(r#"{"id":8}"#), Some(r#"{"id":8,"__op":"#)),
        (Some(r#"{"id":9}"#), Some(r#"{"ts_ms":1795244612606}"#)),
        (Some(r#"{"serverName":"s"}"#), Some(r#"{"ts_ms":1795244612606}"#)),
    ]);
    let batch = unwrapped(&spec, &[], &records);
    assert_eq!(
        lines(&batch),
        [
            "u|1|no op: an upsert|null",
            "c|1|b|c",
            "u|1|b|null",
            "d|1|b|null",
            "d|1|b|d",
            "r|2|c|r",
            "d|3|null|null",
            "d|4|null|null",
            "d|5|null|null",
            "u|null|null|null",
        ]
    );
    assert_eq!(
        letters(&batch),
        [
            "9 null_value: the record has no value",
            "10 malformed: in the record's key: expected an object with the primary key's columns at byte 0",
            "11 wrong_type: in the record's key: column \"id\": expected INT, found \"x\" at byte 6",
            "12 malformed: the op is none of c, r, u, d, t at byte 15",
            "13 malformed: column \"__op\": the record is cut off at byte 15",
        ]
    );
    let ignoring = unwrapped(&spec, &[("debezium-json.unwrapped.tombstones", "ignore")], &records);
    assert_eq!(lines(&ignoring), [&lines(&batch)[..6], &lines(&batch)[9..]].concat());
}

#[test]
fn fields_may_be_added_under_another_prefix() {
    let spec = with_envelope(&[("id", DataType::Int32)], &[("transaction.id", DataType::Utf8)]);
    let records = keyed(&[(None, Some(r#"{"id":1,"meta.op":"c","meta.source_ts_ms":7,"meta.transaction_id":"x"}"#))]);
    let batch = unwrapped(&spec, &[("debezium-json.unwrapped.add-fields-prefix", "meta.")], &records);
    assert_eq!((lines(&batch), &batch.source_times[..]), (vec!["c|1".to_owned()], &[7][..]));
    assert_eq!(rows(batch.envelope.as_ref().unwrap()), ["x"]);
}
