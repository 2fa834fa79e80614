//! A simulated topic: records appear as time passes, and come in stretches of any length, or not for a while.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::world::World;
use crate::change::{NO_TIME, OffsetRange, TopicPartition};
use crate::error::{Error, Result};
use crate::source::{RawBatch, RawRecord, RawRecords, Source, SourceReader};

/// A record.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) offset: i64,
    /// When it appears.
    pub(super) at: Duration,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

/// The partitions of a topic, and what each has.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) world: Arc<World>,
    pub(super) partitions: BTreeMap<TopicPartition, Arc<Vec<Record>>>,
    /// One in so many questions is not answered.
    pub(super) failing: u64,
    /// Until when polls bring nothing.
    pub(super) away_until: Mutex<Duration>,
}

impl Topic {
    fn visible(&self, partition: &TopicPartition) -> usize {
        let now = self.world.elapsed();
        self.partitions.get(partition).map_or(0, |records| records.partition_point(|record| record.at <= now))
    }

    fn end(&self, partition: &TopicPartition) -> i64 {
        let visible = self.visible(partition);
        self.partitions.get(partition).map_or(0, |records| {
            visible
                .checked_sub(1)
                .map_or_else(|| records.first().map_or(0, |it| it.offset), |it| records[it].offset + 1)
        })
    }

    fn ask(&self, what: &str) -> Result<()> {
        if !self.world.step(what) || self.world.strikes(self.failing) {
            return Err(Error::transient("cannot ask the simulated broker", "it is away"));
        }
        Ok(())
    }

    /// Its source.
    pub(super) fn source(self: &Arc<Self>) -> Box<dyn Source> {
        Box::new(SimulatedSource { topic: Arc::clone(self), lanes: Vec::new() })
    }
}

type Inbox = Arc<Mutex<Vec<(TopicPartition, i64)>>>;

struct SimulatedSource {
    topic: Arc<Topic>,
    lanes: Vec<Inbox>,
}

impl Source for SimulatedSource {
    fn partitions(&mut self) -> Result<Vec<TopicPartition>> {
        self.topic.ask("partitions?")?;
        Ok(self.topic.partitions.keys().cloned().collect())
    }

    fn start_offsets(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.first_offsets(partitions)
    }

    fn first_offsets(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.topic.ask("first offsets?")?;
        let first = |it| self.topic.partitions.get(it).and_then(|records| records.first()).map_or(0, |it| it.offset);
        Ok(partitions.iter().map(|it| (it.clone(), first(it))).collect())
    }

    fn end_offsets(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.topic.ask("ends?")?;
        Ok(partitions.iter().map(|it| (it.clone(), self.topic.end(it))).collect())
    }

    fn reader(&mut self) -> Result<Box<dyn SourceReader>> {
        let inbox = Inbox::default();
        self.lanes.push(Arc::clone(&inbox));
        Ok(Box::new(SimulatedReader { topic: Arc::clone(&self.topic), inbox, reading: Vec::new() }))
    }

    fn assign(&mut self, lane: usize, partition: &TopicPartition, from: i64) -> Result<()> {
        let inbox = self.lanes.get(lane).ok_or_else(|| Error::internal("a lane without a reader"))?;
        inbox.lock().unwrap_or_else(PoisonError::into_inner).push((partition.clone(), from));
        Ok(())
    }

    fn commit(&mut self, _: &BTreeMap<TopicPartition, i64>) -> Result<()> {
        self.topic.ask("commit")
    }

    fn maintain(&mut self) -> Result<()> {
        Ok(())
    }
}

struct SimulatedReader {
    topic: Arc<Topic>,
    inbox: Inbox,
    reading: Vec<Reading>,
}

struct Reading {
    partition: TopicPartition,
    /// Place of the next record.
    next: usize,
    offset: i64,
    paused: bool,
}

struct Stretch {
    records: Arc<Vec<Record>>,
    first: usize,
}

impl RawRecords for Stretch {
    fn get(&self, index: usize) -> RawRecord<'_> {
        let record = &self.records[self.first + index];
        RawRecord { offset: record.offset, timestamp: NO_TIME, key: Some(&record.key), value: record.value.as_deref() }
    }
}

impl SimulatedReader {
    fn set_paused(&mut self, partition: &TopicPartition, paused: bool) {
        self.reading.iter_mut().filter(|it| it.partition == *partition).for_each(|it| it.paused = paused);
    }
}

impl SourceReader for SimulatedReader {
    fn poll(&mut self, _: Duration, out: &mut Vec<RawBatch>) -> Result<()> {
        let (topic, world) = (&self.topic, &self.topic.world);
        for (partition, offset) in std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner)) {
            let Some(records) = topic.partitions.get(&partition) else { continue };
            let next = records.partition_point(|record| record.offset < offset);
            self.reading.push(Reading { partition, next, offset, paused: false });
        }
        let mut away = topic.away_until.lock().unwrap_or_else(PoisonError::into_inner);
        if world.strikes(topic.failing * 4) {
            *away = world.elapsed() + world.moment(1_500);
        }
        if world.elapsed() < *away || !world.step("poll") {
            return Ok(());
        }
        for Reading { partition, next, offset, paused } in &mut self.reading {
            if *paused {
                continue;
            }
            let left = topic.visible(partition).saturating_sub(*next);
            if left == 0 || world.one_in(3) {
                continue;
            }
            let most = [1, 3, 20, 1_000][world.below(4) as usize];
            let taken = left.min(most);
            let Some(records) = topic.partitions.get(partition) else { continue };
            let to = records[*next + taken - 1].offset + 1;
            let range = OffsetRange { from: *offset, to };
            let stretch = Stretch { records: Arc::clone(records), first: *next };
            out.push(RawBatch::new(partition.clone(), range, Arc::new(stretch), taken));
            (*next, *offset) = (*next + taken, to);
        }
        Ok(())
    }

    fn at_end(&self, partition: &TopicPartition) -> bool {
        let reading = self.reading.iter().find(|it| it.partition == *partition);
        reading.is_some_and(|it| it.next >= self.topic.visible(partition))
    }

    fn pause(&mut self, partition: &TopicPartition) -> Result<()> {
        self.set_paused(partition, true);
        Ok(())
    }

    fn resume(&mut self, partition: &TopicPartition) -> Result<()> {
        self.set_paused(partition, false);
        Ok(())
    }
}
