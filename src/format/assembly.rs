//! Puts a [`ChangeBatch`] together: rows with their positions, and the dead letters.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::error::ArrowError;

use crate::change::{Before, ChangeBatch, DeadLetter, DeadReason, Op};
use crate::error::Result;
use crate::source::{RawBatch, RawRecord};

use super::DecodeSpec;
use super::column::{Dialect, Rows};
use super::envelope::Envelope;
use super::fault::{ENVELOPE_COLUMN, Fault, Step};

/// A batch under construction. Its columns keep their room from batch to batch.
#[derive(Debug)]
pub(crate) struct Assembly {
    /// The rows' images.
    pub(crate) rows: Rows,
    /// What is wanted of the envelope, a row for each row; mostly without columns.
    pub(crate) envelope: Envelope,
    before: Option<BeforeRows>,
    source_time: bool,
    record_bytes_max: usize,
    ops: Vec<Op>,
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
    source_times: Vec<i64>,
    dead_letters: Vec<DeadLetter>,
}

#[derive(Debug)]
struct BeforeRows {
    rows: Rows,
    present: Vec<bool>,
}

impl Assembly {
    /// An empty batch of what the spec asks for.
    pub(crate) fn new(spec: &DecodeSpec, dialect: Dialect, record_bytes_max: usize) -> Result<Self> {
        let rows = Rows::new(&spec.columns, dialect)?;
        let before = match spec.before {
            true => Some(BeforeRows { rows: Rows::new(&spec.columns, dialect)?, present: Vec::new() }),
            false => None,
        };
        Ok(Self {
            rows,
            envelope: Envelope::new(&spec.envelope, dialect)?,
            before,
            source_time: spec.source_time,
            record_bytes_max,
            ops: Vec::new(),
            offsets: Vec::new(),
            timestamps: Vec::new(),
            source_times: Vec::new(),
            dead_letters: Vec::new(),
        })
    }

    /// Where the image before an update goes, if it is wanted.
    pub(crate) fn before(&mut self) -> Option<&mut Rows> {
        self.before.as_mut().map(|before| &mut before.rows)
    }

    /// Whether `source.ts_ms` is wanted.
    pub(crate) fn wants_source_time(&self) -> bool {
        self.source_time
    }

