//! Speed from Kafka to ClickHouse, beside the rate at which librdkafka hands over records that are thrown away:
//! `make bench`, or with services of one's own `cargo bench --workspace --bench end_to_end`.
//!
//! | variable | default | |
//! |---|---|---|
//! | `KAFKA_BROKERS`, `CLICKHOUSE_URL` | localhost | where |
//! | `EVENTS` | 5,000,000 | how many; the topic `bench.customer.EVENTS` is filled when it is not there |
//! | `ROUNDS` | 3 | how often each phase runs; the phases take turns |
//! | `PHASES` | all | some of them, by their names with commas between them |
//! | `BEFORE` | | another `highwater`, of before a change: each phase of the engine is run with it, too |
//!
//! Each phase is a process of its own, so that its memory is its own, and the time is that from its start to its end:
//! connecting, planning and creating tables included. The engine's phases are `highwater run --bounded`.

// A benchmark says best by a panic what went wrong.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::fmt::Write as _;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use data_gen::events::{EventGenerator, EventsConfig};
use data_gen::kafka::{Target, ensure_topic, publish};
use highwater::options::Options;
use highwater::sink::clickhouse::ClickHouseClient;
use highwater::source;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

const QUERY: &str = include_str!("../queries/registrations_per_store.sql");
const DATABASE: &str = "highwater_bench";
/// Tells a process that it is the phase in which records are dropped, with so many lanes.
const DROP_LANES: &str = "HIGHWATER_BENCH_DROP_LANES";

/// What is measured.
struct Phase {
    name: &'static str,
    what: &'static str,
    work: Work,
}

enum Work {
    /// Takes records from librdkafka, in batches as the engine does, and drops them.
    Drop { lanes: usize },
    /// The INSERTs of the query file into these tables.
    Query(&'static [&'static str]),
    /// Windows only, over this in place of the query file's.
    Windows(&'static str),
}

const PHASES: &[Phase] = &[
    Phase { name: "drop-1", what: "librdkafka, consuming and dropping, 1 thread", work: Work::Drop { lanes: 1 } },
    Phase { name: "drop-2", what: "librdkafka, consuming and dropping, 2 threads", work: Work::Drop { lanes: 2 } },
    Phase { name: "windows", what: "Highwater: windows only", work: Work::Query(&["registrations_per_store"]) },
    Phase {
        name: "raw-and-windows",
        what: "Highwater: raw rows and windows",
        work: Work::Query(&["customer_changes", "registrations_per_store"]),
    },
    Phase {
        name: "whole-file",
        what: "Highwater: raw rows, mirror and windows",
        work: Work::Query(&["customer_changes", "customer_mirror", "registrations_per_store"]),
    },
    Phase {
        name: "hop-60",
        what: "Highwater: hopping windows of 60 panes",
        work: Work::Windows(
            "HOP(CHANGES(customer), create_date, INTERVAL '1' MINUTE, INTERVAL '1' HOUR) WHERE _op IN ('c', 'r')",
        ),
    },
    Phase {
        name: "table",
        what: "Highwater: windows over the table, its rows kept",
        work: Work::Windows("TUMBLE(customer, create_date, INTERVAL '1' MINUTE)"),
    },
    Phase {
        name: "every-change",
        what: "Highwater: windows over all its change events",
        work: Work::Windows("TUMBLE(CHANGES(customer), create_date, INTERVAL '1' MINUTE)"),
    },
];

/// How a process did.
#[derive(Clone, Copy)]
struct Run {
    seconds: f64,
    cpu_seconds: f64,
    peak_mb: f64,
}

struct Place {
    brokers: String,
    clickhouse: String,
    topic: String,
    events: u64,
    folder: PathBuf,
}

