//! Random streams: disorder, late events, nulls, silence, restarts.

use std::collections::BTreeMap;

use super::scenario::{Event, Item, Reading, Row, Shape};

/// A small generator of numbers: they must only be various, and the same for a seed.
#[derive(Debug)]
pub(in crate::testing) struct Random(u64);

impl Random {
    pub(in crate::testing) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03);
        random.below(2);
        random
    }

    pub(in crate::testing) fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    pub(in crate::testing) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(in crate::testing) fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }
}

/// A stream for a query: partitions whose times mostly go up, each at its own pace.
pub(super) fn stream(shape: &Shape, random: &mut Random) -> Vec<Item> {
    let partitions = 1 + random.below(3) as usize;
    let disorder = random.pick(&[0, 1_000, 5_000, 30_000]);
    let pace = random.pick(&[500, 2_000, 8_000]);
    let is_idle = random.one_in(4);
    let restarts = if random.one_in(3) { 8 } else { 1_000 };
    let mut fronts = vec![0_i64; partitions];
    let mut table = Rows::default();
    let mut items = Vec::new();
    let mut has_advanced = false;
    for _ in 0..random.below(50) {
        if is_idle && random.one_in(6) {
            items.push(Item::Advance(1_000 * random.below(shape.idle_close as u64 / 700) as i64));
            has_advanced = true;
        }
        if random.one_in(restarts) {
            items.push(Item::Restart);
        }
        let partition = random.below(partitions as u64) as usize;
        fronts[partition] += random.below(pace) as i64;
        let back = if random.one_in(3) { random.below(disorder + 1) as i64 } else { 0 };
        let jump = if random.one_in(25) { random.below(120_000) as i64 } else { 0 };
        fronts[partition] += jump;
        let row = Row {
            time: (!random.one_in(20)).then(|| fronts[partition] - back),
            name: random.pick(&[Some("a"), Some("b"), Some("c"), None]),
            value: (!random.one_in(5)).then(|| random.below(21) as i64 - 10),
        };
        items.push(Item::Event(match shape.reading {
            Reading::Table { kept } => table.change(partition as i32, row, kept, random),
            _ => Event { partition: partition as i32, row, op: random.pick(b"ccrud"), ..Event::default() },
        }));
        if has_advanced {
            // What a partition brings that was idle is judged by where the watermark is: that must not be left to chance.
            items.push(Item::Advance(0));
        }
    }
    items
}

/// The rows of a table whose changes come.
#[derive(Default)]
struct Rows(BTreeMap<(i32, u64), Row>);

impl Rows {
    /// A change of some row of a partition, which is as this one after it, or nearly.
    fn change(&mut self, partition: i32, mut row: Row, kept: bool, random: &mut Random) -> Event {
        if !kept {
            // Nobody could tell a row of nulls from one that is left out.
            row.time = row.time.or(Some(0));
        }
        let id = 10 * random.below(5) + partition as u64;
        let known = self.0.get(&(partition, id)).copied();
        // What nobody had heard of.
        let is_stray = kept && random.one_in(40);
        let op = match known {
            None if !is_stray => random.pick(b"ccr"),
            // A snapshot that is taken again, an event that comes twice.
            Some(_) if kept && random.one_in(6) => random.pick(b"rrc"),
            _ => random.pick(b"uuud"),
        };
        let tells = !kept || random.one_in(2);
        if let Some(known) = known {
            row.time = if random.one_in(3) { row.time } else { known.time };
            row.name = if random.one_in(2) { row.name } else { known.name };
            row.value = if random.one_in(2) { row.value } else { known.value };
        }
        match op {
            b'd' => self.0.remove(&(partition, id)),
            _ => self.0.insert((partition, id), row),
        };
        Event { partition, row: known.filter(|_| op == b'd').unwrap_or(row), op, id, before: known.filter(|_| tells) }
    }
}
