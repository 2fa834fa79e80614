//! Fragments of sessions as columns: what leaves a lane, and what a checkpoint holds.
//!
//! What leaves a lane has all of its fragments. Of many fragments checkpoints have settled batches (`session_groups`) instead, each with
//! what has changed since the one before; the last row of a number is how it is.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, UInt64Type};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::physical_expr::PhysicalExpr;

use super::pane::PaneLayout;
use super::session_fragments::Fragment;
use super::session_points::Point;
use crate::change::TopicPartition;
use crate::error::{Error, Result};

/// The columns that describe a fragment, before its key.
pub(super) const DESCRIPTION: [(&str, DataType); 8] = [
    ("session_number", DataType::UInt64),
    ("session_topic", DataType::Utf8),
    ("session_partition", DataType::Int32),
    ("session_start", DataType::Int64),
    ("session_last", DataType::Int64),
    ("session_reach", DataType::Int64),
    ("session_reach_since", DataType::Int64),
    ("session_has_group", DataType::Boolean),
];

pub(super) const HAS_GROUP: usize = DESCRIPTION.len() - 1;
pub(super) const TOPIC: usize = 1;
/// The last column of settled batches: the number that the groups are under, where the first has that of the fragment.
pub(super) const UNIT: &str = "session_unit";

/// Those that describe the point of a row, after them: only where rows are taken back.
const POINT: [(&str, DataType); 3] =
    [("session_time", DataType::Int64), ("session_rows", DataType::Int64), ("session_since", DataType::Int64)];

/// How a query's sessions are found and kept.
#[derive(Debug)]
pub struct SessionPlan {
    /// What sessions are of: `PARTITION BY`, over the rows before the window.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The gap in milliseconds.
    pub gap: i64,
    /// The layout of a lane's pane: the fragment, then the group keys.
    pub fragments: Arc<PaneLayout>,
    /// The layout of closed sessions: start, end, then the group keys.
    pub closed: Arc<PaneLayout>,
    pub(super) key_types: Vec<DataType>,
    state: SchemaRef,
    /// The columns of settled batches.
    pub(super) settled: SchemaRef,
}

