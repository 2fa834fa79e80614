//! A running query: its lanes, its clock, its epochs.

pub mod check;
mod cycle;
pub mod delivery;
pub mod discovery;
pub mod epoch;
pub mod explain;
pub mod generation;
pub mod input;
pub mod keeping;
pub mod lane;
pub mod lanes;
mod limits;
mod merge;
pub mod message;
pub mod mirror;
#[cfg(test)]
mod mirror_tests;
#[cfg(test)]
mod model_tests;
pub mod multiset;
pub mod outputs;
pub mod outside;
pub mod progress;
pub mod recovery;
mod retraction;
pub mod rows;
pub mod run;
pub mod scan;
pub mod settings;
pub mod table_input;
mod truncates;
