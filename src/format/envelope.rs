//! What is wanted of a record beside the row: values of the envelope, by their paths, and what Kafka has beside the value.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, Int32Array, MapBuilder, RecordBatch, StringArray, StringBuilder,
    new_null_array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;

use super::column::{Dialect, Rows};
use crate::error::Result;
use crate::source::{Header, RawBatch};

/// The record's key, among the paths of [`DecodeSpec::envelope`](super::DecodeSpec::envelope): `STRING` or `BYTES`.
pub const KEY: &str = "@key";
/// The record's headers: a map, or a `STRING` of its JSON.
pub const HEADERS: &str = "@headers";
/// Whose clock the record's timestamp is of: a `STRING`.
pub const TIMESTAMP_TYPE: &str = "@timestamp-type";
/// The leader epoch under which the record was written: an `INT`.
pub const LEADER_EPOCH: &str = "@leader-epoch";

/// The columns of the envelope under construction.
#[derive(Debug)]
pub(crate) struct Envelope {
    schema: SchemaRef,
    /// Those that the decoder reads, named by their paths; those of the record itself are added at the end.
    pub(crate) rows: Rows,
}

fn is_of_record(path: &str) -> bool {
    path.starts_with('@')
}

impl Envelope {
    /// No rows yet.
    pub(crate) fn new(schema: &SchemaRef, dialect: Dialect) -> Result<Self> {
        let read: Vec<_> = schema.fields().iter().filter(|field| !is_of_record(field.name())).cloned().collect();
        Ok(Self { schema: SchemaRef::clone(schema), rows: Rows::new(&Arc::new(Schema::new(read)), dialect)? })
    }

    /// Whether anything is wanted. Only then there is a row for each row of the batch.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        !self.schema.fields().is_empty()
    }

    /// All columns.
    pub(crate) fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// The rows, which came from the records with these offsets; there are none afterwards.
    pub(crate) fn finish(&mut self, records: &RawBatch, offsets: &[i64]) -> Result<Option<RecordBatch>, ArrowError> {
        if !self.is_wanted() {
            return Ok(None);
        }
        let rows = self.rows.finish()?;
        let mut read = rows.columns().iter();
        let mut places = None;
        let columns = self.schema.fields().iter().map(|field| {
            if is_of_record(field.name()) {
                return of_record(field, records, places.get_or_insert_with(|| indexes(records, offsets)));
            }
            let missing = || ArrowError::InvalidArgumentError(format!("{} was not decoded", field.name()));
            read.next().map(Arc::clone).ok_or_else(missing)
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        Ok(Some(RecordBatch::try_new(SchemaRef::clone(&self.schema), columns)?))
    }
}

/// The index of the record of each of these offsets, which ascend.
fn indexes(records: &RawBatch, offsets: &[i64]) -> Vec<usize> {
    let mut all = records.iter().enumerate().peekable();
    let index = |&offset: &i64| {
        while all.next_if(|(_, record)| record.offset < offset).is_some() {}
        all.peek().map_or(0, |(index, _)| *index)
    };
    offsets.iter().map(index).collect()
}

fn of_record(field: &Field, records: &RawBatch, indexes: &[usize]) -> Result<ArrayRef, ArrowError> {
    let details = || indexes.iter().map(|&index| records.details(index));
    let array: ArrayRef = match field.name().as_str() {
        KEY => {
            let keys: Vec<_> = records.iter().map(|record| record.key).collect();
            let keys = indexes.iter().map(|&index| keys.get(index).copied().flatten());
            match field.data_type() {
                DataType::Binary => Arc::new(keys.collect::<BinaryArray>()),
                _ => Arc::new(keys.map(|key| key.map(String::from_utf8_lossy)).collect::<StringArray>()),
            }
        }
        HEADERS => match field.data_type() {
            DataType::Map(..) => header_maps(records, indexes)?,
            _ => {
                let texts = indexes.iter().map(|&index| header_json(&records.headers(index)));
                Arc::new(StringArray::from_iter_values(texts))
            }
        },
        TIMESTAMP_TYPE => Arc::new(details().map(|it| it.timestamp_type).collect::<StringArray>()),
        LEADER_EPOCH => Arc::new(details().map(|it| it.leader_epoch).collect::<Int32Array>()),
        _ => new_null_array(field.data_type(), indexes.len()),
    };
    if array.data_type() == field.data_type() { Ok(array) } else { cast(&array, field.data_type()) }
}

/// The text of a header's value; bytes that are no text are shown as far as they are.
fn header_text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// `{"name":"value"}`; of several headers of one name, the last.
fn header_json(headers: &[Header<'_>]) -> String {
    let members = headers.iter().map(|(name, value)| {
        (name.to_string(), value.map_or(serde_json::Value::Null, |value| header_text(value).into()))
    });
    serde_json::Value::Object(members.collect()).to_string()
}

fn header_maps(records: &RawBatch, indexes: &[usize]) -> Result<ArrayRef, ArrowError> {
    let mut maps = MapBuilder::new(None, StringBuilder::new(), BinaryBuilder::new());
    for &index in indexes {
        for (name, value) in records.headers(index) {
            maps.keys().append_value(name);
            maps.values().append_option(value);
        }
        maps.append(true)?;
    }
    Ok(Arc::new(maps.finish()))
}
