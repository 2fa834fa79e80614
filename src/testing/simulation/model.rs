//! What must be in the tables, event by event.

use std::collections::{BTreeMap, BTreeSet};

use super::life::Outcomes;
use super::tables::{Place, Row};
use super::world::BEGINNING;
use crate::testing::oracle::generate::Random;

const HOUR: i64 = 3_600_000;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// A record of the topic. Those without an operation cannot be decoded.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) offset: i64,
    op: Option<char>,
    id: i64,
    name: &'static str,
    value: i64,
    time: Option<i64>,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) partitions: Vec<Vec<Event>>,
}

/// A record as it is in the topic.
pub(super) fn payload(event: &Event) -> Option<Vec<u8>> {
    let image = serde_json::json!({"id": event.id, "name": event.name, "value": event.value, "at": event.time});
    let text = match event.op {
        None => "neither JSON nor anything".to_owned(),
        Some('d') => serde_json::json!({"op": "d", "before": image, "after": null}).to_string(),
        Some(op) => serde_json::json!({"op": op.to_string(), "before": null, "after": image}).to_string(),
    };
    Some(text.into_bytes())
}

/// Count and sum of a window and name.
type Groups = BTreeMap<(i64, String), (i64, i64)>;

impl Model {
    pub(super) fn random(random: &mut Random) -> Self {
        let count = 1 + random.below(3);
        let most = random.pick(&[5, 15, 60]);
        let disorder = random.pick(&[0, 2, 12]);
        let gaps = random.one_in(4);
        let partition = |number: u64| {
            let (mut offset, mut front) = (random.below(3) as i64, BEGINNING);
            let mut events = Vec::new();
            for _ in 0..random.below(most) {
                offset += if gaps { random.below(3) as i64 } else { 0 };
                front += random.below(HOUR as u64 / 3) as i64;
                let back = random.below(disorder * HOUR as u64 + 1) as i64;
                events.push(Event {
                    offset,
                    op: (!random.one_in(25)).then(|| random.pick(&['c', 'u', 'u', 'r', 'd'])),
                    // A key stays in its partition.
                    id: (random.below(5) * count + number) as i64,
                    name: random.pick(&NAMES),
                    value: random.below(100) as i64,
                    time: (!random.one_in(30)).then_some(front - back),
                });
                offset += 1;
            }
            events
        };
        Self { partitions: (0..count).map(partition).collect() }
    }

    /// Compares all tables. An error is the first difference.
    pub(super) fn check(&self, outcomes: &Outcomes) -> Result<(), String> {
        let all = || {
            self.partitions.iter().enumerate().flat_map(|(number, events)| events.iter().map(move |it| (number, it)))
        };
        let place = |(number, event): (usize, &Event)| -> Place { ("t".to_owned(), number as i32, event.offset) };
        let places = |wanted: &dyn Fn(&Event) -> bool| -> BTreeSet<Place> {
            all().filter(|(_, event)| wanted(event)).map(place).collect()
        };
        once("changes", &outcomes.changes, &places(&|event| event.op.is_some()))?;
        // Which changes take back a row that is not there is known where rows are kept; some of them are told.
        let is_unmatched = |row: &&Row| row.cell("reason") == "unmatched_retraction";
        let (unmatched, dead) = outcomes.dead.iter().cloned().partition::<Vec<_>, _>(|row| is_unmatched(&row));
        let is_change = |event: &Event| matches!(event.op, Some('u' | 'd'));
        let told: BTreeSet<Place> = unmatched.iter().filter_map(|row| row.place.clone()).collect();
        once("unmatched", &unmatched, &told)?;
        if let Some(place) = told.difference(&places(&is_change)).next() {
            return Err(format!("{place:?} takes back nothing"));
        }
        once("dead letters", &dead, &places(&|event| event.op.is_none() || event.time.is_none()))?;
        self.check_windows(outcomes)?;
        self.check_mirror(&outcomes.mirror)
    }

    /// Each row is in the one result of its group or among the late ones.
    fn check_windows(&self, outcomes: &Outcomes) -> Result<(), String> {
        let mut expected = Groups::new();
        let add = |groups: &mut Groups, time: i64, name: &str, (count, sum): (i64, i64)| {
            let entry = groups.entry((time.div_euclid(HOUR) * HOUR, name.to_owned())).or_default();
            *entry = (entry.0 + count, entry.1 + sum);
        };
        let mut timed: BTreeMap<Place, &Event> = BTreeMap::new();
        for (number, events) in self.partitions.iter().enumerate() {
            for event in events.iter().filter(|event| event.op.is_some()) {
                let Some(time) = event.time else { continue };
                add(&mut expected, time, event.name, (1, event.value));
                timed.insert(("t".to_owned(), number as i32, event.offset), event);
            }
        }
        let mut found = Groups::new();
        for row in &outcomes.results {
            let [_, name, count, sum] = &row.cells[..] else { return Err(format!("a result has {:?}", row.cells)) };
            let start = start_of(row)?;
            if found.contains_key(&(start, name.clone())) {
                return Err(format!("the group {start} {name} has two results"));
            }
            let number = |text: &String| text.parse::<i64>().map_err(|error| error.to_string());
            add(&mut found, start, name, (number(count)?, number(sum)?));
        }
        let late: BTreeSet<Place> = outcomes.late.iter().filter_map(|row| row.place.clone()).collect();
        if late.len() != outcomes.late.len() {
            return Err("late rows are there twice".into());
        }
        for place in &late {
            let event = timed.get(place).ok_or_else(|| format!("{place:?} is late and is no event"))?;
            add(&mut found, event.time.unwrap_or_default(), event.name, (1, event.value));
        }
        match expected.iter().find(|(group, values)| found.get(group) != Some(values)) {
            Some((group, values)) => Err(format!("group {group:?} is {values:?}, found {:?}", found.get(group))),
            None if found.len() > expected.len() => Err("there are groups of no event".into()),
            None => Ok(()),
        }
    }

