//! Reading again: a job is set back to where its topics were at a time, or to their beginnings, and fills the same tables.
//!
//! A checkpoint says where it reads on from, and that the rows which it will make again are still to be taken out of the tables. The
//! next thing that the job does is to take them out; so does the run after a crash in between. From then on it is a job like any other.
//!
//! Set back to a time, windows that began before it stay as they are: their rows are not all read again. All of them must have been
//! closed, and their late rows stay where they are, too. What had been read up to is remembered until it has been read again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::blocking::block_in_place;
use super::changed_query::{fingerprints, outputs_in_words};
use super::delivery::Delivery;
use super::epoch::inline_blocks;
use super::message::{ReadBefore, ToLane};
use super::running::Job;
use super::table_input::TableInput;
use crate::change::TopicPartition;
use crate::checkpoint::{Checkpoint, FORMAT_VERSION, Manifest, Position, Recovered, Replay, State};
use crate::error::{Error, Result};
use crate::sql::plan::pipeline::Pipeline;
use crate::sql::plan::relation::Reading;
use crate::window::assigner::Windows;
use crate::window::watermark::{BEGINNING_OF_TIME, END_OF_TIME};

/// From where a job that is set back reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartingPoint {
    /// From the first record that each partition has.
    Earliest,
    /// From the first record that was written at this time or later, milliseconds since the epoch.
    Time(i64),
}

impl StartingPoint {
    /// The time, if it is one.
    pub(super) fn time(self) -> Option<i64> {
        match self {
            Self::Earliest => None,
            Self::Time(time) => Some(time),
        }
    }
}

impl Job {
    /// Sets the job back, and returns the checkpoint to go on from. It is durable.
    pub(super) async fn set_back(&mut self, found: Option<Recovered>, to: StartingPoint) -> Result<Recovered> {
        let checkpoint = self.checkpoint_at(found.as_ref(), to)?;
        let waiting = found.filter(|_| to.time().is_some()).map(|found| found.last);
        if let Some(last) = waiting.filter(|last| last.manifest.intents.iter().any(|intent| intent.inline)) {
            // Results and late rows of windows that stay as they are: nobody makes them again.
            let blocks = inline_blocks(&last);
            self.hand_over(Delivery { checkpoint: last, blocks, again: true, takes_out: Vec::new() }).await?;
        }
        let saved = checkpoint.clone();
        self.hand_over(Delivery { checkpoint: saved, blocks: Vec::new(), again: false, takes_out: Vec::new() }).await?;
        Ok(Recovered { last: checkpoint.clone(), with_state: checkpoint, between: Vec::new(), passed_over: 0 })
    }

    async fn hand_over(&mut self, delivery: Delivery) -> Result<()> {
        self.deliverer.deliver(delivery).await?;
        self.deliverer.delivered().await.map(drop)
    }

    fn checkpoint_at(&mut self, found: Option<&Recovered>, to: StartingPoint) -> Result<Checkpoint> {
        let old = found.map(|found| &found.last.manifest);
        let mut closed = BTreeMap::new();
        if let Some(time) = to.time() {
            if found.is_some_and(|it| it.passed_over > 0) {
                // Up to where windows had been closed, and records read, is not known.
                return Err(refused(
                    to,
                    "its newest checkpoint cannot be used; run it once without being set back before",
                ));
            }
            let is_another = |old: &Manifest| old.outputs != outputs_in_words(&self.outputs.tables);
            if old.is_some_and(|old| old.intents.iter().any(|intent| intent.inline) && is_another(old)) {
                return Err(refused(
                    to,
                    "results were on their way when it ended, and it fills other tables now; run it once with the query that it had, \
                     without being set back",
                ));
            }
            for (number, pipeline) in self.query.pipelines.iter().enumerate() {
                let (left, closed_to) =
                    (left_alone(pipeline, time)?, old.map_or(BEGINNING_OF_TIME, |it| closed_to(it, pipeline)));
                let Some(left) = left else { continue };
                if left > closed_to {
                    return Err(refused(
                        to,
                        &format!(
                            "the windows of \"{}\" that begin before it stay as they are, and not all of them are closed; \
                             choose an earlier time",
                            target(pipeline)
                        ),
                    ));
                }
                closed.insert(number, left);
            }
            if let Some(table) = found.as_ref().and_then(|it| it.with_state.kept_tables().into_iter().next()) {
                return Err(refused(to, &format!("the rows that are kept of \"{table}\" are made of all its records")));
            }
        }
        let mut positions = Vec::new();
        for input in &mut self.inputs {
            positions.extend(block_in_place(|| input.positions_at(to, old))?);
        }
        let is_read = |name: &str| self.inputs.iter().any(|input| input.name() == name);
        let had = old.into_iter().flat_map(|old| &old.positions);
        positions.extend(had.clone().filter(|it| !is_read(&it.table)).cloned());
        let until = had.filter(|it| is_read(&it.table)).map(|it| (it.topic.clone(), it.partition, it.offset)).collect();
        self.begin_anew(old, 1 + found.map_or(0, |found| found.passed_over));
        let manifest = Manifest {
            version: FORMAT_VERSION,
            job: self.settings.name.clone(),
            number: 0,
            writer: None,
            started_at: self.started_at,
            went_back: self.went_back,
            epoch: self.epoch,
            made_at: self.started_at,
            fingerprints: fingerprints(&self.query),
            outputs: outputs_in_words(&self.outputs.tables),
            positions,
            watermarks: BTreeMap::new(),
            closed,
            closed_before: BTreeMap::new(),
            intents: Vec::new(),
            state_epoch: self.epoch,
            state_number: 0,
            rows: Vec::new(),
            settled: Vec::new(),
            kept: BTreeSet::new(),
            truncates: Vec::new(),
            replay: Some(Replay { windows_from: to.time(), until, takes_out: true }),
            discovered: self.discovered.clone(),
            finished: false,
            described: self.described.clone(),
        };
        Ok(Checkpoint { manifest, state: Some(State::default()), rows: Vec::new() })
    }

