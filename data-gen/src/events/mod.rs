//! Change events of a `customer` table, as Debezium's MariaDB connector writes them, made in memory.
//!
//! ```text
//! EventsConfig ─► EventGenerator ─► ChangeEvent { partition, key, value, … }    one at a time, into reused buffers
//!                 │ customers: the rows as they are now, for before images, updates and deletes
//!                 │ envelope:  the JSON, as Debezium writes it
//!                 └ partition: the partition that Kafka's own producer would choose for the key
//! ```
//!
//! Every event is a transaction of its own. The base clock starts at [`EventsConfig::start_ms`] and advances by
//! 1/[`EventsConfig::speed`] with each event; it is the time at which the change was made in the database
//! (`source.ts_ms`, `last_update`). The event time of a customer is when it registered (`create_date`): the base clock
//! less some disorder, and for a few late ones minutes or hours before that. It never changes afterwards.
//!
//! ```
//! use data_gen::events::{EventGenerator, EventsConfig};
//!
//! let mut events = EventGenerator::new(EventsConfig { total: 1000, ..EventsConfig::default() })?;
//! while let Some(event) = events.next_event() {
//!     assert!(event.partition < 4);
//! }
//! assert_eq!(events.summary().events(), 1000);
//! # Ok::<(), data_gen::events::ConfigError>(())
//! ```

mod config;
mod customers;
mod envelope;
mod generator;
mod partition;
mod text;

pub use config::{ConfigError, EventsConfig};
pub use generator::{ChangeEvent, EventGenerator, Op, Summary};
pub use partition::partition_of_key;
