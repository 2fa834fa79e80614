//! What an operator sees of a job: its status and metrics, `why`, its checkpoints, what it has delivered.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use highwater::server::metrics::METRICS;
use serde_json::Value;

use crate::proxy::{Mood, Proxy};
use crate::run::{Running, Said, highwater, wait_until};
use crate::stack::{Database, clickhouse_url, kafka_brokers};
use crate::topic::Topic;

const START: i64 = 1_772_359_200_000;

/// A job over a topic of two partitions.
struct Watched {
    folder: tempfile::TempDir,
    topic: Topic,
    database: Database,
    query: PathBuf,
}

impl Watched {
    fn new(what: &str, clickhouse: &str) -> Self {
        let (folder, topic, database) = (tempfile::tempdir().unwrap(), Topic::create(what, 2), Database::new(what));
        let query = folder.path().join("q.sql");
        let (name, brokers, db) = (&topic.name, kafka_brokers(), &database.0);
        let to = |table: &str| {
            format!(
                "'connector' = 'clickhouse', 'url' = '{clickhouse}', 'table' = '{db}.{table}', 'sink.timeout' = '5 s'"
            )
        };
        let text = format!(
            "CREATE TABLE t (id INT, at TIMESTAMP(3), PRIMARY KEY (id) NOT ENFORCED, WATERMARK FOR at AS at - INTERVAL '1' SECOND) WITH (
               'connector' = 'kafka', 'topic' = '{name}', 'properties.bootstrap.servers' = '{brokers}', 'format' = 'debezium-json');
             CREATE TABLE changes WITH ({});
             CREATE TABLE mirror WITH ({});
             CREATE TABLE windows WITH ({});
             INSERT INTO changes SELECT * FROM CHANGES(t);
             INSERT INTO mirror SELECT * FROM t;
             INSERT INTO windows SELECT window_start, window_end, count(*) AS n FROM TUMBLE(CHANGES(t), at, INTERVAL '1' MINUTE)
             GROUP BY window_start, window_end;",
            to("changes"),
            to("mirror"),
            to("windows")
        );
        std::fs::write(&query, text).unwrap();
        Self { folder, topic, database, query }
    }

    /// A row whose event time is so many seconds after the start.
    fn send(&self, partition: i32, id: i64, seconds: i64) {
        let at = START + seconds * 1_000;
        let value = format!("{{\"before\":null,\"after\":{{\"id\":{id},\"at\":{at}}},\"op\":\"c\"}}");
        self.topic.queue(partition, &id.to_string(), &value);
    }

    fn checkpoints(&self) -> String {
        self.folder.path().join("checkpoints").to_str().unwrap().to_owned()
    }

    fn start(&self) -> (Running, String) {
        let query = self.query.to_str().unwrap();
        let place = self.checkpoints();
        let arguments = ["run", query, "--name", "j", "--metrics", "127.0.0.1:0", "--checkpoint-dir", &place];
        let more = ["--flush-interval", "100ms", "--checkpoint-interval", "1ms"];
        let log = self.folder.path().join("log");
        let mut running = Running::start(arguments.into_iter().chain(more), &log);
        let mut address = None;
        wait_until("it serves", || {
            let said = running.log();
            address = said.rsplit("http://").find_map(|rest| rest.split_once("/metrics").map(|(it, _)| it.to_owned()));
            address.is_some() || running.ended().is_some()
        });
        (running, address.unwrap())
    }

    fn why(&self, address: &str) -> String {
        let said = highwater(["why", "j", "--metrics", address, "--checkpoint-dir", &self.checkpoints()]);
        assert_eq!(said.code, Some(0), "{said:?}");
        said.out
    }

    fn checkpoint(&self, arguments: &[&str]) -> Said {
        highwater(["checkpoint"].iter().chain(arguments).chain(&["--checkpoint-dir", &self.checkpoints()]))
    }
}

fn get(address: &str, path: &str) -> String {
    reqwest::blocking::get(format!("http://{address}{path}")).unwrap().text().unwrap()
}

fn status(address: &str) -> Value {
    serde_json::from_str(&get(address, "/status")).unwrap()
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in\n{text}"));
}

fn json(said: &Said) -> Value {
    assert_eq!(said.code, Some(0), "{said:?}");
    serde_json::from_str(&said.out).unwrap()
}

