//! Mirrors of real databases through Debezium: every row equals its source, whatever the connector leaves out.

use serde_json::Value;
use sqlx::{AnyConnection, Connection, Row};

use crate::run::{block_on, bounded, run, wait_until, with_checkpoints};
use crate::stack::{
    Database, assert_same, clickhouse_url, connect_url, kafka_brokers, mariadb_url, postgres_url, script, unique,
};
use crate::topic::read;
use highwater::job::settings::Ending;

struct Source {
    connector: &'static str,
    /// The options of the connector that name the schema.
    include: &'static str,
    url: fn() -> String,
    create: &'static [&'static str],
    rows: &'static str,
    /// Whether events leave out large values that did not change.
    leaves_out: bool,
}

const MARIADB: Source = Source {
    connector: "mariadb-sakila",
    include: "database.include.list",
    url: mariadb_url,
    create: &[
        "DROP DATABASE IF EXISTS {schema}",
        "CREATE DATABASE {schema}",
        "CREATE TABLE {schema}.t (a INT, b VARCHAR(20), note TEXT, big TEXT, price DECIMAL(10, 2), PRIMARY KEY (a, b))",
        "CREATE TABLE {schema}.keyless (a INT, note TEXT)",
    ],
    rows: "SELECT CONVERT(CONCAT_WS(CHAR(9), a, b, COALESCE(note, '\\\\N'), COALESCE(big, '\\\\N'), COALESCE(price, '\\\\N')) USING utf8mb4) FROM {schema}.t",
    leaves_out: false,
};

const POSTGRES: Source = Source {
    connector: "postgres-sakila",
    include: "schema.include.list",
    url: postgres_url,
    create: &[
        "DROP SCHEMA IF EXISTS {schema} CASCADE",
        "CREATE SCHEMA {schema}",
        "CREATE TABLE {schema}.t (a INT, b VARCHAR(20), note TEXT, big TEXT, price DECIMAL(10, 2), PRIMARY KEY (a, b))",
        "CREATE TABLE {schema}.keyless (a INT, note TEXT)",
        "ALTER TABLE {schema}.keyless REPLICA IDENTITY FULL",
    ],
    rows: "SELECT concat_ws(chr(9), a, b, coalesce(note, '\\N'), coalesce(big, '\\N'), coalesce(price::text, '\\N')) FROM {schema}.t",
    leaves_out: true,
};

struct Live {
    schema: String,
    connection: AnyConnection,
}

impl Live {
    fn execute(&mut self, sql: &str) {
        let sql = sql.replace("{schema}", &self.schema);
        block_on(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone())).execute(&mut self.connection))
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    fn insert(&mut self, a: u32, note: &str) {
        let big = big(a);
        self.execute(&format!("INSERT INTO {{schema}}.t VALUES ({a}, 'b{a}', '{note}', '{big}', {a}.25)"));
    }

    fn rows(&mut self, sql: &str) -> Vec<String> {
        let sql = sql.replace("{schema}", &self.schema);
        let rows = block_on(sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut self.connection)).unwrap();
        let mut rows: Vec<String> = rows.iter().map(|row| row.try_get::<String, _>(0).unwrap()).collect();
        rows.sort();
        rows
    }
}

/// A text of some kilobytes that does not compress.
fn big(seed: u32) -> String {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:08x}", state >> 32)
    };
    (0..600).map(|_| next()).collect()
}

/// How many records of a kind a topic has.
fn count(topic: &str, is: impl Fn(&Value) -> bool) -> usize {
    let mut count = 0;
    read(topic, |record| {
        let value = record.value.and_then(|value| serde_json::from_slice(value).ok());
        count += usize::from(value.is_some_and(|value| is(&value)));
    });
    count
}

