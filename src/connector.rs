//! Which connectors there are and which options each knows.

use crate::format;
use crate::sink::{blackhole, clickhouse, file as file_sink, kafka as kafka_sink, print};
use crate::source::{file as file_source, kafka};
use crate::sql::define::small_table;

/// All connectors.
pub const CONNECTORS: [&str; 5] = ["kafka", "filesystem", "clickhouse", "print", "blackhole"];

/// Options that every table may have.
const COMMON: [&str; 15] = [
    "connector",
    "allowed-lateness",
    "late-table",
    "dead-letter-table",
    "max-future",
    "idle-timeout",
    "idle-close",
    "before-images",
    "truncate",
    "mirror",
    "generation",
    MAX_DRIFT,
    SNAPSHOT,
    small_table::OPTIONS[0],
    small_table::OPTIONS[1],
];

/// Whether the rows of a snapshot are used: `include` or `exclude`.
pub const SNAPSHOT: &str = "snapshot";

/// How far partitions may be apart while a backlog is read, as Flink calls it.
pub const MAX_DRIFT: &str = "scan.watermark.alignment.max-drift";

/// The options that a connector knows, `*` at the end standing for anything; `None` for an unknown connector.
pub fn known_options(connector: &str) -> Option<Vec<&'static str>> {
    let own: Vec<&[&str]> = match connector {
        "kafka" => vec![kafka::OPTIONS, kafka_sink::OPTIONS, format::OPTIONS],
        "filesystem" => vec![file_source::OPTIONS, file_sink::OPTIONS, format::OPTIONS],
        "clickhouse" => vec![clickhouse::OPTIONS],
        "print" => vec![print::OPTIONS],
        "blackhole" => vec![blackhole::OPTIONS],
        _ => return None,
    };
    Some(own.into_iter().flatten().chain(&COMMON).copied().collect())
}
