//! The whole path: a shop's database, Debezium, Kafka, Highwater's binary, ClickHouse.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use data_gen::shop::{Shop, ShopConfig};
use data_gen::units::Share;
use sqlx::{AnyConnection, Connection, Row};

use crate::run::{Running, block_on, highwater, wait_until};
use crate::stack::{
    Database, assert_same, clickhouse_url, connect_url, kafka_brokers, mariadb_url, postgres_url, script, unique,
};
use crate::topic::read;

/// A kind of database, and how it says things.
pub(crate) struct Source {
    pub(crate) connector: &'static str,
    url: fn() -> String,
    /// Forgets an earlier run's shop.
    forget: &'static [&'static str],
    /// Makes a session in UTC, with the shop's tables at hand.
    session: &'static [&'static str],
    /// All columns of all customers, as ClickHouse writes them.
    customers: &'static str,
    /// Registrations per window of 5 seconds and store, from what the trigger noted.
    registrations: &'static str,
}

pub(crate) const MARIADB: Source = Source {
    connector: "mariadb-sakila",
    url: mariadb_url,
    forget: &["DROP DATABASE IF EXISTS sakila"],
    session: &["SET time_zone = '+00:00'", "USE sakila"],
    customers: "SELECT CONVERT(CONCAT_WS(CHAR(9), customer_id, store_id, first_name, last_name, COALESCE(email, '\\\\N'), address_id, IF(active, 'true', 'false'),
                  DATE_FORMAT(create_date, '%Y-%m-%d %H:%i:%s.000'), COALESCE(DATE_FORMAT(last_update, '%Y-%m-%d %H:%i:%s.000000'), '\\\\N')) USING utf8mb4) FROM customer",
    registrations: "SELECT CONVERT(CONCAT_WS(CHAR(9), FROM_UNIXTIME(FLOOR(UNIX_TIMESTAMP(created_at) / 5) * 5, '%Y-%m-%d %H:%i:%s'), store_id, COUNT(*)) USING utf8mb4)
                    FROM users_change_events WHERE event_type = 'INSERT' GROUP BY FLOOR(UNIX_TIMESTAMP(created_at) / 5), store_id",
};

pub(crate) const POSTGRES: Source = Source {
    connector: "postgres-sakila",
    url: postgres_url,
    forget: &["DROP SCHEMA IF EXISTS sakila CASCADE", "DROP PUBLICATION IF EXISTS dbz_all"],
    session: &["SET time zone 'UTC'", "SET search_path TO sakila, public"],
    customers: "SELECT concat_ws(chr(9), customer_id, store_id, first_name, last_name, coalesce(email, '\\N'), address_id, active::text,
                  to_char(create_date, 'YYYY-MM-DD HH24:MI:SS.MS'), coalesce(to_char(last_update, 'YYYY-MM-DD HH24:MI:SS.US'), '\\N')) FROM customer",
    registrations: "SELECT concat_ws(chr(9), to_char(date_bin('5 seconds', created_at, '2000-01-01'), 'YYYY-MM-DD HH24:MI:SS'), store_id, count(*))
                    FROM users_change_events WHERE event_type = 'INSERT' GROUP BY date_bin('5 seconds', created_at, '2000-01-01'), store_id",
};

impl Source {
    pub(crate) fn connect(&self) -> AnyConnection {
        sqlx::any::install_default_drivers();
        block_on(AnyConnection::connect(&(self.url)())).unwrap()
    }

    fn session(&self) -> AnyConnection {
        let mut connection = self.connect();
        self.session.iter().for_each(|sql| execute(&mut connection, sql));
        connection
    }
}

