//! Rows as text or Parquet, for the sinks that write files and the terminal.

use std::io::Write;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::Schema;
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

/// Rows as CSV, with the names first if wanted. What is nested is written as its JSON.
pub(super) fn csv_lines(rows: &RecordBatch, header: bool, out: impl Write) -> Result<()> {
    csv::WriterBuilder::new()
        .with_header(header)
        .build(out)
        .write(&flat(rows)?)
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
