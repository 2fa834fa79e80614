//! Windows of event time: pure, no I/O, no clock of its own.

pub mod aggregate;
pub mod assigner;
pub mod calendar;
pub mod changed;
pub mod duplicates;
mod duplicates_saved;
#[cfg(test)]
mod duplicates_tests;
mod frozen;
mod live_pane;
pub mod lookup;
pub mod pane;
pub mod plan;
pub mod retract;
pub mod row_windows;
mod session;
mod session_fragments;
mod session_groups;
pub mod session_join;
mod session_merge;
mod session_points;
mod session_restore;
mod session_settled;
pub mod session_state;
#[cfg(test)]
mod session_tests;
pub mod settled;
mod slices;
pub mod stage;
pub mod unnest;
pub mod watermark;

/// Marks a row that has no event time, in arrays of event times (milliseconds since the epoch).
pub const NO_EVENT_TIME: i64 = i64::MIN;
