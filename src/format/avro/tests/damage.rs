//! Whatever bytes come: no panic, no endless walk, and nothing in memory that was not in the record.

use proptest::prelude::*;

use super::samples::{full, topics};
use super::*;
use crate::testing::properties::properties;

fn all_samples() -> Vec<(DecodeSpec, Vec<Record>)> {
    let of =
        |(database, table): (&str, &str)| (full(database, table), sample(&format!("{database}_avro.sakila.{table}")));
    topics().map(of).collect()
}

static SAMPLES: LazyLock<Vec<(DecodeSpec, Vec<Record>)>> = LazyLock::new(all_samples);

proptest! {
    #![proptest_config(properties(400))]

    #[test]
    fn mutated_samples(topic in 0usize..21, at in any::<prop::sample::Index>(), hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<Option<prop::sample::Index>>()) {
        let (spec, records) = &SAMPLES[topic];
        let mut record = records[at.index(records.len())].clone();
        if let Some(value) = &mut record.1 {
            for (place, byte) in hits {
                // The id stays, or the registry would be asked.
                let place = 5 + place.index(value.len() - 5);
                value[place] = byte;
            }
            if let Some(cut) = cut {
                value.truncate(5 + cut.index(value.len() - 5));
            }
        }
        let all = debezium(spec, vec![record.clone(), records[0].clone()]);
        let fields: Vec<Field> = spec.columns.fields().iter().take(1).map(|it| it.as_ref().clone()).collect();
        let one = debezium(&DecodeSpec { before: true, ..spec_of(ArrowSchema::new(fields)) }, vec![record, records[0].clone()]);
        // What is not wanted is walked over all the same.
        let malformed = |batch: &ChangeBatch| batch.dead_letters.iter().any(|it| it.message.contains("not UTF-8") || it.reason.as_str() != "malformed");
        if !malformed(&all) {
            prop_assert_eq!(&all.offsets, &one.offsets);
        }
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let schema = json!({"type": "record", "name": "r", "fields": [
            {"name": "list", "type": {"type": "array", "items": {"type": "array", "items": "null"}}},
            {"name": "map", "type": {"type": "map", "values": ["null", "r"]}},
            {"name": "x", "type": ["string", "bytes", "r", {"type": "array", "items": "r"}]},
        ]});
        let names = ["list", "map", "x"].map(|name| (name, DataType::Utf8));
        let list = [("format", "avro"), ("avro.schema", &schema.to_string())];
        let decode_of = |columns: &[(&str, DataType)]| {
            let mut decoder = decoder(&options(&list), &spec(columns)).unwrap();
            decode(&mut *decoder, vec![(None, Some(bytes.clone()))])
        };
        decode_of(&names);
        decode_of(&[]);
    }
}

#[test]
fn blocks_of_a_million_million_nothings_are_refused() {
    let schema =
        json!({"type": "record", "name": "r", "fields": [{"name": "x", "type": {"type": "array", "items": "null"}}]});
    let mut bytes = vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0];
    for _ in 0..2 {
        for to in [DataType::Utf8, DataType::List(Field::new("item", DataType::Int64, true).into())] {
            let found = convert_bytes(&schema, bytes.clone(), &to);
            assert!(found.contains("more items than the record can hold") || found.contains("negative"), "{found}");
        }
        // The least number of all, whose negative there is not.
        bytes = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0];
    }
}

#[test]
fn types_that_hold_themselves_end() {
    let schema = json!({"type": "record", "name": "r", "fields": [{"name": "x", "type": ["null", "r"]}]});
    assert!(convert_bytes(&schema, vec![2; 1_000_000], &DataType::Utf8).contains("nested too deeply"));
    let endless = json!({"type": "record", "name": "r", "fields": [{"name": "x", "type": "r"}]});
    assert!(convert_bytes(&endless, vec![2; 100], &DataType::Utf8).contains("nested too deeply"));
    let twice =
        json!({"type": "record", "name": "r", "fields": [{"name": "x", "type": "r"}, {"name": "y", "type": "r"}]});
    assert!(convert_bytes(&twice, vec![2; 100], &DataType::Int32).starts_with("malformed: "));
}
