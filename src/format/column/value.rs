//! From a JSON value or a text to a value of the column's type.

use datafusion::arrow::datatypes::TimeUnit;

use super::super::fault::{Fault, Step};
use super::super::json::cursor::{Cursor, Integer};
use super::bytes::{self, Binaries};
use super::time::{self, Scale};
use super::unavailable::is_unavailable;
use super::{Column, Values, decimal};

/// Values of a column that have outgrown Arrow's 32-bit positions.
const TOO_MUCH: &str = "the batch holds more than 2 GiB of this column";

/// What a conversion of a text comes to; the fault's place is the caller's business. The words may be empty.
pub(super) type Converted<T> = Result<T, &'static str>;

impl Column {
    /// Appends the JSON value at the cursor.
    #[inline]
    pub(crate) fn read(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        cursor.skip_space();
        match cursor.peek() {
            b'n' => {
                let at = cursor.pos;
                cursor.literal("null")?;
                return self.push_null(at, "null");
            }
            b'"' if !matches!(self.values, Values::Text(..)) => return self.read_string(cursor),
            b'{' if self.dialect.debezium && matches!(self.values, Values::Text(..)) => {
                return self.read_object(cursor);
            }
            _ => {}
        }
        match &mut self.values {
            Values::Int8(vec) => vec.push(integer(cursor)?),
            Values::Int16(vec) => vec.push(integer(cursor)?),
            Values::Int32(vec) | Values::Date32(vec) => vec.push(integer(cursor)?),
            Values::Int64(vec) => vec.push(integer(cursor)?),
            Values::UInt8(vec) => vec.push(integer(cursor)?),
            Values::UInt16(vec) => vec.push(integer(cursor)?),
            Values::UInt32(vec) => vec.push(integer(cursor)?),
            Values::UInt64(vec) => vec.push(unsigned(cursor)?),
            Values::Timestamp(vec, _, scale) => {
                let at = cursor.pos;
                let time = scale.apply(integer(cursor)?);
                vec.push(time.map_err(|words| Fault::wrong_type(at, words))?);
            }
            Values::Text(ends, out) => {
                let start = out.len();
                read_text(cursor, out)?;
                if matches!(out.get(start), Some(b'_' | b'{')) && self.dialect.debezium && is_unavailable(&out[start..])
                {
                    out.truncate(start);
                    self.push_unavailable();
                    return Ok(());
                }
                end_value(ends, out.len(), cursor.pos)?;
            }
            _ => return self.read_rarer(cursor),
        }
        self.len += 1;
        Ok(())
    }

    /// The types that are less often on the hot path.
    fn read_rarer(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let at = cursor.pos;
        match &mut self.values {
            Values::Boolean(bits) => bits.append(boolean(cursor)?),
            Values::Float32(vec) => {
                let value: f32 = number(cursor)?.parse().map_err(|_| Fault::wrong_type(at, ""))?;
                vec.push(finite(value.is_finite(), value, at)?);
            }
            Values::Float64(vec) => {
                let value: f64 = number(cursor)?.parse().map_err(|_| Fault::wrong_type(at, ""))?;
                vec.push(finite(value.is_finite(), value, at)?);
            }
            Values::Decimal128(vec, precision, scale) => {
                let value = if cursor.peek() == b'{' {
                    decimal::variable_scale(cursor, *precision, *scale)?
                } else {
                    decimal::parse(number(cursor)?, *precision, *scale).map_err(|words| Fault::wrong_type(at, words))?
                };
                vec.push(value.to_i128().ok_or_else(|| Fault::wrong_type(at, ""))?);
            }
            Values::Decimal256(vec, precision, scale) => vec.push(if cursor.peek() == b'{' {
                decimal::variable_scale(cursor, *precision, *scale)?
            } else {
                decimal::parse(number(cursor)?, *precision, *scale).map_err(|words| Fault::wrong_type(at, words))?
            }),
            Values::Time32(vec, unit, scale) => {
                let time = scale.apply(integer(cursor)?).and_then(|value| short_time(value, *unit));
                vec.push(time.map_err(|words| Fault::wrong_type(at, words))?);
            }
            Values::Time64(vec, unit, scale) => {
                let time = scale.apply(integer(cursor)?).and_then(|value| time::time(value, *unit));
                vec.push(time.map_err(|words| Fault::wrong_type(at, words))?);
            }
            Values::List(ends, items) if cursor.peek() == b'[' => {
                let start = items.len();
                read_list(cursor, items)?;
                if self.dialect.debezium && items.holds_unavailable(start) {
                    items.truncate(start);
                    self.push_unavailable();
                    return Ok(());
                }
                end_value(ends, items.len(), at)?;
            }
            Values::Row(..) if cursor.peek() == b'{' => return self.read_row(cursor),
            _ => return Err(not_this(cursor, at)),
        }
        self.len += 1;
        Ok(())
    }

