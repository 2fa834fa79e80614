//! The query files and connectors of the project, as they are, on the real stack.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use data_gen::kafka::{Target, ensure_topic, publish_to};
use data_gen::retail::{Kind, RetailConfig, RetailGenerator};
use data_gen::units::Share;
use sqlx::{AnyConnection, Connection};

use crate::run::{Running, Said, binary, block_on, highwater, wait_until};
use crate::stack::{
    Database, assert_same, clickhouse_url, connect_url, kafka_brokers, mariadb_url, postgres_url, registry_url, script,
    unique,
};

/// A database or schema of the test's own; dropped at the end unless the test fails.
struct Source {
    name: String,
    connection: AnyConnection,
    drop: &'static str,
}

impl Source {
    fn new(url: &str, create: &str, drop: &'static str) -> Self {
        sqlx::any::install_default_drivers();
        let connection = block_on(AnyConnection::connect(url)).unwrap();
        let mut source = Self { name: unique("pipeline"), connection, drop };
        source.execute(create);
        source
    }

    fn mariadb() -> Self {
        Self::new(&mariadb_url(), "CREATE DATABASE {s}", "DROP DATABASE {s}")
    }

    fn postgres() -> Self {
        Self::new(&postgres_url(), "CREATE SCHEMA {s}", "DROP SCHEMA {s} CASCADE")
    }

    /// Runs a statement; `{s}` stands for the schema.
    fn execute(&mut self, sql: &str) {
        let sql = sql.replace("{s}", &self.name);
        block_on(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone())).execute(&mut self.connection))
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.execute(self.drop);
        }
    }
}

/// A registered connector of one of the project's files; its name is its topics' prefix.
struct Connector {
    name: String,
    file: &'static str,
    schema: String,
}

impl Connector {
    fn register(file: &'static str, schema: &str) -> Self {
        let connector = Self { name: unique("c"), file, schema: schema.to_owned() };
        connector.again("initial");
        connector
    }

    /// Registers it anew, with another mode of snapshots.
    fn again(&self, mode: &str) {
        let variables =
            [("TOPIC_PREFIX", self.name.as_str()), ("SOURCE_DATABASE", &self.schema), ("SNAPSHOT_MODE", mode)];
        script("connect.sh", &["register", "--name", &self.name, self.file], &variables);
    }

    fn topic(&self, table: &str) -> String {
        format!("{}.{}.{table}", self.name, self.schema)
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        script("connect.sh", &["delete", &self.name], &[]);
    }
}

