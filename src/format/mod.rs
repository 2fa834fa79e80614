//! Bytes → Arrow: only the columns that a query needs.
//!
//! A record that cannot be decoded becomes a dead letter, never an error: bad input does not stop a healthy job.

use datafusion::arrow::datatypes::SchemaRef;

use crate::change::ChangeBatch;
use crate::error::{Error, Result, suggestion};
use crate::options::Options;
use crate::source::RawBatch;

use assembly::Assembly;
use csv::Csv;
use dialect::Dialect;
use json::block::Isa;
use json::canal::CanalJson;
use json::debezium::DebeziumJson;
use json::maxwell::MaxwellJson;
use json::plain::PlainJson;
use json::unwrapped::Unwrapped;

mod assembly;
mod avro;
mod column;
mod connect;
mod csv;
mod dialect;
pub mod envelope;
mod fault;
pub mod infer;
mod json;
mod registry;
pub mod watch;

/// What a decoder is asked for. Compiled once; the rest of a record is skipped without being parsed.
#[derive(Debug, Clone)]
pub struct DecodeSpec {
    /// The columns to decode, a subset of the table's, with their declared types and nullability. May be empty: then only ops and positions are wanted.
    pub columns: SchemaRef,
    /// The place of each of these columns among all columns that the table declares, from 0. Formats without names
    /// (`csv`) go by it; for the others it may be empty.
    pub positions: Vec<usize>,
    /// All columns that the table declares, as they are declared: `avro` without a schema goes by it; for the others it may be empty.
    pub declared: SchemaRef,
    /// Whether the images before updates are wanted too.
    pub before: bool,
    /// Whether `source.ts_ms` is wanted.
    pub source_time: bool,
    /// What else is wanted of the envelope around the images, by its path in it (`transaction.id`, `source.lsn`, `ts_ms`): a
    /// nullable column each, null where an event does not have it. Those that begin with `@` are the record's own
    /// ([`envelope`]) and are filled in for every format. Mostly none.
    pub envelope: SchemaRef,
}

/// Decodes the records of one lane. Keeps its buffers from batch to batch.
pub trait Decoder: Send {
    /// Gets what these records need before they can be decoded: the schemas that they were written with. A transient error is
    /// the caller's to try again later, with the same records.
    fn prepare(&mut self, _records: &RawBatch) -> Result<()> {
        Ok(())
    }

    /// The rows of these records, in order; what cannot be decoded is among the dead letters.
    fn decode(&mut self, records: &RawBatch) -> ChangeBatch;
}

/// The formats that can be read, for messages.
pub const FORMATS: &[&str] = &[
    "debezium-json",
    "debezium-avro-confluent",
    "maxwell-json",
    "canal-json",
    "json",
    "avro-confluent",
    "avro",
    "csv",
];

/// Whether a format carries changes (updates, deletes) rather than rows that are only ever added.
pub fn is_changelog(format: &str) -> bool {
    format.starts_with("debezium-") || matches!(format, "maxwell-json" | "canal-json")
}

/// Flink's option by which a record without a field is an error.
const FAIL_ON_MISSING: &str = "json.fail-on-missing-field";

/// The options of all formats: those that a misspelt one is compared with.
pub const OPTIONS: &[&str] = &[
    "format",
    "max-record-bytes",
    "csv.field-delimiter",
    "csv.null-literal",
    dialect::OPTIONS[0],
    dialect::OPTIONS[1],
    dialect::OPTIONS[2],
    "debezium-avro-confluent.unwrapped",
    "debezium-avro-confluent.unwrapped.add-fields-prefix",
    "debezium-avro-confluent.unwrapped.tombstones",
    "debezium-avro-confluent.url",
    "debezium-avro-confluent.subject",
    "debezium-avro-confluent.basic-auth.credentials-source",
    "debezium-avro-confluent.basic-auth.user-info",
    "debezium-avro-confluent.bearer-auth.token",
    "debezium-avro-confluent.ssl.ca-location",
    "avro-confluent.url",
    "avro-confluent.subject",
    "avro-confluent.basic-auth.credentials-source",
    "avro-confluent.basic-auth.user-info",
    "avro-confluent.bearer-auth.token",
    "avro-confluent.ssl.ca-location",
    "avro.schema",
    "debezium-json.unwrapped",
    "debezium-json.unwrapped.add-fields-prefix",
    "debezium-json.unwrapped.tombstones",
    // Flink's. With or without a schema is seen at each record, and so is the way that a time is written; a record that cannot
    // be parsed is a dead letter.
    "debezium-json.schema-include",
    "debezium-json.ignore-parse-errors",
    "debezium-json.timestamp-format.standard",
    "json.ignore-parse-errors",
    "json.timestamp-format.standard",
    FAIL_ON_MISSING,
    "json.map-null-key.mode",
    "json.map-null-key.literal",
    "json.encode.decimal-as-plain-number",
    "json.decode.json-parser.enabled",
    "maxwell-json.ignore-parse-errors",
    "maxwell-json.timestamp-format.standard",
    "canal-json.ignore-parse-errors",
    "canal-json.timestamp-format.standard",
    "csv.ignore-parse-errors",
];

