//! The dead letters of a batch.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use datafusion::arrow::array::UInt32Array;

use crate::change::{ChangeBatch, DeadLetter, DeadReason, Op};
use crate::error::Result;
use crate::source::RawBatch;
use crate::window::aggregate::Refused;

/// The dead letters of one batch: one per record, whatever the number of queries that cannot use it.
pub struct Letters<'a> {
    raw: &'a RawBatch,
    offsets: &'a [i64],
    future: BTreeMap<usize, i64>,
    range: RangeInclusive<i64>,
    letters: BTreeMap<i64, DeadLetter>,
}

impl<'a> Letters<'a> {
    /// Those that the decoder found.
    pub fn new(raw: &'a RawBatch, changes: &'a ChangeBatch) -> Self {
        let letters = changes.dead_letters.iter().map(|letter| (letter.offset, letter.clone())).collect();
        Self { raw, offsets: &changes.offsets, future: BTreeMap::new(), range: i64::MIN..=i64::MAX, letters }
    }

    /// Says which event times there may be at all.
    pub fn set_range(&mut self, range: &RangeInclusive<i64>) {
        self.range = range.clone();
    }

    /// Notes that a row's event time is too far ahead, or outside of the range.
    pub fn note_unusable(&mut self, row: usize, time: i64) {
        self.future.insert(row, time);
    }

    /// Adds the rows that windows refused.
    pub fn refuse(&mut self, refused: Vec<(usize, Refused)>, changes: &ChangeBatch) {
        for (row, refusal) in refused {
            let (reason, message) = match (refusal, self.future.get(&row)) {
                (Refused::Expression(message), _) => (DeadReason::ExpressionFailed, message),
                (Refused::NoEventTime, None) => (DeadReason::NoEventTime, "the event time is null".to_owned()),
                (Refused::NoEventTime, Some(&time)) if !self.range.contains(&time) => {
                    let message = format!("windows at {} are outside of what the target can hold", instant(time));
                    (DeadReason::EventTimeOutOfRange, message)
                }
                (Refused::NoEventTime, Some(&time)) => {
                    let (time, arrived) = (instant(time), instant(changes.timestamps[row]));
                    (
                        DeadReason::FutureEventTime,
                        format!("the event time {time} is too far ahead of the record's, {arrived}"),
                    )
                }
            };
            self.add(row, reason, message);
        }
    }

    /// Adds a row on which an expression failed.
    pub fn expression_failed(&mut self, row: usize, message: &str) {
        self.add(row, DeadReason::ExpressionFailed, message.to_owned());
    }

    /// Adds the truncates of a batch, which a mirror cannot apply, and returns the other changes.
    pub fn refuse_truncates(&mut self, changes: &ChangeBatch, why: &str) -> Result<ChangeBatch> {
        let is_truncate = |row: &usize| changes.ops[*row] == Op::Truncate;
        for row in (0..changes.len()).filter(is_truncate) {
            self.add(
                row,
                DeadReason::Unsupported,
                format!("the table was truncated, and the mirror still has its rows: {why}"),
            );
        }
        let others = (0..changes.len()).filter(|row| !is_truncate(row)).map(|row| row as u32);
        changes.take(&UInt32Array::from_iter_values(others))
    }

    /// Adds the record at an offset, on which an expression failed.
    pub fn expression_failed_at(&mut self, offset: i64, message: &str) {
        self.add_at(offset, DeadReason::ExpressionFailed, message.to_owned());
    }

    /// Adds the record at an offset, which has a value that the target cannot hold.
    pub fn out_of_range(&mut self, offset: i64, message: String) {
        self.add_at(offset, DeadReason::ValueOutOfRange, message);
    }

    /// Adds a row that cannot be used.
    pub fn add(&mut self, row: usize, reason: DeadReason, message: String) {
        self.add_at(self.offsets[row], reason, message);
    }

    fn add_at(&mut self, offset: i64, reason: DeadReason, message: String) {
        let Some(record) = self.raw.record_at(offset) else { return };
        let (key, value) = (DeadLetter::keep(record.key), DeadLetter::keep(record.value));
        let letter = DeadLetter { offset, timestamp: record.timestamp, reason, message, key, value };
        self.letters.entry(offset).or_insert(letter);
    }

    /// Adds the record at an offset that cannot be used.
    pub fn add_offset(&mut self, offset: i64, reason: DeadReason, message: &str) {
        self.add_at(offset, reason, message.to_owned());
    }

    /// All of them, by offset.
    pub fn into_letters(self) -> Vec<DeadLetter> {
        self.letters.into_values().collect()
    }
}

fn instant(milliseconds: i64) -> String {
    chrono::DateTime::from_timestamp_millis(milliseconds)
        .map_or_else(|| format!("{milliseconds} ms"), |time| time.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string())
}
