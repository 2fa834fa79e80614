//! The fragments of sessions on a lane: found by key, and by when they close.
//!
//! Neither looks through all of them: what is open may be millions, what closes at a cut few. The queue has an entry per fragment, under the time
//! at which it closed when it got there; one that has grown since is put back when its turn comes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use super::session_points::{Point, Points};
use super::session_state::{Brief, Reach, SessionPlan};
use super::watermark::BEGINNING_OF_TIME;
use crate::change::TopicPartition;

/// A stretch of rows. Milliseconds.
#[derive(Debug, Clone)]
pub(super) struct Fragment {
    /// Tells it from all others that the lane has ever had. Without points, its groups are under it, too.
    pub(super) number: u64,
    /// Of which partition, by its place.
    pub(super) source: u32,
    pub(super) key: Arc<[u8]>,
    pub(super) start: i64,
    pub(super) last: i64,
    /// Where there are points, they know.
    pub(super) reach: Reach,
    /// The numbers of fragments that have joined it, which have groups under theirs. Not of those with points.
    pub(super) joined: Vec<u64>,
    /// Its times, where rows are taken back: groups are under the numbers of these.
    pub(super) points: Option<Box<Points>>,
    /// Under which time it is in the queue.
    queued: i64,
    /// Whether something of it is among what has changed.
    pub(super) is_touched: bool,
    /// Whether its own number is.
    is_noted: bool,
}

impl Fragment {
    /// A stretch, which is in no queue yet.
    pub(super) fn new(number: u64, source: usize, key: Arc<[u8]>, (start, last): (i64, i64), reach: Reach) -> Self {
        let (joined, points) = (Vec::new(), None);
        Self {
            number,
            source: source as u32,
            key,
            start,
            last,
            reach,
            joined,
            points,
            queued: 0,
            is_touched: false,
            is_noted: false,
        }
    }

    /// Where it begins for others.
    pub(super) fn reach(&self, allowed_lateness: i64) -> Reach {
        self.points.as_ref().and_then(|points| points.reach(allowed_lateness)).unwrap_or(self.reach)
    }

    /// The numbers under which its groups are, each with its time where there are points.
    pub(super) fn units(&self) -> Vec<(u64, Option<(i64, Point)>)> {
        match &self.points {
            Some(points) => points.iter().map(|(time, point)| (point.id, Some((time, point)))).collect(),
            None => std::iter::once(self.number).chain(self.joined.iter().copied()).map(|id| (id, None)).collect(),
        }
    }

    /// What it has under this number, if that is one of its own.
    fn unit(&self, touch: &Touch) -> Option<Option<(i64, Point)>> {
        match &self.points {
            Some(points) => {
                let point = points.at(touch.time).filter(|point| point.id == touch.unit)?;
                Some(Some((touch.time, point)))
            }
            None => (self.number == touch.unit || self.joined.contains(&touch.unit)).then_some(None),
        }
    }
}

/// Something of a fragment has changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Touch {
    /// The number under which its groups are.
    pub(super) unit: u64,
    /// The fragment's place, unless it is there no more.
    slot: u32,
    /// Of a point, its time.
    time: i64,
}

/// The places of the fragments of a key: mostly one.
#[derive(Debug)]
enum Slots {
    One(u32),
    Many(Vec<u32>),
}

impl Slots {
    fn all(&self) -> &[u32] {
        match self {
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Many(slots) => slots,
        }
    }

    fn push(&mut self, slot: u32) {
        match self {
            Self::One(one) => *self = Self::Many(vec![*one, slot]),
            Self::Many(slots) => slots.push(slot),
        }
    }
}

/// What has closed, or may: the time, the place, the number.
type Queued = Reverse<(i64, u32, u64)>;

/// The fragments of a partition, by key.
type Keys = HashMap<Arc<[u8]>, Slots>;
/// A number under which there are groups, whose fragment it is of, and of a point its time.
pub(super) type Unit<'a> = (u64, &'a Fragment, Option<(i64, Point)>);

