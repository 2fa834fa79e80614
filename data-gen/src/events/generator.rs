//! The generator itself.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::config::{ConfigError, EventsConfig};
use super::customers::{Customer, Customers, RowWriter};
use super::envelope::{BinlogPosition, Change, write_key};
use super::partition::partition_of_key;

/// Late registrations come at least so long after `out_of_order` has passed, in milliseconds …
const LATE_MS_MIN: i64 = 2 * 60 * 1000;

/// … and at most so long.
const LATE_MS_MAX: i64 = 4 * 60 * 60 * 1000;

/// More disorder than anybody asks for, and far from overflowing: a thousand years, in milliseconds.
const OUT_OF_ORDER_MS_MAX: i64 = 1000 * 366 * 24 * 60 * 60 * 1000;

/// What a record says about its customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Registered: there is an after image.
    Insert,
    /// Moved to another store, or has another e-mail address: there are both images.
    Update,
    /// Removed: there is a before image.
    Delete,
    /// The record without a value after a delete, which lets Kafka's compaction forget the key. No event.
    Tombstone,
}

impl Op {
    /// The `op` in Debezium's envelope; empty for a tombstone, which has none.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Insert => "c",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Tombstone => "",
        }
    }
}

/// One record for the topic; key and value are good until the next one is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeEvent<'a> {
    /// What the record says.
    pub op: Op,
    /// Where it belongs. All records of a key have the same partition.
    pub partition: i32,
    /// The primary key, as JSON: `{"customer_id":42}`.
    pub key: &'a [u8],
    /// Debezium's envelope, as JSON; `None` in a tombstone.
    pub value: Option<&'a [u8]>,
    /// When Debezium saw the change, in milliseconds since 1970; the envelope's `ts_ms`, and the timestamp for Kafka.
    pub timestamp_ms: i64,
    /// When the customer registered, in milliseconds since 1970; `create_date` in every image of it.
    pub event_time_ms: i64,
}

/// What has been generated so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Registrations, the late ones among them.
    pub inserts: u64,
    /// Registrations that came later than `out_of_order` allows.
    pub late_inserts: u64,
    /// Changes of customers.
    pub updates: u64,
    /// Removed customers.
    pub deletes: u64,
    /// Records without a value.
    pub tombstones: u64,
    /// Earliest and latest registration, in milliseconds since 1970; `None` before the first.
    pub event_times_ms: Option<(i64, i64)>,
    /// Bytes in keys and values.
    pub bytes: u64,
}

impl Summary {
    /// Change events.
    pub const fn events(&self) -> u64 {
        self.inserts + self.updates + self.deletes
    }

    /// Records for Kafka: the events and the tombstones.
    pub const fn records(&self) -> u64 {
        self.events() + self.tombstones
    }
}

/// Makes the events, one after the other, as a database would log them.
#[derive(Debug)]
pub struct EventGenerator {
    config: EventsConfig,
    out_of_order_ms: i64,
    rng: ChaCha8Rng,
    rows: RowWriter,
    customers: Customers,
    last_customer_id: u32,
    binlog: BinlogPosition,
    key: Vec<u8>,
    value: Vec<u8>,
    /// The delete that was just returned, when its tombstone comes next.
    deleted: Option<Stamp>,
    summary: Summary,
}

/// What a record carries besides its key and value.
#[derive(Debug, Clone, Copy)]
struct Stamp {
    partition: i32,
    timestamp_ms: i64,
    event_time_ms: i64,
}

impl EventGenerator {
    /// Prepares to generate: draws the people.
    ///
    /// # Errors
    ///
    /// When the configuration asks for something that cannot be.
    pub fn new(config: EventsConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        let rows = RowWriter::new(config.seed, config.stores, &mut rng);
        Ok(Self {
            out_of_order_ms: i64::try_from(config.out_of_order.as_millis())
                .unwrap_or(i64::MAX)
                .min(OUT_OF_ORDER_MS_MAX),
            config,
            rng,
            rows,
            customers: Customers::default(),
            last_customer_id: 0,
            binlog: BinlogPosition::default(),
            key: Vec::new(),
            value: Vec::new(),
            deleted: None,
            summary: Summary::default(),
        })
    }

    /// What has been asked for.
    pub const fn config(&self) -> &EventsConfig {
        &self.config
    }

