//! All metrics of a job by name. docs/operations.md has them too; a test compares.

use metrics::{describe_counter, describe_gauge, gauge};

use crate::job::report::{PartitionSeen, Report, TableSeen, WaitsFor};

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Whether it only grows.
    pub counts: bool,
    /// What it says.
    pub help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, counts: true, help }
}

const fn value(name: &'static str, help: &'static str) -> Metric {
    Metric { name, counts: false, help }
}

/// All metrics.
pub const METRICS: &[Metric] = &[
    counter("highwater_events_total", "change events decoded into rows"),
    counter("highwater_source_bytes_total", "bytes of records taken from the source"),
    counter("highwater_late_rows_total", "rows that came after their windows had closed"),
    counter("highwater_dead_letters_total", "records that could not be used"),
    counter("highwater_unmatched_retractions_total", "rows that were taken back and had never been there"),
    counter("highwater_rows_written_total", "rows that an output table has durably"),
    counter("highwater_insert_retries_total", "inserts that were tried again"),
    counter("highwater_repeats_dropped_total", "rows that a table had already when their block was sent again"),
    value("highwater_open_windows", "windows open on all lanes, at the last cut"),
    value("highwater_open_intents", "blocks that are on their way"),
    value("highwater_checkpoint_saved_seconds", "when the last checkpoint was saved, seconds since 1970"),
    value("highwater_checkpoint_pause_seconds", "how long a lane stood still for the last checkpoint"),
    value("highwater_waits", "how many of a kind do not answer and are tried again"),
    value("highwater_paused_partitions", "partitions that wait for others to come near"),
    value("highwater_watermark_seconds", "the least watermark of all tables, seconds since 1970"),
    value("highwater_lag_records", "records that the sources have beyond what was read"),
    value("highwater_kept_rows_memory_bytes", "kept rows in memory"),
    value("highwater_kept_rows_disk_bytes", "what the store for the other kept rows takes on disk"),
    value("highwater_table_watermark_seconds", "the watermark of a table, seconds since 1970"),
    value("highwater_table_held_since_seconds", "since when the same partition holds it back, seconds since 1970"),
    value("highwater_table_idle_partitions", "partitions that have been read to their ends and get nothing"),
    value("highwater_table_lag_records", "records that a table's topics have beyond what was read"),
    value("highwater_partition_watermark_seconds", "the watermark of a partition, seconds since 1970"),
    value("highwater_partition_lag_records", "records that a partition has beyond what was read"),
    value("highwater_partition_idle", "1 while a partition is idle"),
    value("highwater_partition_holds_watermark", "1 for the partition that holds its table's watermark back"),
];

/// The most partitions that have series of their own; of those beyond, `/status` tells.
pub const MOST_PARTITIONS: usize = 1_000;

/// Tells the recorder what each metric means.
pub fn describe() {
    for metric in METRICS {
        match metric.counts {
            true => describe_counter!(metric.name, metric.help),
            false => describe_gauge!(metric.name, metric.help),
        }
    }
}

/// Sets what is a matter of the moment.
pub fn show(report: &Report) {
    gauge!("highwater_open_intents").set(report.open_intents.values().sum::<u64>() as f64);
    if let Some(checkpoint) = report.checkpoint {
        gauge!("highwater_checkpoint_saved_seconds").set(seconds(checkpoint.saved_at));
    }
    for kind in WaitsFor::ALL {
        let count = report.waits.iter().filter(|wait| wait.what == kind).count();
        gauge!("highwater_waits", "for" => kind.as_str()).set(count as f64);
    }
    let mut left = MOST_PARTITIONS;
    for table in report.seen.iter().flat_map(|seen| &seen.tables) {
        show_table(table);
        for (place, partition) in table.partitions.iter().enumerate().take(left) {
            show_partition(&table.table, partition, table.has_windows.then_some(table.held_by == Some(place)));
        }
        left = left.saturating_sub(table.partitions.len());
    }
}

fn show_table(table: &TableSeen) {
    let name = table.table.clone();
    gauge!("highwater_table_lag_records", "table" => name.clone()).set(table.lag() as f64);
    if table.has_windows {
        let idle = table.partitions.iter().filter(|it| it.idle).count();
        gauge!("highwater_table_idle_partitions", "table" => name.clone()).set(idle as f64);
        gauge!("highwater_table_held_since_seconds", "table" => name.clone()).set(seconds(table.held_since));
        if let Some(watermark) = table.watermark {
            gauge!("highwater_table_watermark_seconds", "table" => name).set(seconds(watermark));
        }
    }
}

fn show_partition(table: &str, partition: &PartitionSeen, holds: Option<bool>) {
    let labels = [
        ("table", table.to_owned()),
        ("topic", partition.topic.clone()),
        ("partition", partition.partition.to_string()),
    ];
    gauge!("highwater_partition_lag_records", &labels).set(partition.lag as f64);
    let Some(holds) = holds else { return };
    gauge!("highwater_partition_idle", &labels).set(f64::from(partition.idle));
    gauge!("highwater_partition_holds_watermark", &labels).set(f64::from(holds));
    if let Some(watermark) = partition.watermark {
        gauge!("highwater_partition_watermark_seconds", &labels).set(seconds(watermark));
    }
}

fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The words of a text that are names of metrics.
    fn names(text: &str) -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let endings = [
            "_total",
            "_seconds",
            "_bytes",
            "_records",
            "_windows",
            "_intents",
            "_waits",
            "_partitions",
            "_idle",
            "_watermark",
        ];
        let is_name = |word: &&str| word.starts_with("highwater_") && endings.iter().any(|it| word.ends_with(it));
        words.filter(is_name).map(str::to_owned).collect()
    }

    fn in_code(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                in_code(&path, found);
            } else if path != Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/metrics.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let uses = text.split("metrics::").skip(1).filter_map(|rest| rest.split(')').next());
                uses.for_each(|it| found.extend(names(it)));
            }
        }
    }

    #[test]
    fn each_metric_is_in_the_code_and_in_the_documentation() {
        let all: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
        assert_eq!(all.len(), METRICS.len());
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let own = std::fs::read_to_string(root.join("src/server/metrics.rs")).unwrap();
        let shown = own.split("gauge!(").skip(1).filter_map(|rest| rest.split([',', ')']).next());
        let mut used: BTreeSet<String> = shown.flat_map(names).collect();
        in_code(&root.join("src"), &mut used);
        assert_eq!(used, all, "in the code, and in METRICS");
        let documented = names(&std::fs::read_to_string(root.join("docs/operations.md")).unwrap());
        assert_eq!(documented, all, "in docs/operations.md, and in METRICS");
    }

    #[test]
    fn names_say_what_kind_they_are() {
        for metric in METRICS {
            assert_eq!(metric.name.ends_with("_total"), metric.counts, "{}", metric.name);
        }
    }
}
