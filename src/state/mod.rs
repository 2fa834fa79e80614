//! What a lane remembers of a table's rows, so that changes which do not say all can be made whole.
//!
//! Knows nothing of Kafka or ClickHouse and has no clock: a function of a partition's changes in their order. Its only I/O is a
//! store on disk for rows that have no room in memory ([`memory`]).

pub mod bytes;
mod disk_rows;
pub mod images;
pub mod keyed;
pub mod memory;
pub mod rows_map;
pub mod saving;
mod scratch;
pub mod whole;

pub use images::BeforeImages;
pub use keyed::{KeyedRows, Resolved};
pub use memory::Memory;
pub use rows_map::{Part, Save};
pub use saving::PartitionRows;
pub use whole::{Was, Whole};

/// What takes the key and the image of each row.
type Take<'a> = dyn FnMut(&[u8], &[u8]) -> crate::error::Result<()> + 'a;
/// The same, until it says that it has seen enough: by `false`.
type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> crate::error::Result<bool> + 'a;
