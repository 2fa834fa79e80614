//! What a job has done so far, for people to look at: counters that lanes and the job add to.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::change::{DeadReason, TopicPartition};

/// Counters of one run. Cheap to add to, a batch at a time.
#[derive(Debug)]
pub struct Progress {
    /// Change events decoded into rows.
    pub events: AtomicU64,
    /// Bytes of records taken from the source.
    pub bytes: AtomicU64,
    /// Rows that came after their windows had closed.
    pub late: AtomicU64,
    /// Records that could not be used.
    pub dead_letters: AtomicU64,
    /// Rows that were taken back and had never been there.
    pub unmatched: AtomicU64,
    /// Records that the source still has beyond what was read, as far as known.
    pub lag: AtomicU64,
    /// Windows open on all lanes together, at the last cut.
    pub open_windows: AtomicU64,
    /// The most windows that were open at a cut.
    pub most_open_windows: AtomicU64,
    /// Partitions that wait for others.
    pub paused: AtomicI64,
    /// Windows closed.
    pub closed_windows: AtomicU64,
    /// The least watermark of all tables, milliseconds since the epoch; `i64::MIN` before there is one.
    pub watermark: AtomicI64,
    /// Rows written per output table, and dead letters by reason.
    tallies: Mutex<Tallies>,
}

#[derive(Debug, Default, Clone)]
struct Tallies {
    written: BTreeMap<String, u64>,
    reasons: BTreeMap<&'static str, u64>,
    partitions: BTreeMap<TopicPartition, i64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            events: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            late: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            unmatched: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            open_windows: AtomicU64::new(0),
            most_open_windows: AtomicU64::new(0),
            paused: AtomicI64::new(0),
            closed_windows: AtomicU64::new(0),
            watermark: AtomicI64::new(i64::MIN),
            tallies: Mutex::default(),
        }
    }
}

impl Progress {
    /// Counts the records and rows of a batch.
    pub fn count_batch(&self, events: usize, bytes: usize) {
        self.events.fetch_add(events as u64, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
        metrics::counter!("highwater_events_total").increment(events as u64);
        metrics::counter!("highwater_source_bytes_total").increment(bytes as u64);
    }

    /// Notes how many windows are open.
    pub fn set_open_windows(&self, count: usize) {
        self.open_windows.store(count as u64, Relaxed);
        self.most_open_windows.fetch_max(count as u64, Relaxed);
        metrics::gauge!("highwater_open_windows").set(count as f64);
    }

    /// Counts partitions that begin to wait for others, or, below zero, go on.
    pub fn count_paused(&self, partitions: i64) {
        self.paused.fetch_add(partitions, Relaxed);
        metrics::gauge!("highwater_paused_partitions").increment(partitions as f64);
    }

    /// Counts late rows.
    pub fn count_late(&self, rows: usize) {
        self.late.fetch_add(rows as u64, Relaxed);
        metrics::counter!("highwater_late_rows_total").increment(rows as u64);
    }

    /// Counts a dead letter.
    pub fn count_dead_letter(&self, reason: DeadReason) {
        self.dead_letters.fetch_add(1, Relaxed);
        metrics::counter!("highwater_dead_letters_total", "reason" => reason.as_str()).increment(1);
        self.with_tallies(|tallies| *tallies.reasons.entry(reason.as_str()).or_default() += 1);
    }

    /// Counts rows that were taken back and had never been there; returns how many there are now.
    pub fn count_unmatched(&self, rows: u64) -> u64 {
        metrics::counter!("highwater_unmatched_retractions_total").increment(rows);
        self.unmatched.fetch_add(rows, Relaxed) + rows
    }

    /// Counts rows that an output table has durably.
    pub fn count_written(&self, table: &str, rows: usize) {
        metrics::counter!("highwater_rows_written_total", "table" => table.to_owned()).increment(rows as u64);
        self.with_tallies(|tallies| *tallies.written.entry(table.to_owned()).or_default() += rows as u64);
    }

    /// Notes how far a partition has been delivered.
    pub fn delivered(&self, partition: &TopicPartition, offset: i64) {
        self.with_tallies(|tallies| {
            tallies.partitions.insert(partition.clone(), offset);
        });
    }

    /// Rows written so far, per output table.
    pub fn written(&self) -> BTreeMap<String, u64> {
        self.with_tallies(|tallies| tallies.written.clone())
    }

    /// Dead letters so far, by reason.
    pub fn dead_letters_by_reason(&self) -> BTreeMap<&'static str, u64> {
        self.with_tallies(|tallies| tallies.reasons.clone())
    }

    /// The offset up to which each partition has been delivered.
    pub fn positions(&self) -> BTreeMap<TopicPartition, i64> {
        self.with_tallies(|tallies| tallies.partitions.clone())
    }

    fn with_tallies<T>(&self, look: impl FnOnce(&mut Tallies) -> T) -> T {
        // A poisoned lock only means that a thread died while counting: the counts are still worth showing.
        look(&mut self.tallies.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}
