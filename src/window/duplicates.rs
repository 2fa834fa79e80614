//! Deduplication: of the rows of a key that lie within a time of each other, the first or the last stays.
//!
//! Rows come in slices of time, each when the watermark has reached its end: then all rows before it are there, whatever order they were read
//! in. So what stays is a function of the rows: of *first*, those that have no other of their key in the time before them; of *last*, those that
//! have none in the time after them. Of rows of the same time the order of their partition decides.
//!
//! Of each key there is the time of its last row, until that is further back than the time; of *last* also the row. Checkpoints have of many keys
//! what is new (`duplicates_saved`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{cast, interleave_record_batch, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::row::{RowConverter, SortField};

use super::aggregate::Held;
use super::duplicates_saved::SavedKeys;
use super::watermark::{BEGINNING_OF_TIME, END_OF_TIME};
use crate::error::{Error, Result};

/// What of a key's rows stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keep {
    /// Rows that have no other in the time before them.
    First,
    /// Rows that have no other in the time after them.
    Last,
}

/// The columns of the position that rows are collected with, after their own.
pub const POSITION_FIELDS: [(&str, DataType); 2] =
    [("row_partition", DataType::Int32), ("row_offset", DataType::Int64)];

/// The longest slice of time that rows are collected for, in milliseconds.
const SLICE: i64 = 1_000;

/// How rows are compared.
#[derive(Debug)]
pub struct DuplicatePlan {
    /// Which of the rows' columns are the key.
    pub keys: Vec<usize>,
    /// Which is the time.
    pub time: usize,
    /// What stays.
    pub keep: Keep,
    /// The time in milliseconds within which a row is a duplicate.
    pub within: i64,
    /// The columns of the rows.
    pub rows: SchemaRef,
}

impl DuplicatePlan {
    /// The length of the slices that rows are collected for.
    pub fn slice(within: i64) -> i64 {
        within.clamp(1, SLICE)
    }

    /// How far behind the watermark the times of rows may be that come out, in milliseconds.
    pub fn behind(&self) -> i64 {
        let slice = Self::slice(self.within);
        match self.keep {
            Keep::First => slice,
            Keep::Last => self.within.saturating_add(slice),
        }
    }

    fn key_fields(&self) -> Vec<Field> {
        self.keys.iter().map(|&key| self.rows.field(key).clone().with_nullable(true)).collect()
    }

    fn converter(&self) -> Result<RowConverter> {
        let fields = self.key_fields().into_iter().map(|field| SortField::new(field.data_type().clone()));
        Ok(RowConverter::new(fields.collect())?)
    }

    /// Nanoseconds of a unit of the time column.
    fn unit(&self) -> i128 {
        match self.rows.field(self.time).data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
            DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => 1,
            _ => 1_000_000,
        }
    }

    /// The schema of what is saved: of *first* the keys, of *last* the rows with their positions; and the times.
    pub(super) fn state_schema(&self) -> SchemaRef {
        let mut fields = match self.keep {
            Keep::First => self.key_fields(),
            Keep::Last => {
                let fields = self.rows.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
                fields.chain(POSITION_FIELDS.map(|(name, data_type)| Field::new(name, data_type, false))).collect()
            }
        };
        fields.push(Field::new("row_time", DataType::Int64, false));
        // Names do not matter, and may be there twice.
        let numbered = fields.into_iter().enumerate().map(|(at, field)| field.with_name(format!("c{at}")));
        Arc::new(Schema::new(numbered.collect::<Vec<_>>()))
    }
}

/// The order of a row: its time in the column's unit, and its position.
pub(super) type Place = (i64, i32, i64);

/// Rows of which some are kept.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) batch: RecordBatch,
    /// The memory of one, about.
    bytes: usize,
}

impl Rows {
    fn new(batch: RecordBatch) -> Arc<Self> {
        let bytes = batch.get_array_memory_size() / batch.num_rows().max(1);
        Arc::new(Self { batch, bytes })
    }

    /// Those of a batch whose memory is counted elsewhere.
    pub(super) fn counted(batch: RecordBatch) -> Arc<Self> {
        Arc::new(Self { batch, bytes: 0 })
    }
}

/// One of them.
pub(super) type Row = (Arc<Rows>, u32);

/// The last row of a key.
pub(super) struct Seen {
    pub(super) place: Place,
    /// The row, where the last ones stay.
    pub(super) row: Option<Row>,
    /// Which settled keys it is among; `None` as long as it is new.
    pub(super) settled: Option<u64>,
}

impl Seen {
    /// The memory of its row.
    pub(super) fn bytes(&self) -> usize {
        self.row.as_ref().map_or(0, |(rows, _)| rows.bytes)
    }
}