fn query_file(name: &str) -> String {
    format!("{}/queries/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn set(pairs: &[(&str, &str)]) -> Vec<String> {
    let own = [("KAFKA_BROKERS", kafka_brokers()), ("CLICKHOUSE_URL", clickhouse_url())];
    let given = pairs.iter().map(|(name, value)| (*name, (*value).to_owned()));
    own.into_iter().chain(given).flat_map(|(name, value)| ["--set".to_owned(), format!("{name}={value}")]).collect()
}

fn arguments(first: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    first.iter().map(|it| (*it).to_owned()).chain(set(variables)).collect()
}

#[test]
fn archive_of_two_databases() {
    let _ = (connect_url(), kafka_brokers(), clickhouse_url());
    let (mut maria, mut postgres, database) = (Source::mariadb(), Source::postgres(), Database::new("archive"));
    maria.execute("CREATE TABLE {s}.chista (id INT PRIMARY KEY, name VARCHAR(40))");
    maria.execute("INSERT INTO {s}.chista VALUES (1, 'one'), (2, 'two'), (3, NULL)");
    postgres.execute(
        "CREATE TABLE {s}.shipments (shipment_id INT PRIMARY KEY, order_id INT, date_created DATE, status VARCHAR(25))",
    );
    postgres.execute("INSERT INTO {s}.shipments VALUES (30500, 10500, '2021-01-21', 'COMPLETED'), (30501, 10501, '2021-04-21', 'COMPLETED')");
    let chista = Connector::register("mariadb-chista", &maria.name);
    let shipments = Connector::register("postgres-shipments", &postgres.name);
    let (mysql_topic, postgres_topic) = (chista.topic("chista"), shipments.topic("shipments"));
    let variables =
        [("DATABASE", database.0.as_str()), ("MYSQL_TOPIC", &mysql_topic), ("POSTGRES_TOPIC", &postgres_topic)];

    let folder = tempfile::tempdir().unwrap();
    let checkpoints = folder.path().join("checkpoints").display().to_string();
    let file = query_file("archive_shipments.sql");
    let run = arguments(
        &["run", &file, "--name", &database.0, "--checkpoint-dir", &checkpoints, "--flush-interval", "200ms"],
        &variables,
    );
    let running = Running::start(&run, &folder.path().join("log"));
    let rows = |table: &str| match database.ask(&format!("EXISTS TABLE {{db}}.{table}")).as_str() {
        "1" => database.rows(&format!("SELECT * FROM {{db}}.{table}")),
        _ => Vec::new(),
    };
    wait_until("the snapshots are archived", || rows("chista").len() == 3 && rows("shipments").len() == 2);

    maria.execute("INSERT INTO {s}.chista VALUES (4, 'four')");
    maria.execute("UPDATE {s}.chista SET name = 'zwei' WHERE id = 2");
    maria.execute("DELETE FROM {s}.chista WHERE id = 1");
    postgres.execute("INSERT INTO {s}.shipments VALUES (30502, 10502, '2022-02-03', 'PENDING')");
    postgres.execute("UPDATE {s}.shipments SET status = 'RETURNED' WHERE shipment_id = 30500");
    postgres.execute("DELETE FROM {s}.shipments WHERE shipment_id = 30501");
    let expected_chista = ["2\tzwei", "3\t\\N", "4\tfour"];
    let expected_shipments = ["30500\t10500\t2021-01-21\tRETURNED", "30502\t10502\t2022-02-03\tPENDING"];
    wait_until("the changes are archived", || {
        rows("chista") == expected_chista && rows("shipments") == expected_shipments
    });

    // All rows come again, and replace themselves.
    let versions = || database.ask("SELECT max(_version) FROM {db}.chista_versions");
    let before = versions();
    chista.again("always");
    shipments.again("always");
    chista_restarts(&chista);
    wait_until("the second snapshot is archived", || versions() != before);
    assert_eq!(rows("chista"), expected_chista);
    assert_eq!(rows("shipments"), expected_shipments);

    // And `verify` says so, of each source.
    for (url, table) in
        [(mariadb_url(), format!("{}.chista", maria.name)), (postgres_url(), format!("{}.shipments", postgres.name))]
    {
        let said =
            highwater(arguments(&["verify", &file, "--source", &url, "--table", &table, "--settle", "1s"], &variables));
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.out.contains(": equal"), "{said:?}");
    }
    assert_eq!(running.stop(), 0);

    // Into tables that somebody made before.
    let own = Database::new("archive_own");
    own.ask("CREATE DATABASE {db}");
    own.ask("CREATE TABLE {db}.chista (id Int64, name Nullable(String), more String DEFAULT 'x', _version UInt64, _is_deleted UInt8) ENGINE = ReplacingMergeTree(_version, _is_deleted) ORDER BY id");
    let variables = [("DATABASE", own.0.as_str()), variables[1], variables[2]];
    let said = highwater(arguments(&["run", &file, "--bounded"], &variables));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(own.rows("SELECT id, name, more FROM {db}.chista FINAL"), ["2\tzwei\tx", "3\t\\N\tx", "4\tfour\tx"]);
    assert_eq!(own.rows("SELECT * FROM {db}.shipments"), expected_shipments);
}

