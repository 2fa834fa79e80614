//! Query files → pipelines: text, statements, plans, and everything that can be said of them before they run.

pub mod catalog;
pub mod closing;
pub mod compile;
pub mod diagnose;
#[cfg(test)]
mod docs_test;
#[cfg(test)]
mod errors_test;
pub mod interval;
mod names;
pub mod pipeline;
pub mod query;
pub mod relation;
pub mod statement;
pub mod text;
pub mod types;
