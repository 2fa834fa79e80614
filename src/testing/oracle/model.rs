//! The semantics, event by event, as docs/semantics.md has them.

use std::collections::{BTreeMap, BTreeSet};

use super::scenario::{Aggregate, BASE, Event, Filter, Item, Keys, Reading, Row, Scenario, Shape, Window};
use crate::testing::cells::{NULL, float};

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts, or nobody wants it.
    Fine,
    Late,
    Timeless,
    /// It takes back what was not there.
    Unmatched,
}

impl Verdict {
    pub(super) fn mark(self) -> Option<&'static str> {
        match self {
            Self::Fine => None,
            Self::Late => Some("-- late"),
            Self::Timeless => Some("-- dead no_event_time"),
            Self::Unmatched => Some("-- dead unmatched_retraction"),
        }
    }
}

/// What must come of a scenario.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) verdicts: Vec<Verdict>,
    pub(super) rows: Vec<Vec<String>>,
    /// Of a table that changes, its late rows.
    pub(super) late: Vec<Vec<String>>,
}

/// A group of a window: its bounds and its keys.
type Group = (i64, i64, Vec<Option<String>>);

/// The state of the naive engine.
pub(super) struct Model<'a> {
    shape: &'a Shape,
    /// The wall clock.
    now: i64,
    /// By partition: how far its event time is, and when something came last.
    partitions: BTreeMap<i32, (Option<i64>, i64)>,
    watermark: Option<i64>,
    /// When the present silence of all partitions began, and the greatest clock then.
    silence: Option<(i64, Option<i64>)>,
    groups: BTreeMap<Group, Vec<Row>>,
    /// The rows of a table that changes.
    table: BTreeMap<(i32, u64), Row>,
    /// How many records of each partition have come.
    offsets: BTreeMap<i32, u64>,
    /// Images that came too late, with signs, and the record that each is of.
    late: Vec<(Row, i64, i32, u64)>,
}

impl<'a> Model<'a> {
    /// What must come of a scenario.
    pub(super) fn run(scenario: &'a Scenario) -> Expected {
        let mut model = Self {
            shape: &scenario.shape,
            now: 0,
            partitions: BTreeMap::from([(0, (None, 0))]),
            watermark: None,
            silence: None,
            groups: BTreeMap::new(),
            table: BTreeMap::new(),
            offsets: BTreeMap::new(),
            late: Vec::new(),
        };
        for item in &scenario.items {
            if let Item::Event(event) = item {
                model.partitions.insert(event.partition, (None, 0));
            }
        }
        let mut verdicts = Vec::new();
        for item in &scenario.items {
            match item {
                Item::Event(event) => verdicts.push(model.take(event)),
                Item::Advance(time) => model.advance(*time),
                Item::Restart => {
                    let now = model.now;
                    model.partitions.values_mut().for_each(|(_, arrival)| *arrival = now);
                    model.silence = None;
                }
            }
        }
        model.groups.retain(|_, rows| !rows.is_empty());
        if let Window::Session { .. } = scenario.shape.window {
            model.join_sessions();
        }
        if scenario.shape.reading == (Reading::Table { kept: true }) {
            model.check_sum();
        }
        Expected { verdicts, rows: model.results(), late: model.late_rows() }
    }

    fn take(&mut self, event: &Event) -> Verdict {
        let Some((clock, arrival)) = self.partitions.get_mut(&event.partition) else { return Verdict::Fine };
        let met = *clock;
        *arrival = self.now;
        let is_table = matches!(self.shape.reading, Reading::Table { .. });
        let told = if is_table && event.op == b'd' { event.before.unwrap_or_default() } else { event.row };
        if let Some(time) = told.time {
            *clock = met.max(Some(time - self.shape.delay));
        }
        if let Reading::Table { kept } = self.shape.reading {
            return self.change(event, met, kept);
        }
        if !self.shape.keeps(event.row, event.op) {
            return Verdict::Fine;
        }
        if event.row.time.is_none() {
            return Verdict::Timeless;
        }
        if self.count(event.row, 1, met) { Verdict::Fine } else { Verdict::Late }
    }

