//! `highwater checkpoint list`.

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::Place;
use crate::checkpoint::{CheckpointStore, Content, Listed, Outline};
use crate::cli::print_result;
use crate::cli::table::Table;
use crate::cli::times::time;
use crate::error::{Error, Result};

/// Arguments of `highwater checkpoint list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// The jobs [default: all that have checkpoints there]
    jobs: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// Read all of each checkpoint and compare its checksum
    #[arg(long)]
    check: bool,
    /// An object per job
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(args: &ListArgs) -> Result<()> {
    let jobs = match args.jobs.is_empty() {
        true => args.place.store("any")?.jobs().await?,
        false => args.jobs.clone(),
    };
    if jobs.is_empty() {
        return Err(Error::config(format!("there are no checkpoints in {}", args.place.shown())));
    }
    let mut all = Vec::new();
    for job in &jobs {
        let store = args.place.store(job)?;
        let files = store.list().await?;
        if files.is_empty() {
            return Err(super::none(&args.place, job).await);
        }
        let mut found = Vec::with_capacity(files.len());
        for file in files {
            let content = store.inspect(&file, args.check).await?;
            found.push((file, content));
        }
        match args.json {
            true => all.push(json!({
                "job": job,
                "place": store.place(),
                "checkpoints": found.iter().map(|(file, content)| to_json(file, content)).collect::<Vec<_>>(),
            })),
            false => print_result(&to_text(&store, &found))?,
        }
    }
    if args.json { print_result(&format!("{:#}\n", Value::Array(all))) } else { Ok(()) }
}

type Looked = std::result::Result<Content, String>;

fn to_text(store: &CheckpointStore, found: &[(Listed, Looked)]) -> String {
    let mut table =
        Table::new(&["number", "saved", "by", "size", "epoch", "records read", "on their way", "windows", ""]);
    for (file, content) in found {
        let (by, rest, state) = match content {
            Err(damage) => (String::new(), [const { String::new() }; 4], format!("damaged: {damage}")),
            Ok(Content::Claim { writer, afresh, from }) => {
                let what = match from {
                    Some(from) => format!("took the job over, back to {from}"),
                    None if *afresh => "started afresh".to_owned(),
                    None => "took the job over".to_owned(),
                };
                (format!("{} on {}", writer.pid, writer.host), [const { String::new() }; 4], what)
            }
            Ok(Content::Checkpoint(outline)) => (writer(outline), columns(outline), state(outline).to_owned()),
        };
        let saved = content.as_ref().ok().map(|content| match content {
            Content::Checkpoint(outline) => outline.manifest.made_at,
            Content::Claim { writer, .. } => writer.since,
        });
        let saved = saved.unwrap_or(file.written_at).div_euclid(1_000) * 1_000;
        let row = [file.number.to_string(), time(saved), by, HumanBytes(file.bytes).to_string()];
        table.row(row.into_iter().chain(rest).chain([state]).collect());
    }
    format!("{} in {}\n{table}", store.job(), store.place())
}

fn columns(outline: &Outline) -> [String; 4] {
    let manifest = &outline.manifest;
    let read: i64 = manifest.positions.iter().map(|it| (it.offset - it.from).max(0)).sum();
    let rows: usize = manifest.intents.iter().map(|intent| intent.rows).sum();
    let on_their_way = match manifest.intents.len() {
        0 => "nothing".to_owned(),
        blocks => {
            format!("{} rows, {blocks} {}", HumanCount(rows as u64), if blocks == 1 { "block" } else { "blocks" })
        }
    };
    let windows = if outline.has_state { "here".to_owned() } else { format!("in {}", manifest.state_number) };
    [manifest.epoch.to_string(), HumanCount(read as u64).to_string(), on_their_way, windows]
}

fn writer(outline: &Outline) -> String {
    outline.manifest.writer.as_ref().map(|it| format!("{} on {}", it.pid, it.host)).unwrap_or_default()
}

/// What is known of its state.
pub(super) fn state(outline: &Outline) -> &'static str {
    match (outline.manifest.finished, outline.checked) {
        (true, true) => "whole; the job's end",
        (true, false) => "the job's end; not checked",
        (false, true) => "whole",
        (false, false) => "not checked",
    }
}

fn to_json(file: &Listed, content: &Looked) -> Value {
    let mut value = json!({ "number": file.number, "bytes": file.bytes, "written_at": file.written_at });
    let more = match content {
        Err(damage) => json!({ "kind": "damaged", "damage": damage }),
        Ok(Content::Claim { writer, afresh, from }) => {
            json!({ "kind": "claim", "writer": writer, "afresh": afresh, "from": from })
        }
        Ok(Content::Checkpoint(outline)) => {
            let manifest = &outline.manifest;
            json!({
                "kind": "checkpoint",
                "checked": outline.checked,
                "made_at": manifest.made_at,
                "writer": manifest.writer,
                "epoch": manifest.epoch,
                "has_windows": outline.has_state,
                "state_number": manifest.state_number,
                "intents": manifest.intents.len(),
                "rows": manifest.intents.iter().map(|intent| intent.rows).sum::<usize>(),
                "finished": manifest.finished,
            })
        }
    };
    if let (Some(value), Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    value
}