/// The keys that have been there of late.
pub struct Duplicates {
    pub(super) plan: Arc<DuplicatePlan>,
    pub(super) converter: RowConverter,
    pub(super) seen: HashMap<Arc<[u8]>, Seen>,
    pub(super) saved: SavedKeys,
    /// Each key once, by the start of the slice in which it was when it got here: it may have been there again since.
    queue: BTreeMap<i64, Vec<Arc<[u8]>>>,
    /// Keys have been forgotten as of this watermark.
    pub(super) swept_to: i64,
    /// The memory of the keys and of their rows.
    pub(super) bytes: usize,
    /// How many keys have been looked at to find those to forget.
    #[cfg(test)]
    pub(super) looked_at: usize,
}

/// Rows of a slice of time: its start, its end, and the rows with their count, which is 1.
pub type Slice = (i64, i64, RecordBatch);

impl Duplicates {
    /// No keys yet.
    pub fn new(plan: Arc<DuplicatePlan>) -> Result<Self> {
        Ok(Self {
            converter: plan.converter()?,
            plan,
            seen: HashMap::new(),
            saved: SavedKeys::default(),
            queue: BTreeMap::new(),
            swept_to: BEGINNING_OF_TIME,
            bytes: 0,
            #[cfg(test)]
            looked_at: 0,
        })
    }

    /// What is known of keys.
    pub fn held(&self) -> Held {
        let entries = self.seen.len() * size_of::<(Arc<[u8]>, Seen, Arc<[u8]>)>();
        Held { bytes: entries + self.bytes + self.saved.size(), panes: 0, groups: self.seen.len(), closes_next: None }
    }

    /// Takes in the rows of slices, in the order of these; all slices that end by the watermark have come with this. Returns the rows that stay
    /// and are known to do so.
    pub fn pass(&mut self, slices: &[(i64, RecordBatch)], watermark: i64) -> Result<Vec<Slice>> {
        let mut staying: Vec<(Place, Row)> = Vec::new();
        let mut passed = Vec::new();
        for (start, groups) in slices {
            let first = self.take_in(groups, &mut staying)?;
            if !first.is_empty() {
                let rows = take_record_batch(&self.own_columns(groups)?, &UInt32Array::from(first))?;
                passed.push(self.counted(*start, &rows)?);
            }
        }
        self.sweep(watermark, &mut staying);
        staying.sort_by_key(|(place, _)| *place);
        for same in staying.chunk_by(|(one, _), (other, _)| self.slice_of(one.0) == self.slice_of(other.0)) {
            passed.push(self.counted(self.slice_of(same[0].0.0), &rows_of(same.iter().map(|(_, row)| row))?)?);
        }
        self.settle()?;
        Ok(passed)
    }

    /// Of *first*, which rows stay; of *last*, those of before that now stay are added.
    fn take_in(&mut self, groups: &RecordBatch, staying: &mut Vec<(Place, Row)>) -> Result<Vec<u32>> {
        let columns = self.plan.rows.fields().len();
        let times = cast(groups.column(self.plan.time), &DataType::Int64)?;
        let times = times.as_primitive::<Int64Type>();
        let damaged = || Error::internal("rows to be deduplicated have no position");
        let partitions = groups.column(columns).as_primitive_opt::<Int32Type>().ok_or_else(damaged)?;
        let offsets = groups.column(columns + 1).as_primitive_opt::<Int64Type>().ok_or_else(damaged)?;
        let place = |row: u32| {
            let row = row as usize;
            (times.value(row), partitions.value(row), offsets.value(row))
        };
        let mut order: Vec<u32> = (0..groups.num_rows() as u32).collect();
        order.sort_unstable_by_key(|&row| place(row));
        if order.windows(2).any(|pair| place(pair[0]) == place(pair[1])) {
            // One record may be there several times, by UNION ALL.
            let own = self.own_columns(groups)?;
            let fields = own.columns().iter().map(|column| SortField::new(column.data_type().clone())).collect();
            let values = RowConverter::new(fields)?.convert_columns(own.columns())?;
            order.sort_by(|&one, &other| {
                place(one).cmp(&place(other)).then_with(|| values.row(one as usize).cmp(&values.row(other as usize)))
            });
        }
        let keys: Vec<ArrayRef> = self.plan.keys.iter().map(|&key| Arc::clone(groups.column(key))).collect();
        let keys = self.converter.convert_columns(&keys)?;
        let own = self.own_columns(groups)?;
        let (mut first, keep, rows) = (Vec::new(), self.plan.keep, Rows::new(own));
        for row in order {
            let (key, place) = (keys.row(row as usize), place(row));
            let kept = (keep == Keep::Last).then(|| (Arc::clone(&rows), row));
            let now = Seen { place, row: kept, settled: None };
            self.bytes += now.bytes();
            let before = match self.seen.get_mut(key.data()) {
                Some(seen) => Some(std::mem::replace(seen, now)),
                None => {
                    self.bytes += key.data().len();
                    let key: Arc<[u8]> = key.data().into();
                    self.saved.note(Arc::clone(&key));
                    self.enqueue(&key, place.0);
                    self.seen.insert(key, now)
                }
            };
            if let Some(settled) = before.as_ref().and_then(|before| before.settled) {
                self.saved.leave(settled);
                self.seen.get_key_value(key.data()).into_iter().for_each(|(key, _)| self.saved.note(Arc::clone(key)));
            }
            self.bytes = self.bytes.saturating_sub(before.as_ref().map_or(0, Seen::bytes));
            let is_new = before.as_ref().is_none_or(|before| self.is_past(before.place.0, place.0));
            match (keep, before) {
                (Keep::First, _) if is_new => first.push(row),
                (Keep::Last, Some(Seen { place, row: Some(row), .. })) if is_new => staying.push((place, row)),
                _ => {}
            }
        }
        Ok(first)
    }

