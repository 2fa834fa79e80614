//! What needs no server: statements, types, cutting, messages.
#![allow(clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, Date32Array, Int64Array, RecordBatch, TimestampMicrosecondArray, TimestampSecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Int64Type, IntervalUnit, Schema, TimeUnit};

use super::check::{check, existing_of};
use super::ddl::{TableName, create_database, create_table, create_view};
use super::insert::{insert_settings, query_id};
use super::split::{Chunk, Part, Parting, split};
use super::types::{ChType, fits, of_arrow};
use crate::options::Options;
use crate::sink::{IS_DELETED, OutputTable, POSITION, TableForm, VERSION};

fn output(form: TableForm, fields: Vec<Field>, key: &[&str], event_time: Option<&str>) -> OutputTable {
    let options = [("url", "http://ch:8123"), ("table", "shop.t")];
    OutputTable {
        options: Options::new("t", options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
        form,
        visible: fields.len(),
        schema: Arc::new(Schema::new(fields)),
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        event_time: event_time.map(str::to_owned),
        comments: BTreeMap::from([("email".to_owned(), "the customer's".to_owned())]),
        comment: "what it's for".to_owned(),
        evolves: false,
        job: "j".to_owned(),
    }
}

fn name() -> TableName {
    TableName { database: "shop".to_owned(), table: "t".to_owned() }
}

fn positions() -> [Field; 3] {
    [
        Field::new(POSITION[0], DataType::Utf8, false),
        Field::new(POSITION[1], DataType::Int32, false),
        Field::new(POSITION[2], DataType::Int64, false),
    ]
}

#[test]
fn ddl_of_a_log() {
    let before = DataType::Struct(vec![Field::new("email", DataType::Utf8, false)].into());
    let mut fields = vec![
        Field::new("customer_id", DataType::Int32, false),
        Field::new("email", DataType::Utf8, true),
        Field::new("create_date", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("_op", DataType::Utf8, false),
        Field::new("_before", before, true),
    ];
    fields.extend(positions());
    let log = output(TableForm::Log, fields.clone(), &["customer_id"], Some("create_date"));
    assert_eq!(
        create_table(&log, &name(), true).expect("ddl"),
        "CREATE TABLE IF NOT EXISTS `shop`.`t`\n(\n\
         \x20   `customer_id` Int32,\n\
         \x20   `email` Nullable(String) COMMENT 'the customer\\'s',\n\
         \x20   `create_date` Nullable(DateTime64(3, 'UTC')),\n\
         \x20   `_op` LowCardinality(String),\n\
         \x20   `_before` Tuple(`email` Nullable(String)),\n\
         \x20   `_topic` LowCardinality(String),\n\
         \x20   `_partition` Int32,\n\
         \x20   `_offset` Int64,\n\
         \x20   `_job` LowCardinality(String) COMMENT 'the Highwater job that made the row',\n\
         \x20   `_epoch` UInt64 COMMENT 'the checkpoint epoch that the row belongs to',\n\
         \x20   INDEX `_offset_range` `_offset` TYPE minmax GRANULARITY 1\n\
         )\nENGINE = MergeTree\nPARTITION BY toYYYYMM(`create_date`)\nORDER BY (`customer_id`, `_partition`, `_offset`)\n\
         SETTINGS allow_nullable_key = 1, non_replicated_deduplication_window = 10000\nCOMMENT 'what it\\'s for'"
    );
    let keyless = output(TableForm::Log, fields, &[], Some("create_date"));
    let sql = create_table(&keyless, &name(), true).expect("ddl");
    assert!(sql.contains("ORDER BY (`create_date`, `_partition`, `_offset`)"), "{sql}");
    assert_eq!(create_database(&name()), "CREATE DATABASE IF NOT EXISTS `shop`");
}

#[test]
fn ddl_of_a_mirror() {
    let fields = vec![
        Field::new("id", DataType::UInt64, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new(VERSION, DataType::UInt64, false),
        Field::new(IS_DELETED, DataType::UInt8, false),
    ];
    let mirror = output(TableForm::Mirror, fields.clone(), &["id"], Some("at"));
    assert_eq!(
        create_table(&mirror, &name().versions(), true).expect("ddl"),
        "CREATE TABLE IF NOT EXISTS `shop`.`t_versions`\n(\n\
         \x20   `id` UInt64,\n    `at` DateTime64(6, 'UTC'),\n    `_version` UInt64,\n    `_is_deleted` UInt8\n\
         )\nENGINE = ReplacingMergeTree(`_version`, `_is_deleted`)\nORDER BY (`id`)\n\
         SETTINGS non_replicated_deduplication_window = 10000\nCOMMENT 'what it\\'s for'"
    );
    assert_eq!(
        create_view(&mirror, &name(), false),
        "CREATE VIEW IF NOT EXISTS `shop`.`t`\nAS SELECT `id`, `at`\nFROM `shop`.`t_versions` FINAL\nCOMMENT 'what it\\'s for'"
    );
    let error =
        create_table(&output(TableForm::Mirror, fields, &[], None), &name(), true).expect_err("no key").to_string();
    assert!(error.contains("a mirror needs the primary key") && error.contains("PRIMARY KEY"), "{error}");
}

#[test]
fn ddl_of_results_late_rows_and_dead_letters() {
    let seconds = || DataType::Timestamp(TimeUnit::Second, None);
    let fields = vec![
        Field::new("window_start", seconds(), false),
        Field::new("window_end", seconds(), false),
        Field::new("store", DataType::Utf8, false),
        Field::new("last", seconds(), true),
        Field::new("revision", DataType::Int64, false),
    ];
    let results = output(TableForm::Results, fields, &["window_start", "window_end", "store"], Some("window_start"));
    assert_eq!(
        create_table(&results, &name(), true).expect("ddl"),
        "CREATE TABLE IF NOT EXISTS `shop`.`t`\n(\n\
         \x20   `window_start` DateTime('UTC'),\n\
         \x20   `window_end` DateTime('UTC'),\n\
         \x20   `store` LowCardinality(String),\n\
         \x20   `last` Nullable(DateTime64(0, 'UTC')),\n\
         \x20   `revision` Int64,\n\
         \x20   `is_final` UInt8 COMMENT '1: the window is closed and the row settled',\n\
         \x20   `updated_at` DateTime64(3, 'UTC') COMMENT 'when the row was made',\n\
         \x20   `_job` LowCardinality(String) COMMENT 'the Highwater job that made the row',\n\
         \x20   `_epoch` UInt64 COMMENT 'the checkpoint epoch that the row belongs to'\n\
         )\nENGINE = MergeTree\nPARTITION BY toYYYYMM(`window_start`)\nORDER BY (`window_start`, `window_end`, `store`)\n\
         SETTINGS non_replicated_deduplication_window = 10000\nCOMMENT 'what it\\'s for'"
    );
    let mut fields: Vec<Field> = positions().to_vec();
    fields.push(Field::new("_timestamp", DataType::Timestamp(TimeUnit::Millisecond, None), true));
    fields.push(Field::new("reason", DataType::Utf8, false));
    let sql = create_table(&output(TableForm::DeadLetters, fields.clone(), &[], None), &name(), true).expect("ddl");
    assert!(sql.contains("PARTITION BY toYYYYMM(`_timestamp`)\nORDER BY (`_topic`, `_partition`, `_offset`)"), "{sql}");
    assert!(sql.contains("`reason` LowCardinality(String)"), "{sql}");
    let sql = create_table(&output(TableForm::Late, fields, &[], Some("_timestamp")), &name(), true).expect("ddl");
    assert!(
        sql.contains("PARTITION BY toYYYYMM(`_timestamp`)\nORDER BY (`_timestamp`, `_partition`, `_offset`)"),
        "{sql}"
    );
}

/// An output with further options.
fn with_options(mut output: OutputTable, more: &[(&str, &str)]) -> OutputTable {
    let mut values = output.options.all().clone();
    values.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    output.options = Options::new("t", values);
    output
}

#[test]
fn ddl_in_the_users_own_words() {
    let time = DataType::Timestamp(TimeUnit::Second, None);
    let mut fields = vec![Field::new("id", DataType::UInt32, false), Field::new("made", time, false)];
    fields.extend(positions());
    let log = output(TableForm::Log, fields, &["id"], None);
    let own = [
        ("clickhouse.engine", "ReplacingMergeTree"),
        ("clickhouse.order-by", "id, ts"),
        ("clickhouse.partition-by", "toDate(made)"),
        ("clickhouse.type.made", "DateTime"),
        ("clickhouse.written-at", "ts"),
    ];
    let ddl = create_table(&with_options(log.clone(), &own), &name(), true).expect("ddl");
    for part in [
        "    `made` DateTime,\n",
        "    `ts` DateTime DEFAULT now() COMMENT 'when the row\\'s block was made',\n",
        "ENGINE = ReplacingMergeTree\nPARTITION BY toDate(made)\nORDER BY (id, ts)\n",
    ] {
        assert!(ddl.contains(part), "{part}: {ddl}");
    }
    for (option, value, expected) in [
        ("clickhouse.order-by", "id; DROP TABLE x", "an expression of ClickHouse's SQL"),
        ("clickhouse.order-by", "", "an expression of ClickHouse's SQL"),
        ("clickhouse.type.made", "UInt8", "a type of ClickHouse that holds every"),
        ("clickhouse.type.id", "UInt32; DROP TABLE x", "a type of ClickHouse that holds every"),
    ] {
        let error = create_table(&with_options(log.clone(), &[(option, value)]), &name(), true).expect_err("refused");
        let error = error.to_string();
        assert!(error.contains(expected) && error.contains(option), "{error}");
    }
    let versions = [Field::new(VERSION, DataType::UInt64, false), Field::new(IS_DELETED, DataType::UInt8, false)];
    let fields = [Field::new("id", DataType::Int32, false)].into_iter().chain(versions).collect();
    let mirror = output(TableForm::Mirror, fields, &["id"], None);
    for option in ["clickhouse.order-by", "clickhouse.engine", "clickhouse.partition-by"] {
        let error = create_table(&with_options(mirror.clone(), &[(option, "id")]), &name(), true).expect_err("refused");
        assert!(error.to_string().contains("not for mirrors"), "{error}");
    }
    assert!(super::keeps_deleted(&with_options(mirror.clone(), &[("deletes", "ignore")])).expect("known"));
    assert!(!super::keeps_deleted(&mirror).expect("known"));
    for (output, value) in [(&log, "ignore"), (&mirror, "keep")] {
        assert!(super::keeps_deleted(&with_options(output.clone(), &[("deletes", value)])).is_err());
    }
}

#[test]
fn the_time_of_the_block_is_written_where_an_option_says() {
    let fields = vec![Field::new("id", DataType::UInt32, false)];
    let log = with_options(output(TableForm::Log, fields, &["id"], None), &[("clickhouse.written-at", "ts")]);
    let columns = [("id", "UInt32", ""), ("ts", "DateTime", "DEFAULT")];
    let written = check(&log, &name(), "http://ch:8123", &existing_of("MergeTree", "", "id", &columns)).expect("fits");
    assert_eq!(written.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["id", "ts"]);
    for columns in [&[("id", "UInt32", "")][..], &[("id", "UInt32", ""), ("ts", "String", "")]] {
        let error = check(&log, &name(), "http://ch:8123", &existing_of("MergeTree", "", "id", columns));
        assert!(error.expect_err("refused").to_string().contains("'clickhouse.written-at' is 'ts'"));
    }
}

#[test]
fn what_clickhouse_cannot_keep() {
    let interval = DataType::Interval(IntervalUnit::DayTime);
    for (data_type, why) in [(DataType::Null, "NULL in every row"), (interval, "keeps no intervals")] {
        let fields = vec![Field::new("gap", data_type, true)];
        let error =
            create_table(&output(TableForm::Log, fields, &[], None), &name(), true).expect_err("refused").to_string();
        assert!(error.contains("table \"t\": column \"gap\" of type") && error.contains(why), "{error}");
    }
    assert_eq!(of_arrow(&DataType::Time64(TimeUnit::Microsecond), true, false), Ok(ChType::parse("Nullable(Int64)")));
}

#[test]
fn table_names() {
    let read = |table: &str, database: Option<&str>| {
        let mut values = BTreeMap::from([("table".to_owned(), table.to_owned())]);
        values.extend(database.map(|database| ("database".to_owned(), database.to_owned())));
        TableName::from_options(&Options::new("t", values)).map(|name| (name.database, name.table))
    };
    let pair = |database: &str, table: &str| Some((database.to_owned(), table.to_owned()));
    assert_eq!(read("t", None).ok(), pair("default", "t"));
    assert_eq!(read("shop.t", None).ok(), pair("shop", "t"));
    assert_eq!(read("t", Some("shop")).ok(), pair("shop", "t"));
    assert_eq!(read("shop.t", Some("shop")).ok(), pair("shop", "t"));
    assert_eq!(read("`my.shop`.\"a.b\"", None).ok(), pair("my.shop", "a.b"));
    for (table, database) in [("shop.t", Some("other")), ("a.b.c", None), ("", None), ("a.", None), ("`a", None)] {
        assert!(read(table, database).is_err(), "{table}");
    }
}

#[test]
fn types_read_and_written() {
    for text in [
        "Int32",
        "LowCardinality(Nullable(String))",
        "DateTime64(3, 'UTC')",
        "Array(Array(Nullable(Decimal(76, 38))))",
        "Map(LowCardinality(String), Array(UInt8))",
        "Tuple(`a b` Int32, `c\\`d` Tuple(`e` DateTime64(3, 'UTC')), `f` Enum8('x, y)' = 1, 'z\\'' = 2))",
        "Tuple(Int32, Nullable(String))",
    ] {
        assert_eq!(ChType::parse(text).to_string(), text);
    }
    assert_eq!(ChType::parse("Tuple(a Int32, b DateTime('UTC'))").to_string(), "Tuple(`a` Int32, `b` DateTime('UTC'))");
}

#[test]
fn which_columns_take_which_values() {
    use DataType::{Boolean, Date32, Decimal128, Float32, Int32, List, Struct, Timestamp, UInt32, Utf8};
    let item = |nullable| List(Arc::new(Field::new("item", Int32, nullable)));
    let pair: Fields = vec![Field::new("a", Int32, false), Field::new("b", Utf8, true)].into();
    let cases = [
        (Boolean, "Bool UInt8 Int64", "String"),
        (Int32, "Int32 Int64 Nullable(Int128)", "Int16 UInt32 UInt64 Float64 String"),
        (UInt32, "UInt32 UInt64 Int64", "Int32 UInt16"),
        (Float32, "Float32 Float64", "Decimal(9,2)"),
        (Utf8, "String LowCardinality(Nullable(String)) UUID IPv4 IPv6 JSON Enum8('a'=1) FixedString(3)", "Int8 Date"),
        (DataType::Binary, "String FixedString(3)", "UUID Array(UInt8)"),
        (Decimal128(10, 2), "Decimal(10,2) Decimal(12,3) Decimal(76,2)", "Decimal(10,3) Decimal(9,2) Float64"),
        (Date32, "Date32 DateTime64(0,'UTC') Date String", "DateTime Int32"),
        (
            Timestamp(TimeUnit::Second, None),
            "DateTime DateTime('UTC') DateTime64(0) DateTime64(9,'UTC')",
            "Date32 Int64",
        ),
        (Timestamp(TimeUnit::Millisecond, None), "DateTime64(3) DateTime64(6,'UTC')", "DateTime DateTime64(2)"),
        (item(true), "Array(Nullable(Int32)) Array(Nullable(Int64))", "Array(Int32) Int32"),
        (item(false), "Array(Int32)", "Array(Int8)"),
    ];
    for (data_type, good, bad) in cases {
        for target in good.split(' ') {
            assert!(fits(&data_type, false, &ChType::parse(target)), "{data_type} into {target}");
        }
        for target in bad.split(' ') {
            assert!(!fits(&data_type, false, &ChType::parse(target)), "{data_type} into {target}");
        }
    }
    let tuple = |text: &str, nullable| fits(&Struct(pair.clone()), nullable, &ChType::parse(text));
    assert!(tuple("Tuple(b Nullable(String), a Int64)", false));
    assert!(!tuple("Tuple(b Nullable(String), a Int64)", true), "of a null struct every field is NULL");
    assert!(tuple("Tuple(b Nullable(String), a Nullable(Int64))", true));
    assert!(!tuple("Tuple(a Int32)", false) && !tuple("Tuple(a Int32, c Nullable(String))", false));
}

#[test]
fn what_columns_cannot_hold() {
    use super::types::limit;
    use crate::sink::limits::Holds;
    let micro = DataType::Timestamp(TimeUnit::Microsecond, None);
    let second = DataType::Timestamp(TimeUnit::Second, None);
    let of =
        |data_type: &DataType, target: &str| limit(data_type, &ChType::parse(target), true).map(|(holds, _)| holds);
    let between = |range| Some(Holds::Between(range));
    assert_eq!(of(&DataType::Date32, "Nullable(Date32)"), between(-719_528..=2_932_896));
    assert_eq!(of(&DataType::Date32, "Date"), between(0..=65_535));
    assert_eq!(of(&DataType::Date32, "DateTime64(0)"), between(-719_528..=2_932_896));
    // 1677-09-22 – 2262-04-11, whole days
    assert_eq!(of(&DataType::Date32, "DateTime64(9)"), between(-106_751..=106_751));
    assert_eq!(of(&DataType::Date32, "String"), None);
    assert_eq!(of(&second, "DateTime('UTC')"), between(0..=4_294_967_295));
    assert_eq!(of(&second, "DateTime64(0)"), between(-62_167_219_200..=253_402_300_799));
    assert_eq!(of(&micro, "DateTime64(6)"), between(-62_167_219_200_000_000..=253_402_300_799_999_999));
    assert_eq!(of(&micro, "DateTime64(9)"), between(i64::MIN / 1_000..=i64::MAX / 1_000));
    let near = limit(&DataType::Date32, &ChType::parse("Date32"), false).map(|(holds, _)| holds);
    assert_eq!(near, between(-25_567..=120_529));
    let near = limit(&second, &ChType::parse("DateTime64(3)"), false).map(|(holds, _)| holds);
    assert_eq!(near, between(-2_208_988_800..=10_413_791_999));
    let time = DataType::Time64(TimeUnit::Microsecond);
    assert_eq!(of(&time, "Time64(6)"), between(-3_599_999_999_999..=3_599_999_999_999));
    assert_eq!(of(&time, "Int64"), None);
    let words = |words: &[&str]| Some(Holds::Words(words.iter().map(|word| (*word).to_owned()).collect()));
    assert_eq!(of(&DataType::Utf8, "Enum8('a' = 1, 'b=\\'c' = -2)"), words(&["a", "b='c"]));
    assert_eq!(of(&DataType::Utf8, "LowCardinality(FixedString(3))"), Some(Holds::Bytes(3)));
    assert_eq!(of(&DataType::Utf8, "String"), None);
    let uuids = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    assert_eq!(of(&uuids, "Array(Nullable(UUID))"), Some(Holds::Items(Box::new(Holds::Uuid))));
    let pair =
        DataType::Struct(vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Date32, true)].into());
    let fields = Holds::Fields(vec![(1, Holds::Between(0..=65_535))]);
    assert_eq!(of(&pair, "Tuple(b Nullable(Date), a Nullable(Int32))"), Some(fields));
}

#[test]
fn marks_say_what_is_created() {
    use super::types::of_field;
    use crate::type_name::with_mark;
    let of = |mark: &str, data_type: DataType, json: bool| {
        of_field(&with_mark(Field::new("x", data_type, true), mark), true, json).map(|it| it.to_string())
    };
    for (mark, json, created) in [
        ("UUID", false, "Nullable(UUID)"),
        ("IPV4", false, "Nullable(IPv4)"),
        ("IPV6", false, "Nullable(IPv6)"),
        ("JSON", false, "Nullable(String)"),
        ("JSON", true, "Nullable(JSON)"),
    ] {
        assert_eq!(of(mark, DataType::Utf8, json).as_deref(), Ok(created));
    }
    // What an expression made of it.
    assert_eq!(of("UUID", DataType::Int32, false).as_deref(), Ok("Nullable(Int32)"));
    assert_eq!(of("BIT(8)", DataType::UInt64, false).as_deref(), Ok("Nullable(UInt64)"));
}

#[test]
fn a_table_that_fits_and_how_it_is_parted() {
    let fields = vec![
        Field::new("at", DataType::Timestamp(TimeUnit::Second, None), false),
        Field::new("n", DataType::Int64, true),
    ];
    let results = output(TableForm::Results, fields, &[], Some("at"));
    let table = |partition: &str, at: &str| {
        let columns = [("extra", "String", ""), ("at", at, ""), ("n", "Int64", "DEFAULT"), ("_job", "String", "")];
        existing_of("MergeTree", partition, "at", &columns)
    };
    let plain = table("", "DateTime('UTC')");
    let written = check(&results, &name(), "http://ch:8123", &plain).expect("fits");
    let names: Vec<&str> = written.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["at", "n", "_job"]);
    for (partition, at, server_utc, parting) in [
        ("", "DateTime", true, Parting::Whole),
        ("toYYYYMM(at)", "DateTime", true, Parting::Month(0)),
        ("toYYYYMM(at)", "DateTime", false, Parting::Other),
        ("toYYYYMM(`at`)", "DateTime64(3, 'UTC')", false, Parting::Month(0)),
        ("toYYYYMM(at)", "DateTime64(3, 'Europe/Berlin')", true, Parting::Other),
        ("toDate(at)", "DateTime('UTC')", false, Parting::Day(0)),
        ("toYYYYMM(other)", "DateTime", true, Parting::Other),
        ("(toYYYYMM(at), n)", "DateTime", true, Parting::Other),
        ("n % 10", "DateTime", true, Parting::Other),
    ] {
        let written = check(&results, &name(), "http://ch:8123", &table(partition, at)).expect("fits");
        assert_eq!(table(partition, at).parting(&written, server_utc), parting, "{partition} {at}");
    }
    assert_eq!(existing_of("Distributed", "", "", &[]).parting(&written, true), Parting::Other);
}

