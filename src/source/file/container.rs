//! Avro's container files: every value is a record. The decoder reads the schema from the file's header, as this does.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use crate::avro::container::Header;
use crate::error::{Error, Result};

fn failed(path: &Path, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::permanent(format!("cannot read Avro file {}", path.display()), cause)
}

/// How many values a file has.
pub(super) fn count(path: &Path) -> Result<i64> {
    let mut cursor = ContainerCursor::open(path, 0)?;
    let mut count = 0i64;
    while let Some(block) = cursor.block(true)? {
        count = count.saturating_add(block.count);
    }
    Ok(count)
}

/// Reads a file from a value on.
pub(super) struct ContainerCursor {
    path: PathBuf,
    header: Header,
    input: BufReader<File>,
    /// Values to pass over.
    skip: i64,
}

/// Values as they are in the file, numbered from `first`.
pub(super) struct Values {
    pub(super) first: i64,
    pub(super) bytes: Vec<u8>,
    /// Where the first starts, then where each ends.
    pub(super) bounds: Vec<usize>,
}

impl ContainerCursor {
    pub(super) fn open(path: &Path, from: i64) -> Result<Self> {
        let file = File::open(path).map_err(|error| failed(path, error))?;
        let mut input = BufReader::new(file);
        let header = Header::read(&mut input).map_err(|words| failed(path, words))?;
        Ok(Self { path: path.to_owned(), header, input, skip: from })
    }

    fn block(&mut self, skip: bool) -> Result<Option<crate::avro::container::Block>> {
        self.header.block(&mut self.input, skip).map_err(|words| failed(&self.path, words))
    }

    /// The values of the next block; `first` is the number of the first that is wanted.
    pub(super) fn next(&mut self, first: i64) -> Result<Option<Values>> {
        while let Some(block) = self.block(false)? {
            if block.count <= self.skip {
                self.skip -= block.count;
                continue;
            }
            let mut bounds = self.header.ends(&block).map_err(|words| failed(&self.path, words))?;
            bounds.insert(0, 0);
            bounds.drain(..usize::try_from(std::mem::take(&mut self.skip)).unwrap_or(0));
            return Ok(Some(Values { first, bytes: block.bytes, bounds }));
        }
        Ok(None)
    }
}
