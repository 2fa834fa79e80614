//! Tables that a job has a checkpoint of and does not read any more: what it has of them is carried on.

use std::collections::BTreeMap;

use crate::checkpoint::{Position, Recovered};
use crate::state::{Part, PartitionRows, Save};
use crate::window::aggregate::{InputId, WindowState};

/// What a checkpoint has of tables that this run does not read.
#[derive(Debug, Default)]
pub(super) struct Resting {
    pub(super) positions: Vec<Position>,
    pub(super) watermarks: BTreeMap<String, i64>,
    pub(super) windows: BTreeMap<InputId, Vec<WindowState>>,
    pub(super) rows: RestingRows,
}

impl Resting {
    /// All but the rows.
    pub(super) fn new(recovered: &Recovered, is_read: impl Fn(&str) -> bool, is_fed: impl Fn(InputId) -> bool) -> Self {
        let manifest = &recovered.last.manifest;
        let positions = manifest.positions.iter().filter(|it| !is_read(&it.table)).cloned();
        let watermarks = manifest.watermarks.iter().filter(|(name, _)| !is_read(name));
        let state = recovered.with_state.state.iter();
        let windows = state.flat_map(|state| &state.windows).filter(|(id, _)| !is_fed(**id));
        Self {
            positions: positions.map(|it| Position { from: it.offset, ..it }).collect(),
            watermarks: watermarks.map(|(name, time)| (name.clone(), *time)).collect(),
            windows: windows.map(|(id, windows)| (*id, windows.clone())).collect(),
            rows: RestingRows::default(),
        }
    }
}

/// Kept rows that nobody changes.
#[derive(Debug, Default)]
pub(super) struct RestingRows {
    /// Of each partition, in the order of the checkpoints that they were in.
    rows: Vec<PartitionRows>,
    /// The save that has them.
    saved: Option<u64>,
}

impl RestingRows {
    /// Takes rows over, which come after those that were taken before.
    pub(super) fn take(&mut self, mut rows: PartitionRows) {
        let is_same = |it: &PartitionRows| it.table == rows.table && it.source == rows.source;
        if rows.part.whole {
            self.rows.retain(|it| !is_same(it));
        }
        rows.part.whole = !self.rows.iter().any(is_same);
        self.rows.push(rows);
    }

    /// What a checkpoint must have of them.
    pub(super) fn save(&mut self, save: Save) -> Vec<PartitionRows> {
        let is_old = self.saved.is_none_or(|saved| save.renews.is_some_and(|renews| saved <= renews));
        if is_old {
            self.saved = Some(save.number);
            let since = self.saved;
            return self
                .rows
                .iter()
                .map(|it| PartitionRows { part: Part { since, ..it.part }, ..it.clone() })
                .collect();
        }
        let last = |(place, it): &(usize, &PartitionRows)| {
            !self.rows[place + 1..].iter().any(|later| later.table == it.table && later.source == it.source)
        };
        let unchanged = |(_, it): (usize, &PartitionRows)| {
            let it = it.unchanged();
            PartitionRows { part: Part { since: self.saved, ..it.part }, ..it }
        };
        self.rows.iter().enumerate().filter(last).map(unchanged).collect()
    }
}

/// The saves of kept rows: which of them are so old that what they have is to be saved again.
#[derive(Debug)]
pub(super) struct KeptSaves {
    /// The last, in order.
    numbers: std::collections::VecDeque<u64>,
    most: usize,
}

impl KeptSaves {
    /// Rows are saved again after so many saves.
    pub(super) fn new(most: usize) -> Self {
        Self { numbers: std::collections::VecDeque::new(), most: most.max(1) }
    }

    /// The next save.
    pub(super) fn next(&self, number: u64) -> Save {
        let renews = self.numbers.front().copied().filter(|_| self.numbers.len() >= self.most);
        Save { number, renews }
    }

    /// Notes that a checkpoint has it.
    pub(super) fn note(&mut self, save: Save) {
        self.numbers.push_back(save.number);
        while self.numbers.len() > self.most {
            self.numbers.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::TopicPartition;

    fn rows(partition: i32, whole: bool, unmatched: u64) -> PartitionRows {
        let source = TopicPartition { topic: "x".into(), partition };
        let (rows, gone, part) = (Vec::new(), Vec::new(), Part { whole, since: None });
        PartitionRows { table: "t".into(), source, rows, gone, part, unmatched }
    }

    fn said(saved: &[PartitionRows]) -> Vec<(i32, bool, Option<u64>, u64)> {
        saved.iter().map(|it| (it.source.partition, it.part.whole, it.part.since, it.unmatched)).collect()
    }

    #[test]
    fn what_rests_is_saved_now_and_then() {
        let mut resting = RestingRows::default();
        for it in [
            rows(0, true, 1),
            rows(1, false, 2),
            rows(0, false, 3),
            rows(0, true, 4),
            rows(0, false, 5),
            rows(1, false, 6),
        ] {
            resting.take(it);
        }
        let mut saves = KeptSaves::new(2);
        let mut save = |number| {
            let save = saves.next(number);
            saves.note(save);
            said(&resting.save(save))
        };
        let all = |since| {
            let since = Some(since);
            vec![(1, true, since, 2), (0, true, since, 4), (0, false, since, 5), (1, false, since, 6)]
        };
        assert_eq!(save(10), all(10));
        let nothing = [(0, false, Some(10), 5), (1, false, Some(10), 6)];
        assert_eq!(save(11), nothing);
        assert_eq!(save(12), all(12), "those of 10 are old");
        assert_eq!(save(13)[0], (0, false, Some(12), 5));
    }
}