fn dates(days: Vec<Option<i32>>) -> RecordBatch {
    let numbers = Int64Array::from_iter_values(0..days.len() as i64);
    let columns: [(&str, ArrayRef); 2] = [("d", Arc::new(Date32Array::from(days))), ("n", Arc::new(numbers))];
    RecordBatch::try_from_iter(columns).expect("rows")
}

/// Suffix, then partition, numbers, rows until, alone.
fn shown(chunks: &[Chunk]) -> Vec<String> {
    let piece = |piece: &super::split::Piece| {
        let numbers: Vec<i64> =
            piece.rows.iter().flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().values().to_vec()).collect();
        let part = match piece.part {
            Part::Any => "any".to_owned(),
            Part::Null => "null".to_owned(),
            Part::Time(value) => value.to_string(),
        };
        format!("{part}{numbers:?}{}{}", piece.rows_until, if piece.alone { "" } else { "…" })
    };
    let line = |chunk: &Chunk| {
        let pieces: Vec<String> = chunk.pieces.iter().map(piece).collect();
        format!("{}: {}", chunk.suffix, pieces.join(" "))
    };
    chunks.iter().map(line).collect()
}

#[test]
fn blocks_are_cut_by_month_and_number() {
    let days = |days: &[i32]| dates(days.iter().map(|day| Some(*day)).collect());
    // 1970-01-31, 1970-02-01, 1969-12-31, 9999-12-31, 2024-02-29
    let rows = days(&[30, 31, -1, 2_932_896, 19_782, 31]);
    let cut = split(vec![rows.clone()], Parting::Month(0), 10).expect("cut");
    assert_eq!(shown(&cut), [": 196912[2]1 197001[0]1 197002[1, 5]2 202402[4]1 999912[3]1"]);
    let cut = split(vec![rows.clone()], Parting::Day(0), 10).expect("cut");
    assert_eq!(shown(&cut), [": 19691231[2]1 19700131[0]1 19700201[1, 5]2 20240229[4]1 99991231[3]1"]);
    let cut = split(vec![rows.clone()], Parting::Month(0), 2).expect("cut");
    assert_eq!(shown(&cut), ["/0: 196912[2]1 197001[0]1", "/1: 197002[1, 5]2", "/2: 202402[4]1 999912[3]1"]);
    assert_eq!(shown(&split(vec![rows], Parting::Other, 10).expect("cut")), [": any[0, 1, 2, 3, 4, 5]6"]);
    // One month with more rows than a chunk takes, over two batches; an empty batch is nothing.
    let cut = split(vec![days(&[0, 1, 2]), days(&[]), days(&[3, 4])], Parting::Month(0), 2).expect("cut");
    assert_eq!(shown(&cut), ["/0: 197001[0, 1]2…", "/1: 197001[2, 0]4…", "/2: 197001[1]5…"]);
    let cut = split(vec![dates(vec![None, Some(0), None])], Parting::Month(0), 10).expect("cut");
    assert_eq!(shown(&cut), [": 197001[1]1 null[0, 2]2"]);
    assert_eq!(shown(&split(vec![dates(vec![None])], Parting::Month(0), 10).expect("cut")), [": null[0]1"]);
    assert!(split(vec![days(&[])], Parting::Month(0), 10).expect("cut").is_empty());
    // More months than the server takes in one insert.
    let many: Vec<i32> = (0..250).map(|month| month * 31).collect();
    assert_eq!(split(vec![days(&many)], Parting::Month(0), 1_000).expect("cut").len(), 3);
}

