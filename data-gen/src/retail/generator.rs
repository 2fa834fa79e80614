//! The generator itself.

use std::io::Write;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{ConfigError, RetailConfig, iso};
use crate::events::partition_of_key;

/// Late events come at least so long after `out_of_order` has passed, in milliseconds …
const LATE_MS_MIN: i64 = 2 * 60 * 1000;
/// … and at most so long.
const LATE_MS_MAX: i64 = 4 * 60 * 60 * 1000;
/// More disorder than anybody asks for, and far from overflowing: a thousand years, in milliseconds.
const OUT_OF_ORDER_MS_MAX: i64 = 1000 * 366 * 24 * 60 * 60 * 1000;

const PAYMENTS: [&str; 4] = ["card", "cash", "voucher", "invoice"];

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A product was sold.
    Sale,
    /// A product's stock changed.
    Movement,
}

impl Kind {
    /// The topic that such events go to by default.
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Sale => "sales",
            Self::Movement => "warehouse",
        }
    }
}

/// One record; key and value are good until the next one is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetailEvent<'a> {
    /// What it is about.
    pub kind: Kind,
    /// Where it belongs: sales by their store, movements by their product.
    pub partition: i32,
    /// The store's or the product's identifier.
    pub key: &'a [u8],
    /// The event, as JSON.
    pub value: &'a [u8],
    /// When it was sent, in milliseconds since 1970: the timestamp for Kafka.
    pub timestamp_ms: i64,
    /// When it happened, in milliseconds since 1970: `event_time`.
    pub event_time_ms: i64,
    /// The store of a sale, the warehouse of a movement.
    pub place_id: u32,
    /// The product.
    pub product_id: u32,
    /// Pieces: sold, or by how many the stock changed.
    pub pieces: i32,
    /// Cents that the sale brought; 0 of movements.
    pub cents: i64,
}

/// What has been generated so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Sales.
    pub sales: u64,
    /// Stock movements.
    pub movements: u64,
    /// Events that came later than `out_of_order` allows.
    pub late: u64,
    /// Earliest and latest event time, in milliseconds since 1970; `None` before the first.
    pub event_times_ms: Option<(i64, i64)>,
    /// Bytes in keys and values.
    pub bytes: u64,
}

impl Summary {
    /// All events.
    pub const fn events(&self) -> u64 {
        self.sales + self.movements
    }
}

/// Makes the events, one after the other.
#[derive(Debug)]
pub struct RetailGenerator {
    config: RetailConfig,
    out_of_order_ms: i64,
    rng: ChaCha8Rng,
    key: Vec<u8>,
    value: Vec<u8>,
    summary: Summary,
}

