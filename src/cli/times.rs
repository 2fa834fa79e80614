//! Times and durations in words.

use std::time::Duration;

use indicatif::HumanDuration;

/// A time, milliseconds since the epoch, to the second; to the millisecond where it has some.
pub(super) fn time(milliseconds: i64) -> String {
    let format = if milliseconds.rem_euclid(1_000) == 0 { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M:%S%.3f" };
    match chrono::DateTime::from_timestamp_millis(milliseconds) {
        Some(at) => at.format(format).to_string(),
        None if milliseconds > 0 => "the end of time".to_owned(),
        None => "the beginning of time".to_owned(),
    }
}

/// A time to the second, with how long ago it was.
pub(super) fn time_ago(milliseconds: i64, now: i64) -> String {
    format!("{} ({})", time(milliseconds.div_euclid(1_000).saturating_mul(1_000)), ago(milliseconds, now))
}

/// How long ago a time was.
pub(super) fn ago(milliseconds: i64, now: i64) -> String {
    match now.saturating_sub(milliseconds) {
        ahead if ahead < -1_000 => format!("{} ahead", lasting(-ahead)),
        past => format!("{} ago", lasting(past)),
    }
}

/// A duration in milliseconds.
pub(super) fn lasting(milliseconds: i64) -> String {
    HumanDuration(Duration::from_millis(milliseconds.max(0) as u64)).to_string()
}
