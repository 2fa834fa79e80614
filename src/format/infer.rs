//! The columns of a table that declares none, from what its records say of themselves: the schema in their envelope, or
//! their values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::avro;
use super::connect::{ConnectSchema, Kind};
use crate::error::Result;
use crate::options::Options;
use crate::type_name::sql_name;

/// The columns and the key of a table's rows. All but the key's columns may be null: a column that the source drops is missing from then on.
#[derive(Debug, Clone, PartialEq)]
pub struct RowSchema {
    /// The columns, in the order of the source.
    pub columns: SchemaRef,
    /// The columns of the primary key; none when records have no key.
    pub primary_key: Vec<String>,
}

/// A record to look at.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// The columns of the rows in these records; `None` when none of them tells.
pub fn infer(options: &Options, samples: &[Sample]) -> Result<Option<RowSchema>> {
    let layout = Layout::of(options);
    let mut columns = Columns::default();
    if let Some(found) = avro::topic_schemas(options, samples)? {
        found.rows.iter().for_each(|row| columns.add_schema(row, layout == Layout::Flat));
        return Ok(columns.finish(found.primary_key));
    }
    let mut primary_key = None;
    for sample in samples {
        let row = sample.value.as_deref().and_then(|value| serde_json::from_slice::<Ordered>(value).ok());
        let Some(row) = row.and_then(|value| layout.row(value)) else { continue };
        match row {
            Row::Schema(schema) => columns.add_schema(&schema, layout == Layout::Flat),
            Row::Values(values) => columns.add_values(&values, layout == Layout::Flat),
        }
        if primary_key.is_none() {
            primary_key = sample.key.as_deref().and_then(key_columns);
        }
    }
    Ok(columns.finish(primary_key.unwrap_or_default()))
}

/// Where the row is in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In `after` or `before`.
    Envelope,
    /// The record is the row; `__op` and the like are about it.
    Flat,
    /// The record is the row.
    Plain,
    /// In `data`.
    Data,
}

impl Layout {
    pub(super) fn of(options: &Options) -> Self {
        let format = options.get("format").or_else(|| options.get("value.format")).unwrap_or("json");
        let is_flat = |format: &str| options.get(&format!("{format}.unwrapped")) == Some("true");
        match format {
            _ if is_flat(format) => Self::Flat,
            "debezium-json" => Self::Envelope,
            "maxwell-json" | "canal-json" => Self::Data,
            _ => Self::Plain,
        }
    }

    fn row(self, record: Ordered) -> Option<Row> {
        let mut record = record.0;
        if self != Self::Plain && record.contains("payload") && record.contains("schema") {
            let schema = record.take("schema").and_then(|schema| ConnectSchema::from_json(&schema.0));
            let row = match self {
                Self::Envelope => schema.and_then(|schema| schema.field("after").cloned()),
                _ => schema,
            };
            if let Some(row) = row.filter(|row| matches!(row.kind, Kind::Struct(_))) {
                return Some(Row::Schema(row));
            }
            record = record.take("payload")?.1?;
        }
        let object = |record: &mut Object, name: &str| record.take(name).and_then(|(_, object)| object);
        let row = match self {
            Self::Envelope => object(&mut record, "after").or_else(|| object(&mut record, "before")),
            Self::Data => object(&mut record, "data"),
            Self::Flat | Self::Plain => Some(record),
        };
        row.map(Row::Values)
    }
}

enum Row {
    Schema(ConnectSchema),
    Values(Object),
}

/// The columns of a key: its object's fields, in or without an envelope.
fn key_columns(key: &[u8]) -> Option<Vec<String>> {
    let mut key = serde_json::from_slice::<Ordered>(key).ok()?.0;
    if key.contains("schema") && key.contains("payload") {
        key = key.take("payload")?.1?;
    }
    Some(key.fields.into_iter().map(|(name, ..)| name).collect())
}

/// A JSON object with its fields in their order, of which a [`Value`] keeps nothing.
struct Ordered(Object);

struct Object {
    fields: Vec<(String, Value, Option<Object>)>,
}

