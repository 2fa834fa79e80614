//! SQL types → Arrow types, with a mark where those do not say all.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType as SqlType, ExactNumberInfo, StructField, TimezoneInfo,
};

use crate::type_name::with_mark;

/// Precision of a TIMESTAMP that gives none, in digits of a second (standard SQL and Flink).
const DEFAULT_PRECISION: u64 = 6;

const KNOWN: &str = "use BOOLEAN, TINYINT, SMALLINT, INT, BIGINT (each also UNSIGNED), FLOAT, DOUBLE, DECIMAL(p, s), \
                     STRING, BYTES, DATE, TIME, TIMESTAMP(p), TIMESTAMP_LTZ(p), BIT(n), UUID, JSON, IPV4, IPV6, ARRAY<type> or ROW<name type, …>";

/// A column declared with an SQL type, nullable, or why there is none.
pub fn column(name: impl Into<String>, declared: &SqlType) -> Result<Field, String> {
    let field = Field::new(name, arrow_type(declared)?, true);
    let mark = match declared {
        SqlType::Uuid => "UUID".to_owned(),
        SqlType::JSON | SqlType::JSONB => "JSON".to_owned(),
        SqlType::Time(Some(digits @ 0..=3), _) => format!("TIME({digits})"),
        SqlType::Bit(Some(bits @ 2..)) | SqlType::BitVarying(Some(bits)) | SqlType::VarBit(Some(bits)) => {
            format!("BIT({bits})")
        }
        SqlType::BitVarying(None) | SqlType::VarBit(None) => "BIT(64)".to_owned(),
        SqlType::Custom(name, arguments) if arguments.is_empty() => match name.to_string().to_ascii_uppercase() {
            name if matches!(name.as_str(), "IPV4" | "IPV6") => name,
            _ => return Ok(field),
        },
        _ => return Ok(field),
    };
    Ok(with_mark(field, &mark))
}

/// The Arrow type of a column declared with an SQL type, or why there is none.
fn arrow_type(declared: &SqlType) -> Result<DataType, String> {
    use SqlType::*;
    Ok(match declared {
        Boolean | Bool => DataType::Boolean,
        TinyInt(_) => DataType::Int8,
        SmallInt(_) | Int2(_) | Int16 => DataType::Int16,
        Int(_) | Integer(_) | Int4(_) | MediumInt(_) | Int32 => DataType::Int32,
        BigInt(_) | Int8(_) | Int64 => DataType::Int64,
        TinyIntUnsigned(_) | UInt8 | UTinyInt => DataType::UInt8,
        SmallIntUnsigned(_) | Int2Unsigned(_) | UInt16 | USmallInt => DataType::UInt16,
        IntUnsigned(_) | IntegerUnsigned(_) | Int4Unsigned(_) | MediumIntUnsigned(_) | UInt32 => DataType::UInt32,
        BigIntUnsigned(_) | Int8Unsigned(_) | UInt64 | UBigInt => DataType::UInt64,
        Float(_) | Real | Float4 | Float32 => DataType::Float32,
        Double(_) | DoublePrecision | Float8 | Float64 => DataType::Float64,
        Decimal(info) | Numeric(info) | Dec(info) => decimal(*info)?,
        String(_) | Text | Varchar(_) | Char(_) | Character(_) | CharacterVarying(_) | Nvarchar(_) => DataType::Utf8,
        MediumText | LongText | TinyText | Enum(..) | JSON | JSONB | Uuid => DataType::Utf8,
        Bit(None | Some(1)) => DataType::Boolean,
        Bit(Some(2..=64)) | BitVarying(None | Some(1..=64)) | VarBit(None | Some(1..=64)) => DataType::UInt64,
        Bit(Some(65..)) | BitVarying(Some(65..)) | VarBit(Some(65..)) => DataType::Binary,
        Bytes(_) | Bytea | Binary(_) | Varbinary(_) | Blob(_) => DataType::Binary,
        Date | Date32 => DataType::Date32,
        Time(precision, _) => time(precision.unwrap_or(0))?,
        Timestamp(precision, zone) => timestamp(*precision, has_zone(*zone))?,
        TimestampNtz(precision) => timestamp(*precision, false)?,
        Datetime(precision) => timestamp(Some(precision.unwrap_or(0)), false)?,
        Custom(name, arguments) => custom(&name.to_string(), arguments)?,
        Array(ArrayElemTypeDef::AngleBracket(element) | ArrayElemTypeDef::Parenthesis(element)) => list(element)?,
        Array(ArrayElemTypeDef::SquareBracket(element, _)) => list(element)?,
        Map(key, value) => map(key, value)?,
        Struct(fields, _) => row(fields)?,
        other => return Err(format!("type {other} is not supported; {KNOWN}")),
    })
}

