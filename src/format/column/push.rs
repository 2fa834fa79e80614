//! Values whose kind the format itself says, as in Avro: converted by what they are, exactly or not at all.

use std::io::Write;

use chrono::DateTime;
use datafusion::arrow::datatypes::{TimeUnit, i256};

use super::super::fault::{Fault, Step};
use super::decimal::{NO_FIT, from_twos_complement, parse, plain_text, within};
use super::time::{Scale, per_second, time};
use super::unavailable::is_unavailable;
use super::value::{Converted, end_value};
use super::{Column, Values};

const SECONDS_PER_DAY: i64 = 86_400;
const OUT_OF_RANGE: &str = "out of range";
/// The longest unscaled value whose digits are written: PostgreSQL's `numeric` has at most 131,072 before the point.
const UNSCALED_BYTES: usize = 64 * 1024;

/// What an integer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Nothing in particular: in a column of times, what the column counts.
    Plain,
    /// Days since the epoch.
    Days,
    /// Time since midnight.
    TimeOfDay(TimeUnit),
    /// Time since the epoch.
    Instant(TimeUnit),
}

impl Column {
    /// Whether this is a column of text: then values of any kind are welcome as text.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.values, Values::Text(..))
    }

    /// Whether this is a column of integers.
    pub(crate) fn is_integer(&self) -> bool {
        use Values::{Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
        matches!(self.values, Int8(_) | Int16(_) | Int32(_) | Int64(_) | UInt8(_) | UInt16(_) | UInt32(_) | UInt64(_))
    }

    /// Appends bits as the number that they make.
    pub(crate) fn push_bits(&mut self, bits: u64, at: usize) -> Step<()> {
        match (&mut self.values, i64::try_from(bits)) {
            (Values::UInt64(vec), _) => vec.push(bits),
            (_, Ok(number)) => return self.push_integer(number, Measure::Plain, at),
            (_, Err(_)) => return Err(Fault::wrong_type(at, OUT_OF_RANGE)),
        }
        self.len += 1;
        Ok(())
    }

    /// Where to write a text that [`Self::end_text`] ends: UTF-8 only.
    pub(crate) fn text(&mut self) -> Option<&mut Vec<u8>> {
        if let Values::Text(_, bytes) = &mut self.values { Some(bytes) } else { None }
    }

    /// Ends the text that was written.
    #[inline]
    pub(crate) fn end_text(&mut self, at: usize) -> Step<()> {
        if let Values::Text(ends, bytes) = &mut self.values {
            let start = ends.last().map_or(0, |&end| end as usize);
            if matches!(bytes.get(start), Some(b'_' | b'{')) && self.dialect.debezium && is_unavailable(&bytes[start..])
            {
                bytes.truncate(start);
                self.push_unavailable();
                return Ok(());
            }
            end_value(ends, bytes.len(), at)?;
        }
        self.len += 1;
        Ok(())
    }

    /// The items of a list, where more can be appended before [`Self::end_list`].
    pub(crate) fn items(&mut self) -> Option<&mut Self> {
        if let Values::List(_, items) = &mut self.values { Some(items) } else { None }
    }

    /// Ends the list whose items were appended.
    pub(crate) fn end_list(&mut self, at: usize) -> Step<()> {
        if let Values::List(ends, items) = &mut self.values {
            let start = ends.last().map_or(0, |&end| end as usize);
            if self.dialect.debezium && items.holds_unavailable(start) {
                items.truncate(start);
                self.push_unavailable();
                return Ok(());
            }
            end_value(ends, items.len(), at)?;
        }
        self.len += 1;
        Ok(())
    }

    /// Appends what a string means.
    pub(crate) fn push_string(&mut self, text: &str, at: usize) -> Step<()> {
        if let Values::Text(_, out) = &mut self.values {
            out.extend_from_slice(text.as_bytes());
            return self.end_text(at);
        }
        if self.dialect.debezium && is_unavailable(text.as_bytes()) {
            self.push_unavailable();
            return Ok(());
        }
        self.read_text(text).map_err(|words| Fault::wrong_type(at, words))
    }

    /// Appends a boolean.
    pub(crate) fn push_boolean(&mut self, value: bool, at: usize) -> Step<()> {
        match &mut self.values {
            Values::Boolean(bits) => bits.append(value),
            Values::Text(ends, out) => {
                out.extend_from_slice(if value { b"true" } else { b"false" });
                end_value(ends, out.len(), at)?;
            }
            _ => return Err(Fault::wrong_type(at, "")),
        }
        self.len += 1;
        Ok(())
    }

    /// Appends an integer.
    #[inline]
    pub(crate) fn push_integer(&mut self, value: i64, measure: Measure, at: usize) -> Step<()> {
        self.integer(value, measure).map_err(|words| Fault::wrong_type(at, words))?;
        self.len += 1;
        Ok(())
    }

    #[inline]
    fn integer(&mut self, value: i64, measure: Measure) -> Converted<()> {
        match &mut self.values {
            Values::Int8(vec) => vec.push(narrow(value)?),
            Values::Int16(vec) => vec.push(narrow(value)?),
            Values::Int32(vec) => vec.push(narrow(value)?),
            Values::Int64(vec) => vec.push(value),
            Values::UInt8(vec) => vec.push(narrow(value)?),
            Values::UInt16(vec) => vec.push(narrow(value)?),
            Values::UInt32(vec) => vec.push(narrow(value)?),
            // A BIGINT UNSIGNED comes as the signed integer of the same 64 bits.
            Values::UInt64(vec) => vec.push(value.cast_unsigned()),
            Values::Date32(vec) => vec.push(narrow(days(value, measure)?)?),
            Values::Time32(vec, unit, scale) => vec.push(narrow(clock(value, measure, *unit, *scale)?)?),
            Values::Time64(vec, unit, scale) => vec.push(clock(value, measure, *unit, *scale)?),
            Values::Timestamp(vec, unit, scale) => vec.push(instant(value, measure, *unit, *scale)?),
            Values::Text(ends, out) => {
                write_measure(out, value, measure);
                end_value(ends, out.len(), 0).map_err(|fault| fault.words)?;
            }
            _ => return self.rarer_integer(value),
        }
        Ok(())
    }

    fn rarer_integer(&mut self, value: i64) -> Converted<()> {
        match &mut self.values {
            Values::Boolean(bits) if matches!(value, 0 | 1) => bits.append(value == 1),
            Values::Float32(vec) => vec.push(value as f32),
            Values::Float64(vec) => vec.push(value as f64),
            Values::Decimal128(vec, precision, scale) => {
                vec.push(rescale(i256::from_i128(value.into()), 0, *precision, *scale)?.to_i128().ok_or(NO_FIT)?);
            }
            Values::Decimal256(vec, precision, scale) => {
                vec.push(rescale(i256::from_i128(value.into()), 0, *precision, *scale)?);
            }
            _ => return Err(""),
        }
        Ok(())
    }

    /// Appends a float; `single` is whether it was one of 32 bits, which has fewer digits.
    pub(crate) fn push_float(&mut self, value: f64, single: bool, at: usize) -> Step<()> {
        let wrong = |words| Fault::wrong_type(at, words);
        match &mut self.values {
            Values::Float64(vec) => vec.push(value),
            Values::Float32(vec) => {
                let narrow = value as f32;
                if narrow.is_infinite() && value.is_finite() {
                    return Err(wrong(OUT_OF_RANGE));
                }
                vec.push(narrow);
            }
            Values::Text(ends, out) => {
                write_float(out, value, single);
                end_value(ends, out.len(), at)?;
            }
            Values::Decimal128(..) | Values::Decimal256(..) => {
                self.scratch.clear();
                write_float(&mut self.scratch, value, single);
                let text = std::str::from_utf8(&self.scratch).map_err(|_| wrong(""))?;
                match &mut self.values {
                    Values::Decimal128(vec, precision, scale) => {
                        let value = parse(text, *precision, *scale).map_err(wrong)?;
                        vec.push(value.to_i128().ok_or_else(|| wrong(NO_FIT))?);
                    }
                    Values::Decimal256(vec, precision, scale) => {
                        vec.push(parse(text, *precision, *scale).map_err(wrong)?);
                    }
                    _ => {}
                }
            }
            _ => return Err(wrong("")),
        }
        self.len += 1;
        Ok(())
    }

    /// Appends bytes: in a column of text as base64, as they are in JSON.
    pub(crate) fn push_bytes(&mut self, bytes: &[u8], at: usize) -> Step<()> {
        if bytes.first() == Some(&b'_') && self.dialect.debezium && is_unavailable(bytes) {
            self.push_unavailable();
            return Ok(());
        }
        match &mut self.values {
            Values::Binary(ends, out) => {
                out.extend_from_slice(bytes);
                end_value(ends, out.len(), at)?;
            }
            Values::Text(ends, out) => {
                write_base64(out, bytes);
                end_value(ends, out.len(), at)?;
            }
            _ => return Err(Fault::wrong_type(at, "bytes")),
        }
        self.len += 1;
        Ok(())
    }

    /// Appends the decimal of an unscaled value, big-endian two's complement, at a scale.
    pub(crate) fn push_decimal(&mut self, unscaled: &[u8], scale: i32, at: usize) -> Step<()> {
        self.decimal(unscaled, scale).map_err(|words| Fault::wrong_type(at, words))?;
        self.len += 1;
        Ok(())
    }

    fn decimal(&mut self, unscaled: &[u8], own: i32) -> Converted<()> {
        // Nearly all are small, and of the scale that is wanted.
        if let Values::Decimal128(vec, precision, scale) = &mut self.values
            && own == i32::from(*scale)
            && let Some(value) = small(unscaled)
        {
            let bound = 10u128.checked_pow(u32::from(*precision)).ok_or(NO_FIT)?;
            if value.unsigned_abs() >= bound {
                return Err(NO_FIT);
            }
            vec.push(value);
            return Ok(());
        }
        if let Values::Text(ends, out) = &mut self.values {
            write_decimal(out, unscaled, own).ok_or(OUT_OF_RANGE)?;
            end_value(ends, out.len(), 0).map_err(|fault| fault.words)?;
            return Ok(());
        }
        let value = from_twos_complement(unscaled, 76)?;
        let whole = |value| rescale(value, own, 76, 0);
        match &mut self.values {
            Values::Decimal128(vec, precision, scale) => {
                vec.push(rescale(value, own, *precision, *scale)?.to_i128().ok_or(NO_FIT)?);
            }
            Values::Decimal256(vec, precision, scale) => vec.push(rescale(value, own, *precision, *scale)?),
            Values::UInt64(vec) => {
                let value = whole(value)?.to_i128().ok_or(OUT_OF_RANGE)?;
                vec.push(u64::try_from(value).map_err(|_| OUT_OF_RANGE)?);
            }
            Values::Float32(_) | Values::Float64(_) => {
                self.scratch.clear();
                write_decimal(&mut self.scratch, unscaled, own).ok_or(OUT_OF_RANGE)?;
                let text = std::str::from_utf8(&self.scratch).map_err(|_| "")?;
                match &mut self.values {
                    Values::Float32(vec) => vec.push(text.parse().map_err(|_| "")?),
                    Values::Float64(vec) => vec.push(text.parse().map_err(|_| "")?),
                    _ => {}
                }
            }
            Values::Int8(_)
            | Values::Int16(_)
            | Values::Int32(_)
            | Values::Int64(_)
            | Values::UInt8(_)
            | Values::UInt16(_)
            | Values::UInt32(_) => {
                let value = whole(value)?.to_i128().ok_or(OUT_OF_RANGE)?;
                self.integer(i64::try_from(value).map_err(|_| OUT_OF_RANGE)?, Measure::Plain)?;
            }
            _ => return Err(""),
        }
        Ok(())
    }
}

