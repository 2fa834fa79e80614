//! What a query with early or corrected results has written of the windows that may still change, so that only rows that differ are
//! written again.
//!
//! ```text
//!  groups of a window now ──► rest of the query ──► rows ──┐
//!  rows written last, by window and key ───────────────────┴─► rows that differ, tombstones of those that are gone
//! ```
//!
//! It is saved with the windows, and brought up to the last checkpoint by the rows that those in between carry: a job that goes on
//! knows what is in the table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt8Array, UInt32Array, UInt64Array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, UInt8Type, UInt32Type};
use datafusion::arrow::row::{RowConverter, SortField};

use super::rows::conform;
use crate::error::{Error, Result};
use crate::sink::{IS_DELETED, IS_FINAL, REVISION, ROW_NUMBER, VERSION};
use crate::sql::plan::pipeline::RowIdentity;
use crate::window::assigner::Windows;
use crate::window::changed::{EVERYTHING, WindowBounds};

/// The version of the rows of an epoch: it rises with the epochs of a job, and from a job to one of its name that is started afresh.
/// 128 ms apart, these have room for 2^29 epochs.
pub fn version(started_at: i64, epoch: u64) -> u64 {
    let started_at = u64::try_from(started_at).unwrap_or_default();
    // Jobs number their epochs from the second in which they were started.
    (started_at >> 7 << 29) + epoch.saturating_sub(started_at / 1_000)
}

/// The columns that a table of revised rows has after those of the query. Rows with one key are numbered.
pub fn added_fields(numbered: bool) -> Vec<Field> {
    let number = numbered.then(|| Field::new(ROW_NUMBER, DataType::UInt32, false));
    let others = [
        (IS_FINAL, DataType::UInt8),
        (REVISION, DataType::UInt32),
        (IS_DELETED, DataType::UInt8),
        (VERSION, DataType::UInt64),
    ];
    number.into_iter().chain(others.map(|(name, data_type)| Field::new(name, data_type, false))).collect()
}

/// The rows of one query that are in its table and may still change.
pub struct Emitted {
    identity: RowIdentity,
    windows: Windows,
    allowed_lateness: i64,
    /// How many columns the query has.
    width: usize,
    /// The columns of the table.
    schema: SchemaRef,
    rows: RowConverter,
    keys: RowConverter,
    shown: BTreeMap<WindowBounds, Shown>,
    /// Windows that end up to here have been written as final.
    final_to: i64,
}

/// The rows of a window, by key.
type Shown = BTreeMap<Box<[u8]>, Row>;
/// A row and its key.
type KeyedRow = (Box<[u8]>, Row);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    /// The columns of the query.
    values: Box<[u8]>,
    /// Which one of its key.
    number: u32,
    revision: u32,
    is_final: bool,
    is_deleted: bool,
}

/// What is looked at again.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    /// The windows: those without rows have none any more.
    pub windows: BTreeSet<WindowBounds>,
    /// Whether these are all windows that are open.
    pub all: bool,
    /// How far event time has come.
    pub watermark: i64,
    /// The version of the rows that are written.
    pub version: u64,
}

impl Emitted {
    /// Nothing written yet. `schema` is that of the table: the columns of the query, then [`added_fields`].
    pub fn new(identity: &RowIdentity, windows: Windows, allowed_lateness: i64, schema: &SchemaRef) -> Result<Self> {
        let width = schema.fields().len() - added_fields(identity.numbered).len();
        let columns = |places: &mut dyn Iterator<Item = usize>| {
            let fields: Vec<_> = places.map(|place| SortField::new(schema.field(place).data_type().clone())).collect();
            RowConverter::new(fields)
        };
        let rows = columns(&mut (0..width)).map_err(|error| {
            Error::config(format!(
                "early and corrected results are compared with those before, which cannot be done here: {error}"
            ))
        })?;
        let keys = columns(&mut identity.key.iter().copied())?;
        let (shown, final_to) = (BTreeMap::new(), i64::MIN);
        let (identity, schema) = (identity.clone(), Arc::clone(schema));
        Ok(Self { identity, windows, allowed_lateness, width, schema, rows, keys, shown, final_to })
    }

