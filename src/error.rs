//! The one error type: who is to blame, what went wrong, what to do about it.
//!
//! Data trouble is not an error: a record that cannot be used becomes a
//! [`DeadLetter`](crate::change::DeadLetter), and the job goes on.

use std::fmt;

/// The result of everything fallible in Highwater.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by who can mend it. `Display` is lower case, without a full stop, and names the thing, the place
/// and the way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The query file is wrong: exit code 2.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A setting, an option or an argument is wrong: exit code 2.
    #[error("{0}")]
    Config(String),
    /// Kafka, ClickHouse, a file or the network failed: exit code 3 once retries are of no use.
    #[error("{context}: {cause}")]
    External {
        /// What was being done, to what, where.
        context: String,
        /// What came back.
        cause: Box<dyn std::error::Error + Send + Sync>,
        /// Whether the same may succeed if tried again later.
        retry: bool,
    },
    /// An expression of the query failed on a value: a cast, a division by zero.
    #[error("{0}")]
    Expression(String),
    /// A row has no event time where it needs one.
    #[error("the event time is null")]
    NoEventTime,
    /// A bug of ours: exit code 70.
    #[error("internal error (please report it): {0}")]
    Internal(String),
}

impl Error {
    /// A failure of another system that may pass: worth trying again.
    pub fn transient(context: impl Into<String>, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::External { context: context.into(), cause: cause.into(), retry: true }
    }

    /// A failure of another system that will stay until somebody acts.
    pub fn permanent(context: impl Into<String>, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::External { context: context.into(), cause: cause.into(), retry: false }
    }

    /// A broken setting, option or argument.
    pub fn config(message: impl Into<String>) -> Self {
        Self::Config(message.into())
    }

    /// An invariant of ours that did not hold.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::Internal(message.to_string())
    }

    /// An expression of the query that failed on a value.
    #[allow(clippy::needless_pass_by_value)] // for map_err
    pub fn expression(error: datafusion::error::DataFusionError) -> Self {
        let message = error.find_root().strip_backtrace();
        let message = ["Arrow error: ", "Execution error: "]
            .iter()
            .fold(message.as_str(), |it, prefix| it.strip_prefix(prefix).unwrap_or(it));
        Self::Expression(message.to_owned())
    }

    /// Whether the same action may succeed later, unchanged.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::External { retry: true, .. })
    }

    /// The process exit code for this error: 2 for the user's mistakes, 3 for other systems, 70 for ours.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Sql(_) | Self::Config(_) | Self::Expression(_) | Self::NoEventTime => 2,
            Self::External { .. } => 3,
            Self::Internal(_) => 70,
        }
    }
}

impl From<datafusion::error::DataFusionError> for Error {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        Self::Internal(error.strip_backtrace())
    }
}

impl From<datafusion::arrow::error::ArrowError> for Error {
    fn from(error: datafusion::arrow::error::ArrowError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// A mistake in a query file, with its place: `queries/x.sql:12:8: message`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct SqlError {
    /// Path of the query file, as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1, in characters.
    pub column: u64,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// A place in a query file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Path of the query file, as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1, in characters.
    pub column: u64,
}

impl Place {
    /// A mistake at this place.
    pub fn error(&self, message: impl Into<String>) -> SqlError {
        SqlError { file: self.file.clone(), line: self.line, column: self.column, message: message.into() }
    }
}

/// The candidate nearest to `name`, when it is near enough to have been meant.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// `; did you mean "x"?`, or nothing.
pub fn suggestion<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    did_you_mean(name, candidates).map(|found| format!("; did you mean \"{found}\"?")).unwrap_or_default()
}
