//! Highwater: streaming windowed analytics over change data.

pub mod change;
pub mod checkpoint;
pub mod cli;
pub mod connector;
pub mod error;
pub mod format;
pub mod job;
pub mod options;
pub mod server;
pub mod sink;
pub mod source;
pub mod sql;
pub mod telemetry;
pub mod window;
