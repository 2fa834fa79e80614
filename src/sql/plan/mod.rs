//! From a query to what lanes do with rows, and what is done with the rows of closed windows.

pub mod closing;
pub mod compile;
pub(super) mod distinct_rows;
pub(super) mod duplicates;
pub mod emission;
pub(super) mod grouping;
pub mod lookup;
pub(super) mod nth_value;
pub mod pipeline;
pub mod processing_time;
pub mod relation;
pub(super) mod trace;
pub(super) mod twins;
pub(super) mod window_call;
pub(super) mod window_input;
pub mod window_node;
pub(super) mod windowed;
