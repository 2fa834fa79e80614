//! All values of an aggregate's groups, each with how often it is there.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, StructArray, UInt32Array, new_empty_array,
    new_null_array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::HashMap;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::undo::value_fields;
use super::{Batch, Tally, all_valid};
use crate::error::{Error, Result};
use crate::window::pane::accumulator;

/// How many rows DataFusion's accumulator is given at a time.
const CHUNK_ROWS: usize = 8_192;

/// Values by group. Groups and values are one row in Arrow's row format, the group first: sorted, they are in the order of
/// groups and then of values, which makes results a function of the values alone.
pub(super) struct Values {
    aggregate: Arc<AggregateFunctionExpr>,
    rows: RowConverter,
    times: HashMap<Box<[u8]>, i64>,
    /// How many different values each group has.
    different: Vec<u32>,
    arguments: Vec<DataType>,
    once: bool,
    skips_null: bool,
    /// Of the keys in `times`.
    bytes: usize,
}

/// A value of a group, and how often it is there.
type Entry = (Box<[u8]>, i64);

/// The group is the first column of a row: a byte that says that it is there, then the number, greatest byte first.
fn group_of(row: &[u8]) -> u32 {
    row.get(1..5).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

impl Values {
    pub(super) fn new(
        aggregate: &Arc<AggregateFunctionExpr>,
        arguments: &[DataType],
        once: bool,
        skips_null: bool,
    ) -> Result<Self> {
        let types = std::iter::once(&DataType::UInt32).chain(arguments);
        Ok(Self {
            aggregate: Arc::clone(aggregate),
            rows: RowConverter::new(types.map(|it| SortField::new(it.clone())).collect())?,
            times: HashMap::default(),
            different: Vec::new(),
            arguments: arguments.to_vec(),
            once,
            skips_null,
            bytes: 0,
        })
    }

    fn add(&mut self, group: usize, row: &[u8], times: i64) {
        if let Some(there) = self.times.get_mut(row) {
            *there += times;
            if *there == 0 {
                self.times.remove(row);
                self.different[group] -= 1;
                self.bytes -= row.len();
            }
        } else if times != 0 {
            self.times.insert(row.into(), times);
            self.different[group] += 1;
            self.bytes += row.len();
        }
    }

    fn convert(&self, groups: &[usize], values: &[ArrayRef]) -> Result<datafusion::arrow::row::Rows> {
        let groups: ArrayRef = Arc::new(UInt32Array::from_iter_values(groups.iter().map(|&group| group as u32)));
        let columns: Vec<ArrayRef> = std::iter::once(groups).chain(values.iter().cloned()).collect();
        Ok(self.rows.convert_columns(&columns)?)
    }

    /// All entries in order; nothing is left after it.
    fn take_entries(&mut self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = std::mem::take(&mut self.times).into_iter().collect();
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        (self.bytes, self.different) = (0, Vec::new());
        entries
    }

    /// DataFusion's accumulators expect a row of every group that there is: groups without values get one that a filter leaves
    /// out. Before all others, for what has been seen without a filter counts for every group.
    fn give_nothing(&self, given: &mut dyn GroupsAccumulator, entries: &[Entry], kept: &[u32]) -> Result<()> {
        let mut at = entries.iter().map(|(row, _)| group_of(row)).peekable();
        let mut missing = Vec::new();
        for (place, &group) in kept.iter().enumerate() {
            while at.next_if(|it| *it < group).is_some() {}
            if at.peek() != Some(&group) {
                missing.push(place);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let nulls: Vec<ArrayRef> = self.arguments.iter().map(|it| new_null_array(it, missing.len())).collect();
        let filter = BooleanArray::from(vec![false; missing.len()]);
        Ok(given.update_batch(&nulls, &missing, Some(&filter), kept.len())?)
    }

    /// The group of each entry and its values.
    fn columns(&self, entries: &[Entry]) -> Result<(UInt32Array, Vec<ArrayRef>)> {
        let parser = self.rows.parser();
        let mut columns = self.rows.convert_rows(entries.iter().map(|(row, _)| parser.parse(row)))?;
        let groups = columns.remove(0).as_primitive().clone();
        Ok((groups, columns))
    }
}

impl Tally for Values {
    fn update(&mut self, batch: &Batch<'_>) -> Result<()> {
        self.different.resize(batch.total, 0);
        let rows = self.convert(batch.groups, batch.arguments)?;
        let valid = if self.skips_null { all_valid(batch.arguments) } else { None };
        batch.each(valid.as_ref(), |row| self.add(batch.groups[row], rows.row(row).data(), batch.sign(row)));
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.different.resize(total, 0);
        let damaged = || Error::internal("the values of an aggregate's groups are not a list");
        let lists = state.first().and_then(|it| it.as_list_opt::<i32>()).ok_or_else(damaged)?;
        let (Some(&first), Some(&last)) = (lists.value_offsets().first(), lists.value_offsets().last()) else {
            return Ok(());
        };
        let entries = lists.values().slice(first as usize, (last - first) as usize);
        let entries = entries.as_struct_opt().ok_or_else(damaged)?;
        let times = entries.column(0).as_primitive_opt::<Int64Type>().ok_or_else(damaged)?;
        let lengths = groups.iter().enumerate().map(|(row, &group)| (group, lists.value_length(row) as usize));
        let groups: Vec<usize> = lengths.flat_map(|(group, length)| std::iter::repeat_n(group, length)).collect();
        let rows = self.convert(&groups, &entries.columns()[1..])?;
        for (row, &group) in groups.iter().enumerate() {
            self.add(group, rows.row(row).data(), times.value(row));
        }
        Ok(())
    }

    fn is_zero(&self, group: usize) -> bool {
        self.different.get(group).is_none_or(|different| *different == 0)
    }

    fn take_state(&mut self, kept: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut entries = self.take_entries();
        let mut place = 0;
        entries.retain(|(row, _)| {
            while kept.get(place).is_some_and(|kept| *kept < group_of(row)) {
                place += 1;
            }
            kept.get(place) == Some(&group_of(row))
        });
        let (groups, values) = self.columns(&entries)?;
        let mut at = 0;
        let lengths = kept.iter().map(|group| {
            let length = groups.values()[at..].iter().take_while(|it| *it == group).count();
            at += length;
            length
        });
        let offsets = OffsetBuffer::from_lengths(lengths.collect::<Vec<_>>());
        let times: ArrayRef = Arc::new(Int64Array::from_iter_values(entries.iter().map(|(_, times)| *times)));
        let fields = value_fields(&self.arguments);
        let entries = StructArray::try_new(fields.clone(), [times].into_iter().chain(values).collect(), None)?;
        let field = Arc::new(Field::new_list_field(DataType::Struct(fields), false));
        Ok(vec![Arc::new(ListArray::try_new(field, offsets, Arc::new(entries), None)?)])
    }

    /// DataFusion's own accumulator is given the values as if they had just come, in their order.
    fn evaluate(&mut self, kept: &[u32]) -> Result<ArrayRef> {
        let mut entries = self.take_entries();
        if kept.is_empty() {
            return Ok(new_empty_array(self.aggregate.field().data_type()));
        }
        // A value that was taken back oftener than it came is not there.
        entries.retain(|(_, times)| *times > 0);
        let mut given = accumulator(&self.aggregate)?;
        self.give_nothing(&mut *given, &entries, kept)?;
        let mut chunk: Vec<u32> = Vec::with_capacity(CHUNK_ROWS);
        for part in entries.chunks(CHUNK_ROWS) {
            let (groups, values) = self.columns(part)?;
            let mut give = |chunk: &mut Vec<u32>| -> Result<()> {
                let picked = UInt32Array::from(std::mem::take(chunk));
                let place = |row: &u32| kept.binary_search(&groups.value(*row as usize)).ok();
                let (picked, groups): (Vec<u32>, Vec<usize>) =
                    picked.values().iter().filter_map(|row| Some((*row, place(row)?))).unzip();
                let picked = UInt32Array::from(picked);
                let values = values.iter().map(|column| take(column, &picked, None));
                let values = values.collect::<std::result::Result<Vec<_>, _>>()?;
                given.update_batch(&values, &groups, None, kept.len()).map_err(Error::expression)
            };
            for (row, (_, times)) in part.iter().enumerate() {
                let times = if self.once { 1 } else { *times };
                for _ in 0..times {
                    chunk.push(row as u32);
                    if chunk.len() == CHUNK_ROWS {
                        give(&mut chunk)?;
                    }
                }
            }
            give(&mut chunk)?;
        }
        given.evaluate(EmitTo::All).map_err(Error::expression)
    }

    fn size(&self) -> usize {
        self.bytes + self.times.capacity() * (size_of::<Entry>() + 1) + self.different.capacity() * size_of::<u32>()
    }
}
