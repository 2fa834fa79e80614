//! Formats and metadata as a query sees them: captured records in, rows out.

use std::path::Path;

use crate::run::{bounded, run};
use crate::stack::{Database, clickhouse_url};

fn data(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name).display().to_string()
}

/// Runs a query that fills `{dir}/NAME.json` files, and returns these files' lines, in the order of the names.
fn outputs(text: &str, names: &[&str]) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    run(&text.replace("{dir}", folder.path().to_str().unwrap()), bounded("formats")).unwrap();
    let read = |name: &&str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    names.iter().map(read).map(|text| text.lines().map(str::to_owned).collect()).collect()
}

fn captured(columns: &str, topic: &str, options: &str) -> String {
    let path = data(&format!("debezium/{topic}.jsonl"));
    format!(
        "CREATE TABLE t ({columns}) WITH ('connector' = 'filesystem', 'records' = 'kafka', 'path' = '{path}', {options});
         CREATE TABLE out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out.json');"
    )
}

#[test]
fn unwrapped_records_are_changes_of_rows() {
    let changes = |variant: &str| {
        let columns = "a INT, b STRING, val BYTES, source_table STRING METADATA FROM 'value.source.table', PRIMARY KEY (a, b) NOT ENFORCED";
        let options = "'value.format' = 'debezium-json', 'value.debezium-json.unwrapped' = 'true'";
        let table = captured(columns, &format!("mysql_{variant}.sakila.compound_pk"), options);
        let text = format!("{table} INSERT INTO out SELECT _op, a, b, source_table, _offset FROM CHANGES(t);");
        outputs(&text, &["out.json", "out_dead_letters.json"])
    };
    let expected = [
        r#"{"_op":"r","a":1,"b":"x","source_table":"compound_pk","_offset":0}"#,
        r#"{"_op":"r","a":1,"b":"y","source_table":"compound_pk","_offset":1}"#,
        r#"{"_op":"d","a":1,"b":"y","source_table":"compound_pk","_offset":2}"#,
        r#"{"_op":"c","a":1,"b":"z","source_table":"compound_pk","_offset":3}"#,
        r#"{"_op":"d","a":1,"b":"x","source_table":"compound_pk","_offset":4}"#,
    ];
    for variant in ["unwrap", "unwraptomb"] {
        let found = changes(variant);
        assert_eq!(found[0], expected, "{variant}");
        assert_eq!(found[1], [""; 0], "{variant}");
    }
}

