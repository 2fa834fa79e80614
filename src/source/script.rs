//! Records in memory, handed out as a test says: so many at a time, and no more than it has released.
//!
//! Every table of the test reads from one [`Script`]. Its records have an order across partitions and tables, the one in
//! which they were written down: a batch takes the next of them, whatever their partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{RawBatch, RawRecord, RawRecords, Source, SourceReader};
use crate::change::{NO_TIME, OffsetRange, TopicPartition};
use crate::error::{Error, Result};

/// How long a reader that keeps pace waits for the job to save what it was given before.
const PATIENCE: Duration = Duration::from_millis(5);
/// How long a poll waits that has nothing. Short: a waiting lane heeds no orders.
const NAP: Duration = Duration::from_micros(200);

/// A record of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Offset in its partition.
    pub offset: i64,
    /// Broker timestamp in milliseconds since the epoch, if it has one.
    pub timestamp: Option<i64>,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// The records of a test.
#[derive(Debug)]
pub struct Script {
    partitions: BTreeMap<TopicPartition, Track>,
    /// How many records a poll takes.
    batch: usize,
    /// Whether a reader waits until what it gave out has been saved before it gives out more.
    keeps_pace: bool,
    /// How often the job has said how far it is.
    commits: AtomicU64,
}

/// The records of a partition.
#[derive(Debug, Default)]
struct Track {
    records: Arc<Vec<Record>>,
    /// The place of each record among all records.
    places: Vec<usize>,
    /// How many may be read.
    released: AtomicUsize,
    /// How often a lane has asked whether it is at the end.
    asked: AtomicU64,
}

impl Script {
    /// These records in this order, offsets ascending per partition, `batch` of them a poll. `empty` are partitions
    /// that are there, with or without records. Nothing is released yet.
    pub fn new(
        empty: impl IntoIterator<Item = TopicPartition>,
        records: impl IntoIterator<Item = (TopicPartition, Record)>,
        batch: usize,
        keeps_pace: bool,
    ) -> Self {
        let mut partitions: BTreeMap<TopicPartition, (Vec<Record>, Vec<usize>)> = BTreeMap::new();
        for partition in empty {
            partitions.entry(partition).or_default();
        }
        for (place, (partition, record)) in records.into_iter().enumerate() {
            let (records, places) = partitions.entry(partition).or_default();
            records.push(record);
            places.push(place);
        }
        let track = |(records, places)| Track { records: Arc::new(records), places, ..Track::default() };
        let partitions = partitions.into_iter().map(|(partition, it)| (partition, track(it))).collect();
        Self { partitions, batch: batch.max(1), keeps_pace, commits: AtomicU64::new(0) }
    }

    /// Lets the first `count` of all records be read.
    pub fn release(&self, count: usize) {
        for track in self.partitions.values() {
            track.released.store(track.places.partition_point(|&place| place < count), SeqCst);
        }
    }

    /// Where reading ends for now, of partitions that have something.
    pub fn ends(&self) -> BTreeMap<TopicPartition, i64> {
        let released = |track: &Track| track.released.load(SeqCst) > 0;
        self.partitions
            .iter()
            .filter(|(_, track)| released(track))
            .map(|(it, track)| (it.clone(), track.end()))
            .collect()
    }

    /// How often lanes have asked whether each partition is at its end: in a run without bounds, once a cut.
    pub fn asked(&self) -> BTreeMap<TopicPartition, u64> {
        self.partitions.iter().map(|(partition, track)| (partition.clone(), track.asked.load(SeqCst))).collect()
    }
}

impl Track {
    fn end(&self) -> i64 {
        let released = self.released.load(SeqCst);
        released.checked_sub(1).map_or_else(|| self.first(), |last| self.records[last].offset + 1)
    }

    fn first(&self) -> i64 {
        self.records.first().map_or(0, |record| record.offset)
    }
}

/// The sources of tables that are read together, each with the topics that it has. The readers of the first serve all.
pub fn open_together(script: &Arc<Script>, topics: Vec<BTreeSet<String>>) -> Vec<Box<dyn Source>> {
    let lanes: Arc<Mutex<Vec<Inbox>>> = Arc::default();
    let open = |topics| -> Box<dyn Source> {
        Box::new(ScriptSource { script: Arc::clone(script), topics, lanes: Arc::clone(&lanes) })
    };
    topics.into_iter().map(open).collect()
}

