//! Every type, its extreme values, from a real database by Debezium and Kafka into a mirror in ClickHouse: each value equals
//! the one in the database, the snapshot's rows as well as those that are streamed.

use std::collections::BTreeMap;

use crate::real_path::{Connector, MARIADB, POSTGRES, Source, execute, rows};
use crate::run::{bounded, run, wait_until};
use crate::stack::{Database, assert_same, clickhouse_url, connect_url, kafka_brokers, script, unique};
use crate::topic::read;

/// A column, and its values as both sides can say them.
struct Value {
    column: &'static str,
    source: &'static str,
    target: &'static str,
}

const fn value(column: &'static str, source: &'static str, target: &'static str) -> Value {
    Value { column, source, target }
}

/// How both sides are made to say the same: a number, an exact decimal, bytes in hexadecimal digits.
const IN_MARIADB: &[Value] = &[
    value("ti tu si su mi mu i iu bi bu f d dt y dtm dtm3 dtm6 ts ts3 ts6", "CAST({} AS CHAR)", "toString({})"),
    value("d102", "CAST({} AS CHAR)", "toDecimalString({}, 2)"),
    value("d3810", "CAST({} AS CHAR)", "toDecimalString({}, 10)"),
    value("d180", "CAST({} AS CHAR)", "toDecimalString({}, 0)"),
    value("t t6", "CAST(CAST({} AS TIME(6)) AS CHAR)", "toString({})"),
    value("bo b1 b8 b64", "CAST({} + 0 AS CHAR)", "toString(toUInt64({}))"),
    value("c v tx ltx j e s", "HEX(CONVERT({} USING utf8mb4))", "hex({})"),
    value("bn vb bl", "HEX({})", "hex({})"),
];

const IN_POSTGRES: &[Value] = &[
    value("si i bi n ip ci ma e u r4", "{}::text", "toString({})"),
    value("n102", "{}::text", "toDecimalString({}, 2)"),
    value("n3810", "{}::text", "toDecimalString({}, 10)"),
    value("m", "{}::numeric::text", "toDecimalString({}, 2)"),
    value("r d", "replace(lower({}::text), 'infinity', 'inf')", "toString({})"),
    value("dt", "{}::text", "toString({})"),
    value("t t3", "to_char({}, 'HH24:MI:SS.US')", "toString({})"),
    value("ttz", "to_char(({} AT TIME ZONE 'UTC')::time, 'HH24:MI:SS.US')", "toString({})"),
    value("ts", "to_char({}, 'YYYY-MM-DD HH24:MI:SS.US')", "toString({})"),
    value("ts3", "to_char({}, 'YYYY-MM-DD HH24:MI:SS.MS')", "toString({})"),
    value("tstz", "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')", "toString({})"),
    value("iv", "(EXTRACT(EPOCH FROM {}) * 1000000)::bigint::text", "{}"),
    value("b b1", "{}::int::text", "toString(toUInt8({}))"),
    value("b8", "{}::int::text", "toString({})"),
    value("vb", "lpad({}::text, 16, '0')::bit(16)::int::text", "toString({})"),
    value("c", "upper(encode(bpcharsend({}), 'hex'))", "hex({})"),
    value("v tx j jb x", "upper(encode(convert_to({}::text, 'UTF8'), 'hex'))", "hex({})"),
    value("by", "upper(encode({}, 'hex'))", "hex({})"),
    // A list that is null is an empty one in ClickHouse.
    value("ai at", "coalesce(array_to_json({})::text, '[]')", "toJSONString({})"),
    value(
        "an",
        "'[' || coalesce(array_to_string({}, ','), '') || ']'",
        "'[' || arrayStringConcat(arrayMap(x -> toDecimalString(assumeNotNull(x), 2), {}), ',') || ']'",
    ),
    value("h", "replace(hstore_to_json({})::text, ' ', '')", "{}"),
    value(
        "pt",
        "{}[0]::text || ' ' || {}[1]::text",
        "JSONExtractRaw({}, 'x') || ' ' || toString(JSONExtractFloat({}, 'y'))",
    ),
    value("big", "md5({})", "lower(hex(MD5({})))"),
];

struct Case {
    source: &'static Source,
    /// The database, or schema, of the test's own.
    place: &'static str,
    forget: &'static [&'static str],
    make: &'static str,
    create: &'static str,
    /// More rows of the same, and changes, when the snapshot is through.
    stream: &'static [&'static str],
    declared: &'static str,
    mode: &'static str,
    values: &'static [Value],
    /// How a row's number and a value are put together.
    line: &'static str,
}