#[test]
fn metadata_columns_are_columns_like_any_other() {
    let columns = "customer_id INT, store_id SMALLINT,
        arrived TIMESTAMP(3) METADATA FROM 'timestamp' VIRTUAL,
        part BIGINT METADATA FROM 'partition', `offset` BIGINT METADATA, topic STRING METADATA,
        happened TIMESTAMP(0) METADATA FROM 'value.source.timestamp',
        noticed BIGINT METADATA FROM 'value.ingestion-timestamp',
        db STRING METADATA FROM 'value.source.database', pos INT METADATA FROM 'value.source.pos',
        tx STRING METADATA FROM 'value.transaction.id', op STRING METADATA FROM 'value.op',
        key STRING METADATA, headers STRING METADATA,
        PRIMARY KEY (customer_id) NOT ENFORCED,
        WATERMARK FOR arrived AS arrived - INTERVAL '5' SECOND";
    let table = captured(columns, "mariadb_json.sakila.customer", "'format' = 'debezium-json'");
    let text = format!(
        "{table} CREATE TABLE windows WITH ('connector' = 'filesystem', 'path' = '{{dir}}/windows.json');
         INSERT INTO out SELECT * FROM CHANGES(t) WHERE tx IS NOT NULL AND pos > 0 AND op = 'u';
         INSERT INTO windows SELECT window_start, db, count(*) AS n
         FROM TUMBLE(CHANGES(t), arrived, INTERVAL '1' MINUTE) GROUP BY window_start, window_end, db;"
    );
    let found = outputs(&text, &["out.json", "windows.json", "out_dead_letters.json"]);
    let first: serde_json::Value = serde_json::from_str(&found[0][0]).unwrap();
    let record = std::fs::read_to_string(data("debezium/mariadb_json.sakila.customer.jsonl")).unwrap();
    let record = record.lines().nth(first["_offset"].as_u64().unwrap() as usize).unwrap();
    let record: serde_json::Value = serde_json::from_str(record).unwrap();
    let value: serde_json::Value = serde_json::from_str(record["value"].as_str().unwrap()).unwrap();
    assert_eq!(first["topic"], "mariadb_json.sakila.customer");
    assert_eq!((&first["offset"], &first["part"]), (&record["offset"], &record["partition"]));
    assert_eq!((&first["noticed"], &first["pos"]), (&value["ts_ms"], &value["source"]["pos"]));
    assert_eq!(
        (&first["tx"], &first["op"], &first["db"]),
        (&value["transaction"]["id"], &value["op"], &value["source"]["db"])
    );
    assert_eq!(first["_transaction_id"], value["transaction"]["id"]);
    assert_eq!(first["key"], record["key"]);
    let headers: serde_json::Value = serde_json::from_str(first["headers"].as_str().unwrap()).unwrap();
    assert_eq!(headers["__debezium.context.connectorName"], "mariadb");
    let second = value["source"]["ts_ms"].as_i64().unwrap();
    assert_eq!(
        first["happened"],
        chrono::DateTime::from_timestamp_millis(second).unwrap().format("%Y-%m-%dT%H:%M:%S").to_string()
    );
    // The image before has the row's columns and no others.
    let before = first["_before"].as_object().unwrap();
    assert_eq!(before.keys().collect::<Vec<_>>(), ["customer_id", "store_id"]);
    assert_eq!(before["store_id"], value["before"]["store_id"]);
    assert!(found[1].iter().all(|line| line.contains(r#""db":"sakila""#)), "{:?}", found[1]);
    assert_eq!(found[2], [""; 0]);
}

#[test]
fn a_changelog_keeps_both_images_also_as_csv() {
    let table = captured(
        "store_id INT, address_id INT, PRIMARY KEY (store_id) NOT ENFORCED",
        "postgres_json.sakila.store",
        "'format' = 'debezium-json'",
    );
    let text = format!(
        "{table} CREATE TABLE csv WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out.csv');
         INSERT INTO csv SELECT * FROM CHANGES(t);"
    );
    let found = outputs(&text, &["out.csv"]);
    assert!(found[0][0].starts_with("store_id,address_id,_op,"), "{:?}", found[0]);
    assert!(found[0][0].ends_with("_transaction_id,_before"), "{:?}", found[0]);
    assert_eq!(found[0].len(), 3);
}

#[test]
fn one_message_of_canal_fills_logs_and_mirrors_with_all_of_its_rows() {
    let table = format!(
        "CREATE TABLE t (id INT, name STRING, weight DECIMAL(5, 2), at TIMESTAMP(3) METADATA FROM 'value.event-timestamp',
           pk ARRAY<STRING> METADATA FROM 'value.pk-names', PRIMARY KEY (id) NOT ENFORCED)
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'canal-json');
         CREATE TABLE out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out.json');
         CREATE TABLE mirror WITH ('connector' = 'filesystem', 'path' = '{{dir}}/mirror.json');",
        data("other/canal.jsonl")
    );
    let text = format!(
        "{table} INSERT INTO out SELECT id, weight, get_field(_before, 'weight') AS was, _op, _offset, pk, at FROM CHANGES(t);
         INSERT INTO mirror SELECT id, name FROM t;"
    );
    let found = outputs(&text, &["out.json", "mirror.json", "out_dead_letters.json"]);
    assert_eq!(
        found[0],
        [
            r#"{"id":101,"weight":3.14,"was":null,"_op":"c","_offset":0,"pk":["id"],"at":"2020-05-13T12:38:35"}"#,
            r#"{"id":102,"weight":8.10,"was":null,"_op":"c","_offset":0,"pk":["id"],"at":"2020-05-13T12:38:35"}"#,
            r#"{"id":103,"weight":null,"was":null,"_op":"c","_offset":0,"pk":["id"],"at":"2020-05-13T12:38:35"}"#,
            r#"{"id":101,"weight":5.17,"was":3.14,"_op":"u","_offset":1,"pk":["id"],"at":"2020-05-13T12:39:20"}"#,
            r#"{"id":102,"weight":5.17,"was":8.10,"_op":"u","_offset":1,"pk":["id"],"at":"2020-05-13T12:39:20"}"#,
            r#"{"id":102,"weight":5.17,"was":5.17,"_op":"d","_offset":3,"pk":["id"],"at":"2020-05-13T12:46:53"}"#,
            r#"{"id":null,"weight":null,"was":null,"_op":"t","_offset":4,"pk":null,"at":"2020-05-13T12:47:00"}"#,
        ]
    );
    assert_eq!(found[1].len(), 6);
    assert!(found[2].len() == 1 && found[2][0].contains("unsupported"), "{:?}", found[2]);
}

#[test]
fn records_of_maxwell_make_rows() {
    let text = format!(
        "CREATE TABLE t (id INT, name STRING, xid BIGINT METADATA FROM 'value.xid', PRIMARY KEY (id) NOT ENFORCED)
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'maxwell-json');
         CREATE TABLE out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out.json');
         INSERT INTO out SELECT id, _op, xid, _transaction_id FROM CHANGES(t) WHERE id = 111;",
        data("other/maxwell.jsonl")
    );
    assert_eq!(
        outputs(&text, &["out.json"])[0],
        [
            r#"{"id":111,"_op":"c","xid":7125,"_transaction_id":"7125"}"#,
            r#"{"id":111,"_op":"u","xid":7152,"_transaction_id":"7152"}"#,
            r#"{"id":111,"_op":"d","xid":7322,"_transaction_id":"7322"}"#,
        ]
    );
}

