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
        "coalesce(array_to_string({}, ','), '')",
        "arrayStringConcat(arrayMap(x -> toDecimalString(assumeNotNull(x), 2), {}), ',')",
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