impl SessionPlan {
    /// Sessions of these keys, each of a type, whose groups are laid out like this.
    pub fn new(
        keys: Vec<Arc<dyn PhysicalExpr>>,
        key_types: Vec<DataType>,
        gap: i64,
        groups: &PaneLayout,
    ) -> Result<Self> {
        let with = |fields: &[(&str, DataType)]| {
            let fields = fields.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), false));
            groups.with_leading_keys(fields.collect()).map(Arc::new)
        };
        let fragments = with(&[("session", DataType::UInt64)])?;
        let closed = with(&[("start", DataType::Int64), ("end", DataType::Int64)])?;
        let points = groups.undo().iter().flat_map(|_| POINT).collect::<Vec<_>>();
        let described = DESCRIPTION.into_iter().chain(points);
        let described = described.map(|(name, data_type)| Field::new(name, data_type, false));
        let keyed = key_types.iter().enumerate();
        let keyed =
            keyed.map(|(number, data_type)| Field::new(format!("session_key{number}"), data_type.clone(), true));
        let grouped = groups.state_schema().fields().iter().map(|field| field.as_ref().clone());
        let mut fields: Vec<Field> = described.chain(keyed).chain(grouped).collect();
        let state = Arc::new(Schema::new(fields.clone()));
        // All rows have one of few.
        let topics = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        fields[TOPIC] = Field::new(DESCRIPTION[TOPIC].0, topics, false);
        fields.push(Field::new(UNIT, DataType::UInt64, false));
        let settled = Arc::new(Schema::new(fields));
        Ok(Self { keys, gap, fragments, closed, key_types, state, settled })
    }

    /// Whether rows are taken back.
    pub(super) fn takes_back(&self) -> bool {
        self.fragments.undo().is_some()
    }

    /// How many columns there are before the key.
    pub(super) fn described(&self) -> usize {
        DESCRIPTION.len() + if self.takes_back() { POINT.len() } else { 0 }
    }

    /// The first watermark that has passed a fragment.
    pub fn closes_at(&self, last: i64, allowed_lateness: i64) -> i64 {
        last.saturating_add(self.gap).saturating_add(allowed_lateness).saturating_add(1)
    }

    /// What turns keys into bytes and back.
    pub fn key_rows(&self) -> Result<KeyRows> {
        let fields: Vec<_> = self.key_types.iter().cloned().map(SortField::new).collect();
        Ok(KeyRows(if fields.is_empty() { None } else { Some(RowConverter::new(fields)?) }))
    }

    /// The state of fragments, a row per group.
    pub(super) fn state(&self, rows: &[FragmentRow<'_>], groups: &[ArrayRef], keys: &KeyRows) -> Result<RecordBatch> {
        let topics = StringArray::from_iter_values(rows.iter().map(|row| &row.source.topic));
        let columns = self.columns(rows, Arc::new(topics), groups, keys)?;
        Ok(RecordBatch::try_new(Arc::clone(&self.state), columns)?)
    }

    pub(super) fn columns(
        &self,
        rows: &[FragmentRow<'_>],
        topics: ArrayRef,
        groups: &[ArrayRef],
        keys: &KeyRows,
    ) -> Result<Vec<ArrayRef>> {
        let numbers = |value: fn(&FragmentRow<'_>) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(value)))
        };
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.number))),
            topics,
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.source.partition))),
            numbers(|row| row.fragment.start),
            numbers(|row| row.fragment.last),
            numbers(|row| row.reach.start),
            numbers(|row| row.reach.since),
            Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.has_group)))),
        ];
        if self.takes_back() {
            let value = |value: fn(i64, Point) -> i64| -> ArrayRef {
                Arc::new(Int64Array::from_iter_values(
                    rows.iter().map(|row| row.point.map_or(0, |it| value(it.0, it.1))),
                ))
            };
            columns.extend([value(|time, _| time), value(|_, point| point.rows), value(|_, point| point.since)]);
        }
        columns.extend(keys.columns(rows.iter().map(|row| row.key))?);
        columns.extend(groups.iter().cloned());
        Ok(columns)
    }

    /// The fragments of a state.
    pub(super) fn fragments_of(&self, state: &RecordBatch, keys: &KeyRows) -> Result<Vec<SavedFragment>> {
        let numbers = state.column(0).as_primitive_opt::<UInt64Type>().ok_or_else(damaged)?;
        let topics = state.column(1).as_string_opt::<i32>().ok_or_else(damaged)?;
        let partitions = state.column(2).as_primitive_opt::<Int32Type>().ok_or_else(damaged)?;
        let times = |column: usize| state.column(column).as_primitive_opt::<Int64Type>().ok_or_else(damaged);
        let (starts, lasts, reaches, since) = (times(3)?, times(4)?, times(5)?, times(6)?);
        let has_group = state.column(HAS_GROUP).as_boolean_opt().ok_or_else(damaged)?;
        let first = self.described();
        let key_rows = keys.convert(&state.columns()[first..first + self.key_types.len()], state.num_rows())?;
        let mut fragments: Vec<SavedFragment> = Vec::new();
        let mut number = None;
        for row in 0..state.num_rows() {
            if number == Some(numbers.value(row))
                && let Some(fragment) = fragments.last_mut()
            {
                fragment.rows.end = row + 1;
                fragment.has_groups |= has_group.value(row);
                continue;
            }
            number = Some(numbers.value(row));
            fragments.push(SavedFragment {
                source: TopicPartition { topic: topics.value(row).into(), partition: partitions.value(row) },
                key: key_rows.get(row).into(),
                start: starts.value(row),
                last: lasts.value(row),
                reach: Reach { start: reaches.value(row), since: since.value(row) },
                has_groups: has_group.value(row),
                rows: row..row + 1,
            });
        }
        Ok(fragments)
    }

    /// Whether each row of a state has a group.
    pub(super) fn grouped(&self, state: &RecordBatch) -> Result<BooleanArray> {
        state.column(HAS_GROUP).as_boolean_opt().cloned().ok_or_else(damaged)
    }

    /// The point of each row of a state, where rows are taken back. Their numbers are to be given anew.
    pub(super) fn points_of(&self, state: &RecordBatch) -> Result<Option<Vec<(i64, Point)>>> {
        if !self.takes_back() {
            return Ok(None);
        }
        let first = DESCRIPTION.len();
        let values = |column: usize| state.column(column).as_primitive_opt::<Int64Type>().ok_or_else(damaged);
        let (times, rows, since) = (values(first)?, values(first + 1)?, values(first + 2)?);
        let point = |row| (times.value(row), Point { id: 0, rows: rows.value(row), since: since.value(row) });
        Ok(Some((0..state.num_rows()).map(point).collect()))
    }

    /// The group columns of a state.
    pub(super) fn groups_of(&self, state: &RecordBatch) -> Result<RecordBatch> {
        let first = self.described() + self.key_types.len();
        Ok(state.project(&(first..state.num_columns()).collect::<Vec<_>>())?)
    }
}

