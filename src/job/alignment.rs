//! While a backlog is read, partitions whose clocks run ahead of the slowest wait for it, so that few windows are open.
//!
//! ```text
//!  partition 0  ├──────────▪                clock 10:00, the slowest that has something to read
//!  partition 1  ├───────────────▪──┤        goes on: within max-drift
//!  partition 2  ├──────────────────┼───▪    waits
//!                                  └ limit
//! ```
//!
//! Only what there is to read counts: a partition that has been read to its end, idle or not, holds nobody back. Which
//! partition is read when has no part in the results, so lanes look at each other's clocks without any order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::input::{InputPlan, LaneWork};
use crate::connector::MAX_DRIFT as OPTION;
use crate::error::Result;
use crate::options::Options;

/// The default is so many of the longest windows…
const WINDOWS: i64 = 2;
/// …and at least this many milliseconds: what is fetched at a time is often more.
const LEAST: i64 = 10_000;

/// The partitions that wait for each other.
#[derive(Debug)]
pub struct Alignment {
    max_drift: i64,
    tracks: RwLock<Vec<Arc<Track>>>,
}

/// How far a partition is, for the others to see.
#[derive(Debug)]
pub struct Track {
    clock: AtomicI64,
    counts: AtomicBool,
}

impl Track {
    /// Notes where the partition's clock stands.
    pub fn set_clock(&self, clock: i64) {
        self.clock.store(clock, Relaxed);
    }

    /// Notes whether there is more of the partition to be read: only then others wait for it.
    pub fn set_counts(&self, counts: bool) {
        self.counts.store(counts, Relaxed);
    }

    /// Where the partition's clock stands.
    pub fn clock(&self) -> i64 {
        self.clock.load(Relaxed)
    }
}

impl Alignment {
    /// No partitions yet, of a table whose longest windows are of so many milliseconds; `None` where it is turned off.
    pub fn of(options: &Options, longest: i64) -> Result<Option<Arc<Self>>> {
        let default = longest.saturating_mul(WINDOWS).max(LEAST);
        let max_drift = match options.get(OPTION) {
            Some("0" | "off") => 0,
            _ => options.duration(OPTION, Duration::from_millis(default as u64))?.as_millis() as i64,
        };
        Ok((max_drift > 0).then(|| Arc::new(Self::new(max_drift))))
    }

    fn new(max_drift: i64) -> Self {
        Self { max_drift, tracks: RwLock::default() }
    }

    /// Adds a partition, which has something to be read as far as is known.
    pub fn join(&self, clock: i64) -> Arc<Track> {
        let track = Arc::new(Track { clock: AtomicI64::new(clock), counts: AtomicBool::new(true) });
        self.tracks.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&track));
        track
    }

    /// The greatest clock with which a partition may be read on.
    pub fn limit(&self) -> i64 {
        let tracks = self.tracks.read().unwrap_or_else(PoisonError::into_inner);
        let least = tracks.iter().filter(|track| track.counts.load(Relaxed)).map(|track| track.clock()).min();
        least.map_or(i64::MAX, |least| least.saturating_add(self.max_drift))
    }

    /// The clocks below which partitions may be in the way of others; `None` when all are near each other.
    pub fn laggards(&self) -> Option<i64> {
        let tracks = self.tracks.read().unwrap_or_else(PoisonError::into_inner);
        let greatest = tracks.iter().map(|track| track.clock()).max()?.saturating_sub(self.max_drift);
        tracks.iter().any(|track| track.clock() < greatest).then_some(greatest)
    }

    /// Whether there are partitions to wait for.
    pub fn has_several(&self) -> bool {
        self.tracks.read().unwrap_or_else(PoisonError::into_inner).len() > 1
    }
}

/// Has the tables wait for each other whose windows are of one query: those close when all of them are past their ends.
pub fn align_together(plans: &mut [InputPlan]) {
    let mut group_of: BTreeMap<usize, usize> = BTreeMap::new();
    let mut groups: Vec<usize> = (0..plans.len()).collect();
    for (place, plan) in plans.iter().enumerate().filter(|(_, plan)| plan.alignment.is_some()) {
        for pipeline in plan.pipelines.iter().filter(|it| matches!(it.work, LaneWork::Window { .. })) {
            let first = *group_of.entry(pipeline.number).or_insert(place);
            let (from, to) = (groups[place], groups[first]);
            groups.iter_mut().filter(|group| **group == from).for_each(|group| *group = to);
        }
    }
    let mut shared: BTreeMap<usize, i64> = BTreeMap::new();
    for (place, plan) in plans.iter().enumerate() {
        let drift = plan.alignment.as_ref().map_or(0, |it| it.max_drift);
        let entry = shared.entry(groups[place]).or_default();
        *entry = drift.max(*entry);
    }
    let shared: BTreeMap<usize, Arc<Alignment>> =
        shared.into_iter().map(|(group, drift)| (group, Arc::new(Alignment::new(drift)))).collect();
    for (place, plan) in plans.iter_mut().enumerate().filter(|(_, plan)| plan.alignment.is_some()) {
        plan.alignment = shared.get(&groups[place]).cloned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::watermark::BEGINNING_OF_TIME;

    #[test]
    fn nobody_waits_for_what_has_nothing_to_read() {
        let alignment = Alignment::new(100);
        assert_eq!(alignment.limit(), i64::MAX);
        let [slow, fast, new] = [500, 900, BEGINNING_OF_TIME].map(|clock| alignment.join(clock));
        assert_eq!(alignment.limit(), BEGINNING_OF_TIME + 100, "until each has shown a time");
        new.set_clock(600);
        assert_eq!((alignment.limit(), alignment.laggards()), (600, Some(800)));
        slow.set_counts(false);
        assert_eq!(alignment.limit(), 700);
        new.set_counts(false);
        assert_eq!(alignment.limit(), 1_000, "the one that is ahead waits for itself only");
        for track in [&slow, &new] {
            track.set_clock(fast.clock() - 100);
        }
        assert_eq!(alignment.laggards(), None);
    }

    #[test]
    fn two_windows_unless_the_table_says_otherwise() {
        let drift = |value: Option<&str>, longest| {
            let values = value.map(|value| (OPTION.to_owned(), value.to_owned()));
            Alignment::of(&Options::new("t", values.into_iter().collect()), longest)
                .map(|it| it.map(|alignment| alignment.max_drift))
        };
        assert_eq!(drift(None, 60_000).unwrap(), Some(120_000));
        assert_eq!(drift(None, 100).unwrap(), Some(10_000));
        assert_eq!(drift(None, i64::MAX).unwrap(), Some(i64::MAX));
        assert_eq!(drift(Some("5 s"), 60_000).unwrap(), Some(5_000));
        for off in ["0", "off", "0 s"] {
            assert_eq!(drift(Some(off), 60_000).unwrap(), None, "{off}");
        }
        let message = drift(Some("far"), 1).unwrap_err().to_string();
        assert!(message.contains("'scan.watermark.alignment.max-drift' is 'far'"), "{message}");
    }
}
