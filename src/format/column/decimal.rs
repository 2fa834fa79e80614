//! Exact decimals: from a number's text, or from base64 of the unscaled value. Never by way of a float.

use datafusion::arrow::datatypes::i256;

use super::super::dialect::Decimals;
use super::super::fault::{Fault, Step};
use super::super::json::cursor::Cursor;
use super::super::json::keys::{Key, Keys};
use super::bytes::decode_base64;
use super::value::Converted;

pub(super) const NO_FIT: &str = "it does not fit without rounding";
/// The largest scale that is looked at: PostgreSQL's `numeric` has at most 131,072 digits before and 16,383 after the point.
const SCALE_MAX: u32 = 150_000;
const NO_NUMBER: &str = "no decimal can be that: declare it as STRING or DOUBLE";

/// The unscaled value of a number in decimal notation, exponents included, at a scale.
pub(super) fn parse(text: &str, precision: u8, scale: i8) -> Converted<i256> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| "")?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err("");
    }
    // The value is all digits × 10^(exponent − fraction digits); it has to become unscaled × 10^−scale.
    let shift = i64::from(exponent) - fraction.len() as i64 + i64::from(scale);
    let digits = whole.bytes().chain(fraction.bytes()).map(|digit| digit - b'0');
    let count = whole.len() + fraction.len();
    let dropped = usize::try_from(-shift).unwrap_or(0);
    if digits.clone().skip(count.saturating_sub(dropped)).any(|digit| digit != 0) {
        return Err(NO_FIT);
    }
    let zeros = std::iter::repeat_n(0, usize::try_from(shift).unwrap_or(0).min(80));
    unscaled(negative, digits.take(count.saturating_sub(dropped)).chain(zeros), precision)
}

/// The number of these digits, if it has no more of them than `precision`.
fn unscaled(negative: bool, digits: impl Iterator<Item = u8>, precision: u8) -> Converted<i256> {
    let mut digits = digits.skip_while(|&digit| digit == 0);
    // 38 digits fit into 128 bits, and 38 more into 256.
    let mut used = 0;
    let mut take_half = || {
        let (mut half, mut power) = (0i128, 1i128);
        for digit in digits.by_ref().take(38) {
            half = half * 10 + i128::from(digit);
            power *= 10;
            used += 1;
        }
        (half, power)
    };
    let (high, _) = take_half();
    let (low, power) = take_half();
    if used > usize::from(precision) || digits.next().is_some() {
        return Err(NO_FIT);
    }
    let magnitude = i256::from_i128(high)
        .checked_mul(i256::from_i128(power))
        .and_then(|high| high.checked_add(i256::from_i128(low)))
        .ok_or(NO_FIT)?;
    Ok(if negative { magnitude.wrapping_neg() } else { magnitude })
}

/// The decimal that a string stands for.
pub(super) fn from_text(text: &str, precision: u8, scale: i8, decimals: Decimals) -> Converted<i256> {
    let text = text.trim();
    let number = parse(text, precision, scale);
    // Neither sign nor point is in base64's alphabet ('+' is, but no database writes it).
    let may_be_number =
        text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'e' | b'E' | b'+'));
    if decimals == Decimals::Text || may_be_number && text.contains(['-', '.']) {
        return number.map_err(|words| if is_no_number(text) { NO_NUMBER } else { words });
    }
    let mut bytes = Vec::new();
    let base64 = decode_base64(text.as_bytes(), &mut bytes).is_some() && !bytes.is_empty();
    match (base64, decimals) {
        (false, _) => number.map_err(|words| if is_no_number(text) { NO_NUMBER } else { words }),
        (true, Decimals::Either) if may_be_number && number.is_ok() && scale == 0 => {
            Err("both a number and base64: set 'debezium-json.decimal.handling.mode' to 'precise' or 'string'")
        }
        (true, _) => from_twos_complement(&bytes, precision),
    }
}

/// What a `numeric` of PostgreSQL can be besides a number.
fn is_no_number(text: &str) -> bool {
    let word = text.trim_start_matches(['-', '+']);
    ["nan", "infinity", "inf"].iter().any(|it| word.eq_ignore_ascii_case(it))
}

/// The unsigned integer of 64 bits that is written as base64 of a decimal without scale (Debezium's
/// `bigint.unsigned.handling.mode` = `precise`). Digits alone are never that: their base64 would be negative.
pub(super) fn unsigned_of_base64(text: &str) -> Option<u64> {
    let mut bytes = Vec::with_capacity(12);
    decode_base64(text.as_bytes(), &mut bytes)?;
    if bytes.is_empty() {
        return None;
    }
    u64::try_from(from_twos_complement(&bytes, 76).ok()?.to_i128()?).ok()
}

