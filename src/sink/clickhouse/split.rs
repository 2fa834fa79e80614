//! Cuts a block into inserts: each is one block of the server, of which each partition is written whole or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::{cast, interleave_record_batch, max, min};
use datafusion::arrow::datatypes::{DataType, Int64Type, TimeUnit};

use crate::error::Result;

/// Rows of one insert at most. The server's own limit of a block is about the same.
pub(super) const CHUNK_ROWS: usize = 1_048_576;
/// Partitions of one insert at most: the server's `max_partitions_per_insert_block`, unless it was changed.
pub(super) const CHUNK_PARTS: usize = 100;

/// How the table is parted, as far as it matters to an insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parting {
    /// One partition.
    Whole,
    /// `toYYYYMM` of the column at this index of the sent rows.
    Month(usize),
    /// `toYYYYMMDD` of it, or another function that parts by days.
    Day(usize),
    /// By something else: an insert may touch several partitions.
    Other,
}

/// Which partition rows belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The only one, or unknown.
    Any,
    /// `yyyymm` or `yyyymmdd`.
    Time(i64),
    /// The one of NULL.
    Null,
}

/// One insert: under one token, whole months or a part of one.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// What the block's token is continued with, empty where the block is one chunk.
    pub(crate) suffix: String,
    pub(crate) pieces: Vec<Piece>,
}

/// Rows of one partition within one insert. The server makes them one part, which is there whole or not at all.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) part: Part,
    pub(crate) rows: Vec<RecordBatch>,
    /// How many rows of the block its partition has once this piece is in, given that the pieces go in their order.
    pub(crate) rows_until: u64,
    /// Whether these are all of the block's rows of the partition.
    pub(crate) alone: bool,
}

impl Piece {
    pub(crate) fn row_count(&self) -> usize {
        self.rows.iter().map(RecordBatch::num_rows).sum()
    }
}

/// Cuts rows by partition and then by number, and gathers small partitions into one insert.
/// The same rows are always cut the same way.
pub(crate) fn split(rows: Vec<RecordBatch>, parting: Parting, chunk_rows: usize) -> Result<Vec<Chunk>> {
    let rows: Vec<RecordBatch> = rows.into_iter().filter(|batch| batch.num_rows() > 0).collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let parts = match parting {
        Parting::Whole | Parting::Other => vec![(Part::Any, rows)],
        Parting::Month(column) => by_part(rows, column, month)?,
        Parting::Day(column) => by_part(rows, column, day_number)?,
    };
    let mut chunks: Vec<Vec<Piece>> = Vec::new();
    for piece in parts.into_iter().flat_map(|(part, rows)| by_number(part, rows, chunk_rows.max(1))) {
        match chunks.last_mut() {
            Some(chunk)
                if chunk.len() < CHUNK_PARTS
                    && chunk.iter().map(Piece::row_count).sum::<usize>() + piece.row_count() <= chunk_rows =>
            {
                chunk.push(piece);
            }
            _ => chunks.push(vec![piece]),
        }
    }
    let single = chunks.len() == 1;
    let numbered = chunks.into_iter().enumerate();
    Ok(numbered
        .map(|(number, pieces)| Chunk { suffix: if single { String::new() } else { format!("/{number}") }, pieces })
        .collect())
}

/// The rows of each partition, in their order.
fn by_part(rows: Vec<RecordBatch>, column: usize, part_of: fn(i64) -> i64) -> Result<Vec<(Part, Vec<RecordBatch>)>> {
    let days: Vec<ArrayRef> = rows.iter().map(|batch| to_days(batch.column(column))).collect::<Result<_>>()?;
    if let Some(part) = only_part(&days, part_of) {
        return Ok(vec![(part, rows)]);
    }
    let mut places: BTreeMap<Part, Vec<(usize, usize)>> = BTreeMap::new();
    for (batch, days) in days.iter().enumerate() {
        let days = days.as_primitive::<Int64Type>();
        // Neighbours are mostly of one day: look a partition up only where it changes.
        let mut last: Option<(Option<i64>, Part)> = None;
        for row in 0..days.len() {
            let value = days.is_valid(row).then(|| days.value(row));
            let part = match last {
                Some((known, part)) if known == value => part,
                _ => value.map_or(Part::Null, |day| Part::Time(part_of(day))),
            };
            last = Some((value, part));
            places.entry(part).or_default().push((batch, row));
        }
    }
    let all: Vec<&RecordBatch> = rows.iter().collect();
    places.into_iter().map(|(part, places)| Ok((part, vec![interleave_record_batch(&all, &places)?]))).collect()
}

/// The partition of all rows, when it is one.
fn only_part(days: &[ArrayRef], part_of: fn(i64) -> i64) -> Option<Part> {
    let mut only = None;
    for days in days {
        let days = days.as_primitive::<Int64Type>();
        let part = match (min(days), max(days)) {
            (Some(least), Some(greatest)) if days.null_count() == 0 && part_of(least) == part_of(greatest) => {
                Part::Time(part_of(least))
            }
            (None, None) => Part::Null,
            _ => return None,
        };
        if only.is_some_and(|known| known != part) {
            return None;
        }
        only = Some(part);
    }
    only
}

/// The rows of one partition in pieces of at most this many.
fn by_number(part: Part, rows: Vec<RecordBatch>, piece_rows: usize) -> Vec<Piece> {
    let total: usize = rows.iter().map(RecordBatch::num_rows).sum();
    if total <= piece_rows {
        return vec![Piece { part, rows, rows_until: total as u64, alone: true }];
    }
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut room, mut rows_until) = (0, 0);
    for batch in rows {
        let mut from = 0;
        while from < batch.num_rows() {
            if room == 0 {
                pieces.push(Piece { part, rows: Vec::new(), rows_until, alone: false });
                room = piece_rows;
            }
            let length = room.min(batch.num_rows() - from);
            rows_until += length as u64;
            if let Some(piece) = pieces.last_mut() {
                piece.rows.push(batch.slice(from, length));
                piece.rows_until = rows_until;
            }
            from += length;
            room -= length;
        }
    }
    pieces
}

/// Days since the epoch, UTC, of a column of dates or times.
fn to_days(array: &ArrayRef) -> Result<ArrayRef> {
    let per_day = match array.data_type() {
        DataType::Date32 => return Ok(cast(&cast(array, &DataType::Int32)?, &DataType::Int64)?),
        DataType::Timestamp(TimeUnit::Second, _) => 86_400,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 86_400_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 86_400_000_000,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 86_400_000_000_000_i64,
        other => return Err(crate::error::Error::internal(format!("cannot part rows by a column of type {other}"))),
    };
    let values = cast(array, &DataType::Int64)?;
    let days = values.as_primitive::<Int64Type>().unary::<_, Int64Type>(|value| value.div_euclid(per_day));
    Ok(Arc::new(days))
}

/// `toYYYYMM` of a day.
fn month(day: i64) -> i64 {
    day_number(day) / 100
}

/// `toYYYYMMDD` of a day since the epoch, for the years 0 – 9999.
fn day_number(day: i64) -> i64 {
    // Days in eras of 400 years that begin on 1 March (Howard Hinnant's civil_from_days).
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    year * 10_000 + month * 100 + day_of_month
}
