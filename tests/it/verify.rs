//! `highwater verify` on real databases, with differences planted in the copy.

use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection};

use highwater::sink::clickhouse::ClickHouseClient;
use highwater::verify::copy::Copy;
use highwater::verify::dialect::Dialect;
use highwater::verify::pairing::{Origins, Pairing};
use highwater::verify::source::Source;
use highwater::verify::statements::{Old, Subject};

use crate::run::{Said, binary, block_on, highwater};
use crate::stack::{Database, clickhouse_url, mariadb_url, postgres_url, unique};

/// Rows of the table that is compared.
const ROWS: u32 = 3000;

/// A kind of database, and how it says things.
struct Kind {
    url: fn() -> String,
    create_schema: &'static str,
    drop_schema: &'static str,
    columns: &'static str,
    rows: &'static str,
    types: &'static str,
}

const MARIADB: Kind = Kind {
    url: mariadb_url,
    create_schema: "CREATE DATABASE {schema}",
    drop_schema: "DROP DATABASE {schema}",
    columns: "id BIGINT UNSIGNED PRIMARY KEY, name VARCHAR(50), code CHAR(5), price DECIMAL(12, 4), ratio DOUBLE, single FLOAT,
        born DATE, made DATETIME(6), seen TIMESTAMP(3) NULL, clock TIME(6), flag TINYINT(1), raw VARBINARY(20), doc JSON, sort ENUM('a', 'b'),
        shape POINT NULL, `odd ``name` INT",
    rows: "SELECT i, CONCAT('n', i), CONCAT('c', i % 100), i / 4, i / 7e0, i / 7e0, DATE_ADD('2020-01-01', INTERVAL i DAY),
        DATE_ADD('2026-01-01 00:00:00.123456', INTERVAL i SECOND), DATE_ADD('2026-01-01 00:00:00.789', INTERVAL i MINUTE), SEC_TO_TIME(i) + INTERVAL 0.5 SECOND,
        i % 2, CHAR(i % 256, 0, 255), CONCAT('{\"a\":', i, ',\"b\":[1,null]}'), IF(i % 2, 'a', 'b'), NULL, -i FROM numbers",
    types: "",
};

const POSTGRES: Kind = Kind {
    url: postgres_url,
    create_schema: "CREATE SCHEMA {schema}",
    drop_schema: "DROP SCHEMA {schema} CASCADE",
    columns: "id BIGINT PRIMARY KEY, name VARCHAR(50), code CHAR(5), price NUMERIC(12, 4), ratio DOUBLE PRECISION, single REAL,
        born DATE, made TIMESTAMP(6), seen TIMESTAMPTZ(3), clock TIME(6), flag BOOLEAN, raw BYTEA, doc JSONB, sort {schema}.ab,
        shape POINT, \"odd `name\" INT, words TEXT[], uid UUID",
    rows: "SELECT i, 'n' || i, 'c' || i % 100, i::numeric / 4, i::float8 / 7, (i::float8 / 7)::real, DATE '2020-01-01' + i,
        TIMESTAMP '2026-01-01 00:00:00.123456' + i * INTERVAL '1 second', TIMESTAMPTZ '2026-01-01 00:00:00.789+00' + i * INTERVAL '1 minute',
        TIME '00:00:00.5' + i * INTERVAL '1 second', i % 2 = 1, set_byte('\\x0000ff', 0, i % 256), jsonb_build_object('b', json_build_array(1, null), 'a', i),
        (CASE WHEN i % 2 = 1 THEN 'a' ELSE 'b' END)::{schema}.ab, NULL, -i, ARRAY['x', 'y' || i], ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid FROM numbers",
    types: "CREATE TYPE {schema}.ab AS ENUM ('a', 'b')",
};

/// A database in the source and one in ClickHouse.
struct Shop {
    kind: &'static Kind,
    schema: String,
    connection: AnyConnection,
    copy: Database,
}

