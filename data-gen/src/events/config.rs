//! What to generate.

use std::time::Duration;

use crate::units::{END_MS_MAX, Rate, Share};

/// What to generate. The same configuration gives the same events, byte for byte.
#[derive(Debug, Clone, PartialEq)]
pub struct EventsConfig {
    /// Change events to make. The tombstones that follow deletes are not counted.
    pub total: u64,
    /// Customers register in one of so many stores, with the identifiers 1 to `stores`.
    pub stores: u16,
    /// Where all randomness comes from.
    pub seed: u64,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Base clock of the first event, in milliseconds since 1970.
    pub start_ms: i64,
    /// Events in a second of event time.
    pub speed: Rate,
    /// Registrations lie at most so long before the base clock, save for the late ones.
    pub out_of_order: Duration,
    /// Share of the registrations that come late: minutes to hours beyond `out_of_order`.
    pub late: Share,
    /// Share of the events that are updates.
    pub updates: Share,
    /// Share of the events that are deletes.
    pub deletes: Share,
    /// Whether a record without a value follows each delete, as Debezium does it by default.
    pub tombstones: bool,
}

impl EventsConfig {
    /// 2026-01-01T00:00:00Z, the base clock of the first event unless something else is asked for.
    pub const DEFAULT_START_MS: i64 = 1_767_225_600_000;

    /// The base clock one step after the last event, in milliseconds since 1970.
    pub fn end_ms(&self) -> i64 {
        self.start_ms.saturating_add(self.speed.span_ms(self.total))
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.stores == 0 {
            return Err(ConfigError::NoStores);
        }
        if self.partitions < 1 {
            return Err(ConfigError::NoPartitions(self.partitions));
        }
        if self.total > u64::from(u32::MAX - u32::from(self.stores)) {
            return Err(ConfigError::TooMany(self.total));
        }
        if self.updates.as_fraction() + self.deletes.as_fraction() >= 1.0 {
            return Err(ConfigError::NoInserts { updates: self.updates, deletes: self.deletes });
        }
        if self.start_ms < 0 || self.end_ms() > END_MS_MAX {
            return Err(ConfigError::NoTime { start_ms: self.start_ms, end_ms: self.end_ms() });
        }
        Ok(())
    }
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            total: 1_000_000,
            stores: 10,
            seed: 1,
            partitions: 4,
            start_ms: Self::DEFAULT_START_MS,
            speed: Rate::THOUSAND_PER_SECOND,
            out_of_order: Duration::from_secs(5),
            late: Share::percent(0.1),
            updates: Share::percent(12.0),
            deletes: Share::percent(3.0),
            tombstones: true,
        }
    }
}

/// A configuration from which nothing can be generated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// There must be a store to register in.
    #[error("cannot generate customers for 0 stores: give at least 1")]
    NoStores,
    /// There must be a partition to write to.
    #[error("cannot spread events over {0} partitions: give at least 1")]
    NoPartitions(i32),
    /// Customers are numbered with 32 bits.
    #[error("cannot generate {0} events: customer identifiers have 32 bits, so give at most 4,294,000,000")]
    TooMany(u64),
    /// Without inserts there is nothing to update or delete.
    #[error("cannot make {updates} updates and {deletes} deletes: together they must be less than 100%")]
    NoInserts {
        /// Share of updates asked for.
        updates: Share,
        /// Share of deletes asked for.
        deletes: Share,
    },
    /// Such times cannot be written as `last_update`.
    #[error("cannot generate events from {start_ms} to {end_ms} ms since 1970: stay between the years 1970 and 2105")]
    NoTime {
        /// Base clock at the start.
        start_ms: i64,
        /// Base clock at the end.
        end_ms: i64,
    },
}
