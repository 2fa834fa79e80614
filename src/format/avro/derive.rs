//! The schema of a table that declares its columns and gives none, as Flink derives it: fields in the order of the columns, what
//! may be null as a union of null and the type.

use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use serde_json::{Value, json};

/// The schema, or the column that has none.
pub(super) fn schema(columns: &Schema) -> Result<Value, String> {
    let field = |field: &Field| Ok::<_, String>(json!({"name": field.name(), "type": nullable(field)?}));
    let fields = columns.fields().iter().map(|it| field(it)).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({"type": "record", "name": "record", "fields": fields}))
}

fn nullable(field: &Field) -> Result<Value, String> {
    let of = of_type(field)?;
    Ok(if field.is_nullable() { json!(["null", of]) } else { of })
}

fn of_type(field: &Field) -> Result<Value, String> {
    Ok(match field.data_type() {
        DataType::Boolean => json!("boolean"),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => json!("int"),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Utf8 => json!("string"),
        DataType::Binary => json!("bytes"),
        DataType::Date32 => json!({"type": "int", "logicalType": "date"}),
        DataType::Time32(_) => json!({"type": "int", "logicalType": "time-millis"}),
        DataType::Time64(_) => json!({"type": "long", "logicalType": "time-micros"}),
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, _) => {
            json!({"type": "long", "logicalType": "timestamp-millis"})
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => json!({"type": "long", "logicalType": "timestamp-micros"}),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => json!({"type": "long", "logicalType": "timestamp-nanos"}),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale})
        }
        DataType::List(item) => json!({"type": "array", "items": nullable(item)?}),
        _ => return Err(format!("column \"{}\" has a type for which no Avro type is derived", field.name())),
    })
}
