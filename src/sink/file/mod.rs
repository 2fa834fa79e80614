//! `'connector' = 'filesystem'`: rows in files, as JSON lines, CSV or Parquet.
//!
//! When `path` is a **directory**, each block becomes one file, `part-<epoch>-<hash of its token>.json`, written under a hidden
//! name and then renamed: a reader never sees half a file, and a block written again replaces its own file. This holds
//! through any crash.
//!
//! When `path` is a **file** (it ends in `.json`, `.jsonl`, `.ndjson`, `.csv` or `.parquet`), blocks are appended to it; it is
//! emptied when a job starts anew. For trying and for tests. A hidden file beside it, `.<name>.blocks`, notes which
//! blocks are in it up to which byte, so that a job that resumes cuts off what was written half and repeats nothing. A Parquet file
//! is readable when the run has ended, and cannot be resumed.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::parquet::arrow::ArrowWriter;

use self::ledger::Ledger;
use super::encode::{self, FileFormat};
use super::{Block, OutputTable, Sink};
use crate::error::{Error, Result};
use crate::stable_hash::stable_hash;

mod ledger;
#[cfg(test)]
mod tests;

/// The options of this connector when it is written, beside `connector` and `format`.
pub const OPTIONS: &[&str] = &["path", "csv.header"];

/// Writes rows to files.
pub struct FileSink {
    name: String,
    path: PathBuf,
    format: FileFormat,
    columns: usize,
    schema: SchemaRef,
    resume: bool,
    place: Place,
}

enum Place {
    NotYet,
    Directory,
    /// Text, appended block by block.
    Text(File, Ledger),
    /// `None` once it is closed.
    Parquet(Option<Box<ArrowWriter<File>>>),
}

impl FileSink {
    /// A sink for this table; `resume` when a job goes on from a checkpoint, so that what is there must stay.
    pub fn new(table: &OutputTable, resume: bool) -> Result<Self> {
        let path = table.options.required("path")?;
        let path = path.strip_prefix("file://").unwrap_or(path);
        let columns = encode::shown(table).min(table.schema.fields().len());
        let schema = Schema::new(table.schema.fields()[..columns].to_vec()).into();
        let name = table.options.table().to_owned();
        Ok(Self {
            name,
            path: path.into(),
            format: FileFormat::of(table)?,
            columns,
            schema,
            resume,
            place: Place::NotYet,
        })
    }

    fn is_single_file(&self) -> bool {
        self.path.to_str().and_then(encode::extension).is_some() && !self.path.is_dir()
    }