#[test]
fn a_job_says_how_it_is_while_it_runs_and_afterwards() {
    let job = Watched::new("operator", &clickhouse_url());
    // Partition 1 stays behind, in the third minute.
    for id in 0..300 {
        job.send(0, id, id);
    }
    job.send(1, 1_000, 30);
    job.send(1, 1_001, 150);
    job.topic.queue(1, "k", "no json");
    job.topic.flush();
    let (running, address) = job.start();
    wait_until("two windows are closed", || {
        let status = status(&address);
        status["counts"]["closed_windows"] == 2 && status["seen"]["tables"][0]["held_by"] == 1
    });
    // Late for partition 1, whose first windows are closed.
    job.send(1, 1_002, 10);
    job.topic.flush();
    wait_until("it is late", || status(&address)["counts"]["late"][0]["rows"] == 1);

    let why = job.why(&address);
    println!("{why}");
    let name = &job.topic.name;
    let (holds, late) = (format!("{name}[1] has held it back"), format!("1 row was late: {name}[1] 1."));
    says(
        &why,
        &[
            "j runs: process",
            "Table t: every record that is known of has been read",
            "The watermark of t has been at 2026-03-01 10:02:29 for",
            &holds,
            "'idle-timeout'",
            "Without it, it would be at 2026-03-01 10:04:58.",
            "windows: its windows (TUMBLE of 1 minute) are closed up to 2026-03-01 10:02:29; 3 are open",
            "The next closes when the watermark of t reaches 2026-03-01 10:03:00",
            &late,
            "1 record could not be used: malformed 1",
            "The last checkpoint is ",
        ],
    );
    // Another job at this address is not mistaken for it.
    let said = highwater(["why", "k", "--metrics", &address, "--checkpoint-dir", &job.checkpoints()]);
    says(&said.err, &["nothing is known of job \"k\"", "is another one, \"j\""]);

    metrics_are_served(&get(&address, "/metrics"), name);
    checkpoints_are_shown(&job, running.id());

    assert_eq!(running.stop(), 0, "whoever looked has taken nothing over");
    let why = job.why(&address);
    println!("{why}");
    let read = "Table t goes on at offsets ";
    let open = "windows: 3 windows (TUMBLE of 1 minute) were open";
    says(&why, &["j does not say how it is: nobody answers", "j does not run", "Nothing was on its way", read, open]);

    delivery_is_counted(&job);
}

