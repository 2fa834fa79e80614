//! A job that does not answer, by its last checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use indicatif::HumanCount;

use crate::checkpoint::{Manifest, Position, Process};
use crate::cli::checkpoint::{State, known};
use crate::cli::times::{time, time_ago};

/// How many partitions of a table are told of.
const SHOWN: usize = 4;

/// All that there is to say.
pub(super) fn sentences(manifest: &Manifest, state: Result<&State, &String>, why_not: &str, now: i64) -> Vec<String> {
    let job = &manifest.job;
    let saved = time_ago(manifest.made_at, now);
    let mut said = vec![format!(
        "{job} does not say how it is: {why_not}. What follows is from its checkpoint {}, saved {saved}.",
        manifest.number
    )];
    said.extend(manifest.writer.as_ref().map(|writer| process(writer, job)));
    if manifest.finished {
        said.push(format!(
            "{job} has run to its end: all that it was bounded to has been read and every window is closed."
        ));
        return said;
    }
    let rows: usize = manifest.intents.iter().map(|intent| intent.rows).sum();
    said.push(match manifest.intents.len() {
        0 => "Nothing was on its way when it was saved.".to_owned(),
        blocks => format!(
            "{} rows in {blocks} {} were about to be inserted when it was saved; the next run looks which of them are in their tables, and \
             sends the rest.",
            HumanCount(rows as u64),
            if blocks == 1 { "block" } else { "blocks" }
        ),
    });
    let mut tables: BTreeMap<&str, Vec<&Position>> = BTreeMap::new();
    manifest.positions.iter().for_each(|it| tables.entry(&it.table).or_default().push(it));
    said.extend(tables.iter().map(|(name, positions)| table(name, positions, manifest)));
    match state {
        Err(why) => said.push(format!("Its open windows cannot be told: {why}.")),
        Ok(state) => said.extend(windows(state, manifest)),
    }
    said
}

/// Who has written the checkpoint, and whether it still runs, where that can be known.
fn process(writer: &Process, job: &str) -> String {
    let wrote = format!("It was saved by process {} on {}", writer.pid, writer.host);
    if Process::this(0).host != writer.host {
        return format!("{wrote}; whether that runs is not known here.");
    }
    match Path::new("/proc").join(writer.pid.to_string()).is_dir() {
        true => format!(
            "{wrote}, and there is a process of this number: the job may well run. Start it with --metrics ADDRESS, so that it can be asked."
        ),
        false => format!("{wrote}, which is no longer there: {job} does not run. Started again, it goes on from here."),
    }
}

fn table(name: &str, positions: &[&Position], manifest: &Manifest) -> String {
    let place = |it: &&Position| format!("{}[{}] {}", it.topic, it.partition, HumanCount(it.offset.max(0) as u64));
    let shown: Vec<String> = positions.iter().take(SHOWN).map(place).collect();
    let more = if positions.len() > SHOWN { ", …" } else { "" };
    let read = format!("Table {name} goes on at offsets {}{more}", shown.join(", "));
    let watermark = manifest.watermarks.get(name).copied().and_then(known);
    let least = positions.iter().min_by_key(|it| it.clock);
    match (watermark, least) {
        (Some(at), Some(least)) => {
            let held = match positions.len() {
                1 => String::new(),
                _ => format!(", the furthest behind is {}[{}]", least.topic, least.partition),
            };
            let clock = known(least.clock).map(|clock| format!(" at {}", time(clock))).unwrap_or_default();
            format!("{read}. Its watermark was at {}{held}{}.", time(at), if held.is_empty() { "" } else { &clock })
        }
        (None, Some(least)) if positions.iter().any(|it| known(it.clock).is_some()) => {
            format!("{read}. It had no watermark yet: {}[{}] has brought no event time.", least.topic, least.partition)
        }
        _ => format!("{read}."),
    }
}

fn windows(state: &State, manifest: &Manifest) -> Vec<String> {
    let of_state = match state.number == manifest.number {
        true => String::new(),
        false => format!(" (in checkpoint {}, from which this one follows)", state.number),
    };
    let open = state.windows.iter().filter(|(_, _, open)| open.count > 0);
    let said = open.map(|(query, kind, open)| {
        let span = open.from.and_then(known).zip(open.to.and_then(known));
        let span = span.map(|(from, to)| format!(", from {} to {}", time(from), time(to))).unwrap_or_default();
        let next = match open.first_end.and_then(known) {
            Some(end) => format!(" The first ends at {}: it closes when the watermark is there.", time(end)),
            None => String::new(),
        };
        format!(
            "{query}: {} {} open{of_state}{span}, with {} groups.{next}",
            HumanCount(open.count),
            if open.count == 1 { format!("window ({kind}) was") } else { format!("windows ({kind}) were") },
            HumanCount(open.groups)
        )
    });
    let said: Vec<_> = said.collect();
    if said.is_empty() && !state.windows.is_empty() { vec![format!("No window was open{of_state}.")] } else { said }
}
