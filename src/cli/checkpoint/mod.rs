//! `highwater checkpoint`: what is saved of a job. Only looks: whoever runs the job goes on undisturbed.

mod export;
mod list;
mod show;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::run::variables;
use crate::checkpoint::{CheckpointStore, Content, Listed, Manifest, OpenWindows, Outline};
use crate::error::{Error, Result};
use crate::options::without_user;
use crate::window::watermark::{BEGINNING_OF_TIME, END_OF_TIME};

const EXAMPLES: &str = "\
Examples:
  highwater checkpoint list                                       # of all jobs in .highwater/checkpoints
  highwater checkpoint list registrations_per_store --check       # compares the checksums, however large they are
  highwater checkpoint show registrations_per_store --json
  highwater checkpoint show registrations_per_store 1204
  highwater checkpoint export registrations_per_store --to folder # the open windows as Arrow streams
  highwater checkpoint list --checkpoint-dir s3://bucket/folder";

/// Arguments of `highwater checkpoint`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckpointArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The checkpoints that there are: when, by whom, how large, damaged or not
    List(list::ListArgs),
    /// One checkpoint: positions, watermarks, open windows, what was on its way
    Show(show::ShowArgs),
    /// One checkpoint as files: its manifest as JSON, its columns as Arrow streams
    Export(export::ExportArgs),
}

/// Where checkpoints are.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Where checkpoints are kept: a folder, or s3://, gs://, az://
    #[arg(
        long,
        value_name = "PLACE",
        env = "HIGHWATER_CHECKPOINT_DIR",
        default_value = super::run::CHECKPOINTS
    )]
    checkpoint_dir: String,
}

impl Place {
    /// The store of a job, to look at.
    pub(super) fn store(&self, job: &str) -> Result<CheckpointStore> {
        CheckpointStore::to_look_at(&self.checkpoint_dir, variables(), job)
    }

    /// The place, without what must not be shown.
    pub(super) fn shown(&self) -> String {
        without_user(&self.checkpoint_dir)
    }
}

/// Runs the command.
pub(crate) async fn run(args: &CheckpointArgs) -> Result<()> {
    match &args.command {
        Command::List(args) => list::run(args).await,
        Command::Show(args) => show::run(args).await,
        Command::Export(args) => export::run(args).await,
    }
}

/// A checkpoint that has been looked up.
pub(super) struct Found {
    pub(super) store: CheckpointStore,
    pub(super) file: Listed,
    pub(super) outline: Outline,
}

/// The newest checkpoint of a job that is whole; none, when there is none.
pub(super) async fn newest(place: &Place, job: &str) -> Result<Option<Found>> {
    let (store, mut last) = (place.store(job)?, u64::MAX);
    for file in store.list().await?.into_iter().rev() {
        if file.number > last {
            continue;
        }
        match store.inspect(&file, false).await? {
            Ok(Content::Checkpoint(outline)) => return Ok(Some(Found { store, file, outline: *outline })),
            Ok(Content::Claim { afresh: true, .. }) => break,
            Ok(Content::Claim { from, .. }) => last = from.unwrap_or(last),
            Err(damage) => tracing::warn!("checkpoint {} in {} cannot be read: {damage}", file.number, store.place()),
        }
    }
    Ok(None)
}

/// A checkpoint by its number, or the newest.
pub(super) async fn find(place: &Place, job: &str, number: Option<u64>) -> Result<Found> {
    let Some(number) = number else {
        return match newest(place, job).await? {
            Some(found) => Ok(found),
            None => Err(none(place, job).await),
        };
    };
    let store = place.store(job)?;
    let all = store.list().await?;
    let Some(file) = all.iter().find(|file| file.number == number).cloned() else {
        let range =
            all.first().zip(all.last()).map(|(first, last)| format!("; there are {} to {}", first.number, last.number));
        return Err(Error::config(format!(
            "there is no checkpoint {number} in {}{}",
            store.place(),
            range.unwrap_or_default()
        )));
    };
    match store.inspect(&file, false).await? {
        Ok(Content::Checkpoint(outline)) => Ok(Found { store, file, outline: *outline }),
        Ok(Content::Claim { writer, .. }) => Err(Error::config(format!(
            "number {number} in {} is no checkpoint: there {writer} has taken the job over",
            store.place()
        ))),
        Err(damage) => Err(Error::config(format!("checkpoint {number} in {} cannot be used: {damage}", store.place()))),
    }
}