    /// Takes back the row that was, and counts the one that is.
    fn change(&mut self, event: &Event, met: Option<i64>, kept: bool) -> Verdict {
        let offset = self.offsets.entry(event.partition).or_default();
        let position = (event.partition, *offset);
        *offset += 1;
        let is_there = event.op != b'd';
        let key = (event.partition, event.id);
        let known = if is_there { self.table.insert(key, event.row) } else { self.table.remove(&key) };
        let before = if kept { known } else { event.before };
        let needs_before = matches!(event.op, b'u' | b'd');
        if kept && is_there && before.is_some_and(|before| self.shape.sees(before) == self.shape.sees(event.row)) {
            return Verdict::Fine;
        }
        let mut verdict = if needs_before && before.is_none() { Verdict::Unmatched } else { Verdict::Fine };
        let comes = Some((event.row, 1)).filter(|_| is_there);
        for (row, sign) in before.map(|row| (row, -1)).into_iter().chain(comes) {
            if !self.shape.keeps(row, b'c') {
                continue;
            }
            if row.time.is_none() {
                // A record has one dead letter.
                if sign > 0 && verdict == Verdict::Fine {
                    verdict = Verdict::Timeless;
                }
            } else if !self.count(row, sign, met) {
                self.late.push((row, sign, position.0, position.1));
            }
        }
        verdict
    }

    /// Counts a row into its windows that are open, or takes it out of them. Says whether there are any.
    fn count(&mut self, row: Row, sign: i64, met: Option<i64>) -> bool {
        let windows = row.time.map_or_else(Vec::new, |time| self.shape.window.of(time));
        let lateness = self.shape.emission.lateness;
        let open: Vec<_> =
            windows.into_iter().filter(|&(_, end)| met.is_none_or(|clock| end + lateness > clock)).collect();
        for &(start, end) in &open {
            let rows = self.groups.entry((start, end, self.shape.keys.of(row))).or_default();
            match rows.iter().position(|it| self.shape.sees(*it) == self.shape.sees(row)) {
                _ if sign > 0 => rows.push(row),
                Some(place) => drop(rows.remove(place)),
                // Only in a history of which something has been left out.
                None => {}
            }
        }
        !open.is_empty()
    }

    /// Makes sessions of rows that have windows of their own.
    fn join_sessions(&mut self) {
        let mut sessions: BTreeMap<Group, Vec<Row>> = BTreeMap::new();
        let mut open: BTreeMap<Vec<Option<String>>, (i64, i64, Vec<Row>)> = BTreeMap::new();
        for ((start, end, keys), rows) in std::mem::take(&mut self.groups) {
            let own = (start, end, rows);
            match open.remove(&keys) {
                Some((first, last, before)) if start <= last => {
                    open.insert(keys, (first, end, [before, own.2].concat()));
                }
                before => {
                    sessions.extend(before.map(|(first, last, rows)| ((first, last, keys.clone()), rows)));
                    open.insert(keys, own);
                }
            }
        }
        sessions.extend(open.into_iter().map(|(keys, (first, last, rows))| ((first, last, keys), rows)));
        self.groups = sessions;
    }

    /// What docs/semantics.md says of windows over tables: final windows + signed late rows = GROUP BY over the rows that there are.
    fn check_sum(&self) {
        let Window::Tumble { .. } = self.shape.window else { return };
        let mut sums: BTreeMap<Group, (i64, i64)> = BTreeMap::new();
        let mut add = |row: Row, sign: i64| {
            let Some(&(start, end)) = row.time.map(|time| self.shape.window.of(time)).iter().flatten().next() else {
                return;
            };
            if self.shape.keeps(row, b'c') {
                let sum = sums.entry((start, end, self.shape.keys.of(row))).or_default();
                *sum = (sum.0 + sign, sum.1 + sign * row.value.unwrap_or(0));
            }
        };
        self.groups.values().flatten().for_each(|row| add(*row, 1));
        self.late.iter().for_each(|(row, sign, ..)| add(*row, *sign));
        self.table.values().for_each(|row| add(*row, -1));
        sums.retain(|_, sum| sum.0 != 0 || (self.shape.sees_value() && sum.1 != 0));
        assert!(sums.is_empty(), "windows and late rows are not the table: {sums:?}");
    }

