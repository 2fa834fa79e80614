//! Logs of the process itself, to standard error.

use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use chrono::{SecondsFormat, Utc};
use clap::ValueEnum;
use indicatif::MultiProgress;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};

/// The live lines at the bottom of the terminal; logs go above them.
pub static LIVE_LINES: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Whether standard error is a JSON object a line.
static JSON: AtomicBool = AtomicBool::new(false);

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// A JSON object a line, with `timestamp`, `level` and `message`.
    Json,
}

/// Logs to standard error what passes `filter`, a line per event worth knowing.
pub fn start_logging(filter: &str, format: LogFormat) -> Result<()> {
    JSON.store(format == LogFormat::Json, Relaxed);
    let filter = EnvFilter::try_new(filter).map_err(|error| Error::config(format!("--log \"{filter}\": {error}")))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    // Colours are for people: a file or a pipe gets none. A second start in one process (tests) keeps the first.
    let logs = logs.with_ansi(io::stderr().is_terminal()).with_writer(|| AboveLiveLines);
    let _ = match format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    Ok(())
}

/// Whether standard error is a JSON object a line.
pub fn is_json() -> bool {
    JSON.load(Relaxed)
}

/// Says something for people at the end of a command; in JSON it is an event like others.
pub fn say(text: &str) {
    match is_json() {
        true => tracing::info!("{text}"),
        false => eprintln!("{text}"),
    }
}

/// Says why the process ends, whatever the filter of the log.
pub fn say_error(text: &str) {
    match is_json() {
        true => {
            let timestamp = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
            eprintln!("{}", json!({ "timestamp": timestamp, "level": "ERROR", "message": text }));
        }
        false => eprintln!("error: {text}"),
    }
}

/// Standard error, with the live lines out of the way while something is written.
struct AboveLiveLines;

impl Write for AboveLiveLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LIVE_LINES.suspend(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
