//! Where records come from.
//!
//! A [`Source`] is one table's connection; it belongs to the job. Each lane has one [`SourceReader`] of it and polls
//! the partitions that the job gave to that lane, at its own pace: what is not polled stays where it is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::change::{OffsetRange, TopicPartition};
use crate::error::Result;
use crate::options::Options;

pub mod file;
pub mod kafka;
pub mod script;
pub mod text;

/// One table's connection to where its records are.
pub trait Source: Send {
    /// The partitions that exist now, sorted. May be called again to notice new ones.
    fn partitions(&mut self) -> Result<Vec<TopicPartition>>;

    /// Where to start each of these partitions, by `scan.startup.mode`. A partition that appears later starts at its beginning.
    fn start_offsets(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>>;

    /// The first offset that each of these partitions still has: where a partition starts that appeared after the checkpoint that a
    /// run resumes from, whatever `scan.startup.mode` says.
    fn first_offsets(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        Ok(partitions.iter().map(|partition| (partition.clone(), 0)).collect())
    }

    /// The offset after the last record that each of these partitions has now: where a bounded run ends.
    fn end_offsets(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>>;

    /// The offset of each partition's first record that was written after a time, milliseconds since the epoch; its end where there is
    /// none. Partitions of which nobody knows are left out.
    fn offsets_after(&mut self, _partitions: &[TopicPartition], _time: i64) -> Result<BTreeMap<TopicPartition, i64>> {
        Ok(BTreeMap::new())
    }

    /// What tells these topics from others of their names, for those that have such a thing. Asks.
    fn topic_ids(&mut self, _topics: &[String]) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }

    /// The ends of these partitions as far as they are known without asking anybody: for showing the lag. Never blocks.
    fn known_ends(&self, _partitions: &[TopicPartition]) -> BTreeMap<TopicPartition, i64> {
        BTreeMap::new()
    }

    /// A reader for one lane, with no partitions yet. Lanes are numbered in the order of the calls.
    fn reader(&mut self) -> Result<Box<dyn SourceReader>>;

    /// Lets the reader of a lane read a partition from an offset on. Once per partition.
    fn assign(&mut self, lane: usize, partition: &TopicPartition, from: i64) -> Result<()>;

    /// Tells the outside how far has been delivered (Kafka: a commit to the consumer group, for tools that show lag).
    /// Best effort: recovery reads the checkpoint.
    fn commit(&mut self, offsets: &BTreeMap<TopicPartition, i64>) -> Result<()>;

    /// Gives the client library its turn (Kafka: errors, statistics); never blocks for long. Called every second or so.
    fn maintain(&mut self) -> Result<()>;

    /// Why nothing may come, when it is known that whoever has the records does not answer.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// A lane's view of a source.
pub trait SourceReader: Send {
    /// Appends to `out` what has arrived, a batch per stretch of one partition in offset order, waiting at most
    /// `timeout` for the first record. Appends nothing when nothing came. A transient failure (broker away) is logged and
    /// looks like nothing coming.
    fn poll(&mut self, timeout: Duration, out: &mut Vec<RawBatch>) -> Result<()>;

    /// Whether the partition had been read to its end when it was last polled. Not true while a backlog is known.
    fn at_end(&self, partition: &TopicPartition) -> bool;

    /// Whether more of the partition is known to be there than has been handed out. Unlike [`at_end`](Self::at_end) it may be
    /// wrong, and is asked often.
    fn has_rest(&self, partition: &TopicPartition) -> bool {
        !self.at_end(partition)
    }

    /// Brings no more of the partition until it is resumed, but for what is on its way.
    fn pause(&mut self, partition: &TopicPartition) -> Result<()>;

    /// Goes on with a partition that was paused.
    fn resume(&mut self, partition: &TopicPartition) -> Result<()>;
}

/// One record as it came, borrowed from the client's memory.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// Offset in its partition.
    pub offset: i64,
    /// Broker timestamp in milliseconds since the epoch, or [`NO_TIME`](crate::change::NO_TIME).
    pub timestamp: i64,
    /// The key's bytes.
    pub key: Option<&'a [u8]>,
    /// The value's bytes; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// A header of a record: its name and value.
pub type Header<'a> = (Cow<'a, str>, Option<&'a [u8]>);

/// What a broker says of a record beside its position and time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BrokerDetails {
    /// Whose clock the timestamp is of, as Kafka calls it: `CreateTime` or `LogAppendTime`.
    pub timestamp_type: Option<&'static str>,
    /// The leader epoch of the record's partition when it was written.
    pub leader_epoch: Option<i32>,
}

/// Memory that holds records, released as a whole.
pub trait RawRecords: Send + Sync {
    /// The record at an index.
    fn get(&self, index: usize) -> RawRecord<'_>;

