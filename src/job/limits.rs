//! Rows with values that their target cannot hold: found on the lane, where each still has its record, and refused with a
//! dead letter. Nothing is clamped, and nothing that would fail every insert comes into a block.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt64Array, new_null_array};
use datafusion::arrow::compute::{cast, filter_record_batch, kernels::zip::zip};
use datafusion::arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMillisecondType, UInt8Type, UInt64Type};

use super::input::OutputRef;
use super::letters::Letters;
use crate::error::Result;
use crate::sink::limits::Limits;
use crate::sink::{IS_DELETED, POSITION, VERSION};

/// The rows that the output can hold; `offset_of` says of which record a row is.
pub(super) fn hold(
    rows: RecordBatch,
    output: &OutputRef,
    offset_of: impl Fn(usize) -> i64,
    letters: &mut Letters<'_>,
) -> Result<RecordBatch> {
    let (rows, refused) = part(rows, &output.limits)?;
    refused.into_iter().for_each(|(row, message)| letters.out_of_range(offset_of(row), message));
    Ok(rows)
}

/// The same for rows that say their positions.
pub(super) fn hold_positioned(rows: RecordBatch, output: &OutputRef, letters: &mut Letters<'_>) -> Result<RecordBatch> {
    let offsets = rows.column_by_name(POSITION[2]).map(|offsets| offsets.as_primitive::<Int64Type>().clone());
    hold(rows, output, |row| offsets.as_ref().map_or(0, |offsets| offsets.value(row)), letters)
}

/// The same for the rows of a mirror. A row that says that its key is gone needs nothing but the key: what it had beside
/// that gives way to NULL, or the row before it would stay for ever.
pub(super) fn hold_mirror(rows: RecordBatch, output: &OutputRef, letters: &mut Letters<'_>) -> Result<RecordBatch> {
    let rows = without_values_of_the_gone(rows, &output.limits)?;
    let versions: Option<UInt64Array> =
        rows.column_by_name(VERSION).map(|versions| versions.as_primitive::<UInt64Type>().clone());
    hold(
        rows,
        output,
        |row| versions.as_ref().map_or(0, |versions| super::mirror::offset_of(versions.value(row))),
        letters,
    )
}

/// The rows that can be held, and of the others why not, by their places.
pub(super) fn part(rows: RecordBatch, limits: &Limits) -> Result<(RecordBatch, BTreeMap<usize, String>)> {
    let mut refused = BTreeMap::new();
    for (limit, places) in limits.refused(&rows) {
        for row in places {
            refused.entry(row).or_insert_with(|| limit.message(&rows, row));
        }
    }
    if refused.is_empty() {
        return Ok((rows, refused));
    }
    let kept: BooleanArray = (0..rows.num_rows()).map(|row| Some(!refused.contains_key(&row))).collect();
    Ok((filter_record_batch(&rows, &kept)?, refused))
}

/// The start of a result's window, milliseconds since the epoch; 0 where the query has not selected it.
pub(super) fn window_start(result: &RecordBatch) -> i64 {
    let to_millis = DataType::Timestamp(TimeUnit::Millisecond, None);
    let start = result.column_by_name("window_start").and_then(|starts| cast(starts, &to_millis).ok());
    let start = start.as_ref().and_then(|starts| starts.as_primitive_opt::<TimestampMillisecondType>());
    start.filter(|starts| !starts.is_empty() && starts.is_valid(0)).map_or(0, |starts| starts.value(0))
}

fn without_values_of_the_gone(rows: RecordBatch, limits: &Limits) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    let Some(deleted) = rows.column_by_name(IS_DELETED).cloned() else { return Ok(rows) };
    let deleted = deleted.as_primitive::<UInt8Type>();
    for (limit, places) in limits.refused(&rows) {
        let gone: Vec<usize> = places.into_iter().filter(|&row| deleted.value(row) == 1).collect();
        if gone.is_empty() || !rows.schema_ref().field(limit.column).is_nullable() {
            continue;
        }
        if columns.is_empty() {
            columns = rows.columns().to_vec();
        }
        let column = Arc::clone(&columns[limit.column]);
        let kept: BooleanArray = (0..column.len()).map(|row| Some(gone.binary_search(&row).is_err())).collect();
        columns[limit.column] = zip(&kept, &column, &new_null_array(column.data_type(), column.len()))?;
    }
    if columns.is_empty() { Ok(rows) } else { Ok(RecordBatch::try_new(rows.schema(), columns)?) }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Date32Array, Int32Array, StringArray, TimestampSecondArray, UInt8Array};
    use datafusion::arrow::datatypes::{Field, Schema};

    use super::*;
    use crate::sink::limits::{Holds, Limit};

    fn limits() -> Limits {
        let limit = |column, holds, target: &str| Limit { column, holds, target: target.into(), remedy: "do this" };
        Limits(vec![limit(0, Holds::Between(0..=9), "the type A"), limit(1, Holds::Bytes(1), "the type B")])
    }

    fn rows(days: &[i32], texts: &[&str], deleted: &[u8]) -> RecordBatch {
        let fields = vec![
            Field::new("day", DataType::Date32, true),
            Field::new("text", DataType::Utf8, false),
            Field::new(IS_DELETED, DataType::UInt8, false),
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Date32Array::from(days.to_vec())),
            Arc::new(StringArray::from(texts.to_vec())),
            Arc::new(UInt8Array::from(deleted.to_vec())),
        ];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    #[test]
    fn rows_without_a_place_are_parted_with_the_first_reason() {
        let (kept, refused) = part(rows(&[1, 10, 2, 11], &["a", "bb", "cc", "d"], &[0; 4]), &limits()).unwrap();
        assert_eq!(kept, rows(&[1], &["a"], &[0]));
        let messages: Vec<_> = refused.into_iter().collect();
        assert_eq!(
            messages,
            [
                (1, "column \"day\": 1970-01-11 has no place in the type A (do this)".to_owned()),
                (2, "column \"text\": cc has no place in the type B (do this)".to_owned()),
                (3, "column \"day\": 1970-01-12 has no place in the type A (do this)".to_owned()),
            ]
        );
    }

    #[test]
    fn the_gone_need_only_their_key() {
        let rows = rows(&[10, 10, 1], &["a", "b", "cc"], &[1, 0, 1]);
        let (kept, refused) = part(without_values_of_the_gone(rows, &limits()).unwrap(), &limits()).unwrap();
        assert_eq!(refused.into_keys().collect::<Vec<_>>(), [1, 2]);
        assert!(kept.num_rows() == 1 && kept.column(0).is_null(0));
    }

    #[test]
    fn the_windows_of_results() {
        let batch = |name: &str, column: ArrayRef| RecordBatch::try_from_iter([(name, column)]).unwrap();
        assert_eq!(window_start(&batch("window_start", Arc::new(TimestampSecondArray::from(vec![60])))), 60_000);
        assert_eq!(window_start(&batch("n", Arc::new(Int32Array::from(vec![60])))), 0);
    }
}