pub(super) fn damaged() -> Error {
    Error::internal("saved sessions do not have the columns of sessions")
}

/// A row of the state of fragments.
pub(super) struct FragmentRow<'a> {
    /// Tells fragments of one state apart; the rows of one stand together.
    pub(super) number: u64,
    /// Of a settled batch, the number that the groups are under.
    pub(super) unit: u64,
    pub(super) source: &'a TopicPartition,
    pub(super) key: &'a [u8],
    pub(super) fragment: &'a Fragment,
    pub(super) reach: Reach,
    /// Which of its times, where rows are taken back.
    pub(super) point: Option<(i64, Point)>,
    /// Whether the row has a group, or stands for a fragment or a time without any.
    pub(super) has_group: bool,
}

/// A fragment of a state.
pub(super) struct SavedFragment {
    pub(super) source: TopicPartition,
    pub(super) key: Box<[u8]>,
    pub(super) start: i64,
    pub(super) last: i64,
    pub(super) reach: Reach,
    pub(super) has_groups: bool,
    /// Its rows in the state.
    pub(super) rows: Range<usize>,
}

/// Where a fragment begins for those of other partitions, and since when. Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// An event time of the fragment; mostly its first.
    pub start: i64,
    /// The clock when this became the start: what had been past by then may have been closed without it.
    pub since: i64,
}

impl Reach {
    /// A row comes. Before the start it moves it, unless the clock has passed this: what is not past then touches the old start anyway, and
    /// what touches only the new one may have been closed. So one start will do, and what has once been one session remains one.
    pub(super) fn extend(&mut self, time: i64, met: i64, allowed_lateness: i64) {
        if time < self.start && self.start.saturating_add(allowed_lateness) > met {
            *self = Self { start: time, since: met };
        }
    }
}

/// A fragment as others need to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// The session's key.
    pub key: Box<[u8]>,
    /// Its first event time.
    pub start: i64,
    /// Its first event time for others.
    pub reach: Reach,
    /// A gap after its last event time: a row up to here is of the same session.
    pub end: i64,
    /// The first watermark that has passed it, and the time for which it may still change.
    pub closes_at: i64,
}

impl Brief {
    /// Whether two fragments of one key are of one session: they touch, and did so before either was past. What
    /// is past may have been closed, so it takes no part: and whether it has been is no question of timing.
    pub fn is_one_session_with(&self, other: &Self) -> bool {
        self.reach.start <= other.end
            && other.reach.start <= self.end
            && self.reach.since < other.closes_at
            && other.reach.since < self.closes_at
    }
}

/// Keys as bytes.
pub struct KeyRows(Option<RowConverter>);

impl KeyRows {
    /// The keys of rows.
    pub(super) fn convert(&self, columns: &[ArrayRef], rows: usize) -> Result<KeyBytes> {
        Ok(KeyBytes {
            rows: self.0.as_ref().map(|converter| converter.convert_columns(columns)).transpose()?,
            length: rows,
        })
    }

    /// The columns of keys.
    fn columns<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let Some(converter) = &self.0 else { return Ok(Vec::new()) };
        let parser = converter.parser();
        Ok(converter.convert_rows(keys.map(|key| parser.parse(key)))?)
    }
}

/// The keys of a batch. Sessions without PARTITION BY have the empty key.
pub(super) struct KeyBytes {
    rows: Option<Rows>,
    length: usize,
}

impl KeyBytes {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn get(&self, row: usize) -> &[u8] {
        self.rows.as_ref().map_or(&[], |rows| rows.row(row).data())
    }
}