    /// The headers of the record at an index, in order. Apart from the record, because they are seldom wanted and cost a parse.
    fn headers(&self, _index: usize) -> Vec<Header<'_>> {
        Vec::new()
    }

    /// What the broker says of the record at an index.
    fn details(&self, _index: usize) -> BrokerDetails {
        BrokerDetails::default()
    }
}

/// Records of one partition in offset order. Cheap to split; the bytes are not copied.
#[derive(Clone)]
pub struct RawBatch {
    /// Where the records come from.
    pub source: TopicPartition,
    /// The records looked at; `to` is where reading goes on.
    pub range: OffsetRange,
    records: Arc<dyn RawRecords>,
    start: usize,
    end: usize,
}

impl RawBatch {
    /// All `len` records of `records`.
    pub fn new(source: TopicPartition, range: OffsetRange, records: Arc<dyn RawRecords>, len: usize) -> Self {
        Self { source, range, records, start: 0, end: len }
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The records, in offset order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RawRecord<'_>> {
        (self.start..self.end).map(|index| self.records.get(index))
    }

    /// The headers of the record at an index, counted from the first of this batch.
    pub fn headers(&self, index: usize) -> Vec<Header<'_>> {
        self.records.headers(self.start + index)
    }

    /// What the broker says of the record at an index, counted from the first of this batch.
    pub fn details(&self, index: usize) -> BrokerDetails {
        self.records.details(self.start + index)
    }

    /// The record with this offset.
    pub fn record_at(&self, offset: i64) -> Option<RawRecord<'_>> {
        let index = self.first_at_or_after(offset);
        (index < self.end).then(|| self.records.get(index)).filter(|record| record.offset == offset)
    }

    /// The index of the first record from `offset` on.
    fn first_at_or_after(&self, offset: i64) -> usize {
        let (mut low, mut high) = (self.start, self.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.records.get(middle).offset < offset { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Keeps the first `count` records and returns the others, or `None` when there are none.
    pub fn split_after(&mut self, count: usize) -> Option<Self> {
        let next = self.start + count;
        if next >= self.end { None } else { self.split_off(self.records.get(next).offset) }
    }

    /// Keeps the records before `offset` and returns those from it on, or `None` when there are none.
    pub fn split_off(&mut self, offset: i64) -> Option<Self> {
        if self.range.to <= offset {
            return None;
        }
        let low = self.first_at_or_after(offset);
        let cut = offset.max(self.range.from);
        let rest = Self {
            source: self.source.clone(),
            range: OffsetRange { from: cut, to: self.range.to },
            records: Arc::clone(&self.records),
            start: low,
            end: self.end,
        };
        self.end = low;
        self.range.to = cut;
        Some(rest)
    }
}

/// The connectors that can be read, for messages.
pub const CONNECTORS: &[&str] = &["kafka", "filesystem"];

/// Which of these tables can be read over one connection, by their places: every table is in one group.
pub fn groups(tables: &[&Options]) -> Vec<Vec<usize>> {
    let mut groups: Vec<(Option<String>, Vec<usize>)> = Vec::new();
    for (place, options) in tables.iter().enumerate() {
        let connection = (options.get("connector") == Some("kafka")).then(|| kafka::connection(options));
        match groups.iter_mut().find(|(other, _)| connection.is_some() && *other == connection) {
            Some((_, members)) => members.push(place),
            None => groups.push((connection, vec![place])),
        }
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

/// The sources of a group's tables. The readers of the first bring the records of all.
pub fn open_together(tables: &[&Options]) -> Result<Vec<Box<dyn Source>>> {
    match tables {
        [one] => Ok(vec![open(one)?]),
        _ => kafka::open_together(tables),
    }
}

/// The source that a table's options describe. Connects when it is first asked something.
pub fn open(options: &Options) -> Result<Box<dyn Source>> {
    match options.required("connector")? {
        "kafka" => Ok(Box::new(kafka::KafkaSource::new(options)?)),
        "filesystem" => Ok(Box::new(file::FileSource::new(options)?)),
        other => Err(options.invalid("connector", other, "'kafka' or 'filesystem' for a table that is read")),
    }
}
