//! Logs of the process itself, to standard error.

use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;

use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};

/// The live lines at the bottom of the terminal; logs go above them.
pub static LIVE_LINES: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Logs to standard error what passes `filter`, a line per event worth knowing.
pub fn start_logging(filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(filter).map_err(|error| Error::config(format!("--log \"{filter}\": {error}")))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    // Colours are for people: a file or a pipe gets none. A second start in one process (tests) keeps the first.
    let _ = logs.with_ansi(io::stderr().is_terminal()).with_writer(|| AboveLiveLines).try_init();
    Ok(())
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