impl Object {
    fn contains(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, ..)| field == name)
    }

    fn take(&mut self, name: &str) -> Option<(Value, Option<Self>)> {
        let at = self.fields.iter().position(|(field, ..)| field == name)?;
        let (_, value, object) = self.fields.swap_remove(at);
        Some((value, object))
    }
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Ordered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Ordered, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, Any(value, object))) = map.next_entry::<String, Any>()? {
                    fields.push((name, value, object));
                }
                Ok(Ordered(Object { fields }))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Any value; of an object its fields in their order, too.
struct Any(Value, Option<Object>);

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Anything;
        impl<'de> Visitor<'de> for Anything {
            type Value = Any;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Any, A::Error> {
                let mut fields = Vec::new();
                let mut whole = serde_json::Map::new();
                while let Some((name, Any(value, object))) = map.next_entry::<String, Any>()? {
                    whole.insert(name.clone(), value.clone());
                    fields.push((name, value, object));
                }
                Ok(Any(Value::Object(whole), Some(Object { fields })))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Any, A::Error> {
                let mut items = Vec::new();
                while let Some(Any(item, _)) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Any(Value::Array(items), None))
            }

            fn visit_bool<E>(self, value: bool) -> std::result::Result<Any, E> {
                Ok(Any(value.into(), None))
            }

            fn visit_i64<E>(self, value: i64) -> std::result::Result<Any, E> {
                Ok(Any(value.into(), None))
            }

            fn visit_u64<E>(self, value: u64) -> std::result::Result<Any, E> {
                Ok(Any(value.into(), None))
            }

            fn visit_f64<E>(self, value: f64) -> std::result::Result<Any, E> {
                Ok(Any(value.into(), None))
            }

            fn visit_str<E>(self, value: &str) -> std::result::Result<Any, E> {
                Ok(Any(value.into(), None))
            }

            fn visit_unit<E>(self) -> std::result::Result<Any, E> {
                Ok(Any(Value::Null, None))
            }
        }
        deserializer.deserialize_any(Anything)
    }
}

/// Columns as they are found.
#[derive(Default)]
struct Columns {
    order: Vec<String>,
    types: BTreeMap<String, Field>,
}

impl Columns {
    fn add_schema(&mut self, schema: &ConnectSchema, is_flat: bool) {
        let Kind::Struct(fields) = &schema.kind else { return };
        for (name, schema) in fields.iter().filter(|(name, _)| !is_flat || !name.starts_with("__")) {
            self.add(schema.column(name));
        }
    }

    fn add_values(&mut self, row: &Object, is_flat: bool) {
        for (name, value, _) in row.fields.iter().filter(|(name, ..)| !is_flat || !name.starts_with("__")) {
            if let Some(data_type) = type_of(value) {
                self.add(Field::new(name, data_type, true));
            }
        }
    }

    fn add(&mut self, field: Field) {
        match self.types.get_mut(field.name()) {
            Some(known) => {
                // Values that do not go together are kept as their text.
                let wider = wider(known.data_type(), field.data_type()).unwrap_or(DataType::Utf8);
                if wider != *known.data_type() {
                    *known = field.with_data_type(wider);
                }
            }
            None => {
                self.order.push(field.name().clone());
                self.types.insert(field.name().clone(), field);
            }
        }
    }

    fn finish(self, primary_key: Vec<String>) -> Option<RowSchema> {
        if self.order.is_empty() {
            return None;
        }
        let primary_key =
            if primary_key.iter().all(|key| self.types.contains_key(key)) { primary_key } else { Vec::new() };
        let column = |name: &String| self.types[name].clone().with_nullable(!primary_key.contains(name));
        let columns = Arc::new(Schema::new(self.order.iter().map(column).collect::<Vec<_>>()));
        Some(RowSchema { columns, primary_key })
    }
}

/// The type of a value where nothing else says it; `None` for a null, which could be anything.
fn type_of(value: &Value) -> Option<DataType> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => DataType::Boolean,
        Value::Number(number) if number.is_i64() => DataType::Int64,
        Value::Number(number) if number.is_u64() => DataType::UInt64,
        Value::Number(_) => DataType::Float64,
        Value::String(_) | Value::Array(_) | Value::Object(_) => DataType::Utf8,
    })
}

