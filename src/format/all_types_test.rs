//! Every column type of three databases, in every way that Debezium writes it: the records under `tests/data/types`,
//! decoded by their declared tables and by the columns that their own schemas say, against golden values, which were
//! compared by eye with the SQL that made them. `UPDATE_EXPECT=1` writes the golden files anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Int64Type, Schema};
use datafusion::arrow::util::display::array_value_to_string;
use serde_json::Value;

use super::connect::ConnectSchema;
use super::tests::{options, raw, spec_of};
use super::*;
use crate::sql::define::catalog::Script;
use crate::sql::statement::read_statements;
use crate::sql::text::{Text, Variables};
use crate::type_name::sql_name_of;

/// The longest text that a golden file shows.
const SHOWN: usize = 60;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/types").join(name)
}

/// The columns that a table of a query file declares.
fn declared(file: &str) -> Schema {
    let source = std::fs::read_to_string(path(file)).unwrap();
    let text = Text::new(file, &source, &Variables::new(BTreeMap::new())).unwrap();
    let mut script = Script::default();
    read_statements(&text, &mut script).unwrap();
    // The image of a delete has no more than the key.
    script.tables["all_types"].nullable_columns().as_ref().clone()
}

/// The records of a file: keys and values. Of unwrapped ones, values as they would be in an envelope.
fn records(file: &str) -> Vec<tests::Record> {
    let text = std::fs::read_to_string(path(&format!("{file}.sakila.all_types.jsonl"))).unwrap();
    let mut records = Vec::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let part = |name: &str| record[name].as_str().map(|text| text.as_bytes().to_vec());
        let (key, value) = (part("key"), part("value"));
        let is_row = |row: &Value| row.get("__deleted").is_none_or(|deleted| deleted == "false");
        match value.as_deref().filter(|_| file.ends_with("unwrap")) {
            None => records.push((key, value)),
            Some(row) if !is_row(&serde_json::from_slice(row).unwrap()) => {}
            Some(row) => {
                let event = [&b"{\"op\":\"u\",\"after\":"[..], row, b"}"].concat();
                records.push((key, Some(event)));
            }
        }
    }
    records
}

/// A value as text that says all of it.
fn shown(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) {
        return "null".to_owned();
    }
    let text = array_value_to_string(array, row).unwrap();
    if text.starts_with("ERROR") {
        // Arrow has no words for times beyond a day.
        let number = datafusion::arrow::compute::cast(array, &DataType::Int64).unwrap();
        return format!("{} µs", number.as_primitive::<Int64Type>().value(row));
    }
    match array.data_type() {
        DataType::Utf8 if text.len() > SHOWN => format!("{:?}… ({} bytes)", &text[..SHOWN], text.len()),
        DataType::Utf8 => format!("{text:?}"),
        DataType::Binary => format!("x'{text}'"),
        _ => text,
    }
}

/// A row's op, and its values by column.
type Row = (char, BTreeMap<String, String>);

/// All rows of a file, and its dead letters in words.
fn decoded(file: &str, columns: &Schema, list: &[(&str, &str)]) -> (Vec<Row>, Vec<String>) {
    let list: Vec<_> = list.iter().copied().chain([("format", "debezium-json")]).collect();
    let mut decoder = decoder(&options(&list), &spec_of(columns.clone())).unwrap();
    let batch = decoder.decode(&raw(records(file)));
    let mut rows = Vec::new();
    for row in 0..batch.len() {
        let value = |(place, field): (usize, &Arc<datafusion::arrow::datatypes::Field>)| {
            let shown = match batch.unavailable.contains(&(row as u32, place as u32)) {
                true => "unchanged".to_owned(),
                false => shown(batch.rows.column(place), row),
            };
            (field.name().clone(), shown)
        };
        rows.push((char::from(batch.ops[row].letter()), columns.fields().iter().enumerate().map(value).collect()));
    }
    let letters = batch.dead_letters.iter().map(|it| format!("{}: {}: {}", it.offset, it.reason.as_str(), it.message));
    (rows, letters.collect())
}

