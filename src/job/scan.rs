//! Decoded changes → the columns that a query scans.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray, StructArray,
    TimestampMillisecondArray, new_null_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::{cast, nullif};
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};

use crate::change::{ChangeBatch, NO_TIME, Op, TopicPartition};
use crate::error::{Error, Result};
use crate::format::DecodeSpec;
use crate::sql::define::catalog::{AFTER, BEFORE, TRANSACTION_ID, TRANSACTION_PATH, Table};
use crate::sql::define::metadata::MetadataOf;

/// The columns of one query's scan, each with where it comes from.
#[derive(Debug)]
pub struct Scan {
    schema: SchemaRef,
    columns: Vec<ScanColumn>,
}

/// A column of a scan: what it is taken from, and as which type.
#[derive(Debug, Clone)]
pub struct ScanColumn {
    origin: Origin,
    data_type: DataType,
}

#[derive(Debug, Clone, Copy)]
enum Origin {
    /// A column of the row, by its place among the decoded ones.
    Row(usize),
    /// A value of the envelope, by its place among those that are decoded.
    Envelope(usize),
    Op,
    SourceTime,
    Topic,
    Partition,
    Offset,
    Timestamp,
    ProcessingTime,
    Before,
    After,
}

impl Scan {
    /// The scan of `schema`, columns of `table`, over batches that are decoded so.
    pub fn new(schema: SchemaRef, table: &Table, decode: &DecodeSpec) -> Result<Self> {
        let columns = schema.fields().iter().map(|field| ScanColumn::new(field, table, decode));
        Ok(Self { columns: columns.collect::<Result<_>>()?, schema })
    }

    /// The scanned columns of a batch, a row per change.
    pub fn rows(&self, changes: &ChangeBatch) -> Result<RecordBatch> {
        self.rows_read_at(changes, NO_TIME)
    }

    /// The same, for windows, which may be of the time at which the batch was read.
    pub fn rows_read_at(&self, changes: &ChangeBatch, read: i64) -> Result<RecordBatch> {
        let columns = self.columns.iter().map(|column| column.read_at(changes, read)).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(changes.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

impl ScanColumn {
    /// A column of `table`, or one that `CHANGES` adds.
    pub fn new(field: &Field, table: &Table, decode: &DecodeSpec) -> Result<Self> {
        let envelope = |path: &str| decode.envelope.index_of(path).map(Origin::Envelope).map_err(Error::internal);
        // Metadata that is kept with the row is a column of it.
        let kept = decode.columns.index_of(field.name()).ok();
        let metadata = table.metadata.get(field.name()).filter(|_| kept.is_none());
        let origin = match (field.name().as_str(), metadata) {
            (_, Some(metadata)) => match &metadata.of {
                MetadataOf::Topic => Origin::Topic,
                MetadataOf::Partition => Origin::Partition,
                MetadataOf::Offset => Origin::Offset,
                MetadataOf::Timestamp => Origin::Timestamp,
                MetadataOf::Op => Origin::Op,
                MetadataOf::SourceTime => Origin::SourceTime,
                MetadataOf::ProcessingTime => Origin::ProcessingTime,
                MetadataOf::Envelope { path, .. } => envelope(path)?,
            },
            ("_op", _) => Origin::Op,
            ("_source_ts", _) => Origin::SourceTime,
            ("_topic", _) => Origin::Topic,
            ("_partition", _) => Origin::Partition,
            ("_offset", _) => Origin::Offset,
            ("_timestamp", _) => Origin::Timestamp,
            (TRANSACTION_ID, _) => envelope(TRANSACTION_PATH)?,
            (BEFORE, _) => Origin::Before,
            (AFTER, _) => Origin::After,
            (name, _) => Origin::Row(decode.columns.index_of(name).map_err(Error::internal)?),
        };
        Ok(Self { origin, data_type: field.data_type().clone() })
    }

    /// Its values, a row per change.
    pub fn of(&self, changes: &ChangeBatch) -> Result<ArrayRef> {
        self.read_at(changes, NO_TIME)
    }

    fn read_at(&self, changes: &ChangeBatch, read: i64) -> Result<ArrayRef> {
        let array = match self.origin {
            Origin::ProcessingTime => {
                Arc::new(TimestampMillisecondArray::from_value(read, changes.len()).with_timezone("UTC"))
            }
            origin => column(changes, origin, &self.data_type)?,
        };
        // A metadata column may be declared as another type than what it is taken from.
        Ok(if *array.data_type() == self.data_type { array } else { cast(&array, &self.data_type)? })
    }
}

fn column(changes: &ChangeBatch, origin: Origin, data_type: &DataType) -> Result<ArrayRef> {
    Ok(match origin {
        Origin::Row(place) => Arc::clone(changes.rows.column(place)),
        Origin::Envelope(place) => match &changes.envelope {
            Some(envelope) => Arc::clone(envelope.column(place)),
            None => new_null_array(data_type, changes.len()),
        },
        Origin::Op => Arc::new(ops(&changes.ops)?),
        Origin::SourceTime => times(&changes.source_times, changes.len()),
        Origin::Timestamp => times(&changes.timestamps, changes.len()),
        // Nothing of the changes.
        Origin::ProcessingTime => new_null_array(data_type, changes.len()),
        Origin::Topic => topic(&changes.source, changes.len()),
        Origin::Partition => partition(&changes.source, changes.len()),
        Origin::Offset => Arc::new(Int64Array::from(changes.offsets.clone())),
        Origin::After => {
            let present = changes.ops.iter().map(|op| !matches!(op, Op::Delete | Op::Truncate)).collect();
            image(&changes.rows, present, data_type)?
        }
        Origin::Before => before(changes, data_type)?,
    })
}

/// `_topic`, the same in every row.
pub fn topic(source: &TopicPartition, rows: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(source.topic.as_ref(), rows)))
}

/// `_partition`, the same in every row.
pub fn partition(source: &TopicPartition, rows: usize) -> ArrayRef {
    Arc::new(Int32Array::from_value(source.partition, rows))
}

fn ops(ops: &[Op]) -> Result<StringArray> {
    let letters: Vec<u8> = ops.iter().map(|op| op.letter()).collect();
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, ops.len()));
    Ok(StringArray::try_new(offsets, letters.into(), None)?)
}

