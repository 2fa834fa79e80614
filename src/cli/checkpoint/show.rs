//! `highwater checkpoint show`.

use std::collections::BTreeMap;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use super::{Found, Place, State, find, known, manifest_json, state, windows_json};
use crate::checkpoint::{Holds, Manifest, Position};
use crate::cli::print_result;
use crate::cli::table::Table;
use crate::cli::times::{ago, time, time_ago};
use crate::error::Result;
use crate::job::lane::now;

/// Arguments of `highwater checkpoint show`.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The job
    job: String,
    /// Which of its checkpoints [default: the newest]
    number: Option<u64>,
    #[command(flatten)]
    place: Place,
    /// As JSON: the manifest, and what is in the columns
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(args: &ShowArgs) -> Result<()> {
    let found = find(&args.place, &args.job, args.number).await?;
    let state = state(&found).await?;
    match args.json {
        true => {
            let outline = &found.outline;
            let parts = outline.parts.iter().map(|part| json!({ "holds": name(part.holds), "bytes": part.bytes }));
            let value = json!({
                "place": found.store.place(),
                "number": found.file.number,
                "bytes": found.file.bytes,
                "checked": outline.checked,
                "manifest": manifest_json(&outline.manifest)?,
                "windows": state.as_ref().map(windows_json).unwrap_or_else(|why| json!({ "unknown": why })),
                "parts": parts.collect::<Vec<_>>(),
            });
            print_result(&format!("{value:#}\n"))
        }
        false => print_result(&to_text(&found, &state, now())),
    }
}

/// The name of a part's file.
pub(super) fn name(holds: Holds) -> String {
    match holds {
        Holds::Windows(id) => format!("windows-{}-{}", id.pipeline, id.input),
        Holds::Rows(number) => format!("rows-{number}"),
        Holds::KeptRows => "kept-rows".to_owned(),
        Holds::Emitted(pipeline) => format!("emitted-{pipeline}"),
        Holds::Filled(pipeline) => format!("filled-{pipeline}"),
    }
}

fn to_text(found: &Found, state: &std::result::Result<State, String>, now: i64) -> String {
    let (outline, manifest) = (&found.outline, &found.outline.manifest);
    let mut text = format!(
        "checkpoint {} of {} in {}: {}, {}\n",
        found.file.number,
        manifest.job,
        found.store.place(),
        HumanBytes(found.file.bytes),
        super::list::state(outline)
    );
    text.push_str(&format!("saved {} by {}\n", time_ago(manifest.made_at, now), writer(manifest)));
    if manifest.started_at > 0 {
        text.push_str(&format!("the job was started afresh {}\n", time_ago(manifest.started_at, now)));
    }
    text.push_str(&format!("epoch {}\n\npositions\n", manifest.epoch));
    text.push_str(&positions(manifest));
    text.push_str("\nopen windows at the cut");
    match state {
        Err(why) => text.push_str(&format!(": {why}\n")),
        Ok(state) => text.push_str(&windows(state, found)),
    }
    text.push_str("\non its way when it was saved");
    text.push_str(&intents(manifest));
    let kept: u64 = outline.parts.iter().filter(|part| part.holds == Holds::KeptRows).map(|part| part.bytes).sum();
    if kept > 0 {
        text.push_str(&format!("\nkept rows of tables: {}\n", HumanBytes(kept)));
    }
    if let (Some(first), Some(last)) = (manifest.rows.first(), manifest.rows.last()) {
        let tables: Vec<&str> = manifest.kept.iter().map(String::as_str).collect();
        let files = manifest.rows.len();
        text.push_str(&format!("\nkept rows of {}: {files} files, rows-{first} to rows-{last}\n", tables.join(", ")));
    }
    if let Some(replay) = &manifest.replay {
        let what = if replay.takes_out {
            "what it makes again is still to be taken out of its tables"
        } else {
            "it reads again"
        };
        text.push_str(&format!("\nthe job was set back: {what}\n"));
    }
    for truncate in &manifest.truncates {
        text.push_str(&format!(
            "\ntable {} was truncated in {}[{}], which its other partitions have yet to follow\n",
            truncate.table, truncate.topic, truncate.partition
        ));
    }
    text
}

fn writer(manifest: &Manifest) -> String {
    manifest.writer.as_ref().map_or_else(
        || "a process that did not say".to_owned(),
        |it| {
            format!(
                "process {} on {}, which has run the job since {}",
                it.pid,
                it.host,
                time(it.since.div_euclid(1_000) * 1_000)
            )
        },
    )
}

fn positions(manifest: &Manifest) -> String {
    let mut table = Table::new(&["table", "partition", "next record", "of this epoch", "watermark", ""]);
    let mut least: BTreeMap<&str, i64> = BTreeMap::new();
    for it in &manifest.positions {
        let clock = least.entry(&it.table).or_insert(it.clock);
        *clock = (*clock).min(it.clock);
    }
    for it in &manifest.positions {
        let several = manifest.positions.iter().filter(|other| other.table == it.table).nth(1).is_some();
        let holds = several && least.get(it.table.as_str()) == Some(&it.clock);
        table.row(vec![
            it.table.clone(),
            format!("{}[{}]", it.topic, it.partition),
            HumanCount(it.offset.max(0) as u64).to_string(),
            HumanCount(records(it)).to_string(),
            known(it.clock).map_or_else(|| "none yet".to_owned(), time),
            if holds { "the least".to_owned() } else { String::new() },
        ]);
    }
    let mut text = table.to_string();
    for (table, watermark) in &manifest.watermarks {
        if let Some(watermark) = known(*watermark) {
            text.push_str(&format!("  windows over {table} are closed up to {}\n", time(watermark)));
        }
    }
    text
}

fn records(position: &Position) -> u64 {
    (position.offset - position.from).max(0) as u64
}

fn windows(state: &State, found: &Found) -> String {
    let open: Vec<_> = state.windows.iter().filter(|(_, _, open)| open.count > 0).collect();
    let mut text = match state.number == found.file.number {
        true => String::new(),
        false => format!(", in checkpoint {} (what was read since is read again)", state.number),
    };
    if open.is_empty() {
        return format!("{text}: none\n");
    }
    let mut table = Table::new(&["query", "windows", "open", "from", "to", "groups"]);
    for (query, kind, open) in open {
        table.row(vec![
            query.clone(),
            kind.clone(),
            HumanCount(open.count).to_string(),
            open.from.and_then(known).map(time).unwrap_or_default(),
            open.to.and_then(known).map(time).unwrap_or_default(),
            HumanCount(open.groups).to_string(),
        ]);
    }
    text.push_str(&format!("\n{table}"));
    text
}

fn intents(manifest: &Manifest) -> String {
    if manifest.intents.is_empty() {
        return ": nothing\n".to_owned();
    }
    let mut table = Table::new(&["table", "rows", "made", "kept", "token"]);
    for intent in &manifest.intents {
        table.row(vec![
            manifest.described.table(intent.output),
            HumanCount(intent.rows as u64).to_string(),
            ago(intent.made_at, now()),
            if intent.inline { "in the checkpoint" } else { "in the topic" }.to_owned(),
            intent.token.clone(),
        ]);
    }
    format!("\n{table}")
}
