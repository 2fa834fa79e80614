//! From the values so far to an Arrow array.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayData, ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, ListArray, StringArray, StructArray,
    make_array,
};
use datafusion::arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{ArrowNativeType, DataType};
use datafusion::arrow::error::ArrowError;

use super::{Column, Values};

impl Column {
    /// The values as an array; the column is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let rows = std::mem::take(&mut self.len);
        self.unavailable.clear();
        let nulls = take_nulls(&mut self.nulls, rows);
        if let Values::Boolean(bits) = &mut self.values {
            return Ok(Arc::new(BooleanArray::new(bits.finish(), nulls)));
        }
        if let Values::List(ends, items) = &mut self.values {
            let DataType::List(item) = &self.data_type else { return Err(mismatch(&self.data_type)) };
            let items = items.finish()?;
            return Ok(Arc::new(ListArray::try_new(Arc::clone(item), take_ends(ends), items, nulls)?));
        }
        if let Values::Row(_, columns) = &mut self.values {
            let DataType::Struct(fields) = &self.data_type else { return Err(mismatch(&self.data_type)) };
            let arrays = columns.iter_mut().map(Self::finish).collect::<Result<Vec<_>, _>>()?;
            return Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, nulls, rows)?));
        }
        if let Values::Text(ends, bytes) = &mut self.values {
            let (ends, bytes) = (take_ends(ends), Buffer::from_vec(take_vec(bytes)));
            // SAFETY: every value was appended as whole UTF-8 strings: what `Cursor::string` and `unescape` return,
            // or `str`s; a rollback cuts between values. So all values are UTF-8, and all ends are in the bytes.
            return Ok(Arc::new(unsafe { StringArray::new_unchecked(ends, bytes, nulls) }));
        }
        if let Values::Binary(ends, bytes) = &mut self.values {
            let (ends, bytes) = (take_ends(ends), Buffer::from_vec(take_vec(bytes)));
            return Ok(Arc::new(BinaryArray::try_new(ends, bytes, nulls)?));
        }
        let data_type = &self.data_type;
        let array = |buffer: Buffer, nulls: Option<NullBuffer>| -> Result<ArrayRef, ArrowError> {
            let data = ArrayData::builder(data_type.clone()).len(rows).add_buffer(buffer).nulls(nulls);
            Ok(make_array(data.build()?))
        };
        match &mut self.values {
            Values::Int8(vec) => array(fixed(vec), nulls),
            Values::Int16(vec) => array(fixed(vec), nulls),
            Values::Int32(vec) | Values::Date32(vec) | Values::Time32(vec, ..) => array(fixed(vec), nulls),
            Values::Int64(vec) | Values::Time64(vec, ..) | Values::Timestamp(vec, ..) => array(fixed(vec), nulls),
            Values::UInt8(vec) => array(fixed(vec), nulls),
            Values::UInt16(vec) => array(fixed(vec), nulls),
            Values::UInt32(vec) => array(fixed(vec), nulls),
            Values::UInt64(vec) => array(fixed(vec), nulls),
            Values::Float32(vec) => array(fixed(vec), nulls),
            Values::Float64(vec) => array(fixed(vec), nulls),
            Values::Decimal128(vec, ..) => array(fixed(vec), nulls),
            Values::Decimal256(vec, ..) => array(fixed(vec), nulls),
            Values::Boolean(_) | Values::Text(..) | Values::Binary(..) | Values::List(..) | Values::Row(..) => {
                Err(mismatch(data_type))
            }
        }
    }
}

fn fixed<T: ArrowNativeType>(vec: &mut Vec<T>) -> Buffer {
    Buffer::from_vec(take_vec(vec))
}

/// The values; room for as many is left, as the next batch will be like this one.
fn take_vec<T>(vec: &mut Vec<T>) -> Vec<T> {
    let room = vec.len() + vec.len() / 8;
    std::mem::replace(vec, Vec::with_capacity(room))
}

fn take_nulls(nulls: &mut Vec<usize>, rows: usize) -> Option<NullBuffer> {
    if nulls.is_empty() {
        return None;
    }
    let mut valid = BooleanBufferBuilder::new(rows);
    valid.append_n(rows, true);
    for row in nulls.drain(..) {
        valid.set_bit(row, false);
    }
    Some(NullBuffer::new(valid.finish()))
}

fn take_ends(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut next = Vec::with_capacity(ends.len() + ends.len() / 8);
    next.push(0);
    OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(ends, next)))
}

#[cold]
fn mismatch(data_type: &DataType) -> ArrowError {
    ArrowError::InvalidArgumentError(format!("a column of type {data_type} has values of another type"))
}
