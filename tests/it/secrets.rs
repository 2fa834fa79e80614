//! Passwords are in no log, error, explanation, checkpoint, status or metric, whatever fails.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::run::{Said, binary, send_signal, wait_until};
use crate::stack::{Database, clickhouse_url, kafka_brokers};
use crate::topic::Topic;

/// In all that must not be shown.
const PLANTED: &str = "pl4nted";

/// A query whose tables have secrets in all places where some may be.
fn query(topic: &str, brokers: &str, clickhouse: &str, database: &str) -> String {
    format!(
        "CREATE TABLE t (id INT, at TIMESTAMP(3), PRIMARY KEY (id) NOT ENFORCED, WATERMARK FOR at AS at - INTERVAL '1' SECOND) WITH (
           'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{brokers}', 'format' = 'debezium-json',
           'properties.sasl.password' = '{PLANTED}-1', 'properties.sasl.username' = 'u',
           'properties.ssl.key.password' = '{PLANTED}-2');
         CREATE TABLE c WITH ('connector' = 'clickhouse', 'url' = '{clickhouse}', 'table' = '{database}.c',
           'username' = 'planted', 'password' = '{PLANTED}-3');
         CREATE TABLE w WITH ('connector' = 'clickhouse', 'url' = '{clickhouse}', 'table' = '{database}.w',
           'username' = 'planted', 'password' = '{PLANTED}-3');
         INSERT INTO c SELECT * FROM CHANGES(t);
         INSERT INTO w SELECT window_start, count(*) AS n FROM TUMBLE(CHANGES(t), at, INTERVAL '1' MINUTE) GROUP BY window_start, window_end;"
    )
}

fn with_password(url: &str) -> String {
    url.replacen("://", &format!("://u:{PLANTED}-4@"), 1)
}

/// Runs the binary with everything logged and secrets in its environment. What waits for what is not there is told to stop.
fn run(folder: &Path, arguments: &[&str]) -> Said {
    let output = tempfile::tempdir().unwrap();
    let file = |name: &str| File::create(output.path().join(name)).unwrap();
    let mut child = binary(arguments)
        .current_dir(folder)
        .envs([
            ("HIGHWATER_LOG", "debug"),
            ("RUST_BACKTRACE", "1"),
            ("AWS_ACCESS_KEY_ID", &format!("{PLANTED}-5")),
            ("AWS_SECRET_ACCESS_KEY", &format!("{PLANTED}-6")),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ])
        .stdout(file("out"))
        .stderr(file("err"))
        .spawn()
        .unwrap();
    let started = Instant::now();
    let mut told = false;
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if started.elapsed() > Duration::from_secs(4) && !std::mem::replace(&mut told, true) {
            send_signal(child.id(), "TERM");
        }
        if started.elapsed() > Duration::from_secs(10) {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = |name: &str| std::fs::read_to_string(output.path().join(name)).unwrap();
    Said { code, out: text("out"), err: text("err") }
}

#[track_caller]
fn silent(what: &str, text: &str) {
    if let Some(at) = text.find(PLANTED) {
        let from = text[..at].rfind('\n').map_or(0, |at| at + 1);
        let until = text[at..].find('\n').map_or(text.len(), |end| at + end);
        panic!("{what} tells a secret: {}", &text[from..until]);
    }
}

/// Bytes as text, whatever they are.
fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn errors_and_explanations_tell_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // Nobody answers at port 9.
    let good = query("t", "127.0.0.1:9", "http://127.0.0.1:9", "d");
    let url = good.replace("http://127.0.0.1:9'", &format!("{}'", with_password("http://127.0.0.1:9")));
    let registry = good.replace(
        "'format' = 'debezium-json'",
        &format!(
            "'format' = 'debezium-avro-confluent', 'debezium-avro-confluent.url' = '{}'",
            with_password("http://127.0.0.1:9")
        ),
    );
    let jaas = format!("'properties.sasl.jaas.config' = 'Plain required password=\"{PLANTED}-7\";'");
    let variants = [
        good.clone(),
        url.clone(),
        registry,
        good.replace("'properties.sasl.username' = 'u'", &jaas),
        good.replace("'properties.sasl.username' = 'u'", "'properties.security.protocol' = 'sasl_nothing'"),
        good.replace("'properties.ssl.key.password'", "'properties.ssl.key.pem'"),
        good.replace("http://127.0.0.1:9'", &format!("{}'", with_password("ftp://127.0.0.1:9"))),
        good.replace("http://127.0.0.1:9'", &format!("http://h:1/?password={PLANTED}-8'")),
        good.replace("'password' =", "'pasword' ="),
        good.replace("'password' =", "password ="),
        good.replace("'username' = 'planted', 'password'", "'sink.compression' = 'x', 'password'"),
        good.replace("count(*)", "cuont(*)"),
    ];
    std::thread::scope(|scope| {
        for (number, text) in variants.iter().enumerate() {
            let (path, folder) = (write(&format!("{number}.sql"), text), folder.path());
            scope.spawn(move || {
                for command in [vec!["validate"], vec!["explain"], vec!["run", "--bounded", "--log-format", "json"]] {
                    let said = run(folder, &[&command[..], &[&path]].concat());
                    assert_ne!(said.code, Some(70), "{command:?} of variant {number}: {}", said.err);
                    assert!(command[0] != "run" || said.err.lines().count() > 0, "{said:?}");
                    silent(&format!("{command:?} of variant {number}"), &(said.out + &said.err));
                }
            });
        }
    });
    let path = write("good.sql", &url);
    let elsewhere = with_password("http://127.0.0.1:9");
    let source = with_password("mysql://127.0.0.1:9/d");
    let place = format!("s3://u:{PLANTED}-9@bucket/folder");
    for arguments in [
        vec!["run", &path, "--checkpoint-dir", "s3://bucket/folder"],
        vec!["run", &path, "--checkpoint-dir", &place],
        vec!["checkpoint", "list", "--checkpoint-dir", &place],
        vec!["why", "j", "--checkpoint-dir", &place, "--metrics", "127.0.0.1:9"],
        vec!["query", "SELECT 1", "--clickhouse", &elsewhere],
        vec!["delivery", "j", "--clickhouse", &elsewhere],
        vec!["verify", &path, "--source", &source],
        vec!["verify", "--table", "d.t", "--source", &source, "--clickhouse", &elsewhere],
    ] {
        let said = run(folder.path(), &arguments);
        assert!(said.code != Some(0) || arguments[0] == "run", "{arguments:?}");
        assert_ne!(said.code, Some(70), "{arguments:?}: {}", said.err);
        silent(&format!("{arguments:?}"), &(said.out + &said.err));
    }
}

