//! Parquet rows as JSON lines: for trying and tests, not for speed. The JSON decoder reads them like any others.

use std::fs::File;
use std::path::Path;

use datafusion::arrow::json::LineDelimitedWriter;
use datafusion::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::error::{Error, Result};

/// Rows converted together.
const ROWS: usize = 8_192;

fn failed(path: &Path, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::permanent(format!("cannot read Parquet file {}", path.display()), cause)
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|error| failed(path, error))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| failed(path, error))
}

/// How many rows a file has.
pub(super) fn count(path: &Path) -> Result<i64> {
    Ok(open(path)?.metadata().file_metadata().num_rows())
}

/// Reads a file from a row on.
pub(super) struct ParquetCursor {
    path: std::path::PathBuf,
    reader: ParquetRecordBatchReader,
}

impl ParquetCursor {
    pub(super) fn open(path: &Path, from: i64) -> Result<Self> {
        let builder = open(path)?.with_batch_size(ROWS).with_offset(usize::try_from(from).unwrap_or(0));
        let reader = builder.build().map_err(|error| failed(path, error))?;
        Ok(Self { path: path.to_owned(), reader })
    }

    /// The next rows as lines of JSON.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(rows) = self.reader.next() else { return Ok(None) };
        let rows = rows.map_err(|error| failed(&self.path, error))?;
        let mut bytes = Vec::new();
        let mut writer = LineDelimitedWriter::new(&mut bytes);
        writer.write(&rows).and_then(|()| writer.finish()).map_err(|error| failed(&self.path, error))?;
        Ok(Some(bytes))
    }
}
