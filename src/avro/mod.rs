//! Avro's binary encoding, read in place: schemas, a cursor over values, container files.
//!
//! Nothing is turned into values of a general type; whoever walks a datum takes what it needs and skips the rest. Schemas are
//! parsed here and not by `apache-avro`, which forgets the attributes of primitive types: what Kafka Connect and Debezium say of
//! a value (`connect.name`, `connect.parameters`) is in just these.

pub(crate) mod container;
pub(crate) mod datum;
pub(crate) mod schema;
#[cfg(test)]
mod tests;