    /// The rows to write, given those that windows have now: rows that differ from what was written, tombstones of rows that are gone.
    pub fn revise(&mut self, rows: &[RecordBatch], looked: &Looked) -> Result<Vec<RecordBatch>> {
        let mut fresh: BTreeMap<WindowBounds, Vec<KeyedRow>> = BTreeMap::new();
        for batch in rows {
            for (bounds, row) in self.rows_of(batch)? {
                fresh.entry(bounds).or_default().push(row);
            }
        }
        let Looked { watermark, .. } = *looked;
        let ends_now = |&(_, end): &WindowBounds| {
            (end > self.final_to && self.has_ended(end, watermark)) || self.closes_at(end) <= watermark
        };
        let mut windows: BTreeSet<WindowBounds> =
            self.shown.keys().filter(|it| looked.all || ends_now(it)).copied().collect();
        windows.extend(fresh.keys().chain(&looked.windows));
        windows.remove(&EVERYTHING);
        let mut written = Vec::new();
        for bounds in windows {
            let mut rows = fresh.remove(&bounds).unwrap_or_default();
            if self.identity.numbered {
                number(&mut rows);
            }
            let is_final = self.has_ended(bounds.1, watermark);
            let mut shown = self.shown.remove(&bounds).unwrap_or_default();
            let mut gone: BTreeSet<Box<[u8]>> =
                shown.iter().filter(|(_, row)| !row.is_deleted).map(|it| it.0.clone()).collect();
            for (key, row) in rows {
                gone.remove(&key);
                let before = shown.get(&key);
                let is_same =
                    before.is_some_and(|it| it.values == row.values && it.is_final == is_final && !it.is_deleted);
                if !is_same {
                    let row = Row { revision: before.map_or(0, |it| it.revision + 1), is_final, ..row };
                    written.push(row.clone());
                    shown.insert(key, row);
                }
            }
            for key in gone {
                if let Some(row) = shown.get_mut(&key) {
                    (row.revision, row.is_final, row.is_deleted) = (row.revision + 1, is_final, true);
                    written.push(row.clone());
                }
            }
            if self.closes_at(bounds.1) > watermark && !shown.is_empty() {
                self.shown.insert(bounds, shown);
            }
        }
        self.final_to = self.final_to.max(watermark);
        if written.is_empty() { Ok(Vec::new()) } else { Ok(vec![self.batch(&written, looked.version)?]) }
    }

    /// Up to where windows have been written as final.
    pub fn final_to(&self) -> i64 {
        self.final_to
    }

    /// Of a session, the end itself still belongs to it: a row there joins it.
    fn has_ended(&self, end: i64, watermark: i64) -> bool {
        match self.windows {
            Windows::Session { .. } => end < watermark,
            _ => end <= watermark,
        }
    }

    fn closes_at(&self, end: i64) -> i64 {
        let end = if matches!(self.windows, Windows::Session { .. }) { end.saturating_add(1) } else { end };
        end.saturating_add(self.allowed_lateness)
    }

    /// The rows of a batch whose first columns are those of the query, each with its window and key.
    fn rows_of(&self, batch: &RecordBatch) -> Result<Vec<(WindowBounds, KeyedRow)>> {
        let bounds = self.bounds(batch)?;
        let values = self.rows.convert_columns(&batch.columns()[..self.width])?;
        let keys: Vec<ArrayRef> = self.identity.key.iter().map(|&place| Arc::clone(batch.column(place))).collect();
        let keys = self.keys.convert_columns(&keys)?;
        let row = |place: usize| {
            let values = values.row(place).data().into();
            let row = Row { values, number: 0, revision: 0, is_final: false, is_deleted: false };
            (bounds[place], (keys.row(place).data().into(), row))
        };
        Ok((0..batch.num_rows()).map(row).collect())
    }

