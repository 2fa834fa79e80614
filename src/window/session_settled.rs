//! Settled batches of sessions as columns: those of a state, and the number that the groups of a row are under.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StringArray, StringDictionaryBuilder, UInt64Array,
};
use datafusion::arrow::datatypes::{Int32Type, Int64Type, SchemaRef, UInt64Type};

use super::session_points::Point;
use super::session_state::{
    DESCRIPTION, FragmentRow, HAS_GROUP, KeyBytes, KeyRows, Reach, SessionPlan, TOPIC, UNIT, damaged,
};
use crate::change::TopicPartition;
use crate::error::{Error, Result};

impl SessionPlan {
    /// A settled batch of these rows, which are in the order of their units.
    pub(super) fn settled(&self, rows: &[FragmentRow<'_>], groups: &[ArrayRef], keys: &KeyRows) -> Result<RecordBatch> {
        let mut topics = StringDictionaryBuilder::<Int32Type>::new();
        rows.iter().for_each(|row| topics.append_value(&row.source.topic));
        let mut columns = self.columns(rows, Arc::new(topics.finish()), groups, keys)?;
        columns.push(Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.unit))));
        Ok(RecordBatch::try_new(Arc::clone(&self.settled), columns)?)
    }

    /// The columns of settled batches.
    pub(super) fn settled_schema(&self) -> &SchemaRef {
        &self.settled
    }

    /// Whether a state is a settled batch.
    pub(super) fn is_settled(&self, state: &RecordBatch) -> bool {
        state.schema_ref().fields().last().is_some_and(|field| field.name() == UNIT)
    }

    /// Which column says whether a row has a group.
    pub(super) fn has_group_column(&self) -> usize {
        HAS_GROUP
    }

    /// Which columns of a settled batch are groups.
    pub(super) fn settled_groups(&self) -> Range<usize> {
        self.described() + self.key_types.len()..self.settled.fields().len() - 1
    }

    /// The rows of a settled batch.
    pub(super) fn settled_rows<'a>(&self, batch: &'a RecordBatch) -> Result<SettledRows<'a>> {
        if batch.num_columns() != self.settled.fields().len() {
            return Err(damaged());
        }
        let numbers = |column: usize| {
            let values = batch.column(column).as_primitive_opt::<UInt64Type>().ok_or_else(damaged)?;
            Ok::<_, Error>(&values.values()[..])
        };
        let times = |column: usize| {
            let values = batch.column(column).as_primitive_opt::<Int64Type>().ok_or_else(damaged)?;
            Ok::<_, Error>(&values.values()[..])
        };
        let topics = batch.column(TOPIC).as_dictionary_opt::<Int32Type>().ok_or_else(damaged)?;
        batch.column(HAS_GROUP).as_boolean_opt().ok_or_else(damaged)?;
        let first = DESCRIPTION.len();
        let points = match self.takes_back() {
            true => Some([times(first)?, times(first + 1)?, times(first + 2)?]),
            false => None,
        };
        Ok(SettledRows {
            numbers: numbers(0)?,
            units: numbers(batch.num_columns() - 1)?,
            topics: topics.keys().values(),
            topic_names: topics.values().as_string_opt::<i32>().ok_or_else(damaged)?,
            partitions: batch.column(2).as_primitive_opt::<Int32Type>().ok_or_else(damaged)?.values(),
            starts: times(3)?,
            lasts: times(4)?,
            reaches: times(5)?,
            since: times(6)?,
            points,
        })
    }

    /// The keys of the rows of a settled batch.
    pub(super) fn settled_keys(&self, batch: &RecordBatch, keys: &KeyRows) -> Result<KeyBytes> {
        let first = self.described();
        keys.convert(&batch.columns()[first..first + self.key_types.len()], batch.num_rows())
    }
}

/// The columns of a settled batch.
pub(super) struct SettledRows<'a> {
    /// The fragments.
    pub(super) numbers: &'a [u64],
    /// The numbers that the groups are under, ascending.
    pub(super) units: &'a [u64],
    topics: &'a [i32],
    topic_names: &'a StringArray,
    partitions: &'a [i32],
    pub(super) starts: &'a [i64],
    pub(super) lasts: &'a [i64],
    reaches: &'a [i64],
    since: &'a [i64],
    points: Option<[&'a [i64]; 3]>,
}

impl SettledRows<'_> {
    /// Which partition a row is of: equal for equal ones.
    pub(super) fn place(&self, row: usize) -> (i32, i32) {
        (self.topics[row], self.partitions[row])
    }

    /// The partition of a row.
    pub(super) fn source(&self, row: usize) -> Result<TopicPartition> {
        let (topic, partition) = self.place(row);
        let topic = usize::try_from(topic).ok().filter(|at| *at < self.topic_names.len()).ok_or_else(damaged)?;
        Ok(TopicPartition { topic: self.topic_names.value(topic).into(), partition })
    }

    pub(super) fn reach(&self, row: usize) -> Reach {
        Reach { start: self.reaches[row], since: self.since[row] }
    }

    /// Its point, under the number that it has there.
    pub(super) fn point(&self, row: usize) -> Option<(i64, Point)> {
        let [times, rows, since] = self.points?;
        Some((times[row], Point { id: self.units[row], rows: rows[row], since: since[row] }))
    }
}