#[test]
fn clickhouse_keeps_both_images_headers_and_all_rows_of_a_message() {
    let database = Database::new("formats");
    let url = clickhouse_url();
    let changelog = |table: &str| {
        format!(
            "CREATE TABLE t (customer_id INT, store_id SMALLINT, email STRING, headers MAP<STRING, BYTES> METADATA, PRIMARY KEY (customer_id) NOT ENFORCED)
             WITH ('connector' = 'filesystem', 'records' = 'kafka', 'path' = '{}', 'format' = 'debezium-json');
             CREATE TABLE log WITH ('connector' = 'clickhouse', 'url' = '{url}', 'table' = '{}.{table}');
             INSERT INTO log SELECT * FROM CHANGES(t);",
            data("debezium/mysql_json.sakila.customer.jsonl"),
            database.0
        )
    };
    run(&changelog("log"), bounded("formats_log")).unwrap();
    assert_eq!(
        database.ask("SELECT type FROM system.columns WHERE database = '{db}' AND table = 'log' AND name IN ('headers', '_before', '_transaction_id') ORDER BY name"),
        "Tuple(customer_id Nullable(Int32), store_id Nullable(Int16), email Nullable(String))\nNullable(String)\nMap(String, Nullable(String))"
    );
    // Every update and delete has its image before, inserts have none; the connector provides the transactions of what it streamed.
    assert_eq!(
        database.ask("SELECT countIf(_op IN ('u', 'd') AND _before.customer_id IS NULL), countIf(_op IN ('c', 'r') AND _before.customer_id IS NOT NULL), countIf(_op = 'u' AND (_before.email IS DISTINCT FROM email OR _before.store_id != store_id)) > 0, countIf((_transaction_id IS NULL) != (_op = 'r')) FROM {db}.log"),
        "0\t0\t1\t0"
    );
    assert_eq!(database.ask("SELECT DISTINCT headers['__debezium.context.connectorName'] FROM {db}.log"), "mysql");
    // A table of before, without the new columns.
    database.ask("CREATE TABLE {db}.old AS {db}.log");
    database.ask("ALTER TABLE {db}.old DROP COLUMN _before, DROP COLUMN _transaction_id");
    run(&changelog("old"), bounded("formats_old")).unwrap();
    assert_eq!(database.ask("SELECT count() FROM {db}.old"), database.ask("SELECT count() FROM {db}.log"));

    let stock = format!(
        "CREATE TABLE t (id INT, name STRING, PRIMARY KEY (id) NOT ENFORCED)
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'canal-json');
         CREATE TABLE log WITH ('connector' = 'clickhouse', 'url' = '{url}', 'table' = '{db}.stock_log');
         CREATE TABLE mirror WITH ('connector' = 'clickhouse', 'url' = '{url}', 'table' = '{db}.stock');
         INSERT INTO log SELECT * FROM CHANGES(t);
         INSERT INTO mirror SELECT id, name FROM t;",
        data("other/canal.jsonl"),
        db = database.0
    );
    run(&stock, bounded("formats_stock")).unwrap();
    assert_eq!(database.ask("SELECT count(), uniqExact(_offset) FROM {db}.stock_log"), "7\t4");
    assert_eq!(database.ask("SELECT id, name FROM {db}.stock ORDER BY id"), "101\tscooter\n103\tnull");
}