const CASES: [Case; 2] = [
    Case {
        source: &MARIADB,
        place: "all_the_types",
        forget: &["DROP DATABASE IF EXISTS all_the_types"],
        make: "CREATE DATABASE all_the_types CHARACTER SET utf8mb4; USE all_the_types; SET time_zone = '+00:00'",
        create: include_str!("../data/types/mariadb_source.sql"),
        stream: &[
            "CREATE TEMPORARY TABLE copy AS SELECT * FROM all_types",
            "UPDATE copy SET id = id + 10",
            "INSERT INTO all_types SELECT * FROM copy",
            "UPDATE all_types SET d102 = 0.01, bu = bu - 1 WHERE id = 3",
            "DELETE FROM all_types WHERE id IN (6, 16)",
        ],
        declared: include_str!("../data/types/mysql.sql"),
        mode: "adaptive_time_microseconds",
        values: IN_MARIADB,
        line: "CONVERT(CONCAT(id, ' ', COALESCE({}, 'NULL')) USING utf8mb4)",
    },
    Case {
        source: &POSTGRES,
        place: "all_the_types",
        forget: &["DROP SCHEMA IF EXISTS all_the_types CASCADE"],
        make: "CREATE EXTENSION IF NOT EXISTS hstore; CREATE SCHEMA all_the_types; SET search_path TO all_the_types, public; \
               SET time zone 'UTC'; SET lc_monetary TO 'C'",
        create: include_str!("../data/types/postgres_source.sql"),
        stream: &[
            "CREATE TEMPORARY TABLE copy AS SELECT * FROM all_types",
            "UPDATE copy SET id = id + 10",
            "INSERT INTO all_types SELECT * FROM copy",
            "UPDATE all_types SET n102 = 0.01, n = -0.5 WHERE id = 3",
            "DELETE FROM all_types WHERE id IN (6, 16)",
            // No point in time: a dead letter, and nothing stops.
            "INSERT INTO all_types(id, tstz) VALUES (7, 'infinity')",
            "DELETE FROM all_types WHERE id = 7",
        ],
        declared: include_str!("../data/types/postgres.sql"),
        mode: "adaptive",
        values: IN_POSTGRES,
        line: "id || ' ' || coalesce({}, 'NULL')",
    },
];

fn round_trip(case: &Case) {
    let _ = (connect_url(), kafka_brokers(), clickhouse_url());
    let mut connection = case.source.connect();
    case.forget.iter().for_each(|sql| execute(&mut connection, sql));
    case.make.split(';').for_each(|sql| execute(&mut connection, sql));
    case.create.lines().for_each(|sql| execute(&mut connection, sql));

    let prefix = unique("types");
    let variables = [("TOPIC_PREFIX", prefix.as_str()), ("SOURCE_DATABASE", case.place), ("TOPIC_PARTITIONS", "2")];
    script("connect.sh", &["register", "--name", &prefix, case.source.connector], &variables);
    let connector = Connector(prefix.clone());
    let topic = format!("{prefix}.{}.all_types", case.place);
    let count = || {
        let mut ops: BTreeMap<String, usize> = BTreeMap::new();
        if crate::real_path::exists(&topic) {
            read(&topic, |record| {
                let value: serde_json::Value = serde_json::from_slice(record.value.unwrap_or(b"{}")).unwrap();
                *ops.entry(value["op"].as_str().unwrap_or("tombstone").to_owned()).or_default() += 1;
            });
        }
        ops
    };
    let snapshot = case.create.lines().filter(|line| line.starts_with("INSERT")).count();
    wait_until("the snapshot is in Kafka", || count().get("r") == Some(&snapshot));
    case.stream.iter().for_each(|sql| execute(&mut connection, sql));
    let deletes = if case.source.connector.starts_with("postgres") { 3 } else { 2 };
    wait_until("the changes are in Kafka", || count().get("d") == Some(&deletes));

    let database = Database::new("types");
    let declared = case.declared.replace("tstz STRING, ", "tstz TIMESTAMP_LTZ(6), ");
    let (columns, _) = declared.split_once(") WITH (").unwrap();
    let (brokers, url, name) = (kafka_brokers(), clickhouse_url(), &database.0);
    let query = format!(
        "{columns}) WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{brokers}', \
         'format' = 'debezium-json', 'scan.startup.mode' = 'earliest-offset', 'debezium-json.time.precision.mode' = '{}'); \
         CREATE TABLE mirror WITH ('connector' = 'clickhouse', 'url' = '{url}', 'table' = '{name}.all_types'); \
         INSERT INTO mirror SELECT * FROM all_types",
        case.mode
    );
    run(&query, bounded(&prefix)).unwrap();
    drop(connector);
    for values in case.values {
        for column in values.column.split(' ') {
            let source = case.line.replace("{}", &values.source.replace("{}", column));
            let source = rows(&mut connection, &format!("SELECT {source} FROM all_types"));
            let nullable = format!("ifNull({}, 'NULL')", values.target.replace("{}", column));
            let target =
                database.ask(&format!("SELECT concat(toString(id), ' ', {nullable}) FROM {{db}}.all_types ORDER BY 1"));
            let mut target: Vec<String> = target.lines().map(|line| line.replace("\\'", "'")).collect();
            target.sort();
            assert!(source.len() >= 8, "{source:?}");
            assert_same(column, &target, &source);
        }
    }
    let letters = database.rows("SELECT reason, extract(message, '^column \"[a-z]+\"') FROM {db}.dead_letters");
    let expected: &[&str] = if case.mode == "adaptive" { &["wrong_type\tcolumn \"tstz\""; 2] } else { &[] };
    assert_eq!(letters, expected);
    case.forget.iter().for_each(|sql| execute(&mut connection, sql));
}

