//! Clocks: how far event time has come, per partition and per table.
//!
//! A *partition's clock* is the greatest event time seen in it less the table's delay. Lateness is judged by the clock
//! that a row met in its own partition, so that it is a function of the topic alone. The *watermark* of a table is the
//! least clock of its partitions that are not idle; windows close at it. Since it is never ahead of any active
//! partition's clock, a row for a closed window is always late by its own clock too.

use std::collections::BTreeMap;

use crate::change::TopicPartition;

use super::NO_EVENT_TIME;

/// The clock of a partition that has brought no event time yet.
pub const BEGINNING_OF_TIME: i64 = i64::MIN;
/// The watermark at which every window closes.
pub const END_OF_TIME: i64 = i64::MAX;

/// A partition's clock, in milliseconds of event time. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionClock(i64);

impl Default for PartitionClock {
    fn default() -> Self {
        Self(BEGINNING_OF_TIME)
    }
}

impl PartitionClock {
    /// A clock that stands at a time.
    pub fn at(time: i64) -> Self {
        Self(time)
    }

    /// Where the clock stands.
    pub fn time(self) -> i64 {
        self.0
    }

    /// Appends to `met` the clock that each row met, in order, and moves on with them. Rows without an event time
    /// ([`NO_EVENT_TIME`]) meet a clock and do not move it.
    pub fn observe(&mut self, event_times: &[i64], delay: i64, met: &mut Vec<i64>) {
        met.extend(event_times.iter().map(|&event_time| {
            let clock = self.0;
            if event_time != NO_EVENT_TIME {
                self.0 = clock.max(event_time.saturating_sub(delay));
            }
            clock
        }));
    }

    /// Moves forward to `time`; never back.
    pub fn raise(&mut self, time: i64) {
        self.0 = self.0.max(time);
    }
}

/// What a lane says of one of its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionReport {
    /// The partition's clock.
    pub clock: i64,
    /// Whether it has been read to its end.
    pub at_end: bool,
    /// Wall-clock milliseconds when its last record arrived; when it was assigned, if none did.
    pub last_arrival: i64,
}

/// When a table's watermark may leave partitions behind. All in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleRules {
    /// A partition read to its end is idle when nothing came for this long.
    pub idle_timeout: i64,
    /// When every partition has been idle for this long, the watermark goes on with the wall clock.
    pub idle_close: i64,
}

/// The watermark of one table.
#[derive(Debug)]
pub struct TableWatermark {
    partitions: BTreeMap<TopicPartition, PartitionReport>,
    watermark: i64,
    /// `None` in bounded runs, where the results may not depend on the wall clock.
    idle: Option<IdleRules>,
    /// The last arrival before a silence, and the greatest clock then: silence counts from there, once, although the
    /// partitions' clocks are raised to the watermark meanwhile.
    silence: Option<(i64, i64)>,
}

impl TableWatermark {
    /// A watermark that stands at `watermark` (from a checkpoint, or [`BEGINNING_OF_TIME`]).
    pub fn new(watermark: i64, idle: Option<IdleRules>) -> Self {
        Self { partitions: BTreeMap::new(), watermark, idle, silence: None }
    }

    /// Where the watermark stands.
    pub fn time(&self) -> i64 {
        self.watermark
    }

    /// Takes in what a lane says of a partition.
    pub fn report(&mut self, partition: TopicPartition, report: PartitionReport) {
        self.partitions.insert(partition, report);
    }

    /// The partition that holds the watermark back at wall-clock time `now`, with its clock.
    pub fn held_by(&self, now: i64) -> Option<(&TopicPartition, i64)> {
        self.partitions
            .iter()
            .filter(|(_, report)| !self.is_idle(report, now))
            .map(|(partition, report)| (partition, report.clock))
            .min_by_key(|(_, clock)| *clock)
    }

    /// Moves the watermark at wall-clock time `now` (milliseconds) and returns it. It never moves back.
    pub fn advance(&mut self, now: i64) -> i64 {
        let candidate = match self.held_by(now) {
            Some((_, clock)) => clock,
            None => self.idle_watermark(now),
        };
        self.watermark = self.watermark.max(candidate);
        self.watermark
    }

    /// What is known of each partition, and whether it is idle.
    pub fn partitions(&self, now: i64) -> impl Iterator<Item = (&TopicPartition, &PartitionReport, bool)> {
        self.partitions.iter().map(move |(partition, report)| (partition, report, self.is_idle(report, now)))
    }

