//! A file's whole lines, a few megabytes at a time.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};

/// How much is read at once; a longer line makes it more.
const READ_BYTES: usize = 4 << 20;
/// A line that is longer than this is no line.
const LINE_BYTES: usize = 1 << 30;
/// A last line without its line break counts once the file has been left alone for so long.
const QUIET: Duration = Duration::from_secs(1);

/// Lines read together.
pub(super) struct Lines {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// The line after the last one read, empty ones counted.
    pub(super) next_line: i64,
}

struct Span {
    line: i64,
    start: usize,
    end: usize,
}

impl Lines {
    /// Number of lines that are not empty.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// A line's number and bytes, without the line break.
    pub(super) fn get(&self, index: usize) -> (i64, &[u8]) {
        let span = &self.spans[index];
        (span.line, &self.bytes[span.start..span.end])
    }

    /// Leaves out the lines before a number.
    pub(super) fn drop_before(&mut self, line: i64) {
        let from = self.spans.partition_point(|span| span.line < line);
        self.spans.drain(..from);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &[u8])> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// A place in a file that may still grow.
pub(super) struct LineReader {
    path: PathBuf,
    file: File,
    inode: u64,
    position: u64,
    line: i64,
    read_bytes: usize,
}

impl LineReader {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |error| Error::permanent(format!("cannot read file {}", path.display()), error);
        let file = File::open(path).map_err(failed)?;
        let inode = file.metadata().map_err(failed)?.ino();
        Ok(Self { path: path.to_owned(), file, inode, position: 0, line: 0, read_bytes: READ_BYTES })
    }

    /// Moves to the start of a line.
    pub(super) fn skip_to(&mut self, line: i64) -> Result<()> {
        while self.line < line {
            let at = (self.position, self.line);
            let Some((bytes, end)) = self.read(true)? else {
                return Err(self.failed(format!(
                    "it has {} lines, and line {line} was to be read next: was it replaced?",
                    self.line
                )));
            };
            let missing = usize::try_from(line - at.1).unwrap_or(usize::MAX);
            let breaks = memchr::memchr_iter(b'\n', &bytes[..end]);
            let (mut passed, mut after) = (0, 0);
            for place in breaks.take(missing) {
                (passed, after) = (passed + 1, place + 1);
            }
            if passed < missing && after < end {
                (passed, after) = (passed + 1, end);
            }
            self.position = at.0 + after as u64;
            self.line = at.1 + passed as i64;
        }
        Ok(())
    }

    /// The next lines; `None` when there is none yet. `to_end` takes a last line without a line break as it is.
    pub(super) fn next(&mut self, to_end: bool) -> Result<Option<Lines>> {
        let Some((bytes, end)) = self.read(to_end)? else { return Ok(None) };
        let mut spans = Vec::with_capacity(end / 256);
        let mut start = 0;
        while start < end {
            let stop = memchr::memchr(b'\n', &bytes[start..end]).map_or(end, |length| start + length);
            let line = bytes[start..stop].strip_suffix(b"\r").unwrap_or(&bytes[start..stop]);
            if !line.trim_ascii().is_empty() {
                spans.push(Span { line: self.line, start, end: start + line.len() });
            }
            self.line += 1;
            start = stop + 1;
        }
        self.position += end as u64;
        Ok(Some(Lines { bytes, spans, next_line: self.line }))
    }

    /// Bytes from the current position on, and how many of them are whole lines.
    fn read(&mut self, to_end: bool) -> Result<Option<(Vec<u8>, usize)>> {
        loop {
            let size = self.size()?;
            let left = usize::try_from(size - self.position).unwrap_or(usize::MAX);
            if left == 0 {
                return Ok(None);
            }
            let mut bytes = vec![0; left.min(self.read_bytes)];
            let read = read_at(&self.file, &mut bytes, self.position).map_err(|error| self.failed(error))?;
            bytes.truncate(read);
            if let Some(last) = memchr::memrchr(b'\n', &bytes) {
                return Ok(Some((bytes, last + 1)));
            }
            if read == left {
                // No line break to the end: a line that is being written, or the last one of a file that ends without.
                let end = bytes.len();
                return Ok((end > 0 && (to_end || self.is_quiet())).then_some((bytes, end)));
            }
            if self.read_bytes >= LINE_BYTES {
                return Err(self.failed(format!("line {} is longer than {LINE_BYTES} bytes", self.line)));
            }
            self.read_bytes *= 4;
        }
    }

    fn size(&self) -> Result<u64> {
        let metadata = std::fs::metadata(&self.path).map_err(|error| self.failed(error))?;
        if metadata.ino() != self.inode || metadata.len() < self.position {
            return Err(self.failed("it was replaced or cut while it was being read; files may only grow"));
        }
        Ok(metadata.len())
    }

    fn is_quiet(&self) -> bool {
        let modified = self.file.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        SystemTime::now().duration_since(modified).is_ok_and(|quiet| quiet >= QUIET)
    }

    fn failed(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::permanent(format!("cannot read file {}", self.path.display()), cause)
    }
}

fn read_at(file: &File, bytes: &mut [u8], position: u64) -> std::io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], position + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// How many lines a file has, a last one without line break included.
pub(super) fn count(path: &Path) -> Result<i64> {
    let mut reader = LineReader::open(path)?;
    while let Some((bytes, end)) = reader.read(true)? {
        let breaks = memchr::memchr_iter(b'\n', &bytes[..end]).count();
        reader.line += breaks as i64 + i64::from(bytes[..end].last() != Some(&b'\n'));
        reader.position += end as u64;
    }
    Ok(reader.line)
}
