//! Tests of queries: a case has a query, records, and the rows that must come of them.
//!
//! A [`case`] is read from a file and run by the real job ([`run`]), with the records in place of its sources and memory in
//! place of its sinks, in one [`Manner`](run::Manner) or in many. What came is compared with what was expected
//! ([`check`]) and may be written back into the file ([`update`]).

#[cfg(test)]
mod aligned_test;
#[cfg(test)]
mod batch;
pub mod case;
#[cfg(test)]
mod cases_test;
pub mod cells;
pub mod check;
pub mod collect;
#[cfg(test)]
mod oracle;
#[cfg(test)]
pub(crate) mod properties;
pub mod record;
pub mod run;
#[cfg(test)]
mod simulation;
pub mod update;