/// The type that holds the values of both exactly; `None` when there is none.
pub fn wider(known: &DataType, seen: &DataType) -> Option<DataType> {
    use DataType::{
        Date32, Decimal128, Decimal256, Float32, Float64, Int8, Int16, Int32, Int64, Timestamp, UInt8, UInt16, UInt32,
        UInt64, Utf8,
    };
    if known == seen {
        return Some(known.clone());
    }
    let rank = |data_type: &DataType| [Int8, Int16, Int32, Int64].iter().position(|it| it == data_type);
    let unsigned = |data_type: &DataType| [UInt8, UInt16, UInt32, UInt64].iter().position(|it| it == data_type);
    let decimal = |data_type: &DataType| match *data_type {
        Decimal128(precision, scale) | Decimal256(precision, scale) => Some((i16::from(precision), i16::from(scale))),
        _ => None,
    };
    let digits = |data_type: &DataType| rank(data_type).map(|at| ([3, 5, 10, 19][at], 0));
    if let (Some(a), Some(b)) = (rank(known), rank(seen)) {
        return Some(if a > b { known.clone() } else { seen.clone() });
    }
    if let (Some(a), Some(b)) = (unsigned(known), unsigned(seen)) {
        return Some(if a > b { known.clone() } else { seen.clone() });
    }
    // An unsigned number fits into the next larger signed one.
    for (signed, other) in [(known, seen), (seen, known)] {
        if let (Some(a), Some(b)) = (rank(signed), unsigned(other)) {
            return [Int8, Int16, Int32, Int64].get(a.max(b + 1)).cloned();
        }
    }
    if let (Some((p, s)), Some((q, t))) =
        (decimal(known).or_else(|| digits(known)), decimal(seen).or_else(|| digits(seen)))
    {
        let (whole, scale) = ((p - s).max(q - t), s.max(t));
        return match whole + scale {
            precision @ ..=38 => Some(Decimal128(precision as u8, scale as i8)),
            precision @ ..=76 => Some(Decimal256(precision as u8, scale as i8)),
            _ => None,
        };
    }
    match (known, seen) {
        (Float32, Float64) | (Float64, Float32) => Some(Float64),
        (Float64, Int8 | Int16 | Int32) | (Int8 | Int16 | Int32, Float64) => Some(Float64),
        // Only JSON without a schema has both in one column: there every number is a double to begin with.
        (Float64, Int64) | (Int64, Float64) => Some(Float64),
        (Timestamp(a, zone), Timestamp(b, other)) if zone == other => Some(Timestamp(*a.max(b), zone.clone())),
        (Date32, Timestamp(unit, zone)) | (Timestamp(unit, zone), Date32) => Some(Timestamp(*unit, zone.clone())),
        // Every value has a text.
        (Utf8, _) => Some(Utf8),
        _ => None,
    }
}

impl RowSchema {
    /// These columns and those of newer records. What is missing there stays; an error when a column has become one of another kind.
    pub fn merge(&self, seen: &Self) -> std::result::Result<Self, String> {
        let mut fields: Vec<Field> = self.columns.fields().iter().map(|field| field.as_ref().clone()).collect();
        for field in seen.columns.fields() {
            match fields.iter_mut().find(|known| known.name() == field.name()) {
                None => fields.push(field.as_ref().clone().with_nullable(true)),
                Some(known) => {
                    let (before, now) = (sql_name(known.data_type()), sql_name(field.data_type()));
                    let both = wider(known.data_type(), field.data_type()).ok_or_else(|| {
                        format!(
                            "column \"{}\" was {before} and is {now} now, which do not go into one column",
                            known.name()
                        )
                    })?;
                    if both != *known.data_type() {
                        *known = field.as_ref().clone().with_data_type(both).with_nullable(known.is_nullable());
                    }
                }
            }
        }
        if !seen.primary_key.is_empty() && seen.primary_key != self.primary_key {
            return Err(format!(
                "the primary key was ({}) and is ({}) now",
                self.primary_key.join(", "),
                seen.primary_key.join(", ")
            ));
        }
        Ok(Self { columns: Arc::new(Schema::new(fields)), primary_key: self.primary_key.clone() })
    }

    /// Whether a column of `seen` is missing here or wider than here.
    pub fn lacks(&self, seen: &Self) -> bool {
        seen.columns.fields().iter().any(|field| match self.columns.field_with_name(field.name()) {
            Err(_) => true,
            Ok(known) => wider(known.data_type(), field.data_type()).as_ref() != Some(known.data_type()),
        })
    }
}