fn golden(name: &str, columns: &Schema, (rows, letters): &(Vec<Row>, Vec<String>)) {
    let mut text = String::new();
    for (number, (op, values)) in rows.iter().enumerate() {
        text.push_str(&format!("row {number}, {op}\n"));
        for field in columns.fields() {
            let value = &values[field.name()];
            if value != "null" {
                text.push_str(&format!("  {:6} {:20} {value}\n", field.name(), sql_name_of(field)));
            }
        }
    }
    letters.iter().for_each(|letter| text.push_str(&format!("{letter}\n")));
    let path = path(&format!("{name}.golden"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (found, expected)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{}:{}", path.display(), number + 1);
    }
    assert_eq!(text.lines().count(), expected.lines().count(), "{}", path.display());
}

/// The columns that differ between the values of two ways to write the same rows.
fn differing(one: &[Row], other: &[Row]) -> BTreeSet<String> {
    assert_eq!(one.len(), other.len());
    let rows = one.iter().zip(other);
    rows.flat_map(|((_, one), (_, other))| one.keys().filter(|name| one[*name] != other[*name]).cloned()).collect()
}

const MICROS: (&str, &str) = ("debezium-json.time.precision.mode", "adaptive_time_microseconds");
const ADAPTIVE: (&str, &str) = ("debezium-json.time.precision.mode", "adaptive");
const STRINGS: [(&str, &str); 2] =
    [("debezium-json.time.precision.mode", "connect"), ("debezium-json.decimal.handling.mode", "string")];

#[test]
fn mysql_and_mariadb_by_declared_columns() {
    let columns = declared("mysql.sql");
    for database in ["mysql", "mariadb"] {
        let json = decoded(&format!("{database}_json"), &columns, &[MICROS]);
        golden(&format!("{database}_json"), &columns, &json);
        let schema = decoded(&format!("{database}_jsonschema"), &columns, &[MICROS]);
        assert_eq!(schema, json);
        // The defaults read the same: nothing here depends on them.
        assert_eq!(decoded(&format!("{database}_json"), &columns, &[]), json);
        let strings = decoded(&format!("{database}_strings"), &columns, &STRINGS);
        golden(&format!("{database}_strings"), &columns, &strings);
        // What the mode 'connect' loses: times beyond a day are null, and microseconds are cut off.
        let lost = ["dtm6", "t", "t6"].map(str::to_owned).into();
        assert_eq!(differing(&json.0, &strings.0), lost, "{database}");
    }
    let unwrapped = decoded("mysql_unwrap", &columns, &[MICROS]);
    let rows: Vec<_> = decoded("mysql_json", &columns, &[MICROS]).0.into_iter().filter(|(op, _)| *op != 'd').collect();
    assert_eq!(differing(&unwrapped.0, &rows), [].into());
    assert_eq!(unwrapped.1, [] as [&str; 0]);
}

#[test]
fn postgres_by_declared_columns() {
    let columns = declared("postgres.sql");
    let json = decoded("postgres_json", &columns, &[ADAPTIVE]);
    golden("postgres_json", &columns, &json);
    assert_eq!(decoded("postgres_jsonschema", &columns, &[ADAPTIVE]), json);
    let strings = decoded("postgres_strings", &columns, &STRINGS);
    golden("postgres_strings", &columns, &strings);
    // Microseconds are cut off (t, ts), NaN is null in one and "NAN" in the other (n), an interval is a number or ISO 8601.
    let other = ["iv", "n", "t", "ts"].map(str::to_owned).into();
    assert_eq!(differing(&json.0, &strings.0), other);
    let unwrapped = decoded("postgres_unwrap", &columns, &[ADAPTIVE]);
    let rows: Vec<_> = json.0.into_iter().filter(|(op, _)| *op != 'd').collect();
    assert_eq!(differing(&unwrapped.0, &rows), [].into());
}

#[test]
fn what_has_no_timestamp_is_a_dead_letter_with_its_column() {
    let columns = declared("postgres.sql");
    let fields = columns.fields().iter().map(|field| match field.name().as_str() {
        "tstz" => crate::sql::define::types::parse_column("tstz", "TIMESTAMP_LTZ(6)").unwrap(),
        _ => field.as_ref().clone(),
    });
    let columns = Schema::new(fields.collect::<Vec<_>>());
    let (rows, letters) = decoded("postgres_json", &columns, &[ADAPTIVE]);
    assert_eq!(rows[0].1["tstz"], "2024-06-20T14:13:20.123456Z");
    assert_eq!(letters.len(), 1);
    assert!(
        letters[0].contains("column \"tstz\": expected TIMESTAMP_LTZ(6), found \"infinity\" (declare it as STRING)"),
        "{letters:?}"
    );
}

/// The columns that the schema in the records themselves says.
fn inferred(file: &str) -> Schema {
    let records = records(file);
    let value = records[0].1.as_deref().unwrap();
    let envelope: Value = serde_json::from_slice(value).unwrap();
    let schema = ConnectSchema::from_json(&envelope["schema"]).unwrap();
    let connect::Kind::Struct(fields) = &schema.field("after").unwrap().kind else { panic!("{schema:?}") };
    let columns = fields.iter().map(|(name, schema)| schema.column(name).with_nullable(true));
    Schema::new(columns.collect::<Vec<_>>())
}

#[test]
fn by_the_columns_that_the_records_schemas_say() {
    for database in ["mysql", "mariadb", "postgres"] {
        let file = format!("{database}_jsonschema");
        let columns = inferred(&file);
        let found = decoded(&file, &columns, &[]);
        golden(&format!("{database}_inferred"), &columns, &found);
    }
}

#[test]
fn every_type_that_a_schema_gives_has_a_name_that_declares_it() {
    for file in ["mysql_jsonschema", "mariadb_jsonschema", "postgres_jsonschema"] {
        for field in inferred(file).fields() {
            let again = crate::sql::define::types::parse_column(field.name(), &sql_name_of(field)).unwrap();
            assert_eq!((again.data_type(), sql_name_of(&again)), (field.data_type(), sql_name_of(field)), "{field:?}");
        }
    }
}