fn narrow<T: TryFrom<i64>>(value: i64) -> Converted<T> {
    T::try_from(value).map_err(|_| OUT_OF_RANGE)
}

fn days(value: i64, measure: Measure) -> Converted<i64> {
    match measure {
        Measure::Plain | Measure::Days => Ok(value),
        Measure::Instant(unit) => {
            let day = SECONDS_PER_DAY * per_second(unit);
            if value % day == 0 { Ok(value / day) } else { Err("it is a point in time, not a day") }
        }
        Measure::TimeOfDay(_) => Err("a time of day"),
    }
}

/// `plain` is what integers are scaled by that count nothing in particular.
fn clock(value: i64, measure: Measure, unit: TimeUnit, plain: Scale) -> Converted<i64> {
    let scale = match measure {
        Measure::Plain => plain,
        Measure::TimeOfDay(own) => Scale::new(own, unit),
        Measure::Days | Measure::Instant(_) => return Err("not a time of day"),
    };
    time(scale.apply(value)?, unit)
}

fn instant(value: i64, measure: Measure, unit: TimeUnit, plain: Scale) -> Converted<i64> {
    match measure {
        Measure::Plain => plain.apply(value),
        Measure::Instant(own) => Scale::new(own, unit).apply(value),
        Measure::Days => value.checked_mul(SECONDS_PER_DAY * per_second(unit)).ok_or(OUT_OF_RANGE),
        Measure::TimeOfDay(_) => Err("a time of day"),
    }
}