fn times(times: &[i64], rows: usize) -> ArrayRef {
    let present = |time: &i64| (*time != NO_TIME).then_some(*time);
    let array: TimestampMillisecondArray = match times.len() {
        0 => TimestampMillisecondArray::new_null(rows),
        _ => times.iter().map(present).collect(),
    };
    Arc::new(array.with_timezone("UTC"))
}

/// The row before: of an update, its before image where it has one; of a delete, the row.
fn before(changes: &ChangeBatch, data_type: &DataType) -> Result<ArrayRef> {
    let is_delete: Vec<bool> = changes.ops.iter().map(|op| *op == Op::Delete).collect();
    let deleted = image(&changes.rows, is_delete.clone(), data_type)?;
    let Some(before) = &changes.before else { return Ok(deleted) };
    let updated = image(&before.rows, before.present.clone(), data_type)?;
    let mask = BooleanArray::from(is_delete);
    Ok(datafusion::arrow::compute::kernels::zip::zip(&mask, &deleted, &updated)?)
}

fn image(rows: &RecordBatch, present: Vec<bool>, data_type: &DataType) -> Result<ArrayRef> {
    let DataType::Struct(fields) = data_type else { return Err(Error::internal("an image is a struct")) };
    // The fields of an image that is not there are null too: DataFusion's field access does not look at the image.
    let absent = BooleanArray::from(present.iter().map(|present| !present).collect::<Vec<_>>());
    let columns = fields.iter().map(|field| {
        let missing = || Error::internal(format!("column \"{}\" of an image was not decoded", field.name()));
        Ok(nullif(rows.column_by_name(field.name()).ok_or_else(missing)?, &absent)?)
    });
    Ok(Arc::new(StructArray::try_new(
        fields.clone(),
        columns.collect::<Result<_>>()?,
        Some(NullBuffer::from(present)),
    )?))
}

/// The event times of a timestamp column in milliseconds since the epoch, rounded down; `none` where it is null.
pub fn event_times(column: &ArrayRef, none: i64) -> Result<Vec<i64>> {
    use datafusion::arrow::array::cast::AsArray;
    use datafusion::arrow::datatypes::{Int64Type, TimeUnit};
    let DataType::Timestamp(unit, _) = column.data_type() else {
        return Err(Error::internal("the event time is not a timestamp"));
    };
    let to_millis = |value: i64| match unit {
        TimeUnit::Second => value.saturating_mul(1_000),
        TimeUnit::Millisecond => value,
        TimeUnit::Microsecond => value.div_euclid(1_000),
        TimeUnit::Nanosecond => value.div_euclid(1_000_000),
    };
    let integers = cast(column, &DataType::Int64)?;
    let integers = integers.as_primitive::<Int64Type>();
    Ok(match integers.null_count() {
        0 => integers.values().iter().map(|&value| to_millis(value)).collect(),
        _ => integers.iter().map(|value| value.map_or(none, to_millis)).collect(),
    })
}
