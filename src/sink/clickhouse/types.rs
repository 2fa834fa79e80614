//! Arrow types and ClickHouse types: what a column is created as, and which columns of an existing table can take it.
//!
//! | Arrow | created as | fits also into |
//! |---|---|---|
//! | Boolean | `Bool` | any integer |
//! | Int8 … Int64 | `Int8` … `Int64` | a wider `IntN` |
//! | UInt8 … UInt64 | `UInt8` … `UInt64` | a wider `UIntN` or `IntN` |
//! | Float16, Float32, Float64 | `Float32`, `Float32`, `Float64` | a wider `Float` |
//! | Decimal32 … Decimal256(p, s) | `Decimal(p, s)` | as many digits on both sides of the point |
//! | Utf8, LargeUtf8, Utf8View | `String`; by the column's mark `UUID`, `IPv4`, `IPv6`; `JSON` if wanted | `UUID`, `IPv4`, `IPv6`, `JSON`, `EnumN`, `FixedString(n)`: by value |
//! | Binary, LargeBinary, BinaryView | `String` | `FixedString(n)`: by value |
//! | FixedSizeBinary(n) | `FixedString(n)` | `String` |
//! | Date32, Date64 | `Date32` (years 0 – 9999; of old servers 1900 – 2299) | `DateTime64`, `String`; `Date`: by value |
//! | Time32, Time64 | `Time64(0, 3, 6, 9)`; `Int64` microseconds where the server has no such type | `Time64` with more digits |
//! | Timestamp(s, ms, µs, ns) | `DateTime64(0, 3, 6, 9, 'UTC')` (years 0 – 9999); a result's whole-second window times: `DateTime('UTC')` | `DateTime64` with more digits; `DateTime` for s: by value |
//! | List, LargeList, FixedSizeList, ListView | `Array(…)`; a null list is an empty one | |
//! | Struct | `Tuple(…)`; of a null struct every field is NULL | same names, any order |
//! | Map | `Map(…)` | |
//! | Dictionary, RunEndEncoded | as their values | |
//! | Null, Interval, Duration, Union | refused | |
//!
//! *By value*: a row whose value has no place there is refused before it is sent ([`limit`]). `Nullable(…)` if the Arrow
//! field is nullable (`Array`, `Tuple` and `Map` cannot be). Reading goes the same way back: each value equals the one that
//! was written. `LowCardinality` and time zones change nothing about a value.

use std::fmt;
use std::ops::RangeInclusive;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};

use super::client::quote_identifier;
use crate::sink::limits::Holds;
use crate::type_name::marked_type;

/// A type of ClickHouse, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ChType {
    Nullable(Box<ChType>),
    LowCardinality(Box<ChType>),
    Array(Box<ChType>),
    Map(Box<ChType>, Box<ChType>),
    /// Elements, by name where they have one.
    Tuple(Vec<(Option<String>, ChType)>),
    /// Any other: its name and arguments, as written.
    Plain(String, Vec<String>),
}

impl ChType {
    /// A type without arguments.
    pub(super) fn plain(name: &str) -> Self {
        Self::Plain(name.to_owned(), Vec::new())
    }

    fn with(name: &str, arguments: &[String]) -> Self {
        Self::Plain(name.to_owned(), arguments.to_vec())
    }

    /// A point in time in UTC with this many digits of a second.
    pub(super) fn date_time64(digits: u8) -> Self {
        Self::with("DateTime64", &[digits.to_string(), "'UTC'".to_owned()])
    }

    /// A point in time in UTC in whole seconds, 1970 – 2106.
    pub(super) fn date_time() -> Self {
        Self::with("DateTime", &["'UTC'".to_owned()])
    }

    /// The same with repeated values kept once; only for strings, the rest stays as it is.
    pub(super) fn low_cardinality(self) -> Self {
        match self.bare() {
            Self::Plain(name, _) if name == "String" => Self::LowCardinality(Box::new(self)),
            _ => self,
        }
    }

    /// The type below `Nullable` and `LowCardinality`.
    pub(super) fn bare(&self) -> &Self {
        match self {
            Self::Nullable(inner) | Self::LowCardinality(inner) => inner.bare(),
            other => other,
        }
    }

    /// Whether a NULL has a place in it.
    pub(super) fn is_nullable(&self) -> bool {
        match self {
            Self::Nullable(_) => true,
            Self::LowCardinality(inner) => inner.is_nullable(),
            _ => false,
        }
    }