/// The error for a job without checkpoints.
async fn none(place: &Place, job: &str) -> Error {
    let jobs = match place.store(job) {
        Ok(store) => store.jobs().await.unwrap_or_default(),
        Err(error) => return error,
    };
    let others: Vec<&str> = jobs.iter().map(String::as_str).filter(|other| *other != job).collect();
    let hint = crate::error::suggestion(job, others.iter().copied());
    let there = match others.is_empty() {
        true => String::new(),
        false => format!("; there are those of {}", others.join(", ")),
    };
    Error::config(format!("there are no checkpoints of job \"{job}\" in {}{there}{hint}", place.shown()))
}

/// The windows that were open when a checkpoint was made, of each input: in it, or in the one before that it follows.
pub(super) struct State {
    /// The checkpoint that has them.
    pub(super) number: u64,
    pub(super) windows: Vec<(String, String, OpenWindows)>,
}

/// The open windows that a checkpoint follows from, or why they cannot be read.
pub(super) async fn state(found: &Found) -> Result<std::result::Result<State, String>> {
    let number = found.outline.manifest.state_number;
    let (file, outline) = match found.outline.has_state {
        true => (found.file.clone(), found.outline.clone()),
        false => {
            let file = found.store.list().await?.into_iter().find(|file| file.number == number);
            let Some(file) = file else { return Ok(Err(format!("checkpoint {number}, which has them, is missing"))) };
            match found.store.inspect(&file, false).await? {
                Ok(Content::Checkpoint(outline)) if outline.has_state => (file, *outline),
                Ok(_) => return Ok(Err(format!("checkpoint {number} has none"))),
                Err(damage) => {
                    return Ok(Err(format!("checkpoint {number}, which has them, cannot be used: {damage}")));
                }
            }
        }
    };
    let windows = match found.store.open_windows(&file, &outline).await? {
        Ok(windows) => windows,
        Err(damage) => return Ok(Err(damage)),
    };
    let described = &outline.manifest.described;
    let windows = windows.into_iter().map(|(id, open)| {
        let kind = described.queries.get(id.pipeline).and_then(|query| query.windows.get(id.input)).cloned();
        (described.query(id.pipeline), kind.unwrap_or_default(), open)
    });
    Ok(Ok(State { number: file.number, windows: windows.collect() }))
}

/// A time of a manifest; the ends of time are none.
pub(super) fn known(time: i64) -> Option<i64> {
    (time != BEGINNING_OF_TIME && time != END_OF_TIME).then_some(time)
}

/// A manifest as JSON, with the ends of time as null.
pub(super) fn manifest_json(manifest: &Manifest) -> Result<Value> {
    let mut value = serde_json::to_value(manifest).map_err(Error::internal)?;
    for position in value["positions"].as_array_mut().into_iter().flatten() {
        mend(&mut position["clock"]);
    }
    value["watermarks"].as_object_mut().into_iter().flatten().for_each(|(_, time)| mend(time));
    value["closed"].as_object_mut().into_iter().flatten().for_each(|(_, time)| mend(time));
    Ok(value)
}

fn mend(time: &mut Value) {
    if time.as_i64().is_some_and(|time| known(time).is_none()) {
        *time = Value::Null;
    }
}

/// Open windows as JSON.
pub(super) fn windows_json(state: &State) -> Value {
    let windows = state.windows.iter().map(|(query, kind, open)| {
        json!({
            "query": query, "windows": kind, "open": open.count, "from": open.from.and_then(known), "to": open.to.and_then(known),
            "groups": open.groups, "sessions": open.sessions,
        })
    });
    json!({ "checkpoint": state.number, "open": windows.collect::<Vec<_>>() })
}