    /// A JSON string where the column is no string: the text says what it is.
    fn read_string(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let at = cursor.pos;
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = cursor.text(&mut scratch).and_then(|text| {
            let text = std::str::from_utf8(text).map_err(|_| Fault::malformed(at, "not UTF-8"))?;
            if self.dialect.debezium && is_unavailable(text.as_bytes()) {
                self.push_unavailable();
                return Ok(());
            }
            self.read_text(text).map_err(|words| Fault::wrong_type(at, words))
        });
        self.scratch = scratch;
        result
    }

    /// Appends what a text means.
    pub(crate) fn read_text(&mut self, text: &str) -> Converted<()> {
        let untyped = self.dialect.untyped;
        let decimals = self.dialect.decimals;
        match &mut self.values {
            Values::Text(ends, out) => {
                out.extend_from_slice(text.as_bytes());
                end_value(ends, out.len(), 0).map_err(|fault| fault.words)?;
            }
            Values::Binary(ends, out) => {
                bytes::decode_bytes(text.as_bytes(), self.dialect.binaries, out)?;
                end_value(ends, out.len(), 0).map_err(|fault| fault.words)?;
            }
            Values::Boolean(bits) => bits.append(match text.trim() {
                "1" => true,
                "0" => false,
                word if word.eq_ignore_ascii_case("true") => true,
                word if word.eq_ignore_ascii_case("false") => false,
                _ => return Err(""),
            }),
            Values::Int8(vec) => vec.push(integer_text(text)?),
            Values::Int16(vec) => vec.push(integer_text(text)?),
            Values::Int32(vec) => vec.push(integer_text(text)?),
            Values::Int64(vec) => vec.push(integer_text(text)?),
            Values::UInt8(vec) => vec.push(integer_text(text)?),
            Values::UInt16(vec) => vec.push(integer_text(text)?),
            Values::UInt32(vec) => vec.push(integer_text(text)?),
            Values::UInt64(vec) if self.bits => vec.push(bits(text, self.dialect.binaries)?),
            Values::UInt64(vec) => vec.push(match text.trim().parse() {
                Ok(number) => number,
                Err(_) => decimal::unsigned_of_base64(text).ok_or("")?,
            }),
            Values::Float32(vec) => vec.push(float_text(text)?),
            Values::Float64(vec) => vec.push(float_text(text)?),
            Values::Decimal128(vec, precision, scale) => {
                vec.push(decimal::from_text(text, *precision, *scale, decimals)?.to_i128().ok_or("")?);
            }
            Values::Decimal256(vec, precision, scale) => {
                vec.push(decimal::from_text(text, *precision, *scale, decimals)?);
            }
            Values::Date32(vec) => vec.push(match integer_text(text) {
                Ok(days) if untyped => days,
                _ => time::parse_date(text.trim()).ok_or("")?,
            }),
            Values::Time32(vec, unit, scale) => {
                vec.push(time_text(text, *unit, *scale, untyped).and_then(|time| short_time(time, *unit))?);
            }
            Values::Time64(vec, unit, scale) => vec.push(time_text(text, *unit, *scale, untyped)?),
            Values::Timestamp(vec, unit, scale) => vec.push(match time::parse_timestamp(text, *unit) {
                Err("") if untyped => scale.apply(integer_text(text)?)?,
                // PostgreSQL's.
                Err("") if text.trim_start_matches('-') == "infinity" => return Err("declare it as STRING"),
                time => time?,
            }),
            Values::List(..) => return Err(""),
            Values::Row(..) => return self.read_row_text(text),
        }
        self.len += 1;
        Ok(())
    }
}

/// Ends a value of variable length.
#[inline]
pub(super) fn end_value(ends: &mut Vec<i32>, end: usize, at: usize) -> Step<()> {
    ends.push(i32::try_from(end).map_err(|_| Fault::wrong_type(at, TOO_MUCH))?);
    Ok(())
}

/// A value that is JSON, but not of the column's type: a wrong type. One that is not JSON either: malformed.
#[cold]
fn not_this(cursor: &mut Cursor<'_>, at: usize) -> Fault {
    cursor.pos = at;
    cursor.skip_value().err().unwrap_or_else(|| Fault::wrong_type(at, ""))
}

/// Whether a number may start here, or why not.
#[inline]
fn at_number(cursor: &mut Cursor<'_>) -> Step<()> {
    if matches!(cursor.peek(), b'-' | b'0'..=b'9') { Ok(()) } else { Err(not_this(cursor, cursor.pos)) }
}

#[inline]
fn integer<T: TryFrom<i64>>(cursor: &mut Cursor<'_>) -> Step<T> {
    at_number(cursor)?;
    let at = cursor.pos;
    let value = cursor.integer()?;
    value.signed().and_then(|value| T::try_from(value).ok()).ok_or_else(|| Fault::wrong_type(at, ""))
}