    fn late_rows(&self) -> Vec<Vec<String>> {
        let row = |(row, sign, partition, offset): &(Row, i64, i32, u64)| {
            let windows = row.time.map_or_else(Vec::new, |time| self.shape.window.of(time));
            let last = windows.into_iter().max_by_key(|&(start, end)| (end, start)).unwrap_or_default();
            let numbers = [sign.to_string(), partition.to_string(), offset.to_string()];
            [instant(last.0), instant(last.1)].into_iter().chain(numbers).collect()
        };
        self.late.iter().map(row).collect()
    }

    /// Time passes; all that has come has been read.
    fn advance(&mut self, time: i64) {
        self.now += time;
        let is_idle = |arrival: i64| self.now - arrival >= self.shape.idle_timeout;
        let active = self.partitions.values().filter(|(_, arrival)| !is_idle(*arrival)).map(|(clock, _)| *clock).min();
        let watermark = match active {
            Some(least) => least,
            None => self.idle_watermark(),
        };
        self.watermark = self.watermark.max(watermark);
        let watermark = self.watermark;
        self.partitions.values_mut().for_each(|(clock, _)| *clock = (*clock).max(watermark));
    }

    /// With all partitions idle: the greatest clock, and when that lasts, as much more as it has lasted.
    fn idle_watermark(&mut self) -> Option<i64> {
        let greatest = self.partitions.values().map(|(clock, _)| *clock).max().flatten();
        let last = self.partitions.values().map(|(_, arrival)| *arrival).max().unwrap_or(0);
        let (since, clock) = self.silence.filter(|(since, _)| *since == last).unwrap_or((last, greatest));
        self.silence = Some((since, clock));
        let lasted = self.now - since;
        clock.map(|clock| if lasted >= self.shape.idle_close { clock + lasted } else { clock })
    }

    fn results(&self) -> Vec<Vec<String>> {
        let mut windows: BTreeMap<(i64, i64), Vec<_>> = BTreeMap::new();
        let mut all = self.groups.clone();
        if let Some(count) = self.shape.emission.fill {
            all.extend(self.filled(count).into_iter().map(|group| (group, Vec::new())));
        }
        for (group, events) in &all {
            if self.shape.having.is_none_or(|most| events.len() as i64 > most) {
                windows.entry((group.0, group.1)).or_default().push((group, events));
            }
        }
        let mut rows = Vec::new();
        for mut groups in windows.into_values() {
            if let Some(count) = self.shape.top {
                // Nulls come last.
                let keys = |group: &Group| group.2.iter().map(|key| (key.is_none(), key.clone())).collect::<Vec<_>>();
                groups.sort_by_key(|(group, events): &(&Group, &Vec<Row>)| {
                    (std::cmp::Reverse(events.len()), keys(group))
                });
                groups.truncate(count);
            }
            rows.extend(groups.into_iter().map(|(group, events)| self.row(group, events)));
        }
        rows
    }

    /// The groups that have no rows in a window, but in one of the `count` before it; of windows that event time has passed, or
    /// that lie before one with rows.
    fn filled(&self, count: u64) -> Vec<Group> {
        let clock = self.partitions.values().filter_map(|(clock, _)| *clock).max();
        let last = self.groups.keys().map(|group| (group.1, group.0)).max();
        let passed = |(start, end): (i64, i64)| {
            clock.is_some_and(|clock| end <= clock) || last.is_some_and(|it| (end, start) <= it)
        };
        let mut filled = BTreeSet::new();
        for (start, end, keys) in self.groups.keys() {
            let mut window = (*start, *end);
            for _ in 0..count {
                window = self.shape.window.following(window);
                let group = (window.0, window.1, keys.clone());
                if passed(window) && !self.groups.contains_key(&group) {
                    filled.insert(group);
                }
            }
        }
        filled.into_iter().collect()
    }

