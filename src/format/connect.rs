//! Kafka Connect's schemas, which Debezium's converters write beside the values: in the envelope of `debezium-json`, in the
//! registry for Avro. From them come the columns of a table that declares none.
//!
//! Kind and semantic name together say what a value is: an INT64 called `io.debezium.time.MicroTimestamp` is a point in
//! time (<https://debezium.io/documentation/reference/stable/connectors/mysql.html#mysql-data-types>).

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use serde_json::Value;

use crate::type_name::{UNIT, with_mark};

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
        let field = Field::new(name, self.data_type(), self.optional);
        match self.semantic.as_deref().unwrap_or_default() {
            "io.debezium.data.Uuid" => with_mark(field, "UUID"),
            "io.debezium.data.Json" => with_mark(field, "JSON"),
            "io.debezium.data.Bits" => match self.bits() {
                Some(bits @ 2..=64) => with_mark(field, &format!("BIT({bits})")),
                _ => field,
            },
            // The unit is known here, whatever the connector's settings are.
            "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" => {
                let field = with_mark(field, "TIME(3)");
                let metadata =
                    [(UNIT.to_owned(), "ms".to_owned())].into_iter().chain(field.metadata().clone()).collect();
                field.with_metadata(metadata)
            }
            _ => field,
        }
    }

    fn data_type(&self) -> DataType {
        use TimeUnit::{Microsecond, Millisecond, Nanosecond};
        let integer = |data_type| matches!(self.kind, Kind::Int32 | Kind::Int64).then_some(data_type);
        let by_semantic = match self.semantic.as_deref().unwrap_or_default() {
            "io.debezium.time.Date" | "io.debezium.time.IsoDate" | "org.apache.kafka.connect.data.Date" => {
                Some(DataType::Date32)
            }
            "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" => integer(DataType::Time64(Microsecond)),
            "io.debezium.time.MicroTime" => integer(DataType::Time64(Microsecond)),
            "io.debezium.time.NanoTime" => integer(DataType::Time64(Nanosecond)),
            "io.debezium.time.IsoTime" | "io.debezium.time.ZonedTime" => Some(DataType::Time64(Microsecond)),
            "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => {
                integer(DataType::Timestamp(Millisecond, None))
            }
            "io.debezium.time.MicroTimestamp" => integer(DataType::Timestamp(Microsecond, None)),
            "io.debezium.time.NanoTimestamp" => integer(DataType::Timestamp(Nanosecond, None)),
            "io.debezium.time.IsoTimestamp" => Some(DataType::Timestamp(Microsecond, None)),
            "io.debezium.time.ZonedTimestamp" => Some(DataType::Timestamp(Microsecond, Some("UTC".into()))),
            "org.apache.kafka.connect.data.Decimal" => Some(self.decimal()),
            "io.debezium.data.Bits" => Some(match self.bits() {
                Some(1) => DataType::Boolean,
                Some(2..=64) => DataType::UInt64,
                _ => DataType::Binary,
            }),
            _ => None,
        };
        by_semantic.unwrap_or_else(|| self.kind_type())
    }

    /// The type of values that are no more than what they are written as. An unsigned BIGINT is one of them, unless the
    /// connector says what it was (`column.propagate.source.type`): its upper half would be negative.
    fn kind_type(&self) -> DataType {
        match &self.kind {
            Kind::Boolean => DataType::Boolean,
            Kind::Int8 => DataType::Int8,
            Kind::Int16 => DataType::Int16,
            Kind::Int32 => DataType::Int32,
            Kind::Int64 if self.is_unsigned_bigint() => DataType::UInt64,
            Kind::Int64 => DataType::Int64,
            Kind::Float32 => DataType::Float32,
            Kind::Float64 => DataType::Float64,
            Kind::String => DataType::Utf8,
            Kind::Bytes => DataType::Binary,
            Kind::Array(item) if !matches!(item.kind, Kind::Array(_) | Kind::Map(..) | Kind::Struct(_)) => {
                // Whether or not the schema says so, an unchanged value's placeholder may have nulls.
                DataType::List(Arc::new(Field::new_list_field(item.data_type(), true)))
            }
            // As the JSON of it; a decimal with its scale beside it, as the number.
            Kind::Array(_) | Kind::Map(..) | Kind::Struct(_) => DataType::Utf8,
        }
    }

    /// A decimal of the schema's scale. Without a precision (PostgreSQL's money, unsigned BIGINTs) there are 38 digits, or
    /// what the scale needs.
    fn decimal(&self) -> DataType {
        let scale = self.parameter("scale").and_then(|scale| i64::from_str(scale).ok()).unwrap_or(0);
        let precision = self.parameter("connect.decimal.precision").and_then(|it| i64::from_str(it).ok());
        let precision = precision.unwrap_or(38.max(scale));
        match (u8::try_from(precision.clamp(1, 76)), i8::try_from(scale)) {
            (Ok(precision @ ..=38), Ok(scale)) if (0..=precision as i8).contains(&scale) => {
                DataType::Decimal128(precision, scale)
            }
            (Ok(precision), Ok(scale)) if (0..=precision as i8).contains(&scale) => {
                DataType::Decimal256(precision, scale)
            }
            // A scale that no type has (PostgreSQL's may be negative): the bytes of the unscaled value.
            _ => DataType::Binary,
        }
    }

    fn bits(&self) -> Option<u64> {
        self.parameter("length").and_then(|length| length.parse().ok())
    }

    fn is_unsigned_bigint(&self) -> bool {
        let source = self.parameter("__debezium.source.column.type").unwrap_or_default().to_ascii_uppercase();
        source.starts_with("BIGINT") && source.contains("UNSIGNED")
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}