fn decimal(info: ExactNumberInfo) -> Result<DataType, String> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => (10, 0),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision @ 1..=76), Ok(scale)) if (0..=precision as i8).contains(&scale) => Ok(match precision {
            ..=38 => DataType::Decimal128(precision, scale),
            _ => DataType::Decimal256(precision, scale),
        }),
        _ => Err(format!("DECIMAL({precision}, {scale}) is out of range; precision is 1 to 76, scale 0 to precision")),
    }
}

fn time(precision: u64) -> Result<DataType, String> {
    match precision {
        0..=6 => Ok(DataType::Time64(TimeUnit::Microsecond)),
        7..=9 => Ok(DataType::Time64(TimeUnit::Nanosecond)),
        _ => Err(format!("TIME({precision}) is out of range; precision is 0 to 9")),
    }
}

fn timestamp(precision: Option<u64>, with_zone: bool) -> Result<DataType, String> {
    let unit = match precision.unwrap_or(DEFAULT_PRECISION) {
        0 => TimeUnit::Second,
        1..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        7..=9 => TimeUnit::Nanosecond,
        other => return Err(format!("TIMESTAMP({other}) is out of range; precision is 0 to 9")),
    };
    Ok(DataType::Timestamp(unit, with_zone.then(|| "UTC".into())))
}

fn has_zone(zone: TimezoneInfo) -> bool {
    matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz)
}

fn custom(name: &str, arguments: &[String]) -> Result<DataType, String> {
    let precision = || match arguments {
        [] => Ok(None),
        [digits] => digits.parse().map(Some).map_err(|_| format!("{name}({digits}): the precision is not a number")),
        _ => Err(format!("{name} takes one argument, its precision")),
    };
    match name.to_ascii_uppercase().as_str() {
        "TIMESTAMP_LTZ" | "TIMESTAMPTZ" => timestamp(precision()?, true),
        "IPV4" | "IPV6" | "INET" | "CIDR" | "MACADDR" if arguments.is_empty() => Ok(DataType::Utf8),
        _ => Err(format!("type {name} is not known; {KNOWN}")),
    }
}

fn list(element: &SqlType) -> Result<DataType, String> {
    let item = arrow_type(element)?;
    match column("item", element)?.metadata().is_empty() || item == DataType::Utf8 {
        true => Ok(DataType::List(Arc::new(Field::new_list_field(item, true)))),
        false => Err(format!("ARRAY<{element}> is not supported; declare ARRAY<STRING> to get the texts")),
    }
}

/// The column that a type in SQL's words declares.
#[cfg(test)]
pub(crate) fn parse_column(name: &str, declared: &str) -> Result<Field, String> {
    use datafusion::sql::sqlparser::{dialect::GenericDialect, parser::Parser};
    let mut parser = Parser::new(&GenericDialect {}).try_with_sql(declared).map_err(|error| error.to_string())?;
    column(name, &parser.parse_data_type().map_err(|error| error.to_string())?)
}

/// A field's name tells it from the others in any case, as columns are.
fn row(fields: &[StructField]) -> Result<DataType, String> {
    let mut row: Vec<Field> = Vec::new();
    for field in fields {
        let Some(name) = &field.field_name else {
            return Err(format!("a field of a ROW needs a name; write ROW<name {}>", field.field_type));
        };
        if row.iter().any(|other| other.name().eq_ignore_ascii_case(&name.value)) {
            return Err(format!("field \"{}\" of a ROW is there twice", name.value));
        }
        row.push(column(name.value.as_str(), &field.field_type)?);
    }
    Ok(DataType::Struct(row.into()))
}

