//! Sales and stock movements of a retailer, as plain JSON: what its tills and warehouses would send.
//!
//! ```text
//! RetailConfig ─► RetailGenerator ─► RetailEvent { kind, partition, key, value, … }    one at a time, into reused buffers
//!                                    `sales`      a product sold in a store
//!                                    `warehouse`  pieces of a product that came, went, were returned or lost
//! ```
//!
//! The base clock starts at [`RetailConfig::start_ms`] and advances by 1/[`RetailConfig::speed`] with each event. `event_time` is
//! the base clock less some disorder, and for a few late ones minutes or hours before that; it is written as ISO 8601 says, in one
//! form, or in each of several on request.
//!
//! ```
//! use data_gen::retail::{RetailConfig, RetailGenerator};
//!
//! let mut events = RetailGenerator::new(RetailConfig { total: 1000, ..RetailConfig::default() })?;
//! while let Some(event) = events.next_event() {
//!     assert!(event.partition < 4);
//! }
//! assert_eq!(events.summary().events(), 1000);
//! # Ok::<(), data_gen::retail::ConfigError>(())
//! ```

mod generator;
mod iso;

use std::time::Duration;

pub use self::generator::{Kind, RetailEvent, RetailGenerator, Summary};
use crate::units::{END_MS_MAX, Rate, Share};

/// What to generate. The same configuration gives the same events, byte for byte.
#[derive(Debug, Clone, PartialEq)]
pub struct RetailConfig {
    /// Events to make.
    pub total: u64,
    /// Share of the events that are sales; the others are stock movements.
    pub sales: Share,
    /// Stores, with the identifiers 1 to `stores`.
    pub stores: u16,
    /// Products, with the identifiers 1 to `products`.
    pub products: u32,
    /// Where all randomness comes from.
    pub seed: u64,
    /// Partitions of each topic.
    pub partitions: i32,
    /// Base clock of the first event, in milliseconds since 1970.
    pub start_ms: i64,
    /// Events in a second of event time.
    pub speed: Rate,
    /// Events lie at most so long before the base clock, save for the late ones.
    pub out_of_order: Duration,
    /// Share of the events that come late: minutes to hours beyond `out_of_order`.
    pub late: Share,
    /// Whether times come in all forms of ISO 8601 instead of one.
    pub any_iso: bool,
}

impl RetailConfig {
    /// The base clock one step after the last event, in milliseconds since 1970.
    pub fn end_ms(&self) -> i64 {
        self.start_ms.saturating_add(self.speed.span_ms(self.total))
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if self.stores == 0 || self.products == 0 {
            return Err(ConfigError::Nothing);
        }
        if self.partitions < 1 {
            return Err(ConfigError::NoPartitions(self.partitions));
        }
        if self.start_ms < 0 || self.end_ms() > END_MS_MAX {
            return Err(ConfigError::NoTime { start_ms: self.start_ms, end_ms: self.end_ms() });
        }
        Ok(())
    }
}

impl Default for RetailConfig {
    fn default() -> Self {
        Self {
            total: 1_000_000,
            sales: Share::percent(70.0),
            stores: 20,
            products: 1000,
            seed: 1,
            partitions: 4,
            start_ms: crate::events::EventsConfig::DEFAULT_START_MS,
            speed: Rate::THOUSAND_PER_SECOND,
            out_of_order: Duration::from_secs(5),
            late: Share::percent(0.1),
            any_iso: false,
        }
    }
}

/// A configuration from which nothing can be generated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// There must be a store, and something to sell.
    #[error("cannot generate sales for 0 stores or 0 products: give at least 1 of each")]
    Nothing,
    /// There must be a partition to write to.
    #[error("cannot spread events over {0} partitions: give at least 1")]
    NoPartitions(i32),
    /// Such times cannot be written.
    #[error("cannot generate events from {start_ms} to {end_ms} ms since 1970: stay between the years 1970 and 2105")]
    NoTime {
        /// Base clock at the start.
        start_ms: i64,
        /// Base clock at the end.
        end_ms: i64,
    },
}