#[test]
fn all_types_of_mariadb() {
    round_trip(&CASES[0]);
}

#[test]
fn all_types_of_postgres() {
    round_trip(&CASES[1]);
}

/// A table with values that need a place, as Debezium's records.
fn table_of_values(folder: &std::path::Path, rows: &[&str]) -> String {
    let path = folder.join("values.jsonl");
    std::fs::write(&path, rows.join("\n") + "\n").unwrap();
    format!(
        "CREATE TABLE t (id INT PRIMARY KEY NOT ENFORCED, u UUID, j JSON, ip IPV4, d DATE, at TIMESTAMP(0), e STRING, f BYTES, us ARRAY<STRING>)
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'debezium-json'); ",
        path.display()
    )
}

fn sink(name: &str, database: &Database, more: &str) -> String {
    format!(
        "CREATE TABLE {name} {more} WITH ('connector' = 'clickhouse', 'url' = '{}', 'table' = '{}.{name}'",
        clickhouse_url(),
        database.0
    )
}

/// Rows with values that a narrow table cannot hold are dead letters, the others are there; nothing stops. What a delete
/// cannot say gives way to NULL.
#[test]
fn values_without_a_place_are_dead_letters() {
    let (database, folder) = (Database::new("limits"), tempfile::tempdir().unwrap());
    database.ask("CREATE DATABASE {db}");
    database.ask(
        "CREATE TABLE {db}.narrow (id Int32, u Nullable(UUID), j Nullable(JSON), ip Nullable(IPv4), d Nullable(Date), at Nullable(DateTime), \
         e LowCardinality(Nullable(String)), f Nullable(FixedString(2)), us Array(Nullable(UUID)), _version UInt64, _is_deleted UInt8) \
         ENGINE = ReplacingMergeTree(_version, _is_deleted) ORDER BY id",
    );
    database.ask("ALTER TABLE {db}.narrow MODIFY COLUMN e Nullable(Enum8('big' = 1, 'small' = 2))");
    let row = |id: i32, more: &str| format!("{{\"op\":\"c\",\"after\":{{\"id\":{id},{more}}}}}");
    let uuid = "c0ffee00-1111-4222-8333-abcdefabcdef";
    let whole = format!(
        "\"u\":\"{uuid}\",\"j\":\"{{\\\"a\\\":1}}\",\"ip\":\"10.0.0.1\",\"d\":65535,\"at\":4294967295000,\"e\":\"small\",\"f\":\"YWI=\",\"us\":[\"{uuid}\",null]"
    );
    let bad = [
        ("u", "\"no uuid\""),
        ("j", "\"[1]\""),
        ("ip", "\"10.0.0.1/8\""),
        ("d", "65536"),
        ("d", "-1"),
        ("at", "-1000"),
        ("e", "\"middle\""),
        ("f", "\"YWJj\""),
        ("us", "[null,\"no uuid\"]"),
    ];
    let mut rows = vec![row(1, &whole), row(2, "\"u\":null")];
    rows.extend(
        bad.iter().enumerate().map(|(at, (column, value))| row(10 + at as i32, &format!("\"{column}\":{value}"))),
    );
    rows.push("{\"op\":\"d\",\"before\":{\"id\":2,\"d\":2932896}}".to_owned());
    rows.push(row(3, "\"e\":\"big\""));
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let query = table_of_values(folder.path(), &rows)
        + &sink("narrow", &database, "")
        + "); INSERT INTO narrow SELECT * FROM t";
    run(&query, bounded(&database.0)).unwrap();
    assert_eq!(
        database.ask("SELECT * EXCEPT (_version, _is_deleted) FROM {db}.narrow FINAL ORDER BY id"),
        format!(
            "1\t{uuid}\t{{\"a\":1}}\t10.0.0.1\t2149-06-06\t2106-02-07 06:28:15\tsmall\tab\t['{uuid}',NULL]\n\
             3\t\\N\t\\N\t\\N\t\\N\t\\N\tbig\t\\N\t[]"
        )
    );
    let letters =
        "SELECT _offset, reason, extract(message, '^column \"([a-z]+)\"') FROM {db}.dead_letters ORDER BY _offset";
    let expected: Vec<String> =
        bad.iter().enumerate().map(|(at, (column, _))| format!("{}\tvalue_out_of_range\t{column}", at + 2)).collect();
    assert_eq!(database.ask(letters).lines().collect::<Vec<_>>(), expected);
    assert_eq!(
        database.ask("SELECT message FROM {db}.dead_letters WHERE _offset = 5"),
        "column \"d\": 2149-06-07 has no place in the type Nullable(Date) (make it a Date32)"
    );
}