    /// What has been generated so far.
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The next record; `None` when all have been made.
    pub fn next_event(&mut self) -> Option<ChangeEvent<'_>> {
        if let Some(stamp) = self.deleted.take() {
            return Some(self.tombstone(stamp));
        }
        if self.summary.events() >= self.config.total {
            return None;
        }
        let made_us = self.base_clock_us();
        let (op, before, after) = self.next_change(made_us);
        self.binlog.advance(op);
        let change = Change { op, before: before.as_ref(), after: after.as_ref(), made_us, at: &self.binlog };
        change.write(&mut self.value, &self.rows);
        let timestamp_ms = change.captured_ms();
        let customer = after.or(before)?;
        write_key(&mut self.key, customer.id);
        let stamp = Stamp {
            partition: partition_of_key(&self.key, self.config.partitions),
            timestamp_ms,
            event_time_ms: customer.created_ms,
        };
        self.count(op, &stamp);
        if op == Op::Delete && self.config.tombstones {
            self.deleted = Some(stamp);
        }
        Some(self.record(op, stamp))
    }

    /// When the next change is made, in microseconds since 1970.
    fn base_clock_us(&self) -> i64 {
        let since_start = self.config.speed.time_for(self.summary.events());
        // Cannot overflow: the configuration has been checked.
        self.config.start_ms * 1000 + since_start.as_micros() as i64
    }

    /// Draws what happens next, and lets it happen. There is always an image before or after.
    fn next_change(&mut self, made_us: i64) -> (Op, Option<Customer>, Option<Customer>) {
        let draw: f64 = self.rng.random();
        let deletes = self.config.deletes.as_fraction();
        let change = if draw < deletes {
            self.customers.remove(&mut self.rng).map(|gone| (Op::Delete, Some(gone), None))
        } else if draw < deletes + self.config.updates.as_fraction() {
            self.update(made_us).map(|(before, after)| (Op::Update, Some(before), Some(after)))
        } else {
            None
        };
        // Also while there is nobody to update or delete.
        change.unwrap_or_else(|| (Op::Insert, None, Some(self.register(made_us))))
    }

    fn register(&mut self, made_us: i64) -> Customer {
        self.last_customer_id += 1;
        let made_ms = made_us.div_euclid(1000);
        let created_ms = if self.rng.random::<f64>() < self.config.late.as_fraction() {
            self.summary.late_inserts += 1;
            made_ms - self.out_of_order_ms - self.rng.random_range(LATE_MS_MIN..=LATE_MS_MAX)
        } else {
            made_ms - self.rng.random_range(0..=self.out_of_order_ms)
        };
        let customer = Customer {
            created_ms,
            id: self.last_customer_id,
            updated_s: epoch_seconds(made_us),
            store_id: self.rng.random_range(1..=self.config.stores),
            email_changes: 0,
        };
        self.customers.add(customer, &mut self.rng);
        customer
    }

    fn update(&mut self, made_us: i64) -> Option<(Customer, Customer)> {
        let stores = self.config.stores;
        let moves = stores > 1 && self.rng.random();
        // Added to the store, modulo the number of stores, it never gives the same store.
        let distance = if moves { self.rng.random_range(1..stores) } else { 0 };
        let customer = self.customers.pick(&mut self.rng)?;
        let before = *customer;
        if moves {
            customer.store_id = other_store(before.store_id, distance, stores);
        } else {
            customer.email_changes = before.email_changes.wrapping_add(1);
        }
        customer.updated_s = epoch_seconds(made_us);
        Some((before, *customer))
    }

    fn count(&mut self, op: Op, stamp: &Stamp) {
        match op {
            Op::Insert => {
                self.summary.inserts += 1;
                let time = stamp.event_time_ms;
                let (first, last) = self.summary.event_times_ms.unwrap_or((time, time));
                self.summary.event_times_ms = Some((first.min(time), last.max(time)));
            }
            Op::Update => self.summary.updates += 1,
            Op::Delete => self.summary.deletes += 1,
            Op::Tombstone => self.summary.tombstones += 1,
        }
        let value_bytes = if op == Op::Tombstone { 0 } else { self.value.len() };
        self.summary.bytes += (self.key.len() + value_bytes) as u64;
    }

    fn tombstone(&mut self, stamp: Stamp) -> ChangeEvent<'_> {
        self.count(Op::Tombstone, &stamp);
        self.record(Op::Tombstone, stamp)
    }

    fn record(&self, op: Op, stamp: Stamp) -> ChangeEvent<'_> {
        let Stamp { partition, timestamp_ms, event_time_ms } = stamp;
        let value = (op != Op::Tombstone).then_some(self.value.as_slice());
        ChangeEvent { op, partition, key: &self.key, value, timestamp_ms, event_time_ms }
    }
}

fn other_store(store_id: u16, distance: u16, stores: u16) -> u16 {
    let (store, distance, stores) = (u32::from(store_id), u32::from(distance), u32::from(stores));
    // Fits, because it is at most `stores`.
    ((store - 1 + distance) % stores + 1) as u16
}

fn epoch_seconds(epoch_us: i64) -> u32 {
    // Fits, because the configuration has been checked.
    u32::try_from(epoch_us.div_euclid(1_000_000)).unwrap_or_default()
}

#[cfg(test)]
#[path = "generator_tests.rs"]
mod tests;
