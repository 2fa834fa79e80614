//! Kafka Connect's schemas, which Debezium's converters write beside the values: in the envelope of `debezium-json`, in the
//! registry for Avro. From them come the columns of a table that declares none.
//!
//! Kind and semantic name together say what a value is: an INT64 called `io.debezium.time.MicroTimestamp` is a point in
//! time (<https://debezium.io/documentation/reference/stable/connectors/mysql.html#mysql-data-types>).

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use serde_json::Value;

/// The schema of a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConnectSchema {
    /// How it is written.
    pub(crate) kind: Kind,
    /// Whether it may be null.
    pub(crate) optional: bool,
    /// What it means, such as `io.debezium.time.Date`.
    pub(crate) semantic: Option<String>,
    /// Scale and precision of decimals, lengths, the values of an enum.
    pub(crate) parameters: BTreeMap<String, String>,
}

/// How a value is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    String,
    Bytes,
    Array(Box<ConnectSchema>),
    Map(Box<ConnectSchema>, Box<ConnectSchema>),
    /// Fields by name, in order.
    Struct(Vec<(String, ConnectSchema)>),
}

impl ConnectSchema {
    /// The schema that JSON's converter writes; `None` where it is none.
    pub(crate) fn from_json(json: &Value) -> Option<Self> {
        let inner = |name: &str| json.get(name).and_then(Self::from_json).map(Box::new);
        let field = |field: &Value| Some((field.get("field")?.as_str()?.to_owned(), Self::from_json(field)?));
        let kind = match json.get("type")?.as_str()? {
            "boolean" => Kind::Boolean,
            "int8" => Kind::Int8,
            "int16" => Kind::Int16,
            "int32" => Kind::Int32,
            "int64" => Kind::Int64,
            "float" | "float32" => Kind::Float32,
            "double" | "float64" => Kind::Float64,
            "string" => Kind::String,
            "bytes" => Kind::Bytes,
            "array" => Kind::Array(inner("items")?),
            "map" => Kind::Map(inner("keys")?, inner("values")?),
            "struct" => Kind::Struct(json.get("fields")?.as_array()?.iter().map(field).collect::<Option<_>>()?),
            _ => return None,
        };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let parameters = json.get("parameters").and_then(Value::as_object);
        Some(Self {
            kind,
            optional: json.get("optional").and_then(Value::as_bool).unwrap_or(false),
            semantic: json.get("name").and_then(Value::as_str).map(str::to_owned),
            parameters: parameters.into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect(),
        })
    }

    /// The field of a struct.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let Kind::Struct(fields) = &self.kind else { return None };
        fields.iter().find(|(field, _)| field == name).map(|(_, schema)| schema)
    }

    /// The column that holds values of this schema exactly.
    pub(crate) fn column(&self, name: &str) -> Field {
        Field::new(name, self.data_type(), self.optional)
    }

    fn data_type(&self) -> DataType {
        let parameter = |name: &str| self.parameters.get(name).and_then(|value| value.parse::<u8>().ok());
        match (self.semantic.as_deref().unwrap_or_default(), &self.kind) {
            ("io.debezium.time.Date" | "org.apache.kafka.connect.data.Date", _) => DataType::Date32,
            ("io.debezium.time.Time" | "org.apache.kafka.connect.data.Time", _) => {
                DataType::Time32(TimeUnit::Millisecond)
            }
            ("io.debezium.time.MicroTime", _) => DataType::Time64(TimeUnit::Microsecond),
            ("io.debezium.time.NanoTime", _) => DataType::Time64(TimeUnit::Nanosecond),
            ("io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp", _) => {
                DataType::Timestamp(TimeUnit::Millisecond, None)
            }
            ("io.debezium.time.MicroTimestamp", _) => DataType::Timestamp(TimeUnit::Microsecond, None),
            ("io.debezium.time.NanoTimestamp", _) => DataType::Timestamp(TimeUnit::Nanosecond, None),
            ("io.debezium.time.ZonedTimestamp", _) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ("org.apache.kafka.connect.data.Decimal", _) => {
                let scale = parameter("scale").unwrap_or(0);
                decimal(parameter("connect.decimal.precision").unwrap_or(76), scale)
            }
            ("io.debezium.data.VariableScaleDecimal", _) => DataType::Utf8,
            (_, Kind::Boolean) => DataType::Boolean,
            (_, Kind::Int8) => DataType::Int8,
            (_, Kind::Int16) => DataType::Int16,
            (_, Kind::Int32) => DataType::Int32,
            (_, Kind::Int64) => DataType::Int64,
            (_, Kind::Float32) => DataType::Float32,
            (_, Kind::Float64) => DataType::Float64,
            (_, Kind::String) => DataType::Utf8,
            (_, Kind::Bytes) => DataType::Binary,
            (_, Kind::Array(item)) => DataType::List(Arc::new(Field::new("item", item.data_type(), item.optional))),
            // As the JSON of it.
            (_, Kind::Map(..) | Kind::Struct(_)) => DataType::Utf8,
        }
    }
}

fn decimal(precision: u8, scale: u8) -> DataType {
    match precision {
        0..=38 => DataType::Decimal128(precision.max(1), scale as i8),
        _ => DataType::Decimal256(precision.min(76), scale as i8),
    }
}
