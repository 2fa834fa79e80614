//! The one type that flows: change events of one partition as Arrow columns, with their positions and times.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;

use crate::error::{Error, Result};

/// A partition of a topic. A file counts as a topic with one partition, 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name (a file's path).
    pub topic: Arc<str>,
    /// Kafka's partition number, from 0.
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// The records `[from, to)` of one partition. `to` is the next record to read: nothing here ever adds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OffsetRange {
    /// First offset of the range.
    pub from: i64,
    /// The offset after the last: where reading goes on. Offsets in between may be missing (compaction, transactions).
    pub to: i64,
}

/// What happened to the row, in Debezium's letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Op {
    /// `r`: read by a snapshot; an insert as far as windows and mirrors go.
    Read = b'r',
    /// `c`: inserted. Every record of an append-only format has this op.
    Create = b'c',
    /// `u`: updated.
    Update = b'u',
    /// `d`: deleted.
    Delete = b'd',
    /// `t`: the whole table was emptied; the row's columns are all null.
    Truncate = b't',
}

impl Op {
    /// The op of one of Debezium's letters, or `None`.
    pub fn from_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'r' => Self::Read,
            b'c' => Self::Create,
            b'u' => Self::Update,
            b'd' => Self::Delete,
            b't' => Self::Truncate,
            _ => return None,
        })
    }

    /// Debezium's letter for it.
    pub fn letter(self) -> u8 {
        self as u8
    }
}

/// Marks a time that a record does not carry, in [`ChangeBatch::timestamps`] and [`ChangeBatch::source_times`].
pub const NO_TIME: i64 = i64::MIN;

/// The change events of one stretch of one partition, in offset order, a row each. Records that could not be decoded
/// are in `dead_letters` and have no row; tombstones have neither.
#[derive(Debug, Clone)]
pub struct ChangeBatch {
    /// Where the events come from.
    pub source: TopicPartition,
    /// All records that were looked at, rows or not.
    pub range: OffsetRange,
    /// What happened, per row.
    pub ops: Vec<Op>,
    /// The record's offset, per row, ascending.
    pub offsets: Vec<i64>,
    /// The broker's timestamp in milliseconds since the epoch, per row; [`NO_TIME`] where there is none.
    pub timestamps: Vec<i64>,
    /// Debezium's `source.ts_ms`, per row; [`NO_TIME`] where there is none; empty when it was not asked for.
    pub source_times: Vec<i64>,
    /// The row's image: after the change; for a delete, before it. Only the columns that were asked for.
    pub rows: RecordBatch,
    /// The row before the change, for updates that carry it; `None` when it was not asked for.
    /// Same columns as `rows`; all null where the event has no before image.
    pub before: Option<Before>,
    /// What was asked for of the envelope, a column per path; `None` when nothing was.
    pub envelope: Option<RecordBatch>,
    /// Values of `rows` that the event does not carry because they did not change (PostgreSQL's TOAST): row and column, by
    /// row. They are null in `rows` (empty where null may not be). Mostly none.
    pub unavailable: Vec<(u32, u32)>,
    /// The records that could not be used.
    pub dead_letters: Vec<DeadLetter>,
}

/// The images before the change of a [`ChangeBatch`].
#[derive(Debug, Clone)]
pub struct Before {
    /// Same columns and rows as [`ChangeBatch::rows`].
    pub rows: RecordBatch,
    /// Whether the event carried a before image, per row.
    pub present: Vec<bool>,
}

impl ChangeBatch {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Some of the changes.
    pub fn take(&self, taken: &UInt32Array) -> Result<Self> {
        let before = self.before.as_ref().map(|before| {
            let present = taken.values().iter().map(|&row| before.present[row as usize]).collect();
            Ok::<_, Error>(Before { rows: take_record_batch(&before.rows, taken)?, present })
        });
        Ok(Self { before: before.transpose()?, ..self.pick(taken, &self.rows)? })
    }