    /// From which time on rows are not all there, in nanoseconds, when all slices that end by the watermark are.
    fn known(&self, watermark: i64) -> i128 {
        let slice = DuplicatePlan::slice(self.plan.within);
        match watermark {
            END_OF_TIME => i128::MAX / 2,
            BEGINNING_OF_TIME => i128::MIN / 2,
            watermark => i128::from(watermark.div_euclid(slice).saturating_mul(slice)) * 1_000_000,
        }
    }

    /// Whether no row that comes after a watermark has anything to do with one of this time.
    pub(super) fn is_over(&self, time: i64, watermark: i64) -> bool {
        self.known(watermark) - i128::from(time) * self.plan.unit() > i128::from(self.plan.within) * 1_000_000
    }

    /// Whether a row of one time is so far back at another that it has nothing to do with rows there.
    fn is_past(&self, time: i64, now: i64) -> bool {
        (i128::from(now) - i128::from(time)) * self.plan.unit() > i128::from(self.plan.within) * 1_000_000
    }

    /// Notes when a key may be forgotten.
    pub(super) fn enqueue(&mut self, key: &Arc<[u8]>, time: i64) {
        self.queue.entry(self.slice_of(time)).or_default().push(Arc::clone(key));
    }

    /// Forgets the keys that no row to come has anything to do with. Those that have been there again wait for their turn once more.
    fn sweep(&mut self, watermark: i64, staying: &mut Vec<(Place, Row)>) {
        self.swept_to = self.swept_to.max(watermark);
        let (known, within) = (self.known(watermark), i128::from(self.plan.within) * 1_000_000);
        let mut again = Vec::new();
        while let Some(slice) = self.queue.first_entry().filter(|it| known - i128::from(*it.key()) * 1_000_000 > within)
        {
            for key in slice.remove() {
                #[cfg(test)]
                {
                    self.looked_at += 1;
                }
                let Some(time) = self.seen.get(&key).map(|seen| seen.place.0) else { continue };
                if !self.is_over(time, watermark) {
                    again.push((key, time));
                } else if let Some(seen) = self.seen.remove(&key) {
                    self.bytes = self.bytes.saturating_sub(key.len() + seen.bytes());
                    seen.settled.into_iter().for_each(|settled| self.saved.leave(settled));
                    staying.extend(seen.row.map(|row| (seen.place, row)));
                }
            }
        }
        again.into_iter().for_each(|(key, time)| self.enqueue(&key, time));
    }

    /// The start of the slice of a time, milliseconds.
    fn slice_of(&self, time: i64) -> i64 {
        let millis = (i128::from(time) * self.plan.unit()).div_euclid(1_000_000);
        let slice = i128::from(DuplicatePlan::slice(self.plan.within));
        i64::try_from(millis.div_euclid(slice) * slice).unwrap_or(i64::MIN)
    }

    pub(super) fn own_schema(&self) -> SchemaRef {
        let fields = self.plan.rows.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    fn own_columns(&self, groups: &RecordBatch) -> Result<RecordBatch> {
        let columns = groups.columns()[..self.plan.rows.fields().len()].to_vec();
        Ok(RecordBatch::try_new(self.own_schema(), columns)?)
    }

    fn counted(&self, start: i64, rows: &RecordBatch) -> Result<Slice> {
        let count: ArrayRef = Arc::new(Int64Array::from_value(1, rows.num_rows()));
        let fields = rows.schema_ref().fields().iter().map(|field| field.as_ref().clone());
        let fields = fields.chain([Field::new("count", DataType::Int64, false)]).collect::<Vec<_>>();
        let columns = rows.columns().iter().cloned().chain([count]).collect();
        let end = start.saturating_add(DuplicatePlan::slice(self.plan.within));
        Ok((start, end, RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?))
    }
}

/// These rows, which are of several batches.
pub(super) fn rows_of<'a>(rows: impl Iterator<Item = &'a Row>) -> Result<RecordBatch> {
    let (mut batches, mut places) = (Vec::new(), Vec::new());
    let mut known: HashMap<*const Rows, usize> = HashMap::new();
    for (of, row) in rows {
        let batch = *known.entry(Arc::as_ptr(of)).or_insert_with(|| {
            batches.push(&of.batch);
            batches.len() - 1
        });
        places.push((batch, *row as usize));
    }
    Ok(interleave_record_batch(&batches, &places)?)
}