    fn row(&self, (start, end, keys): &Group, events: &[Row]) -> Vec<String> {
        let keys = keys.iter().map(|key| key.clone().unwrap_or_else(|| NULL.to_owned()));
        let values = self.shape.aggregates.iter().map(|aggregate| aggregate.of(events));
        [instant(*start), instant(*end)].into_iter().chain(keys).chain(values).collect()
    }
}

fn instant(time: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(BASE + time).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%S%.f").to_string()
}

impl Window {
    /// The windows of a time, as start and end.
    fn of(self, time: i64) -> Vec<(i64, i64)> {
        match self {
            Self::Tumble { size, offset } => {
                let start = last_start(time, size, offset);
                vec![(start, start + size)]
            }
            Self::Hop { slide, size, offset } => {
                let starts = (0..).map(|back| last_start(time, slide, offset) - back * slide);
                starts.take_while(|start| start + size > time).map(|start| (start, start + size)).collect()
            }
            Self::Cumulate { step, size, offset } => {
                let start = last_start(time, size, offset);
                let ends = (1..=size / step).map(|count| start + count * step);
                ends.filter(|&end| end > time).map(|end| (start, end)).collect()
            }
            // Each row has its own, until they are joined.
            Self::Session { gap } => vec![(time, time + gap)],
        }
    }
}

impl Window {
    /// The window that closes next after another.
    fn following(self, (start, end): (i64, i64)) -> (i64, i64) {
        match self {
            Self::Tumble { size, .. } => (end, end + size),
            Self::Hop { slide, .. } => (start + slide, end + slide),
            Self::Cumulate { step, size, .. } if end == start + size => (end, end + step),
            Self::Cumulate { step, .. } => (start, end + step),
            // Nothing is filled in between sessions.
            Self::Session { .. } => (end, end),
        }
    }
}

/// The last time at or before `time` that is a number of steps away from `offset`. Times are after [`BASE`], which every step
/// here divides.
fn last_start(time: i64, step: i64, offset: i64) -> i64 {
    let mut start = offset;
    while start > time {
        start -= step;
    }
    while start + step <= time {
        start += step;
    }
    start
}

impl Shape {
    fn keeps(&self, row: Row, op: u8) -> bool {
        let is_insert = self.reading == Reading::Rows || !matches!(op, b'u' | b'd');
        match self.filter {
            Filter::All => true,
            Filter::Positive => row.value.is_some_and(|value| value > 0),
            Filter::NotA => row.name.is_some_and(|name| name != "a"),
            Filter::Inserts => is_insert,
        }
    }

    fn sees_value(&self) -> bool {
        self.filter == Filter::Positive
            || self.keys == Keys::NameAndParity
            || self.aggregates.iter().any(|it| *it != Aggregate::Rows)
    }

    /// What the query reads of a row.
    fn sees(&self, row: Row) -> Row {
        let sees_name = self.filter == Filter::NotA || self.keys != Keys::None;
        Row { name: row.name.filter(|_| sees_name), value: row.value.filter(|_| self.sees_value()), ..row }
    }
}

impl Keys {
    fn of(self, row: Row) -> Vec<Option<String>> {
        let name = row.name.map(str::to_owned);
        match self {
            Self::None => vec![],
            Self::Name => vec![name],
            Self::NameAndParity => vec![name, row.value.map(|value| (value % 2).to_string())],
        }
    }
}

impl Aggregate {
    fn of(self, events: &[Row]) -> String {
        let values: Vec<i64> = events.iter().filter_map(|row| row.value).collect();
        let or_null = |value: Option<i64>| value.map_or(NULL.to_owned(), |value| value.to_string());
        let is_empty = values.is_empty();
        match self {
            Self::Rows => events.len().to_string(),
            Self::Values => values.len().to_string(),
            Self::Sum => or_null((!is_empty).then(|| values.iter().sum())),
            Self::Least => or_null(values.into_iter().min()),
            Self::Most => or_null(values.into_iter().max()),
            Self::Mean if is_empty => NULL.to_owned(),
            Self::Mean => float(values.iter().sum::<i64>() as f64 / values.len() as f64),
            Self::Distinct => values.into_iter().collect::<BTreeSet<_>>().len().to_string(),
            Self::Positive => values.into_iter().filter(|&value| value > 0).count().to_string(),
        }
    }
}