/// The largest record that is decoded where `'max-record-bytes'` does not say.
const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// The decoder that a table's options describe.
///
/// Rows have exactly the spec's columns. Where there is no value for a column that may not be null, in a truncate or
/// an image before an insert, there is zero or the empty string.
pub fn decoder(options: &Options, spec: &DecodeSpec) -> Result<Box<dyn Decoder>> {
    decoder_on(options, spec, Isa::detect())
}

/// The same with other instructions than this processor's best.
fn decoder_on(options: &Options, spec: &DecodeSpec, isa: Isa) -> Result<Box<dyn Decoder>> {
    let format = options.required("format")?;
    let record_bytes_max = options.parse("max-record-bytes", RECORD_BYTES_MAX, "a number of bytes")?;
    refuse_unknown(options, format)?;
    let assembly = |dialect| {
        Assembly::new(spec, dialect, record_bytes_max).map_err(|error| match error {
            Error::Config(message) => Error::config(format!("table \"{}\": {message}", options.table())),
            other => other,
        })
    };
    Ok(match format {
        "debezium-json" => {
            let dialect = Dialect::debezium(options)?;
            match switch(options, "debezium-json.unwrapped")? {
                false => Box::new(DebeziumJson::new(assembly(dialect)?, isa)),
                true => {
                    let prefix = options.get("debezium-json.unwrapped.add-fields-prefix").unwrap_or("__");
                    Box::new(Unwrapped::new(assembly(dialect)?, prefix, tombstones_delete(options)?, isa))
                }
            }
        }
        "maxwell-json" => Box::new(MaxwellJson::new(assembly(Dialect::default())?, isa)),
        "canal-json" => Box::new(CanalJson::new(assembly(Dialect::default())?, isa)),
        "json" if options.get(FAIL_ON_MISSING) == Some("true") => {
            return Err(options.invalid(
                FAIL_ON_MISSING,
                "true",
                "'false', and NOT NULL at the columns that a record must have",
            ));
        }
        // The filesystem's source turns the rows of Parquet files into lines of JSON.
        "json" | "parquet" => Box::new(PlainJson::new(assembly(Dialect::default())?, isa)),
        "debezium-avro-confluent" | "avro-confluent" | "avro" => {
            let dialect = Dialect { debezium: format.starts_with("debezium"), flat: true, ..Dialect::default() };
            avro::decoder(options, format, spec, assembly(dialect)?)?
        }
        "csv" => {
            if spec.positions.len() != spec.columns.fields().len() {
                return Err(Error::internal("the format csv needs the position of every column"));
            }
            let assembly = assembly(Dialect { untyped: true, ..Dialect::default() })?;
            let null = options.get("csv.null-literal").unwrap_or_default();
            Box::new(Csv::new(assembly, &spec.positions, delimiter(options)?, null))
        }
        other => {
            let expected = format!("one of {}{}", FORMATS.join(", "), suggestion(other, FORMATS.iter().copied()));
            return Err(options.invalid("format", other, &expected));
        }
    })
}

/// Options of this format that it does not have; those of other formats are left alone.
fn refuse_unknown(options: &Options, format: &str) -> Result<()> {
    let own = |name: &str| name.strip_prefix(format).is_some_and(|rest| rest.starts_with('.'));
    match options.names().find(|name| own(name) && !OPTIONS.contains(name)) {
        None => Ok(()),
        Some(unknown) => Err(Error::config(format!(
            "table \"{}\": the format {format} has no option '{unknown}'{}",
            options.table(),
            suggestion(unknown, OPTIONS.iter().copied().filter(|name| own(name)))
        ))),
    }
}

/// An option that is `'true'` or `'false'`, which it is when it is not given.
fn switch(options: &Options, name: &str) -> Result<bool> {
    options.parse(name, false, "'true' or 'false'")
}

fn tombstones_delete(options: &Options) -> Result<bool> {
    let name = "debezium-json.unwrapped.tombstones";
    match options.get(name).unwrap_or("delete") {
        "delete" => Ok(true),
        "ignore" => Ok(false),
        other => Err(options.invalid(name, other, "'delete' or, where deletes are rewritten as well, 'ignore'")),
    }
}

fn delimiter(options: &Options) -> Result<u8> {
    let name = "csv.field-delimiter";
    match options.get(name).unwrap_or(",") {
        "\\t" | "\t" => Ok(b'\t'),
        text => match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
            _ => Err(options.invalid(name, text, "one ASCII character, or \\t")),
        },
    }
}

#[cfg(test)]
mod all_types_test;
#[cfg(test)]
mod tests;