/// The unscaled value at another scale, exactly.
fn rescale(value: i256, from: i32, precision: u8, to: i8) -> Converted<i256> {
    let shift = i32::from(to) - from;
    if value == i256::ZERO {
        return Ok(value);
    }
    let ten = i256::from_i128(10);
    let power = ten.checked_pow(shift.unsigned_abs()).ok_or(NO_FIT)?;
    let value = if shift >= 0 {
        value.checked_mul(power).ok_or(NO_FIT)?
    } else if value.checked_rem(power) == Some(i256::ZERO) {
        value.checked_div(power).ok_or(NO_FIT)?
    } else {
        return Err(NO_FIT);
    };
    within(value, precision).ok_or(NO_FIT)
}

/// A two's complement of at most sixteen bytes.
fn small(bytes: &[u8]) -> Option<i128> {
    let start = 16usize.checked_sub(bytes.len())?;
    let filler = if bytes.first().is_some_and(|&first| first >= 0x80) { 0xff } else { 0 };
    let mut full = [filler; 16];
    full[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(full))
}

/// Appends a decimal's text; `None` when it has more digits than any database gives one.
pub(crate) fn write_decimal(out: &mut Vec<u8>, unscaled: &[u8], scale: i32) -> Option<()> {
    let start = out.len();
    match small(unscaled) {
        Some(value) => write!(out, "{value}").ok()?,
        None if unscaled.len() <= UNSCALED_BYTES => {
            out.extend_from_slice(plain_text(unscaled, scale).as_bytes());
            return Some(());
        }
        None => return None,
    }
    let sign = usize::from(out.get(start) == Some(&b'-'));
    if scale <= 0 {
        let zero = out[start..] == *b"0";
        let zeros = usize::try_from(-i64::from(scale)).ok().filter(|_| !zero).unwrap_or(0);
        out.resize(out.len() + zeros, b'0');
        return Some(());
    }
    let scale = usize::try_from(scale).ok()?;
    let digits = start + sign;
    let missing = (scale + 1).saturating_sub(out.len() - digits);
    out.splice(digits..digits, std::iter::repeat_n(b'0', missing));
    out.insert(out.len() - scale, b'.');
    Some(())
}