    /// Goes on with reading again.
    pub(super) fn note_replay(&mut self, manifest: &Manifest) {
        self.replay = manifest.replay.clone().map(|replay| Replay { takes_out: false, ..replay });
        if let Some(Replay { windows_from: Some(from), until, .. }) = &self.replay {
            let until = until.iter().map(|(topic, partition, offset)| {
                (TopicPartition { topic: topic.as_str().into(), partition: *partition }, *offset)
            });
            let before = Arc::new(ReadBefore { windows_from: *from, until: until.collect() });
            self.order(|| ToLane::Replay(Arc::clone(&before)));
        }
    }

    /// What is still to be read again, for a checkpoint.
    pub(super) fn replay_left(&self) -> Option<Replay> {
        let at: BTreeMap<_, _> =
            self.inputs.iter().flat_map(TableInput::ranges).map(|(source, range)| (source, range.to)).collect();
        let is_left = |(topic, partition, until): &(String, i32, i64)| {
            let source = TopicPartition { topic: topic.as_str().into(), partition: *partition };
            at.get(&source).is_some_and(|at| at < until)
        };
        self.replay.clone().filter(|replay| replay.until.iter().any(is_left))
    }
}

impl TableInput {
    /// Where its partitions are set back to: not behind where they stand, unless the records there are gone.
    fn positions_at(&mut self, to: StartingPoint, old: Option<&Manifest>) -> Result<Vec<Position>> {
        let partitions = self.partitions()?;
        let first = self.first_of(&partitions)?;
        let offsets = match to {
            StartingPoint::Earliest => first.clone(),
            StartingPoint::Time(time) => self.written_from(&partitions, time)?,
        };
        let ids = self.ask_topic_ids(&partitions)?;
        let name = self.name().to_owned();
        let position = |partition: TopicPartition| {
            let is_own = |it: &&Position| it.table == name && it.source() == partition;
            let stood = old.into_iter().flat_map(|old| &old.positions).find(is_own);
            let Some(offset) = offsets.get(&partition) else {
                let why = format!("nobody knows which records of {partition} were written then");
                return Err(refused(to, &why));
            };
            let mut offset = stood.map_or(*offset, |stood| (*offset).min(stood.from));
            if let Some((stood, &first)) = stood.zip(first.get(&partition)).filter(|(_, first)| offset < **first) {
                offset = first;
                let last = first - 1;
                if stood.offset < first {
                    tracing::warn!(
                        "records {} to {last} of {partition} were deleted before they were read, and are missing in the tables",
                        stood.offset
                    );
                }
                let was_sending = old.is_some_and(|old| old.intents.iter().any(|intent| !intent.inline));
                if was_sending && stood.from < stood.offset {
                    tracing::warn!(
                        "rows of records {} to {} of {partition} were on their way, and cannot be made again: what had not arrived is \
                         missing in the tables",
                        stood.from,
                        last.min(stood.offset - 1)
                    );
                }
            }
            Ok(Position {
                table: name.clone(),
                topic: partition.topic.to_string(),
                partition: partition.partition,
                from: offset,
                offset,
                clock: BEGINNING_OF_TIME,
                generation: stood.map_or(self.first_generation(), |stood| stood.generation),
                topic_id: ids.get(&*partition.topic).cloned(),
            })
        };
        partitions.into_iter().map(position).collect()
    }
}

/// The end of the last window that begins before a time; `None` where there are no windows.
fn left_alone(pipeline: &Pipeline, time: i64) -> Result<Option<i64>> {
    let Some(windowed) = pipeline.windowed() else { return Ok(None) };
    let refuse = |why: &str| Err(refused(StartingPoint::Time(time), &format!("{why} of \"{}\"", target(pipeline))));
    if pipeline.feeds.iter().any(|feed| feed.reading == Reading::Table) {
        return refuse("the current rows of a table, which are made of all its changes, are in the windows");
    }
    if pipeline.feeds.iter().any(|feed| feed.table.processing_time().is_some()) {
        return refuse("records come at another time when they are read again, and so into other windows");
    }
    if windowed.inputs.iter().any(|plan| matches!(plan.windows, Windows::Session { .. })) {
        return refuse("nobody knows which sessions had begun then");
    }
    Ok(windowed.inputs.iter().map(|plan| plan.windows.last_window(time - 1).1).max())
}

/// How far the windows of a pipeline had been closed, as far as a checkpoint tells of any query over its tables.
fn closed_to(manifest: &Manifest, pipeline: &Pipeline) -> i64 {
    if manifest.finished {
        return END_OF_TIME;
    }
    let watermarks = pipeline.table_names().into_iter().map(|table| manifest.watermarks.get(table).copied());
    watermarks.map(|it| it.unwrap_or(BEGINNING_OF_TIME)).min().unwrap_or(BEGINNING_OF_TIME)
}

fn target(pipeline: &Pipeline) -> &str {
    pipeline.target.as_ref().map_or("the SELECT", |target| target.name.as_str())
}

fn refused(to: StartingPoint, why: &str) -> Error {
    let way_out = match to {
        StartingPoint::Time(_) => ", or read everything again from 'earliest'",
        StartingPoint::Earliest => "",
    };
    Error::config(format!("the job cannot be set back to that time: {why}{way_out}"))
}
