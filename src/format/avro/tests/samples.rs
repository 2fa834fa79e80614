//! The captured records of three databases, beside the JSON of the same changes.

use super::*;
use crate::format::infer::{Sample, infer};
use crate::format::tests::{lines, of_format};
use crate::format::watch::Watch;

/// The columns of all tables, as a user would declare them who wants both formats to say the same.
fn columns(database: &str, table: &str) -> Vec<(&'static str, DataType)> {
    use DataType::*;
    let micros = Timestamp(TimeUnit::Microsecond, None);
    let millis = Timestamp(TimeUnit::Millisecond, None);
    let postgres = database == "postgres";
    let list = |of: DataType| List(Field::new("item", of, true).into());
    match table {
        "customer" => vec![
            ("customer_id", Int32),
            ("store_id", Int16),
            ("first_name", Utf8),
            ("last_name", Utf8),
            ("email", Utf8),
            ("address_id", Int32),
            ("active", Boolean),
            ("create_date", if postgres { micros.clone() } else { millis }),
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
        "address" => {
            vec![("address_id", Int32), ("address", Utf8), ("city_id", Int32), ("postal_code", Utf8), ("phone", Utf8)]
        }
        "compound_pk" => vec![("a", Int32), ("b", Utf8), ("val", Decimal128(12, 4))],
        "no_pk" => vec![("a", Int32), ("note", Utf8)],
        _ if postgres => vec![
            ("id", Int32),
            ("si", Int16),
            ("i", Int32),
            ("bi", Int64),
            ("n102", Decimal128(10, 2)),
            ("n3810", Decimal128(38, 10)),
            ("n", Decimal256(60, 12)),
            ("r", Float32),
            ("d", Float64),
            ("m", Decimal128(20, 2)),
            ("dt", Date32),
            ("t", Time64(TimeUnit::Microsecond)),
            ("ttz", Time64(TimeUnit::Microsecond)),
            ("ts", micros.clone()),
            ("ts3", millis),
            ("tstz", Utf8),
            ("iv", Int64),
            ("b", Boolean),
            ("c", Utf8),
            ("v", Utf8),
            ("tx", Utf8),
            ("j", Utf8),
            ("jb", Utf8),
            ("u", Utf8),
            ("by", Binary),
            ("ai", list(Int32)),
            ("at", list(Utf8)),
            ("an", list(Decimal128(10, 2))),
            ("ip", Utf8),
            ("ci", Utf8),
            ("ma", Utf8),
            ("h", Utf8),
            ("e", Utf8),
            ("b1", Boolean),
            ("b8", Binary),
            ("vb", Utf8),
            ("x", Utf8),
            ("pt", Utf8),
            ("r4", Utf8),
            ("big", Utf8),
        ],
        _ => vec![
            ("id", Int32),
            ("ti", Int8),
            ("tu", UInt8),
            ("bo", Boolean),
            ("si", Int16),
            ("su", UInt16),
            ("mi", Int32),
            ("mu", UInt32),
            ("i", Int32),
            ("iu", UInt32),
            ("bi", Int64),
            ("bu", UInt64),
            ("d102", Decimal128(10, 2)),
            ("d3810", Decimal128(38, 10)),
            ("d180", Decimal128(18, 0)),
            ("f", Float32),
            ("d", Float64),
            ("dt", Date32),
            ("t", Int64),
            ("t6", Int64),
            ("dtm", millis.clone()),
            ("dtm3", millis),
            ("dtm6", micros.clone()),
            ("ts", micros.clone()),
            ("ts3", micros.clone()),
            ("ts6", micros),
            ("y", Int32),
            ("c", Utf8),
            ("v", Utf8),
            ("tx", Utf8),
            ("ltx", Utf8),
            ("j", Utf8),
            ("e", Utf8),
            ("s", Utf8),
            ("b1", Boolean),
            ("b8", Binary),
            ("b64", Utf8),
            ("bn", Binary),
            ("vb", Binary),
            ("bl", Binary),
        ],
    }
}

const TABLES: [&str; 7] = ["customer", "users_change_events", "store", "address", "compound_pk", "no_pk", "all_types"];

pub(super) fn topics() -> impl Iterator<Item = (&'static str, &'static str)> {
    ["mysql", "mariadb", "postgres"].into_iter().flat_map(|database| TABLES.map(|table| (database, table)))
}

pub(super) fn full(database: &str, table: &str) -> DecodeSpec {
    DecodeSpec { before: true, source_time: true, ..spec(&columns(database, table)) }
}

/// The times at which rows changed differ, as each format had its own connector; so the order of the partitions does.
#[test]
fn avro_comes_to_the_same_as_json() {
    for (database, table) in topics() {
        let spec = full(database, table);
        let avro = debezium(&spec, sample(&format!("{database}_avro.sakila.{table}")));
        let records = sample(&format!("{database}_json.sakila.{table}"));
        let json = of_format("debezium-json", &spec).decode(&raw(records));
        let letters = |batch: &ChangeBatch| {
            batch.dead_letters.iter().map(|it| format!("{} {}", it.offset, it.message)).collect::<Vec<_>>()
        };
        assert_eq!(letters(&avro), letters(&json), "{database} {table}");
        assert!(!avro.is_empty() && (avro.dead_letters.is_empty() || table == "no_pk"));
        assert_eq!(sorted(lines(&avro)), sorted(lines(&json)), "{database} {table}");
        let unchanged = |batch: &ChangeBatch| batch.unavailable.iter().map(|(_, column)| *column).collect::<Vec<_>>();
        assert_eq!(unchanged(&avro), unchanged(&json), "{database} {table}");
        assert_eq!(unchanged(&avro).is_empty(), (database, table) != ("postgres", "all_types"));
        let before = |batch: &ChangeBatch| sorted(rows(&batch.before.as_ref().unwrap().rows));
        assert_eq!(before(&avro), before(&json), "{database} {table}");
        assert!(avro.source_times.iter().all(|time| *time > 1_700_000_000_000), "{database} {table}");
    }
}

#[test]
fn decoding_some_columns_is_decoding_all_and_picking() {
    for (database, table) in topics() {
        let topic = format!("{database}_avro.sakila.{table}");
        let all_columns = columns(database, table);
        let all = debezium(&full(database, table), sample(&topic));
        for (index, column) in all_columns.iter().enumerate() {
            let picked = debezium(&spec(std::slice::from_ref(column)), sample(&topic));
            assert_eq!(picked.rows.column(0), all.rows.column(index), "{topic} {column:?}");
            assert_eq!((&picked.ops, &picked.offsets), (&all.ops, &all.offsets));
        }
        let none = debezium(&spec(&[]), sample(&topic));
        assert_eq!(none.ops, all.ops);
    }
}

#[test]
fn a_column_that_comes_later_is_null_before() {
    let batch = debezium(&full("mariadb", "customer"), sample("mariadb_avro.sakila.customer"));
    let tiers = shown(batch.rows.column(9));
    assert_eq!(tiers.first().map(String::as_str), Some("null"));
    assert!(tiers.contains(&"gold".to_owned()) && tiers.contains(&"silver".to_owned()), "{tiers:?}");
}

#[test]
fn new_columns_are_noticed_by_the_schema() {
    let url = ("debezium-avro-confluent.url", REGISTRY.url.as_str());
    let options = options(&[("format", "debezium-avro-confluent"), url]);
    let records = sample("mariadb_avro.sakila.customer");
    let tier = records.iter().position(|(_, value)| value.as_ref().is_some_and(|value| value[4] == 42)).unwrap();
    let of = |(key, value): &Record| Sample { key: key.clone(), value: value.clone() };
    let samples: Vec<_> = records[..tier].iter().map(of).collect();
    let known = infer(&options, &samples).unwrap().unwrap();
    assert_eq!(known.primary_key, ["customer_id"]);
    let names: Vec<_> = known.columns.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!((names.len(), names[..2].to_vec()), (9, vec!["customer_id", "store_id"]));
    let mut watch = Watch::new(&options, known);
    assert_eq!(watch.first_new(&raw(records[..tier].to_vec())), None);
    assert_eq!(watch.first_new(&raw(records.clone())), Some(tier as i64));
    let all = infer(&options, &records.iter().map(of).collect::<Vec<_>>()).unwrap().unwrap();
    assert_eq!(all.columns.fields().last().map(|field| field.name().as_str()), Some("loyalty_tier"));
    assert_eq!(Watch::new(&options, all).first_new(&raw(records)), None);
}

#[test]
fn messages_are_no_changes() {
    let batch = debezium(&full("postgres", "customer"), sample("postgres_avro.message"));
    assert_eq!((batch.len(), batch.dead_letters.len()), (0, 0));
}

/// Everything as text: what a user sees who declares all columns as STRING.
#[test]
fn all_types_as_text() {
    for database in ["mysql", "mariadb", "postgres"] {
        let names: Vec<_> = columns(database, "all_types").iter().map(|(name, _)| (*name, DataType::Utf8)).collect();
        let names: Vec<_> = names.into_iter().filter(|(name, _)| *name != "big").collect();
        let batch = debezium(&spec(&names), sample(&format!("{database}_avro.sakila.all_types")));
        assert_eq!(batch.dead_letters, []);
        let mut text = String::new();
        for (index, (name, _)) in names.iter().enumerate() {
            let mut values = shown(batch.rows.column(index));
            values.sort();
            values.dedup();
            text.push_str(&format!("{name}: {}\n", values.join(" | ")));
        }
        let path = format!("{}/src/format/avro/tests/all_types_of_{database}.txt", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{path}");
    }
}
