//! Logs of the process itself, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};

/// Logs to standard error what passes `filter`, a line per event worth knowing.
pub fn start_logging(filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(filter).map_err(|error| Error::config(format!("--log \"{filter}\": {error}")))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    // Colours are for people: a file or a pipe gets none. A second start in one process (tests) keeps the first.
    let _ = logs.with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).try_init();
    Ok(())
}
