//! What a job has done so far, for people to look at: counters that lanes and the job add to.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use super::report::{Counts, LateRows, Report, SavedCheckpoint, Seen, Wait, WaitsFor};
use crate::change::{DeadReason, TopicPartition};
use crate::checkpoint::Process;
use crate::error::Error;

/// How often it is said in the log that something is still waited for, in milliseconds.
const REMIND: i64 = 60_000;

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
    /// Whether somebody may ask how the job sees itself.
    watched: AtomicBool,
    /// Whether something is waited for: mostly not, and that is asked often.
    waiting: AtomicBool,
    /// Rows written per output table, and dead letters by reason.
    tallies: Mutex<Tallies>,
}

#[derive(Debug, Default, Clone)]
struct Tallies {
    written: BTreeMap<String, u64>,
    reasons: BTreeMap<&'static str, u64>,
    partitions: BTreeMap<TopicPartition, i64>,
    late: BTreeMap<TopicPartition, u64>,
    retries: BTreeMap<String, u64>,
    repeats: BTreeMap<String, u64>,
    intents: BTreeMap<String, u64>,
    waits: BTreeMap<(WaitsFor, String), Waiting>,
    checkpoint: Option<SavedCheckpoint>,
    seen: Option<Seen>,
}

/// Something that does not answer.
#[derive(Debug, Clone)]
struct Waiting {
    error: String,
    since: i64,
    said: i64,
    tries: u64,
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
            watched: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
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

    /// Counts late rows of a partition.
    pub fn count_late(&self, source: &TopicPartition, rows: usize) {
        self.late.fetch_add(rows as u64, Relaxed);
        metrics::counter!("highwater_late_rows_total", "topic" => source.topic.to_string()).increment(rows as u64);
        self.with_tallies(|tallies| add(&mut tallies.late, source, rows as u64));
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

    /// Counts an insert that is tried again.
    pub fn count_retry(&self, table: &str) {
        metrics::counter!("highwater_insert_retries_total", "table" => table.to_owned()).increment(1);
        self.with_tallies(|tallies| *tallies.retries.entry(table.to_owned()).or_default() += 1);
    }

    /// Counts rows that a table had already when their block was sent again.
    pub fn count_repeats(&self, table: &str, rows: u64) {
        if rows > 0 {
            metrics::counter!("highwater_repeats_dropped_total", "table" => table.to_owned()).increment(rows);
            self.with_tallies(|tallies| *tallies.repeats.entry(table.to_owned()).or_default() += rows);
        }
    }

    /// Notes that a block for a table is on its way, or, below zero, in place.
    pub fn count_intents(&self, table: &str, blocks: i64) {
        self.with_tallies(|tallies| {
            let open = tallies.intents.entry(table.to_owned()).or_default();
            *open = open.saturating_add_signed(blocks);
            if *open == 0 {
                tallies.intents.remove(table);
            }
        });
    }

    /// Notes a checkpoint that is durable.
    pub fn saved(&self, checkpoint: SavedCheckpoint) {
        self.with_tallies(|tallies| tallies.checkpoint = Some(checkpoint));
    }

    /// Notes that something does not answer; true when that is news, or has not been said for a while.
    pub fn waits(&self, what: WaitsFor, name: &str, error: &Error, now: i64) -> bool {
        self.with_tallies(|tallies| {
            let fresh = || Waiting { error: String::new(), since: now, said: i64::MIN, tries: 0 };
            let waiting = tallies.waits.entry((what, name.to_owned())).or_insert_with(fresh);
            waiting.tries += 1;
            self.waiting.store(true, Relaxed);
            let message = error.to_string();
            let is_news = waiting.error != message || now.saturating_sub(waiting.said) >= REMIND;
            waiting.error = message;
            if is_news {
                waiting.said = now;
            }
            is_news
        })
    }

    /// Notes that something answers; since when it had not, if so.
    pub fn goes_on(&self, what: WaitsFor, name: &str) -> Option<i64> {
        if !self.waiting.load(Relaxed) {
            return None;
        }
        self.with_tallies(|tallies| {
            let waited = tallies.waits.remove(&(what, name.to_owned()));
            self.waiting.store(!tallies.waits.is_empty(), Relaxed);
            waited.map(|waiting| waiting.since)
        })
    }

    /// What does not answer, if anything, and what it said last.
    pub fn waited_for(&self) -> Option<String> {
        self.with_tallies(|tallies| {
            tallies.waits.iter().next().map(|((_, name), waiting)| format!("{name}: {}", waiting.error))
        })
    }

    /// From now on somebody may ask for a [`Report`].
    pub fn watch(&self) {
        self.watched.store(true, Relaxed);
    }

    /// Whether somebody may ask.
    pub fn is_watched(&self) -> bool {
        self.watched.load(Relaxed)
    }

    /// Notes how the job sees itself.
    pub fn see(&self, seen: Seen) {
        self.with_tallies(|tallies| tallies.seen = Some(seen));
    }

    /// All that is known of a job that this process runs.
    pub fn report(&self, job: &str, process: &Process, now: i64) -> Report {
        let count = |value: &AtomicU64| value.load(Relaxed);
        let tallies = self.with_tallies(|tallies| tallies.clone());
        let late = tallies.late.into_iter();
        let reasons = tallies.reasons.into_iter();
        let waits = tallies.waits.into_iter();
        Report {
            job: job.to_owned(),
            process: process.clone(),
            now,
            counts: Counts {
                events: count(&self.events),
                bytes: count(&self.bytes),
                late: late
                    .map(|(source, rows)| LateRows {
                        topic: source.topic.to_string(),
                        partition: source.partition,
                        rows,
                    })
                    .collect(),
                dead_letters: reasons.map(|(reason, count)| (reason.to_owned(), count)).collect(),
                unmatched: count(&self.unmatched),
                written: tallies.written,
                retries: tallies.retries,
                repeats_dropped: tallies.repeats,
                closed_windows: count(&self.closed_windows),
                open_windows: count(&self.open_windows),
                paused_partitions: self.paused.load(Relaxed).max(0) as u64,
            },
            waits: waits
                .map(|((what, name), it)| Wait { what, name, error: it.error, since: it.since, tries: it.tries })
                .collect(),
            checkpoint: tallies.checkpoint,
            open_intents: tallies.intents,
            seen: tallies.seen,
        }
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

/// Adds to a count; the key is copied only when it is new.
fn add(counts: &mut BTreeMap<TopicPartition, u64>, source: &TopicPartition, rows: u64) {
    match counts.get_mut(source) {
        Some(count) => *count += rows,
        None => drop(counts.insert(source.clone(), rows)),
    }
}