#[test]
fn times_before_1970_are_in_their_month() {
    let micro: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![-1, 0, -62_135_596_800_000_000]));
    let second: ArrayRef = Arc::new(TimestampSecondArray::from(vec![-1, 0, -62_135_596_800]));
    let number: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 2]));
    for times in [micro, second] {
        let rows = RecordBatch::try_from_iter([("t", times), ("n", Arc::clone(&number))]).expect("rows");
        assert_eq!(shown(&split(vec![rows], Parting::Month(0), 9).expect("cut")), [": 101[2]1 196912[0]1 197001[1]1"]);
    }
}

#[test]
fn query_ids_are_functions_of_tokens() {
    assert_eq!(query_id("job/t/p0:1-2"), "highwater-job/t/p0:1-2-1a7b4cae2d7324ee");
    assert_ne!(query_id("a b"), query_id("a_b"));
    assert!(query_id(&"x".repeat(9_999)).len() < 120);
}

#[test]
fn only_settings_that_the_server_knows() {
    let known = ["async_insert", "max_partitions_per_insert_block"].map(str::to_owned);
    let names = |parting| insert_settings(&known, parting).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(Parting::Whole), ["async_insert", "max_partitions_per_insert_block"]);
    assert_eq!(names(Parting::Other), ["async_insert"]);
}

