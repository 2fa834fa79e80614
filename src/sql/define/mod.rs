//! What CREATE statements define: tables, their columns, types and options.

pub mod catalog;
pub mod computed;
pub mod database;
pub(super) mod ddl;
pub mod interval;
pub mod metadata;
pub mod small_table;
pub(super) mod table_options;
pub mod types;