/// The fragments of a lane.
pub(super) struct Fragments {
    plan: Arc<SessionPlan>,
    allowed_lateness: i64,
    slots: Vec<Option<Fragment>>,
    free: Vec<u32>,
    sources: Vec<(TopicPartition, Keys)>,
    queue: BinaryHeap<Queued>,
    /// What has changed since somebody asked, in order; some things several times.
    touched: Vec<Touch>,
    next: u64,
    /// How many entries of the queue have been looked at.
    #[cfg(test)]
    pub(super) looked_at: usize,
}

impl Fragments {
    /// None yet.
    pub(super) fn new(plan: &Arc<SessionPlan>, allowed_lateness: i64) -> Self {
        Self {
            plan: Arc::clone(plan),
            allowed_lateness,
            slots: Vec::new(),
            free: Vec::new(),
            sources: Vec::new(),
            queue: BinaryHeap::new(),
            touched: Vec::new(),
            next: 0,
            #[cfg(test)]
            looked_at: 0,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Memory, about.
    pub(super) fn size(&self) -> usize {
        let found_by_key = size_of::<(Arc<[u8]>, Slots)>() + 2 * size_of::<usize>();
        self.slots.capacity() * size_of::<Option<Fragment>>()
            + self.queue.capacity() * size_of::<Queued>()
            + self.touched.capacity() * size_of::<Touch>()
            + self.len() * found_by_key
            + self.slots.first().and_then(Option::as_ref).map_or(0, |it| it.key.len()) * self.len()
    }

    /// A number that nothing has had.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// The first number of all that nothing has had.
    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    /// Numbers before this one may have been had.
    pub(super) fn number_from(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// The place of a partition.
    pub(super) fn source(&mut self, source: &TopicPartition) -> usize {
        let known = self.sources.iter().position(|(known, _)| known == source);
        known.unwrap_or_else(|| {
            self.sources.push((source.clone(), Keys::new()));
            self.sources.len() - 1
        })
    }

    /// The partition of a fragment.
    pub(super) fn source_of(&self, fragment: &Fragment) -> &TopicPartition {
        &self.sources[fragment.source as usize].0
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Fragment> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Fragment> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// The first two of a key of which something is true. Those that a clock has not passed are more than a gap apart, so a row touches
    /// two at most.
    pub(super) fn find(
        &self,
        source: usize,
        key: &[u8],
        is_wanted: impl Fn(&Fragment) -> bool,
    ) -> (Option<u32>, Option<u32>) {
        let Some(slots) = self.sources[source].1.get(key) else { return (None, None) };
        let mut found = slots.all().iter().copied().filter(|&slot| self.get(slot).is_some_and(&is_wanted));
        (found.next(), found.next())
    }

    /// The key as it is kept, if there is a fragment of it.
    pub(super) fn key(&self, source: usize, key: &[u8]) -> Arc<[u8]> {
        self.sources[source].1.get_key_value(key).map_or_else(|| key.into(), |(known, _)| Arc::clone(known))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Fragment)> {
        self.slots.iter().enumerate().filter_map(|(slot, it)| Some((slot as u32, it.as_ref()?)))
    }

    /// Has a look at each, which must not change its time.
    pub(super) fn each(&mut self, look: impl FnMut(&mut Fragment)) {
        self.slots.iter_mut().flatten().for_each(look);
    }

    /// The first watermark at which one may close.
    pub(super) fn earliest(&self) -> Option<i64> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    fn closes_at(&self, last: i64) -> i64 {
        self.plan.closes_at(last, self.allowed_lateness)
    }

    /// Adds one and returns its place.
    pub(super) fn insert(&mut self, mut fragment: Fragment) -> u32 {
        fragment.queued = self.closes_at(fragment.last);
        let (queued, number) = (fragment.queued, fragment.number);
        let (source, key) = (fragment.source as usize, Arc::clone(&fragment.key));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(fragment);
                slot
            }
            None => {
                self.slots.push(Some(fragment));
                (self.slots.len() - 1) as u32
            }
        };
        self.queue.push(Reverse((queued, slot, number)));
        match self.sources[source].1.get_mut(&key) {
            Some(slots) => slots.push(slot),
            None => drop(self.sources[source].1.insert(key, Slots::One(slot))),
        }
        slot
    }

    /// Takes one out. Its entry in the queue is passed over when its turn comes.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Fragment> {
        let fragment = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        let keys = &mut self.sources[fragment.source as usize].1;
        let is_last = match keys.get_mut(&fragment.key) {
            Some(Slots::Many(slots)) => {
                slots.retain(|it| *it != slot);
                slots.is_empty()
            }
            _ => true,
        };
        if is_last {
            keys.remove(&fragment.key);
        }
        Some(fragment)
    }

    /// One may close earlier than it was to.
    pub(super) fn requeue(&mut self, slot: u32) {
        let Some(closes_at) = self.get(slot).map(|it| self.closes_at(it.last)) else { return };
        let Some(fragment) = self.get_mut(slot) else { return };
        if closes_at < fragment.queued {
            fragment.queued = closes_at;
            let number = fragment.number;
            self.queue.push(Reverse((closes_at, slot, number)));
        }
    }

    /// Takes out those that the watermark has passed.
    pub(super) fn take_past(&mut self, watermark: i64) -> Vec<Fragment> {
        let mut past = Vec::new();
        while let Some(&Reverse((at, slot, number))) = self.queue.peek().filter(|Reverse((at, ..))| *at <= watermark) {
            #[cfg(test)]
            {
                self.looked_at += 1;
            }
            self.queue.pop();
            let is_its = |it: &&Fragment| it.number == number && it.queued == at;
            let Some(closes_at) = self.get(slot).filter(is_its).map(|it| self.closes_at(it.last)) else { continue };
            if closes_at <= watermark {
                past.extend(self.remove(slot));
            } else {
                self.get_mut(slot).into_iter().for_each(|it| it.queued = closes_at);
                self.queue.push(Reverse((closes_at, slot, number)));
            }
        }
        past
    }

    /// Notes that a fragment has changed, and of which of its numbers there may be new groups.
    pub(super) fn touch(&mut self, slot: u32, unit: u64, time: i64) {
        let Some(fragment) = self.get_mut(slot) else { return };
        fragment.is_touched = true;
        let is_own = fragment.points.is_none() && fragment.number == unit;
        if is_own && std::mem::replace(&mut fragment.is_noted, true) {
            return;
        }
        self.touched.push(Touch { unit, slot, time });
    }

    /// How much is noted.
    pub(super) fn touched(&self) -> usize {
        self.touched.len()
    }

    /// What has changed, in the order of the numbers, without what is there no more.
    pub(super) fn changed(&self) -> Vec<Unit<'_>> {
        let mut touched: Vec<&Touch> = self.touched.iter().rev().collect();
        // The sort is stable: of several the last stays, which knows the place.
        touched.sort_by_key(|it| it.unit);
        touched.dedup_by_key(|it| it.unit);
        let of = |touch: &Touch| {
            let fragment = self.get(touch.slot)?;
            Some((touch.unit, fragment, fragment.unit(touch)?))
        };
        touched.into_iter().filter_map(of).collect()
    }