#[test]
fn a_job_that_runs_tells_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let (topic, database) = (Topic::create("secrets", 1), Database::new("secrets"));
    for id in 0..50 {
        let at = 1_772_359_200_000_i64 + id * 1_000;
        let value = format!("{{\"before\":null,\"after\":{{\"id\":{id},\"at\":{at}}},\"op\":\"c\"}}");
        topic.queue(0, "k", &value);
    }
    topic.queue(0, "k", "no json");
    topic.flush();
    let text = query(&topic.name, &kafka_brokers(), &clickhouse_url(), &database.0);
    let path = folder.path().join("q.sql");
    std::fs::write(&path, text).unwrap();
    let log = folder.path().join("log");
    let file = File::create(&log).unwrap();
    let mut child =
        binary(["run", path.to_str().unwrap(), "--name", "j", "--metrics", "127.0.0.1:0", "--log-format", "json"])
            .current_dir(folder.path())
            .env("HIGHWATER_LOG", "debug")
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
    let said = || std::fs::read_to_string(&log).unwrap();
    let mut address = None;
    wait_until("it serves", || {
        address = said().split("http://").find_map(|rest| rest.split_once("/metrics").map(|(it, _)| it.to_owned()));
        address.is_some() || child.try_wait().unwrap().is_some()
    });
    let address = address.unwrap_or_else(|| panic!("{}", said()));
    let get = |path: &str| match reqwest::blocking::get(format!("http://{address}{path}")) {
        Ok(answer) => answer.text().unwrap(),
        Err(error) => panic!("{error}\n{}", said()),
    };
    wait_until("rows are written", || get("/status").contains(&format!("\"{}.c\":50", database.0)));
    silent("the status", &get("/status"));
    silent("the metrics", &get("/metrics"));
    send_signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", said());
    silent("the log", &said());
    // One object a line.
    for line in said().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    let mut checkpoints = 0;
    for entry in std::fs::read_dir(folder.path().join(".highwater/checkpoints/j")).unwrap() {
        silent("a checkpoint", &text_of(&std::fs::read(entry.unwrap().path()).unwrap()));
        checkpoints += 1;
    }
    assert!(checkpoints > 1);
}
