//! Whether a job may go on from its checkpoint, and making this process the one that writes.

use super::blocking::block_in_place;
use super::changed_query;
use super::outputs::Outputs;
use super::set_back::StartingPoint;
use super::settings::{Ending, Settings};
use super::table_input::TableInput;
use crate::checkpoint::{Described, Manifest, Recovered, Writer};
use crate::error::{Error, Result};
use crate::sink::Sink;
use crate::sql::query::Query;

/// The newest number in the store, and the checkpoint to go on from.
pub(super) type Found = (u64, Option<Recovered>);

/// What a checkpoint must fit to: nothing, when it is of this very process.
pub(super) type Known<'a> = Option<(&'a Query, &'a Outputs)>;

pub(super) async fn recover(known: Known<'_>, settings: &Settings) -> Result<Found> {
    let found = look_up(settings).await?;
    let Some(recovered) = found.1.as_ref().filter(|_| settings.set_back.is_none()) else { return Ok(found) };
    if let Some((query, outputs)) = known {
        changed_query::check(recovered, query, &outputs.tables, settings)?;
    }
    let manifest = &recovered.last.manifest;
    if manifest.finished && manifest.intents.is_empty() {
        return Err(Error::config(format!(
            "job \"{}\" has run to its end (checkpoint in {}); run it under another --name, or read everything again with --from earliest",
            settings.name,
            settings.checkpoints.place()
        )));
    }
    Ok(found)
}

/// The newest number and checkpoint. Who reads everything again needs none.
pub(super) async fn look_up(settings: &Settings) -> Result<Found> {
    match settings.set_back {
        Some(StartingPoint::Earliest) => settings.checkpoints.recover_if_whole().await,
        _ => settings.checkpoints.recover().await,
    }
}

/// What a job needs to go on from a checkpoint that is not its newest.
pub(super) struct Passed<'a> {
    pub(super) sinks: &'a mut [Box<dyn Sink>],
    pub(super) inputs: &'a mut [TableInput],
}

/// Makes this process the one that writes, and returns the checkpoint that it goes on from: another one than was `found`, when
/// there was still somebody writing.
pub(super) async fn take_over(
    found: Found,
    known: Known<'_>,
    settings: &Settings,
    mut passed: Passed<'_>,
) -> Result<(Writer, Option<Recovered>)> {
    let (mut newest, mut recovered) = found;
    let had_one = recovered.is_some();
    let mut writer = loop {
        let now = settings.outside.now();
        let claimed = match recovered.as_ref().filter(|it| it.passed_over > 0) {
            None => {
                let writer = settings.checkpoints.claim(now).await?;
                if writer.number() == newest + 1 {
                    break writer;
                }
                Some(writer)
            }
            Some(older) => {
                passed.check(older, settings).await?;
                let number = older.last.manifest.number;
                match settings.checkpoints.claim_from(number, newest, now).await? {
                    Some(writer) => break writer,
                    None => None,
                }
            }
        };
        (newest, recovered) = recover(known, settings).await?;
        if recovered.is_some() != had_one {
            return Err(Error::transient(
                format!("cannot take over job \"{}\"", settings.name),
                "another process has just started it; start this one again to take over from it",
            ));
        }
        // A claim says from where the job goes on, when that is not the newest checkpoint.
        let is_newest = recovered.as_ref().is_none_or(|it| it.passed_over == 0);
        if let Some(writer) = claimed.filter(|_| is_newest) {
            break writer;
        }
    };
    if let Some(recovered) = &mut recovered {
        writer.follow(&recovered.with_state.manifest);
        if let Some((query, _)) = known.filter(|_| settings.set_back.is_none()) {
            changed_query::renumber(recovered, query);
        }
    }
    Ok((writer, recovered))
}