    /// The window of each row.
    fn bounds(&self, batch: &RecordBatch) -> Result<Vec<WindowBounds>> {
        let times = |bound: usize| self.identity.bounds[bound].map(|place| millis(batch.column(place))).transpose();
        let (starts, ends, lasts) = (times(0)?, times(1)?, times(2)?);
        let unknown = || Error::internal("a row does not say its window");
        let bounds = |row: usize| {
            let start = starts.as_ref().map(|it| it.value(row));
            let last = || lasts.as_ref().map(|it| it.value(row).saturating_add(1));
            let end = ends.as_ref().map(|it| it.value(row)).or_else(last);
            match (self.windows, start, end) {
                (_, Some(start), Some(end)) => Ok((start, end)),
                (Windows::Tumble(grid), None, Some(end)) => Ok((grid.previous(end), end)),
                (Windows::Cumulate { periods, .. }, None, Some(end)) => Ok((periods.start_of(end - 1), end)),
                (Windows::Tumble(_) | Windows::Hop { .. }, Some(start), None) => {
                    Ok((start, self.windows.end_after(start, start)))
                }
                _ => Err(unknown()),
            }
        };
        (0..batch.num_rows()).map(bounds).collect()
    }

    /// Rows as the table has them.
    fn batch(&self, rows: &[Row], version: u64) -> Result<RecordBatch> {
        let mut columns = self.values(rows)?;
        let flags = |flag: fn(&Row) -> bool| -> ArrayRef {
            Arc::new(UInt8Array::from_iter_values(rows.iter().map(|row| u8::from(flag(row)))))
        };
        columns.push(flags(|row| row.is_final));
        columns.push(Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.revision))));
        columns.push(flags(|row| row.is_deleted));
        columns.push(Arc::new(UInt64Array::from_value(version, rows.len())));
        conform(&columns, &self.schema)
    }

    /// The columns of the query, and the number of the row where rows are numbered.
    fn values(&self, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        let parser = self.rows.parser();
        let mut columns = self.rows.convert_rows(rows.iter().map(|row| parser.parse(&row.values)))?;
        if self.identity.numbered {
            columns.push(Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.number))));
        }
        Ok(columns)
    }

    /// All of it, for a checkpoint; `None` of nothing.
    pub fn save(&self) -> Result<Option<RecordBatch>> {
        let of_window = |(bounds, shown): (&WindowBounds, &Shown)| {
            shown.values().map(|row| (*bounds, row.clone())).collect::<Vec<_>>()
        };
        let (bounds, rows): (Vec<_>, Vec<_>) = self.shown.iter().flat_map(of_window).unzip();
        if rows.is_empty() {
            return Ok(None);
        }
        let times = |bound: fn(&WindowBounds) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(bounds.iter().map(bound)))
        };
        let flags = |flag: fn(&Row) -> bool| -> ArrayRef {
            Arc::new(rows.iter().map(|row| Some(flag(row))).collect::<BooleanArray>())
        };
        let mut columns: Vec<ArrayRef> = vec![
            times(|it| it.0),
            times(|it| it.1),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.revision))),
            flags(|row| row.is_final),
            flags(|row| row.is_deleted),
        ];
        columns.extend(self.values(&rows)?);
        let fields = columns.iter().enumerate();
        let fields = fields.map(|(place, column)| Field::new(format!("c{place}"), column.data_type().clone(), true));
        Ok(Some(RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)?))
    }

    /// Takes over what [`Self::save`] gave.
    pub fn restore(&mut self, saved: &RecordBatch) -> Result<()> {
        let damaged = || {
            Error::config(
                "what a checkpoint says of the results written so far cannot be read; run once with --from earliest, or start afresh with --reset-state and empty tables",
            )
        };
        let first = saved.columns().get(..5).ok_or_else(damaged)?;
        let times = |column: usize| first[column].as_primitive_opt::<Int64Type>().ok_or_else(damaged);
        let flags = |column: usize| first[column].as_boolean_opt().ok_or_else(damaged);
        let (starts, ends, finals, deleted) = (times(0)?, times(1)?, flags(3)?, flags(4)?);
        let revisions = first[2].as_primitive_opt::<UInt32Type>().ok_or_else(damaged)?;
        let values = self.as_query(&saved.columns()[5..]).map_err(|_| damaged())?;
        let numbers = self.numbers(&saved.columns()[5..]);
        for (place, (_, (key, row))) in self.rows_of(&values)?.into_iter().enumerate() {
            let number = numbers.as_ref().map_or(0, |it| it.value(place));
            let row = Row {
                number,
                revision: revisions.value(place),
                is_final: finals.value(place),
                is_deleted: deleted.value(place),
                ..row
            };
            let key = self.numbered(key, number);
            self.shown.entry((starts.value(place), ends.value(place))).or_default().insert(key, row);
        }
        Ok(())
    }

    /// Takes over rows that were written after what was restored.
    pub fn note_written(&mut self, rows: &RecordBatch) -> Result<()> {
        let damaged = || Error::internal("rows in a checkpoint are not those of their table");
        let column = |name: &str| rows.column_by_name(name).ok_or_else(damaged);
        let flags =
            |name: &str| column(name).map(|it| it.as_primitive_opt::<UInt8Type>().cloned())?.ok_or_else(damaged);
        let (finals, deleted) = (flags(IS_FINAL)?, flags(IS_DELETED)?);
        let revisions = column(REVISION)?.as_primitive_opt::<UInt32Type>().ok_or_else(damaged)?;
        let numbers = self.numbers(rows.columns());
        for (place, (bounds, (key, row))) in self.rows_of(rows)?.into_iter().enumerate() {
            let number = numbers.as_ref().map_or(0, |it| it.value(place));
            let row = Row {
                number,
                revision: revisions.value(place),
                is_final: finals.value(place) == 1,
                is_deleted: deleted.value(place) == 1,
                ..row
            };
            let key = self.numbered(key, number);
            self.shown.entry(bounds).or_default().insert(key, row);
        }
        Ok(())
    }

    /// Windows have been closed up to here: forgets those that cannot change any more.
    pub fn stand_at(&mut self, watermark: i64) {
        self.final_to = watermark;
        let mut shown = std::mem::take(&mut self.shown);
        shown.retain(|&(_, end), _| self.closes_at(end) > watermark);
        self.shown = shown;
    }

    fn as_query(&self, columns: &[ArrayRef]) -> Result<RecordBatch> {
        let fields = self.schema.fields()[..self.width].iter().map(|it| it.as_ref().clone().with_nullable(true));
        conform(&columns[..self.width.min(columns.len())], &Arc::new(Schema::new(fields.collect::<Vec<_>>())))
    }

    fn numbers(&self, columns: &[ArrayRef]) -> Option<UInt32Array> {
        columns.get(self.width).filter(|_| self.identity.numbered)?.as_primitive_opt::<UInt32Type>().cloned()
    }

    fn numbered(&self, key: Box<[u8]>, number: u32) -> Box<[u8]> {
        if self.identity.numbered { with_number(&key, number) } else { key }
    }
}

