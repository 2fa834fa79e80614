//! Avro on the real path: a database, Debezium with Apicurio's converter and registry, Kafka, Highwater, ClickHouse.

use sqlx::{AnyConnection, Connection, Row};

use crate::real_path::exists;
use crate::run::{Running, block_on, wait_until};
use crate::stack::{
    Database, assert_same, clickhouse_url, connect_url, kafka_brokers, mariadb_url, postgres_url, registry_url, script,
    unique,
};

/// A kind of database, and how it says things; `{name}` is the test's own database or schema.
struct Source {
    connector: &'static str,
    url: fn() -> String,
    create: &'static [&'static str],
    session: &'static str,
    drop: &'static str,
    /// All columns of all rows, as ClickHouse writes them.
    rows: &'static str,
}

const MARIADB: Source = Source {
    connector: "mariadb-sakila-avro",
    url: mariadb_url,
    create: &[
        "CREATE DATABASE {name} CHARACTER SET utf8mb4",
        "CREATE TABLE {name}.item (id INT UNSIGNED PRIMARY KEY, name VARCHAR(60) NOT NULL, price DECIMAL(20,4), many BIGINT UNSIGNED,
           day DATE, at DATETIME(6), seen TIMESTAMP(3) NULL, ok BOOLEAN NOT NULL, doc JSON)",
    ],
    session: "USE {name}",
    drop: "DROP DATABASE {name}",
    rows: "SELECT CONVERT(CONCAT_WS(CHAR(9), id, name, COALESCE(price, '\\\\N'), COALESCE(many, '\\\\N'), COALESCE(day, '\\\\N'),
             COALESCE(at, '\\\\N'), COALESCE(CONCAT(seen, '000'), '\\\\N'), ok, COALESCE(doc, '\\\\N'), COALESCE(tier, '\\\\N')) USING utf8mb4) FROM item",
};

const POSTGRES: Source = Source {
    connector: "postgres-sakila-avro",
    url: postgres_url,
    create: &[
        "CREATE SCHEMA {name}",
        "CREATE TABLE {name}.item (id BIGINT PRIMARY KEY, name VARCHAR(60) NOT NULL, price NUMERIC(20,4), many BIGINT,
           day DATE, at TIMESTAMP(6), seen TIMESTAMPTZ(3), ok SMALLINT NOT NULL, doc JSONB)",
        "ALTER TABLE {name}.item REPLICA IDENTITY FULL",
        "CREATE PUBLICATION highwater_{name} FOR TABLES IN SCHEMA {name}",
    ],
    session: "SET search_path TO {name}, public",
    drop: "DROP SCHEMA {name} CASCADE; DROP PUBLICATION highwater_{name}",
    rows: "SELECT concat_ws(chr(9), id, name, coalesce(price::text, '\\N'), coalesce(many::text, '\\N'), coalesce(day::text, '\\N'),
             coalesce(to_char(at, 'YYYY-MM-DD HH24:MI:SS.US'), '\\N'), coalesce(to_char(seen, 'YYYY-MM-DD HH24:MI:SS.US'), '\\N'), ok,
             coalesce(doc::text, '\\N'), coalesce(tier, '\\N')) FROM item",
};

