//! Dates, times and timestamps: from Debezium's integers and from ISO 8601 texts.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use datafusion::arrow::datatypes::TimeUnit;

use super::value::Converted;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// How many of its unit a second has.
pub(super) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// What is said of a value that only rounding would fit.
const MORE_DIGITS: &str = "more digits of a second than the column has";
/// What `TIME` holds, in hours, at most: a duration rather than a time of day, as MySQL's is (838:59:59 either way).
const TIME_HOURS: i64 = 1_000;

/// From the unit that integers are written in to the column's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// They are the same.
    Same,
    /// The column's is finer, by this much.
    Finer(i64),
    /// The column's is coarser, by this much: only what it divides fits.
    Coarser(i64),
}

impl Scale {
    /// From one unit to another.
    pub(super) fn new(from: TimeUnit, to: TimeUnit) -> Self {
        let (from, to) = (per_second(from), per_second(to));
        match from.cmp(&to) {
            std::cmp::Ordering::Equal => Self::Same,
            std::cmp::Ordering::Less => Self::Finer(to / from),
            std::cmp::Ordering::Greater => Self::Coarser(from / to),
        }
    }

    /// The value in the column's unit, exactly or not at all.
    #[inline]
    pub(super) fn apply(self, value: i64) -> Converted<i64> {
        match self {
            Self::Same => Ok(value),
            Self::Finer(factor) => value.checked_mul(factor).ok_or("out of range"),
            Self::Coarser(factor) if value % factor == 0 => Ok(value / factor),
            Self::Coarser(_) => Err(MORE_DIGITS),
        }
    }
}

/// A time in the column's unit, if it is one. MySQL's can be negative or longer than a day.
pub(super) fn time(time: i64, unit: TimeUnit) -> Converted<i64> {
    let bound = TIME_HOURS * 3_600 * per_second(unit);
    if (1 - bound..bound).contains(&time) { Ok(time) } else { Err("beyond 999:59:59") }
}

/// The timestamp of an ISO 8601 text: date and time parted by `T` or a space, up to nine digits of a second's
/// fraction, `Z` or an offset (none is UTC). Digits beyond the unit are refused unless they are zero.
pub(super) fn parse_timestamp(text: &str, unit: TimeUnit) -> Converted<i64> {
    let (seconds, nanoseconds) = match parse_usual(text.as_bytes()) {
        Some(instant) => instant,
        None => parse_unusual(text.trim()).ok_or("")?,
    };
    in_unit(seconds, nanoseconds, unit)
}

/// Seconds and nanoseconds forward from them as a number of a unit.
#[inline]
fn in_unit(seconds: i64, nanoseconds: i64, unit: TimeUnit) -> Converted<i64> {
    let (per_second, nanos_per_unit) = match unit {
        TimeUnit::Second => (1, NANOS_PER_SECOND),
        TimeUnit::Millisecond => (1_000, 1_000_000),
        TimeUnit::Microsecond => (1_000_000, 1_000),
        TimeUnit::Nanosecond => (NANOS_PER_SECOND, 1),
    };
    if nanoseconds % nanos_per_unit != 0 {
        return Err(MORE_DIGITS);
    }
    let whole = seconds.checked_mul(per_second).ok_or("")?;
    // Before the epoch too, the fraction counts forward from the second.
    whole.checked_add(nanoseconds / nanos_per_unit).ok_or("")
}

/// `2024-06-20` as days since the epoch.
pub(super) fn parse_date(text: &str) -> Option<i32> {
    // Debezium's IsoDate has the zone that a date cannot have.
    let text = text.strip_suffix('Z').unwrap_or(text);
    if text.len() == 10 {
        return i32::try_from(date(text.as_bytes())?).ok();
    }
    let date: NaiveDate = with_whole_year(text)?.parse().ok()?;
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// `23:59:59.123456`, `-838:59:59`, with a `Z` or not, in UTC.
pub(super) fn parse_time(text: &str, unit: TimeUnit) -> Converted<i64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest.as_bytes()),
        None => (false, text.as_bytes()),
    };
    // Three digits of hours, as MySQL has them, or two.
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(2..=3).contains(&count) {
        return Err("");
    }
    let hours = digits(text, 0, count).ok_or("")?;
    let (seconds, nanoseconds, length) = of_hour(&text[count..]).ok_or("")?;
    if !matches!(&text[count + length..], b"" | b"Z" | b"+00" | b"+00:00" | b"+0000") {
        return Err("");
    }
    let value = in_unit(hours * 3_600 + seconds, nanoseconds, unit)?;
    Ok(if negative { -value } else { value })
}

/// The number of `count` digits at `from`.
#[inline]
fn digits(text: &[u8], from: usize, count: usize) -> Option<i64> {
    text.get(from..from + count)?.iter().try_fold(0, |number, &digit| {
        let value = digit.wrapping_sub(b'0');
        (value < 10).then(|| number * 10 + i64::from(value))
    })
}

