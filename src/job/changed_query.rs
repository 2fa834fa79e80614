//! A query that is not the one of its checkpoint any more: what goes on, and what cannot.
//!
//! INSERTs are told by what they do, not by their place in the file. One that is as it was goes on with its state; one that is gone leaves
//! nothing behind. One that is new begins where the job stands, which is right when each row goes its way alone, or when nothing
//! has been read of its tables; anything else would begin in the middle, and is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::settings::Settings;
use crate::checkpoint::{Manifest, Recovered, State};
use crate::error::{Error, Result};
use crate::sink::OutputTable;
use crate::sql::plan::pipeline::{Pipeline, Work};
use crate::sql::plan::relation::Reading;
use crate::sql::query::Query;
use crate::window::aggregate::InputId;

/// Where each pipeline of a checkpoint is now, by its number then; `None` when it is gone.
type Places = Vec<Option<usize>>;

/// The plan of each pipeline in words.
pub(super) fn fingerprints(query: &Query) -> Vec<String> {
    query.pipelines.iter().map(|pipeline| pipeline.fingerprint.clone()).collect()
}

/// What each output is, for people and for comparison: blocks that are still to be inserted are of these.
pub(super) fn outputs_in_words(outputs: &[OutputTable]) -> Vec<String> {
    let of = |output: &OutputTable| {
        let places =
            ["connector", "database", "table", "path"].map(|name| output.options.get(name).unwrap_or_default());
        format!("{} {:?} {}", output.name(), output.form, places.join(" "))
    };
    outputs.iter().map(of).collect()
}

/// Refuses a query that cannot go on from a checkpoint, with the choices.
pub(super) fn check(recovered: &Recovered, query: &Query, outputs: &[OutputTable], settings: &Settings) -> Result<()> {
    let manifest = &recovered.last.manifest;
    let refuse = |why: String| {
        Err(Error::config(format!(
            "the query of job \"{}\" is not the one of its checkpoint {} in {} any more: {why}. Run it under another \
             --name and into other tables, read everything again with --from earliest, or start afresh with --reset-state and empty tables",
            settings.name,
            manifest.number,
            settings.checkpoints.place()
        )))
    };
    let is_same = manifest.fingerprints == fingerprints(query);
    let writes_the_same = manifest.outputs.is_empty() || manifest.outputs == outputs_in_words(outputs);
    if is_same && (writes_the_same || manifest.intents.is_empty()) {
        return Ok(());
    }
    if !manifest.intents.is_empty() || manifest.epoch != recovered.with_state.manifest.epoch {
        return refuse(
            "the job was not stopped but ended in the middle of its work, which only the query that it had can complete (run that once \
             more, stop it with SIGTERM, and then run this one)"
                .to_owned(),
        );
    }
    let places = places(manifest, query);
    let read: BTreeSet<&str> = manifest.positions.iter().map(|position| position.table.as_str()).collect();
    let kept = recovered.with_state.kept_tables();
    for (_, pipeline) in new(&places, query) {
        let into = name(pipeline);
        let begun: Vec<&str> = pipeline.table_names().into_iter().filter(|table| read.contains(table)).collect();
        let Some(table) = begun.first() else { continue };
        if !is_row_by_row(pipeline) {
            let what = if pipeline.windowed().is_some() { "its windows" } else { "its rows" };
            return refuse(format!(
                "{into} is new or does something else than before, and {what} would begin in the middle of \"{table}\", which has \
                 been read up to there"
            ));
        }
        if let Some(table) = begun.into_iter().find(|table| kept.contains(table)) {
            return refuse(format!(
                "{into} is new, and the rows that are kept of \"{table}\" may lack columns that it needs"
            ));
        }
    }
    Ok(())
}

/// Gives what was saved the numbers of the query as it is now. [`check`] has found that it goes on.
pub(super) fn renumber(recovered: &mut Recovered, query: &Query) {
    let manifest = &recovered.last.manifest;
    if manifest.fingerprints == fingerprints(query) {
        return;
    }
    let places = places(manifest, query);
    for (_, pipeline) in new(&places, query) {
        tracing::warn!("{} is new: it gets what comes from now on", name(pipeline));
    }
    match places.iter().filter(|place| place.is_none()).count() {
        0 => {}
        gone => tracing::warn!("{gone} INSERTs of the query are gone or have changed: their state is dropped"),
    }
    for checkpoint in [&mut recovered.last, &mut recovered.with_state] {
        let manifest = &mut checkpoint.manifest;
        manifest.fingerprints = fingerprints(query);
        manifest.closed = by_place(std::mem::take(&mut manifest.closed), &places);
        manifest.closed_before = by_place(std::mem::take(&mut manifest.closed_before), &places);
        if let Some(state) = checkpoint.state.take() {
            let place = |id: InputId| Some(InputId { pipeline: places.get(id.pipeline).copied().flatten()?, ..id });
            let windows = state.windows.into_iter().filter_map(|(id, windows)| Some((place(id)?, windows)));
            checkpoint.state = Some(State {
                windows: windows.collect(),
                emitted: by_place(state.emitted, &places),
                filled: by_place(state.filled, &places),
                keyed: state.keyed,
            });
        }
    }
}

fn by_place<T>(saved: BTreeMap<usize, T>, places: &Places) -> BTreeMap<usize, T> {
    saved.into_iter().filter_map(|(number, it)| Some((places.get(number).copied().flatten()?, it))).collect()
}

/// Equal ones in their order.
fn places(manifest: &Manifest, query: &Query) -> Places {
    let mut free: Vec<Option<String>> = fingerprints(query).into_iter().map(Some).collect();
    let place = |saved: &String| {
        let place = free.iter().position(|it| it.as_ref() == Some(saved))?;
        free[place] = None;
        Some(place)
    };
    manifest.fingerprints.iter().map(place).collect()
}

fn new<'q>(places: &Places, query: &'q Query) -> impl Iterator<Item = (usize, &'q Pipeline)> {
    let known: BTreeSet<usize> = places.iter().flatten().copied().collect();
    let pipelines = query.pipelines.iter().map(AsRef::as_ref).enumerate();
    pipelines.filter(move |(number, _)| !known.contains(number))
}

fn is_row_by_row(pipeline: &Pipeline) -> bool {
    matches!(pipeline.work, Work::Append) && pipeline.feeds.iter().all(|feed| feed.reading != Reading::Table)
}

fn name(pipeline: &Pipeline) -> String {
    match &pipeline.target {
        Some(target) => format!("INSERT INTO \"{}\"", target.name),
        None => "the SELECT".to_owned(),
    }
}