    /// Windows over the current rows: what they had when they closed, and what came and went since, are the rows that there are.
    pub(super) fn check_current(&self, results: &[Row], late: &[Row]) -> Result<(), String> {
        let number = |text: &str| text.parse::<i64>().map_err(|error| error.to_string());
        let mut found = Groups::new();
        for row in results {
            let group = (start_of(row)?, row.cell("name").to_owned());
            if found.insert(group, (number(row.cell("n"))?, number(row.cell("total"))?)).is_some() {
                return Err(format!("a group of current rows has two results: {:?}", row.cells));
            }
        }
        for row in late {
            let entry = found.entry((start_of(row)?, row.cell("name").to_owned())).or_default();
            let sign = number(row.cell("sign"))?;
            *entry = (entry.0 + sign, entry.1 + sign * number(row.cell("value"))?);
        }
        found.retain(|_, values| *values != (0, 0));
        let mut expected = Groups::new();
        for event in self.rows().into_values() {
            let Some(time) = event.time else { continue };
            let entry = expected.entry((time.div_euclid(HOUR) * HOUR, event.name.to_owned())).or_default();
            *entry = (entry.0 + 1, entry.1 + event.value);
        }
        if found == expected { Ok(()) } else { Err(format!("current rows are {found:?}, expected {expected:?}")) }
    }

    /// Each row is in one session of its name, or among the late ones.
    pub(super) fn check_sessions(&self, results: &[Row], late: &[Row]) -> Result<(), String> {
        let mut found: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        let mut expected = found.clone();
        let add = |sums: &mut BTreeMap<String, (i64, i64)>, name: &str, (count, sum): (i64, i64)| {
            let entry = sums.entry(name.to_owned()).or_default();
            *entry = (entry.0 + count, entry.1 + sum);
        };
        let number = |text: &str| text.parse::<i64>().map_err(|error| error.to_string());
        for row in results {
            add(&mut found, row.cell("name"), (number(row.cell("n"))?, number(row.cell("total"))?));
        }
        let places: BTreeSet<Place> = late.iter().filter_map(|row| row.place.clone()).collect();
        if places.len() != late.len() {
            return Err("rows that were late for sessions are there twice".into());
        }
        for (partition, events) in self.partitions.iter().enumerate() {
            for event in events.iter().filter(|event| event.op.is_some() && event.time.is_some()) {
                add(&mut expected, event.name, (1, event.value));
                if places.contains(&("t".to_owned(), partition as i32, event.offset)) {
                    add(&mut found, event.name, (1, event.value));
                }
            }
        }
        if found == expected { Ok(()) } else { Err(format!("sessions have {found:?}, expected {expected:?}")) }
    }

    /// The last event of each row that is there in the end.
    fn rows(&self) -> BTreeMap<i64, &Event> {
        let mut rows = BTreeMap::new();
        for event in self.partitions.iter().flatten() {
            match event.op {
                None => {}
                Some('d') => drop(rows.remove(&event.id)),
                Some(_) => drop(rows.insert(event.id, event)),
            }
        }
        rows
    }

    /// The greatest version of each key. Repeats fold.
    fn check_mirror(&self, rows: &[Row]) -> Result<(), String> {
        let cells = |event: &Event| vec![event.name.to_owned(), event.value.to_string()];
        let expected: BTreeMap<i64, Vec<String>> =
            self.rows().into_iter().map(|(id, event)| (id, cells(event))).collect();
        let mut greatest: BTreeMap<i64, (u64, &Row)> = BTreeMap::new();
        for row in rows {
            let number = |at: usize| row.cells[at].parse::<u64>().map_err(|error| error.to_string());
            let (id, version) = (number(0)? as i64, number(4)?);
            let entry = greatest.entry(id).or_insert((version, row));
            if entry.0 <= version {
                *entry = (version, row);
            }
        }
        let there = greatest.into_iter().filter(|(_, (_, row))| row.cells[5] == "0");
        let found: BTreeMap<i64, Vec<String>> = there.map(|(id, (_, row))| (id, row.cells[1..3].to_vec())).collect();
        if found == expected { Ok(()) } else { Err(format!("the mirror is {found:?}, expected {expected:?}")) }
    }
}

fn start_of(row: &Row) -> Result<i64, String> {
    let start = chrono::NaiveDateTime::parse_from_str(row.cell("window_start"), "%Y-%m-%dT%H:%M:%S%.f");
    Ok(start.map_err(|error| error.to_string())?.and_utc().timestamp_millis())
}

fn once(what: &str, rows: &[Row], expected: &BTreeSet<Place>) -> Result<(), String> {
    let mut found: BTreeMap<&Place, usize> = BTreeMap::new();
    rows.iter().filter_map(|row| row.place.as_ref()).for_each(|place| *found.entry(place).or_default() += 1);
    if let Some((place, count)) = found.iter().find(|(_, count)| **count > 1) {
        return Err(format!("{what}: {place:?} is there {count} times"));
    }
    if let Some(place) = expected.iter().find(|place| !found.contains_key(place)) {
        return Err(format!("{what}: {place:?} is missing"));
    }
    match found.keys().find(|place| !expected.contains(**place)) {
        Some(place) => Err(format!("{what}: {place:?} should not be there")),
        None => Ok(()),
    }
}