/// Days since the epoch of the `YYYY-MM-DD` at the start.
#[inline]
fn date(text: &[u8]) -> Option<i64> {
    let (year, month, day) = (digits(text, 0, 4)?, digits(text, 5, 2)?, digits(text, 8, 2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if text[4] != b'-' || text[7] != b'-' || !(1..=days_in_month).contains(&day) {
        return None;
    }
    // Years that start in March have their leap day at the end (Howard Hinnant's days_from_civil).
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

/// Seconds and nanoseconds of the `HH:MM:SS[.fraction]` at the start, and its length.
#[inline]
fn time_of_day(text: &[u8]) -> Option<(i64, i64, usize)> {
    let hour = digits(text, 0, 2)?;
    if hour > 23 {
        return None;
    }
    let (seconds, nanoseconds, length) = of_hour(&text[2..])?;
    Some((hour * 3_600 + seconds, nanoseconds, 2 + length))
}

/// Seconds and nanoseconds of the `:MM:SS[.fraction]` at the start, and its length.
#[inline]
fn of_hour(text: &[u8]) -> Option<(i64, i64, usize)> {
    let (minute, second) = (digits(text, 1, 2)?, digits(text, 4, 2)?);
    if text[0] != b':' || text[3] != b':' || minute > 59 || second > 59 {
        return None;
    }
    let mut length = 6;
    let mut nanoseconds = 0;
    if text.get(6) == Some(&b'.') {
        let count = text[7..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&count) {
            return None;
        }
        nanoseconds = digits(text, 7, count)? * 10i64.pow(9 - count as u32);
        length = 7 + count;
    }
    Some((minute * 60 + second, nanoseconds, length))
}

/// Seconds and nanoseconds since the epoch of a text in the fixed form that nearly all are in.
#[inline]
fn parse_usual(text: &[u8]) -> Option<(i64, i64)> {
    let days = date(text)?;
    if !matches!(text.get(10), Some(b'T' | b' ')) {
        return None;
    }
    let (seconds, nanoseconds, length) = time_of_day(&text[11..])?;
    let offset = offset(&text[11 + length..])?;
    Some((days * SECONDS_PER_DAY + seconds - offset, nanoseconds))
}

/// Seconds of nothing, `Z`, `+HH`, `+HHMM`, `+HH:MM`, PostgreSQL's `+HH:MM:SS`, a space before it or not.
#[inline]
fn offset(text: &[u8]) -> Option<i64> {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let sign = match text.first() {
        None => return Some(0),
        Some(b'Z' | b'z') if text.len() == 1 => return Some(0),
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => return None,
    };
    let (hours, minutes, seconds) = match text.len() {
        3 => (digits(text, 1, 2)?, 0, 0),
        5 => (digits(text, 1, 2)?, digits(text, 3, 2)?, 0),
        6 if text[3] == b':' => (digits(text, 1, 2)?, digits(text, 4, 2)?, 0),
        9 if text[3] == b':' && text[6] == b':' => (digits(text, 1, 2)?, digits(text, 4, 2)?, digits(text, 7, 2)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60 && seconds < 60).then_some(sign * (hours * 3_600 + minutes * 60 + seconds))
}

/// The text, if its year has four digits or more: chrono takes `026` for the year 26, which is damage more likely.
fn with_whole_year(text: &str) -> Option<&str> {
    digits(text.strip_prefix(['+', '-']).unwrap_or(text).as_bytes(), 0, 4)?;
    Some(text)
}

/// The rest of ISO 8601 that is met with: no seconds, a date alone, years beyond four digits. A leap second is none that
/// an epoch has.
#[cold]
fn parse_unusual(text: &str) -> Option<(i64, i64)> {
    parse_unusual_form(text).filter(|(_, nanoseconds)| *nanoseconds < NANOS_PER_SECOND)
}

fn parse_unusual_form(text: &str) -> Option<(i64, i64)> {
    let text = with_whole_year(text)?;
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some((instant.timestamp(), i64::from(instant.timestamp_subsec_nanos())));
    }
    for form in ["%Y-%m-%dT%H:%M%:z", "%Y-%m-%d %H:%M%:z", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z"] {
        if let Ok(instant) = DateTime::parse_from_str(text, form) {
            return Some((instant.timestamp(), i64::from(instant.timestamp_subsec_nanos())));
        }
    }
    let local = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    for form in ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"] {
        if let Ok(instant) = NaiveDateTime::parse_from_str(local, form) {
            let instant = instant.and_utc();
            return Some((instant.timestamp(), i64::from(instant.timestamp_subsec_nanos())));
        }
    }
    Some((i64::from(parse_date(text)?) * SECONDS_PER_DAY, 0))
}
