//! What a lane remembers of a table's rows, so that changes which do not say all can be made whole.
//!
//! Knows nothing of Kafka or ClickHouse, has no I/O and no clock: a function of a partition's changes in their order.

pub mod bytes;
pub mod images;
pub mod keyed;
pub mod rows_map;
pub mod whole;

pub use images::BeforeImages;
pub use keyed::{KeyedRows, PartitionRows, Resolved};
pub use whole::{Was, Whole};
