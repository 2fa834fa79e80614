//! Arrow types in SQL's words, and what Arrow's types do not say.

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};

/// The metadata of a column whose Arrow type does not say its SQL type: `UUID`, `JSON`, `IPV4`, `IPV6`, `BIT(8)`,
/// `TIME(3)`. It goes with a column through projections; what an expression makes of it has the Arrow type's name.
pub const SQL_TYPE: &str = "highwater.type";

/// The metadata of a column of times whose integers are known to be of another unit than the column's: `ms`, `us`, `ns`.
pub const UNIT: &str = "highwater.unit";

/// A column's SQL type, if its metadata says one.
pub fn marked_type(field: &Field) -> Option<&str> {
    field.metadata().get(SQL_TYPE).map(String::as_str)
}

/// The field with a mark that says its SQL type.
#[must_use]
pub fn with_mark(field: Field, sql_type: &str) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(SQL_TYPE.to_owned(), sql_type.to_owned());
    field.with_metadata(metadata)
}

/// The SQL type of a column, as it is declared.
pub fn sql_name_of(field: &Field) -> String {
    marked_type(field).map_or_else(|| sql_name(field.data_type()), str::to_owned)
}

/// The SQL name of an Arrow type, for messages and `explain`.
pub fn sql_name(data_type: &DataType) -> String {
    let digits = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::UInt8 => "TINYINT UNSIGNED".into(),
        DataType::UInt16 => "SMALLINT UNSIGNED".into(),
        DataType::UInt32 => "INT UNSIGNED".into(),
        DataType::UInt64 => "BIGINT UNSIGNED".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("DECIMAL({precision}, {scale})")
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTES".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("TIME({})", digits(unit)),
        DataType::Timestamp(unit, None) => format!("TIMESTAMP({})", digits(unit)),
        DataType::Timestamp(unit, Some(_)) => format!("TIMESTAMP_LTZ({})", digits(unit)),
        DataType::Interval(_) => "INTERVAL".into(),
        DataType::Null => "NULL".into(),
        DataType::Dictionary(_, values) => sql_name(values),
        DataType::Struct(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|field| format!("{} {}", field.name(), sql_name(field.data_type()))).collect();
            format!("ROW<{}>", fields.join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!("MAP<{}, {}>", sql_name(fields[0].data_type()), sql_name(fields[1].data_type()))
            }
            other => other.to_string(),
        },
        DataType::List(element) => format!("ARRAY<{}>", sql_name(element.data_type())),
        other => other.to_string(),
    }
}
