//! A running job in sentences: what stands in the way first.

use indicatif::HumanCount;

use crate::cli::times::{ago, lasting, time, time_ago};
use crate::job::report::{Counts, PartitionSeen, QuerySeen, Report, Seen, TableSeen, Wait, WaitsFor};

/// How long an epoch may be on its way before it is worth a word, in milliseconds.
const SLOW: i64 = 5_000;
/// How old a look may be before it is worth a word.
const STALE: i64 = 5_000;

/// All that there is to say.
pub(super) fn sentences(report: &Report) -> Vec<String> {
    let now = report.now;
    let process = &report.process;
    let mut said = vec![format!(
        "{} runs: process {} on {}, since {}.",
        report.job,
        process.pid,
        process.host,
        time_ago(process.since, now)
    )];
    said.extend(report.waits.iter().map(|it| wait(it, now)));
    match &report.seen {
        None => said.push(
            "It is still starting: it opens its topics and tables, or goes on from its checkpoint by reading again what came since."
                .to_owned(),
        ),
        Some(seen) => {
            said.extend(delivery(seen, report));
            seen.tables.iter().for_each(|it| said.extend(table(it, now)));
            if report.counts.paused_partitions > 0 {
                said.push(format!(
                    "{} wait for others of their table to come near, so that few windows are open ('scan.watermark.alignment.max-drift').",
                    counted(report.counts.paused_partitions, "partition", "partitions")
                ));
            }
            said.extend(seen.queries.iter().map(|it| query(it, seen)));
        }
    }
    said.extend(left_out(&report.counts));
    said.push(match report.checkpoint {
        Some(it) => format!("The last checkpoint is {}, saved {}.", it.number, time_ago(it.saved_at, now)),
        None => "This process has saved no checkpoint yet; a job with nothing to write saves none.".to_owned(),
    });
    said
}

fn wait(wait: &Wait, now: i64) -> String {
    let Wait { name, error, .. } = wait;
    let tried = format!("{} ({})", lasting(now - wait.since), counted(wait.tries, "try", "tries"));
    match wait.what {
        WaitsFor::Source => {
            format!(
                "The records of {name} are being waited for, {tried}: {error}. They are read as soon as they can be."
            )
        }
        WaitsFor::Schemas => {
            format!(
                "The schema registry is being waited for, {tried}: table {name} cannot be decoded without it: {error}."
            )
        }
        WaitsFor::Target => format!(
            "Table {name} is being waited for, {tried}: {error}. Nothing is lost: its rows are sent again until they are in place."
        ),
        WaitsFor::Checkpoints => {
            format!(
                "The checkpoint store is being waited for, {tried}: {error}. Nothing is inserted before a checkpoint is saved."
            )
        }
    }
}

fn delivery(seen: &Seen, report: &Report) -> Vec<String> {
    let now = report.now;
    let mut said = Vec::new();
    // While brokers are away, it waits for their answers.
    let asks = report.waits.iter().any(|wait| wait.what == WaitsFor::Source);
    if now - seen.at > STALE && !asks {
        said.push(format!("The job has last looked at itself {}: it is busy, or hangs.", ago(seen.at, now)));
    }
    if seen.stopping {
        said.push("It has been told to stop, and delivers what it has read.".to_owned());
    }
    if let Some(since) = seen.delivering_since.filter(|since| now - since >= SLOW) {
        let open: Vec<_> = report.open_intents.iter().map(|(table, blocks)| format!("{table} ({blocks})")).collect();
        let open = if open.is_empty() {
            "its checkpoint is being saved".to_owned()
        } else {
            format!("not yet in place: {}", open.join(", "))
        };
        said.push(format!("An epoch has been on its way for {}; {open}.", lasting(now - since)));
    }
    if seen.is_full {
        said.push(format!(
            "Behind it {} wait, as many as may: nothing more is read until it is in place.",
            counted(seen.gathered_rows, "row", "rows")
        ));
    }
    said
}