/// Rows are purged from the source while the job runs: Debezium sends the deletes, and the archive keeps the rows.
#[test]
fn purging_what_a_live_archive_has() {
    let _ = (connect_url(), kafka_brokers(), clickhouse_url());
    let (mut source, database) = (Source::mariadb(), Database::new("purge"));
    source.execute("CREATE TABLE {s}.chista (id INT PRIMARY KEY, name VARCHAR(40), made DATETIME(3))");
    source.execute("INSERT INTO {s}.chista VALUES (1, 'old', '2024-01-01'), (2, 'older', '2023-01-01'), (3, 'new', UTC_TIMESTAMP(3))");
    let connector = Connector::register("mariadb-chista", &source.name);
    let query = format!(
        "CREATE TABLE chista (id BIGINT, name STRING, made TIMESTAMP(3), PRIMARY KEY (id) NOT ENFORCED)
         WITH ('connector' = 'kafka', 'topic' = '{}', 'properties.bootstrap.servers' = '${{KAFKA_BROKERS}}', 'format' = 'debezium-json');
         CREATE TABLE archive WITH ('connector' = 'clickhouse', 'url' = '${{CLICKHOUSE_URL}}', 'table' = '${{DATABASE}}.chista', 'deletes' = 'ignore');
         INSERT INTO archive SELECT * FROM chista;",
        connector.topic("chista")
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive.sql").display().to_string();
    fs::write(&file, &query).unwrap();
    let checkpoints = folder.path().join("checkpoints").display().to_string();
    let variables = [("DATABASE", database.0.as_str())];
    let run = ["run", &file, "--name", &database.0, "--checkpoint-dir", &checkpoints, "--flush-interval", "200ms"];
    let running = Running::start(arguments(&run, &variables), &folder.path().join("log"));
    let names = || match database.ask("EXISTS TABLE {db}.chista").as_str() {
        "1" => database.rows("SELECT name FROM {db}.chista"),
        _ => Vec::new(),
    };
    wait_until("the rows are archived", || names() == ["new", "old", "older"]);
    let url = mariadb_url();
    let purge = [
        "verify",
        &file,
        "--source",
        &url,
        "--purge-archived",
        "--older-than",
        "90d",
        "--time-column",
        "made",
        "--yes",
    ];
    let said = highwater(arguments(&purge, &variables));
    assert!(said.code == Some(0) && said.out.contains("2 deleted"), "{said:?}");
    // The deletes come before this row.
    source.execute("INSERT INTO {s}.chista VALUES (4, 'last', UTC_TIMESTAMP(3))");
    wait_until("the last row is archived", || names().contains(&"last".to_owned()));
    source.execute("UPDATE {s}.chista SET name = 'newer' WHERE id = 3");
    wait_until("updates go on", || names().contains(&"newer".to_owned()));
    assert_eq!(names(), ["last", "newer", "old", "older"]);
    assert_eq!(running.stop(), 0);
}

/// A changed configuration restarts the connector; a restart makes sure of it.
fn chista_restarts(connector: &Connector) {
    script("connect.sh", &["restart", &connector.name], &[]);
}

#[test]
fn log_of_changes() {
    let _ = (connect_url(), kafka_brokers(), clickhouse_url());
    let (mut source, database) = (Source::postgres(), Database::new("changes"));
    source.execute("CREATE TABLE {s}.people (id INT PRIMARY KEY, name TEXT, created_at TIMESTAMP(6))");
    source.execute("INSERT INTO {s}.people SELECT i, 'n' || i, TIMESTAMP '2026-01-01 10:00:00.123456' + i * INTERVAL '1 hour' FROM generate_series(1, 50) i");
    let connector = Connector::register("postgres-people", &source.name);
    let folder = tempfile::tempdir().unwrap();
    // Settings from a file; those of the environment go before it.
    let settings = format!(
        "# of the test\nKAFKA_BROKERS={}\nexport CLICKHOUSE_URL='{}'\nDATABASE=\"{}\"\nTOPIC={}  # Debezium's\nHIGHWATER_LOG=debug\n",
        kafka_brokers(),
        clickhouse_url(),
        database.0,
        connector.topic("people")
    );
    fs::write(folder.path().join(".env"), settings).unwrap();
    let log = folder.path().join("log");
    let command = |arguments: &[&str]| {
        let mut command = binary(arguments);
        command.current_dir(folder.path());
        ["KAFKA_BROKERS", "CLICKHOUSE_URL", "DATABASE", "TOPIC"].iter().for_each(|name| {
            command.env_remove(name);
        });
        command
    };
    let file = query_file("changes_log.sql");
    let start = |file: &str, name: &str| {
        let output = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let arguments = ["run", file, "--name", name, "--flush-interval", "100ms"];
        command(&arguments).stdout(Stdio::null()).stderr(output).spawn().unwrap()
    };
    let mut child = start(&file, &database.0);
    let count = |condition: &str| match database.ask("EXISTS TABLE {db}.changes").as_str() {
        "1" => database.ask(&format!("SELECT count() FROM {{db}}.changes WHERE {condition}")),
        _ => String::new(),
    };
    wait_until("the table is there", || !count("1").is_empty());
    source.execute("UPDATE {s}.people SET name = name || '!' WHERE id <= 30");
    source.execute("INSERT INTO {s}.people VALUES (51, 'new', '2026-02-03 04:05:06')");
    source.execute("DELETE FROM {s}.people WHERE id = 50");
    source.execute("UPDATE {s}.people SET name = 'last' WHERE id = 51");
    wait_until("the updates are there", || count("name = 'last'") == "1");
    // Killed, and started again: nothing is lost, nothing comes twice.
    child.kill().unwrap();
    child.wait().unwrap();
    source.execute("UPDATE {s}.people SET name = 'after' WHERE id = 1");
    let mut child = start(&file, &database.0);
    wait_until("the update after the kill is there", || count("name = 'after'") == "1");
    assert_eq!(database.ask("SELECT count(), uniqExact(_partition, _offset), groupUniqArray(op), min(ts) > now() - 600 FROM {db}.changes"), "32\t32\t['u']\t1");
    assert_eq!(database.ask("SELECT name, created_at FROM {db}.changes WHERE id = 7"), "n7!\t2026-01-01 17:00:00");
    let created =
        database.ask("SELECT create_table_query FROM system.tables WHERE database = '{db}' AND name = 'changes'");
    for part in [
        "`id` UInt32",
        "`name` String",
        "`created_at` DateTime",
        "`op` String",
        "`ts` DateTime",
        "ENGINE = MergeTree",
        "ORDER BY (id, ts)",
    ] {
        assert!(created.contains(part), "{part}: {created}");
    }
    assert!(fs::read_to_string(&log).unwrap().contains("DEBUG"), "HIGHWATER_LOG of the file");
    child.kill().unwrap();
    child.wait().unwrap();

    // The last ten rows, to look at.
    let sql = format!("SELECT id, name, op FROM {}.changes ORDER BY ts DESC, _offset DESC LIMIT 10", database.0);
    let said: Said = command(&["query", &sql]).output().unwrap().into();
    assert!(said.code == Some(0) && said.out.contains("│  1 │ after │ u  │"), "{said:?}");
    let said: Said = command(&["query", "--file", &file, "--format", "json", &sql]).output().unwrap().into();
    assert!(
        said.out.lines().count() == 10 && said.out.starts_with("{\"id\":1,\"name\":\"after\",\"op\":\"u\"}\n"),
        "{said:?}"
    );
    let said: Said = command(&["query", "SELECT nothing"]).output().unwrap().into();
    assert!(said.code == Some(3) && said.err.contains("nothing"), "{said:?}");

    // With one edit, everything.
    let all = fs::read_to_string(&file)
        .unwrap()
        .replace("WHERE _op = 'u'", "WHERE _op IN ('c', 'u', 'd')")
        .replace(".changes'", ".all_changes'");
    fs::write(folder.path().join("all.sql"), all).unwrap();
    let said: Said = command(&["run", "all.sql", "--bounded"]).output().unwrap().into();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(database.rows("SELECT op, count() FROM {db}.all_changes GROUP BY op"), ["c\t1", "d\t1", "u\t32"]);
    assert_eq!(database.ask("SELECT name FROM {db}.all_changes WHERE op = 'd'"), "n50");
}

#[test]
fn sales_and_stock() {
    let (brokers, database) = (kafka_brokers(), Database::new("retail"));
    let (sales, warehouse) = (unique("sales"), unique("warehouse"));
    let target = Target { brokers, topic: sales.clone(), properties: Vec::new() };
    for topic in [&sales, &warehouse] {
        block_on(ensure_topic(&Target { topic: topic.clone(), ..target.clone() }, 4)).unwrap();
    }
    let config = RetailConfig {
        total: 50_000,
        any_iso: true,
        late: Share::percent(1.0),
        products: 50,
        seed: 3,
        ..RetailConfig::default()
    };
    publish_to(&target, &[&sales, &warehouse], &mut RetailGenerator::new(config.clone()).unwrap(), None, |_| {
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();

    // What must come out, from the same generator.
    let (mut revenue, mut stock) = (BTreeMap::new(), BTreeMap::new());
    let (mut sold, mut moved) = (0_u32, 0_u32);
    let mut events = RetailGenerator::new(config).unwrap();
    while let Some(event) = events.next_event() {
        let minute = event.event_time_ms.div_euclid(60_000) * 60;
        match event.kind {
            Kind::Sale => {
                sold += 1;
                let (sales, cents) = revenue.entry((minute, event.place_id)).or_insert((0_i64, 0_i64));
                *sales += 1;
                *cents += event.cents;
            }
            Kind::Movement => {
                moved += 1;
                *stock.entry((minute, event.product_id)).or_insert(0_i64) += i64::from(event.pieces);
            }
        }
    }
    let variables = [("DATABASE", database.0.as_str()), ("SALES_TOPIC", &sales), ("WAREHOUSE_TOPIC", &warehouse)];
    let said = highwater(arguments(&["run", &query_file("sales_and_stock.sql"), "--bounded"], &variables));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(database.ask("SELECT count(), uniqExact(sale_id) FROM {db}.sales"), format!("{sold}\t{sold}"));
    assert_eq!(
        database.ask("SELECT count(), uniqExact(movement_id) FROM {db}.stock_movements"),
        format!("{moved}\t{moved}")
    );
    assert_eq!(database.ask("SELECT count() FROM {db}.dead_letters"), "0");
    for table in ["sales", "stock_movements"] {
        let created = format!(
            "SELECT partition_key, sorting_key FROM system.tables WHERE database = '{{db}}' AND name = '{table}'"
        );
        assert_eq!(database.ask(&created), "toYYYYMM(event_time)\tevent_time, product_id");
    }
    // Windows and late rows together are everything.
    let mut expected: Vec<String> = revenue
        .iter()
        .map(|((minute, store), (sales, cents))| format!("{minute}\t{store}\t{sales}\t{cents}"))
        .collect();
    expected.sort();
    let found = database.rows(
        "SELECT w, store_id, sum(n), sum(c) FROM (
           SELECT toUnixTimestamp(window_start) AS w, store_id, toInt64(sales) AS n, toInt64(revenue * 100) AS c FROM {db}.revenue_per_store
           UNION ALL SELECT toUnixTimestamp(window_start), store_id, 1, toInt64(quantity * unit_price * 100) FROM {db}.revenue_per_store_late)
         GROUP BY w, store_id",
    );
    assert_same("revenue", &found, &expected);
    let mut expected: Vec<String> =
        stock.iter().map(|((minute, product), pieces)| format!("{minute}\t{product}\t{pieces}")).collect();
    expected.sort();
    let found = database.rows(
        "SELECT w, product_id, sum(c) FROM (
           SELECT toUnixTimestamp(window_start) AS w, product_id, toInt64(change) AS c FROM {db}.stock_per_product
           UNION ALL SELECT toUnixTimestamp(window_start), product_id, change FROM {db}.stock_per_product_late)
         GROUP BY w, product_id",
    );
    assert_same("stock", &found, &expected);
}

/// Inserts, updates and deletes in MariaDB are in ClickHouse soon, through Avro and a registry.
#[test]
#[ignore = "until the Avro formats are there"]
fn avro_mirror() {
    let _ = (connect_url(), kafka_brokers(), clickhouse_url());
    let registry = registry_url();
    let (mut source, database) = (Source::mariadb(), Database::new("avro"));
    source.execute("CREATE TABLE {s}.store (store_id INT UNSIGNED PRIMARY KEY, address_id INT UNSIGNED, last_update TIMESTAMP NULL)");
    source.execute(
        "CREATE TABLE {s}.customer (customer_id INT UNSIGNED PRIMARY KEY, store_id INT UNSIGNED, first_name VARCHAR(45), last_name VARCHAR(45),
         email VARCHAR(50), active BOOLEAN, create_date DATETIME(3), last_update TIMESTAMP(3) NULL)",
    );
    source.execute("INSERT INTO {s}.store VALUES (1, 10, '2026-01-02 03:04:05')");
    source.execute("INSERT INTO {s}.customer VALUES (1, 1, 'Zo\u{eb}', '\u{6f22}', NULL, TRUE, '2026-01-02 03:04:05.678', '2026-01-02 03:04:06.789')");
    let connector = Connector::register("mariadb-sakila-avro", &source.name);
    let folder = tempfile::tempdir().unwrap();
    let file = own_copy(folder.path(), "mysql_to_clickhouse_avro.sql", &source.name);
    let variables =
        [("DATABASE", database.0.as_str()), ("TOPIC_PREFIX", &connector.name), ("SCHEMA_REGISTRY", &registry)];
    let checkpoints = folder.path().join("checkpoints").display().to_string();
    let run = arguments(&["run", &file, "--name", &database.0, "--checkpoint-dir", &checkpoints], &variables);
    let running = Running::start(&run, &folder.path().join("log"));
    let rows = || match database.ask("EXISTS TABLE {db}.customer").as_str() {
        "1" => database.rows("SELECT customer_id, email, active FROM {db}.customer"),
        _ => Vec::new(),
    };
    wait_until("the snapshot is there", || rows() == ["1\t\\N\ttrue"]);
    source.execute(
        "INSERT INTO {s}.customer SELECT 2, store_id, 'b', 'c', 'd', FALSE, create_date, last_update FROM {s}.customer",
    );
    source.execute("UPDATE {s}.customer SET email = 'e@example.com' WHERE customer_id = 1");
    wait_until("the changes are there", || rows() == ["1\te@example.com\ttrue", "2\td\tfalse"]);
    source.execute("DELETE FROM {s}.customer WHERE customer_id = 2");
    wait_until("the delete is there", || rows() == ["1\te@example.com\ttrue"]);
    assert_eq!(running.stop(), 0);
    for table in ["customer", "store"] {
        let said = highwater(arguments(
            &[
                "verify",
                &file,
                "--source",
                &mariadb_url(),
                "--table",
                &format!("{}.{table}", source.name),
                "--settle",
                "1s",
            ],
            &variables,
        ));
        assert_eq!(said.code, Some(0), "{said:?}");
    }
}

/// A query file with another database than sakila.
fn own_copy(folder: &Path, name: &str, schema: &str) -> String {
    let text = fs::read_to_string(query_file(name)).unwrap().replace("}.sakila.", &format!("}}.{schema}."));
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}