/// The unscaled value that Java's `BigInteger.toByteArray` wrote.
pub(super) fn from_twos_complement(bytes: &[u8], precision: u8) -> Converted<i256> {
    let negative = bytes.first().is_some_and(|&first| first >= 0x80);
    let filler = if negative { 0xff } else { 0 };
    let extra = bytes.len().saturating_sub(32);
    if bytes[..extra].iter().any(|&byte| byte != filler) || extra > 0 && (bytes[extra] >= 0x80) != negative {
        return Err(NO_FIT);
    }
    let mut full = [filler; 32];
    full[32 - (bytes.len() - extra)..].copy_from_slice(&bytes[extra..]);
    let value = i256::from_be_bytes(full);
    within(value, precision).ok_or(NO_FIT)
}

/// The value, if it has no more digits than `precision`.
pub(super) fn within(value: i256, precision: u8) -> Option<i256> {
    let bound = i256::from_i128(10).checked_pow(u32::from(precision))?;
    (value < bound && value > bound.wrapping_neg()).then_some(value)
}

/// PostgreSQL's `numeric` without a scale: `{"scale":2,"value":"base64"}`, as the bytes of the unscaled value and the
/// scale.
pub(super) fn with_scale(cursor: &mut Cursor<'_>) -> Step<(Vec<u8>, i32)> {
    let at = cursor.pos;
    let mut keys = Keys::new(["scale", "value"]);
    let mut place = 0;
    let (mut own_scale, mut bytes) = (None, None);
    let mut scratch = Vec::new();
    Keys::open(cursor)?;
    loop {
        match keys.next(cursor, &mut place)? {
            Key::Field(0) => {
                cursor.skip_space();
                own_scale = cursor.number()?.parse::<i32>().ok();
            }
            Key::Field(_) => {
                cursor.skip_space();
                let mut out = Vec::new();
                bytes = decode_base64(cursor.text(&mut scratch)?, &mut out).map(|()| out);
            }
            Key::Other => return Err(Fault::wrong_type(at, "")),
            Key::End => break,
        }
        cursor.skip_space();
    }
    match (own_scale, bytes) {
        (Some(scale), Some(bytes)) if !bytes.is_empty() && scale.unsigned_abs() <= SCALE_MAX => Ok((bytes, scale)),
        _ => Err(Fault::wrong_type(at, "")),
    }
}

/// The same at a scale of the column's.
pub(super) fn variable_scale(cursor: &mut Cursor<'_>, precision: u8, scale: i8) -> Step<i256> {
    let at = cursor.pos;
    let (bytes, own_scale) = with_scale(cursor)?;
    let wrong = |words| Fault::wrong_type(at, words);
    let value = from_twos_complement(&bytes, 76).map_err(wrong)?;
    // By way of the text, which knows how to shift exactly.
    parse(&format!("{value}e{}", -i64::from(own_scale)), precision, scale).map_err(wrong)
}

/// A decimal in decimal notation, all its digits: PostgreSQL's `numeric` has many more than any Arrow type.
pub(super) fn plain_text(twos_complement: &[u8], scale: i32) -> String {
    let (sign, digits) = digits(twos_complement);
    let Ok(fraction @ 1..) = usize::try_from(scale) else {
        let zeros = if digits == "0" { 0 } else { scale.unsigned_abs() as usize };
        return format!("{sign}{digits}{}", "0".repeat(zeros));
    };
    let padded = format!("{digits:0>width$}", width = fraction + 1);
    let (whole, fraction) = padded.split_at(padded.len() - fraction);
    format!("{sign}{whole}.{fraction}")
}

/// Sign and decimal digits of a big-endian two's complement of any length.
fn digits(twos_complement: &[u8]) -> (&'static str, String) {
    let negative = twos_complement.first().is_some_and(|&first| first >= 0x80);
    let flip = if negative { 0xff } else { 0 };
    // Nine decimal digits each, the lowest first. Of a negative number the magnitude is the flipped bits plus one.
    let mut nines = vec![0u64];
    let mut add = |factor: u64, carry: u64| {
        let mut carry = carry;
        for nine in &mut nines {
            let sum = *nine * factor + carry;
            (*nine, carry) = (sum % 1_000_000_000, sum / 1_000_000_000);
        }
        while carry > 0 {
            nines.push(carry % 1_000_000_000);
            carry /= 1_000_000_000;
        }
    };
    for chunk in twos_complement.chunks(4) {
        let number = chunk.iter().fold(0, |number, &byte| number << 8 | u64::from(byte ^ flip));
        add(1 << (8 * chunk.len()), number);
    }
    if negative {
        add(1, 1);
    }
    let mut text = nines.last().map(u64::to_string).unwrap_or_default();
    nines.iter().rev().skip(1).for_each(|nine| text.push_str(&format!("{nine:09}")));
    (if negative { "-" } else { "" }, text)
}