fn metrics_are_served(text: &str, topic: &str) {
    let known: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    let served: BTreeSet<&str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect();
    let strange: Vec<_> = served.iter().filter(|name| !name.is_empty() && !known.contains(*name)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    let series =
        |name: &str, partition: i32| format!("{name}{{table=\"t\",topic=\"{topic}\",partition=\"{partition}\"}}");
    says(
        text,
        &[
            &format!("{} 1\n", series("highwater_partition_holds_watermark", 1)),
            &format!("{} 0\n", series("highwater_partition_holds_watermark", 0)),
            &format!("{} 0\n", series("highwater_partition_lag_records", 0)),
            &format!("{} 1772359349\n", series("highwater_partition_watermark_seconds", 1)),
            "highwater_table_watermark_seconds{table=\"t\"} 1772359349\n",
            "highwater_table_idle_partitions{table=\"t\"} 0\n",
            &format!("highwater_late_rows_total{{topic=\"{topic}\"}} 1\n"),
            "highwater_dead_letters_total{reason=\"malformed\"} 1\n",
            "highwater_waits{for=\"target\"} 0\n",
            "highwater_open_intents 0\n",
            "highwater_checkpoint_saved_seconds ",
            "# HELP highwater_open_intents blocks that are on their way\n",
        ],
    );
}

fn checkpoints_are_shown(job: &Watched, pid: u32) {
    let listed = job.checkpoint(&["list", "j"]);
    println!("{}", listed.out);
    says(&listed.out, &[&format!("{pid} on "), "whole"]);
    let all = json(&job.checkpoint(&["list", "--json", "--check"]));
    let listed = all[0]["checkpoints"].as_array().unwrap();
    assert!(listed.iter().all(|it| it["kind"] == "claim" || it["checked"] == true), "{all}");
    assert_eq!(all[0]["job"], "j");

    let shown = job.checkpoint(&["show", "j"]);
    println!("{}", shown.out);
    let third = format!("{}[1]", job.topic.name);
    says(&shown.out, &["positions", &third, "the least", "open windows", "TUMBLE of 1 minute", "2026-03-01 10:05:00"]);
    let shown = json(&job.checkpoint(&["show", "j", "--json"]));
    let positions = shown["manifest"]["positions"].as_array().unwrap();
    let offsets: Vec<_> = positions.iter().map(|it| it["offset"].as_i64().unwrap()).collect();
    assert_eq!(offsets, [300, 4]);
    assert_eq!(shown["windows"]["open"][0]["open"], 3, "{shown}");

    let state = shown["windows"]["checkpoint"].to_string();
    let folder = job.folder.path().join("exported");
    let exported = job.checkpoint(&["export", "j", &state, "--to", folder.to_str().unwrap()]);
    if exported.code == Some(2) {
        // Forgotten meanwhile: the job goes on.
        says(&exported.err, &["there is no checkpoint"]);
        return;
    }
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let names: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    assert!(
        names.iter().any(|it| it == "manifest.json") && names.iter().any(|it| it.ends_with("windows-2-0.arrows")),
        "{names:?}"
    );
    let again = job.checkpoint(&["export", "j", &state, "--to", folder.to_str().unwrap()]);
    says(&again.err, &["is not empty"]);
}

fn delivery_is_counted(job: &Watched) {
    let url = clickhouse_url();
    let delivery = |more: &[&str]| {
        let place = job.checkpoints();
        let arguments = ["delivery", "j", "--clickhouse", &url, "--checkpoint-dir", &place];
        highwater(arguments.iter().chain(more))
    };
    let said = delivery(&[]);
    println!("{}", said.out);
    assert_eq!(said.code, Some(0), "{said:?}");
    let db = &job.database.0;
    let first = format!("{}[0]      0   299      300   300        0      0", job.topic.name);
    let second = format!("{}[1]      0     3        3     3        1      0", job.topic.name);
    let gap = format!("without a row in {}[1]: 2", job.topic.name);
    let mirror = format!("{db}.mirror_versions: 303 versions of rows; 0 are there twice");
    let results = format!("{db}.windows: 2 results of windows from 2026-03-01 10:00:00 to 2026-03-01 10:01:00");
    says(&said.out, &[&first, &second, &gap, &mirror, &results, "no row is there twice"]);
    // The same by the query file, and of all tables.
    let by_file = highwater(["delivery", "j", "--file", job.query.to_str().unwrap()]);
    assert_eq!((by_file.code, &by_file.out), (Some(0), &said.out), "{by_file:?}");
    let elsewhere = job.folder.path().to_str().unwrap();
    let all = highwater(["delivery", "j", "--clickhouse", &url, "--checkpoint-dir", elsewhere, "--json"]);
    let all: Value = serde_json::from_str(&all.out).unwrap();
    let tables: BTreeSet<&str> =
        all["tables"].as_array().unwrap().iter().filter_map(|it| it["table"].as_str()).collect();
    for table in ["changes", "windows", "windows_late", "dead_letters"] {
        assert!(tables.contains(format!("{db}.{table}").as_str()), "{table}: {tables:?}");
    }

    // What must never be.
    job.database.ask("INSERT INTO {db}.changes SELECT * FROM {db}.changes WHERE _offset < 5 AND _partition = 0");
    job.database.ask("INSERT INTO {db}.windows SELECT * REPLACE (now64(3) AS updated_at) FROM {db}.windows LIMIT 1");
    let said = delivery(&[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    says(&said.out, &["300   305        0      5", "1 twice", "6 rows are there twice"]);
    let said = delivery(&["--json", "--table", &format!("{db}.changes")]);
    let counted: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, counted["repeats"].as_u64()), (Some(1), Some(5)));
}

#[test]
fn what_is_waited_for_is_said() {
    let url = clickhouse_url();
    let proxy = Proxy::start(url.trim_start_matches("http://"));
    let job = Watched::new("waits", &format!("http://127.0.0.1:{}", proxy.port));
    job.send(0, 1, 0);
    job.topic.flush();
    let (running, address) = job.start();
    wait_until("it works", || status(&address)["counts"]["written"].as_object().is_some_and(|it| it.len() > 1));
    proxy.set(Mood::Cut);
    job.send(0, 2, 1);
    job.topic.flush();
    wait_until("it waits", || status(&address)["waits"].as_array().is_some_and(|it| !it.is_empty()));
    let why = job.why(&address);
    println!("{why}");
    says(&why, &["is being waited for", "Nothing is lost"]);
    says(&get(&address, "/metrics"), &["highwater_insert_retries_total{table=", "highwater_open_intents "]);
    proxy.set(Mood::Fair);
    wait_until("it goes on", || status(&address)["waits"].as_array().is_some_and(Vec::is_empty));
    says(&running.log(), &["goes on after"]);
    // What arrives although nobody hears of it is not sent twice.
    let changes = format!("{}.changes", job.database.0);
    proxy.set(Mood::Unanswered);
    job.send(0, 3, 2);
    job.topic.flush();
    let inserted = || job.database.ask("SELECT count() FROM {db}.changes WHERE id = 3") == "1";
    wait_until("it arrives, and is sent again", || {
        inserted() && status(&address)["waits"].as_array().is_some_and(|it| !it.is_empty())
    });
    proxy.set(Mood::Fair);
    wait_until("it goes on again", || status(&address)["waits"].as_array().is_some_and(Vec::is_empty));
    assert_eq!(status(&address)["counts"]["repeats_dropped"][&changes], 1);
    assert!(inserted());
    assert_eq!(running.stop(), 0);
    // A server that is stopped says so at once, not with each attempt.
    assert!(running_log_lines(job.folder.path()) < 80);
}

fn running_log_lines(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("log")).unwrap().lines().count()
}
