//! Shares, rates, durations and counts, and how they are written on a command line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// 2106-01-01T00:00:00Z in milliseconds since 1970: ClickHouse's `DateTime` ends then, seconds no longer fit into 32 bits.
pub(crate) const END_MS_MAX: i64 = 4_291_747_200_000;

/// A text that is no share, rate, duration or count; says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read `{text}` as {what}: {expected}")]
pub struct ParseUnitError {
    text: String,
    what: &'static str,
    expected: &'static str,
}

/// A part of a whole, from 0 to 1. Written `12%`, `0.1%` or `0.12`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Share(f64);

impl Share {
    /// None of it.
    pub const ZERO: Self = Self(0.0);

    /// The given percentage, cut to 0 … 100.
    pub const fn percent(percent: f64) -> Self {
        Self((percent / 100.0).clamp(0.0, 1.0))
    }

    /// As a number from 0 to 1.
    pub const fn as_fraction(self) -> f64 {
        self.0
    }
}

impl FromStr for Share {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseUnitError {
            text: text.to_owned(),
            what: "a share",
            expected: "write a percentage from `0%` to `100%`, or a fraction from `0` to `1`",
        };
        let (number, divisor) = text.strip_suffix('%').map_or((text, 1.0), |percent| (percent, 100.0));
        let fraction = number.trim_end().parse::<f64>().map_err(|_| error())? / divisor;
        if (0.0..=1.0).contains(&fraction) { Ok(Self(fraction)) } else { Err(error()) }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded, because 0.07 * 100 is 7.000000000000001.
        write!(f, "{}%", (self.0 * 100.0 * 1e9).round() / 1e9)
    }
}

/// What a rate of next to nothing takes for anything; twice as long still fits into 64 bits.
const LONGEST_MICROS: u64 = 9_000_000_000_000_000_000;

/// So many in a second; more than none. Written `300000/s`, `300k/s`, `90/min` or `300000` (a second).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// A thousand a second.
    pub const THOUSAND_PER_SECOND: Self = Self(1000.0);

    /// So many a second; `None` unless that is a positive number.
    pub fn per_second(number: f64) -> Option<Self> {
        (number.is_finite() && number > 0.0).then_some(Self(number))
    }

    /// How many a second.
    pub const fn as_per_second(self) -> f64 {
        self.0
    }

    /// How long it takes until `count` of them have come, in whole microseconds; at most 285,000 years.
    pub fn time_for(self, count: u64) -> Duration {
        // Exact up to 2^53 microseconds, which is 285 years. The cast cannot go beyond the largest number.
        Duration::from_micros(((count as f64 / self.0 * 1e6) as u64).min(LONGEST_MICROS))
    }

    /// The same in milliseconds, rounded up, so that no event lies behind the end.
    pub fn span_ms(self, count: u64) -> i64 {
        i64::try_from(self.time_for(count).as_micros().div_ceil(1000)).unwrap_or(i64::MAX)
    }
}

impl FromStr for Rate {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseUnitError {
            text: text.to_owned(),
            what: "a rate",
            expected: "write a positive number for each `/s`, `/min` or `/h`, such as `1000/s`, `300k/s` or `90/min`",
        };
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit.trim() {
            "s" | "sec" | "second" => 1.0,
            "m" | "min" | "minute" => 60.0,
            "h" | "hour" => 3600.0,
            _ => return Err(error()),
        };
        let number = parse_scaled(number.trim()).ok_or_else(error)?;
        Self::per_second(number / seconds).ok_or_else(error)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

/// Reads a duration such as `500ms`, `5s`, `1.5m`, `2h`, `1d` or `0`.
///
/// # Errors
///
/// When the text is no number that is followed by one of these units.
pub fn parse_duration(text: &str) -> Result<Duration, ParseUnitError> {
    let error = || ParseUnitError {
        text: text.to_owned(),
        what: "a duration",
        expected: "write a number and one of the units `ms`, `s`, `m` (or `min`), `h`, `d`, such as `500ms` or `5s`",
    };
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number = number.parse::<f64>().map_err(|_| error())?;
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        "" if number == 0.0 => 1.0,
        _ => return Err(error()),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| error())
}

/// Reads a count such as `5000000`, `5_000_000`, `500k` or `5M`.
///
/// # Errors
///
/// When the text is no whole number.
pub fn parse_count(text: &str) -> Result<u64, ParseUnitError> {
    let error = || ParseUnitError {
        text: text.to_owned(),
        what: "a count",
        expected: "write a whole number, such as `5000000`, `5_000_000`, `500k` or `5M`",
    };
    let number = parse_scaled(text).ok_or_else(error)?;
    // A larger number could not be told from its neighbours.
    let exact = number.fract() == 0.0 && (0.0..=9e15).contains(&number);
    if exact { Ok(number as u64) } else { Err(error()) }
}

/// A number with an optional `k` (thousand) or `M` (million); underscores may group the digits.
fn parse_scaled(text: &str) -> Option<f64> {
    let (number, factor) = match text.strip_suffix('k').or_else(|| text.strip_suffix('K')) {
        Some(number) => (number, 1e3),
        None => text.strip_suffix('M').map_or((text, 1.0), |number| (number, 1e6)),
    };
    // `f64::from_str` would also take `inf`, `nan` and `1e5`.
    let plain = number.starts_with(|c: char| c.is_ascii_digit()) && !number.contains(['e', 'E']);
    if !plain {
        return None;
    }
    number.replace('_', "").parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        for (text, fraction) in [("12%", 0.12), ("0.1%", 0.001), ("0.25", 0.25), ("0", 0.0), ("100 %", 1.0)] {
            assert_eq!(text.parse::<Share>().map(Share::as_fraction), Ok(fraction), "{text}");
        }
        for text in ["", "%", "101%", "-1%", "2", "12 percent", "nan", "inf%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        assert_eq!(Share::percent(7.0).to_string(), "7%");
        assert_eq!(Share::percent(0.1).to_string(), "0.1%");
    }

    #[test]
    fn rates() {
        for (text, per_second) in
            [("1000/s", 1000.0), ("300k/s", 300_000.0), ("300_000", 300_000.0), ("90/min", 1.5), ("0.5/s", 0.5)]
        {
            assert_eq!(text.parse::<Rate>().map(Rate::as_per_second), Ok(per_second), "{text}");
        }
        for text in ["", "/s", "0/s", "-5/s", "5/day", "fast", "1e9/s", "inf"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        assert_eq!(Rate(1000.0).to_string(), "1000/s");
        assert_eq!(Rate(1000.0).time_for(1500), Duration::from_millis(1500));
        assert_eq!(Rate(1e-300).time_for(1), Duration::from_micros(LONGEST_MICROS));
    }

    #[test]
    fn durations() {
        for (text, millis) in
            [("500ms", 500), ("5s", 5_000), ("1.5m", 90_000), ("2h", 7_200_000), ("1d", 86_400_000), ("0", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "-5s", "5 parsecs", "1.2.3s", "99999999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts() {
        for (text, count) in [("0", 0), ("1_000", 1_000), ("500k", 500_000), ("1.5M", 1_500_000)] {
            assert_eq!(parse_count(text), Ok(count), "{text}");
        }
        for text in ["", "-1", "1.5", "many", "1e6", "_1", "99999999999999999999"] {
            assert!(parse_count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn errors_say_what_to_write() {
        let error = "twelve".parse::<Share>().map_err(|error| error.to_string());
        let expected = "cannot read `twelve` as a share: \
                        write a percentage from `0%` to `100%`, or a fraction from `0` to `1`";
        assert_eq!(error, Err(expected.to_owned()));
    }
}
