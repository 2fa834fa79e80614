//! What came out beside what was generated.

use std::collections::{BTreeMap, BTreeSet};

use indicatif::HumanCount;

use super::place::Found;
use super::shop::Expected;

/// Windows that are shown.
const SHOWN: usize = 6;
/// Differences of each kind that are named.
const NAMED: usize = 3;

type Counts = BTreeMap<(String, i64), i64>;

/// A table of the last windows: a line a window, a column a store.
pub(super) fn last_windows(expected: &Expected, found: &Found) -> String {
    let stores: BTreeSet<i64> = found.windows.keys().map(|(_, store)| *store).collect();
    let windows: BTreeSet<&str> = found.windows.keys().map(|(window, _)| window.as_str()).collect();
    let mut lines = vec!["The last windows, read back: registrations per store".to_owned()];
    let head: String = stores.iter().map(|store| format!("{:>9}", format!("store {store}"))).collect();
    lines.push(format!("  {:<19}{head}{:>9}{:>7}{:>11}", "window_start (UTC)", "all", "late", "generated"));
    for window in windows.iter().rev().take(SHOWN).rev() {
        let of_window = |counts: &Counts| -> i64 {
            counts.iter().filter(|((start, _), _)| start == window).map(|(_, count)| count).sum()
        };
        let count = |store: i64| found.windows.get(&((*window).to_owned(), store)).map_or(0, |(count, _)| *count);
        let cells: String = stores.iter().map(|store| format!("{:>9}", count(*store))).collect();
        let all: i64 = stores.iter().map(|store| count(*store)).sum();
        let (late, generated) = (of_window(&found.late), of_window(&expected.registrations));
        lines.push(format!("  {window:<19}{cells}{all:>9}{late:>7}{generated:>11}"));
    }
    lines.join("\n")
}

/// Compares all that was read back with all that was generated; prints what agrees and returns what does not.
pub(super) fn compare(expected: &Expected, found: &Found) -> Vec<String> {
    println!("\nCompared with what was generated:");
    [changelog(expected, found), windows(expected, found), mirror(expected, found), dead_letters(found)]
        .into_iter()
        .flat_map(|check| match check {
            Ok(line) => {
                println!("  ✓ {line}");
                Vec::new()
            }
            Err(differences) => {
                differences.iter().for_each(|line| println!("  ✗ {line}"));
                differences
            }
        })
        .collect()
}

type Check = Result<String, Vec<String>>;

fn changelog(expected: &Expected, found: &Found) -> Check {
    let total: i64 = expected.changes.values().sum();
    let count = |op: &str| human(expected.changes.get(op).copied().unwrap_or_default());
    if found.changes != expected.changes {
        return Err(vec![format!("changelog: {:?}, generated {:?}", found.changes, expected.changes)]);
    }
    if found.positions != total {
        return Err(vec![format!("changelog: {total} events at {} positions", found.positions)]);
    }
    let (inserts, updates, deletes) = (count("c"), count("u"), count("d"));
    Ok(format!(
        "changelog: {} events, each once ({inserts} inserts, {updates} updates, {deletes} deletes)",
        human(total)
    ))
}

fn windows(expected: &Expected, found: &Found) -> Check {
    let mut differences = Vec::new();
    let twice = found.windows.iter().filter(|(_, (_, rows))| *rows > 1);
    differences.extend(twice.take(NAMED).map(|(key, (_, rows))| format!("windows: {} has {rows} rows", name(key))));
    let mut sums = found.late.clone();
    found.windows.iter().for_each(|(key, (count, _))| *sums.entry(key.clone()).or_default() += count);
    let keys: BTreeSet<_> = sums.keys().chain(expected.registrations.keys()).collect();
    let count = |counts: &Counts, key: &(String, i64)| counts.get(key).copied().unwrap_or_default();
    let different = keys.iter().filter(|key| count(&sums, key) != count(&expected.registrations, key));
    differences.extend(different.take(NAMED).map(|key| {
        let (found_count, late) = (found.windows.get(*key).map_or(0, |it| it.0), count(&found.late, key));
        let generated = count(&expected.registrations, key);
        format!("windows: {} has {found_count} and {late} late, generated {generated}", name(key))
    }));
    if !differences.is_empty() {
        return Err(differences);
    }
    let late: i64 = found.late.values().sum();
    let all: i64 = sums.values().sum();
    Ok(format!(
        "windows: {} rows, each once; they and {} late rows are {} registrations, equal in every window and store",
        human(found.windows.len() as i64),
        human(late),
        human(all)
    ))
}

fn mirror(expected: &Expected, found: &Found) -> Check {
    let keys: BTreeSet<_> = expected.customers.keys().chain(found.customers.keys()).collect();
    let different = keys.iter().filter(|key| expected.customers.get(**key) != found.customers.get(**key));
    let mut differences: Vec<_> = different
        .take(NAMED)
        .map(|key| {
            let (is, must) = (found.customers.get(*key), expected.customers.get(*key));
            format!("mirror: customer {key} is {is:?}, generated {must:?}")
        })
        .collect();
    if found.mirror_rows != found.customers.len() {
        differences.push(format!("mirror: {} rows for {} customers", found.mirror_rows, found.customers.len()));
    }
    if !differences.is_empty() {
        return Err(differences);
    }
    Ok(format!(
        "mirror: {} customers, each with its present store and e-mail address",
        human(found.customers.len() as i64)
    ))
}

fn dead_letters(found: &Found) -> Check {
    match found.dead_letters {
        0 => Ok("dead letters: none".into()),
        count => Err(vec![format!("dead letters: {count}, although all that was generated is good")]),
    }
}

fn human(count: i64) -> HumanCount {
    HumanCount(count.unsigned_abs())
}

fn name((window, store): &(String, i64)) -> String {
    format!("window {window} of store {store}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Expected, Found) {
        let key = |store| ("2026-11-21 07:06:12".to_owned(), store);
        let customers = BTreeMap::from([(1, (2, "a@example.com".to_owned()))]);
        let changes = BTreeMap::from([("c".to_owned(), 3)]);
        let expected = Expected {
            changes: changes.clone(),
            registrations: BTreeMap::from([(key(1), 2), (key(2), 1)]),
            customers: customers.clone(),
        };
        let found = Found {
            changes,
            positions: 3,
            windows: BTreeMap::from([(key(1), (1, 1)), (key(2), (1, 1))]),
            late: BTreeMap::from([(key(1), 1)]),
            mirror_rows: customers.len(),
            customers,
            dead_letters: 0,
        };
        (expected, found)
    }

    #[test]
    fn windows_and_late_rows_together_are_what_was_generated() {
        let (expected, found) = sample();
        assert_eq!(compare(&expected, &found), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_found() {
        type Change = fn(&mut Found);
        let change: [(&str, Change); 6] = [
            ("changelog", |found| found.changes.clear()),
            ("changelog", |found| found.positions = 2),
            ("windows", |found| found.late.clear()),
            ("windows", |found| found.windows.values_mut().for_each(|window| window.1 = 2)),
            ("mirror", |found| found.mirror_rows = 2),
            ("mirror", |found| found.customers.values_mut().for_each(|customer| customer.0 = 9)),
        ];
        for (kind, change) in change {
            let (expected, mut found) = sample();
            change(&mut found);
            let differences = compare(&expected, &found);
            assert!(differences.iter().any(|line| line.starts_with(kind)), "{kind}: {differences:?}");
        }
    }
}
