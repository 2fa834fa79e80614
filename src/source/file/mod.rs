//! Files as topics: for trying a query, and for tests.
//!
//! A file is a topic of one partition, 0, named by its path; a record's offset is its line's number, from 0. Lines that are
//! empty are passed over but counted. Files may grow while they are read, and new ones may appear in a directory; they may not
//! be cut or replaced. A record is one line: a CSV field cannot hold a line break. Parquet rows are turned into JSON lines;
//! the values of Avro's container files are records as they are, the schema being the decoder's business.
//!
//! With `'records' = 'kafka'` a line is a record captured from Kafka, and has topic, partition, offset, timestamp, key and
//! value as they were there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::reader::{Added, FileReader};
use super::{Source, SourceReader};
use crate::change::TopicPartition;
use crate::error::{Error, Result};
use crate::options::Options;

mod container;
mod lines;
mod listing;
mod parquet;
mod reader;
mod recorded;
#[cfg(test)]
mod tests;

/// The options of this connector when it is read, beside `connector` and the format's.
pub const OPTIONS: &[&str] = &["path", "records", "csv.header", "source.monitor-interval"];

/// What is in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A record a line; of the first `skip` lines (a CSV header) nothing is read.
    Lines {
        skip: i64,
    },
    Recorded,
    Parquet,
    Container,
}

/// A table that is one or several files.
pub struct FileSource {
    table: String,
    path: String,
    kind: Kind,
    interval: Duration,
    lanes: Vec<Arc<Mutex<Vec<Added>>>>,
}

impl FileSource {
    /// Checks the options; whether the files are there shows when it is first asked something.
    pub fn new(options: &Options) -> Result<Self> {
        let path = options.required("path")?;
        let path = path.strip_prefix("file://").unwrap_or(path).to_owned();
        let header = options.parse("csv.header", true, "'true' or 'false'")?;
        let kind = match (options.get("records"), options.get("format")) {
            (Some("kafka"), Some("parquet" | "csv")) => {
                return Err(Error::config(format!(
                    "table \"{}\": 'records' = 'kafka' means captured records, a JSON line each; the format is that of their values",
                    options.table()
                )));
            }
            (Some("kafka"), _) => Kind::Recorded,
            (Some("lines") | None, Some("parquet")) => Kind::Parquet,
            (Some("lines") | None, Some("avro")) => Kind::Container,
            (Some("lines") | None, Some("csv")) => Kind::Lines { skip: i64::from(header) },
            (Some("lines") | None, _) => Kind::Lines { skip: 0 },
            (Some(other), _) => return Err(options.invalid("records", other, "'lines' or 'kafka'")),
        };
        let interval = options.duration("source.monitor-interval", Duration::from_millis(200))?;
        Ok(Self { table: options.table().to_owned(), path, kind, interval, lanes: Vec::new() })
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        listing::files(&self.table, &self.path)
    }

    /// First and end offsets of all partitions.
    fn scan(&self) -> Result<BTreeMap<TopicPartition, (i64, i64)>> {
        let files = self.files()?;
        if self.kind == Kind::Recorded {
            return recorded::scan(&files);
        }
        let of = |path: PathBuf| {
            let count = match self.kind {
                Kind::Parquet => parquet::count(&path),
                Kind::Container => container::count(&path),
                Kind::Lines { .. } | Kind::Recorded => lines::count(&path),
            };
            Ok((listing::partition(&path)?, (0, count?)))
        };
        files.into_iter().map(of).collect()
    }

    fn offsets(
        &self,
        partitions: &[TopicPartition],
        pick: fn((i64, i64)) -> i64,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        let found = self.scan()?;
        Ok(partitions
            .iter()
            .map(|partition| (partition.clone(), found.get(partition).copied().map_or(0, pick)))
            .collect())
    }
}

impl Source for FileSource {
    fn partitions(&mut self) -> Result<Vec<TopicPartition>> {
        if self.kind == Kind::Recorded {
            return Ok(recorded::scan(&self.files()?)?.into_keys().collect());
        }
        let mut partitions = self.files()?.iter().map(|path| listing::partition(path)).collect::<Result<Vec<_>>>()?;
        partitions.sort();
        Ok(partitions)
    }

    fn start_offsets(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.first_offsets(partitions)
    }

    fn first_offsets(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        match self.kind {
            Kind::Recorded => self.offsets(partitions, |(first, _)| first),
            Kind::Lines { .. } | Kind::Parquet | Kind::Container => {
                Ok(partitions.iter().map(|partition| (partition.clone(), 0)).collect())
            }
        }
    }

    fn end_offsets(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.offsets(partitions, |(_, end)| end)
    }

    fn reader(&mut self) -> Result<Box<dyn SourceReader>> {
        let added = Arc::new(Mutex::default());
        self.lanes.push(Arc::clone(&added));
        Ok(Box::new(FileReader::new(added, self.interval)))
    }

    fn assign(&mut self, lane: usize, partition: &TopicPartition, from: i64) -> Result<()> {
        let files = if self.kind == Kind::Recorded { self.files()? } else { Vec::new() };
        let lane = self.lanes.get(lane).ok_or_else(|| Error::internal(format!("lane {lane} has no reader yet")))?;
        let added = Added { partition: partition.clone(), from, kind: self.kind, files };
        lane.lock().unwrap_or_else(PoisonError::into_inner).push(added);
        Ok(())
    }

    fn commit(&mut self, _: &BTreeMap<TopicPartition, i64>) -> Result<()> {
        Ok(())
    }

    fn maintain(&mut self) -> Result<()> {
        Ok(())
    }
}
