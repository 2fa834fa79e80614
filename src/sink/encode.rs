//! Rows as text or Parquet, for the sinks that write files and the terminal.

use std::io::Write;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::csv;
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
/// which of them is current and whether it was deleted, and keep them.
pub(super) fn shown(table: &OutputTable) -> usize {
    match table.form {
        TableForm::Mirror => table.schema.fields().len(),
        TableForm::Multiset => table.visible + 2,
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

/// Rows as JSON, an object a line. Times are ISO 8601, as Arrow writes them.
pub(super) fn json_lines(rows: &RecordBatch, out: impl Write) -> Result<()> {
    let builder = json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, json::writer::LineDelimited>(out);
    writer.write(rows)?;
    Ok(writer.finish()?)
}

/// Rows as CSV, with the names first if wanted.
pub(super) fn csv_lines(rows: &RecordBatch, header: bool, out: impl Write) -> Result<()> {
    csv::WriterBuilder::new()
        .with_header(header)
        .build(out)
        .write(rows)
        .map_err(|error| Error::config(format!("these rows cannot be written as CSV, use 'format' = 'json': {error}")))
}
