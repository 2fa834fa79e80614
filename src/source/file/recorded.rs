//! Records captured from Kafka, a JSON line each: `{"topic","partition","offset","timestamp","key","value","headers"}`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::lines::LineReader;
use crate::change::{NO_TIME, OffsetRange, TopicPartition};
use crate::error::{Error, Result};
use crate::source::{Header, RawRecord, RawRecords};

/// A line as it was captured. Bytes that are no text are in the `_base64` fields.
#[derive(serde::Deserialize)]
struct Line {
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: Option<i64>,
    key: Option<String>,
    value: Option<String>,
    key_base64: Option<String>,
    value_base64: Option<String>,
    headers: Option<Vec<(String, Option<String>)>>,
}

struct Record {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<String>)>,
}

/// Records of one partition.
pub(super) struct Recorded(Vec<Record>);

impl Recorded {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl RawRecords for Recorded {
    fn get(&self, index: usize) -> RawRecord<'_> {
        let record = &self.0[index];
        RawRecord {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
        }
    }

    fn headers(&self, index: usize) -> Vec<Header<'_>> {
        let headers = &self.0[index].headers;
        headers.iter().map(|(name, value)| (name.into(), value.as_deref().map(str::as_bytes))).collect()
    }
}

fn parse(path: &std::path::Path, number: i64, line: &[u8]) -> Result<Line> {
    serde_json::from_slice(line).map_err(|error| {
        Error::permanent(
            format!("{}:{}: not a captured record ('records' = 'kafka')", path.display(), number + 1),
            error,
        )
    })
}

/// The partitions in some files, with the offset of the first record and the one after the last.
pub(super) fn scan(files: &[PathBuf]) -> Result<BTreeMap<TopicPartition, (i64, i64)>> {
    let mut found: BTreeMap<TopicPartition, (i64, i64)> = BTreeMap::new();
    for path in files {
        let mut reader = LineReader::open(path)?;
        while let Some(lines) = reader.next(true)? {
            for (number, line) in lines.iter() {
                let line = parse(path, number, line)?;
                let partition = TopicPartition { topic: line.topic.into(), partition: line.partition };
                let entry = found.entry(partition).or_insert((line.offset, line.offset + 1));
                *entry = (entry.0.min(line.offset), entry.1.max(line.offset + 1));
            }
        }
    }
    Ok(found)
}

/// Reads one partition: every line of the files is looked at, and those of others are passed over.
pub(super) struct RecordedCursor {
    partition: TopicPartition,
    /// Files not yet read to their end, the next one last.
    files: Vec<PathBuf>,
    current: Option<(PathBuf, LineReader)>,
    next: i64,
}

impl RecordedCursor {
    pub(super) fn new(partition: TopicPartition, mut files: Vec<PathBuf>, from: i64) -> Self {
        files.reverse();
        Self { partition, files, current: None, next: from }
    }

    pub(super) fn next(&mut self) -> Result<Option<(OffsetRange, Recorded)>> {
        loop {
            if self.current.is_none() {
                let Some(path) = self.files.last() else { return Ok(None) };
                self.current = Some((path.clone(), LineReader::open(path)?));
            }
            let Some((path, reader)) = &mut self.current else { return Ok(None) };
            // Only the last file may still grow.
            let more = self.files.len() > 1;
            let Some(lines) = reader.next(more)? else {
                if more {
                    self.files.pop();
                    self.current = None;
                    continue;
                }
                return Ok(None);
            };
            let mut records = Vec::new();
            let from = self.next;
            for (number, line) in lines.iter() {
                let line = parse(path, number, line)?;
                let ours = line.partition == self.partition.partition && *line.topic == *self.partition.topic;
                if ours && line.offset >= self.next {
                    self.next = line.offset + 1;
                    records.push(Record {
                        offset: line.offset,
                        timestamp: line.timestamp.filter(|&at| at >= 0).unwrap_or(NO_TIME),
                        key: content(line.key, line.key_base64.as_deref(), path, number)?,
                        value: content(line.value, line.value_base64.as_deref(), path, number)?,
                        headers: line.headers.unwrap_or_default(),
                    });
                }
            }
            if !records.is_empty() {
                return Ok(Some((OffsetRange { from, to: self.next }, Recorded(records))));
            }
        }
    }
}

fn content(text: Option<String>, base64: Option<&str>, path: &std::path::Path, number: i64) -> Result<Option<Vec<u8>>> {
    match (text, base64) {
        (Some(text), _) => Ok(Some(text.into_bytes())),
        (None, None) => Ok(None),
        (None, Some(text)) => decode_base64(text).map(Some).ok_or_else(|| {
            Error::permanent(
                format!("{}:{}: not a captured record ('records' = 'kafka')", path.display(), number + 1),
                "broken base64",
            )
        }),
    }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut buffer, mut bits) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        buffer = (buffer << 6 | u32::from(value)) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(buffer >> bits & 0xFF).ok()?);
        }
    }
    Some(bytes)
}
