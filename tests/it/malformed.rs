//! Records that cannot be used, among good ones: the good ones are counted, the bad ones are dead letters with their
//! positions and reasons, and the job goes on.

use std::collections::BTreeMap;

use crate::run::{bounded, run};
use crate::stack::{Database, assert_same, clickhouse_url, kafka_brokers};
use crate::topic::Topic;

const START: i64 = 1_767_225_600_000;
const DAY: i64 = 86_400_000;

/// A topic that is being filled, and what is to become of each record.
struct Mixture {
    topic: Topic,
    /// By partition: the next offset, and the number of good records.
    offsets: [i64; 3],
    good: [i64; 3],
    letters: Vec<String>,
}

impl Mixture {
    fn send(&mut self, partition: i32, key: Option<&str>, value: Option<&[u8]>, reason: Option<&str>) {
        let at = partition as usize;
        self.topic.send(partition, key, value, START + self.offsets[at] * 100);
        if let Some(reason) = reason {
            self.letters.push(format!("{partition}\t{}\t{reason}", self.offsets[at]));
        }
        self.offsets[at] += 1;
    }

    fn good(&mut self, partition: i32, count: i64) {
        for _ in 0..count {
            let id = i64::from(partition) + 10 * self.good[partition as usize];
            let image = image(&id.to_string(), "1", &format!("\"{id}@example.org\""), &(START + id * 10).to_string());
            self.send(
                partition,
                Some(&format!("{{\"customer_id\":{id}}}")),
                Some(change("c", "null", &image).as_bytes()),
                None,
            );
            self.good[partition as usize] += 1;
        }
    }

    fn bad(&mut self, partition: i32, value: impl AsRef<[u8]>, reason: &str) {
        self.good(partition, 7);
        self.send(partition, Some("{\"customer_id\":1}"), Some(value.as_ref()), Some(reason));
        self.good(partition, 3);
    }
}

fn image(id: &str, store: &str, email: &str, create_date: &str) -> String {
    format!(
        "{{\"customer_id\":{id},\"store_id\":{store},\"first_name\":\"A\",\"email\":{email},\"create_date\":{create_date}}}"
    )
}

fn change(op: &str, before: &str, after: &str) -> String {
    format!(
        "{{\"before\":{before},\"after\":{after},\"source\":{{\"ts_ms\":{START},\"table\":\"customer\"}},\"op\":\"{op}\",\"ts_ms\":{START}}}"
    )
}

