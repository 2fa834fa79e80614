//! Integration tests on real services: one program, for linking takes longer than most of them.
//!
//! Each test has topics, tables and job names of its own, so they run beside each other and again and again on one stack.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alignment;
mod avro;
mod cases;
mod cli;
mod clickhouse_sink;
mod crash;
mod damaged;
mod emission;
mod faults;
mod fencing;
mod filesystem;
mod formats;
mod kafka_sink;
mod kafka_source;
mod lookup;
mod malformed;
mod memory;
mod million;
mod mirror;
mod mirror_real;
mod object_store;
mod open_tables;
mod operator;
mod oracle;
mod pipelines;
mod positions;
mod proxy;
mod real_path;
mod replay;
mod run;
mod schema_change;
mod secrets;
mod stack;
mod stopping;
mod tls;
mod topic;
mod types;
mod verify;
mod windows;
