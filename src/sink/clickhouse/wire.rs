//! Makes Arrow columns into what ClickHouse's Arrow reader takes without loss, for the types that the table has.
//!
//! Most columns pass as they are. Seen with ClickHouse 26.7 and mended here: a null struct would arrive with empty
//! strings and zeros in its fields; a time of day into an `Int64` column would be cut to seconds; dates before 1900 or
//! after 2299, which `Date32` keeps and shows, would be refused as dates, but are taken as points in time. What a column does
//! not hold at all does not come here: [`super::types::limit`].

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, LargeListArray, ListArray, MapArray, RecordBatch, StructArray, make_array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::{cast, max, min};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Field, FieldRef, Fields, Int64Type, Schema, Time64MicrosecondType, TimeUnit,
    TimestampSecondType,
};

use super::types::{ChType, DATE_DAYS, DATE_TIME_SECONDS, DOCUMENTED_DAYS};
use crate::error::{Error, Result};

/// The rows with these columns, ready to be sent. Names and types come from the table.
pub(super) fn to_batch(columns: &[(&str, ArrayRef, &ChType)]) -> Result<RecordBatch> {
    let mut fields = Vec::with_capacity(columns.len());
    let mut arrays = Vec::with_capacity(columns.len());
    for (name, array, target) in columns {
        let array = to_wire(array, target, name)?;
        fields.push(Field::new(*name, array.data_type().clone(), true));
        arrays.push(array);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// One column, ready to be sent into a column of the type `target`.
fn to_wire(array: &ArrayRef, target: &ChType, column: &str) -> Result<ArrayRef> {
    let again = |to: &DataType| -> Result<ArrayRef> { to_wire(&cast(array, to)?, target, column) };
    let (name, _) = target.parts().unwrap_or_default();
    match array.data_type() {
        DataType::Dictionary(_, values) => again(values),
        DataType::RunEndEncoded(_, values) => again(values.data_type()),
        DataType::Utf8View => again(&DataType::Utf8),
        DataType::BinaryView => again(&DataType::Binary),
        DataType::Float16 => again(&DataType::Float32),
        DataType::Decimal32(digits, scale) | DataType::Decimal64(digits, scale) => {
            again(&DataType::Decimal128(*digits, *scale))
        }
        DataType::Date64 => again(&DataType::Date32),
        DataType::Date32 if name == "DateTime64" => again(&DataType::Timestamp(TimeUnit::Second, None)),
        DataType::Date32 if name == "String" => again(&DataType::Utf8),
        DataType::Date32 if name == "Date" => {
            let days = array.as_primitive::<Date32Type>();
            check_range(min(days).map(i64::from), max(days).map(i64::from), &DATE_DAYS, column, name)?;
            Ok(Arc::clone(array))
        }
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>();
            let is_usual = |day: Option<i32>| day.is_none_or(|day| DOCUMENTED_DAYS.contains(&i64::from(day)));
            match is_usual(min(days)) && is_usual(max(days)) {
                true => Ok(Arc::clone(array)),
                // With the zone, or the server's would count.
                false => Ok(cast(array, &DataType::Timestamp(TimeUnit::Second, Some("UTC".into())))?),
            }
        }
        DataType::Time32(TimeUnit::Second) => again(&DataType::Time32(TimeUnit::Millisecond)),
        DataType::Time32(_) if name == "Int64" => again(&DataType::Time64(TimeUnit::Microsecond)),
        DataType::Time64(TimeUnit::Nanosecond) if name == "Int64" => again(&DataType::Time64(TimeUnit::Microsecond)),
        DataType::Time64(_) if name == "Int64" => {
            let times = array.as_primitive::<Time64MicrosecondType>();
            Ok(Arc::new(times.reinterpret_cast::<Int64Type>()))
        }
        DataType::Timestamp(unit, Some(_)) => again(&DataType::Timestamp(*unit, None)),
        DataType::Timestamp(TimeUnit::Second, None) if name == "DateTime" => {
            let seconds = array.as_primitive::<TimestampSecondType>();
            check_range(min(seconds), max(seconds), &DATE_TIME_SECONDS, column, name)?;
            Ok(Arc::clone(array))
        }
        DataType::FixedSizeList(item, _) | DataType::ListView(item) => again(&DataType::List(Arc::clone(item))),
        DataType::LargeListView(item) => again(&DataType::LargeList(Arc::clone(item))),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let values = to_wire(list.values(), element(target), column)?;
            let item = nullable("item", &values);
            Ok(Arc::new(ListArray::try_new(item, list.offsets().clone(), values, list.nulls().cloned())?))
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let values = to_wire(list.values(), element(target), column)?;
            let item = nullable("item", &values);
            Ok(Arc::new(LargeListArray::try_new(item, list.offsets().clone(), values, list.nulls().cloned())?))
        }
        DataType::Struct(fields) => struct_to_wire(array.as_struct(), fields, target, column),
        DataType::Map(entries, sorted) => {
            let map = array.as_map();
            let (key_target, value_target) = match target.bare() {
                ChType::Map(key, value) => (key.as_ref(), value.as_ref()),
                other => (other, other),
            };
            let keys = to_wire(map.keys(), key_target, column)?;
            let values = to_wire(map.values(), value_target, column)?;
            let fields: Fields = vec![
                Field::new("keys", keys.data_type().clone(), false),
                Field::new("values", values.data_type().clone(), true),
            ]
            .into();
            let pairs = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
            let entries = Arc::new(Field::new(entries.name(), DataType::Struct(fields), false));
            Ok(Arc::new(MapArray::try_new(entries, map.offsets().clone(), pairs, map.nulls().cloned(), *sorted)?))
        }
        _ => Ok(Arc::clone(array)),
    }
}

