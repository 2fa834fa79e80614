//! Rows that leave a lane row by row: changelogs, mirrors, late rows, dead letters.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Int8Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
    UInt8Array, UInt32Array, UInt64Array,
};
use datafusion::arrow::compute::kernels::cmp::distinct;
use datafusion::arrow::compute::{cast, concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};

use super::input::Letters;
use super::scan::{Scan, partition, topic};
use crate::change::{ChangeBatch, DeadLetter, NO_TIME, Op, TopicPartition};
use crate::error::{Error, Result};
use crate::sink::POSITION;
use crate::window::assigner::Tumbling;
use crate::window::stage::{Rows, Stage, run, run_projections};

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

fn positions(rows: &Rows, changes: &ChangeBatch, fields: &[Arc<datafusion::arrow::datatypes::Field>]) -> Vec<ArrayRef> {
    let column = |name: &str| match name {
        name if name == POSITION[0] => topic(&changes.source, rows.len()),
        name if name == POSITION[1] => partition(&changes.source, rows.len()),
        _ => Arc::new(Int64Array::from_iter_values((0..rows.len()).map(|row| changes.offsets[rows.source_row(row)]))),
    };
    fields.iter().map(|field| column(field.name())).collect()
}

/// The rows of a mirror: the row as it is now for each change, a tombstone for a delete, for an update that leaves the
/// query's filter, and for the old key of an update that changes it. In the order of the changes.
fn mirror_rows(
    stages: &[Stage],
    key: &[usize],
    scan: &Scan,
    changes: &ChangeBatch,
    schema: &SchemaRef,
) -> Result<Option<RecordBatch>> {
    if changes.ops.contains(&Op::Truncate) {
        // It has no row, and is refused elsewhere.
        let others = (0..changes.len()).filter(|&row| changes.ops[row] != Op::Truncate).map(|row| row as u32);
        return mirror_rows(stages, key, scan, &changes.take(&UInt32Array::from_iter_values(others))?, schema);
    }
    let all = Rows::all(scan.rows(changes)?);
    let is = |wanted: fn(&Op) -> bool| BooleanArray::from(changes.ops.iter().map(wanted).collect::<Vec<_>>());
    let kept = run(stages, all.clone().filter(&is(|op| matches!(op, Op::Read | Op::Create | Op::Update)))?)?;

    let mut gone: Vec<bool> = changes.ops.iter().map(|op| matches!(op, Op::Delete | Op::Update)).collect();
    (0..kept.len()).for_each(|row| gone[kept.source_row(row)] = false);
    let gone = run_projections(stages, all.clone().filter(&BooleanArray::from(gone))?)?;

    let mut parts = Vec::new();
    let mut order = Vec::new();
    if let Some(moved) = moved_keys(stages, key, scan, changes, &all)? {
        add(&mut parts, &mut order, &moved, changes, true, schema)?;
    }
    add(&mut parts, &mut order, &gone, changes, true, schema)?;
    add(&mut parts, &mut order, &kept, changes, false, schema)?;
    if order.is_empty() {
        return Ok(None);
    }
    let rows = concat_batches(schema, &parts)?;
    let mut places: Vec<u32> = (0..order.len() as u32).collect();
    places.sort_by_key(|&place| order[place as usize]);
    Ok(Some(take_record_batch(&rows, &UInt32Array::from(places))?))
}

fn add(
    parts: &mut Vec<RecordBatch>,
    order: &mut Vec<usize>,
    rows: &Rows,
    changes: &ChangeBatch,
    deleted: bool,
    schema: &SchemaRef,
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let version = |row: usize| version(0, changes.offsets[rows.source_row(row)]);
    let mut columns = rows.batch.columns().to_vec();
    columns.push(Arc::new(UInt64Array::from_iter_values((0..rows.len()).map(version))));
    columns.push(Arc::new(UInt8Array::from_value(u8::from(deleted), rows.len())));
    parts.push(conform(&columns, schema)?);
    order.extend((0..rows.len()).map(|row| rows.source_row(row)));
    Ok(())
}

/// The mirror's version of a row: the order of its key's partition, never a clock.
pub fn version(generation: u64, offset: i64) -> u64 {
    generation << 48 | offset as u64
}