/// Whether the job may start from nothing. Without checkpoints, such as in a folder that is not the right one, it would write all once
/// more beside what it has written.
pub(super) async fn check_afresh(
    found: &Found,
    settings: &Settings,
    described: &Described,
    sinks: &mut [Box<dyn Sink>],
) -> Result<()> {
    if found.0 > 0 || settings.set_back.is_some() {
        return Ok(());
    }
    for (sink, table) in sinks.iter_mut().zip(&described.tables) {
        if !sink.has_rows_of_job().await? {
            continue;
        }
        let (job, place) = (&settings.name, settings.checkpoints.place());
        if settings.ending == Ending::Bounded {
            tracing::warn!(
                "table {table} has rows of an earlier run of job \"{job}\"; what this one makes again is there twice: with --from \
                 earliest the earlier rows are taken out first"
            );
            return Ok(());
        }
        return Err(Error::config(format!(
            "there are no checkpoints of job \"{job}\" in {place}, but table {table} has rows of it, which would be there twice; is \
             --checkpoint-dir right? If the checkpoints are lost, run once with --from earliest, which takes the job's rows out of its \
             tables and makes them again; or with --reset-state, which leaves them where they are; or give the job another --name"
        )));
    }
    Ok(())
}

/// Says which tables the job had filled, and that are not there any more.
pub(super) fn warn_of_emptied(
    recovered: Option<&Recovered>,
    settings: &Settings,
    described: &Described,
    sinks: &[Box<dyn Sink>],
) {
    let Some(recovered) = recovered.filter(|_| settings.set_back != Some(StartingPoint::Earliest)) else { return };
    let manifest = &recovered.last.manifest;
    let created = described.tables.iter().zip(sinks).filter(|(_, sink)| sink.was_created());
    for (table, _) in created.filter(|(table, _)| manifest.described.tables.contains(table)) {
        tracing::warn!(
            "table {table} was there when checkpoint {} was made, and has now been created anew: what had been delivered to it is not in \
             it; to make that again, run once with --from earliest",
            manifest.number
        );
    }
}

impl Passed<'_> {
    /// Whether what was delivered after a checkpoint can be taken out of all tables, and be made again.
    async fn check(&mut self, older: &Recovered, settings: &Settings) -> Result<()> {
        if settings.set_back.is_some() {
            // That takes out more.
            return Ok(());
        }
        let manifest = &older.last.manifest;
        let made_at = chrono::DateTime::from_timestamp_millis(manifest.made_at).unwrap_or_default();
        let older_one = format!("checkpoint {} (of {})", manifest.number, made_at.format("%Y-%m-%d %H:%M:%S UTC"));
        if settings.allow_repeats {
            tracing::warn!(
                "going on from {older_one}, as those after it cannot be used; what was delivered since is taken out of the tables where \
                 that can be done, and may be there twice elsewhere"
            );
            return Ok(());
        }
        let checked = async {
            for sink in &mut *self.sinks {
                sink.check_return(manifest.epoch).await?;
            }
            self.inputs.iter_mut().try_for_each(|input| block_in_place(|| input.check_has(manifest)))
        };
        match checked.await {
            Err(error) if error.is_transient() => Err(error),
            Err(error) => Err(Error::config(format!(
                "the checkpoints after {older_one} in {} cannot be used, and going on from it would leave rows twice or lose some: {error}; \
                 put back the files from a copy, or go on with --allow-repeats, or start afresh with --reset-state and empty tables",
                settings.checkpoints.place(),
            ))),
            Ok(()) => {
                tracing::warn!(
                    "going on from {older_one}, as those after it cannot be used; what was delivered since is taken out of the tables \
                     and made again"
                );
                Ok(())
            }
        }
    }
}

impl TableInput {
    /// Whether the records from a checkpoint on are still there.
    fn check_has(&mut self, manifest: &Manifest) -> Result<()> {
        let own: Vec<_> = manifest.positions.iter().filter(|it| it.table == self.name()).collect();
        let existing = self.partitions()?;
        let names: Vec<_> = own.iter().map(|it| it.source()).filter(|it| existing.contains(it)).collect();
        let first = self.first_of(&names)?;
        let gone = own.iter().find_map(|it| {
            let first = *first.get(&it.source())?;
            (first > it.offset)
                .then(|| format!("{} begins at offset {first}, and {} is needed", it.source(), it.offset))
        });
        gone.map_or(Ok(()), |gone| Err(Error::config(gone)))
    }
}