fn whole_path(source: &Source) {
    let _ = (connect_url(), kafka_brokers(), clickhouse_url());
    sqlx::any::install_default_drivers();
    let prefix = unique("mr");
    let connection = block_on(AnyConnection::connect(&(source.url)())).unwrap();
    let mut live = Live { schema: prefix.clone(), connection };
    source.create.iter().for_each(|sql| live.execute(sql));
    (0..40).for_each(|a| live.insert(a, "snapshot"));
    (0..20).for_each(|a| live.execute(&format!("INSERT INTO {{schema}}.keyless VALUES ({}, 'same')", a % 4)));

    let folder = tempfile::tempdir().unwrap();
    let text =
        std::fs::read_to_string(format!("{}/compose/connectors/{}.json", env!("CARGO_MANIFEST_DIR"), source.connector));
    let mut connector: Value = serde_json::from_str(&text.unwrap()).unwrap();
    connector[source.include] = prefix.clone().into();
    connector["topic.creation.default.partitions"] = "1".into();
    // PostgreSQL's default: only keys of deleted rows, and no unchanged large values.
    connector.as_object_mut().unwrap().remove("replica.identity.autoset.values");
    let file = folder.path().join("connector.json");
    std::fs::write(&file, connector.to_string()).unwrap();
    let variables = [("TOPIC_PREFIX", prefix.as_str())];
    let register = || script("connect.sh", &["register", "--name", &prefix, file.to_str().unwrap()], &variables);
    register();
    let topic = format!("{prefix}.{prefix}.t");
    let reaches = |what: &str, op: &str, rows: usize| {
        wait_until(what, || crate::real_path::exists(&topic) && count(&topic, |value| value["op"] == op) >= rows);
    };
    reaches("the snapshot is in Kafka", "r", 40);

    let database = Database::new("mr");
    let query = format!(
        "CREATE TABLE t (a INT, b STRING, note STRING, big STRING, price DECIMAL(10, 2), PRIMARY KEY (a, b) NOT ENFORCED)
         WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{0}', 'format' = 'debezium-json');
         CREATE TABLE keyless (a INT, note STRING)
         WITH ('connector' = 'kafka', 'topic' = '{prefix}.{prefix}.keyless', 'properties.bootstrap.servers' = '{0}', 'format' = 'debezium-json');
         CREATE TABLE m WITH ('connector' = 'clickhouse', 'url' = '{1}', 'table' = '{2}.m');
         CREATE TABLE k WITH ('connector' = 'clickhouse', 'url' = '{1}', 'table' = '{2}.k', 'mirror' = 'multiset');
         INSERT INTO m SELECT a, b, note, big, price FROM t;
         INSERT INTO k SELECT a, note FROM keyless;",
        kafka_brokers(),
        clickhouse_url(),
        database.0
    );
    let catch_up = || {
        let mut settings = with_checkpoints(bounded(&prefix), folder.path());
        settings.ending = Ending::UntilCaughtUp;
        run(&query, settings).unwrap();
    };
    let check = |live: &mut Live| {
        assert_same("mirror", &database.rows("SELECT a, b, note, big, price FROM {db}.m"), &live.rows(source.rows));
        let keyless = live.rows("SELECT concat(concat(a, ' '), coalesce(note, 'NULL')) FROM {schema}.keyless");
        assert_same(
            "keyless",
            &database.rows("SELECT concat(toString(a), ' ', ifNull(note, 'NULL')) FROM {db}.k"),
            &keyless,
        );
        assert_same("dead letters", &database.rows("SELECT reason, message, value FROM {db}.dead_letters"), &[]);
    };
    catch_up();
    check(&mut live);

    // Each as one transaction.
    let begin = "START TRANSACTION";
    live.execute(begin);
    live.execute("UPDATE {schema}.t SET note = 'changed' WHERE a < 20");
    live.execute("UPDATE {schema}.t SET price = 0.01 WHERE a BETWEEN 10 AND 25");
    live.execute("UPDATE {schema}.t SET a = a + 1000, note = NULL WHERE a BETWEEN 5 AND 8");
    live.execute("DELETE FROM {schema}.t WHERE a IN (1, 3, 1006, 30)");
    live.insert(3, "again");
    live.execute("UPDATE {schema}.t SET note = 'twice' WHERE a = 3");
    live.execute("UPDATE {schema}.keyless SET note = 'other' WHERE a = 1");
    live.execute("DELETE FROM {schema}.keyless WHERE a = 2");
    live.execute("COMMIT");
    live.execute(begin);
    live.execute("DELETE FROM {schema}.t WHERE a = 2");
    live.execute("ROLLBACK");
    live.insert(5000, "mark");
    reaches("the changes are in Kafka", "c", 2);
    wait_until("the mark is in Kafka", || count(&topic, |value| value["after"]["a"] == 5000) == 1);
    if source.leaves_out {
        assert!(count(&topic, |value| value["after"]["big"] == "__debezium_unavailable_value") > 20);
    }
    catch_up();
    check(&mut live);

    live.execute("TRUNCATE TABLE {schema}.t");
    (20..30).for_each(|a| live.insert(a, "after the truncate"));
    live.execute("UPDATE {schema}.t SET price = 7.75 WHERE a = 21");
    live.insert(5001, "mark");
    wait_until("the mark is in Kafka", || count(&topic, |value| value["after"]["a"] == 5001) == 1);
    catch_up();
    check(&mut live);
    let full = "SELECT count() FROM {db}.m_versions WHERE _is_deleted = 1 AND big IS NULL";
    assert_eq!(database.ask(full), "0");

    // The connector starts over: all rows once more, and changes that it has not seen.
    script("connect.sh", &["delete", "--offsets", &prefix], &[]);
    live.execute("UPDATE {schema}.t SET note = 'unseen' WHERE a = 22");
    live.insert(5002, "unseen");
    let rows = live.rows(source.rows).len();
    register();
    reaches("the second snapshot is in Kafka", "r", 40 + rows);
    catch_up();
    // A row without a key is counted once more by a second snapshot.
    assert_same("mirror", &database.rows("SELECT a, b, note, big, price FROM {db}.m"), &live.rows(source.rows));
    script("connect.sh", &["delete", &prefix], &[]);
}

#[test]
fn mariadb_is_mirrored() {
    whole_path(&MARIADB);
}

#[test]
fn postgres_is_mirrored() {
    whole_path(&POSTGRES);
}
