//! Counts and sums: exact, whatever comes and goes.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray, Int64Array, PrimitiveArray, UInt64Array,
    new_empty_array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::{cast, nullif};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::logical_expr::EmitTo;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::{Batch, Tally, all_valid};
use crate::error::{Error, Result};
use crate::window::pane::accumulator;

/// `count(…)`.
#[derive(Default)]
pub(super) struct Counts(Vec<i64>);

impl Tally for Counts {
    fn update(&mut self, batch: &Batch<'_>) -> Result<()> {
        self.0.resize(batch.total, 0);
        let valid = all_valid(batch.arguments);
        batch.each(valid.as_ref(), |row| self.0[batch.groups[row]] += batch.sign(row));
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.0.resize(total, 0);
        let counts = integers(state)?;
        groups.iter().zip(counts.values()).for_each(|(&group, count)| self.0[group] += count);
        Ok(())
    }

    fn is_zero(&self, group: usize) -> bool {
        self.0.get(group).is_none_or(|count| *count == 0)
    }

    fn take_state(&mut self, kept: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(kept)?])
    }

    fn evaluate(&mut self, kept: &[u32]) -> Result<ArrayRef> {
        let counts = std::mem::take(&mut self.0);
        let count = |&group: &u32| counts.get(group as usize).copied().unwrap_or(0);
        Ok(Arc::new(Int64Array::from_iter_values(kept.iter().map(count))))
    }

    fn size(&self) -> usize {
        self.0.capacity() * size_of::<i64>()
    }
}

/// What becomes of a sum.
pub(super) enum Finish {
    /// It is the result.
    Sum,
    /// DataFusion makes an average of it and the count.
    Average(Arc<AggregateFunctionExpr>),
}

/// Sums of values that are not null, with how many there are. They wrap around as DataFusion's do: what is taken back is
/// gone, also when the sum did not fit for a while.
pub(super) struct Sums<T: ArrowPrimitiveType> {
    sums: Vec<T::Native>,
    counts: Vec<i64>,
    data_type: DataType,
    finish: Finish,
}

impl<T: ArrowPrimitiveType> Sums<T>
where
    T::Native: ArrowNativeTypeOp,
{
    pub(super) fn new(data_type: &DataType, finish: Finish) -> Self {
        Self { sums: Vec::new(), counts: Vec::new(), data_type: data_type.clone(), finish }
    }

    fn resize(&mut self, total: usize) {
        self.sums.resize(total, T::Native::ZERO);
        self.counts.resize(total, 0);
    }

    /// Values as the type of the sums. Decimals of other precision are the same numbers.
    fn values<'a>(&self, column: &'a ArrayRef, cast_to: &'a mut Option<ArrayRef>) -> Result<&'a PrimitiveArray<T>> {
        let column = match column.as_primitive_opt::<T>() {
            Some(values) => return Ok(values),
            None => cast_to.insert(cast(column, &self.data_type)?),
        };
        column.as_primitive_opt::<T>().ok_or_else(|| Error::internal("a sum of another type than its values"))
    }

    fn take(&mut self, kept: &[u32]) -> Result<(Int64Array, PrimitiveArray<T>)> {
        let (sums, counts) = (std::mem::take(&mut self.sums), std::mem::take(&mut self.counts));
        let count = |&group: &u32| counts.get(group as usize).copied().unwrap_or(0);
        let sum = |&group: &u32| sums.get(group as usize).copied().unwrap_or(T::Native::ZERO);
        let taken = PrimitiveArray::<T>::from_iter_values(kept.iter().map(sum));
        let taken = taken.with_data_type(self.data_type.clone());
        Ok((Int64Array::from_iter_values(kept.iter().map(count)), taken))
    }
}

impl<T: ArrowPrimitiveType> Tally for Sums<T>
where
    T::Native: ArrowNativeTypeOp,
{
    fn update(&mut self, batch: &Batch<'_>) -> Result<()> {
        self.resize(batch.total);
        let Some(column) = batch.arguments.first() else { return Err(Error::internal("a sum of nothing")) };
        let valid = all_valid(batch.arguments);
        let mut converted = None;
        let values = self.values(column, &mut converted)?.values().clone();
        let (sums, counts) = (&mut self.sums, &mut self.counts);
        batch.each(valid.as_ref(), |row| {
            let (group, sign) = (batch.groups[row], batch.sign(row));
            let sum = &mut sums[group];
            *sum = if sign < 0 { sum.sub_wrapping(values[row]) } else { sum.add_wrapping(values[row]) };
            counts[group] += sign;
        });
        Ok(())
    }

    fn merge(&mut self, state: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.resize(total);
        let [_, sums] = state else { return Err(Error::internal("a sum's state has two columns")) };
        let mut converted = None;
        let (counts, sums) = (integers(state)?, self.values(sums, &mut converted)?.values().clone());
        for (row, &group) in groups.iter().enumerate() {
            self.counts[group] += counts.value(row);
            self.sums[group] = self.sums[group].add_wrapping(sums[row]);
        }
        Ok(())
    }

    fn is_zero(&self, group: usize) -> bool {
        self.counts.get(group).is_none_or(|count| *count == 0)
            && self.sums.get(group).is_none_or(|sum| sum.is_eq(T::Native::ZERO))
    }

    fn take_state(&mut self, kept: &[u32]) -> Result<Vec<ArrayRef>> {
        let (counts, sums) = self.take(kept)?;
        Ok(vec![Arc::new(counts), Arc::new(sums)])
    }

    fn evaluate(&mut self, kept: &[u32]) -> Result<ArrayRef> {
        let (counts, sums) = self.take(kept)?;
        let empty: BooleanArray = counts.values().iter().map(|count| Some(*count <= 0)).collect();
        let sums = nullif(&sums, &empty)?;
        let Finish::Average(aggregate) = &self.finish else { return Ok(sums) };
        if kept.is_empty() {
            return Ok(new_empty_array(aggregate.field().data_type()));
        }
        let sum_type = aggregate.state_fields()?.get(1).map(|field| field.data_type().clone());
        let sums = cast(&sums, &sum_type.ok_or_else(|| Error::internal("avg has no sum"))?)?;
        let counts: Vec<u64> = counts.values().iter().map(|count| (*count).max(0) as u64).collect();
        let there: Vec<bool> = counts.iter().map(|count| *count > 0).collect();
        let counts: ArrayRef = Arc::new(UInt64Array::new(counts.into(), Some(NullBuffer::from(there))));
        let mut average = accumulator(aggregate)?;
        let groups: Vec<usize> = (0..kept.len()).collect();
        average.merge_batch(&[counts, sums], &groups, kept.len())?;
        average.evaluate(EmitTo::All).map_err(Error::expression)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<T::Native>() + self.counts.capacity() * size_of::<i64>()
    }
}

fn integers(state: &[ArrayRef]) -> Result<&Int64Array> {
    let counts = state.first().and_then(|column| column.as_primitive_opt::<Int64Type>());
    counts.ok_or_else(|| Error::internal("the state of an aggregate has no counts"))
}
