//! Every format on every captured record, whole and damaged: nothing panics, and no record disappears.

use datafusion::arrow::datatypes::TimeUnit;
use proptest::prelude::*;

use super::super::super::tests::assert_same;
use super::*;
use crate::testing::properties::properties;

/// The formats as their options.
const FORMATS: [&[(&str, &str)]; 6] = [
    &[("format", "debezium-json")],
    &[("format", "debezium-json"), ("debezium-json.unwrapped", "true")],
    &[("format", "maxwell-json")],
    &[("format", "canal-json")],
    &[("format", "json")],
    &[("format", "csv")],
];

/// Columns that some of the samples have, of many types.
fn all_columns() -> Vec<(&'static str, DataType)> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    vec![
        ("customer_id", DataType::Int32),
        ("email", DataType::Utf8),
        ("create_date", micros.clone()),
        ("last_update", micros),
        ("a", DataType::Int64),
        ("b", DataType::Utf8),
        ("val", DataType::Binary),
        ("id", DataType::UInt16),
        ("name", DataType::Utf8),
        ("weight", DataType::Decimal128(10, 2)),
        ("address_id", DataType::Float64),
        ("__op", DataType::Utf8),
    ]
}

fn with_all_else(columns: &[(&str, DataType)]) -> DecodeSpec {
    let millis = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let paths = [
        ("source", DataType::Utf8),
        ("source.table", DataType::Utf8),
        ("transaction.id", DataType::Utf8),
        ("ts_ms", millis),
        ("table", DataType::Utf8),
        ("@key", DataType::Binary),
        ("@headers", DataType::Utf8),
    ];
    DecodeSpec { before: true, source_time: true, envelope: spec(&paths).columns, ..spec(columns) }
}

/// All samples of all formats.
fn pool() -> Vec<Record> {
    let folder = format!("{}/tests/data", env!("CARGO_MANIFEST_DIR"));
    let files = |kind: &str| -> Vec<_> {
        let entries = std::fs::read_dir(format!("{folder}/{kind}")).unwrap();
        let mut names: Vec<_> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.ends_with(".jsonl") && !name.contains("avro"));
        names.sort();
        names
    };
    let captured = files("debezium").into_iter().flat_map(|name| sample(name.trim_end_matches(".jsonl")));
    let plain = files("other").into_iter().flat_map(|name| {
        let text = std::fs::read_to_string(format!("{folder}/other/{name}")).unwrap();
        text.lines().map(|line| (Some(b"{}".to_vec()), Some(line.as_bytes().to_vec()))).collect::<Vec<_>>()
    });
    captured.chain(plain).collect()
}

fn damage(bytes: &mut Vec<u8>, damage: Vec<(prop::sample::Index, u8, u8)>) {
    for (index, kind, byte) in damage {
        let at = if bytes.is_empty() { 0 } else { index.index(bytes.len()) };
        match kind {
            0 if !bytes.is_empty() => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            _ => bytes.truncate(at),
        }
    }
}

fn some_damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"\"\\{}[],:0n-.e \xc3".to_vec())];
    // Cutting is rarer, as it leaves little.
    let kind = prop_oneof![4 => 0..3u8, 1 => Just(3u8)];
    prop::collection::vec((any::<prop::sample::Index>(), kind, byte), 0..4)
}

fn damaged() -> impl Strategy<Value = Record> {
    let bytes = prop::collection::vec(any::<u8>(), 0..60);
    let sampled =
        (prop::sample::select(pool()), some_damage(), some_damage()).prop_map(|((key, value), of_key, of_value)| {
            let broken = |bytes: Option<Vec<u8>>, how| {
                bytes.map(|mut bytes| {
                    damage(&mut bytes, how);
                    bytes
                })
            };
            (broken(key, of_key), broken(value, of_value))
        });
    prop_oneof![6 => sampled, 1 => bytes.prop_map(|bytes| (Some(bytes.clone()), Some(bytes)))]
}

/// Whether a record may be passed over: it has no value, or says that it is no change of a row.
fn may_be_no_row((key, value): &Record) -> bool {
    let Some(value) = value else { return key.is_some() };
    let has = |text: &str| memchr::memmem::find(value, text.as_bytes()).is_some();
    value == b"null" || ["\"m\"", "\"type\"", "ts_ms", "\"ddl\"", "\"status\"", "\"payload\""].into_iter().any(has)
}

#[test]
fn no_sample_is_malformed_in_its_own_format() {
    for (format, of_format) in [(FORMATS[2], "maxwell"), (FORMATS[3], "canal")] {
        let path = format!("{}/tests/data/other/{of_format}.jsonl", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let batch = decoder(&options(format), &with_all_else(&all_columns())).unwrap().decode(&values(&lines));
        assert_eq!(letters(&batch), [""; 0]);
    }
}

proptest! {
    #![proptest_config(properties(300))]

    #[test]
    fn each_record_has_rows_or_a_dead_letter_or_is_known_to_have_none(
        records in prop::collection::vec(damaged(), 1..6),
        format in prop::sample::select(FORMATS.to_vec()),
    ) {
        let spec = with_all_else(&all_columns());
        let [batch, portable] = [Isa::detect(), Isa::portable()].map(|isa| {
            decoder_on(&options(format), &spec, isa).unwrap().decode(&raw(records.clone()))
        });
        assert_sound(&batch, records.len());
        assert_same(&batch, &portable);
        for (offset, record) in records.iter().enumerate() {
            let offset = offset as i64;
            let found = batch.offsets.contains(&offset) || batch.dead_letters.iter().any(|it| it.offset == offset);
            prop_assert!(found || may_be_no_row(record), "{offset} {record:?}");
        }
    }

    #[test]
    fn a_column_has_the_same_values_whatever_else_is_decoded(
        records in prop::collection::vec(prop::sample::select(pool()), 1..20),
        format in prop::sample::select(FORMATS[..5].to_vec()),
        chosen in any::<[bool; 12]>(),
        before: bool,
    ) {
        let columns = all_columns();
        let some: Vec<_> = columns.iter().zip(chosen).filter(|(_, wanted)| *wanted).map(|(column, _)| column.clone()).collect();
        let all = decoder(&options(format), &with_all_else(&columns)).unwrap().decode(&raw(records.clone()));
        // Only records that all columns have a place for: what is not decoded is not checked either.
        let good: Vec<Record> = records.iter().enumerate()
            .filter(|(offset, _)| all.dead_letters.iter().all(|it| it.offset != *offset as i64))
            .map(|(_, record)| record.clone()).collect();
        let all = decoder(&options(format), &with_all_else(&columns)).unwrap().decode(&raw(good.clone()));
        let few = decoder(&options(format), &DecodeSpec { before, ..spec(&some) }).unwrap().decode(&raw(good));
        prop_assert_eq!((&few.ops, &few.offsets), (&all.ops, &all.offsets));
        prop_assert_eq!(&few.dead_letters, &[]);
        for (field, column) in few.rows.schema().fields().iter().zip(few.rows.columns()) {
            prop_assert_eq!(column, all.rows.column_by_name(field.name()).unwrap());
        }
        if let (Some(few), Some(all)) = (&few.before, &all.before) {
            prop_assert_eq!(&few.present, &all.present);
            for (field, column) in few.rows.schema().fields().iter().zip(few.rows.columns()) {
                prop_assert_eq!(column, all.rows.column_by_name(field.name()).unwrap());
            }
        }
    }
}