    fn open(&mut self) -> Result<Place> {
        if !self.is_single_file() {
            fs::create_dir_all(&self.path).map_err(|error| self.failed(&self.path, error))?;
            self.tidy_directory()?;
            return Ok(Place::Directory);
        }
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent).map_err(|error| self.failed(parent, error))?;
        }
        if self.format == FileFormat::Parquet {
            if self.resume && self.path.exists() {
                return Err(Error::config(format!(
                    "table \"{}\": a single Parquet file cannot be continued; make option 'path' a directory",
                    self.name
                )));
            }
            let file = File::create(&self.path).map_err(|error| self.failed(&self.path, error))?;
            let writer = ArrowWriter::try_new(file, self.schema.clone(), None)
                .map_err(|error| self.failed(&self.path, error))?;
            return Ok(Place::Parquet(Some(Box::new(writer))));
        }
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(!self.resume).open(&self.path);
        let mut file = opened.map_err(|error| self.failed(&self.path, error))?;
        let ledger =
            Ledger::open(&self.path, &mut file, self.resume).map_err(|error| self.failed(&self.path, error))?;
        Ok(Place::Text(file, ledger))
    }

    /// Removes what a crash has left half written, and says when there is something of an earlier job.
    fn tidy_directory(&self) -> Result<()> {
        let mut parts = 0;
        for entry in fs::read_dir(&self.path).map_err(|error| self.failed(&self.path, error))? {
            let entry = entry.map_err(|error| self.failed(&self.path, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(".part-") && name.ends_with(".tmp") {
                fs::remove_file(entry.path()).map_err(|error| self.failed(&entry.path(), error))?;
            } else if name.starts_with("part-") {
                parts += 1;
            }
        }
        if parts > 0 && !self.resume {
            tracing::warn!(table = self.name, path = %self.path.display(), parts, "files of an earlier job stay beside the new ones");
        }
        Ok(())
    }

    fn rows(&self, block: &Block) -> Result<Vec<RecordBatch>> {
        block.rows.iter().map(|rows| encode::leading(rows, self.columns)).collect()
    }

    fn encode(&self, rows: &[RecordBatch], mut header: bool) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.format {
            FileFormat::Json => rows.iter().try_for_each(|rows| encode::json_lines(rows, &mut bytes))?,
            FileFormat::Csv { header: wanted } => {
                for rows in rows {
                    encode::csv_lines(rows, wanted && std::mem::take(&mut header), &mut bytes)?;
                }
            }
            FileFormat::Parquet => {
                let failed = |error| self.failed(&self.path, error);
                let mut writer = ArrowWriter::try_new(&mut bytes, self.schema.clone(), None).map_err(failed)?;
                for rows in rows {
                    writer.write(rows).map_err(|error| self.failed(&self.path, error))?;
                }
                writer.close().map_err(|error| self.failed(&self.path, error))?;
            }
        }
        Ok(bytes)
    }

    fn write_part(&self, block: &Block, bytes: &[u8]) -> Result<()> {
        let name =
            format!("part-{:06}-{:016x}.{}", block.epoch, stable_hash(block.token.as_bytes()), self.format.extension());
        let (path, hidden) = (self.path.join(&name), self.path.join(format!(".{name}.tmp")));
        let write = || {
            let mut file = File::create(&hidden)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&hidden, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|error| self.failed(&path, error))
    }

    fn failed(&self, path: &Path, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::permanent(format!("cannot write the rows of table \"{}\" to {}", self.name, path.display()), cause)
    }
}

#[async_trait]
impl Sink for FileSink {
    fn check_take_out(&self, _windows_from: Option<i64>) -> Result<()> {
        Err(Error::config(format!(
            "table \"{}\": rows cannot be taken out of files again; delete {} and run with --reset-state",
            self.name,
            self.path.display()
        )))
    }

    async fn prepare(&mut self) -> Result<()> {
        self.place = self.open()?;
        Ok(())
    }

    async fn write(&mut self, block: &Block) -> Result<()> {
        if block.row_count() == 0 {
            return Ok(());
        }
        let rows = self.rows(block)?;
        if matches!(self.place, Place::Directory) {
            let bytes = self.encode(&rows, true)?;
            return self.write_part(block, &bytes);
        }
        let header = matches!(&self.place, Place::Text(_, ledger) if ledger.end() == 0);
        let bytes = if self.format == FileFormat::Parquet { Vec::new() } else { self.encode(&rows, header)? };
        let result: Result<(), Box<dyn std::error::Error + Send + Sync>> = match &mut self.place {
            Place::NotYet | Place::Directory | Place::Parquet(None) => Err("it is not open".into()),
            Place::Parquet(Some(writer)) => rows.iter().try_for_each(|rows| writer.write(rows)).map_err(Into::into),
            Place::Text(_, ledger) if ledger.has(&block.token) => Ok(()),
            Place::Text(file, ledger) => file
                // A write that failed half-way is overwritten by its repeat.
                .seek(SeekFrom::Start(ledger.end()))
                .and_then(|_| file.write_all(&bytes))
                .and_then(|()| file.sync_data())
                .and_then(|()| ledger.note(&block.token, bytes.len()))
                .map_err(Into::into),
        };
        result.map_err(|error| self.failed(&self.path, error))
    }

    async fn write_again(&mut self, block: &Block) -> Result<()> {
        self.write(block).await
    }

    async fn finish(&mut self) -> Result<()> {
        if let Place::Parquet(writer) = &mut self.place
            && let Some(writer) = writer.take()
        {
            writer.close().map_err(|error| self.failed(&self.path, error))?;
        }
        Ok(())
    }
}