/// The partitions that a lane has been given and does not read yet.
type Inbox = Arc<Mutex<Vec<(TopicPartition, i64)>>>;

struct ScriptSource {
    script: Arc<Script>,
    topics: BTreeSet<String>,
    lanes: Arc<Mutex<Vec<Inbox>>>,
}

impl ScriptSource {
    fn offsets(&self, partitions: &[TopicPartition], offset: fn(&Track) -> i64) -> BTreeMap<TopicPartition, i64> {
        let of = |it: &TopicPartition| (it.clone(), self.script.partitions.get(it).map_or(0, offset));
        partitions.iter().map(of).collect()
    }
}

impl Source for ScriptSource {
    fn partitions(&mut self) -> Result<Vec<TopicPartition>> {
        Ok(self.script.partitions.keys().filter(|it| self.topics.contains(&*it.topic)).cloned().collect())
    }

    fn start_offsets(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        Ok(self.offsets(partitions, Track::first))
    }

    fn first_offsets(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        Ok(self.offsets(partitions, Track::first))
    }

    fn end_offsets(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        Ok(self.offsets(partitions, Track::end))
    }

    fn offsets_after(&mut self, partitions: &[TopicPartition], time: i64) -> Result<BTreeMap<TopicPartition, i64>> {
        let after = |it: &TopicPartition| {
            let track = self.script.partitions.get(it)?;
            let is_later = |record: &&Record| record.timestamp.is_some_and(|at| at > time);
            let first = track.records.iter().take(track.released.load(SeqCst)).find(is_later);
            Some((it.clone(), first.map_or_else(|| track.end(), |record| record.offset)))
        };
        Ok(partitions.iter().filter_map(after).collect())
    }

    fn reader(&mut self) -> Result<Box<dyn SourceReader>> {
        let inbox = Inbox::default();
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&inbox));
        Ok(Box::new(ScriptReader { script: Arc::clone(&self.script), inbox, reading: Vec::new(), given: None }))
    }

    fn assign(&mut self, lane: usize, partition: &TopicPartition, from: i64) -> Result<()> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let inbox = lanes.get(lane).ok_or_else(|| Error::internal(format!("lane {lane} has no reader yet")))?;
        inbox.lock().unwrap_or_else(PoisonError::into_inner).push((partition.clone(), from));
        Ok(())
    }

    fn commit(&mut self, _: &BTreeMap<TopicPartition, i64>) -> Result<()> {
        self.script.commits.fetch_add(1, SeqCst);
        Ok(())
    }

    fn maintain(&mut self) -> Result<()> {
        Ok(())
    }
}

struct ScriptReader {
    script: Arc<Script>,
    inbox: Inbox,
    reading: Vec<Reading>,
    /// When something was given out last, and how often the job had saved then.
    given: Option<(Instant, u64)>,
}

struct Reading {
    partition: TopicPartition,
    /// The place of the next record in the partition.
    next: usize,
    /// Where the next batch begins.
    offset: i64,
    paused: bool,
}

/// Some records of a partition.
struct Stretch {
    records: Arc<Vec<Record>>,
    first: usize,
}

impl RawRecords for Stretch {
    fn get(&self, index: usize) -> RawRecord<'_> {
        let record = &self.records[self.first + index];
        RawRecord {
            offset: record.offset,
            timestamp: record.timestamp.unwrap_or(NO_TIME),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
        }
    }
}

impl ScriptReader {
    fn adopt(&mut self) {
        let given = std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        for (partition, offset) in given {
            let Some(track) = self.script.partitions.get(&partition) else { continue };
            let next = track.records.partition_point(|record| record.offset < offset);
            self.reading.push(Reading { partition, next, offset, paused: false });
        }
    }

    fn set_paused(&mut self, partition: &TopicPartition, paused: bool) {
        let reading = self.reading.iter_mut().filter(|reading| reading.partition == *partition);
        reading.for_each(|reading| reading.paused = paused);
    }

    fn must_wait(&self) -> bool {
        let waits =
            |(at, commits): (Instant, u64)| at.elapsed() < PATIENCE && self.script.commits.load(SeqCst) == commits;
        self.script.keeps_pace && self.given.is_some_and(waits)
    }