    /// Some of the changes, with other images in place of their rows.
    pub fn pick(&self, picked: &UInt32Array, images: &RecordBatch) -> Result<Self> {
        let each = |values: &[i64]| match values.is_empty() {
            true => Vec::new(),
            false => picked.values().iter().map(|&row| values[row as usize]).collect(),
        };
        Ok(Self {
            source: self.source.clone(),
            range: self.range,
            ops: picked.values().iter().map(|&row| self.ops[row as usize]).collect(),
            offsets: each(&self.offsets),
            timestamps: each(&self.timestamps),
            source_times: each(&self.source_times),
            rows: take_record_batch(images, picked)?,
            before: None,
            envelope: self.envelope.as_ref().map(|envelope| take_record_batch(envelope, picked)).transpose()?,
            unavailable: self.picked_unavailable(picked),
            dead_letters: Vec::new(),
        })
    }

    fn picked_unavailable(&self, picked: &UInt32Array) -> Vec<(u32, u32)> {
        if self.unavailable.is_empty() {
            return Vec::new();
        }
        let mut unavailable = Vec::new();
        for (place, &row) in picked.values().iter().enumerate() {
            let first = self.unavailable.partition_point(|&(other, _)| other < row);
            let own = self.unavailable[first..].iter().take_while(|&&(other, _)| other == row);
            unavailable.extend(own.map(|&(_, column)| (place as u32, column)));
        }
        unavailable
    }

    /// Whether there is no row (there may be dead letters).
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// Why a record is in the dead-letter table, as a word to group by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// The bytes are not what the format says (not JSON, cut off, not UTF-8).
    Malformed,
    /// A value does not fit the declared type of its column.
    WrongType,
    /// A column declared NOT NULL, or the envelope's `op` or image, is missing.
    MissingField,
    /// The record has no value where the format needs one.
    NullValue,
    /// The record is larger than `'max-record-bytes'`.
    TooLarge,
    /// The event time is null.
    NoEventTime,
    /// The event time is further ahead of the broker's clock than the bound.
    FutureEventTime,
    /// The event time is outside of what the target's time columns can hold.
    EventTimeOutOfRange,
    /// The event leaves out a value that did not change, and nobody knows it.
    MissingBeforeImage,
    /// It takes back a row that was not there.
    UnmatchedRetraction,
    /// A value has no place in its column of the target.
    ValueOutOfRange,
    /// The change cannot be applied to the table that is asked for.
    Unsupported,
    /// An expression of the query fails on it: a cast, a division by zero.
    ExpressionFailed,
}

impl DeadReason {
    /// The word in the table and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongType => "wrong_type",
            Self::MissingField => "missing_field",
            Self::NullValue => "null_value",
            Self::TooLarge => "too_large",
            Self::NoEventTime => "no_event_time",
            Self::FutureEventTime => "future_event_time",
            Self::EventTimeOutOfRange => "event_time_out_of_range",
            Self::MissingBeforeImage => "missing_before_image",
            Self::UnmatchedRetraction => "unmatched_retraction",
            Self::ValueOutOfRange => "value_out_of_range",
            Self::Unsupported => "unsupported",
            Self::ExpressionFailed => "expression_failed",
        }
    }
}

/// A record that could not be decoded or used. It keeps its position, so that it can be found again in the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The record's offset; its topic and partition are those of the batch.
    pub offset: i64,
    /// The broker's timestamp in milliseconds since the epoch, or [`NO_TIME`].
    pub timestamp: i64,
    /// The kind of trouble.
    pub reason: DeadReason,
    /// The trouble in words, with the column or the byte where it is known.
    pub message: String,
    /// The record's key, cut at [`DeadLetter::KEEP_BYTES`].
    pub key: Option<Vec<u8>>,
    /// The record's value, cut at [`DeadLetter::KEEP_BYTES`].
    pub value: Option<Vec<u8>>,
}

impl DeadLetter {
    /// How much of a key or value is kept, in bytes.
    pub const KEEP_BYTES: usize = 64 * 1024;

    /// The first [`Self::KEEP_BYTES`] of a record's key or value.
    pub fn keep(bytes: Option<&[u8]>) -> Option<Vec<u8>> {
        bytes.map(|bytes| bytes[..bytes.len().min(Self::KEEP_BYTES)].to_vec())
    }
}