fn main() {
    let place = Place::from_environment();
    if let Ok(lanes) = std::env::var(DROP_LANES) {
        return place.drop_all(lanes.parse().expect("a number of lanes"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        place.fill_topic().await;
        place.measure().await;
    });
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

impl Place {
    fn from_environment() -> Self {
        let events = variable("EVENTS", "5000000").replace(['_', ','], "").parse().expect("EVENTS is a number");
        Self {
            brokers: variable("KAFKA_BROKERS", "localhost:9092"),
            clickhouse: variable("CLICKHOUSE_URL", "http://localhost:8123"),
            topic: format!("bench.customer.{events}"),
            events,
            folder: std::env::temp_dir().join(format!("highwater-bench-{}", std::process::id())),
        }
    }

    fn options(&self) -> Options {
        let values = [
            ("connector", "kafka"),
            ("topic", &self.topic),
            ("properties.bootstrap.servers", &self.brokers),
            ("format", "debezium-json"),
            ("scan.startup.mode", "earliest-offset"),
        ];
        Options::new("customer", values.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    /// Makes the topic, unless all events are there.
    async fn fill_topic(&self) {
        let target = Target { brokers: self.brokers.clone(), topic: self.topic.clone(), properties: Vec::new() };
        let topic = ensure_topic(&target, 4).await.expect("Kafka answers");
        if !topic.created {
            let records = self.records();
            if records >= self.events {
                return println!("topic {} is there: {records} records", self.topic);
            }
            println!("topic {} has only {records} records: it is made anew", self.topic);
            let admin: AdminClient<DefaultClientContext> =
                ClientConfig::new().set("bootstrap.servers", &self.brokers).create().expect("a client");
            admin.delete_topics(&[&self.topic], &AdminOptions::new()).await.expect("the topic can be deleted");
            tokio::time::sleep(Duration::from_secs(3)).await;
            ensure_topic(&target, 4).await.expect("Kafka answers");
        }
        println!("filling topic {} with {} events", self.topic, self.events);
        let config = EventsConfig { total: self.events, partitions: 4, ..EventsConfig::default() };
        let mut events = EventGenerator::new(config).expect("a good configuration");
        let publishing =
            tokio::task::spawn_blocking(move || publish(&target, &mut events, None, |_| ControlFlow::Continue(())));
        let published = publishing.await.expect("publishing").expect("publishing");
        assert_eq!(published.undelivered, 0, "{:?}", published.first_error);
        println!("{} records in {:.1} s", published.records, published.elapsed.as_secs_f64());
    }

    fn records(&self) -> u64 {
        let mut source = source::open(&self.options()).expect("good options");
        let partitions = source.partitions().expect("Kafka answers");
        let first = source.first_offsets(&partitions).expect("Kafka answers");
        let end = source.end_offsets(&partitions).expect("Kafka answers");
        end.iter().map(|(partition, end)| (end - first[partition]).unsigned_abs()).sum()
    }

    /// The phase in which records are dropped; the process ends with it.
    fn drop_all(&self, lanes: usize) {
        let mut source = source::open(&self.options()).expect("good options");
        let partitions = source.partitions().expect("Kafka answers");
        let start = source.start_offsets(&partitions).expect("Kafka answers");
        let end = source.end_offsets(&partitions).expect("Kafka answers");
        let mut readers: Vec<_> = (0..lanes).map(|_| source.reader().expect("a reader")).collect();
        let mut of_lane = vec![0_i64; lanes];
        for (number, partition) in partitions.iter().enumerate() {
            of_lane[number % lanes] += end[partition] - start[partition];
            source.assign(number % lanes, partition, start[partition]).expect("a partition to read");
        }
        std::thread::scope(|scope| {
            for (reader, wanted) in readers.iter_mut().zip(of_lane) {
                scope.spawn(move || {
                    let (mut taken, mut batches) = (0, Vec::new());
                    while taken < wanted {
                        reader.poll(Duration::from_millis(100), &mut batches).expect("records");
                        taken += batches.drain(..).map(|batch| batch.range.to - batch.range.from).sum::<i64>();
                    }
                });
            }
        });
        // Closing the client waits for its threads, and measures nothing.
        std::process::exit(0);
    }

    async fn measure(&self) {
        fs::create_dir_all(&self.folder).expect("a folder for query files");
        let client = ClickHouseClient::new(&self.clickhouse, None, None).expect("a ClickHouse URL");
        let rounds: usize = variable("ROUNDS", "3").parse().expect("ROUNDS is a number");
        let chosen = variable("PHASES", "");
        let phases: Vec<_> =
            PHASES.iter().filter(|it| chosen.is_empty() || chosen.split(',').any(|name| name == it.name)).collect();
        let own = PathBuf::from(env!("CARGO_BIN_EXE_highwater"));
        let before = std::env::var_os("BEFORE").map(PathBuf::from);
        let binaries = |phase: &Phase| match phase.work {
            Work::Drop { .. } => vec![("", own.clone())],
            _ => before.iter().map(|it| ("before: ", it.clone())).chain([("", own.clone())]).collect(),
        };
        let phases: Vec<_> =
            phases.into_iter().flat_map(|phase| binaries(phase).into_iter().map(move |it| (phase, it))).collect();
        let mut runs: Vec<Vec<Run>> = vec![Vec::new(); phases.len()];
        let mut registrations = None;
        for round in 1..=rounds {
            for ((phase, (label, binary)), runs) in phases.iter().zip(&mut runs) {
                client
                    .query_tsv(&format!("DROP DATABASE IF EXISTS {DATABASE} SYNC"))
                    .await
                    .expect("ClickHouse answers");
                let run = self.run(phase, binary);
                let rate = self.events as f64 / run.seconds;
                let what = format!("{label}{}", phase.what);
                println!("round {round}  {what:<56} {:>6.2} s  {rate:>10.0} events/s", run.seconds);
                runs.push(run);
                if let Work::Query(tables) = phase.work {
                    let counted = self.check(&client, tables).await;
                    let before = *registrations.get_or_insert(counted);
                    assert_eq!(counted, before, "registrations differ between two runs");
                }
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
        println!("{}", self.report(&phases, &runs));
    }

    fn run(&self, phase: &Phase, binary: &Path) -> Run {
        let log = self.folder.join(format!("{}.log", phase.name));
        let mut command = match phase.work {
            Work::Drop { lanes } => {
                let mut command = Command::new(std::env::current_exe().expect("this program"));
                command.env(DROP_LANES, lanes.to_string());
                command
            }
            Work::Query(_) | Work::Windows(_) => {
                let file = self.folder.join(format!("{}.sql", phase.name));
                fs::write(&file, self.query(&phase.work)).expect("a query file");
                let mut command = Command::new(binary);
                command.args(["run", "--bounded", "--set", "WINDOW=1 MINUTE"]).arg(file);
                command.args(["--set".to_owned(), format!("DATABASE={DATABASE}")]);
                command.args(["--set".to_owned(), format!("KAFKA_BROKERS={}", self.brokers)]);
                command.args(["--set".to_owned(), format!("CLICKHOUSE_URL={}", self.clickhouse)]);
                command
            }
        };
        let output = fs::File::create(&log).expect("a log file");
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a log file")).stderr(output);
        let started = Instant::now();
        let mut child = command.spawn().expect("a process");
        let (mut peak_mb, mut cpu_seconds) = (0.0, 0.0);
        let status = loop {
            // While it runs, and once more as a zombie: its times are then complete.
            (peak_mb, cpu_seconds) = usage(child.id()).unwrap_or((peak_mb, cpu_seconds));
            if let Some(status) = child.try_wait().expect("a process of ours") {
                break status;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let seconds = started.elapsed().as_secs_f64();
        assert!(status.success(), "{}: {status}\n{}", phase.name, fs::read_to_string(&log).unwrap_or_default());
        Run { seconds, cpu_seconds, peak_mb }
    }

    /// The query file with this topic and only some of its INSERTs, or another.
    fn query(&self, work: &Work) -> String {
        let (tables, from): (&[&str], _) = match work {
            Work::Query(tables) => (tables, None),
            Work::Windows(from) => (&[], Some(from)),
            Work::Drop { .. } => (&[], None),
        };
        let topic = "'topic' = 'shop.sakila.customer'";
        assert!(QUERY.contains(topic), "the query file reads another topic");
        let text = QUERY.replace(topic, &format!("'topic' = '{}'", self.topic));
        let mut parts = text.split("\nINSERT INTO ");
        let mut query = parts.next().unwrap_or_default().to_owned();
        let mut kept = 0;
        for part in parts.filter(|part| tables.contains(&part.split_whitespace().next().unwrap_or_default())) {
            let _ = write!(query, "\nINSERT INTO {part}");
            kept += 1;
        }
        assert_eq!(kept, tables.len(), "the query file fills other tables than {tables:?}");
        if let Some(from) = from {
            let columns = "window_start, window_end, store_id";
            let _ = write!(
                query,
                "\nINSERT INTO registrations_per_store SELECT {columns}, count(*) AS registrations FROM {from} GROUP BY {columns};"
            );
        }
        query
    }

    /// Counts the registrations, in windows and late, and the raw rows if there are any.
    async fn check(&self, client: &ClickHouseClient, tables: &[&str]) -> u64 {
        let count = async |sql: String| -> u64 {
            let text = client.query_tsv(&sql).await.expect("ClickHouse answers");
            text.trim().parse().expect("a number")
        };
        let windows = format!("{DATABASE}.registrations_per_store");
        let sql = format!("SELECT (SELECT sum(registrations) FROM {windows}) + (SELECT count() FROM {windows}_late)");
        let registrations = count(sql).await;
        if tables.contains(&"customer_changes") {
            let changes = format!("{DATABASE}.customer_changes");
            assert_eq!(count(format!("SELECT count() FROM {changes}")).await, self.events, "raw rows");
            let inserts = count(format!("SELECT countIf(_op = 'c') FROM {changes}")).await;
            assert_eq!(registrations, inserts, "windows and late rows are all inserts");
        }
        registrations
    }

    fn report(&self, phases: &[(&Phase, (&str, PathBuf))], runs: &[Vec<Run>]) -> String {
        let medians: Vec<Run> = runs.iter().map(|runs| median(runs)).collect();
        let is_drop = |phase: &Phase| matches!(phase.work, Work::Drop { .. });
        let rate = |run: &Run| self.events as f64 / run.seconds;
        let drops = phases.iter().zip(&medians).filter(|((phase, _), _)| is_drop(phase));
        let first = medians.first().map_or(f64::NAN, &rate);
        let limit = drops.map(|(_, run)| rate(run)).reduce(f64::max).unwrap_or(first);
        let mut text = format!(
            "\n{} events, 4 partitions, median of {} rounds; the ratio is to the faster of those that drop, or to the first\n\n\
             | what | seconds | events/s | ratio | CPU seconds | peak memory |\n|---|---|---|---|---|---|\n",
            self.events,
            runs.first().map_or(0, Vec::len)
        );
        for ((phase, (label, _)), run) in phases.iter().zip(&medians) {
            let Run { seconds, cpu_seconds, peak_mb } = run;
            let (rate, ratio) = (rate(run), rate(run) / limit);
            let _ = writeln!(
                text,
                "| {label}{} | {seconds:.2} | {rate:.0} | {ratio:.2} | {cpu_seconds:.2} | {peak_mb:.0} MB |",
                phase.what
            );
        }
        text
    }
}

/// The run in the middle by time; of memory the greatest.
fn median(runs: &[Run]) -> Run {
    let mut runs = runs.to_vec();
    runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let peak_mb = runs.iter().map(|run| run.peak_mb).fold(0.0, f64::max);
    Run { peak_mb, ..runs[runs.len() / 2] }
}

/// Peak memory in MB, and CPU seconds, of a process.
fn usage(process: u32) -> Option<(f64, f64)> {
    let folder = Path::new("/proc").join(process.to_string());
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = peak.split_whitespace().next()?.parse().ok()?;
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // After the name, which may hold anything: state is the first, user and system time are the 12th and 13th.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    // Linux counts them in hundredths of a second.
    Some((kilobytes / 1024.0, ticks / 100.0))
}
