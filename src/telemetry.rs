//! Logs of the process itself, to standard error.

use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};

/// Logs to standard error what passes `filter`, a line per event worth knowing.
pub fn start_logging(filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(filter).map_err(|error| Error::config(format!("--log \"{filter}\": {error}")))?;
    // A second start in one process (tests) keeps the first.
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr).try_init();
    Ok(())
}
