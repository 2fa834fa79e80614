//! Progress bars and numbers for people.

use std::time::Duration;

use anyhow::Context;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// A bar up to `total`, or only a count when there is no end. Shows nothing unless the output is a terminal.
pub(super) fn bar(total: Option<u64>, unit: &str) -> anyhow::Result<ProgressBar> {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            format!("{{elapsed_precise}} [{{bar:40}}] {{human_pos}}/{{human_len}} {unit}, {{per_sec}}, {{eta}} to go"),
        ),
        None => {
            (ProgressBar::no_length(), format!("{{elapsed_precise}} {{spinner}} {{human_pos}} {unit}, {{per_sec}}"))
        }
    };
    bar.set_style(ProgressStyle::with_template(&template).context("cannot draw the progress bar")?);
    Ok(bar)
}

/// `count` in `elapsed`, by the second: `301,250`.
pub(super) fn per_second(count: u64, elapsed: Duration) -> HumanCount {
    HumanCount((count as f64 / elapsed.as_secs_f64().max(1e-3)) as u64)
}

/// A part of a whole: `12.03%`.
pub(super) fn percent(part: u64, whole: u64) -> String {
    format!("{:.2}%", 100.0 * part as f64 / whole.max(1) as f64)
}