/// Appends an integer as a text that says what it counts: `2024-06-20`, `2024-06-20T12:34:56.123`, `-838:59:59`.
pub(crate) fn write_measure(out: &mut Vec<u8>, value: i64, measure: Measure) {
    // Writing to memory does not fail.
    let _ = match measure {
        Measure::Plain => write!(out, "{value}"),
        Measure::Days => match value.checked_mul(SECONDS_PER_DAY).and_then(|it| DateTime::from_timestamp(it, 0)) {
            Some(day) => write!(out, "{:?}", day.date_naive()),
            None => write!(out, "{value}"),
        },
        Measure::Instant(unit) => {
            let per_second = per_second(unit);
            let nanoseconds = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
            match DateTime::from_timestamp(value.div_euclid(per_second), nanoseconds as u32) {
                Some(time) => write!(out, "{:?}", time.naive_utc()),
                None => write!(out, "{value}"),
            }
        }
        Measure::TimeOfDay(unit) => write_time(out, value, unit),
    };
}

/// Hours to seconds, and a fraction as long as it has to be.
fn write_time(out: &mut Vec<u8>, value: i64, unit: TimeUnit) -> std::io::Result<()> {
    let per_second = per_second(unit).unsigned_abs();
    let (sign, magnitude) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    let (seconds, fraction) = (magnitude / per_second, magnitude % per_second);
    write!(out, "{sign}{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)?;
    match fraction * (1_000_000_000 / per_second) {
        0 => Ok(()),
        nanoseconds if nanoseconds % 1_000_000 == 0 => write!(out, ".{:03}", nanoseconds / 1_000_000),
        nanoseconds if nanoseconds % 1_000 == 0 => write!(out, ".{:06}", nanoseconds / 1_000),
        nanoseconds => write!(out, ".{nanoseconds:09}"),
    }
}

/// Appends the shortest text that stands for this float and no other; large and small ones with an exponent.
pub(crate) fn write_float(out: &mut Vec<u8>, value: f64, single: bool) {
    let _ = match (value.is_finite(), single) {
        (false, _) if value.is_nan() => write!(out, "NaN"),
        (false, _) => write!(out, "{}Infinity", if value < 0.0 { "-" } else { "" }),
        (true, true) => write!(out, "{:?}", value as f32),
        (true, false) => write!(out, "{value:?}"),
    };
}

/// Appends the base64 of bytes, padded.
pub(crate) fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.reserve(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes(bits);
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= three.len() { digit } else { b'=' });
        }
    }
}
