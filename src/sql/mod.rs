//! Query files → pipelines: text, statements, plans, and everything that can be said of them before they run.

mod cast_names;
pub mod catalog;
pub mod closing;
pub mod compile;
pub mod computed;
pub mod database;
mod ddl;
pub mod diagnose;
mod distinct_rows;
#[cfg(test)]
mod docs_test;
mod duplicates;
pub mod emission;
#[cfg(test)]
mod errors_test;
mod functions;
mod group_keys;
mod group_windows;
mod grouping;
pub mod interval;
pub mod lookup;
pub mod metadata;
mod names;
mod nth_value;
mod other_names;
mod patterns;
pub mod pipeline;
pub mod processing_time;
pub mod query;
pub mod refusal;
pub mod relation;
pub mod small_table;
mod spark;
mod standard;
pub mod statement;
pub mod submission;
mod syntax;
mod table_options;
pub mod text;
mod tokens;
mod trace;
pub mod types;
mod warnings;
mod window_call;
pub mod window_node;
mod window_words;
mod windowed;
