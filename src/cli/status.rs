//! What a run shows of itself: a live line on a terminal, a plain line now and then elsewhere, a summary at the end.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use crate::job::lane::now;
use crate::job::progress::Progress;
use crate::telemetry::{LIVE_LINES, is_json};

const LIVE: Duration = Duration::from_millis(500);
const PLAIN: Duration = Duration::from_secs(10);

/// The running display.
pub(crate) struct Status {
    task: JoinHandle<()>,
    bar: Option<ProgressBar>,
}

impl Status {
    /// Shows the progress of a job until [`Self::finish`].
    pub(crate) fn show(job: &str, progress: Arc<Progress>) -> Self {
        let is_live = std::io::stderr().is_terminal() && !is_json();
        let bar = is_live.then(|| LIVE_LINES.add(ProgressBar::new_spinner()));
        if let Some(bar) = &bar {
            let style = ProgressStyle::with_template("{spinner} {prefix}  {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            bar.set_style(style);
            bar.set_prefix(job.to_owned());
        }
        let (own, job) = (bar.clone(), job.to_owned());
        let task = tokio::spawn(async move {
            let mut before = (Instant::now(), 0);
            loop {
                tokio::time::sleep(if own.is_some() { LIVE } else { PLAIN }).await;
                let events = progress.events.load(Relaxed);
                let rate = (events - before.1) as f64 / before.0.elapsed().as_secs_f64();
                before = (Instant::now(), events);
                match &own {
                    Some(bar) => {
                        bar.set_message(line(&progress, rate));
                        bar.tick();
                    }
                    None if is_json() => {
                        let written: u64 = progress.written().values().sum();
                        tracing::info!(
                            job,
                            events,
                            lag = progress.lag.load(Relaxed),
                            watermark = known_watermark(&progress),
                            open_windows = progress.open_windows.load(Relaxed),
                            late = progress.late.load(Relaxed),
                            dead_letters = progress.dead_letters.load(Relaxed),
                            written,
                            "{}",
                            line(&progress, rate)
                        );
                    }
                    None => tracing::info!("{job}: {}", line(&progress, rate)),
                }
            }
        });
        Self { task, bar }
    }

    /// Takes the display away.
    pub(crate) fn finish(self) {
        self.task.abort();
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}

fn line(progress: &Progress, rate: f64) -> String {
    let count = |value: &std::sync::atomic::AtomicU64| HumanCount(value.load(Relaxed));
    let written: u64 = progress.written().values().sum();
    format!(
        "{} events/s, {} behind, watermark {}, {} windows open, {} late, {} dead letters, {} rows written",
        HumanCount(rate as u64),
        count(&progress.lag),
        watermark(progress.watermark.load(Relaxed)),
        count(&progress.open_windows),
        count(&progress.late),
        count(&progress.dead_letters),
        HumanCount(written),
    )
}

/// Milliseconds since the epoch.
fn known_watermark(progress: &Progress) -> Option<i64> {
    Some(progress.watermark.load(Relaxed)).filter(|time| *time != i64::MIN)
}

fn watermark(time: i64) -> String {
    match chrono::DateTime::from_timestamp_millis(time) {
        Some(at) if time != i64::MIN => {
            let behind = Duration::from_millis((now() - time).max(0) as u64);
            format!("{} ({} ago)", at.format("%Y-%m-%d %H:%M:%S"), indicatif::HumanDuration(behind))
        }
        _ => "none yet".into(),
    }
}

/// What a run did, in a few lines.
pub(crate) fn summary(progress: &Progress, took: Duration) -> String {
    let events = progress.events.load(Relaxed);
    let seconds = took.as_secs_f64().max(0.001);
    let mut lines = vec![format!(
        "read      {} events, {} in {seconds:.1} s: {} events/s",
        HumanCount(events),
        HumanBytes(progress.bytes.load(Relaxed)),
        HumanCount((events as f64 / seconds) as u64)
    )];
    for (table, rows) in progress.written() {
        lines.push(format!("wrote     {} rows to {table}", HumanCount(rows)));
    }
    lines.push(format!(
        "windows   {} closed, {} late rows",
        HumanCount(progress.closed_windows.load(Relaxed)),
        HumanCount(progress.late.load(Relaxed))
    ));
    let reasons: Vec<_> =
        progress.dead_letters_by_reason().iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    if !reasons.is_empty() {
        lines.push(format!(
            "dead      {} records: {}",
            HumanCount(progress.dead_letters.load(Relaxed)),
            reasons.join(", ")
        ));
    }
    lines.join("\n")
}
