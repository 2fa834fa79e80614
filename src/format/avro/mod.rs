//! Avro: `debezium-avro-confluent`, `avro-confluent` and `avro`.
//!
//! A record is decoded by the schema that it was written with, straight from its bytes into the columns that are wanted. For
//! each such schema there is a [`Plan`], made when its id is first met; the plan says of every field which column takes it, or
//! that it is passed over. Fields find their columns by name.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;

use super::assembly::Assembly;
use super::column::Rows;
use super::dialect::Dialect;
use super::registry::Registry;
use super::{DecodeSpec, Decoder};
use crate::avro::schema::Schema;
use crate::error::{Error, Result};
use crate::options::Options;

use decoder::AvroDecoder;
use framing::Framing;
use layout::{Layout, Plan};

mod decoder;
mod derive;
mod framing;
mod infer;
mod layout;
mod plan;
#[cfg(test)]
mod tests;
mod text;
mod value;

pub(crate) use infer::{schema_prefix, topic_schemas};

/// The formats whose schemas are in a registry.
const CONFLUENT: [&str; 2] = ["debezium-avro-confluent", "avro-confluent"];

/// The decoder of one of Avro's formats.
pub(crate) fn decoder(
    options: &Options,
    format: &str,
    spec: &DecodeSpec,
    assembly: Assembly,
    dialect: Dialect,
) -> Result<Box<dyn Decoder>> {
    let layout = layout_of(options, format)?;
    let envelope = if spec.envelope.fields().is_empty() { None } else { Some(Rows::new(&spec.envelope, dialect)?) };
    let prefix = options.get("debezium-avro-confluent.unwrapped.add-fields-prefix").unwrap_or("__");
    let tombstones = "debezium-avro-confluent.unwrapped.tombstones";
    let tombstones_delete = match options.get(tombstones).unwrap_or("delete") {
        "delete" => layout == Layout::Unwrapped,
        "ignore" => false,
        other => {
            let expected = "'delete' or, where deletes are rewritten as well, 'ignore'";
            return Err(options.invalid(tombstones, other, expected));
        }
    };
    let wanted = layout::Columns::new(spec, layout, prefix, tombstones_delete);
    let framing = if CONFLUENT.contains(&format) {
        Framing::confluent(Registry::shared(options, format)?)
    } else if options.get("connector") == Some("filesystem") && options.get("records") != Some("kafka") {
        Framing::container()
    } else {
        Framing::plain(Plan::new(&Arc::new(schema_of(options, &spec.declared)?), &wanted))
    };
    Ok(Box::new(AvroDecoder::new(framing, wanted, assembly, envelope)))
}

/// What the records of a format are.
fn layout_of(options: &Options, format: &str) -> Result<Layout> {
    let unwrapped = options.parse("debezium-avro-confluent.unwrapped", false, "'true' or 'false'")?;
    Ok(match (format, unwrapped) {
        ("debezium-avro-confluent", false) => Layout::Envelope,
        ("debezium-avro-confluent", true) => Layout::Unwrapped,
        _ => Layout::Rows,
    })
}

/// The schema of `avro`'s records: `'avro.schema'`, its text or a file with it, or what the table's columns come to.
fn schema_of(options: &Options, declared: &SchemaRef) -> Result<Schema> {
    let Some(given) = options.get("avro.schema").map(str::trim) else {
        let json = derive::schema(declared).map_err(|words| {
            Error::config(format!("table \"{}\": {words}; give the schema with 'avro.schema'", options.table()))
        })?;
        return Schema::parse(&json.to_string(), &[]).map_err(Error::internal);
    };
    let is_text = given.starts_with(['{', '[', '"']);
    let text = if is_text {
        given.to_owned()
    } else {
        let path = given.strip_prefix("file://").unwrap_or(given);
        std::fs::read_to_string(path).map_err(|error| {
            let expected = format!("a schema's JSON, or a file with it ({error})");
            options.invalid("avro.schema", given, &expected)
        })?
    };
    Schema::parse(&text, &[])
        .map_err(|words| Error::config(format!("table \"{}\": option 'avro.schema': {words}", options.table())))
}
