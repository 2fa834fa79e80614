//! A source's table beside its copy in ClickHouse, while changes keep flowing.
//!
//! ```text
//!  both sides: columns, primary key ──► pairing     which columns are compared, and how
//!        ▼
//!  compare   ranges of keys: count and hash on both sides ──differ──► halves ──► rows
//!        ▼                                                            equal ──► next range
//!        rows that differ are looked at again, until they agree or stay as they are
//!        ▼
//!  report    what is missing, extra, different; what was not compared, and why
//! ```
//!
//! The hashes are made by the databases themselves from one canonical text per value (`canon`), so that equal values have
//! equal hashes in MySQL, MariaDB, PostgreSQL and ClickHouse, and a range that agrees costs one row on the wire. What has no
//! such text (floating-point numbers, JSON, arrays) is fetched and compared as a value.
//!
//! `purge` deletes from the source what was just found equal. The command line is in `cli::verify`.

pub mod canon;
pub mod compare;
pub mod copy;
pub mod delivered;
pub mod dialect;
pub mod pairing;
pub mod purge;
pub mod report;
pub mod rows;
pub mod slice;
pub mod source;
pub mod statements;
pub mod value;