pub(crate) fn execute(connection: &mut AnyConnection, sql: &str) {
    block_on(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(connection))
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The first column, sorted.
pub(crate) fn rows(connection: &mut AnyConnection, sql: &str) -> Vec<String> {
    let rows = block_on(sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(connection))
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    let mut rows: Vec<String> = rows.iter().map(|row| row.try_get::<String, _>(0).unwrap()).collect();
    rows.sort();
    rows
}

/// A registered connector; deleted at the end.
pub(crate) struct Connector(pub(crate) String);

impl Drop for Connector {
    fn drop(&mut self) {
        script("connect.sh", &["delete", &self.0], &[]);
    }
}

/// The change events of a topic: op, customer, position. Tombstones are none.
fn events(topic: &str) -> Vec<String> {
    let mut events = Vec::new();
    read(topic, |record| {
        let Some(value) = record.value else { return };
        let value: serde_json::Value = serde_json::from_slice(value).unwrap();
        let op = value["op"].as_str().unwrap();
        let image = if op == "d" { &value["before"] } else { &value["after"] };
        events.push(format!("{op}\t{}\t{}\t{}", image["customer_id"], record.partition, record.offset));
    });
    events.sort();
    events
}

/// What ClickHouse escapes in its lines.
fn unescaped(rows: Vec<String>) -> Vec<String> {
    let mut rows: Vec<String> = rows.into_iter().map(|row| row.replace("\\'", "'").replace("\\\\", "\\")).collect();
    rows.sort();
    rows
}

/// The project's own queries, unchanged but for the prefix of the topics.
fn queries(folder: &std::path::Path, prefix: &str) -> Vec<String> {
    let copy = |name: &str| {
        let text = std::fs::read_to_string(format!("{}/queries/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let own = text.replace("'shop.sakila.", &format!("'{prefix}.sakila."));
        assert_ne!(own, text);
        std::fs::write(folder.join(name), own).unwrap();
        folder.join(name).to_str().unwrap().to_owned()
    };
    ["registrations_per_store.sql", "registrations_from_trigger.sql"].map(copy).to_vec()
}

/// Changes that no customer makes.
const BY_HAND: &[&str] = &[
    "INSERT INTO customer (customer_id, store_id, first_name, last_name, email, address_id, active, create_date)
     SELECT 900001, MIN(store_id), '漢字 ☃', 'O''Brien \"Q\" {[,:]}', NULL, MIN(address_id), TRUE, '2026-01-02 03:04:05' FROM store",
    "INSERT INTO customer (customer_id, store_id, first_name, last_name, email, address_id, active, create_date)
     SELECT 900002, MIN(store_id), 'moves', 'on', 'a@b.c', MIN(address_id), FALSE, '2026-01-02 03:04:09' FROM store",
    "INSERT INTO customer (customer_id, store_id, first_name, last_name, email, address_id, active, create_date)
     SELECT 900003, MIN(store_id), 'dies', 'and lives', '', MIN(address_id), TRUE, '2026-01-02 03:04:11' FROM store",
    "UPDATE customer SET email = NULL, active = FALSE WHERE customer_id = 900003",
    "DELETE FROM customer WHERE customer_id = 900003",
    "INSERT INTO customer (customer_id, store_id, first_name, last_name, email, address_id, active, create_date)
     SELECT 900003, MAX(store_id), 'dies', 'and lives', 'again@b.c', MIN(address_id), TRUE, '2026-01-02 03:04:11' FROM store",
    "UPDATE customer SET active = FALSE, last_name = CONCAT(last_name, ' (closed)') WHERE store_id = 2",
    "UPDATE customer SET last_update = NULL WHERE customer_id = 900001",
    // Another primary key: a delete and an insert, which the trigger does not see.
    "UPDATE customer SET customer_id = 900004 WHERE customer_id = 900002",
    "INSERT INTO customer (customer_id, store_id, first_name, last_name, email, address_id, active, create_date)
     SELECT 999999, MIN(store_id), 'the', 'last', NULL, MIN(address_id), TRUE, '2026-01-02 03:04:20' FROM store",
];

fn whole_path(source: &Source) {
    let started = Instant::now();
    let told = |what: &str| println!("{:6.1} s: {what}", started.elapsed().as_secs_f64());
    let _ = (connect_url(), kafka_brokers(), clickhouse_url());
    let mut connection = source.connect();
    source.forget.iter().for_each(|sql| execute(&mut connection, sql));
    let quiet = ShopConfig { stores: 5, updates: Share::ZERO, deletes: Share::ZERO, seed: 1 };
    let busy = ShopConfig { stores: 5, updates: Share::percent(25.0), deletes: Share::percent(8.0), seed: 2 };
    let url = (source.url)();

    // A snapshot of some rows, then a stream of changes, while the job runs.
    block_on(async {
        let mut shop = Shop::open(&url, &quiet).await.unwrap();
        for _ in 0..5 {
            shop.run_batch(20).await.unwrap();
        }
    });
    let prefix = unique(source.connector.split('-').next().unwrap());
    let variables = [("TOPIC_PREFIX", prefix.as_str())];
    script("connect.sh", &["register", "--name", &prefix, source.connector], &variables);
    let connector = Connector(prefix.clone());
    let (customers, triggered) = (format!("{prefix}.sakila.customer"), format!("{prefix}.sakila.users_change_events"));
    wait_until("the snapshot is in Kafka", || {
        [&customers, &triggered].iter().all(|topic| exists(topic) && events(topic).len() >= 100)
    });
    told("snapshot in Kafka");

    let (database, folder) = (Database::new(source.connector.split('-').next().unwrap()), tempfile::tempdir().unwrap());
    let mut arguments = vec!["run".to_owned()];
    arguments.extend(queries(folder.path(), &prefix));
    let set = [format!("KAFKA_BROKERS={}", kafka_brokers()), format!("CLICKHOUSE_URL={}", clickhouse_url())];
    for variable in set.into_iter().chain([format!("DATABASE={}", database.0), "WINDOW=5 SECONDS".to_owned()]) {
        arguments.extend(["--set".to_owned(), variable]);
    }
    let checkpoints = folder.path().join("checkpoints");
    let more = [
        "--name",
        &prefix,
        "--flush-interval",
        "200ms",
        "--checkpoint-interval",
        "1s",
        "--checkpoint-dir",
        checkpoints.to_str().unwrap(),
    ];
    arguments.extend(more.map(str::to_owned));
    let running = Running::start(&arguments, &folder.path().join("log"));
    let summary = block_on(async {
        let mut shop = Shop::open(&url, &busy).await.unwrap();
        for _ in 0..30 {
            shop.run_batch(20).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        *shop.summary()
    });
    let mut connection = source.session();
    BY_HAND.iter().for_each(|sql| execute(&mut connection, sql));
    told(&format!("{summary:?}"));

    // The last change is in Kafka, and nothing comes any more.
    let is_last = |event: &String| event.starts_with("c\t999999\t");
    let mut in_kafka = Vec::new();
    wait_until("all changes are in Kafka", || {
        let (seen, noted) = (events(&customers), events(&triggered));
        let is_quiet =
            in_kafka.len() == seen.len() + noted.len() && seen.iter().any(is_last) && noted.iter().any(is_last);
        in_kafka = seen.into_iter().chain(noted).collect();
        std::thread::sleep(Duration::from_millis(if is_quiet { 0 } else { 500 }));
        is_quiet
    });
    let expected = events(&customers);
    let ops: BTreeSet<&str> = expected.iter().map(|event| &event[..1]).collect();
    assert_eq!(ops, ["c", "d", "r", "u"].into());
    assert!(expected.len() as u64 > 100 + summary.changes());
    told(&format!("{} changes of customers in Kafka", expected.len()));
    wait_until("all changes are in ClickHouse", || {
        database.ask("EXISTS TABLE {db}.customer_changes") == "1"
            && database.ask("SELECT count() FROM {db}.customer_changes") == expected.len().to_string()
    });
    assert_eq!(running.stop(), 0);
    // And to the end, so that the last windows close.
    let said = highwater(arguments.iter().map(String::as_str).chain(["--bounded"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    told("delivered");

    assert_eq!(database.ask("SELECT count() = uniqExact(_partition, _offset) FROM {db}.customer_changes"), "1");
    assert_same(
        "changelog",
        &database.rows("SELECT _op, customer_id, _partition, _offset FROM {db}.customer_changes"),
        &expected,
    );
    let mirror = "SELECT customer_id, store_id, first_name, last_name, email, address_id, active, create_date, last_update FROM {db}.customer";
    assert_same("mirror", &unescaped(database.rows(mirror)), &rows(&mut connection, source.customers));

    // Final windows and late rows together are the registrations that the trigger noted; those of the customers' topic have
    // the row with the new key once more.
    let noted = rows(&mut connection, source.registrations);
    let together = |table: &str, more: &str| {
        let sql = format!(
            "SELECT w, store, sum(n) FROM (SELECT window_start AS w, store_id AS store, registrations AS n FROM {{db}}.{table}
             UNION ALL SELECT window_start, store_id, toInt64(sign) FROM {{db}}.{table}_late{more}) GROUP BY w, store HAVING sum(n) != 0"
        );
        database.rows(&sql)
    };
    assert_same("registrations from the trigger's table", &together("registrations_from_trigger", ""), &noted);
    let without_moved = " UNION ALL SELECT toDateTime('2026-01-02 03:04:05', 'UTC'), store_id, -1 FROM {db}.customer WHERE customer_id = 900004";
    assert_same("registrations from customers", &together("registrations_per_store", without_moved), &noted);
    let from_changes = "SELECT toStartOfInterval(create_date, INTERVAL 5 SECOND)::DateTime('UTC') AS w, store_id, count() FROM {db}.customer_changes WHERE _op IN ('c', 'r') GROUP BY w, store_id";
    assert_same(
        "registrations from the changelog",
        &together("registrations_per_store", ""),
        &database.rows(from_changes),
    );
    for table in ["registrations_per_store", "registrations_from_trigger"] {
        assert_eq!(
            database
                .ask(&format!("SELECT count() = uniqExact(window_start, store_id), count() > 5 FROM {{db}}.{table}")),
            "1\t1"
        );
    }
    assert_eq!(database.ask("SELECT count() FROM {db}.dead_letters"), "0");
    drop(connector);
    told("compared");
}

/// Whether a topic is there; asking does not create it.
pub(crate) fn exists(topic: &str) -> bool {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let mut config = rdkafka::ClientConfig::new();
    let consumer: BaseConsumer = config.set("bootstrap.servers", kafka_brokers()).create().unwrap();
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(30)).unwrap();
    metadata.topics().iter().any(|it| it.name() == topic && !it.partitions().is_empty())
}

#[test]
fn mariadb_to_clickhouse() {
    whole_path(&MARIADB);
}

#[test]
fn postgres_to_clickhouse() {
    whole_path(&POSTGRES);
}
