//! What is taken out of the tables before it is made again: by a job that was set back, and by one that goes on from an older checkpoint
//! because the newest cannot be used.

use std::collections::{BTreeMap, BTreeSet};

use super::emission::version;
use super::running::Job;
use super::table_input::TableInput;
use crate::change::TopicPartition;
use crate::checkpoint::{Manifest, Replay};
use crate::error::{Error, Result};
use crate::sink::{TakeOut, Written};

/// Versions of revised results tell starts apart that are so many milliseconds apart.
const APART: i64 = 128;

type Positions = Vec<(String, TopicPartition, i64)>;

impl Job {
    /// What each output has of what is made again after a checkpoint, with the output's number. `is_older`: it is not the newest one.
    pub(super) fn take_outs(&self, last: &Manifest, is_older: bool) -> Result<Vec<(usize, TakeOut)>> {
        let mut wanted: Vec<(Positions, Option<i64>, Option<Written>)> = Vec::new();
        if let Some(replay) = last.replay.as_ref().filter(|replay| replay.takes_out) {
            wanted.push((self.read_from(last, |_| i64::MIN), replay.windows_from, None));
        }
        if is_older {
            let after = Some(Written { epoch: last.epoch, version: version(last.started_at, last.epoch) });
            let windows_from = last.replay.as_ref().and_then(|replay| replay.windows_from);
            wanted.push((self.read_from(last, |_| i64::MIN), windows_from, after));
            if let Some(Replay { windows_from: Some(_), until, .. }) = &last.replay {
                // Late rows of windows that stay as they are: those of records that had been read before stay with them.
                let until: BTreeMap<_, _> =
                    until.iter().map(|(topic, partition, to)| ((topic.as_str(), *partition), *to)).collect();
                let not_before = |it: &TopicPartition| until.get(&(&*it.topic, it.partition)).copied().unwrap_or(0);
                wanted.push((self.read_from(last, not_before), None, after));
            }
        }
        let mut take_outs = Vec::new();
        for (positions, windows_from, after) in wanted {
            for (output, reads) in self.fed_by() {
                let own = positions.iter().filter(|(table, ..)| reads.contains(table.as_str()));
                let positions =
                    if after.is_some() { self.alike(output, own)? } else { own.map(without_table).collect() };
                take_outs.push((output, TakeOut { positions, windows_from, after }));
            }
        }
        Ok(take_outs)
    }

    /// Where each partition goes on, or begins if the checkpoint does not know it.
    fn read_from(&self, last: &Manifest, not_before: impl Fn(&TopicPartition) -> i64) -> Positions {
        let from = |input: &TableInput, partition: TopicPartition| {
            let saved = last.positions.iter().find(|it| it.table == input.name() && it.source() == partition);
            let offset = saved.map_or(0, |it| it.offset).max(not_before(&partition));
            (input.name().to_owned(), partition, offset)
        };
        self.inputs
            .iter()
            .flat_map(|input| input.ranges().map(move |(partition, _)| (input, partition)))
            .map(|(input, partition)| from(input, partition))
            .collect()
    }

    /// The outputs, each with the tables whose records its rows are of.
    fn fed_by(&self) -> Vec<(usize, BTreeSet<&str>)> {
        let mut fed = Vec::new();
        for (number, pipeline) in self.query.pipelines.iter().enumerate() {
            let reads: BTreeSet<_> = pipeline.table_names().into_iter().collect();
            let late = self.outputs.late_of_pipeline(number).into_iter();
            fed.extend(late.chain([self.outputs.of_pipeline(number).number]).map(|output| (output, reads.clone())));
        }
        let all = self.inputs.iter().map(TableInput::name).collect();
        fed.push((self.outputs.dead_letters().number, all));
        fed
    }

    /// One offset a partition: rows say the position of their record, not by which table it was read.
    fn alike<'a>(
        &self,
        output: usize,
        positions: impl Iterator<Item = &'a (String, TopicPartition, i64)>,
    ) -> Result<Vec<(TopicPartition, i64)>> {
        let mut offsets: BTreeMap<TopicPartition, (i64, &str)> = BTreeMap::new();
        for (table, partition, offset) in positions {
            let first = offsets.entry(partition.clone()).or_insert((*offset, table));
            if first.0 != *offset && !self.settings.allow_repeats {
                return Err(Error::config(format!(
                    "rows of {partition} cannot be taken out of table \"{}\": \"{}\" and \"{table}\" both read it, and do not stand at \
                     the same record; go on with --allow-repeats, or start afresh with --reset-state and empty tables",
                    self.outputs.tables[output].name(),
                    first.1
                )));
            }
            first.0 = first.0.max(*offset);
        }
        Ok(offsets.into_iter().map(|(partition, (offset, _))| (partition, offset)).collect())
    }

    /// From here on blocks have other tokens, epochs and versions than all that may have been written after a checkpoint, whatever the
    /// clock says: the server remembers the tokens of rows that are taken out.
    pub(super) fn begin_anew(&mut self, last: Option<&Manifest>, epochs: u64) {
        let now = self.settings.outside.now();
        // When it began is not enough: of what it goes back behind, some may have begun in the same moment of a clock that was put back.
        self.went_back = self.claim;
        self.started_at = last.map_or(now, |last| now.max(last.started_at + APART));
        self.epoch = self.epoch.max(last.map_or(0, |last| last.epoch + epochs));
    }
}

fn without_table((_, partition, offset): &(String, TopicPartition, i64)) -> (TopicPartition, i64) {
    (partition.clone(), *offset)
}
