//! A lane's reader over files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Kind;
use super::container::{ContainerCursor, Values};
use super::lines::{LineReader, Lines};
use super::parquet::ParquetCursor;
use super::recorded::RecordedCursor;
use crate::change::{NO_TIME, OffsetRange, TopicPartition};
use crate::error::Result;
use crate::source::{RawBatch, RawRecord, RawRecords, SourceReader};

/// What one poll takes at most, in batches (of a few megabytes each).
const BATCHES: usize = 4;

/// A partition on its way to a reader.
pub(super) struct Added {
    pub(super) partition: TopicPartition,
    pub(super) from: i64,
    pub(super) kind: Kind,
    /// Where captured records are.
    pub(super) files: Vec<PathBuf>,
}

pub(super) struct FileReader {
    added: Arc<Mutex<Vec<Added>>>,
    interval: Duration,
    slots: Vec<Slot>,
    by_partition: HashMap<TopicPartition, usize>,
    /// The slot to begin with, so that each has its turn.
    turn: usize,
}

struct Slot {
    partition: TopicPartition,
    /// The next record to hand out.
    next: i64,
    cursor: Cursor,
    at_end: bool,
    paused: bool,
}

enum Cursor {
    Lines { reader: LineReader, skip: i64 },
    Recorded(RecordedCursor),
    Parquet(ParquetCursor),
    Container(ContainerCursor),
}

impl RawRecords for Lines {
    fn get(&self, index: usize) -> RawRecord<'_> {
        let (offset, line) = self.get(index);
        RawRecord { offset, timestamp: NO_TIME, key: None, value: Some(line) }
    }
}

/// JSON lines made of rows that are numbered from `first`.
struct Rows {
    first: i64,
    bytes: Vec<u8>,
    /// Where each line ends, its line break not included.
    ends: Vec<usize>,
}

impl RawRecords for Rows {
    fn get(&self, index: usize) -> RawRecord<'_> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] + 1);
        let value = Some(&self.bytes[start..self.ends[index]]);
        RawRecord { offset: self.first + index as i64, timestamp: NO_TIME, key: None, value }
    }
}

impl RawRecords for Values {
    fn get(&self, index: usize) -> RawRecord<'_> {
        let value = Some(&self.bytes[self.bounds[index]..self.bounds[index + 1]]);
        RawRecord { offset: self.first + index as i64, timestamp: NO_TIME, key: None, value }
    }
}

impl Slot {
    fn open(added: Added) -> Result<Self> {
        let Added { partition, from, kind, files } = added;
        let path = Path::new(&*partition.topic);
        let cursor = match kind {
            Kind::Lines { skip } => {
                let mut reader = LineReader::open(path)?;
                reader.skip_to(from)?;
                Cursor::Lines { reader, skip }
            }
            Kind::Recorded => Cursor::Recorded(RecordedCursor::new(partition.clone(), files, from)),
            Kind::Parquet => Cursor::Parquet(ParquetCursor::open(path, from)?),
            Kind::Container => Cursor::Container(ContainerCursor::open(path, from)?),
        };
        Ok(Self { partition, next: from, cursor, at_end: false, paused: false })
    }

    fn next(&mut self) -> Result<Option<RawBatch>> {
        let from = self.next;
        let (to, records, len): (i64, Arc<dyn RawRecords>, usize) = match &mut self.cursor {
            Cursor::Lines { reader, skip } => match reader.next(false)? {
                None => return Ok(None),
                Some(mut lines) => {
                    lines.drop_before(*skip);
                    let len = lines.len();
                    (lines.next_line, Arc::new(lines), len)
                }
            },
            Cursor::Recorded(cursor) => match cursor.next()? {
                None => return Ok(None),
                Some((range, records)) => {
                    let len = records.len();
                    (range.to, Arc::new(records), len)
                }
            },
            Cursor::Parquet(cursor) => match cursor.next()? {
                None => return Ok(None),
                Some(bytes) => {
                    let ends: Vec<usize> = memchr::memchr_iter(b'\n', &bytes).collect();
                    let len = ends.len();
                    (from + len as i64, Arc::new(Rows { first: from, bytes, ends }), len)
                }
            },
            Cursor::Container(cursor) => match cursor.next(from)? {
                None => return Ok(None),
                Some(values) => {
                    let len = values.bounds.len() - 1;
                    (from + len as i64, Arc::new(values), len)
                }
            },
        };
        self.next = to;
        Ok(Some(RawBatch::new(self.partition.clone(), OffsetRange { from, to }, records, len)))
    }
}

impl FileReader {
    pub(super) fn new(added: Arc<Mutex<Vec<Added>>>, interval: Duration) -> Self {
        Self { added, interval, slots: Vec::new(), by_partition: HashMap::new(), turn: 0 }
    }

    fn set_paused(&mut self, partition: &TopicPartition, paused: bool) {
        if let Some(&slot) = self.by_partition.get(partition) {
            self.slots[slot].paused = paused;
        }
    }

    fn adopt(&mut self) -> Result<()> {
        let added = std::mem::take(&mut *self.added.lock().unwrap_or_else(PoisonError::into_inner));
        for added in added {
            self.by_partition.insert(added.partition.clone(), self.slots.len());
            self.slots.push(Slot::open(added)?);
        }
        Ok(())
    }
}

impl SourceReader for FileReader {
    fn poll(&mut self, timeout: Duration, out: &mut Vec<RawBatch>) -> Result<()> {
        let until = Instant::now() + timeout;
        loop {
            self.adopt()?;
            let before = out.len();
            for turn in 0..self.slots.len() {
                let index = (self.turn + turn) % self.slots.len();
                let slot = &mut self.slots[index];
                if slot.paused {
                    continue;
                }
                let batch = slot.next()?;
                slot.at_end = batch.is_none();
                out.extend(batch);
                if out.len() - before == BATCHES {
                    self.turn = index + 1;
                    return Ok(());
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if out.len() > before || left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(self.interval));
        }
    }

    fn at_end(&self, partition: &TopicPartition) -> bool {
        self.by_partition.get(partition).is_some_and(|&slot| self.slots[slot].at_end)
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
