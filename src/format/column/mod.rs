//! Column builders: one per needed column, filled value by value, each value checked against the declared type.

use datafusion::arrow::array::BooleanBufferBuilder;
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit, i256};

use crate::error::{Error, Result};
use crate::type_name::{marked_type, sql_name};

pub(crate) use super::dialect::Dialect;
use super::fault::{Fault, Step};
use super::json::keys::Keys;

mod build;
mod bytes;
mod decimal;
mod push;
mod row;
mod rows;
#[cfg(test)]
mod tests;
mod time;
mod unavailable;
mod value;

pub(crate) use bytes::Binaries;
pub(crate) use push::{Measure, write_base64, write_decimal, write_float, write_measure};
pub(crate) use rows::Rows;
use time::Scale;

/// One column under construction.
#[derive(Debug)]
pub(crate) struct Column {
    name: String,
    data_type: DataType,
    nullable: bool,
    dialect: Dialect,
    values: Values,
    len: usize,
    /// The rows that are null, ascending: mostly few.
    nulls: Vec<usize>,
    /// Those of them whose values the event does not carry because they did not change.
    unavailable: Vec<u32>,
    /// Whether integers are written as the bytes of bits, the lowest first.
    bits: bool,
    scratch: Vec<u8>,
}

/// The values so far, those of null rows being zero or empty.
#[derive(Debug)]
enum Values {
    Boolean(BooleanBufferBuilder),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    UInt8(Vec<u8>),
    UInt16(Vec<u16>),
    UInt32(Vec<u32>),
    UInt64(Vec<u64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal128(Vec<i128>, u8, i8),
    Decimal256(Vec<i256>, u8, i8),
    Date32(Vec<i32>),
    Time32(Vec<i32>, TimeUnit, Scale),
    Time64(Vec<i64>, TimeUnit, Scale),
    Timestamp(Vec<i64>, TimeUnit, Scale),
    /// Ends of the values in the bytes, after a leading 0.
    Text(Vec<i32>, Vec<u8>),
    Binary(Vec<i32>, Vec<u8>),
    List(Vec<i32>, Box<Column>),
    /// The fields of an object, each as long as the column.
    Row(Keys, Vec<Column>),
}

/// Applies the same to whichever values a column has.
macro_rules! each_fixed {
    ($values:expr, $vec:ident => $fixed:expr) => {
        match $values {
            Values::Int8($vec) => $fixed,
            Values::Int16($vec) => $fixed,
            Values::Int32($vec) | Values::Date32($vec) | Values::Time32($vec, ..) => $fixed,
            Values::Int64($vec) | Values::Time64($vec, ..) | Values::Timestamp($vec, ..) => $fixed,
            Values::UInt8($vec) => $fixed,
            Values::UInt16($vec) => $fixed,
            Values::UInt32($vec) => $fixed,
            Values::UInt64($vec) => $fixed,
            Values::Float32($vec) => $fixed,
            Values::Float64($vec) => $fixed,
            Values::Decimal128($vec, ..) => $fixed,
            Values::Decimal256($vec, ..) => $fixed,
            Values::Boolean(_) | Values::Text(..) | Values::Binary(..) | Values::List(..) | Values::Row(..) => {}
        }
    };
}

impl Column {
    /// An empty column, or an error that names a column whose type cannot be decoded.
    pub(crate) fn new(field: &Field, dialect: Dialect) -> Result<Self> {
        let scale = |unit: &TimeUnit| Ok::<_, Error>(Scale::new(dialect.unit_of(field, *unit)?, *unit));
        let values = match field.data_type() {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int8 => Values::Int8(Vec::new()),
            DataType::Int16 => Values::Int16(Vec::new()),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::UInt8 => Values::UInt8(Vec::new()),
            DataType::UInt16 => Values::UInt16(Vec::new()),
            DataType::UInt32 => Values::UInt32(Vec::new()),
            DataType::UInt64 => Values::UInt64(Vec::new()),
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::Decimal128(precision, scale) => Values::Decimal128(Vec::new(), *precision, *scale),
            DataType::Decimal256(precision, scale) => Values::Decimal256(Vec::new(), *precision, *scale),
            DataType::Date32 => Values::Date32(Vec::new()),
            DataType::Time32(unit) => Values::Time32(Vec::new(), *unit, scale(unit)?),
            DataType::Time64(unit) => Values::Time64(Vec::new(), *unit, scale(unit)?),
            DataType::Timestamp(unit, _) => Values::Timestamp(Vec::new(), *unit, scale(unit)?),
            DataType::Utf8 => Values::Text(vec![0], Vec::new()),
            DataType::Binary => Values::Binary(vec![0], Vec::new()),
            DataType::List(item) if !(dialect.untyped || dialect.flat && item.data_type().is_nested()) => {
                Values::List(vec![0], Box::new(Self::new(item, dialect)?))
            }
            DataType::Struct(fields) if !dialect.untyped && !dialect.flat => {
                let keys = Keys::new(fields.iter().map(|field| field.name().as_str()));
                Values::Row(keys, fields.iter().map(|field| Self::new(field, dialect)).collect::<Result<_>>()?)
            }
            other => {
                return Err(Error::config(format!(
                    "column \"{}\" has the type {}, which this format cannot decode; declare it as STRING to get its text",
                    field.name(),
                    sql_name(other)
                )));
            }
        };
        Ok(Self {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
            dialect,
            values,
            len: 0,
            nulls: Vec::new(),
            unavailable: Vec::new(),
            bits: marked_type(field).is_some_and(|name| name.starts_with("BIT")),
            scratch: Vec::new(),
        })
    }

    /// Its name and declared type.
    pub(crate) fn describe(&self) -> (&str, &DataType) {
        (&self.name, &self.data_type)
    }

    /// Number of values.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Drops the values from `len` on.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        while self.nulls.pop_if(|row| *row >= len).is_some() {}
        while self.unavailable.pop_if(|row| *row as usize >= len).is_some() {}
        each_fixed!(&mut self.values, vec => vec.truncate(len));
        match &mut self.values {
            Values::Boolean(bits) if bits.len() > len => bits.truncate(len),
            Values::Text(ends, bytes) | Values::Binary(ends, bytes) => {
                ends.truncate(len + 1);
                bytes.truncate(ends.last().map_or(0, |&end| end as usize));
            }
            Values::List(ends, items) => {
                ends.truncate(len + 1);
                items.truncate(ends.last().map_or(0, |&end| end as usize));
            }
            Values::Row(_, fields) => fields.iter_mut().for_each(|field| field.truncate(len)),
            _ => {}
        }
    }

    /// A row without a value: null, or zero where null may not be.
    pub(crate) fn push_filler(&mut self) {
        each_fixed!(&mut self.values, vec => vec.push(Default::default()));
        match &mut self.values {
            Values::Boolean(bits) => bits.append(false),
            Values::Text(ends, _) | Values::Binary(ends, _) | Values::List(ends, _) => {
                let end = ends.last().copied().unwrap_or(0);
                ends.push(end);
            }
            Values::Row(_, fields) => fields.iter_mut().for_each(Self::push_filler),
            _ => {}
        }
        if self.nullable {
            self.nulls.push(self.len);
        }
        self.len += 1;
    }

    /// The fault of a null, or its row; `words` says how it came to be null.
    #[inline]
    pub(crate) fn push_null(&mut self, at: usize, words: &'static str) -> Step<()> {
        if !self.nullable {
            return Err(Fault::missing(at, words));
        }
        self.push_filler();
        Ok(())
    }
}
