//! What a registry says of a topic's rows, for tables that declare no columns, and for noticing new ones.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::TimeUnit;

use super::super::connect::{ConnectSchema, Kind};
use super::super::registry::Registry;
use super::layout::row_of;
use super::{CONFLUENT, layout_of};
use crate::avro::schema::{Meaning, NodeId, Schema, Shape};
use crate::error::{Error, Result};
use crate::options::Options;

/// What is known of a topic before any record is read.
#[derive(Debug)]
pub(crate) struct TopicSchema {
    /// The schema of a row, a struct.
    pub(crate) row: ConnectSchema,
    /// The columns of the primary key: the fields of the records' keys. Empty where there is none.
    pub(crate) primary_key: Vec<String>,
}

/// Asks the registry for the newest schemas of a table's topic: of subject `<topic>-value`, or of the option `subject`, and of
/// `<topic>-key`. Blocks; may be called from anywhere.
pub(crate) fn topic_schema(options: &Options, format: &str, topic: &str) -> Result<TopicSchema> {
    if !CONFLUENT.contains(&format) {
        let expected = format!("a format with a registry: {}", CONFLUENT.join(", "));
        return Err(options.invalid("format", format, &expected));
    }
    // The blocking client refuses to work on a thread of an asynchronous runtime.
    std::thread::scope(|scope| scope.spawn(|| ask(options, format, topic)).join())
        .unwrap_or_else(|_| Err(Error::internal("asking the schema registry panicked")))
}

fn ask(options: &Options, format: &str, topic: &str) -> Result<TopicSchema> {
    let registry = Registry::shared(options, format)?;
    let layout = layout_of(options, format)?;
    let option = format!("{format}.subject");
    let subject = options.get(&option).map_or_else(|| format!("{topic}-value"), str::to_owned);
    let table = options.table();
    let schema = registry.latest(&subject)?.ok_or_else(|| {
        Error::config(format!(
            "table \"{table}\": the schema registry has no subject \"{subject}\": write to the topic first, declare the columns, or \
             name another subject with '{option}'"
        ))
    })?;
    let row = row_of(&schema, layout).ok_or_else(|| {
        Error::config(format!(
            "table \"{table}\": the schema of subject \"{subject}\" is not one of rows in the format {format}"
        ))
    })?;
    let primary_key = match registry.latest(&format!("{topic}-key"))? {
        Some(key) => key.record(key.root).map(|(_, fields)| fields.iter().map(|(name, _)| name.clone()).collect()),
        None => None,
    };
    Ok(TopicSchema { row: ConnectSchema::from_avro(&schema, row), primary_key: primary_key.unwrap_or_default() })
}

impl ConnectSchema {
    /// The schema that Kafka Connect's converter made this Avro type of.
    pub(crate) fn from_avro(schema: &Schema, node: NodeId) -> Self {
        convert(schema, node, &mut Vec::new())
    }

    /// The fields of a struct.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &Self)> {
        let fields = if let Kind::Struct(fields) = &self.kind { fields.as_slice() } else { &[] };
        fields.iter().map(|(name, schema)| (name.as_str(), schema))
    }
}

/// `within` are the records that this type is part of: one that holds itself is told as text, its JSON.
fn convert(schema: &Schema, node: NodeId, within: &mut Vec<NodeId>) -> ConnectSchema {
    let of = schema.node(node);
    let plain = |kind: Kind| ConnectSchema { kind, optional: false, semantic: None, parameters: BTreeMap::new() };
    let kind = match &of.shape {
        Shape::Union(branches) => {
            let is_null = |branch: &&NodeId| matches!(schema.node(**branch).shape, Shape::Null);
            let optional = branches.iter().any(|branch| is_null(&branch));
            let mut others = branches.iter().filter(|branch| !is_null(branch));
            let inner = match (others.next(), others.next()) {
                (Some(only), None) => convert(schema, *only, within),
                _ => plain(Kind::String),
            };
            return ConnectSchema { optional, ..inner };
        }
        Shape::Null => return ConnectSchema { optional: true, ..plain(Kind::String) },
        Shape::Boolean => Kind::Boolean,
        Shape::Int => match of.connect.as_ref().and_then(|connect| connect.narrow.as_deref()) {
            Some("int8") => Kind::Int8,
            Some("int16") => Kind::Int16,
            _ => Kind::Int32,
        },
        Shape::Long => Kind::Int64,
        Shape::Float => Kind::Float32,
        Shape::Double => Kind::Float64,
        Shape::String | Shape::Enum(_) => Kind::String,
        // Their text says more than their bytes.
        Shape::Fixed(_) if matches!(of.meaning, Meaning::Uuid | Meaning::Duration) => Kind::String,
        Shape::Bytes | Shape::Fixed(_) => Kind::Bytes,
        Shape::Array(items) => Kind::Array(Box::new(convert(schema, *items, within))),
        Shape::Map(values) => Kind::Map(Box::new(plain(Kind::String)), Box::new(convert(schema, *values, within))),
        Shape::Record(_) if within.contains(&node) => return plain(Kind::String),
        Shape::Record(fields) => {
            within.push(node);
            let field = |(name, node): &(String, NodeId)| (name.clone(), convert(schema, *node, within));
            let fields = fields.iter().map(field).collect();
            within.pop();
            Kind::Struct(fields)
        }
    };
    let connect = of.connect.as_ref();
    let mut parameters = connect.map(|connect| connect.parameters.clone()).unwrap_or_default();
    let semantic = connect.and_then(|connect| connect.name.clone()).or_else(|| semantic(of.meaning).map(str::to_owned));
    if let Shape::Enum(symbols) = &of.shape {
        parameters.entry("allowed".into()).or_insert_with(|| symbols.join(","));
    }
    if let Meaning::Decimal(scale) = of.meaning {
        parameters.entry("scale".into()).or_insert_with(|| scale.to_string());
        if let Some(precision) = of.precision {
            parameters.entry("connect.decimal.precision".into()).or_insert_with(|| precision.to_string());
        }
    }
    ConnectSchema { kind, optional: false, semantic, parameters }
}

/// Connect's or Debezium's name of what a logical type of Avro's stands for.
fn semantic(meaning: Meaning) -> Option<&'static str> {
    Some(match meaning {
        Meaning::Decimal(_) => "org.apache.kafka.connect.data.Decimal",
        Meaning::Date => "io.debezium.time.Date",
        Meaning::TimeOfDay(TimeUnit::Second | TimeUnit::Millisecond) => "io.debezium.time.Time",
        Meaning::TimeOfDay(TimeUnit::Microsecond) => "io.debezium.time.MicroTime",
        Meaning::TimeOfDay(TimeUnit::Nanosecond) => "io.debezium.time.NanoTime",
        Meaning::Instant(TimeUnit::Second | TimeUnit::Millisecond) => "io.debezium.time.Timestamp",
        Meaning::Instant(TimeUnit::Microsecond) => "io.debezium.time.MicroTimestamp",
        Meaning::Instant(TimeUnit::Nanosecond) => "io.debezium.time.NanoTimestamp",
        Meaning::Uuid => "io.debezium.data.Uuid",
        Meaning::Plain | Meaning::VariableScaleDecimal | Meaning::Duration | Meaning::Bits => return None,
    })
}
