//! The services that tests run on: started when first asked for, and left running (`scripts/test.sh` stops them).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use highwater::sink::clickhouse::ClickHouseClient;

use crate::run::block_on;

/// The stack beside a developer's own, as in `scripts/test.sh`.
const PORT_BASE: &str = "20000";

pub(crate) fn kafka_brokers() -> String {
    address("kafka", "KAFKA_BROKERS")
}

pub(crate) fn clickhouse_url() -> String {
    address("clickhouse", "CLICKHOUSE_URL")
}

pub(crate) fn mariadb_url() -> String {
    address("mariadb", "MARIADB_URL")
}

pub(crate) fn postgres_url() -> String {
    address("postgres", "POSTGRES_URL")
}

pub(crate) fn connect_url() -> String {
    address("connect", "CONNECT_URL")
}

pub(crate) fn s3_url() -> String {
    address("s3", "S3_URL")
}

pub(crate) fn registry_url() -> String {
    address("registry", "SCHEMA_REGISTRY_URL")
}

/// The address of a service, which is up when this returns.
fn address(service: &str, variable: &str) -> String {
    static STARTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    static ADDRESSES: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    {
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        if !started.contains(service) {
            script("up.sh", &[service], &[]);
            started.insert(service.to_owned());
        }
    }
    let read = || {
        let lines = script("status.sh", &["--env"], &[]);
        let pair = |line: &str| {
            line.strip_prefix("export ")?.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        lines.lines().filter_map(pair).collect()
    };
    ADDRESSES.get_or_init(read)[variable].clone()
}

/// Runs a script of `compose/native` on the tests' stack and returns what it prints.
pub(crate) fn script(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let path = format!("{}/compose/native/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(&path);
    if std::env::var_os("PORT_BASE").is_none() {
        command.env("PORT_BASE", PORT_BASE);
    }
    let output = command.args(arguments).envs(variables.iter().copied()).output().expect("the script runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{path} {arguments:?} failed:\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A name that no other test has, nor an earlier run of this one.
pub(crate) fn unique(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static STARTED: LazyLock<u128> = LazyLock::new(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis())
    });
    format!("it_{what}_{}_{}", *STARTED, NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A stack of the test's own beside that of all, for what the others would not survive. Stopped and removed at the end.
pub(crate) struct OwnStack {
    port_base: String,
    services: Vec<&'static str>,
    more: Vec<(&'static str, String)>,
}

impl OwnStack {
    /// The services, running. `number` tells it from the stacks of other tests.
    pub(crate) fn start(number: u32, services: &[&'static str]) -> Self {
        Self::with(number, services, Vec::new())
    }

    /// The same, with these variables for the scripts.
    pub(crate) fn with(number: u32, services: &[&'static str], more: Vec<(&'static str, String)>) -> Self {
        let base: u32 = std::env::var("PORT_BASE").map_or(PORT_BASE.to_owned(), |it| it).parse().unwrap();
        let stack = Self { port_base: (base + 20 * number).to_string(), services: services.to_vec(), more };
        if !stack.more.is_empty() {
            // What a test that failed has left may be set up otherwise.
            stack.wipe();
        }
        stack.up();
        stack
    }

    fn wipe(&self) {
        script("down.sh", &[], &[("PORT_BASE", self.port_base.as_str()), ("WIPE", "1")]);
    }

    /// Starts what does not run.
    pub(crate) fn up(&self) {
        script("up.sh", &self.services, &self.variables());
    }

    /// The address of a service, by the variable that `status.sh` gives it.
    pub(crate) fn address(&self, variable: &str) -> String {
        let lines = script("status.sh", &["--env"], &self.variables());
        let prefix = format!("export {variable}=");
        lines.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap().to_owned()
    }

    /// The process of a service.
    pub(crate) fn process(&self, service: &str) -> u32 {
        let file = std::fs::read_to_string(self.folder().join(format!("run/{service}.pid"))).unwrap();
        file.lines().next().unwrap().parse().unwrap()
    }

    /// The folder of a service's data, as its process sees it.
    pub(crate) fn data(&self, service: &str) -> std::path::PathBuf {
        let folder = self.folder();
        let seen = format!("/proc/{}/root{}/{service}", self.process(service), folder.display());
        seen.into()
    }

    fn folder(&self) -> std::path::PathBuf {
        let folder = format!("{}/.highwater/stack-{}", env!("CARGO_MANIFEST_DIR"), self.port_base);
        std::env::var("STACK_DIR").map_or(folder, |it| format!("{it}-{}", self.port_base)).into()
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        let more = self.more.iter().map(|(name, value)| (*name, value.as_str()));
        more.chain([("PORT_BASE", self.port_base.as_str())]).collect()
    }
}

impl Drop for OwnStack {
    fn drop(&mut self) {
        // All of it, with the data; by hand when the test failed.
        if !std::thread::panicking() {
            self.wipe();
        }
    }
}

/// A database of ClickHouse of the test's own; dropped at the end unless the test fails.
pub(crate) struct Database(pub(crate) String, Option<String>);

impl Database {
    pub(crate) fn new(what: &str) -> Self {
        Self(unique(what), None)
    }

    /// In a server of the test's own.
    pub(crate) fn at(url: &str, what: &str) -> Self {
        Self(unique(what), Some(url.to_owned()))
    }

    /// The answer, a line a row, tabs between the columns. `{db}` stands for the database.
    pub(crate) fn ask(&self, sql: &str) -> String {
        let sql = sql.replace("{db}", &self.0);
        let client = ClickHouseClient::new(&self.1.clone().unwrap_or_else(clickhouse_url), None, None)
            .expect("the stack's URL is one");
        block_on(client.query_tsv(&sql)).unwrap_or_else(|error| panic!("{sql}: {error}")).trim_end().to_owned()
    }

    /// The rows of the answer, sorted.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let mut rows: Vec<String> = self.ask(sql).lines().map(str::to_owned).collect();
        rows.sort();
        rows
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.ask("DROP DATABASE IF EXISTS {db}");
        }
    }
}

/// Compares long lists and shows only where they differ.
#[track_caller]
pub(crate) fn assert_same(what: &str, found: &[String], expected: &[String]) {
    if found == expected {
        return;
    }
    let count = |rows: &[String]| {
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        rows.iter().for_each(|row| *counts.entry(row.clone()).or_default() += 1);
        counts
    };
    let (have, want) = (count(found), count(expected));
    let differences = |one: &BTreeMap<String, i64>, other: &BTreeMap<String, i64>| {
        let more = one.iter().filter(|(row, count)| **count > other.get(*row).copied().unwrap_or(0));
        more.take(10).map(|(row, count)| format!("  {row} (x{count})")).collect::<Vec<_>>().join("\n")
    };
    panic!(
        "{what}: {} rows found, {} expected; found too often:\n{}\nmissing:\n{}",
        found.len(),
        expected.len(),
        differences(&have, &want),
        differences(&want, &have)
    );
}