    /// When partitions are idle.
    pub fn idle_rules(&self) -> Option<IdleRules> {
        self.idle
    }

    fn is_idle(&self, report: &PartitionReport, now: i64) -> bool {
        self.idle.is_some_and(|rules| report.at_end && now - report.last_arrival >= rules.idle_timeout)
    }

    /// With all partitions idle, the greatest clock; after [`IdleRules::idle_close`], as much further as the wall clock
    /// has moved since the last record came.
    fn idle_watermark(&mut self, now: i64) -> i64 {
        let Some(rules) = self.idle else { return BEGINNING_OF_TIME };
        let Some(clock) = self.partitions.values().map(|report| report.clock).max() else { return BEGINNING_OF_TIME };
        let Some(last_arrival) = self.partitions.values().map(|report| report.last_arrival).max() else { return clock };
        let clock = match self.silence {
            Some((since, clock)) if since == last_arrival => clock,
            _ => clock,
        };
        self.silence = Some((last_arrival, clock));
        let silence = now - last_arrival;
        if clock == BEGINNING_OF_TIME || silence < rules.idle_close { clock } else { clock.saturating_add(silence) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: IdleRules = IdleRules { idle_timeout: 30_000, idle_close: 60_000 };

    fn partition(number: i32) -> TopicPartition {
        TopicPartition { topic: "t".into(), partition: number }
    }

    fn report(clock: i64, at_end: bool, last_arrival: i64) -> PartitionReport {
        PartitionReport { clock, at_end, last_arrival }
    }

    #[test]
    fn a_row_meets_the_clock_of_the_rows_before_it() {
        let mut clock = PartitionClock::default();
        let mut met = Vec::new();
        clock.observe(&[100, 90, NO_EVENT_TIME, 120], 10, &mut met);
        assert_eq!(met, [BEGINNING_OF_TIME, 90, 90, 90]);
        assert_eq!(clock.time(), 110);
        clock.raise(50);
        assert_eq!(clock.time(), 110, "a clock never goes back");
    }

    #[test]
    fn the_slowest_active_partition_holds_the_watermark() {
        let mut table = TableWatermark::new(BEGINNING_OF_TIME, Some(IDLE));
        table.report(partition(0), report(500, true, 0));
        table.report(partition(1), report(100, false, 0));
        assert_eq!(table.advance(1_000_000), 100, "a backlog is never idle, however long it lasts");
        table.report(partition(1), report(100, true, 999_000));
        assert_eq!(table.advance(1_000_000), 100, "at its end, but something came lately");
        table.report(partition(0), report(700, true, 1_028_000));
        assert_eq!(table.advance(1_029_000), 700, "partition 1 is idle now");
        table.report(partition(1), report(300, false, 1_030_000));
        assert_eq!(table.advance(1_030_000), 700, "a partition that comes back does not move the watermark back");
    }

    #[test]
    fn the_last_window_of_a_quiet_topic_closes() {
        let mut table = TableWatermark::new(BEGINNING_OF_TIME, Some(IDLE));
        table.report(partition(0), report(500, true, 1_000));
        table.report(partition(1), report(400, true, 0));
        assert_eq!(table.advance(31_000), 500, "all idle: nothing more is expected before the greatest clock");
        assert_eq!(table.advance(60_999), 500);
        assert_eq!(table.advance(61_000), 60_500, "after idle-close, on with the wall clock");
        assert_eq!(table.advance(71_000), 70_500);
    }

    #[test]
    fn silence_counts_once_although_clocks_are_raised_to_the_watermark() {
        let mut table = TableWatermark::new(BEGINNING_OF_TIME, Some(IDLE));
        let mut clock = 500;
        for second in 0..300 {
            table.report(partition(0), report(clock, true, 0));
            clock = clock.max(table.advance(second * 1_000));
        }
        assert_eq!(clock, 500 + 299_000);
    }

    #[test]
    fn bounded_runs_do_not_look_at_the_wall_clock() {
        let mut table = TableWatermark::new(BEGINNING_OF_TIME, None);
        table.report(partition(0), report(500, true, 0));
        table.report(partition(1), report(BEGINNING_OF_TIME, true, 0));
        assert_eq!(table.advance(i64::MAX), BEGINNING_OF_TIME);
    }
}