/// A struct whose nulls are pushed down into its fields: a tuple cannot be NULL, its elements can.
fn struct_to_wire(array: &StructArray, fields: &Fields, target: &ChType, column: &str) -> Result<ArrayRef> {
    let mut columns = Vec::with_capacity(fields.len());
    for (field, child) in fields.iter().zip(array.columns()) {
        let child = with_nulls(child, array.nulls())?;
        let target = match target.bare() {
            ChType::Tuple(elements) => elements
                .iter()
                .find(|(name, _)| name.as_deref() == Some(field.name()))
                .map_or(target, |(_, element)| element),
            _ => target,
        };
        columns.push(to_wire(&child, target, &format!("{column}.{}", field.name()))?);
    }
    let fields: Fields =
        fields.iter().zip(&columns).map(|(field, child)| nullable(field.name(), child)).collect::<Vec<_>>().into();
    Ok(Arc::new(StructArray::try_new_with_length(fields, columns, None, array.len())?))
}

/// The array with these nulls added to its own.
fn with_nulls(array: &ArrayRef, nulls: Option<&NullBuffer>) -> Result<ArrayRef> {
    if nulls.is_none_or(|nulls| nulls.null_count() == 0) {
        return Ok(Arc::clone(array));
    }
    let array = match array.data_type() {
        DataType::Dictionary(_, values) => cast(array, values)?,
        DataType::RunEndEncoded(_, values) => cast(array, values.data_type())?,
        _ => Arc::clone(array),
    };
    let nulls = NullBuffer::union(array.nulls(), nulls);
    Ok(make_array(array.to_data().into_builder().nulls(nulls).build()?))
}

fn nullable(name: &str, values: &ArrayRef) -> FieldRef {
    Arc::new(Field::new(name, values.data_type().clone(), true))
}

/// The type of an array's elements.
fn element(target: &ChType) -> &ChType {
    match target.bare() {
        ChType::Array(element) => element,
        other => other,
    }
}

/// ClickHouse would move such a value in silence to the nearest that its type has. The limits have kept it out.
fn check_range(
    least: Option<i64>,
    greatest: Option<i64>,
    range: &std::ops::RangeInclusive<i64>,
    column: &str,
    name: &str,
) -> Result<()> {
    match [least, greatest].into_iter().flatten().find(|value| !range.contains(value)) {
        None => Ok(()),
        Some(value) => Err(Error::internal(format!("{value} of column \"{column}\" has no place in the type {name}"))),
    }
}