#[test]
fn good_records_are_counted_and_bad_ones_kept_with_their_reasons() {
    let topic = Topic::create("malformed", 3);
    let mut mixture = Mixture { topic, offsets: [0; 3], good: [0; 3], letters: Vec::new() };
    let (now, far) = (START.to_string(), (START + 3 * DAY).to_string());
    let row = |id: &str, store: &str, email: &str, time: &str| change("c", "null", &image(id, store, email, time));
    let fine = row("5", "1", "null", &now);
    // Not JSON.
    mixture.bad(0, "not json", "malformed");
    mixture.bad(1, "", "malformed");
    mixture.bad(2, &fine[..fine.len() / 2], "malformed");
    mixture.bad(0, format!("{fine}}}"), "malformed");
    mixture.bad(1, "[1, 2]", "malformed");
    mixture.bad(
        2,
        [br#"{"before":null,"after":{"customer_id":1,"email":""#.as_slice(), b"\xff\xfe", br#""},"op":"c"}"#].concat(),
        "malformed",
    );
    mixture.bad(0, [0, 0, 0, 0, 1, 2, 3], "malformed");
    // Wrong types.
    mixture.bad(0, row("5", "\"north\"", "null", &now), "wrong_type");
    mixture.bad(1, row("5", "99999", "null", &now), "wrong_type");
    mixture.bad(2, row("5", "1", "null", "\"yesterday\""), "wrong_type");
    mixture.bad(0, row("1.5", "1", "null", &now), "wrong_type");
    mixture.bad(1, row("{}", "1", "null", &now), "wrong_type");
    // Missing fields.
    mixture.bad(2, row("null", "1", "null", &now), "missing_field");
    mixture.bad(0, change("c", "null", "{\"store_id\":1}"), "missing_field");
    mixture.bad(1, change("c", "null", "null"), "missing_field");
    mixture.bad(2, change("d", "null", "null"), "missing_field");
    mixture.bad(0, fine.replace("\"op\":\"c\",", ""), "missing_field");
    mixture.bad(1, "{}", "missing_field");
    mixture.bad(2, change("x", "null", &image("5", "1", "null", &now)), "malformed");
    // No value: with a key it is the end of a deleted row, without one it is nothing.
    mixture.good(0, 1);
    mixture.send(0, Some("{\"customer_id\":77}"), None, None);
    mixture.send(1, None, None, Some("null_value"));
    // Too large to be looked at.
    mixture.bad(2, row("5", "1", &format!("\"{}\"", "x".repeat(5_000_000)), &now), "too_large");
    // These are rows, which the changelog keeps, but they belong to no window.
    mixture.bad(0, row("1000001", "1", "null", &far), "future_event_time");
    mixture.bad(1, row("1000002", "1", "null", "null"), "no_event_time");
    // On this one the expression of one query fails; the others have it.
    mixture.send(
        2,
        Some("{}"),
        Some(row("1000003", "1", "null", &(START + 5_000).to_string()).as_bytes()),
        Some("expression_failed"),
    );
    (0..3).for_each(|partition| mixture.good(partition, 50));
    mixture.topic.flush();

    let database = Database::new("malformed");
    let to = |table: &str| {
        format!("'connector' = 'clickhouse', 'url' = '{}', 'table' = '{}.{table}'", clickhouse_url(), database.0)
    };
    let source = |name: &str, more: &str| {
        format!(
            "CREATE TABLE {name} (
               customer_id INT, store_id SMALLINT, email STRING, create_date TIMESTAMP(3),
               PRIMARY KEY (customer_id), WATERMARK FOR create_date AS create_date - INTERVAL '1' DAY
             ) WITH ('connector' = 'kafka', 'topic' = '{}', 'properties.bootstrap.servers' = '{}', 'format' = 'debezium-json'{more});",
            mixture.topic.name,
            kafka_brokers()
        )
    };
    let windows = "SELECT window_start, count(*) AS n, sum(customer_id) AS ids FROM TUMBLE(CHANGES(customer), create_date, INTERVAL '10' SECOND) GROUP BY window_start, window_end";
    let text = format!(
        "{} CREATE TABLE changes WITH ({}); CREATE TABLE mirror WITH ({}); CREATE TABLE windows WITH ({}); CREATE TABLE ratios WITH ({});
         INSERT INTO changes SELECT * FROM CHANGES(customer);
         INSERT INTO mirror SELECT * FROM customer;
         INSERT INTO windows {windows};
         INSERT INTO ratios SELECT customer_id, 100 / (customer_id - 1000003) AS ratio FROM CHANGES(customer);",
        source("customer", ""),
        to("changes"),
        to("mirror"),
        to("windows"),
        to("ratios")
    );
    let mut settings = bounded("malformed");
    settings.lanes = 2;
    let progress = run(&text, settings).unwrap();

    mixture.letters.sort();
    let letters = database.rows("SELECT _partition, _offset, reason FROM {db}.dead_letters");
    assert_same("dead letters", &letters, &mixture.letters);
    let mut by_reason: BTreeMap<&str, u64> = BTreeMap::new();
    mixture.letters.iter().for_each(|it| *by_reason.entry(it.rsplit('\t').next().unwrap()).or_default() += 1);
    assert_eq!(progress.dead_letters_by_reason(), by_reason);
    let ask = |sql: &str| database.ask(sql);
    assert_eq!(
        ask("SELECT countIf(message = ''), countIf(_topic != '{topic}'), countIf(_job != 'malformed'), countIf(_table != 'customer'), max(length(value)) FROM {db}.dead_letters".replace("{topic}", &mixture.topic.name).as_str()),
        "0\t0\t0\t0\t65536"
    );
    assert!(ask("SELECT message FROM {db}.dead_letters WHERE value LIKE '%yesterday%'").contains("create_date"));

    let good: i64 = mixture.good.iter().sum();
    let all = good + 3;
    assert_eq!(
        ask("SELECT count(), uniqExact(_partition, _offset), countIf(_op = 'c') FROM {db}.changes"),
        format!("{all}\t{all}\t{all}")
    );
    assert_eq!(ask("SELECT count() FROM {db}.mirror"), all.to_string());
    assert_eq!(ask("SELECT count() FROM {db}.ratios"), (all - 1).to_string());
    assert_eq!(ask("SELECT sum(n), count() = uniqExact(window_start) FROM {db}.windows"), format!("{}\t1", good + 1));
    let expected = "SELECT toStartOfInterval(create_date, INTERVAL 10 SECOND)::DateTime('UTC') AS w, count(), sum(customer_id) FROM {db}.changes WHERE customer_id NOT IN (1000001, 1000002) GROUP BY w";
    assert_same("windows", &database.rows("SELECT window_start, n, ids FROM {db}.windows"), &database.rows(expected));
    assert_eq!(ask("SELECT count() FROM {db}.windows_late"), "0");

    // The same value is fine where it is allowed.
    let big = Database::new("malformed_big");
    let text = format!(
        "{} CREATE TABLE big WITH ('connector' = 'clickhouse', 'url' = '{}', 'table' = '{}.big');
         INSERT INTO big SELECT customer_id, length(email) AS email_length FROM CHANGES(customer) WHERE length(email) > 1000000;",
        source("customer", ", 'max-record-bytes' = '6000000'"),
        clickhouse_url(),
        big.0
    );
    run(&text, bounded("malformed_big")).unwrap();
    assert_eq!(big.ask("SELECT customer_id, email_length FROM {db}.big"), "5\t5000000");
}