impl Drop for Shop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.execute(self.kind.drop_schema);
        }
    }
}

impl Shop {
    fn new(kind: &'static Kind) -> Self {
        sqlx::any::install_default_drivers();
        let connection = block_on(AnyConnection::connect(&(kind.url)())).unwrap();
        let mut shop = Self { kind, schema: unique("verify"), connection, copy: Database::new("verify") };
        shop.execute(kind.create_schema);
        shop.copy.ask("CREATE DATABASE {db}");
        let session =
            if kind.url == mariadb_url as fn() -> String { "SET time_zone = '+00:00'" } else { "SET TIME ZONE 'UTC'" };
        shop.execute(session);
        shop
    }

    fn execute(&mut self, sql: &str) {
        let sql = sql.replace("{schema}", &self.schema);
        block_on(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone())).execute(&mut self.connection))
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Numbers from 1 in both dialects.
    fn numbers(rows: u32) -> String {
        format!("WITH RECURSIVE digits AS (SELECT 0 AS d UNION ALL SELECT d + 1 FROM digits WHERE d < 9),
            numbers AS (SELECT 1 + o.d + 10 * t.d + 100 * h.d + 1000 * m.d AS i FROM digits o, digits t, digits h, digits m
                        WHERE o.d + 10 * t.d + 100 * h.d + 1000 * m.d < {rows})")
    }

    /// A table with a column of every type, and its mirror, which are equal.
    fn wide(&mut self) {
        if !self.kind.types.is_empty() {
            self.execute(self.kind.types);
        }
        self.execute(&format!("CREATE TABLE {{schema}}.wide ({})", self.kind.columns));
        self.execute(&format!("INSERT INTO {{schema}}.wide {} {}", Self::numbers(ROWS), self.kind.rows));
        let (more_columns, more) = match self.kind.types {
            "" => ("", ""),
            _ => (
                ", words Array(Nullable(String)), uid String",
                ", ['x', 'y' || toString(i)], '00000000-0000-0000-0000-' || leftPad(toString(i), 12, '0')",
            ),
        };
        // Debezium keeps the blanks of PostgreSQL's char(n), MySQL has none.
        let code = if self.kind.types.is_empty() {
            "'c' || toString(i % 100)"
        } else {
            "rightPad('c' || toString(i % 100), 5, ' ')"
        };
        self.copy.ask(&format!("CREATE TABLE {{db}}.wide_versions (id Int64, name Nullable(String), code Nullable(String), price Nullable(Decimal(20, 6)), ratio Nullable(Float64),
            single Nullable(Float32), born Nullable(Date32), made Nullable(DateTime64(6, 'UTC')), seen Nullable(DateTime64(3, 'UTC')), clock Nullable(Int64), flag Nullable(Bool),
            raw Nullable(String), doc Nullable(String), sort LowCardinality(Nullable(String)), shape Nullable(String), `odd ``name` Nullable(Int32){more_columns}, _version UInt64, _is_deleted UInt8)
            ENGINE = ReplacingMergeTree(_version, _is_deleted) ORDER BY id").replace("`odd ``name`", "`odd \\`name`"));
        let shown = "* EXCEPT (_version, _is_deleted)";
        self.copy.ask(&format!("CREATE VIEW {{db}}.wide AS SELECT {shown} FROM {{db}}.wide_versions FINAL"));
        self.copy.ask(&format!("INSERT INTO {{db}}.wide_versions SELECT number + 1 AS i, 'n' || toString(i), {code}, toDecimal64(i, 4) / 4, i / 7, toFloat32(i / 7),
            toDate32('2020-01-01') + i, toDateTime64('2026-01-01 00:00:00.123456', 6, 'UTC') + i, toDateTime64('2026-01-01 00:00:00.789', 3, 'UTC') + i * 60,
            i * 1000000 + 500000, i % 2 = 1, char(i % 256, 0, 255), '{{\"a\":' || toString(i) || ',\"b\":[1,null]}}', if(i % 2 = 1, 'a', 'b'), NULL, -i{more}, 1, 0 FROM numbers({ROWS})"));
    }

    /// Changes a row of the copy.
    fn plant(&self, version: u32, id: u32, changes: &str) {
        self.copy.ask(&format!(
            "INSERT INTO {{db}}.wide_versions SELECT * REPLACE ({version} AS _version, {changes}) FROM {{db}}.wide_versions FINAL WHERE id = {id}"
        ));
    }

    fn arguments(&self, table: &str, more: &[&str]) -> Vec<String> {
        let (source, table, mirror) =
            ((self.kind.url)(), format!("{}.{table}", self.schema), format!("{}.{table}", self.copy.0));
        let url = clickhouse_url();
        let fixed = [
            "verify",
            "--source",
            &source,
            "--clickhouse",
            &url,
            "--table",
            &table,
            "--mirror",
            &mirror,
            "--settle",
            "200ms",
        ];
        fixed.iter().chain(more).map(|it| (*it).to_owned()).collect()
    }

    fn verify(&self, table: &str, more: &[&str]) -> Said {
        highwater(self.arguments(table, more))
    }

    fn json(&self, table: &str, more: &[&str]) -> (i32, Value) {
        let said = self.verify(table, &[more, &["--format", "json"]].concat());
        let json: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
        (said.code.unwrap(), json["tables"][0].clone())
    }
}

fn differences_are_found(kind: &'static Kind) {
    let mut shop = Shop::new(kind);
    shop.wide();
    let (code, report) = shop.json("wide", &["--range-rows", "700"]);
    assert_eq!((code, &report["equal"], &report["rows"]), (0, &json!(true), &json!([])), "{report:#}");
    assert_eq!(
        (&report["source_rows"], &report["copy_rows"], &report["ranges"]),
        (&json!(ROWS), &json!(ROWS), &json!(5))
    );
    let skipped: Vec<_> = report["not_compared"].as_array().unwrap().iter().map(|it| it["column"].clone()).collect();
    assert_eq!(skipped, ["shape"]);

    // The source's own oddities first, then the copy's differences.
    shop.execute("UPDATE {schema}.wide SET name = NULL WHERE id = 7");
    shop.execute("UPDATE {schema}.wide SET name = 'Zo\u{eb} \u{1f98a}' WHERE id = 11");
    shop.copy.ask("INSERT INTO {db}.wide_versions SELECT * REPLACE (2 AS _version, 1 AS _is_deleted) FROM {db}.wide_versions WHERE id = 5");
    shop.copy.ask(
        "INSERT INTO {db}.wide_versions SELECT * REPLACE (100001 AS id) FROM (SELECT * FROM {db}.wide_versions FINAL WHERE id = 6)",
    );
    for (id, changes) in [
        (7, "'' AS name"),
        (8, "'n8 ' AS name"),
        (9, "price + 0.0001 AS price"),
        (10, "made + toIntervalMicrosecond(1) AS made"),
        (11, "'Zoe\u{308} \u{1f98a}' AS name"),
        (12, "char(12, 0, 254) AS raw"),
        (13, "ratio + 0.000000001 AS ratio"),
        (14, "'{\"a\":14,\"b\":[1]}' AS doc"),
        (15, "'N15' AS name"),
        (16, "clock + 1 AS clock"),
        (17, "NULL AS flag"),
        (18, "`odd \\`name` + 1 AS `odd \\`name`"),
        (19, "seen + toIntervalMillisecond(1) AS seen"),
        (20, "born + 1 AS born"),
        (3000, "if(sort = 'a', 'b', 'a') AS sort"),
    ] {
        shop.plant(2, id, changes);
    }
    let mut expected: Vec<(String, &str)> = [
        ("5", "missing"),
        ("100001", "extra"),
        ("7", "name"),
        ("8", "name"),
        ("9", "price"),
        ("10", "made"),
        ("11", "name"),
        ("12", "raw"),
        ("13", "ratio"),
        ("14", "doc"),
        ("15", "name"),
        ("16", "clock"),
        ("17", "flag"),
        ("18", "odd `name"),
        ("19", "seen"),
        ("20", "born"),
        ("3000", "sort"),
    ]
    .map(|(id, what)| (id.to_owned(), what))
    .to_vec();
    expected.sort();
    // The view, and the table below it, which is read with FINAL.
    for (table, ranges) in [("wide", "20000"), ("wide", "300")] {
        let (code, report) = shop.json(table, &["--range-rows", ranges]);
        assert_eq!(code, 1);
        let found: Vec<(String, &str)> = report["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let what = match row["columns"].as_array() {
                    Some(columns) if columns.len() == 1 => columns[0]["column"].as_str().unwrap(),
                    Some(columns) => panic!("{columns:?}"),
                    None => row["trouble"].as_str().unwrap(),
                };
                (row["key"]["id"].as_str().unwrap().to_owned(), what)
            })
            .collect();
        assert_eq!(found, expected, "{report:#}");
        assert_eq!((&report["missing"], &report["extra"], &report["different"]), (&json!(1), &json!(1), &json!(15)));
    }
    let said = shop.verify("wide", &["--max-rows", "3"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let text = said.out.replace(&shop.schema, "shop").replace(&shop.copy.0, "copy");
    for line in [
        "shop.wide and copy.wide: DIFFERENT",
        "  1 rows missing in the copy, 1 only in the copy, 15 different",
        "    id=100001  only in the copy",
        "    … and 14 more (--max-rows)",
        "  not compared: column \"shape\" of the source: values of type point have no text that both sides agree on",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    let said = shop.verify("wide", &["--where", "id BETWEEN 100 AND 2000"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("1,901 rows in the source, 1,901 in the copy"), "{}", said.out);
    let said = shop.verify("wide", &["--max-differences", "3", "--range-rows", "300"]);
    assert!(said.code == Some(1) && said.out.contains("the search ended early"), "{said:?}");
}

#[test]
fn differences_from_mariadb() {
    differences_are_found(&MARIADB);
}

#[test]
fn differences_from_postgres() {
    differences_are_found(&POSTGRES);
}

/// Keys that databases sort differently, and keys of several columns.
fn any_keys(kind: &'static Kind) {
    let mut shop = Shop::new(kind);
    shop.execute(
        "CREATE TABLE {schema}.words (word VARCHAR(40), part INT, note VARCHAR(40), PRIMARY KEY (word, part))",
    );
    shop.execute("CREATE TABLE {schema}.pairs (a INT, b DATE, note VARCHAR(40), PRIMARY KEY (a, b))");
    let concat = "CONCAT(CASE i % 3 WHEN 0 THEN '\u{c4}' WHEN 1 THEN 'a' ELSE 'Z\u{308}' END, i, '\\')";
    let concat = if kind.types.is_empty() { concat.replace("'\\'", "'\\\\'") } else { concat.to_owned() };
    let numbers = Shop::numbers(ROWS);
    shop.execute(&format!(
        "INSERT INTO {{schema}}.words {numbers} SELECT {concat}, i % 10, CONCAT('n', i) FROM numbers"
    ));
    let date = if kind.types.is_empty() { "DATE_ADD('2026-01-01', INTERVAL i DAY)" } else { "DATE '2026-01-01' + i" };
    shop.execute(&format!("INSERT INTO {{schema}}.pairs {numbers} SELECT i % 7, {date}, CONCAT('n', i) FROM numbers"));
    shop.copy.ask("CREATE TABLE {db}.words (word String, part Int32, note Nullable(String)) ENGINE = MergeTree ORDER BY (word, part)");
    shop.copy.ask(&format!("INSERT INTO {{db}}.words SELECT multiIf(i % 3 = 0, '\u{c4}', i % 3 = 1, 'a', 'Z\u{308}') || toString(i) || '\\\\', i % 10, 'n' || toString(i) FROM (SELECT number + 1 AS i FROM numbers({ROWS}))"));
    shop.copy
        .ask("CREATE TABLE {db}.pairs (a Int32, b Date32, note Nullable(String)) ENGINE = MergeTree ORDER BY (a, b)");
    shop.copy.ask(&format!("INSERT INTO {{db}}.pairs SELECT i % 7, toDate32('2026-01-01') + i, 'n' || toString(i) FROM (SELECT number + 1 AS i FROM numbers({ROWS}))"));
    for table in ["words", "pairs"] {
        for rows in ["50", "1000", "20000"] {
            let (code, report) = shop.json(table, &["--range-rows", rows]);
            assert_eq!(
                (code, &report["source_rows"], &report["copy_rows"]),
                (0, &json!(ROWS), &json!(ROWS)),
                "{table} {report:#}"
            );
        }
        shop.copy.ask(&format!(
            "ALTER TABLE {{db}}.{table} UPDATE note = 'x' WHERE note IN ('n77', 'n2999') SETTINGS mutations_sync = 2"
        ));
        shop.copy.ask(&format!("ALTER TABLE {{db}}.{table} DELETE WHERE note = 'n1234' SETTINGS mutations_sync = 2"));
        shop.copy.ask(&format!("INSERT INTO {{db}}.{table} SELECT * FROM {{db}}.{table} WHERE note = 'n500'"));
        for rows in ["100", "20000"] {
            let (code, report) = shop.json(table, &["--range-rows", rows]);
            assert_eq!(code, 1);
            assert_eq!(
                (&report["missing"], &report["extra"], &report["different"]),
                (&json!(1), &json!(0), &json!(3)),
                "{report:#}"
            );
            let repeated: Vec<_> =
                report["rows"].as_array().unwrap().iter().filter(|row| row["trouble"] == "repeated").collect();
            assert_eq!((repeated.len(), &repeated[0]["times"]), (1, &json!(2)));
        }
    }
}

#[test]
fn any_keys_of_mariadb() {
    any_keys(&MARIADB);
}

#[test]
fn any_keys_of_postgres() {
    any_keys(&POSTGRES);
}

#[test]
fn changes_that_are_on_their_way_are_no_differences() {
    let mut shop = Shop::new(&MARIADB);
    shop.wide();
    let arguments = shop.arguments("wide", &["--range-rows", "300"]);
    let arguments: Vec<_> = arguments.iter().map(|it| if it == "200ms" { "2s" } else { it }).collect();
    let child =
        binary(&arguments).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // The copy is half a second behind.
    for round in 0..8_u32 {
        let ids: Vec<u32> = (0..20).map(|at| 1 + (round * 37 + at * 149) % ROWS).collect();
        for id in &ids {
            shop.execute(&format!("UPDATE {{schema}}.wide SET name = 'round {round}' WHERE id = {id}"));
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        for id in ids {
            shop.plant(2 + round, id, &format!("'round {round}' AS name"));
        }
    }
    let said: Said = child.wait_with_output().unwrap().into();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains(": equal"), "{said:?}");
}

#[test]
fn what_cannot_be_compared_is_said() {
    let mut shop = Shop::new(&MARIADB);
    shop.execute("CREATE TABLE {schema}.keyless (id INT)");
    shop.copy.ask("CREATE TABLE {db}.keyless (id Int32) ENGINE = MergeTree ORDER BY id");
    let said = shop.verify("keyless", &[]);
    assert!(said.code == Some(2) && said.err.contains("has no PRIMARY KEY"), "{said:?}");
    let said = shop.verify("nothing", &[]);
    assert!(said.code == Some(2) && said.err.contains("there is no table"), "{said:?}");
    let said = highwater(["verify", "--source", "mysql://root:secret@127.0.0.1:1/x", "--table", "a.b"]);
    assert!(said.code == Some(3) && said.err.contains("127.0.0.1:1") && !said.err.contains("secret"), "{said:?}");
    for url in ["oracle://x", "localhost", "mysql//root:secret@x"] {
        let said = highwater(["verify", "--source", url, "--table", "a.b"]);
        assert!(said.code == Some(2) && said.err.contains("mysql://") && !said.err.contains("secret"), "{said:?}");
    }
    let said = highwater(["verify", "--source", "mysql://x"]);
    assert!(said.code == Some(2) && said.err.contains("nothing to compare"), "{said:?}");
}

/// A table of orders and its archive, a changelog; of which three rows are not as they are in the source.
fn orders(kind: &'static Kind) -> Shop {
    let mut shop = Shop::new(kind);
    shop.execute(
        "CREATE TABLE {schema}.orders (id INT PRIMARY KEY, note VARCHAR(40), created_at TIMESTAMP NULL, extra INT)",
    );
    let made = match kind.types {
        "" => "TIMESTAMPADD(DAY, i, '2024-01-01 00:00:00')",
        _ => "TIMESTAMP '2024-01-01 00:00:00' + i * INTERVAL '1 day'",
    };
    shop.execute(&format!(
        "INSERT INTO {{schema}}.orders {} SELECT i, CONCAT('n', i), {made}, i FROM numbers",
        Shop::numbers(400)
    ));
    shop.execute("INSERT INTO {schema}.orders VALUES (1000, 'new', CURRENT_TIMESTAMP, 1)");
    shop.copy.ask("CREATE TABLE {db}.orders (id Nullable(Int32), note Nullable(String), created_at Nullable(DateTime64(6, 'UTC')), extra Nullable(Int32),
        _op LowCardinality(String), _topic String, _partition Int32, _offset Int64) ENGINE = MergeTree ORDER BY (_partition, _offset)");
    shop.copy.ask("INSERT INTO {db}.orders SELECT number + 1 AS i, if(i = 9, 'old', 'n' || toString(i)), toDateTime64('2024-01-01 00:00:00', 6, 'UTC') + i * 86400, i, 'c', 't', 0, i
        FROM numbers(400) WHERE i != 7");
    // An update of 9, which arrives, and one of 11, which the source does not have.
    shop.copy.ask(
        "INSERT INTO {db}.orders SELECT id, 'n9', created_at, extra, 'u', 't', 0, 1001 FROM {db}.orders WHERE id = 9",
    );
    shop.copy.ask(
        "INSERT INTO {db}.orders SELECT id, 'x', created_at, extra, 'u', 't', 0, 1002 FROM {db}.orders WHERE id = 11",
    );
    shop
}

const PURGE: [&str; 5] = ["--purge-archived", "--older-than", "90d", "--time-column", "created_at"];

fn purge(kind: &'static Kind) {
    let mut shop = orders(kind);
    let count = |shop: &mut Shop| {
        let sql = format!("SELECT COUNT(*) FROM {}.orders", shop.schema);
        let row = block_on(sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql)).fetch_one(&mut shop.connection));
        row.unwrap()
    };
    let said = shop.verify("orders", &PURGE);
    assert!(said.code == Some(2) && said.err.contains("--yes"), "no terminal, no --yes: {said:?}");
    let said = shop.verify("orders", &[&PURGE[..], &["--dry-run"]].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    for part in
        ["400 rows with created_at before", "398 would be deleted", "1 kept: not in the archive", "1 kept: different"]
    {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    assert_eq!(count(&mut shop), 401);
    let said = shop.verify("orders", &[&PURGE[..], &["--yes", "--batch", "37", "--pause", "1ms"]].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("398 deleted"), "{}", said.out);
    assert_eq!(count(&mut shop), 3, "7 and 11, which the archive does not have so, and 1000, which is new");
}

#[test]
fn purging_mariadb() {
    purge(&MARIADB);
}

#[test]
fn purging_postgres() {
    purge(&POSTGRES);
}

/// Between the comparison and the delete somebody changes a column, even one that the archive does not have.
fn a_row_that_changed_in_between_stays(kind: &'static Kind) {
    let mut shop = orders(kind);
    let client = ClickHouseClient::new(&clickhouse_url(), None, None).unwrap();
    let mut source = block_on(Source::connect(&(kind.url)(), None, true)).unwrap();
    let table = source.table(&format!("{}.orders", shop.schema)).unwrap();
    let described = block_on(source.describe(&table)).unwrap();
    let copy = block_on(Copy::look_up(&client, &format!("{}.orders", shop.copy.0))).unwrap();
    let ignored = ["extra".to_owned()];
    let pairing = Pairing::new(&table, &described, &copy.columns, &Origins::default(), &ignored).unwrap();
    let dialect: Dialect = source.dialect();
    let column = described.columns.iter().find(|column| column.name == "created_at").unwrap();
    let old = Old::before(dialect, &described, column, "2025-06-01 00:00:00.000000");
    let subject = Subject { table, dialect, copy, pairing, filter: None };
    let rows = block_on(source.rows(&subject.old_rows(&old, None, 5))).unwrap();
    let keys: Vec<_> = rows.iter().map(|row| vec![row[0].clone().unwrap()]).collect();
    let guards: Vec<_> = rows.iter().map(|row| row.last().unwrap().clone().unwrap()).collect();
    shop.execute("UPDATE {schema}.orders SET note = 'changed' WHERE id = 2");
    shop.execute("UPDATE {schema}.orders SET extra = extra + 1 WHERE id = 3");
    shop.execute("UPDATE {schema}.orders SET note = NULL WHERE id = 4");
    let deleted = block_on(source.execute(&subject.delete(&old, &keys, &guards))).unwrap();
    assert_eq!(deleted, 2, "1 and 5");
    let left = block_on(source.rows(&subject.old_rows(&old, None, 5))).unwrap();
    assert_eq!(left.iter().map(|row| row[0].clone().unwrap()).collect::<Vec<_>>(), ["2", "3", "4", "6", "7"]);
}

#[test]
fn a_row_of_mariadb_that_changed_in_between_stays() {
    a_row_that_changed_in_between_stays(&MARIADB);
}

#[test]
fn a_row_of_postgres_that_changed_in_between_stays() {
    a_row_that_changed_in_between_stays(&POSTGRES);
}

#[test]
fn a_live_mirror_is_not_purged_from() {
    let mut shop = Shop::new(&MARIADB);
    shop.wide();
    let arguments = ["--purge-archived", "--older-than", "1d", "--time-column", "made", "--dry-run"];
    let said = shop.verify("wide", &arguments);
    assert!(said.code == Some(2) && said.err.contains("'deletes' = 'ignore'"), "{said:?}");
    let vouched = [&arguments[..], &["--archive-keeps-deleted"]].concat();
    let said = shop.verify("wide", &vouched);
    assert!(said.code == Some(2) && said.err.contains("--ignore-column shape"), "{said:?}");
    let said = shop.verify("wide", &[&vouched[..], &["--ignore-column", "shape"]].concat());
    assert!(said.code == Some(0) && said.out.contains("3,000 would be deleted"), "{said:?}");
    let said = shop.verify(
        "wide",
        &[
            &vouched[..3],
            &["--time-column", "mdae", "--dry-run", "--archive-keeps-deleted", "--ignore-column", "shape"],
        ]
        .concat(),
    );
    assert!(said.code == Some(2) && said.err.contains("did you mean \"made\"?"), "{said:?}");
}