/// The record's offset that a version was made of.
pub fn offset_of(version: u64) -> i64 {
    (version & ((1 << 48) - 1)) as i64
}

/// The old rows of updates that changed the primary key.
fn moved_keys(stages: &[Stage], key: &[usize], scan: &Scan, changes: &ChangeBatch, all: &Rows) -> Result<Option<Rows>> {
    let Some(before) = &changes.before else { return Ok(None) };
    let updates = (0..changes.len()).filter(|&row| before.present[row] && changes.ops[row] == Op::Update);
    let updates = UInt32Array::from_iter_values(updates.map(|row| row as u32));
    if updates.is_empty() {
        return Ok(None);
    }
    let old = changes.pick(&updates, &before.rows)?;
    let old = run_projections(stages, Rows { batch: scan.rows(&old)?, index: Some(updates.clone()) })?;
    let new = Rows { batch: take_record_batch(&all.batch, &updates)?, index: Some(updates) };
    let new = run_projections(stages, new)?;
    let mut moved = vec![false; old.len()];
    for &column in key {
        let differ = distinct(old.batch.column(column), new.batch.column(column))?;
        moved.iter_mut().enumerate().for_each(|(row, moved)| *moved |= differ.value(row));
    }
    Ok(Some(old.filter(&BooleanArray::from(moved))?))
}

/// The rows of a mirror; changes on which an expression fails are refused alone.
pub fn mirror_or_refuse(
    stages: &[Stage],
    key: &[usize],
    scan: &Scan,
    changes: &ChangeBatch,
    schema: &SchemaRef,
    letters: &mut Letters<'_>,
) -> Result<Vec<RecordBatch>> {
    let length = changes.len() as u32;
    match mirror_rows(stages, key, scan, changes, schema) {
        Ok(rows) => Ok(rows.into_iter().collect()),
        Err(Error::Expression(message)) if length == 1 => {
            letters.expression_failed_at(changes.offsets[0], &message);
            Ok(Vec::new())
        }
        Err(Error::Expression(_)) => {
            let mut done = Vec::new();
            for part in [0..length / 2, length / 2..length] {
                let part = changes.take(&UInt32Array::from_iter_values(part))?;
                done.extend(mirror_or_refuse(stages, key, scan, &part, schema, letters)?);
            }
            Ok(done)
        }
        Err(error) => Err(error),
    }
}

/// Rows through the stages; those on which an expression fails are refused alone.
pub fn run_or_refuse(stages: &[Stage], rows: &Rows, letters: &mut Letters<'_>) -> Vec<Rows> {
    let length = rows.len();
    match run(stages, rows.clone()) {
        Ok(done) if done.is_empty() => Vec::new(),
        Ok(done) => vec![done],
        Err(error) if length == 1 => {
            letters.expression_failed(rows.source_row(0), &error.to_string());
            Vec::new()
        }
        Err(_) => {
            let mut done = run_or_refuse(stages, &rows.slice(0, length / 2), letters);
            done.extend(run_or_refuse(stages, &rows.slice(length / 2, length - length / 2), letters));
            done
        }
    }
}

/// Late rows: window, what the aggregation would have read, sign, reason and position.
pub fn late_rows(
    rows: &Rows,
    starts: &[i64],
    kept: &[usize],
    windows: Tumbling,
    changes: &ChangeBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let bound = |bound: fn(Tumbling, i64) -> i64| -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from_iter_values(starts.iter().map(|&start| bound(windows, start))))
    };
    let mut columns = vec![bound(|_, start| start), bound(Tumbling::end_of)];
    columns.extend(kept.iter().map(|&column| Arc::clone(rows.batch.column(column))));
    columns.push(Arc::new(Int8Array::from_value(1, rows.len())));
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
pub fn window_time_type(windows: Tumbling, data_type: &DataType) -> DataType {
    use datafusion::arrow::datatypes::TimeUnit::{Millisecond, Second};
    match data_type {
        DataType::Timestamp(Millisecond, zone) if windows.in_whole_seconds() => {
            DataType::Timestamp(Second, zone.clone())
        }
        other => other.clone(),
    }
}
