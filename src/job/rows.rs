//! Rows that leave a lane row by row: changelogs, late rows, dead letters. Mirrors are in [`super::mirror`].

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, Int8Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt32Array,
    new_null_array,
};
use datafusion::arrow::compute::{cast, concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};

use super::letters::Letters;
use super::scan::{Scan, partition, topic};
use crate::change::{ChangeBatch, DeadLetter, DeadReason, NO_TIME, TopicPartition};
use crate::error::{Error, Result};
use crate::sink::POSITION;
use crate::window::stage::{Rows, Stage, run};

/// Gives columns the order and types of `schema`, by position; they are of the same kinds.
pub fn conform(columns: &[ArrayRef], schema: &SchemaRef) -> Result<RecordBatch> {
    let conformed = columns.iter().zip(schema.fields()).map(|(column, field)| {
        Ok(if column.data_type() == field.data_type() { Arc::clone(column) } else { cast(column, field.data_type())? })
    });
    Ok(RecordBatch::try_new(Arc::clone(schema), conformed.collect::<Result<_>>()?)?)
}

/// The rows of an append-only output with their positions, which the output's schema has at its end unless the query
/// selected them.
pub fn with_positions(rows: &Rows, changes: &ChangeBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut columns = rows.batch.columns().to_vec();
    columns.extend(positions(rows, changes, &schema.fields()[columns.len()..]));
    conform(&columns, schema)
}

/// The position columns among these fields.
pub fn positions(
    rows: &Rows,
    changes: &ChangeBatch,
    fields: &[Arc<datafusion::arrow::datatypes::Field>],
) -> Vec<ArrayRef> {
    let column = |name: &str| match name {
        name if name == POSITION[0] => topic(&changes.source, rows.len()),
        name if name == POSITION[1] => partition(&changes.source, rows.len()),
        _ => Arc::new(Int64Array::from_iter_values((0..rows.len()).map(|row| changes.offsets[rows.source_row(row)]))),
    };
    fields.iter().map(|field| column(field.name())).collect()
}

/// Rows through the stages; those on which an expression fails are refused alone.
pub fn run_or_refuse(stages: &[Stage], rows: &Rows, letters: &mut Letters<'_>) -> Vec<Rows> {
    let length = rows.len();
    match run(stages, rows.clone()) {
        Ok(done) if done.is_empty() => Vec::new(),
        Ok(done) => vec![done],
        Err(error) if length == 1 => {
            let row = rows.source_row(0);
            match error {
                Error::NoEventTime => letters.add(row, DeadReason::NoEventTime, error.to_string()),
                _ => letters.expression_failed(row, &error.to_string()),
            }
            Vec::new()
        }
        Err(_) => {
            let mut done = run_or_refuse(stages, &rows.slice(0, length / 2), letters);
            done.extend(run_or_refuse(stages, &rows.slice(length / 2, length - length / 2), letters));
            done
        }
    }
}

/// The rows of all branches of a `UNION ALL` that read one table, in the order of their records: the same however the
/// records were cut into batches.
pub fn of_branches(
    first: (&Scan, &[Stage]),
    more: &[(Scan, Vec<Stage>)],
    changes: &ChangeBatch,
    letters: &mut Letters<'_>,
) -> Result<Vec<Rows>> {
    let mut done = run_or_refuse(first.1, &Rows::all(first.0.rows(changes)?), letters);
    if more.is_empty() {
        return Ok(done);
    }
    for (scan, stages) in more {
        done.extend(run_or_refuse(stages, &Rows::all(scan.rows(changes)?), letters));
    }
    let Some(first) = done.first() else { return Ok(done) };
    let nullable = |field: &FieldRef| field.as_ref().clone().with_nullable(true);
    let schema = Arc::new(Schema::new(first.batch.schema_ref().fields().iter().map(nullable).collect::<Vec<_>>()));
    let sources: Vec<u32> =
        done.iter().flat_map(|rows| (0..rows.len()).map(|row| rows.source_row(row) as u32)).collect();
    let batches = done.iter().map(|rows| conform(rows.batch.columns(), &schema)).collect::<Result<Vec<_>>>()?;
    let mut order: Vec<u32> = (0..sources.len() as u32).collect();
    order.sort_by_key(|&row| sources[row as usize]);
    let index = order.iter().map(|&row| sources[row as usize]).collect::<Vec<_>>();
    let batch = take_record_batch(&concat_batches(&schema, &batches)?, &UInt32Array::from(order))?;
    Ok(vec![Rows { batch, index: Some(index.into()) }])
}

/// Late rows: window (the last of several), what the aggregation would have read, sign (of the source row; without signs, all
/// came), reason and position.
pub fn late_rows(
    rows: &Rows,
    windows: &[(i64, i64)],
    kept: &[Option<usize>],
    signs: &[i8],
    changes: &ChangeBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let bound = |bound: fn(&(i64, i64)) -> i64| -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from_iter_values(windows.iter().map(bound)))
    };
    let mut columns = vec![bound(|window| window.0), bound(|window| window.1)];
    columns.extend(kept.iter().zip(&schema.fields()[2..]).map(|(column, field)| match column {
        Some(column) => Arc::clone(rows.batch.column(*column)),
        None => new_null_array(field.data_type(), rows.len()),
    }));
    let sign = |row: usize| signs.get(rows.source_row(row)).copied().unwrap_or(1);
    columns.push(Arc::new(Int8Array::from_iter_values((0..rows.len()).map(sign))));
    columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n("window_closed", rows.len()))));
    columns.extend(positions(rows, changes, &schema.fields()[columns.len()..]));
    conform(&columns, schema)
}

/// Dead letters as rows of their table.
pub fn dead_letter_rows(
    letters: &[DeadLetter],
    source: &TopicPartition,
    job: &str,
    table: &str,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let timestamps = letters.iter().map(|it| (it.timestamp != NO_TIME).then_some(it.timestamp));
    let repeat =
        |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, letters.len()))) };
    let columns: Vec<ArrayRef> = vec![
        topic(source, letters.len()),
        partition(source, letters.len()),
        Arc::new(Int64Array::from_iter_values(letters.iter().map(|it| it.offset))),
        Arc::new(timestamps.collect::<TimestampMillisecondArray>().with_timezone("UTC")),
        Arc::new(StringArray::from_iter_values(letters.iter().map(|it| it.reason.as_str()))),
        Arc::new(StringArray::from_iter_values(letters.iter().map(|it| it.message.as_str()))),
        Arc::new(letters.iter().map(|it| text(&it.key)).collect::<StringArray>()),
        Arc::new(letters.iter().map(|it| text(&it.value)).collect::<StringArray>()),
        repeat(job),
        repeat(table),
    ];
    conform(&columns, schema)
}

/// The type of `window_start` and `window_end` in an output: whole seconds where all windows have them.
pub fn window_time_type(in_whole_seconds: bool, data_type: &DataType) -> DataType {
    use datafusion::arrow::datatypes::TimeUnit::{Millisecond, Second};
    match data_type {
        DataType::Timestamp(Millisecond, zone) if in_whole_seconds => DataType::Timestamp(Second, zone.clone()),
        other => other.clone(),
    }
}