fn execute(connection: &mut AnyConnection, sql: &str) {
    block_on(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(connection))
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

fn insert(connection: &mut AnyConnection, ids: std::ops::Range<i32>) {
    for id in ids {
        let row = match id % 3 {
            0 => format!("({id}, 'nothing', NULL, NULL, NULL, NULL, NULL, 0, NULL)"),
            1 => format!(
                "({id}, '漢字 ☃ {id}', -{id}.0007, {id}, '2024-02-29', '2024-06-20 16:13:20.{id:06}', '2024-06-20 16:13:20.123', 1, '[]')"
            ),
            _ => format!(
                "({id}, 'large', 9999999999999999.9999, 9223372036854775807, '1999-12-31', '1999-12-31 23:59:59.999999', '2038-01-01 00:00:00', 1, NULL)"
            ),
        };
        execute(connection, &format!("INSERT INTO item (id, name, price, many, day, at, seen, ok, doc) VALUES {row}"));
    }
}

struct Registered(String);

impl Drop for Registered {
    fn drop(&mut self) {
        script("connect.sh", &["delete", &self.0], &[]);
    }
}

/// Columns come from the registry, and so does the one that is added while the job runs.
fn mirrored(source: &Source) {
    let _ = (registry_url(), connect_url());
    let name = unique("avro").replace('-', "_");
    let of = |sql: &str| sql.replace("{name}", &name);
    sqlx::any::install_default_drivers();
    let mut connection = block_on(AnyConnection::connect(&(source.url)())).unwrap();
    source.create.iter().for_each(|sql| execute(&mut connection, &of(sql)));
    execute(&mut connection, &of(source.session));
    for sql in ["SET time_zone = '+00:00'", "SET time zone 'UTC'"] {
        let is_own = sql.contains("time_zone") == source.connector.starts_with("maria");
        if is_own {
            execute(&mut connection, sql);
        }
    }
    insert(&mut connection, 1..6);
    let slot = format!("highwater_{name}");
    let variables = [("TOPIC_PREFIX", name.as_str()), ("SOURCE_DATABASE", name.as_str()), ("SLOT_NAME", slot.as_str())];
    script("connect.sh", &["register", "--name", &name, source.connector], &variables);
    let registered = Registered(name.clone());
    wait_until("the topic is there", || exists(&format!("{name}.{name}.item")));

    let (database, folder) = (Database::new("avro"), tempfile::tempdir().unwrap());
    let query = folder.path().join("item.sql");
    let text = format!(
        "CREATE TABLE item WITH ('connector' = 'kafka', 'topic' = '{name}.{name}.item', 'properties.bootstrap.servers' = '{}',
           'format' = 'debezium-avro-confluent', 'debezium-avro-confluent.url' = '{}');
         CREATE TABLE copy WITH ('connector' = 'clickhouse', 'url' = '{}', 'table' = '{}.item');
         INSERT INTO copy SELECT * FROM item;",
        kafka_brokers(),
        registry_url(),
        clickhouse_url(),
        database.0
    );
    std::fs::write(&query, text).unwrap();
    let checkpoints = folder.path().join("checkpoints");
    let arguments = [
        "run",
        query.to_str().unwrap(),
        "--flush-interval",
        "200ms",
        "--checkpoint-dir",
        checkpoints.to_str().unwrap(),
    ];
    let running = Running::start(arguments, &folder.path().join("log"));
    wait_until("the snapshot is mirrored", || {
        database.ask("EXISTS TABLE {db}.item") == "1" && database.ask("SELECT count() FROM {db}.item") == "5"
    });
    insert(&mut connection, 6..20);
    for sql in [
        "UPDATE item SET name = 'renamed', price = 0.0001 WHERE id = 2",
        "DELETE FROM item WHERE id = 3",
        "UPDATE item SET id = 1000 WHERE id = 4",
        "ALTER TABLE item ADD COLUMN tier VARCHAR(10) DEFAULT 'basic'",
        "UPDATE item SET tier = 'gold' WHERE id = 5",
    ] {
        execute(&mut connection, sql);
    }
    insert(&mut connection, 20..30);
    execute(&mut connection, "UPDATE item SET name = concat(name, '!')");
    // Each row has been touched since the column was added, so each has come with it.
    let ask = "SELECT id, name, price, many, day, at, seen, toInt8(ok), doc, tier FROM {db}.item";
    let count = database_rows(&mut connection, "SELECT concat('', count(*)) FROM item").remove(0);
    let touched = format!("SELECT countIf(endsWith(name, '!')) = {}, count() FROM {{db}}.item", count.trim());
    wait_until("all changes are mirrored", || database.ask(&touched) == format!("1\t{}", count.trim()));
    assert_eq!(running.stop(), 0);
    assert_same(source.connector, &database.rows(ask), &database_rows(&mut connection, source.rows));
    assert_eq!(database.ask("SELECT count() FROM {db}.dead_letters"), "0");
    drop(registered);
    execute(&mut connection, &of(source.drop));
}

/// The first column, sorted.
fn database_rows(connection: &mut AnyConnection, sql: &str) -> Vec<String> {
    let rows = block_on(sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(connection))
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    let mut rows: Vec<String> = rows.iter().map(|row| row.try_get::<String, _>(0).unwrap()).collect();
    rows.sort();
    rows
}

#[test]
fn avro_of_mariadb_is_mirrored_with_a_column_that_comes_later() {
    mirrored(&MARIADB);
}

#[test]
fn avro_of_postgres_is_mirrored_with_a_column_that_comes_later() {
    mirrored(&POSTGRES);
}
