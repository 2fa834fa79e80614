//! The semantics, event by event, as docs/semantics.md has them.

use std::collections::{BTreeMap, BTreeSet};

use super::scenario::{Aggregate, BASE, Event, Filter, Item, Keys, Reading, Scenario, Shape, Window};
use crate::testing::cells::{NULL, float};

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts, or nobody wants it.
    Fine,
    Late,
    Timeless,
}

impl Verdict {
    pub(super) fn mark(self) -> Option<&'static str> {
        match self {
            Self::Fine => None,
            Self::Late => Some("-- late"),
            Self::Timeless => Some("-- dead no_event_time"),
        }
    }
}

/// What must come of a scenario.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) verdicts: Vec<Verdict>,
    pub(super) rows: Vec<Vec<String>>,
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
    groups: BTreeMap<Group, Vec<Event>>,
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
        Expected { verdicts, rows: model.results() }
    }

    fn take(&mut self, event: &Event) -> Verdict {
        let Some((clock, arrival)) = self.partitions.get_mut(&event.partition) else { return Verdict::Fine };
        let met = *clock;
        *arrival = self.now;
        if let Some(time) = event.time {
            *clock = met.max(Some(time - self.shape.delay));
        }
        if !self.shape.keeps(event) {
            return Verdict::Fine;
        }
        let Some(time) = event.time else { return Verdict::Timeless };
        let windows = self.shape.window.of(time);
        let open: Vec<_> = windows
            .into_iter()
            .filter(|&(_, end)| met.is_none_or(|clock| end + self.shape.emission.lateness > clock))
            .collect();
        for &(start, end) in &open {
            self.groups.entry((start, end, self.shape.keys.of(event))).or_default().push(event.clone());
        }
        if open.is_empty() { Verdict::Late } else { Verdict::Fine }
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
                groups.sort_by_key(|(group, events): &(&Group, &Vec<Event>)| {
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

    fn row(&self, (start, end, keys): &Group, events: &[Event]) -> Vec<String> {
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
    fn keeps(&self, event: &Event) -> bool {
        let is_insert = self.reading == Reading::Rows || !matches!(event.op, b'u' | b'd');
        match self.filter {
            Filter::All => true,
            Filter::Positive => event.value.is_some_and(|value| value > 0),
            Filter::NotA => event.name.is_some_and(|name| name != "a"),
            Filter::Inserts => is_insert,
        }
    }
}

impl Keys {
    fn of(self, event: &Event) -> Vec<Option<String>> {
        let name = event.name.map(str::to_owned);
        match self {
            Self::None => vec![],
            Self::Name => vec![name],
            Self::NameAndParity => vec![name, event.value.map(|value| (value % 2).to_string())],
        }
    }
}

impl Aggregate {
    fn of(self, events: &[Event]) -> String {
        let values: Vec<i64> = events.iter().filter_map(|event| event.value).collect();
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
