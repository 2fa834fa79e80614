//! `avro`: a schema for all, given or derived.

use super::*;
use crate::format::tests::lines;

#[test]
fn the_schema_of_the_declared_columns_is_flinks() {
    let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
    let declared = ArrowSchema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("at", millis.clone(), true),
        Field::new("price", DataType::Decimal128(10, 2), false),
        Field::new("tags", DataType::List(Field::new("item", DataType::Utf8, true).into()), true),
    ]);
    let schema = super::super::derive::schema(&declared).unwrap();
    assert_eq!(
        schema["fields"].to_string(),
        json!([
            {"name": "id", "type": "long"},
            {"name": "name", "type": ["null", "string"]},
            {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
            {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
            {"name": "tags", "type": ["null", {"type": "array", "items": ["null", "string"]}]},
        ])
        .to_string()
    );
    // Only some of the columns are needed; the others are in the record all the same.
    let of = DecodeSpec { declared: declared.into(), ..spec(&[("at", millis), ("id", DataType::Int64)]) };
    let mut decoder = decoder(&options(&[("format", "avro")]), &of).unwrap();
    let bytes = vec![10, 2, 2, b'x', 2, 0x90, 3, 2, 100, 0];
    let batch = decode(&mut *decoder, vec![(None, Some(bytes)), (None, None), (None, Some(vec![10, 0, 2]))]);
    assert_eq!(lines(&batch), ["c|1970-01-01T00:00:00.200|5"]);
    let reasons: Vec<_> = batch.dead_letters.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(reasons, ["null_value", "malformed"]);
    assert_eq!(batch.dead_letters[1].message, "column \"at\": the record ends within a value at byte 3");
}

#[test]
fn a_schema_that_is_given_is_a_text_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.avsc");
    std::fs::write(&path, r#"{"type":"record","name":"r","fields":[{"name":"id","type":"int"}]}"#).unwrap();
    let of = spec(&[("id", DataType::Int32)]);
    let list = [("format", "avro"), ("avro.schema", path.to_str().unwrap())];
    let batch = decode(&mut *decoder(&options(&list), &of).unwrap(), vec![(None, Some(vec![6]))]);
    assert_eq!(lines(&batch), ["c|3"]);
    let error = |schema: &str| {
        decoder(&options(&[("format", "avro"), ("avro.schema", schema)]), &of).err().unwrap().to_string()
    };
    assert!(
        error("/nowhere.avsc").contains("option 'avro.schema' is '/nowhere.avsc', expected a schema's JSON, or a file")
    );
    assert!(error("{").starts_with("table \"t\": option 'avro.schema': the schema is not JSON"));
    assert!(
        error(r#"{"type":"record","name":"r","fields":[{"name":"x","type":"n.Y"}]}"#).contains("names the type n.Y")
    );
    assert!(error(r#"{"fields":[]}"#).contains("a type without \"type\""));
}
