//! The last image of each row of a table, by primary key and partition.
//!
//! Keys and images are rows in Arrow's row format: one look-up a change, and nothing allocated for it where they are of a few numbers.
//! What comes out is columns again.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayData, ArrayRef, RecordBatch, UInt32Array, make_array};
use datafusion::arrow::buffer::MutableBuffer;
use datafusion::arrow::compute::{interleave, take_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{HashMap, HashSet};

use super::bytes::Bytes;
use super::memory::Memory;
use super::rows_map::{Keyed, RowsMap};
use super::whole::{Was, Whole};
use crate::change::{ChangeBatch, NO_TIME, Op, TopicPartition};
use crate::error::Result;

/// Rows that are turned into columns at a time: bounds the offsets of their strings.
pub(super) const CHUNK_ROWS: usize = 16_384;

/// The rows of one table, as far as the partitions of one lane have told them.
pub struct KeyedRows {
    pub(super) schema: SchemaRef,
    pub(super) key: Vec<usize>,
    pub(super) keys: RowConverter,
    pub(super) images: RowConverter,
    pub(super) partitions: HashMap<TopicPartition, Partition>,
    /// What the rows may take.
    pub(super) memory: Option<Arc<Memory>>,
}

/// The rows of one partition.
#[derive(Default)]
pub(super) struct Partition {
    pub(super) rows: RowsMap,
    /// The row that the last change deleted, if it did. A key that changes is a delete and then an insert, which leaves
    /// out what did not change.
    pub(super) deleted: Option<Bytes>,
    /// The keys of rows that no window has, because their event times were too far ahead of their records. Mostly none.
    pub(super) ahead: HashSet<Box<[u8]>>,
    /// How many changes took back a row that was not there.
    pub(super) unmatched: u64,
}

impl Partition {
    /// Takes all rows out, ordered by their keys.
    fn take_all(&mut self) -> Result<Vec<Keyed>> {
        self.deleted = None;
        self.rows.take_sorted()
    }
}

/// Changes made whole.
#[derive(Debug)]
pub struct Resolved {
    /// The changes, in stretches.
    pub changes: Vec<Whole>,
    /// Rows of the batch, with a column each, whose value the event left out and nobody knows. They are in none of the
    /// changes, and changed nothing.
    pub missing: Vec<(u32, u32)>,
    /// The images after the changes of the whole batch, with the values that events left out where they are known.
    pub filled: RecordBatch,
}

impl std::fmt::Debug for KeyedRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedRows").field("key", &self.key).field("rows", &self.len()).finish_non_exhaustive()
    }
}

/// Where the old image of a change is found.
#[derive(Clone)]
enum Old {
    /// It was kept.
    Kept(Bytes),
    /// It was kept, and is as the new one.
    Same,
    /// The event has it.
    Event,
    Unknown,
}

impl KeyedRows {
    /// No rows yet, of these columns, with the key at these places.
    pub fn new(schema: SchemaRef, key: Vec<usize>) -> Result<Self> {
        let field = |place: usize| SortField::new(schema.field(place).data_type().clone());
        let keys = RowConverter::new(key.iter().map(|&place| field(place)).collect())?;
        let images = RowConverter::new((0..schema.fields().len()).map(field).collect())?;
        Ok(Self { schema, key, keys, images, partitions: HashMap::default(), memory: None })
    }

