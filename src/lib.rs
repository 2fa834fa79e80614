//! Highwater: streaming windowed analytics over change data.

pub mod change;
pub mod error;
pub mod format;
pub mod options;
pub mod sink;
pub mod source;
