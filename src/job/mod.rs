//! A running query: its lanes, its clock, its epochs.

pub mod alignment;
pub mod blocking;
mod changed_query;
pub mod check;
mod counting;
mod cycle;
pub mod delivery;
mod derived;
pub mod discovery;
pub mod emission;
pub mod epoch;
pub mod explain;
pub mod fencing;
mod filling;
pub mod generation;
pub mod input;
pub mod keeping;
pub mod lane;
pub mod lanes;
mod limits;
pub mod lookup;
pub mod memory;
mod merge;
pub mod message;
pub mod mirror;
#[cfg(test)]
mod mirror_tests;
#[cfg(test)]
mod model_tests;
pub mod multiset;
mod nested;
pub mod outputs;
pub mod outside;
pub mod progress;
pub mod recovery;
mod retraction;
mod revising;
pub mod rows;
pub mod run;
pub mod scan;
pub mod set_back;
pub mod settings;
mod small_rows;
pub mod table_input;
pub mod ticker;
mod truncates;
mod waiting;
