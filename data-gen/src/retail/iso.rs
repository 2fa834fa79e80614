//! Times as ISO 8601 allows them.

use std::io::Write;

use chrono::{DateTime, Datelike, Timelike};

/// Forms that a time is written in, when any will do: precision and offset in minutes, of which `None` is `Z`.
const FORMS: [(usize, Option<i32>); 8] =
    [(3, None), (0, None), (6, None), (9, None), (3, Some(0)), (3, Some(120)), (0, Some(-300)), (6, Some(330))];

/// Appends a time, to the millisecond at best: in the usual form (`2026-11-21T07:06:20.123Z`), or in the one that `draw`
/// chooses. Returns the milliseconds that it says: a form without a fraction drops them.
pub(super) fn push(out: &mut Vec<u8>, epoch_ms: i64, draw: Option<usize>) -> i64 {
    let (digits, offset) = FORMS[draw.unwrap_or_default() % FORMS.len()];
    let epoch_ms = if digits == 0 { epoch_ms.div_euclid(1000) * 1000 } else { epoch_ms };
    let local = epoch_ms + i64::from(offset.unwrap_or_default()) * 60_000;
    // Only years beyond 262,000 cannot be had; they become 1970.
    let time = DateTime::from_timestamp_millis(local).unwrap_or_default();
    // Writing into a vector does not fail.
    let _ = write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    if digits > 0 {
        let _ = write!(out, ".{:03}", local.rem_euclid(1000));
        out.resize(out.len() + (digits - 3), b'0');
    }
    let _ = match offset {
        None => write!(out, "Z"),
        Some(minutes) => {
            let sign = if minutes < 0 { '-' } else { '+' };
            // With a colon or without.
            let colon = if digits == 0 { "" } else { ":" };
            write!(out, "{sign}{:02}{colon}{:02}", minutes.abs() / 60, minutes.abs() % 60)
        }
    };
    epoch_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_say_the_same_time() {
        let epoch_ms = 1_795_244_780_123;
        let mut forms = Vec::new();
        for draw in 0..FORMS.len() {
            let mut out = Vec::new();
            let said = push(&mut out, epoch_ms, Some(draw));
            let text = String::from_utf8(out).unwrap();
            // chrono reads the basic offset only where it is told to.
            let read = DateTime::parse_from_rfc3339(&text)
                .or_else(|_| DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%z"))
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(read.timestamp_millis(), said, "{text}");
            forms.push(text);
        }
        assert_eq!(forms[0], "2026-11-21T07:06:20.123Z");
        assert_eq!(forms[3], "2026-11-21T07:06:20.123000000Z");
        assert_eq!(forms[6], "2026-11-21T02:06:20-0500");
        assert_eq!(forms[7], "2026-11-21T12:36:20.123000+05:30");
    }
}