/// What the marks of columns survive: projections, views, images, targets with columns of their own.
#[test]
fn declared_types_arrive_at_the_table() {
    let (database, folder) = (Database::new("marks"), tempfile::tempdir().unwrap());
    let uuid = "c0ffee00-1111-4222-8333-abcdefabcdef";
    let values = format!(
        "\"id\":1,\"u\":\"{uuid}\",\"j\":\"{{\\\"a\\\":1}}\",\"ip\":\"10.0.0.1\",\"d\":2932896,\"e\":\"{uuid}\""
    );
    let rows = [
        format!("{{\"op\":\"c\",\"after\":{{{values}}}}}"),
        format!("{{\"op\":\"u\",\"before\":{{\"id\":1,\"u\":\"{uuid}\"}},\"after\":{{{values}}}}}"),
    ];
    let table = table_of_values(folder.path(), &rows.iter().map(String::as_str).collect::<Vec<_>>());
    let query = [
        table,
        "CREATE VIEW v AS SELECT id, u AS other, j, ip, d, upper(u) AS loud FROM t; ".to_owned(),
        sink("one", &database, ""),
        ", 'sink.json-type' = 'JSON'); ".to_owned(),
        sink("two", &database, "(id INT, e UUID, u STRING, PRIMARY KEY (id) NOT ENFORCED)"),
        "); ".to_owned(),
        sink("three", &database, ""),
        "); INSERT INTO one SELECT * FROM v; INSERT INTO two SELECT id, e, u FROM t; ".to_owned(),
        "INSERT INTO three SELECT id, u, _before FROM CHANGES(t)".to_owned(),
    ];
    run(&query.concat(), bounded(&database.0)).unwrap();
    let types = |table: &str| {
        let sql = format!(
            "SELECT name, type FROM system.columns WHERE database = '{{db}}' AND table = '{table}' AND name NOT LIKE '\\_%' ORDER BY position"
        );
        database.ask(&sql)
    };
    assert_eq!(
        types("one_versions"),
        "id\tInt32\nother\tNullable(UUID)\nj\tNullable(JSON)\nip\tNullable(IPv4)\nd\tNullable(Date32)\nloud\tNullable(String)"
    );
    assert_eq!(types("two_versions"), "id\tInt32\ne\tNullable(UUID)\nu\tNullable(UUID)");
    assert_eq!(types("three"), "id\tNullable(Int32)\nu\tNullable(UUID)");
    let of_first = "SELECT id, other, j, ip, d, loud FROM {db}.one";
    assert_eq!(
        database.ask(of_first),
        format!("1\t{uuid}\t{{\"a\":1}}\t10.0.0.1\t9999-12-31\t{}", uuid.to_uppercase())
    );
    assert_eq!(database.ask("SELECT id, e, u FROM {db}.two"), format!("1\t{uuid}\t{uuid}"));
    assert_eq!(database.ask("SELECT _before.u FROM {db}.three ORDER BY _offset"), format!("\\N\n{uuid}"));
    assert_eq!(database.ask("SELECT count() FROM {db}.dead_letters"), "0");
}
