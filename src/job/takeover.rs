//! Whether a job may go on from its checkpoint, and making this process the one that writes.

use super::changed_query;
use super::outputs::Outputs;
use super::settings::Settings;
use crate::checkpoint::{Recovered, Writer};
use crate::error::{Error, Result};
use crate::sql::query::Query;

/// The newest number in the store, and the checkpoint to go on from.
pub(super) type Found = (u64, Option<Recovered>);

/// What a checkpoint must fit to: nothing, when it is of this very process.
pub(super) type Known<'a> = Option<(&'a Query, &'a Outputs)>;

pub(super) async fn recover(known: Known<'_>, settings: &Settings) -> Result<Found> {
    let found = settings.checkpoints.recover().await?;
    let Some(recovered) = found.1.as_ref().filter(|_| settings.set_back.is_none()) else { return Ok(found) };
    if let Some((query, outputs)) = known {
        changed_query::check(recovered, query, &outputs.tables, settings)?;
    }
    let manifest = &recovered.last.manifest;
    if manifest.finished && manifest.intents.is_empty() {
        return Err(Error::config(format!(
            "job \"{}\" has run to its end (checkpoint in {}); run it under another --name, or start afresh with --reset-state",
            settings.name,
            settings.checkpoints.place()
        )));
    }
    Ok(found)
}

/// Makes this process the one that writes, and returns the checkpoint that it goes on from: another one than was `found`, when
/// there was still somebody writing.
pub(super) async fn take_over(
    found: Found,
    known: Known<'_>,
    settings: &Settings,
) -> Result<(Writer, Option<Recovered>)> {
    let (newest, mut recovered) = found;
    let mut writer = settings.checkpoints.claim(settings.outside.now()).await?;
    if writer.number() != newest + 1 {
        let had_one = recovered.is_some();
        recovered = recover(known, settings).await?.1;
        if recovered.is_some() != had_one {
            return Err(Error::transient(
                format!("cannot take over job \"{}\"", settings.name),
                "another process has just started it; start this one again to take over from it",
            ));
        }
    }
    if let Some(recovered) = &mut recovered {
        writer.follow(&recovered.with_state.manifest);
        if let Some((query, _)) = known.filter(|_| settings.set_back.is_none()) {
            changed_query::renumber(recovered, query);
        }
    }
    Ok((writer, recovered))
}