impl RetailGenerator {
    /// Prepares to generate.
    ///
    /// # Errors
    ///
    /// When the configuration asks for something that cannot be.
    pub fn new(config: RetailConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            out_of_order_ms: i64::try_from(config.out_of_order.as_millis())
                .unwrap_or(i64::MAX)
                .min(OUT_OF_ORDER_MS_MAX),
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            config,
            key: Vec::new(),
            value: Vec::new(),
            summary: Summary::default(),
        })
    }

    /// What has been asked for.
    pub const fn config(&self) -> &RetailConfig {
        &self.config
    }

    /// What has been generated so far.
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The next event; `None` when all have been made.
    pub fn next_event(&mut self) -> Option<RetailEvent<'_>> {
        if self.summary.events() >= self.config.total {
            return None;
        }
        let since_start = self.config.speed.time_for(self.summary.events());
        // Cannot overflow: the configuration has been checked.
        let now_ms = self.config.start_ms + since_start.as_millis() as i64;
        let time_ms = self.event_time_ms(now_ms);
        let form = self.config.any_iso.then(|| self.rng.random_range(0..64_usize));
        let product_id = self.rng.random_range(1..=self.config.products);
        self.key.clear();
        self.value.clear();
        let is_sale = self.rng.random::<f64>() < self.config.sales.as_fraction();
        let event =
            if is_sale { self.sale(time_ms, form, product_id) } else { self.movement(time_ms, form, product_id) };
        let (kind, place_id, pieces, cents, event_time_ms) = event;
        self.summary.bytes += (self.key.len() + self.value.len()) as u64;
        let (first, last) = self.summary.event_times_ms.unwrap_or((event_time_ms, event_time_ms));
        self.summary.event_times_ms = Some((first.min(event_time_ms), last.max(event_time_ms)));
        Some(RetailEvent {
            kind,
            partition: partition_of_key(&self.key, self.config.partitions),
            key: &self.key,
            value: &self.value,
            timestamp_ms: now_ms,
            event_time_ms,
            place_id,
            product_id,
            pieces,
            cents,
        })
    }

    fn event_time_ms(&mut self, now_ms: i64) -> i64 {
        if self.rng.random::<f64>() < self.config.late.as_fraction() {
            self.summary.late += 1;
            return now_ms - self.out_of_order_ms - self.rng.random_range(LATE_MS_MIN..=LATE_MS_MAX);
        }
        now_ms - self.rng.random_range(0..=self.out_of_order_ms)
    }

    fn sale(&mut self, time_ms: i64, form: Option<usize>, product_id: u32) -> (Kind, u32, i32, i64, i64) {
        self.summary.sales += 1;
        let store_id = self.rng.random_range(1..=u32::from(self.config.stores));
        let quantity = self.rng.random_range(1..=5);
        // A product has one price, of 1.00 to 199.99.
        let price = 100 + i64::from(product_id.wrapping_mul(2_654_435_761) % 19_900);
        let payment = PAYMENTS[self.rng.random_range(0..PAYMENTS.len())];
        // Writing into a vector does not fail.
        let _ = write!(self.key, "{store_id}");
        let _ = write!(self.value, "{{\"sale_id\":{},\"event_time\":\"", self.summary.sales);
        let said_ms = iso::push(&mut self.value, time_ms, form);
        let _ = write!(
            self.value,
            "\",\"store_id\":{store_id},\"product_id\":{product_id},\"quantity\":{quantity},\"unit_price\":{}.{:02},\"payment\":\"{payment}\"}}",
            price / 100,
            price % 100
        );
        (Kind::Sale, store_id, quantity, i64::from(quantity) * price, said_ms)
    }

    fn movement(&mut self, time_ms: i64, form: Option<usize>, product_id: u32) -> (Kind, u32, i32, i64, i64) {
        self.summary.movements += 1;
        let warehouse_id = self.rng.random_range(1..=4_u32);
        let (reason, pieces) = match self.rng.random_range(0..100) {
            0..30 => ("delivery", self.rng.random_range(20..=200)),
            30..90 => ("pick", -self.rng.random_range(1..=40)),
            90..98 => ("return", self.rng.random_range(1..=5)),
            _ => ("loss", -self.rng.random_range(1..=3)),
        };
        let _ = write!(self.key, "{product_id}");
        let _ = write!(self.value, "{{\"movement_id\":{},\"event_time\":\"", self.summary.movements);
        let said_ms = iso::push(&mut self.value, time_ms, form);
        let _ = write!(
            self.value,
            "\",\"warehouse_id\":{warehouse_id},\"product_id\":{product_id},\"change\":{pieces},\"reason\":\"{reason}\"}}"
        );
        (Kind::Movement, warehouse_id, pieces, 0, said_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Share;

    fn values(config: RetailConfig) -> Vec<(Kind, String)> {
        let mut events = RetailGenerator::new(config).unwrap();
        let mut values = Vec::new();
        while let Some(event) = events.next_event() {
            values.push((event.kind, String::from_utf8(event.value.to_vec()).unwrap()));
        }
        values
    }

    #[test]
    fn the_same_seed_gives_the_same_events() {
        let config = RetailConfig { total: 2000, any_iso: true, ..RetailConfig::default() };
        assert_eq!(values(config.clone()), values(config.clone()));
        assert_ne!(values(config.clone()), values(RetailConfig { seed: 2, ..config }));
    }

    #[test]
    fn events_are_json_and_shares_are_kept() {
        let mut events = RetailGenerator::new(RetailConfig { total: 20_000, ..RetailConfig::default() }).unwrap();
        let mut cents = 0;
        while let Some(event) = events.next_event() {
            let value: serde_json::Value = serde_json::from_slice(event.value).unwrap();
            assert_eq!(value["product_id"], event.product_id);
            assert_eq!(value["event_time"].as_str().unwrap().len(), "2026-11-21T07:06:20.123Z".len());
            match event.kind {
                Kind::Sale => {
                    let price = (value["unit_price"].as_f64().unwrap() * 100.0).round() as i64;
                    assert_eq!(price * i64::from(event.pieces), event.cents);
                    cents += event.cents;
                }
                Kind::Movement => assert_eq!(value["change"], event.pieces),
            }
        }
        assert!(cents > 0);
        let summary = events.summary();
        assert_eq!(summary.events(), 20_000);
        assert!((13_600..14_400).contains(&summary.sales), "{summary:?}");
        assert!((5..60).contains(&summary.late), "{summary:?}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for config in [
            RetailConfig { stores: 0, ..RetailConfig::default() },
            RetailConfig { partitions: 0, ..RetailConfig::default() },
            RetailConfig { start_ms: -1, ..RetailConfig::default() },
        ] {
            assert!(RetailGenerator::new(config).is_err());
        }
        let none = RetailConfig { total: 10, sales: Share::percent(0.0), ..RetailConfig::default() };
        assert!(values(none).iter().all(|(kind, _)| *kind == Kind::Movement));
    }
}