    /// Name and arguments of a type that is not nested.
    pub(super) fn parts(&self) -> Option<(&str, &[String])> {
        match self.bare() {
            Self::Plain(name, arguments) => Some((name, arguments)),
            _ => None,
        }
    }

    /// Reads a type as `DESCRIBE` writes it.
    pub(super) fn parse(text: &str) -> Self {
        let text = text.trim();
        let Some((name, inner)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) else {
            return Self::plain(text);
        };
        let arguments = split_arguments(inner);
        match (name, arguments.as_slice()) {
            ("Nullable", [inner]) => Self::Nullable(Box::new(Self::parse(inner))),
            ("LowCardinality", [inner]) => Self::LowCardinality(Box::new(Self::parse(inner))),
            ("Array", [inner]) => Self::Array(Box::new(Self::parse(inner))),
            ("Map", [key, value]) => Self::Map(Box::new(Self::parse(key)), Box::new(Self::parse(value))),
            ("Tuple", elements) => Self::Tuple(elements.iter().map(|element| parse_element(element)).collect()),
            (name, arguments) => {
                Self::Plain(name.to_owned(), arguments.iter().map(|argument| (*argument).to_owned()).collect())
            }
        }
    }
}

impl fmt::Display for ChType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nullable(inner) => write!(f, "Nullable({inner})"),
            Self::LowCardinality(inner) => write!(f, "LowCardinality({inner})"),
            Self::Array(inner) => write!(f, "Array({inner})"),
            Self::Map(key, value) => write!(f, "Map({key}, {value})"),
            Self::Tuple(elements) => {
                let elements: Vec<String> = elements
                    .iter()
                    .map(|(name, inner)| match name {
                        Some(name) => format!("{} {inner}", quote_identifier(name)),
                        None => inner.to_string(),
                    })
                    .collect();
                write!(f, "Tuple({})", elements.join(", "))
            }
            Self::Plain(name, arguments) if arguments.is_empty() => f.write_str(name),
            Self::Plain(name, arguments) => write!(f, "{name}({})", arguments.join(", ")),
        }
    }
}

/// Cuts `a, Tuple(b, c), 'd,e'` at the commas of the outermost level.
fn split_arguments(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    let (mut quote, mut escaped) = (None, false);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '`' | '"') => quote = Some(character),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(text[start..].trim());
    }
    parts
}

/// One element of a tuple: `name Type`, `` `na me` Type `` or `Type`.
fn parse_element(text: &str) -> (Option<String>, ChType) {
    if let Some(quoted) = text.strip_prefix('`') {
        let (mut name, mut escaped) = (String::new(), false);
        for (at, character) in quoted.char_indices() {
            match character {
                _ if escaped => {
                    escaped = false;
                    name.push(character);
                }
                '\\' => escaped = true,
                '`' => return (Some(name), ChType::parse(&quoted[at + 1..])),
                character => name.push(character),
            }
        }
    }
    match text.split_once(' ') {
        Some((name, inner)) if !name.contains('(') => (Some(name.to_owned()), ChType::parse(inner)),
        _ => (None, ChType::parse(text)),
    }
}

/// The type that a column is created with, or why there is none. `json`: whether JSON becomes `JSON`.
pub(super) fn of_field(field: &Field, time64: bool, json: bool) -> Result<ChType, &'static str> {
    let plain = match (field.data_type(), marked_type(field)) {
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, Some(mark)) => match mark {
            "UUID" => ChType::plain("UUID"),
            "IPV4" => ChType::plain("IPv4"),
            "IPV6" => ChType::plain("IPv6"),
            "JSON" if json => ChType::plain("JSON"),
            _ => ChType::plain("String"),
        },
        (data_type, _) => return of_arrow(data_type, field.is_nullable(), time64),
    };
    Ok(if field.is_nullable() { ChType::Nullable(Box::new(plain)) } else { plain })
}

