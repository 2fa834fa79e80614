//! A running query: its lanes, its clock, its epochs.

pub mod check;
mod cycle;
pub mod delivery;
pub mod discovery;
pub mod epoch;
pub mod explain;
pub mod input;
pub mod lane;
pub mod lanes;
pub mod message;
#[cfg(test)]
mod model_tests;
pub mod outputs;
pub mod outside;
pub mod progress;
pub mod recovery;
pub mod rows;
pub mod run;
pub mod scan;
pub mod settings;
pub mod table_input;