/// Numbers the rows of each key by their values: the same rows always have the same numbers.
fn number(rows: &mut [(Box<[u8]>, Row)]) {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&one, &other| (&rows[one].0, &rows[one].1.values).cmp(&(&rows[other].0, &rows[other].1.values)));
    let mut last: Option<(Box<[u8]>, u32)> = None;
    for place in order {
        let (key, row) = &mut rows[place];
        let number = last.as_ref().filter(|(it, _)| it == key).map_or(0, |(_, number)| number + 1);
        last = Some((key.clone(), number));
        row.number = number;
        *key = with_number(key, number);
    }
}

fn with_number(key: &[u8], number: u32) -> Box<[u8]> {
    key.iter().copied().chain(number.to_be_bytes()).collect()
}

/// Times as milliseconds since the epoch.
fn millis(column: &ArrayRef) -> Result<Int64Array> {
    let DataType::Timestamp(unit, _) = column.data_type() else {
        return Err(Error::internal("the bounds of a window are not times"));
    };
    let values = cast(column, &DataType::Int64)?;
    let values = values.as_primitive::<Int64Type>();
    Ok(match unit {
        TimeUnit::Second => values.unary(|value| value.saturating_mul(1_000)),
        TimeUnit::Millisecond => values.clone(),
        TimeUnit::Microsecond => values.unary(|value| value.div_euclid(1_000)),
        TimeUnit::Nanosecond => values.unary(|value| value.div_euclid(1_000_000)),
    })
}
