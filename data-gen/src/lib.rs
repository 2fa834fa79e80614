//! Fake shops, for demos, tests and benchmarks of Highwater.
//!
//! The same customers come in two ways:
//!
//! - [`events`] makes Debezium change events of a `customer` table in memory, some hundreds of thousands a second, and
//!   [`kafka`] publishes them: no database, no connector, for load.
//! - `shop` (feature `shop`) fills the tables of a real MySQL, MariaDB or PostgreSQL, from where Debezium takes them:
//!   the whole path, for demos and end-to-end tests.
//!
//! [`retail`] makes sales and stock movements as plain JSON, for queries without a database behind them.
//!
//! The first two draw their customers from [`people`] and take shares, rates and durations as [`units`]. All that is random
//! comes from one seed: the same seed gives the same people, in the same order.

// A test says best by a panic what it did not find.
#![cfg_attr(test, allow(clippy::panic, clippy::unwrap_used))]

pub mod events;
pub mod kafka;
pub mod people;
pub mod retail;
#[cfg(feature = "shop")]
pub mod shop;
pub mod units;
