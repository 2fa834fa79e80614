//! Bytes → Arrow: only the columns that a query needs.
//!
//! A record that cannot be decoded becomes a dead letter, never an error: bad input does not stop a healthy job.

use datafusion::arrow::datatypes::SchemaRef;

use crate::change::ChangeBatch;
use crate::error::Result;
use crate::options::Options;
use crate::source::RawBatch;

/// What a decoder is asked for. Compiled once; the rest of a record is skipped without being parsed.
#[derive(Debug, Clone)]
pub struct DecodeSpec {
    /// The columns to decode, a subset of the table's, with their declared types and nullability. May be empty: then only ops and positions are wanted.
    pub columns: SchemaRef,
    /// Whether the images before updates are wanted too.
    pub before: bool,
    /// Whether `source.ts_ms` is wanted.
    pub source_time: bool,
}

/// Decodes the records of one lane. Keeps its buffers from batch to batch.
pub trait Decoder: Send {
    /// The rows of these records, in order; what cannot be decoded is among the dead letters.
    fn decode(&mut self, records: &RawBatch) -> ChangeBatch;
}

/// The formats that can be read, for messages.
pub const FORMATS: &[&str] = &["debezium-json", "json", "csv"];

/// Whether a format carries changes (updates, deletes) rather than rows that are only ever added.
pub fn is_changelog(format: &str) -> bool {
    format.starts_with("debezium-")
}

/// The decoder that a table's options describe.
pub fn decoder(_options: &Options, _spec: &DecodeSpec) -> Result<Box<dyn Decoder>> {
    unreachable!("replaced by the format work")
}