/// The page shows the statements that the query of README.md and the first of docs/emission.md lead to.
#[tokio::test]
async fn ddl_of_the_documentation() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |page: &str| std::fs::read_to_string(root.join(page)).unwrap();
    let block = |page: &str, fence: &str, number: usize| {
        let text = read(page);
        text.split(fence).nth(number).and_then(|rest| rest.split("```").next()).unwrap().to_owned()
    };
    let queries = [
        vec![("README.md".to_owned(), block("README.md", "```sql\n", 1))],
        vec![
            ("tables.sql".to_owned(), block("docs/emission.md", "```sql tables\n", 1)),
            ("docs/emission.md".to_owned(), block("docs/emission.md", "```sql\n", 1)),
        ],
    ];
    let page = read("docs/clickhouse.md");
    for (texts, is_readme) in queries.into_iter().zip([true, false]) {
        let query = crate::sql::query::load_texts(texts, &crate::sql::text::Variables::default()).await.unwrap();
        let tables = crate::job::outputs::Outputs::new(&query, "job").unwrap().tables;
        for table in tables.into_iter().filter(|table| is_readme || table.form == TableForm::Revised) {
            let name = TableName::from_options(&table.options).unwrap();
            let rows = if table.form.keeps_versions() { name.versions() } else { name.clone() };
            let mut statements = vec![create_table(&table, &rows, true).unwrap()];
            statements.extend(table.form.keeps_versions().then(|| create_view(&table, &name, false)));
            for statement in statements {
                assert!(page.contains(&statement), "docs/clickhouse.md lacks\n{statement}");
            }
        }
    }
}