#[test]
fn headers_of_kafka_say_what_happened_to_unwrapped_rows() {
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let topic = crate::topic::Topic::create("headers", 1);
    let producer: BaseProducer =
        rdkafka::ClientConfig::new().set("bootstrap.servers", crate::stack::kafka_brokers()).create().unwrap();
    for (op, value) in [
        ("r", Some(r#"{"id":1,"name":"a"}"#)),
        ("u", Some(r#"{"id":1,"name":"b"}"#)),
        ("d", None),
        ("c", Some(r#"{"id":1,"name":"c"}"#)),
    ] {
        let headers = OwnedHeaders::new()
            .insert(Header { key: "__op", value: Some(op) })
            .insert(Header { key: "__source_ts_ms", value: Some("1795244611000") });
        let record: BaseRecord<'_, str, str> =
            BaseRecord::to(&topic.name).partition(0).key(r#"{"id":1}"#).headers(headers).timestamp(1_795_244_611_500);
        producer.send(value.into_iter().fold(record, BaseRecord::payload)).unwrap();
    }
    producer.flush(std::time::Duration::from_secs(30)).unwrap();
    let text = format!(
        "CREATE TABLE t (id INT, name STRING, h STRING METADATA FROM 'headers', kind STRING METADATA FROM 'timestamp-type', epoch INT METADATA FROM 'leader-epoch',
           PRIMARY KEY (id) NOT ENFORCED)
         WITH ('connector' = 'kafka', 'topic' = '{}', 'properties.bootstrap.servers' = '{}', 'value.format' = 'debezium-json',
           'value.debezium-json.unwrapped' = 'true');
         CREATE TABLE out WITH ('connector' = 'filesystem', 'path' = '{{dir}}/out.json');
         INSERT INTO out SELECT _op, _source_ts, id, name, h, kind, epoch >= 0 AS has_epoch FROM CHANGES(t);",
        topic.name,
        crate::stack::kafka_brokers()
    );
    let line = |op: &str, name: &str| {
        format!(
            r#"{{"_op":"{op}","_source_ts":"2026-11-21T07:03:31Z","id":1,"name":{name},"h":"{{\"__op\":\"{op}\",\"__source_ts_ms\":\"1795244611000\"}}","kind":"CreateTime","has_epoch":true}}"#
        )
    };
    assert_eq!(
        outputs(&text, &["out.json"])[0],
        [line("r", r#""a""#), line("u", r#""b""#), line("d", "null"), line("c", r#""c""#)]
    );
}