/// The type that a column of this Arrow type is created with, or why there is none.
/// `time64`: whether the server has a type for a time of day.
pub(super) fn of_arrow(data_type: &DataType, nullable: bool, time64: bool) -> Result<ChType, &'static str> {
    let plain = match data_type {
        DataType::Dictionary(_, values) => return of_arrow(values, nullable, time64),
        DataType::RunEndEncoded(_, values) => return of_arrow(values.data_type(), nullable, time64),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => {
            return Ok(ChType::Array(Box::new(of_arrow(item.data_type(), item.is_nullable(), time64)?)));
        }
        DataType::Struct(fields) => {
            let element = |field: &std::sync::Arc<Field>| {
                let inner = of_arrow(field.data_type(), nullable || field.is_nullable(), time64)?;
                Ok((Some(field.name().clone()), inner))
            };
            return Ok(ChType::Tuple(fields.iter().map(element).collect::<Result<_, &'static str>>()?));
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else { return Err("a map without entries") };
            let [key, value] = fields.as_ref() else { return Err("a map without entries") };
            return Ok(ChType::Map(
                Box::new(of_arrow(key.data_type(), false, time64)?),
                Box::new(of_arrow(value.data_type(), value.is_nullable(), time64)?),
            ));
        }
        DataType::Boolean => ChType::plain("Bool"),
        DataType::Float16 | DataType::Float32 => ChType::plain("Float32"),
        DataType::Float64 => ChType::plain("Float64"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ChType::plain("String"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => ChType::plain("String"),
        DataType::FixedSizeBinary(bytes) => ChType::with("FixedString", &[bytes.to_string()]),
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale) => {
            if *scale < 0 {
                return Err("ClickHouse has no decimals with a negative scale; CAST it to one with scale 0");
            }
            ChType::with("Decimal", &[digits.to_string(), scale.to_string()])
        }
        DataType::Date32 | DataType::Date64 => ChType::plain("Date32"),
        DataType::Time32(unit) | DataType::Time64(unit) if time64 => {
            ChType::with("Time64", &[digits_of(*unit).to_string()])
        }
        DataType::Time32(_) | DataType::Time64(_) => ChType::plain("Int64"),
        DataType::Timestamp(unit, _) => ChType::date_time64(digits_of(*unit)),
        DataType::Null => return Err("it is NULL in every row; CAST it to the type it should have"),
        DataType::Interval(_) => return Err("ClickHouse keeps no intervals; select the seconds or the text of it"),
        DataType::Duration(_) => return Err("ClickHouse keeps no durations; CAST it to BIGINT"),
        DataType::Union(..) => return Err("ClickHouse keeps no unions; CAST it to STRING"),
        integer => match integer_of_arrow(integer) {
            Some((true, bits)) => ChType::plain(&format!("Int{bits}")),
            Some((false, bits)) => ChType::plain(&format!("UInt{bits}")),
            None => return Err("it has no counterpart in ClickHouse"),
        },
    };
    Ok(if nullable { ChType::Nullable(Box::new(plain)) } else { plain })
}

/// Whether every value of an Arrow column has its place in a column of this type. NULLs are judged within nested
/// types only: of the column itself the caller knows whether there is a DEFAULT to stand in.
pub(super) fn fits(data_type: &DataType, nullable: bool, target: &ChType) -> bool {
    let nested = |field: &Field, nullable: bool, target: &ChType| {
        let nullable = nullable || field.is_nullable();
        fits(field.data_type(), nullable, target) && (!nullable || holds_null(target))
    };
    match (data_type, target.bare()) {
        (DataType::Dictionary(_, values), _) => fits(values, nullable, target),
        (DataType::RunEndEncoded(_, values), _) => fits(values.data_type(), nullable, target),
        (
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::ListView(item)
            | DataType::LargeListView(item),
            ChType::Array(target),
        ) => nested(item, false, target),
        (DataType::Struct(fields), ChType::Tuple(elements)) => {
            fields.len() == elements.len()
                && fields.iter().all(|field| {
                    let element = elements.iter().find(|(name, _)| name.as_deref() == Some(field.name()));
                    element.is_some_and(|(_, target)| nested(field, nullable, target))
                })
        }
        (DataType::Map(entries, _), ChType::Map(key_target, value_target)) => match entries.data_type() {
            DataType::Struct(fields) => match fields.as_ref() {
                [key, value] => fits(key.data_type(), false, key_target) && nested(value, false, value_target),
                _ => false,
            },
            _ => false,
        },
        (data_type, ChType::Plain(name, arguments)) => fits_plain(data_type, name, arguments),
        _ => false,
    }
}

/// Whether a NULL can be written: as itself, or (nested types) as empty or as a tuple of NULLs.
pub(super) fn holds_null(target: &ChType) -> bool {
    target.is_nullable() || matches!(target.bare(), ChType::Array(_) | ChType::Tuple(_) | ChType::Map(..))
}

fn fits_plain(data_type: &DataType, name: &str, arguments: &[String]) -> bool {
    let argument = |at: usize| arguments.get(at).and_then(|argument| argument.parse::<i32>().ok());
    match data_type {
        DataType::Boolean => name == "Bool" || integer_of_name(name).is_some(),
        DataType::Float16 | DataType::Float32 => matches!(name, "Float32" | "Float64"),
        DataType::Float64 => name == "Float64",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            matches!(name, "String" | "UUID" | "IPv4" | "IPv6" | "JSON" | "Enum8" | "Enum16" | "FixedString")
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => matches!(name, "String" | "FixedString"),
        DataType::FixedSizeBinary(bytes) => name == "String" || name == "FixedString" && argument(0) == Some(*bytes),
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale) => match (name, argument(0), argument(1)) {
            ("Decimal", Some(target_digits), Some(target_scale)) => {
                let scale = i32::from(*scale);
                target_scale >= scale && target_digits - target_scale >= i32::from(*digits) - scale
            }
            _ => false,
        },
        DataType::Date32 | DataType::Date64 => matches!(name, "Date32" | "Date" | "DateTime64" | "String"),
        DataType::Time32(unit) | DataType::Time64(unit) => {
            name == "Int64" || name == "Time64" && argument(0).unwrap_or(3) >= i32::from(digits_of(*unit))
        }
        DataType::Timestamp(unit, _) => match name {
            "DateTime" => *unit == TimeUnit::Second,
            "DateTime64" => argument(0).unwrap_or(3) >= i32::from(digits_of(*unit)),
            _ => false,
        },
        integer => match (integer_of_arrow(integer), integer_of_name(name)) {
            (Some((signed, bits)), Some((target_signed, target_bits))) => match (signed, target_signed) {
                (true, true) | (false, false) => target_bits >= bits,
                (false, true) => target_bits > bits,
                (true, false) => false,
            },
            _ => false,
        },
    }
}

/// Days from 0000-01-01 to 9999-12-31.
const ALL_DAYS: RangeInclusive<i64> = -719_528..=2_932_896;
/// What `Date32` holds, in days, by ClickHouse's documentation: 1900-01-01 – 2299-12-31.
pub(super) const DOCUMENTED_DAYS: RangeInclusive<i64> = -25_567..=120_529;
/// What `Date` holds, in days: 1970-01-01 – 2149-06-06.
pub(super) const DATE_DAYS: RangeInclusive<i64> = 0..=u16::MAX as i64;
/// What `DateTime` holds, in seconds: 1970 – 2106.
pub(super) const DATE_TIME_SECONDS: RangeInclusive<i64> = 0..=u32::MAX as i64;
const SECONDS_PER_DAY: i64 = 86_400;
/// What `Time64` holds, in seconds, either way: 999:59:59.
const TIME_SECONDS: i64 = 1_000 * 3_600;

const WIDER_DATE: &str = "make it a DateTime64(0, 'UTC') or a String, or insert CAST(… AS STRING)";
const WIDER_TIMESTAMP: &str = "insert CAST(… AS STRING) into a String column";
const OTHER_TEXT: &str = "make it a String";

/// What a column of this type cannot hold of an Arrow type that [`fits`] it, and the way out. `all_years`: whether the
/// server keeps and shows dates of the years 0 to 9999.
pub(super) fn limit(data_type: &DataType, target: &ChType, all_years: bool) -> Option<(Holds, &'static str)> {
    let days = if all_years { ALL_DAYS } else { DOCUMENTED_DAYS };
    let seconds = *days.start() * SECONDS_PER_DAY..=(*days.end() + 1) * SECONDS_PER_DAY - 1;
    let texts = [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View];
    match (data_type, target.bare()) {
        (DataType::Dictionary(_, values), _) => limit(values, target, all_years),
        (DataType::List(item), ChType::Array(target)) => {
            let (holds, remedy) = limit(item.data_type(), target, all_years)?;
            Some((Holds::Items(Box::new(holds)), remedy))
        }
        (DataType::Struct(fields), ChType::Tuple(elements)) => {
            let of_field = |(place, field): (usize, &std::sync::Arc<Field>)| {
                let element = elements.iter().find(|(name, _)| name.as_deref() == Some(field.name()));
                Some((place, limit(field.data_type(), &element?.1, all_years)?.0))
            };
            let limited: Vec<_> = fields.iter().enumerate().filter_map(of_field).collect();
            (!limited.is_empty()).then_some((Holds::Fields(limited), WIDER_TIMESTAMP))
        }
        (data_type, ChType::Plain(name, arguments)) => {
            let argument = |at: usize| arguments.get(at).and_then(|argument| argument.parse::<u32>().ok());
            let (holds, remedy) = match (data_type, name.as_str()) {
                (DataType::Date32, "Date32") => (Holds::Between(days), WIDER_DATE),
                (DataType::Date32, "Date") => (Holds::Between(DATE_DAYS), "make it a Date32"),
                (DataType::Date32, "DateTime64") => {
                    let ticks = in_digits(&seconds, 0, argument(0).unwrap_or(3));
                    let whole_days =
                        ticks.start().div_euclid(SECONDS_PER_DAY) + i64::from(ticks.start() % SECONDS_PER_DAY != 0);
                    (Holds::Between(whole_days..=ticks.end().div_euclid(SECONDS_PER_DAY)), WIDER_DATE)
                }
                (DataType::Timestamp(TimeUnit::Second, _), "DateTime") => {
                    (Holds::Between(DATE_TIME_SECONDS), "make it a DateTime64(0, 'UTC')")
                }
                (DataType::Timestamp(unit, _), "DateTime64") => {
                    let ticks = in_digits(&seconds, u32::from(digits_of(*unit)), argument(0).unwrap_or(3));
                    (Holds::Between(ticks), WIDER_TIMESTAMP)
                }
                (DataType::Time32(unit) | DataType::Time64(unit), "Time64") => {
                    let bound = TIME_SECONDS * 10_i64.pow(u32::from(digits_of(*unit)));
                    (Holds::Between(1 - bound..=bound - 1), "insert CAST(… AS BIGINT)")
                }
                (text, "UUID") if texts.contains(text) => (Holds::Uuid, OTHER_TEXT),
                (text, "IPv4") if texts.contains(text) => (Holds::Ipv4, OTHER_TEXT),
                (text, "IPv6") if texts.contains(text) => (Holds::Ipv6, OTHER_TEXT),
                (text, "JSON") if texts.contains(text) => (Holds::Json, OTHER_TEXT),
                (text, "Enum8" | "Enum16") if texts.contains(text) => (
                    Holds::Words(arguments.iter().map(|it| enum_word(it)).collect()),
                    "add the word, or make it a String",
                ),
                (_, "FixedString") if !matches!(data_type, DataType::FixedSizeBinary(_)) => {
                    (Holds::Bytes(argument(0).unwrap_or(0) as usize), OTHER_TEXT)
                }
                _ => return None,
            };
            Some((holds, remedy))
        }
        _ => None,
    }
}

/// These seconds in ticks with some digits of a second, as far as ticks with `target_digits` are 64-bit integers.
fn in_digits(seconds: &RangeInclusive<i64>, digits: u32, target_digits: u32) -> RangeInclusive<i64> {
    let per_second = 10_i64.pow(digits.min(9));
    let per_tick = 10_i64.pow(target_digits.saturating_sub(digits).min(9));
    let start = seconds.start().saturating_mul(per_second).max(i64::MIN / per_tick);
    let end = seconds.end().saturating_add(1).saturating_mul(per_second).saturating_sub(1).min(i64::MAX / per_tick);
    start..=end
}

/// The word of `'word' = 1`.
fn enum_word(argument: &str) -> String {
    let quoted = argument.rsplit_once('=').map_or(argument, |(word, _)| word).trim();
    let inner = quoted.strip_prefix('\'').and_then(|it| it.strip_suffix('\'')).unwrap_or(quoted);
    let (mut word, mut escaped) = (String::new(), false);
    for character in inner.chars() {
        match character {
            '\\' if !escaped => escaped = true,
            'n' if escaped => (word.push('\n'), escaped = false).0,
            't' if escaped => (word.push('\t'), escaped = false).0,
            other => (word.push(other), escaped = false).0,
        }
    }
    word
}

/// Signed or not, and bits.
fn integer_of_arrow(data_type: &DataType) -> Option<(bool, u16)> {
    Some(match data_type {
        DataType::Int8 => (true, 8),
        DataType::Int16 => (true, 16),
        DataType::Int32 => (true, 32),
        DataType::Int64 => (true, 64),
        DataType::UInt8 => (false, 8),
        DataType::UInt16 => (false, 16),
        DataType::UInt32 => (false, 32),
        DataType::UInt64 => (false, 64),
        _ => return None,
    })
}

fn integer_of_name(name: &str) -> Option<(bool, u16)> {
    let (signed, bits) = match name.strip_prefix('U') {
        Some(rest) => (false, rest.strip_prefix("Int")?),
        None => (true, name.strip_prefix("Int")?),
    };
    bits.parse().ok().map(|bits| (signed, bits))
}

/// Digits of a second.
pub(super) fn digits_of(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}