    /// The same, with rows on disk when there are more than this memory holds.
    pub fn within(mut self, memory: Option<Arc<Memory>>) -> Self {
        self.memory = memory;
        self
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.partitions.values().map(|partition| partition.rows.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in the changes of one stretch of one partition, and makes them whole. `alone`: the partition has all of
    /// the table's changes, so that what follows each other in it did so in the table.
    pub fn apply(&mut self, changes: &ChangeBatch, alone: bool) -> Result<Resolved> {
        let mut partition = self.partitions.remove(&changes.source).unwrap_or_default();
        partition.rows.share(self.memory.as_ref());
        let resolved = Stretch::new(self, changes, alone).and_then(|stretch| stretch.apply(self, &mut partition));
        self.partitions.insert(changes.source.clone(), partition);
        resolved
    }

    /// Takes all rows of a partition out: as deletes at this offset, ordered by their keys.
    pub fn empty(&mut self, source: &TopicPartition, offset: i64) -> Result<Vec<ChangeBatch>> {
        match self.partitions.get_mut(source) {
            Some(partition) => {
                let rows = partition.take_all()?;
                self.deletes(source, &rows, offset)
            }
            None => Ok(Vec::new()),
        }
    }

    /// Notes of a row of a partition whether windows left it out because its event time was too far ahead of its record; says
    /// whether they had left out the one before it. `after` is `None` of a row that is only taken away.
    pub fn note_ahead(&mut self, source: &TopicPartition, key: &[u8], after: Option<bool>) -> bool {
        let ahead = &mut self.partitions.entry(source.clone()).or_default().ahead;
        let was = ahead.remove(key);
        if after == Some(true) {
            ahead.insert(key.into());
        }
        was
    }

    /// Whether there are rows in a partition that windows left out.
    pub fn has_ahead(&self, source: &TopicPartition) -> bool {
        self.partitions.get(source).is_some_and(|partition| !partition.ahead.is_empty())
    }

    /// Counts a change that took back a row which was not there; returns which it was, from 1.
    pub fn count_unmatched(&mut self, source: &TopicPartition) -> u64 {
        let unmatched = &mut self.partitions.entry(source.clone()).or_default().unmatched;
        *unmatched += 1;
        *unmatched
    }

    /// The keys of rows.
    pub fn key_rows(&self, rows: &RecordBatch) -> Result<Rows> {
        let columns: Vec<ArrayRef> = self.key.iter().map(|&place| Arc::clone(rows.column(place))).collect();
        Ok(self.keys.convert_columns(&columns)?)
    }

    pub(super) fn columns(&self, images: &[impl AsRef<[u8]>]) -> Result<RecordBatch> {
        if images.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let parser = self.images.parser();
        let columns = self.images.convert_rows(images.iter().map(|image| parser.parse(image.as_ref())))?;
        let columns = columns.into_iter().map(zero_where_null).collect::<Result<_>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn deletes(&self, source: &TopicPartition, rows: &[Keyed], offset: i64) -> Result<Vec<ChangeBatch>> {
        let delete = |chunk: &[Keyed]| {
            let images: Vec<&[u8]> = chunk.iter().map(|(_, image)| image.as_ref()).collect();
            Ok(deletes(source.clone(), offset, self.columns(&images)?))
        };
        rows.chunks(CHUNK_ROWS).map(delete).collect()
    }
}

/// Arrow's row format has the least value where there is none, which ClickHouse refuses (`Date32`) though it is null.
fn zero_where_null(column: ArrayRef) -> Result<ArrayRef> {
    let (Some(width), true) = (column.data_type().primitive_width(), column.null_count() > 0) else {
        return Ok(column);
    };
    let data = column.to_data();
    let Some(values) = data.buffers().first() else { return Ok(column) };
    let mut zeroed = MutableBuffer::new(data.len() * width);
    zeroed.extend_from_slice(&values.as_slice()[data.offset() * width..(data.offset() + data.len()) * width]);
    for row in (0..column.len()).filter(|&row| column.is_null(row)) {
        zeroed.as_slice_mut()[row * width..(row + 1) * width].fill(0);
    }
    let builder = ArrayData::builder(data.data_type().clone()).len(data.len()).nulls(data.nulls().cloned());
    Ok(make_array(builder.add_buffer(zeroed.into()).build()?))
}

fn deletes(source: TopicPartition, offset: i64, rows: RecordBatch) -> ChangeBatch {
    let count = rows.num_rows();
    ChangeBatch {
        source,
        range: crate::change::OffsetRange { from: offset, to: offset + 1 },
        ops: vec![Op::Delete; count],
        offsets: vec![offset; count],
        timestamps: vec![NO_TIME; count],
        source_times: Vec::new(),
        rows,
        before: None,
        envelope: None,
        unavailable: Vec::new(),
        dead_letters: Vec::new(),
    }
}

/// Changes on their way into a map.
struct Stretch<'a> {
    changes: &'a ChangeBatch,
    alone: bool,
    keys: Rows,
    /// The keys before the changes, where the events have images.
    keys_before: Option<Rows>,
    /// The images after the changes, filled as far as the work has come.
    rows: Vec<ArrayRef>,
    missing: Vec<(u32, u32)>,
    olds: Vec<Old>,
}

impl<'a> Stretch<'a> {
    fn new(state: &KeyedRows, changes: &'a ChangeBatch, alone: bool) -> Result<Self> {
        let before = changes.before.as_ref().filter(|before| before.present.contains(&true));
        Ok(Self {
            changes,
            alone,
            keys: state.key_rows(&changes.rows)?,
            keys_before: before.map(|before| state.key_rows(&before.rows)).transpose()?,
            rows: changes.rows.columns().to_vec(),
            missing: Vec::new(),
            olds: vec![Old::Unknown; changes.len()],
        })
    }

    fn apply(mut self, state: &KeyedRows, partition: &mut Partition) -> Result<Resolved> {
        let mut resolved = Vec::new();
        let mut from = 0;
        while from < self.changes.len() {
            if self.changes.ops[from] == Op::Truncate {
                let (offset, source) = (self.changes.offsets[from], &self.changes.source);
                let deletes = state.deletes(source, &partition.take_all()?, offset)?;
                resolved.extend(deletes.into_iter().map(|changes| {
                    let (places, was) = (vec![from as u32; changes.len()], vec![Was::Kept; changes.len()]);
                    let kept = changes.rows.clone();
                    Whole::new(changes, kept, places, was)
                }));
                from += 1;
                continue;
            }
            let to = self.end_of_segment(from);
            self.fill(state, partition, from..to)?;
            self.take_in(state, partition, from..to)?;
            let changes = self.resolved(state, from..to)?;
            if !changes.changes.is_empty() {
                resolved.push(changes);
            }
            from = to;
        }
        let filled = RecordBatch::try_new(Arc::clone(&state.schema), self.rows)?;
        Ok(Resolved { changes: resolved, missing: self.missing, filled })
    }

    /// The key under which the row was before the change.
    fn old_key(&self, row: usize) -> &[u8] {
        match (&self.keys_before, &self.changes.before) {
            (Some(keys), Some(before)) if before.present[row] && self.changes.ops[row] == Op::Update => {
                keys.row(row).data()
            }
            _ => self.keys.row(row).data(),
        }
    }

    fn unavailable(&self, rows: std::ops::Range<usize>) -> &'a [(u32, u32)] {
        let all = &self.changes.unavailable;
        let at = |row: usize| all.partition_point(|&(other, _)| (other as usize) < row);
        &all[at(rows.start)..at(rows.end)]
    }

    /// Where a stretch ends whose left-out values can be filled in at once: before a truncate, and before a row that
    /// needs what this stretch itself brings.
    fn end_of_segment(&self, from: usize) -> usize {
        let ops = &self.changes.ops[from..];
        let end = from + ops.iter().position(|op| *op == Op::Truncate).unwrap_or(ops.len());
        let mut left_out = self.unavailable(from..end).iter().map(|&(row, _)| row as usize).peekable();
        if left_out.peek().is_none() {
            return end;
        }
        let mut touched: HashSet<&[u8]> = HashSet::default();
        for row in from..end {
            let mut needs = false;
            while left_out.next_if_eq(&row).is_some() {
                needs = true;
            }
            let follows_delete = row > from && self.changes.ops[row - 1] == Op::Delete;
            if needs && (follows_delete || touched.contains(self.old_key(row))) {
                return row;
            }
            touched.insert(self.old_key(row));
            touched.insert(self.keys.row(row).data());
        }
        end
    }

    /// Puts in what events left out.
    fn fill(&mut self, state: &KeyedRows, partition: &Partition, rows: std::ops::Range<usize>) -> Result<()> {
        let first = rows.start;
        let left_out = self.unavailable(rows);
        if left_out.is_empty() {
            return Ok(());
        }
        let mut images: Vec<Cow<'_, [u8]>> = Vec::new();
        let mut places: HashMap<u32, Option<usize>> = HashMap::default();
        for &(row, _) in left_out {
            if places.contains_key(&row) {
                continue;
            }
            // Only a key that changes inserts a row without saying all of it: the row that was deleted just before.
            let moved = || {
                let is_insert = self.changes.ops[row as usize] == Op::Create && row as usize == first && self.alone;
                partition.deleted.as_deref().filter(|_| is_insert).map(Cow::Borrowed)
            };
            let image = partition.rows.get(self.old_key(row as usize))?.or_else(moved);
            let place = image.map(|image| {
                images.push(image);
                images.len() - 1
            });
            places.insert(row, place);
        }
        let kept = state.columns(&images)?;
        let event = self.changes.before.as_ref();
        let has = |row: u32, column: u32| {
            event.is_some_and(|it| it.present[row as usize] && it.rows.column(column as usize).is_valid(row as usize))
        };
        let mut by_column: HashMap<usize, Vec<(usize, usize)>> = HashMap::default();
        for &(row, column) in left_out {
            let from = match places.get(&row).copied().flatten() {
                Some(place) => (1, place),
                None if has(row, column) => (2, row as usize),
                None => {
                    if self.missing.last().is_none_or(|&(last, _)| last != row) {
                        self.missing.push((row, column));
                    }
                    continue;
                }
            };
            let all = || (0..self.changes.len()).map(|row| (0, row)).collect();
            by_column.entry(column as usize).or_insert_with(all)[row as usize] = from;
        }
        for (column, indices) in by_column {
            let mut sources: Vec<&dyn Array> = vec![&self.rows[column], kept.column(column)];
            sources.extend(event.map(|it| it.rows.column(column) as &dyn Array));
            self.rows[column] = interleave(&sources, &indices)?;
        }
        Ok(())
    }

    /// Moves the map on, and notes what was there.
    fn take_in(&mut self, state: &KeyedRows, partition: &mut Partition, rows: std::ops::Range<usize>) -> Result<()> {
        let columns: Vec<ArrayRef> = self.rows.iter().map(|it| it.slice(rows.start, rows.len())).collect();
        let images = state.images.convert_columns(&columns)?;
        let mut missing =
            self.missing.iter().map(|&(row, _)| row as usize).skip_while(|&row| row < rows.start).peekable();
        let map = &mut partition.rows;
        for row in rows.clone() {
            partition.deleted = None;
            if missing.next_if_eq(&row).is_some() {
                continue;
            }
            let key = self.keys.row(row).data();
            let old_key = self.old_key(row);
            let has_event = self.changes.before.as_ref().is_some_and(|before| before.present[row]);
            let is_update = self.changes.ops[row] == Op::Update;
            let old = match self.changes.ops[row] {
                Op::Delete => {
                    let old = map.remove(key)?;
                    partition.deleted.clone_from(&old);
                    old
                }
                _ => {
                    let moved = if old_key == key { None } else { map.remove(old_key)? };
                    let image = images.row(row - rows.start);
                    let replaced = map.insert(key, image.data())?;
                    if old_key == key && replaced.as_deref() == Some(image.data()) {
                        self.olds[row] = Old::Same;
                        continue;
                    }
                    if old_key == key { replaced } else { moved }
                }
            };
            self.olds[row] = match old {
                Some(image) => Old::Kept(image),
                None if has_event && is_update => Old::Event,
                None => Old::Unknown,
            };
        }
        Ok(())
    }

    /// The changes of a stretch, whole.
    fn resolved(&mut self, state: &KeyedRows, rows: std::ops::Range<usize>) -> Result<Whole> {
        let lost: HashSet<u32> = self.missing.iter().map(|&(row, _)| row).collect();
        let picked = rows.map(|row| row as u32).filter(|row| lost.is_empty() || !lost.contains(row));
        let picked: UInt32Array = UInt32Array::from_iter_values(picked);
        let places = picked.values().to_vec();
        let was = places.iter().map(|&row| match (&self.olds[row as usize], self.changes.ops[row as usize]) {
            (Old::Kept(_), _) => Was::Kept,
            (Old::Same, _) => Was::Same,
            (Old::Event, _) | (Old::Unknown, Op::Delete) => Was::Event,
            (Old::Unknown, _) => Was::Nothing,
        });
        let was: Vec<Was> = was.collect();
        let images = places.iter().filter_map(|&row| match &self.olds[row as usize] {
            Old::Kept(image) => Some(image),
            _ => None,
        });
        let kept = state.columns(&images.collect::<Vec<_>>())?;
        let rows = RecordBatch::try_new(Arc::clone(&state.schema), self.rows.clone())?;
        let (unavailable, dead_letters) = (Vec::new(), Vec::new());
        let changes = match picked.len() == self.changes.len() {
            true => ChangeBatch { rows, unavailable, dead_letters, ..self.changes.clone() },
            false => {
                let rows = take_record_batch(&rows, &picked)?;
                ChangeBatch { rows, unavailable, ..self.changes.take(&picked)? }
            }
        };
        Ok(Whole::new(changes, kept, places, was))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, Date32Array, Int32Array, StringArray};
    use datafusion::arrow::datatypes::{DataType, Date32Type, Field, Schema};

    use super::*;
    use crate::change::OffsetRange;

    #[test]
    fn a_null_that_was_kept_is_zero_below() {
        let fields = vec![
            Field::new("id", DataType::Int32, true),
            Field::new("day", DataType::Date32, true),
            Field::new("text", DataType::Utf8, true),
        ];
        let schema = Arc::new(Schema::new(fields));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![1, 2])),
            Arc::new(Date32Array::from(vec![None, Some(-7)])),
            Arc::new(StringArray::from(vec![Some("a"), None])),
        ];
        let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        let source = TopicPartition { topic: "t".into(), partition: 0 };
        let mut changes = deletes(source.clone(), 5, rows.clone());
        changes.ops = vec![Op::Create; 2];
        changes.range = OffsetRange { from: 5, to: 6 };
        let mut state = KeyedRows::new(schema, vec![0]).unwrap();
        state.apply(&changes, true).unwrap();
        let deleted = state.empty(&source, 9).unwrap();
        assert_eq!(deleted[0].rows, rows);
        assert_eq!(deleted[0].rows.column(1).as_primitive::<Date32Type>().values().as_ref(), [0, -7]);
        assert!(state.is_empty());
    }
}
