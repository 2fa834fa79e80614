//! Numbers, times and strings as text, appended to a buffer. `std::fmt` and `chrono` do the same, but an event has
//! more than a dozen numbers, and it is these that would take most of the time.

use chrono::{DateTime, Datelike, Timelike};

/// Appends a number in decimal.
pub(super) fn push_u64(out: &mut Vec<u8>, number: u64) {
    // u64::MAX has 20 digits.
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    let mut rest = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends a number in decimal, with a sign if it is negative.
pub(super) fn push_i64(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    push_u64(out, number.unsigned_abs());
}

/// Appends a number of at most `width` digits, with leading zeros.
fn push_padded(out: &mut Vec<u8>, number: u32, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    let mut rest = number;
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Appends a time as `2026-11-21T07:06:20Z`, the form of `TIMESTAMP` columns without fraction.
pub(super) fn push_iso_seconds(out: &mut Vec<u8>, epoch_seconds: i64) {
    // Only years beyond 262,000 cannot be had; they become 1970.
    let time = DateTime::from_timestamp(epoch_seconds, 0).unwrap_or_default();
    push_padded(out, time.year().unsigned_abs(), 4);
    for (separator, number) in
        [(b'-', time.month()), (b'-', time.day()), (b'T', time.hour()), (b':', time.minute()), (b':', time.second())]
    {
        out.push(separator);
        push_padded(out, number, 2);
    }
    out.push(b'Z');
}

/// Appends a binlog's file name: `binlog.000001`.
pub(super) fn push_binlog_name(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(b"binlog.");
    push_padded(out, number, 6);
}

/// Appends the inside of a JSON string.
pub(super) fn push_json_escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                out.extend_from_slice(b"\\u");
                for shift in [12, 8, 4, 0] {
                    out.push(b"0123456789abcdef"[usize::from(byte) >> shift & 0xf]);
                }
            }
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers() {
        for number in [0, 9, 10, 12_345, u64::MAX] {
            assert_eq!(text(|out| push_u64(out, number)), number.to_string());
        }
        for number in [0, -1, i64::MIN, i64::MAX] {
            assert_eq!(text(|out| push_i64(out, number)), number.to_string());
        }
        assert_eq!(text(|out| push_binlog_name(out, 42)), "binlog.000042");
    }

    #[test]
    fn times() {
        for (seconds, iso) in
            [(0, "1970-01-01T00:00:00Z"), (1_795_244_780, "2026-11-21T07:06:20Z"), (-1, "1969-12-31T23:59:59Z")]
        {
            assert_eq!(text(|out| push_iso_seconds(out, seconds)), iso);
        }
    }

    #[test]
    fn strings() {
        for string in ["plain", "O'Conner", "D\"ávila", "back\\slash", "two\nlines\u{1f}", "漢字"] {
            let json = format!("\"{}\"", text(|out| push_json_escaped(out, string)));
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), string);
        }
    }
}