    /// The record's value, unless that decides the record already: a dead letter, or a tombstone where they exist.
    #[inline]
    pub(crate) fn value<'a>(&mut self, record: &RawRecord<'a>, tombstones: bool) -> Option<&'a [u8]> {
        // ExtractNewRecordState writes tombstones so, without schemas.
        let value = record.value.filter(|&value| value != b"null");
        self.bounded_value(&RawRecord { value, ..*record }, tombstones)
    }

    /// The same for formats in which a value may be these bytes.
    #[inline]
    pub(crate) fn bounded_value<'a>(&mut self, record: &RawRecord<'a>, tombstones: bool) -> Option<&'a [u8]> {
        match record.value {
            Some(value) if value.len() > self.record_bytes_max => {
                let message = format!(
                    "the record has {} bytes, more than 'max-record-bytes' = {}",
                    value.len(),
                    self.record_bytes_max
                );
                self.bury(record, DeadReason::TooLarge, message);
                None
            }
            None => {
                if !tombstones || record.key.is_none() {
                    self.bury_null(record);
                }
                None
            }
            value => value,
        }
    }

    /// Ends the row under way. `before_present` is whether the image before the change was read, too.
    #[inline]
    pub(crate) fn complete(
        &mut self,
        record: &RawRecord<'_>,
        op: Op,
        source_time: i64,
        before_present: bool,
    ) -> Step<()> {
        if let Some(before) = &mut self.before {
            if before_present {
                before.rows.complete()?;
            } else {
                before.rows.push_filler();
            }
            before.present.push(before_present);
        }
        let completed = if op == Op::Truncate {
            self.rows.roll_back();
            self.rows.push_filler();
            Ok(())
        } else {
            self.rows.complete()
        };
        if completed.is_err()
            && let Some(before) = &mut self.before
        {
            before.rows.drop_last();
            before.present.pop();
        }
        completed?;
        if self.envelope.is_wanted() {
            self.envelope.rows.complete()?;
        }
        self.ops.push(op);
        self.offsets.push(record.offset);
        self.timestamps.push(record.timestamp);
        if self.source_time {
            self.source_times.push(source_time);
        }
        Ok(())
    }

    /// Forgets the row under way.
    pub(crate) fn roll_back(&mut self) {
        self.rows.roll_back();
        self.envelope.rows.roll_back();
        if let Some(before) = &mut self.before {
            before.rows.roll_back();
        }
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Takes rows back until there are `len`, and forgets the one under way: a record gives all of its rows or none.
    #[cold]
    pub(crate) fn take_back(&mut self, len: usize) {
        self.roll_back();
        while self.ops.len() > len {
            self.ops.pop();
            self.rows.drop_last();
            if self.envelope.is_wanted() {
                self.envelope.rows.drop_last();
            }
            if let Some(before) = &mut self.before {
                before.rows.drop_last();
                before.present.pop();
            }
        }
        self.offsets.truncate(len);
        self.timestamps.truncate(len);
        self.source_times.truncate(len);
    }

    /// Forgets the row under way and keeps the record as a dead letter.
    #[cold]
    pub(crate) fn reject(&mut self, record: &RawRecord<'_>, fault: &Fault) {
        let message = self.words(fault, record.value.unwrap_or_default());
        self.bury(record, fault.reason, message);
    }

    /// The same for a fault in the record's key.
    #[cold]
    pub(crate) fn reject_key(&mut self, record: &RawRecord<'_>, fault: &Fault) {
        let message = format!("in the record's key: {}", self.words(fault, record.key.unwrap_or_default()));
        self.bury(record, fault.reason, message);
    }

    fn words(&mut self, fault: &Fault, bytes: &[u8]) -> String {
        self.roll_back();
        let column = fault.column.and_then(|index| match index & ENVELOPE_COLUMN {
            0 => self.rows.column(index),
            _ => self.envelope.rows.column(index ^ ENVELOPE_COLUMN),
        });
        fault.message(bytes, column.map(|column| column.describe()))
    }

    /// Keeps a record without a value as a dead letter.
    #[cold]
    pub(crate) fn bury_null(&mut self, record: &RawRecord<'_>) {
        self.bury(record, DeadReason::NullValue, "the record has no value".to_string());
    }

    /// Keeps the record as a dead letter.
    #[cold]
    pub(crate) fn bury(&mut self, record: &RawRecord<'_>, reason: DeadReason, message: String) {
        self.dead_letters.push(DeadLetter {
            offset: record.offset,
            timestamp: record.timestamp,
            reason,
            message,
            key: DeadLetter::keep(record.key),
            value: DeadLetter::keep(record.value),
        });
    }

    /// The batch; this is empty afterwards.
    pub(crate) fn finish(&mut self, records: &RawBatch) -> ChangeBatch {
        let unavailable = self.rows.unavailable();
        let rows = self.rows.finish();
        let envelope = self.envelope.finish(records, &self.offsets);
        let before = self.before.as_mut().map(|before| (before.rows.finish(), std::mem::take(&mut before.present)));
        let mut batch = ChangeBatch {
            source: records.source.clone(),
            range: records.range,
            ops: take_with_room(&mut self.ops),
            offsets: take_with_room(&mut self.offsets),
            timestamps: take_with_room(&mut self.timestamps),
            source_times: take_with_room(&mut self.source_times),
            rows: RecordBatch::new_empty(self.rows.schema()),
            before: None,
            envelope: None,
            unavailable,
            dead_letters: std::mem::take(&mut self.dead_letters),
        };
        let whole = rows.and_then(|rows| {
            let before =
                before.map(|(rows, present)| Ok::<_, ArrowError>(Before { rows: rows?, present })).transpose()?;
            Ok((rows, before, envelope?))
        });
        match whole {
            Ok((rows, before, envelope)) => (batch.rows, batch.before, batch.envelope) = (rows, before, envelope),
            // Arrow refused what was checked before: a bug of ours, but no record may be lost over it.
            Err(error) => self.bury_all(records, &mut batch, &format!("internal error (please report it): {error}")),
        }
        batch
    }

    #[cold]
    fn bury_all(&mut self, records: &RawBatch, batch: &mut ChangeBatch, message: &str) {
        let mut lost = std::mem::take(&mut batch.offsets).into_iter().peekable();
        for record in records.iter() {
            if lost.next_if_eq(&record.offset).is_some() {
                // A record may have given several rows.
                while lost.next_if_eq(&record.offset).is_some() {}
                self.bury(&record, DeadReason::Malformed, message.to_string());
            }
        }
        batch.dead_letters.append(&mut self.dead_letters);
        batch.dead_letters.sort_by_key(|letter| letter.offset);
        batch.ops.clear();
        batch.timestamps.clear();
        batch.source_times.clear();
        batch.envelope = self.envelope.is_wanted().then(|| RecordBatch::new_empty(self.envelope.schema()));
        batch.unavailable.clear();
        batch.before = self.before.as_ref().map(|_| Before { rows: batch.rows.clone(), present: Vec::new() });
    }
}

fn take_with_room<T>(vec: &mut Vec<T>) -> Vec<T> {
    let room = vec.len() + vec.len() / 8;
    std::mem::replace(vec, Vec::with_capacity(room))
}