/// Debezium writes a BIGINT UNSIGNED as the signed integer of the same 64 bits.
#[inline]
fn unsigned(cursor: &mut Cursor<'_>) -> Step<u64> {
    at_number(cursor)?;
    let at = cursor.pos;
    match cursor.integer()? {
        Integer { negative: false, magnitude } => Ok(magnitude),
        negative => negative.signed().map(i64::cast_unsigned).ok_or_else(|| Fault::wrong_type(at, "")),
    }
}

fn number<'a>(cursor: &mut Cursor<'a>) -> Step<&'a str> {
    at_number(cursor)?;
    cursor.number()
}

fn finite<T>(is_finite: bool, value: T, at: usize) -> Step<T> {
    if is_finite { Ok(value) } else { Err(Fault::wrong_type(at, "out of range")) }
}

fn boolean(cursor: &mut Cursor<'_>) -> Step<bool> {
    let at = cursor.pos;
    match cursor.peek() {
        b't' => cursor.literal("true").map(|()| true),
        b'f' => cursor.literal("false").map(|()| false),
        b'0' | b'1' => match cursor.number()? {
            "0" => Ok(false),
            "1" => Ok(true),
            _ => Err(Fault::wrong_type(at, "")),
        },
        _ => Err(not_this(cursor, at)),
    }
}

/// Any value as text: a string's characters, or the JSON of anything else.
#[inline]
fn read_text(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Step<()> {
    if cursor.peek() == b'"' {
        let start = cursor.pos + 1;
        let text = cursor.string()?;
        if text.escaped {
            return super::super::json::escape::unescape(text.raw, start, out);
        }
        out.extend_from_slice(text.raw);
        return Ok(());
    }
    read_json_text(cursor, out)
}

#[cold]
pub(super) fn read_json_text(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Step<()> {
    let start = cursor.pos;
    cursor.skip_value()?;
    let raw = &cursor.bytes[start..cursor.pos];
    if matches!(raw.first(), Some(b'{' | b'[')) {
        // What is kept has to be right to the last byte; skipping only looked at the brackets.
        if simdutf8::basic::from_utf8(raw).is_err() {
            return Err(Fault::malformed(start, "not UTF-8"));
        }
        if serde_json::from_slice::<serde::de::IgnoredAny>(raw).is_err() {
            return Err(Fault::malformed(start, "not JSON"));
        }
    }
    out.extend_from_slice(raw);
    Ok(())
}

fn read_list(cursor: &mut Cursor<'_>, items: &mut Column) -> Step<()> {
    cursor.expect(b'[', "expected an array")?;
    cursor.skip_space();
    if cursor.peek() == b']' {
        cursor.pos += 1;
        return Ok(());
    }
    loop {
        items.read(cursor)?;
        cursor.skip_space();
        match cursor.peek() {
            b',' => cursor.pos += 1,
            b']' => break,
            _ => return Err(cursor.unexpected("expected ',' or ']'")),
        }
    }
    cursor.pos += 1;
    Ok(())
}

fn integer_text<T: std::str::FromStr>(text: &str) -> Converted<T> {
    text.trim().parse().map_err(|_| "")
}

/// A float's text, with the words for what is no number; digits that make an infinity are out of range.
fn float_text<T: std::str::FromStr + Copy + Into<f64>>(text: &str) -> Converted<T> {
    let text = text.trim();
    let value: T = text.parse().map_err(|_| "")?;
    let float: f64 = value.into();
    if float.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) { Err("out of range") } else { Ok(value) }
}

fn time_text(text: &str, unit: TimeUnit, scale: Scale, untyped: bool) -> Converted<i64> {
    match integer_text(text) {
        Ok(time) if untyped => time::time(scale.apply(time)?, unit),
        _ => time::parse_time(text.trim(), unit),
    }
}

/// A time in 32 bits.
fn short_time(time: i64, unit: TimeUnit) -> Converted<i32> {
    i32::try_from(time::time(time, unit)?).map_err(|_| "out of range")
}

/// The number whose bits are these bytes, the lowest first, as Debezium writes BIT(n).
fn bits(text: &str, binaries: Binaries) -> Converted<u64> {
    let mut bytes = Vec::with_capacity(9);
    bytes::decode_bytes(text.as_bytes(), binaries, &mut bytes)?;
    let mut low = [0; 8];
    let length = bytes.len().min(low.len());
    if bytes[length..].iter().any(|&byte| byte != 0) {
        return Err("more than 64 bits: declare it as BYTES");
    }
    low[..length].copy_from_slice(&bytes[..length]);
    Ok(u64::from_le_bytes(low))
}