    /// The partition with the first of the records that are left: where it is in `reading`, and the record's place.
    fn next(&self) -> Option<usize> {
        let place = |(at, reading): (usize, &Reading)| {
            let track = self.script.partitions.get(&reading.partition)?;
            (!reading.paused && reading.next < track.released.load(SeqCst)).then(|| (track.places[reading.next], at))
        };
        self.reading.iter().enumerate().filter_map(place).min().map(|(_, at)| at)
    }

    /// Takes as many records of one partition as come one after the other.
    fn take(&mut self, at: usize, most: usize) -> Option<RawBatch> {
        let first = self.reading[at].next;
        while self.reading[at].next - first < most && self.next() == Some(at) {
            self.reading[at].next += 1;
        }
        let reading = &mut self.reading[at];
        let records = Arc::clone(&self.script.partitions.get(&reading.partition)?.records);
        let to = records[reading.next - 1].offset + 1;
        let range = OffsetRange { from: reading.offset, to };
        reading.offset = to;
        let len = reading.next - first;
        Some(RawBatch::new(reading.partition.clone(), range, Arc::new(Stretch { records, first }), len))
    }
}

impl SourceReader for ScriptReader {
    fn poll(&mut self, timeout: Duration, out: &mut Vec<RawBatch>) -> Result<()> {
        self.adopt();
        let mut left = if self.must_wait() { 0 } else { self.script.batch };
        let before = out.len();
        while left > 0 {
            let Some(batch) = self.next().and_then(|at| self.take(at, left)) else { break };
            left -= batch.len();
            out.push(batch);
        }
        match out.len() - before {
            0 => std::thread::sleep(timeout.min(NAP)),
            _ => self.given = Some((Instant::now(), self.script.commits.load(SeqCst))),
        }
        Ok(())
    }

    fn at_end(&self, partition: &TopicPartition) -> bool {
        let Some(track) = self.script.partitions.get(partition) else { return false };
        track.asked.fetch_add(1, SeqCst);
        !self.has_rest(partition)
    }

    fn has_rest(&self, partition: &TopicPartition) -> bool {
        let Some(track) = self.script.partitions.get(partition) else { return false };
        let reading = self.reading.iter().find(|reading| reading.partition == *partition);
        reading.is_none_or(|reading| reading.next < track.released.load(SeqCst))
    }

    fn pause(&mut self, partition: &TopicPartition) -> Result<()> {
        self.set_paused(partition, true);
        Ok(())
    }

    fn resume(&mut self, partition: &TopicPartition) -> Result<()> {
        self.set_paused(partition, false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64) -> Record {
        Record { offset, timestamp: None, key: None, value: Some(offset.to_string().into_bytes()) }
    }

    #[test]
    fn records_come_in_their_order_as_far_as_they_are_released() {
        let [a, b] = ["a", "b"].map(|topic| TopicPartition { topic: topic.into(), partition: 0 });
        let records = [(&a, 0), (&b, 5), (&b, 7), (&a, 1), (&b, 8)];
        let records = records.map(|(partition, offset)| (partition.clone(), record(offset)));
        let script = Arc::new(Script::new([], records, 3, false));
        let mut source = open_together(&script, vec![["a".to_owned(), "b".to_owned()].into()]).remove(0);
        let mut reader = source.reader().unwrap();
        source.assign(0, &a, 0).unwrap();
        source.assign(0, &b, 6).unwrap();
        let mut poll = || {
            let mut out = Vec::new();
            reader.poll(Duration::ZERO, &mut out).unwrap();
            let range = |it: &RawBatch| (it.source.topic.to_string(), it.range.from, it.range.to, it.len());
            out.iter().map(range).collect::<Vec<_>>()
        };
        assert_eq!(poll(), []);
        script.release(4);
        assert_eq!(poll(), [("a".into(), 0, 1, 1), ("b".into(), 6, 8, 1), ("a".into(), 1, 2, 1)]);
        assert_eq!(poll(), []);
        assert_eq!(source.end_offsets(&[a, b.clone()]).unwrap().into_values().collect::<Vec<_>>(), [2, 8]);
        script.release(5);
        assert_eq!(poll(), [("b".into(), 8, 9, 1)]);
        assert!(reader.at_end(&b));
    }
}
