//! Query files → pipelines: text, statements, plans, and everything that can be said of them before they run.

pub mod define;
pub mod diagnose;
pub mod dialect;
#[cfg(test)]
mod docs_test;
#[cfg(test)]
mod errors_test;
mod names;
pub mod plan;
pub mod query;
pub mod refusal;
pub mod statement;
pub mod submission;
mod syntax;
pub mod text;
mod tokens;
mod warnings;