    /// Nothing has changed.
    pub(super) fn forget_changes(&mut self) {
        for touch in std::mem::take(&mut self.touched) {
            if let Some(fragment) = self.get_mut(touch.slot) {
                (fragment.is_touched, fragment.is_noted) = (false, false);
            }
        }
    }

    /// Those that are of one session with some that have left.
    pub(super) fn neighbours(&self, left: &[Brief]) -> Vec<Brief> {
        let mut found = Vec::new();
        for brief in left {
            let of_key = self.sources.iter().filter_map(|(_, keys)| keys.get(&*brief.key)).flat_map(Slots::all);
            for fragment in of_key.filter_map(|&slot| self.get(slot)) {
                let own = Brief {
                    key: brief.key.clone(),
                    start: fragment.start,
                    end: fragment.last.saturating_add(self.plan.gap),
                    closes_at: self.closes_at(fragment.last),
                    reach: fragment.reach(self.allowed_lateness),
                };
                if own.is_one_session_with(brief) {
                    found.push(own);
                }
            }
        }
        found
    }
}

/// A stretch of points has the bounds of these.
pub(super) fn of_points(number: u64, source: usize, key: Arc<[u8]>, points: Points) -> Option<Fragment> {
    let (start, last) = points.bounds()?;
    let reach = Reach { start, since: BEGINNING_OF_TIME };
    let fragment = Fragment::new(number, source, key, (start, last), reach);
    Some(Fragment { points: Some(Box::new(points)), ..fragment })
}