fn table(table: &TableSeen, now: i64) -> Vec<String> {
    let mut said = vec![reading(table, now)];
    if table.has_windows {
        said.push(watermark(table, now));
        let idle: Vec<_> = table.partitions.iter().filter(|it| it.idle).collect();
        if !idle.is_empty() && idle.len() < table.partitions.len() {
            let shown: Vec<_> = idle.iter().take(5).map(ToString::to_string).collect();
            let more = if idle.len() > shown.len() { ", …" } else { "" };
            let are = if idle.len() == 1 { "is idle and holds nothing back" } else { "are idle and hold nothing back" };
            said.push(format!(
                "Of its {} {} {are}: {}{more}.",
                counted(table.partitions.len() as u64, "partition", "partitions"),
                idle.len(),
                shown.join(", ")
            ));
        }
    }
    said
}

fn reading(table: &TableSeen, now: i64) -> String {
    let lag = table.lag();
    let last = table.partitions.iter().map(|it| it.last_arrival).max();
    let came = last.map(|last| format!("; the last came {}", ago(last, now))).unwrap_or_default();
    match table.partitions.iter().max_by_key(|it| it.lag) {
        None => format!("Table {}: its topic has no partitions yet.", table.table),
        Some(_) if lag == 0 => format!("Table {}: every record that is known of has been read{came}.", table.table),
        Some(most) => format!(
            "Table {}: {} still to be read, most of them in {most} ({}){came}.",
            table.table,
            counted(lag, "record is", "records are"),
            HumanCount(most.lag)
        ),
    }
}

fn watermark(table: &TableSeen, now: i64) -> String {
    let name = &table.table;
    let stands = match table.watermark {
        Some(at) => {
            format!("The watermark of {name} has been at {} for {}", time(at), lasting(now - table.watermark_since))
        }
        None => format!("Table {name} has no watermark yet, so none of its windows can close"),
    };
    let Some(holder) = table.holder() else {
        return match table.partitions.iter().all(|it| it.idle) && !table.partitions.is_empty() {
            false => format!("{stands}."),
            true => format!(
                "{stands}. All of its partitions are idle: nothing more is expected before the greatest time that has come, and after \
                 'idle-close' it goes on with the clock."
            ),
        };
    };
    let why = match (holder.watermark, table.partitions.len()) {
        (None, _) => "has brought no event time yet",
        (Some(_), 1) => "is its only partition",
        (Some(_), _) if table.partitions.iter().filter(|it| !it.idle).count() == 1 => {
            "is the only one that is not idle"
        }
        (Some(_), _) => "is the furthest behind",
    };
    let held = format!(
        "{holder} has held it back for {}: it {why}, {}",
        lasting(now - table.held_since),
        state(holder, table, now)
    );
    let others = table.partitions.iter().filter(|it| !it.idle && *it != holder).filter_map(|it| it.watermark).min();
    let ahead =
        others.filter(|at| Some(*at) > holder.watermark).map(|at| format!(" Without it, it would be at {}.", time(at)));
    format!("{stands}; {held}.{}", ahead.unwrap_or_default())
}

/// What is known of the partition that holds the watermark back.
fn state(holder: &PartitionSeen, table: &TableSeen, now: i64) -> String {
    if holder.lag > 0 {
        return format!("and has {} to be read", counted(holder.lag, "record", "records"));
    }
    let came = format!("nothing has come for {}", lasting(now - holder.last_arrival));
    match (holder.at_end, table.idle_after) {
        (false, _) => format!("and is not known to have been read to its end ({came})"),
        (true, None) => format!("and has been read to its end ({came})"),
        (true, Some(after)) => format!(
            "and has been read to its end ({came}); it counts as idle after {} of silence ('idle-timeout'), and holds nothing back then",
            lasting(after)
        ),
    }
}

