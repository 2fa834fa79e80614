//! Random streams: disorder, late events, nulls, silence, restarts.

use super::scenario::{Event, Item, Shape};

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
        items.push(Item::Event(Event {
            partition: partition as i32,
            time: (!random.one_in(20)).then(|| fronts[partition] - back),
            name: random.pick(&[Some("a"), Some("b"), Some("c"), None]),
            value: (!random.one_in(5)).then(|| random.below(21) as i64 - 10),
            op: random.pick(b"ccrud"),
        }));
        if has_advanced {
            // What a partition brings that was idle is judged by where the watermark is: that must not be left to chance.
            items.push(Item::Advance(0));
        }
    }
    items
}
