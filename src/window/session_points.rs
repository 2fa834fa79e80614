//! Sessions whose rows may be taken back: which times a stretch has, so that it can fall apart.

use std::collections::BTreeMap;

use super::session_state::Reach;

/// A time at which a stretch has rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    /// Its number in the pane, among the pane's keys.
    pub(super) id: u64,
    /// How many rows there are, also of those that WHERE leaves out after the window.
    pub(super) rows: i64,
    /// The clock when the first of them came.
    pub(super) since: i64,
}

/// The times of a stretch.
#[derive(Debug, Clone, Default)]
pub(super) struct Points(BTreeMap<i64, Point>);

impl Points {
    /// One row. `id` is its number if there is none at this time.
    pub(super) fn add(&mut self, time: i64, id: u64, met: i64) -> Point {
        let point = self.0.entry(time).or_insert(Point { id, rows: 0, since: met });
        point.rows += 1;
        *point
    }

    /// Takes a row back, and says which point it was of.
    pub(super) fn take(&mut self, time: i64) -> Option<Point> {
        let point = self.0.get_mut(&time)?;
        point.rows -= 1;
        let point = *point;
        if point.rows <= 0 {
            self.0.remove(&time);
        }
        Some(point)
    }

    /// Puts a point in its place.
    pub(super) fn insert(&mut self, time: i64, point: Point) {
        self.0.insert(time, point);
    }

    /// Takes in those of another stretch.
    pub(super) fn join(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(super) fn has(&self, time: i64) -> bool {
        self.0.contains_key(&time)
    }

    /// The point of a time.
    pub(super) fn at(&self, time: i64) -> Option<Point> {
        self.0.get(&time).copied()
    }

    /// How many times there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, Point)> + '_ {
        self.0.iter().map(|(time, point)| (*time, *point))
    }

    /// The first and the last time.
    pub(super) fn bounds(&self) -> Option<(i64, i64)> {
        Some((*self.0.first_key_value()?.0, *self.0.last_key_value()?.0))
    }

    /// Where the stretch begins for others: as if its times came now, in the order in which they did.
    pub(super) fn reach(&self, allowed_lateness: i64) -> Option<Reach> {
        let mut starts: Vec<Reach> = self.iter().map(|(start, point)| Reach { start, since: point.since }).collect();
        starts.sort_by_key(|it| (it.since, it.start));
        starts.into_iter().reduce(|mut reach, it| {
            reach.extend(it.start, it.since, allowed_lateness);
            reach
        })
    }

    /// The stretches that are left, more than a gap apart from each other: mostly one, or none.
    pub(super) fn split(mut self, gap: i64) -> Vec<Self> {
        let times = || self.0.keys().copied();
        let is_far = |&(one, next): &(i64, i64)| next > one.saturating_add(gap);
        let starts: Vec<i64> = times().zip(times().skip(1)).filter(is_far).map(|(_, next)| next).collect();
        let mut pieces: Vec<Self> = starts.iter().rev().map(|start| Self(self.0.split_off(start))).collect();
        if !self.0.is_empty() {
            pieces.push(self);
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_falls_apart() {
        let mut points = Points::default();
        for (id, time) in [0, 10, 15, 25, 30].into_iter().enumerate() {
            points.add(time, id as u64, 100 - time);
        }
        assert_eq!(points.add(15, 9, 7), Point { id: 2, rows: 2, since: 85 });
        assert_eq!(points.bounds(), Some((0, 30)));
        // The clock was at 70, 75, 85, 90 and 100 when 30, 25, 15, 10 and 0 came: it had passed the start of then, or had not yet.
        assert_eq!(points.reach(0), Some(Reach { start: 30, since: 70 }));
        assert_eq!(points.reach(60), Some(Reach { start: 25, since: 75 }));
        assert_eq!(points.reach(1_000), Some(Reach { start: 0, since: 100 }));
        assert_eq!(points.take(15), Some(Point { id: 2, rows: 1, since: 85 }));
        assert_eq!(points.clone().split(10).len(), 1);
        assert_eq!(points.take(15), Some(Point { id: 2, rows: 0, since: 85 }));
        assert_eq!(points.take(15), None);
        let mut pieces = points.split(10);
        pieces.reverse();
        assert_eq!(pieces.iter().filter_map(Points::bounds).collect::<Vec<_>>(), [(0, 10), (25, 30)]);
        assert!(Points::default().split(10).is_empty());
    }
}
