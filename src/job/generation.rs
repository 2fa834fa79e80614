//! Generations: offsets order the versions of a mirror only as long as a key's records stay in one partition of one topic.
//!
//! A topic that was deleted and created anew starts its offsets over; a topic that gets more partitions sends keys to
//! others. In both cases the versions of what is read from then on get a higher generation, which outranks every offset.
//! The place from which it holds is a cut, and checkpoints say which generation the records of their epochs have.

use std::collections::BTreeMap;

use super::table_input::TableInput;
use crate::change::TopicPartition;
use crate::checkpoint::{Manifest, Position, Recovered};
use crate::error::{Error, Result};

/// A partition whose offsets started over: its name, what was saved of it, and where it begins now.
pub struct Renewed {
    partition: TopicPartition,
    table: String,
    first: i64,
    topic_id: Option<String>,
}

impl TableInput {
    /// The partitions of a checkpoint whose topics are not the same any more.
    pub fn renewed(&mut self, saved: &Manifest) -> Result<Vec<Renewed>> {
        let own: Vec<Position> = saved.positions.iter().filter(|it| it.table == self.name()).cloned().collect();
        if own.is_empty() {
            return Ok(Vec::new());
        }
        let existing = self.partitions()?;
        let own: Vec<Position> = own.into_iter().filter(|it| existing.contains(&it.source())).collect();
        let names: Vec<_> = own.iter().map(Position::source).collect();
        let (ids, ends) = (self.ask_topic_ids(&names)?, self.ends_of(&names)?);
        let is_other = |position: &&Position| match (&position.topic_id, ids.get(&position.topic)) {
            (Some(old), Some(new)) => old != new,
            // Brokers that do not say: then by offsets that are not there.
            _ => ends.get(&position.source()).is_some_and(|end| position.offset > *end),
        };
        let others: Vec<_> = own.iter().filter(is_other).collect();
        let names: Vec<_> = others.iter().map(|position| position.source()).collect();
        let first = self.first_of(&names)?;
        let renewed = |position: &&Position| {
            let partition = position.source();
            let first = first.get(&partition).copied().unwrap_or(0);
            Renewed { partition, table: position.table.clone(), first, topic_id: ids.get(&position.topic).cloned() }
        };
        Ok(others.iter().map(renewed).collect())
    }

    /// Ends the job when a topic has been created anew while it is read.
    pub fn check_topics(&mut self) -> Result<()> {
        // Brokers that do not say have nothing to compare with, and may take their time not to say it again.
        if self.topic_ids().is_empty() {
            return Ok(());
        }
        let names: Vec<_> = self.ranges().map(|(partition, _)| partition).collect();
        let ids = self.ask_topic_ids(&names)?;
        let known = self.topic_ids();
        match ids.iter().find(|(topic, id)| known.get(*topic).is_some_and(|known| known != *id)) {
            Some((topic, _)) => Err(started_over(self.name(), topic)),
            None => Ok(()),
        }
    }
}

/// What to do about a topic whose offsets started over.
fn started_over(table: &str, topic: &str) -> Error {
    Error::config(format!(
        "table \"{table}\": the topic \"{topic}\" was deleted and created anew, so its offsets start over; run once with \
         --new-generation to read the new topic from its beginning into the same tables (mirrors follow the new records; \
         changelogs and windows get them beside the old ones), or start afresh with --reset-state and empty tables"
    ))
}

/// Takes the checkpoint of topics that have been created anew to the beginning of the new ones, if that is wanted.
pub fn renew(recovered: &mut Recovered, renewed: &[Renewed], wanted: bool) -> Result<()> {
    let Some(first) = renewed.first() else { return Ok(()) };
    if !wanted {
        return Err(started_over(&first.table, &first.partition.topic));
    }
    let by_name: BTreeMap<_, _> = renewed.iter().map(|it| ((it.table.as_str(), &it.partition), it)).collect();
    let lost: Vec<_> = recovered.last.manifest.intents.iter().filter(|intent| !intent.inline).collect();
    for intent in &lost {
        tracing::warn!(
            "the last insert of the job (\"{}\", {} rows) cannot be made again: the records are gone with their topic; \
             if it did not arrive, its rows are missing",
            intent.token,
            intent.rows
        );
    }
    for manifest in [&mut recovered.last.manifest, &mut recovered.with_state.manifest] {
        for position in &mut manifest.positions {
            let source = position.source();
            let Some(renewed) = by_name.get(&(position.table.as_str(), &source)) else { continue };
            (position.from, position.offset) = (renewed.first, renewed.first);
            position.generation += 1;
            position.topic_id.clone_from(&renewed.topic_id);
        }
    }
    recovered.last.manifest.intents.retain(|intent| intent.inline);
    for renewed in renewed {
        tracing::info!("{} was created anew; reading it from offset {}", renewed.partition, renewed.first);
    }
    Ok(())
}