/// What is in backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Each row of the page's tables: the declared type gives this Arrow type, is created as this, and fits into these.
#[test]
fn types_of_the_documentation() {
    use super::types::{limit, of_field};
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/types.md")).unwrap();
    let mut rows = 0;
    for line in page.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [_, _, declared, arrow, created, fitting] = cells[..] else { continue };
        let Some(declared) = quoted(declared).into_iter().next() else { continue };
        rows += 1;
        let field =
            crate::sql::define::types::parse_column("x", &declared).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(vec![field.data_type().to_string()], quoted(arrow), "{line}");
        let target = of_field(&field.clone().with_nullable(false), true, false).expect(line);
        assert_eq!(vec![target.to_string()], quoted(created), "{line}");
        let (always, by_value) = fitting.split_once("by value").unwrap_or((fitting, ""));
        for (targets, is_by_value) in [(always, false), (by_value, true)] {
            for target in quoted(targets) {
                let target = ChType::parse(&target);
                assert!(fits(field.data_type(), false, &target), "{line}: {target}");
                let is_limited = match limit(field.data_type(), &target, true) {
                    Some((crate::sink::limits::Holds::Between(_), _)) => is_by_value,
                    limit => limit.is_some(),
                };
                assert_eq!(is_limited, is_by_value, "{line}: {target}");
            }
        }
    }
    assert!(rows > 50, "{rows} rows");
}
