//! A database is mirrored while its tables change: columns added, dropped, renamed, widened, and a table that is new.

use crate::real_path::{Connector, Source, execute, rows};
use crate::run::{Running, wait_until};
use crate::stack::{Database, clickhouse_url, kafka_brokers, script, unique};

/// What is done to the tables, with a row written after each step. `{s}` stands for the schema.
const STEPS: &[&str] = &[
    "INSERT INTO {s}.items VALUES (3, 'streamed', 30, 300, 'c')",
    "ALTER TABLE {s}.items ADD COLUMN note VARCHAR(20)",
    "INSERT INTO {s}.items VALUES (4, 'with a note', 40, 400, 'd', 'n4')",
    "ALTER TABLE {s}.items DROP COLUMN dropped",
    "INSERT INTO {s}.items VALUES (5, 'without', 50, 'e', 'n5')",
    "ALTER TABLE {s}.items RENAME COLUMN old_name TO new_name",
    "INSERT INTO {s}.items VALUES (6, 'renamed', 60, 'f', 'n6')",
    "{widen}",
    "INSERT INTO {s}.items VALUES (7, 'wide', 5000000000, 'g', NULL)",
    "CREATE TABLE {s}.later (a INT, b VARCHAR(10), v DECIMAL(10, 2), PRIMARY KEY (a, b))",
    "INSERT INTO {s}.later VALUES (1, 'x', 1.50), (1, 'y', -0.01)",
    "UPDATE {s}.later SET v = 2.25 WHERE b = 'y'",
    "DELETE FROM {s}.items WHERE id = 2",
    // So that every row is as it is now.
    "UPDATE {s}.items SET qty = qty + 1",
    "INSERT INTO {s}.items VALUES (99, 'the last', 1, 'z', 'z')",
];

fn follows(source: &Source, schema: &str, create: &[&str], widen: &str) {
    let sql = |text: &str| text.replace("{widen}", widen).replace("{s}", schema);
    let mut connection = source.connect();
    create.iter().for_each(|text| execute(&mut connection, &sql(text)));
    let prefix = unique(&format!("{schema}_{}", source.connector.split('-').next().unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();

    // The project's connector, with schemas in the records.
    let settings = format!("{}/compose/connectors/{}.json", env!("CARGO_MANIFEST_DIR"), source.connector);
    let settings = std::fs::read_to_string(settings).unwrap();
    let with_schemas = settings.replace("schemas.enable\": \"false\"", "schemas.enable\": \"true\"");
    assert_ne!(with_schemas, settings);
    std::fs::write(path("connector.json"), with_schemas).unwrap();
    let variables = [("TOPIC_PREFIX", prefix.as_str()), ("SOURCE_DATABASE", schema)];
    script("connect.sh", &["register", "--name", &prefix, &path("connector.json")], &variables);
    let _connector = Connector(prefix.clone());

    let database = Database::new(schema);
    let query = format!(
        "CREATE DATABASE source WITH ('connector' = 'kafka', 'topic-pattern' = '{prefix}[.]{schema}[.].*',
           'properties.bootstrap.servers' = '{}', 'format' = 'debezium-json');
         CREATE DATABASE mirror WITH ('connector' = 'clickhouse', 'url' = '{}', 'database' = '{}')
         AS DATABASE source INCLUDING ALL TABLES;",
        kafka_brokers(),
        clickhouse_url(),
        database.0
    );
    std::fs::write(path("mirror.sql"), query).unwrap();
    let arguments = ["run", &path("mirror.sql"), "--checkpoint-dir", &path("checkpoints"), "--flush-interval", "200ms"]
        .map(str::to_owned);
    let job = Running::start(&arguments, &folder.path().join("log"));
    let exists = |table: &str| {
        let sql = format!("SELECT count() FROM system.tables WHERE database = '{{db}}' AND name = '{table}'");
        database.ask(&sql) == "1"
    };
    wait_until("the snapshot is there", || exists("items") && database.ask("SELECT count() FROM {db}.items") == "2");
    STEPS.iter().for_each(|text| execute(&mut connection, &sql(text)));
    wait_until("the last row is there", || database.ask("SELECT count() FROM {db}.items WHERE id = 99") == "1");
    wait_until("the new table is there", || {
        exists("later") && database.ask("SELECT count() FROM {db}.later WHERE v = 2.25") == "1"
    });
    assert_eq!(job.stop(), 0);

    let text = |columns: &[&str]| {
        let columns: Vec<_> = columns.iter().map(|it| format!("COALESCE(CAST({it} AS CHAR(20)), 'NULL')")).collect();
        columns.join(", ")
    };
    let items =
        format!("SELECT CONCAT_WS('|', {}) FROM {schema}.items", text(&["id", "name", "qty", "new_name", "note"]));
    let mirrored = "SELECT concat_ws('|', toString(id), ifNull(name, 'NULL'), ifNull(toString(qty), 'NULL'), ifNull(new_name, 'NULL'), ifNull(note, 'NULL')) FROM {db}.items";
    let trimmed = |rows: Vec<String>| {
        rows.into_iter().map(|row| row.split('|').map(str::trim_end).collect::<Vec<_>>().join("|")).collect::<Vec<_>>()
    };
    assert_eq!(trimmed(database.rows(mirrored)), trimmed(rows(&mut connection, &items)));
    assert_eq!(database.rows("SELECT a, b, v FROM {db}.later"), ["1\tx\t1.5", "1\ty\t2.25"]);
    // What was dropped stays.
    let kept = "SELECT count() FROM system.columns WHERE database = '{db}' AND table = 'items' AND name IN ('dropped', 'old_name')";
    assert_eq!(database.ask(kept), "2");
    assert_eq!(database.ask("SELECT toTypeName(qty) FROM {db}.items LIMIT 1"), "Nullable(Int64)");
    assert_eq!(database.ask("SELECT count() FROM {db}.dead_letters"), "0");
}

#[test]
fn of_mariadb() {
    let create = [
        "DROP DATABASE IF EXISTS changing",
        "CREATE DATABASE changing",
        "CREATE TABLE changing.items (id INT PRIMARY KEY, name VARCHAR(20) NOT NULL, qty INT, dropped INT NOT NULL, old_name VARCHAR(10))",
        "INSERT INTO changing.items VALUES (1, 'one', 10, 100, 'a'), (2, 'two', 20, 200, 'b')",
    ];
    follows(&crate::real_path::MARIADB, "changing", &create, "ALTER TABLE changing.items MODIFY COLUMN qty BIGINT");
}

#[test]
fn of_postgres() {
    let create = [
        "DROP SCHEMA IF EXISTS changing CASCADE",
        "CREATE SCHEMA changing",
        "CREATE TABLE changing.items (id INT PRIMARY KEY, name VARCHAR(20) NOT NULL, qty INT, dropped INT NOT NULL, old_name VARCHAR(10))",
        "INSERT INTO changing.items VALUES (1, 'one', 10, 100, 'a'), (2, 'two', 20, 200, 'b')",
    ];
    follows(
        &crate::real_path::POSTGRES,
        "changing",
        &create,
        "ALTER TABLE changing.items ALTER COLUMN qty TYPE BIGINT",
    );
}