fn map(key: &SqlType, value: &SqlType) -> Result<DataType, String> {
    let key = Field::new("keys", arrow_type(key)?, false);
    let entries = DataType::Struct(vec![key, Field::new("values", arrow_type(value)?, true)].into());
    Ok(DataType::Map(Arc::new(Field::new("entries", entries, false)), false))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::properties::properties;
    use crate::type_name::{sql_name, sql_name_of};

    fn simple() -> impl Strategy<Value = String> {
        let plain = [
            "BOOLEAN",
            "TINYINT",
            "SMALLINT",
            "INT",
            "BIGINT",
            "TINYINT UNSIGNED",
            "SMALLINT UNSIGNED",
            "INT UNSIGNED",
            "BIGINT UNSIGNED",
            "FLOAT",
            "DOUBLE",
            "STRING",
            "BYTES",
            "DATE",
            "UUID",
            "JSON",
            "IPV4",
            "IPV6",
        ];
        prop_oneof![
            proptest::sample::select(plain.to_vec()).prop_map(str::to_owned),
            (1..=76u8)
                .prop_flat_map(|precision| (Just(precision), 0..=precision))
                .prop_map(|(p, s)| format!("DECIMAL({p}, {s})")),
            proptest::sample::select(vec![0, 1, 2, 3, 6, 9]).prop_map(|digits| format!("TIME({digits})")),
            proptest::sample::select(vec![0, 3, 6, 9]).prop_map(|digits| format!("TIMESTAMP({digits})")),
            proptest::sample::select(vec![0, 3, 6, 9]).prop_map(|digits| format!("TIMESTAMP_LTZ({digits})")),
            (2..=80u8).prop_map(|bits| format!("BIT({bits})")),
        ]
    }

    proptest! {
        #![proptest_config(properties(256))]

        /// A type's name declares the same type, and is the name of what it declares.
        #[test]
        fn names_declare_their_types(name in simple()) {
            let column = parse_column("x", &name).unwrap();
            prop_assert_eq!(sql_name_of(&column), name.clone());
            let is_marked = !column.metadata().is_empty();
            if !is_marked {
                let list = format!("ARRAY<{name}>");
                let array = parse_column("x", &list).unwrap();
                prop_assert_eq!(sql_name(array.data_type()), list);
            }
        }
    }

    #[test]
    fn other_names_of_types() {
        for (other, name) in [
            ("integer", "INT"),
            ("MEDIUMINT UNSIGNED", "INT UNSIGNED"),
            ("INT8", "BIGINT"),
            ("UINT64", "BIGINT UNSIGNED"),
            ("NUMERIC(10)", "DECIMAL(10, 0)"),
            ("DECIMAL", "DECIMAL(10, 0)"),
            ("DOUBLE PRECISION", "DOUBLE"),
            ("REAL", "FLOAT"),
            ("VARCHAR(20)", "STRING"),
            ("text", "STRING"),
            ("VARBINARY(10)", "BYTES"),
            ("BYTEA", "BYTES"),
            ("BLOB", "BYTES"),
            ("TIMESTAMP", "TIMESTAMP(6)"),
            ("DATETIME", "TIMESTAMP(0)"),
            ("TIMESTAMP(2)", "TIMESTAMP(3)"),
            ("TIMESTAMP(3) WITH TIME ZONE", "TIMESTAMP_LTZ(3)"),
            ("TIMESTAMPTZ", "TIMESTAMP_LTZ(6)"),
            ("timestamp_ltz(7)", "TIMESTAMP_LTZ(9)"),
            ("TIME", "TIME(6)"),
            ("TIME(4)", "TIME(6)"),
            ("BIT", "BOOLEAN"),
            ("BIT VARYING(16)", "BIT(16)"),
            ("JSONB", "JSON"),
            ("inet", "STRING"),
            ("ipv6", "IPV6"),
            ("ENUM('a', 'b')", "STRING"),
            ("ARRAY<UUID>", "ARRAY<STRING>"),
        ] {
            match parse_column("x", other) {
                Ok(column) => assert_eq!(sql_name_of(&column), name, "{other}"),
                Err(error) => panic!("{other}: {error}"),
            }
        }
        for (wrong, words) in [
            ("DECIMAL(77, 0)", "precision is 1 to 76"),
            ("TIME(10)", "precision is 0 to 9"),
            ("TIMESTMP", "is not known; use BOOLEAN"),
            ("ARRAY<BIT(8)>", "declare ARRAY<STRING>"),
            ("INTERVAL", "is not supported"),
        ] {
            let error = parse_column("x", wrong).unwrap_err();
            assert!(error.contains(words), "{wrong}: {error}");
        }
    }
}
