//! Rows as text or Parquet, for the sinks that write files and the terminal.

use std::io::Write;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use datafusion::arrow::json;

use super::{OutputTable, TableForm};
use crate::error::{Error, Result};

/// The file formats that can be written, for messages.
pub(super) const FORMATS: &str = "'json', 'csv' or 'parquet'";

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileFormat {
    /// An object a line; nulls are written, so that every row has the same fields.
    Json,
    /// With a line of names first, or without.
    Csv {
        header: bool,
    },
    Parquet,
}

impl FileFormat {
    /// By the option `format`, otherwise by how the path ends, otherwise JSON.
    pub(super) fn of(table: &OutputTable) -> Result<Self> {
        let options = &table.options;
        let header = options.parse("csv.header", true, "'true' or 'false'")?;
        match options.get("format").or_else(|| extension(options.get("path")?)) {
            None | Some("json" | "jsonl" | "ndjson") => Ok(Self::Json),
            Some("csv") => Ok(Self::Csv { header }),
            Some("parquet") => Ok(Self::Parquet),
            Some(other) => Err(options.invalid("format", other, FORMATS)),
        }
    }

    /// How a file's name ends.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv { .. } => "csv",
            Self::Parquet => "parquet",
        }
    }
}

/// How a path ends, when that says that it is a file, and of which format.
pub(super) fn extension(path: &str) -> Option<&str> {
    let (_, extension) = path.rsplit_once('.')?;
    ["json", "jsonl", "ndjson", "csv", "parquet"].contains(&extension).then_some(extension)
}

/// How many leading columns are written: what the query selected. A mirror's rows mean nothing without the two columns that say
/// which of them is current and whether it was deleted, and keep them. Of revised results the last one written is current, so they
/// need no version.
pub(super) fn shown(table: &OutputTable) -> usize {
    match table.form {
        TableForm::Mirror => table.schema.fields().len(),
        TableForm::Multiset => table.visible + 2,
        TableForm::Revised => table.schema.fields().len() - 1,
        _ => table.visible,
    }
}

/// The leading columns of a batch.
pub(super) fn leading(rows: &RecordBatch, columns: usize) -> Result<RecordBatch> {
    if columns >= rows.num_columns() {
        return Ok(rows.clone());
    }
    Ok(rows.project(&(0..columns).collect::<Vec<_>>())?)
}

/// Rows with such times as text that Arrow cannot write: MySQL's are negative or longer than a day.
pub(super) fn with_long_times(rows: &RecordBatch) -> Result<RecordBatch> {
    let (mut columns, mut fields) = (Vec::new(), Vec::new());
    for (column, field) in rows.columns().iter().zip(rows.schema_ref().fields()) {
        match long_times(column)? {
            Some(texts) => {
                fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, field.is_nullable())));
                columns.push(texts);
            }
            None => {
                fields.push(Arc::clone(field));
                columns.push(Arc::clone(column));
            }
        }
    }
    let options = datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// A column of times as text, if some are no times of day.
fn long_times(column: &ArrayRef) -> Result<Option<ArrayRef>> {
    let (DataType::Time32(unit) | DataType::Time64(unit)) = column.data_type() else { return Ok(None) };
    let per_second: i64 = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    };
    let numbers = match column.data_type() {
        DataType::Time32(_) => cast(&cast(column, &DataType::Int32)?, &DataType::Int64)?,
        _ => cast(column, &DataType::Int64)?,
    };
    let numbers = numbers.as_primitive::<Int64Type>();
    if numbers.iter().flatten().all(|time| (0..86_400 * per_second).contains(&time)) {
        return Ok(None);
    }
    let texts = numbers.iter().map(|time| time.map(|time| time_text(time, per_second)));
    Ok(Some(Arc::new(texts.collect::<StringArray>())))
}

/// `-838:59:59.000001`, with as many digits as Arrow writes: 0, 3, 6 or 9.
fn time_text(time: i64, per_second: i64) -> String {
    let sign = if time < 0 { "-" } else { "" };
    let (seconds, rest) = (time.unsigned_abs() / per_second as u64, time.unsigned_abs() % per_second as u64);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let nanoseconds = rest * (1_000_000_000 / per_second as u64);
    let fraction = match nanoseconds {
        0 => String::new(),
        it if it % 1_000_000 == 0 => format!(".{:03}", it / 1_000_000),
        it if it % 1_000 == 0 => format!(".{:06}", it / 1_000),
        it => format!(".{it:09}"),
    };
    format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{fraction}")
}

/// Rows as JSON, an object a line. Times are ISO 8601, as Arrow writes them.
pub(super) fn json_lines(rows: &RecordBatch, out: impl Write) -> Result<()> {
    let builder = json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, json::writer::LineDelimited>(out);
    writer.write(&with_long_times(rows)?)?;
    Ok(writer.finish()?)
}

/// Rows as CSV, with the names first if wanted. What is nested is written as its JSON.
pub(super) fn csv_lines(rows: &RecordBatch, header: bool, out: impl Write) -> Result<()> {
    csv::WriterBuilder::new()
        .with_header(header)
        .build(out)
        .write(&flat(&with_long_times(rows)?)?)
        .map_err(|error| Error::config(format!("these rows cannot be written as CSV, use 'format' = 'json': {error}")))
}

/// The rows with structs, maps and lists as the texts of their JSON.
fn flat(rows: &RecordBatch) -> Result<RecordBatch> {
    if !rows.schema_ref().fields().iter().any(|field| field.data_type().is_nested()) {
        return Ok(rows.clone());
    }
    let columns = rows.schema_ref().fields().iter().zip(rows.columns()).map(|(field, column)| {
        if !field.data_type().is_nested() {
            return Ok((field.name(), Arc::clone(column)));
        }
        let one = Arc::new(Schema::new(vec![field.as_ref().clone().with_name("_").with_nullable(true)]));
        let mut lines = Vec::new();
        json_lines(&RecordBatch::try_new(one, vec![Arc::clone(column)])?, &mut lines)?;
        let lines = String::from_utf8(lines).map_err(Error::internal)?;
        // Each line is `{"_":…}`, and no JSON has a line break of its own.
        let texts = lines.lines().map(|line| line.get(5..line.len() - 1).filter(|text| *text != "null"));
        Ok((field.name(), Arc::new(texts.collect::<StringArray>()) as ArrayRef))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))?)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int32Array, Time32MillisecondArray, Time64MicrosecondArray};

    use super::*;

    #[test]
    fn times_that_are_no_times_of_day() {
        let times = Time64MicrosecondArray::from(vec![Some(-3_020_399_000_001), None, Some(3_600_500_000)]);
        let usual = Time32MillisecondArray::from(vec![Some(1_000), None, Some(86_399_999)]);
        let columns: [(&str, ArrayRef); 3] =
            [("a", Arc::new(times)), ("b", Arc::new(usual)), ("c", Arc::new(Int32Array::from(vec![1, 2, 3])))];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let mut text = Vec::new();
        json_lines(&rows, &mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "{\"a\":\"-838:59:59.000001\",\"b\":\"00:00:01\",\"c\":1}\n{\"a\":null,\"b\":null,\"c\":2}\n\
             {\"a\":\"01:00:00.500\",\"b\":\"23:59:59.999\",\"c\":3}\n"
        );
        let mut text = Vec::new();
        csv_lines(&rows, false, &mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap().lines().next(), Some("-838:59:59.000001,00:00:01,1"));
    }
}
