//! What a registry says of a topic's rows, for tables that declare no columns, and for noticing new ones.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::datatypes::TimeUnit;

use super::super::connect::{ConnectSchema, Kind};
use super::super::infer::Sample;
use super::super::registry::{Found, Registry};
use super::framing::id_of;
use super::layout::row_of;
use super::{CONFLUENT, layout_of};
use crate::avro::schema::{Meaning, NodeId, Schema, Shape};
use crate::error::{Error, Result};
use crate::options::Options;

/// What the schemas of a topic say.
#[derive(Debug, Default)]
pub(crate) struct TopicSchemas {
    /// The schemas of its rows, structs, the newest first.
    pub(crate) rows: Vec<ConnectSchema>,
    /// The columns of the primary key: the fields of the records' keys. Empty where there is none.
    pub(crate) primary_key: Vec<String>,
}

/// The schemas of a table's rows: the newest of subject `<topic>-value`, or of the option `subject`, and those of some records;
/// `None` for formats without a registry. Blocks; may be called from anywhere.
pub(crate) fn topic_schemas(options: &Options, samples: &[Sample]) -> Result<Option<TopicSchemas>> {
    let format = options.get("format").or_else(|| options.get("value.format")).unwrap_or_default();
    if !CONFLUENT.contains(&format) {
        return Ok(None);
    }
    // The blocking client refuses to work on a thread of an asynchronous runtime.
    std::thread::scope(|scope| scope.spawn(|| ask(options, format, samples).map(Some)).join())
        .unwrap_or_else(|_| Err(Error::internal("asking the schema registry panicked")))
}

/// The id at the start of a record of a format with a registry, for telling schemas apart.
pub(crate) fn schema_prefix<'a>(options: &Options, value: &'a [u8]) -> Option<&'a [u8]> {
    let format = options.get("format").or_else(|| options.get("value.format")).unwrap_or_default();
    (CONFLUENT.contains(&format) && id_of(value).is_ok()).then(|| &value[..5])
}

fn ask(options: &Options, format: &str, samples: &[Sample]) -> Result<TopicSchemas> {
    let registry = Registry::shared(options, format)?;
    let layout = layout_of(options, format)?;
    let key_of = |schema: &Schema| -> Vec<String> {
        let fields =
            schema.record(schema.root).map(|(_, fields)| fields.iter().map(|(name, _)| name.clone()).collect());
        fields.unwrap_or_default()
    };
    let mut found = TopicSchemas::default();
    // Records that are looked at one by one have their schema; a topic has its newest.
    let topic = options.get("topic").filter(|topic| samples.len() != 1 && !topic.contains(';'));
    let subject = options.get(&format!("{format}.subject")).map(str::to_owned);
    if let Some(subject) =
        subject.filter(|_| samples.len() != 1).or_else(|| topic.map(|topic| format!("{topic}-value")))
        && let Some(schema) = registry.latest(&subject)?
    {
        found.rows.extend(row_of(&schema, layout).map(|row| ConnectSchema::from_avro(&schema, row)));
        if let Some(topic) = topic
            && let Some(key) = registry.latest(&format!("{topic}-key"))?
        {
            found.primary_key = key_of(&key);
        }
    }
    let mut seen = BTreeSet::new();
    for sample in samples {
        let id = |bytes: &Option<Vec<u8>>| bytes.as_deref().and_then(|bytes| id_of(bytes).ok());
        let Some(id_of_value) = id(&sample.value) else { continue };
        if seen.insert(id_of_value)
            && let Found::Schema(schema) = registry.schema(id_of_value)?
        {
            found.rows.extend(row_of(&schema, layout).map(|row| ConnectSchema::from_avro(&schema, row)));
        }
        if found.primary_key.is_empty()
            && let Some(id) = id(&sample.key)
            && let Found::Schema(schema) = registry.schema(id)?
        {
            found.primary_key = key_of(&schema);
        }
    }
    Ok(found)
}

impl ConnectSchema {
    /// The schema that Kafka Connect's converter made this Avro type of.
    pub(crate) fn from_avro(schema: &Schema, node: NodeId) -> Self {
        convert(schema, node, &mut Vec::new())
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