fn query(query: &QuerySeen, seen: &Seen) -> String {
    let QuerySeen { fills, open_windows, allowed_lateness, .. } = query;
    let closed = match query.closed_to {
        Some(at) => format!("{fills}: its windows ({}) are closed up to {}", query.windows.join(", "), time(at)),
        None => format!("{fills}: none of its windows ({}) has closed yet", query.windows.join(", ")),
    };
    let Some(next) = query.closes_next else { return format!("{closed}; none is open.") };
    let open = counted(*open_windows, "is open", "are open");
    let end = next.saturating_sub(*allowed_lateness);
    let lateness = match allowed_lateness {
        0 => String::new(),
        lateness => format!(" (it ends at {} and stays open for {})", time(end), lasting(*lateness)),
    };
    let missing = query.closed_to.map(|at| format!(", {} from where it is", lasting(next - at))).unwrap_or_default();
    let holders: Vec<_> = seen.tables.iter().filter(|it| query.reads.contains(&it.table)).collect();
    let whom = match holders.as_slice() {
        [one] => format!("the watermark of {}", one.table),
        _ => format!("the least watermark of {}", query.reads.join(", ")),
    };
    format!("{closed}; {open}. The next closes when {whom} reaches {}{missing}{lateness}.", time(next))
}

fn left_out(counts: &Counts) -> Vec<String> {
    let mut said = Vec::new();
    let late: u64 = counts.late.iter().map(|it| it.rows).sum();
    if late > 0 {
        let mut by = counts.late.clone();
        by.sort_by_key(|it| std::cmp::Reverse(it.rows));
        let shown: Vec<_> =
            by.iter().take(5).map(|it| format!("{}[{}] {}", it.topic, it.partition, HumanCount(it.rows))).collect();
        let more = if by.len() > shown.len() { ", …" } else { "" };
        said.push(format!(
            "{} late: {}{more}. The watermark of their own partition had passed the end of their window when they came; they are in the late \
             table. A longer delay in WATERMARK, or 'allowed-lateness', lets such rows count.",
            counted(late, "row was", "rows were"),
            shown.join(", ")
        ));
    }
    if !counts.dead_letters.is_empty() {
        let reasons: Vec<_> =
            counts.dead_letters.iter().map(|(reason, count)| format!("{reason} {}", HumanCount(*count))).collect();
        let all: u64 = counts.dead_letters.values().sum();
        said.push(format!(
            "{} not be used: {}; the dead letters have them with the reason.",
            counted(all, "record could", "records could"),
            reasons.join(", ")
        ));
    }
    if counts.unmatched > 0 {
        said.push(format!(
            "{} taken back and had never been there: was the topic read from its beginning?",
            counted(counts.unmatched, "row was", "rows were")
        ));
    }
    let retries: u64 = counts.retries.values().sum();
    if retries > 0 {
        let repeats: u64 = counts.repeats_dropped.values().sum();
        said.push(format!(
            "{} tried again; {} in place already, and were not sent twice.",
            counted(retries, "insert was", "inserts were"),
            counted(repeats, "row was", "rows were")
        ));
    }
    said
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(count), if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::checkpoint::Process;
    use crate::job::report::{LateRows, SavedCheckpoint};

    const NOW: i64 = 1_772_359_200_000;

    fn partition(number: i32, watermark: Option<i64>, lag: u64) -> PartitionSeen {
        PartitionSeen {
            topic: "shop.customer".into(),
            partition: number,
            offset: 100,
            end: Some(100 + lag as i64),
            lag,
            watermark,
            idle: false,
            at_end: lag == 0,
            last_arrival: NOW - 12_000,
        }
    }

    fn report() -> Report {
        let table = TableSeen {
            table: "customer".into(),
            has_windows: true,
            watermark: Some(NOW - 600_000),
            watermark_since: NOW - 11_000,
            held_by: Some(1),
            held_since: NOW - 10_000,
            idle_after: Some(30_000),
            partitions: vec![
                partition(0, Some(NOW - 60_000), 0),
                partition(1, Some(NOW - 600_000), 0),
                PartitionSeen { idle: true, ..partition(2, Some(NOW - 900_000), 0) },
            ],
        };
        let query = QuerySeen {
            fills: "shop.windows".into(),
            reads: vec!["customer".into()],
            windows: vec!["TUMBLE of 5 minutes".into()],
            closed_to: Some(NOW - 600_000),
            closes_next: Some(NOW - 300_000),
            allowed_lateness: 0,
            open_windows: 3,
        };
        let seen = Seen { at: NOW - 500, tables: vec![table], queries: vec![query], ..Seen::default() };
        Report {
            job: "j".into(),
            process: Process { id: "1".into(), host: "box".into(), pid: 7, since: NOW - 3_600_000 },
            now: NOW,
            counts: Counts {
                late: vec![LateRows { topic: "shop.customer".into(), partition: 0, rows: 12 }],
                dead_letters: BTreeMap::from([("malformed".into(), 3)]),
                ..Counts::default()
            },
            waits: vec![],
            checkpoint: Some(SavedCheckpoint { number: 12, epoch: 5, saved_at: NOW - 2_000 }),
            open_intents: BTreeMap::new(),
            seen: Some(seen),
        }
    }

    #[track_caller]
    fn says(report: &Report, parts: &[&str]) {
        let text = sentences(report).join("\n");
        parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in\n{text}"));
        assert!(text.lines().all(|line| line.ends_with('.') || line.ends_with('?')), "{text}");
    }

    #[test]
    fn what_holds_the_windows_back() {
        says(
            &report(),
            &[
                "j runs: process 7 on box, since 2026-03-01 09:00:00 (60 minutes ago).",
                "every record that is known of has been read; the last came 12 seconds ago",
                "The watermark of customer has been at 2026-03-01 09:50:00 for 11 seconds",
                "shop.customer[1] has held it back for 10 seconds: it is the furthest behind",
                "it counts as idle after 30 seconds of silence",
                "Without it, it would be at 2026-03-01 09:59:00.",
                "1 is idle and holds nothing back: shop.customer[2].",
                "shop.windows: its windows (TUMBLE of 5 minutes) are closed up to 2026-03-01 09:50:00; 3 are open.",
                "The next closes when the watermark of customer reaches 2026-03-01 09:55:00, 5 minutes from where it is.",
                "12 rows were late: shop.customer[0] 12.",
                "3 records could not be used: malformed 3",
                "The last checkpoint is 12, saved 2026-03-01 09:59:58 (2 seconds ago).",
            ],
        );
    }

    #[test]
    fn a_backlog_and_a_partition_without_event_times() {
        let mut report = report();
        let table = &mut report.seen.as_mut().unwrap().tables[0];
        table.partitions[1] = partition(1, None, 500);
        table.watermark = None;
        says(
            &report,
            &[
                "500 records are still to be read, most of them in shop.customer[1] (500)",
                "Table customer has no watermark yet",
                "has brought no event time yet, and has 500 records to be read",
            ],
        );
    }

    #[test]
    fn what_is_waited_for_comes_first() {
        let mut report = report();
        let wait =
            |what, name: &str| Wait { what, name: name.into(), error: "refused".into(), since: NOW - 30_000, tries: 4 };
        report.waits = vec![wait(WaitsFor::Source, "customer"), wait(WaitsFor::Target, "shop.windows")];
        report.open_intents = BTreeMap::from([("shop.windows".into(), 1)]);
        let seen = report.seen.as_mut().unwrap();
        (seen.delivering_since, seen.is_full, seen.gathered_rows) = (Some(NOW - 30_000), true, 250_000);
        says(
            &report,
            &[
                "The records of customer are being waited for, 30 seconds (4 tries): refused.",
                "Table shop.windows is being waited for, 30 seconds (4 tries): refused.",
                "An epoch has been on its way for 30 seconds; not yet in place: shop.windows (1).",
                "Behind it 250,000 rows wait, as many as may",
            ],
        );
        report.seen = None;
        says(&report, &["It is still starting"]);
    }

    #[test]
    fn a_report_goes_over_the_wire() {
        let text = serde_json::to_string(&report()).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report());
    }
}
