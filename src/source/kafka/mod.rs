//! Kafka topics, read with offsets of our own.
//!
//! One client reads all partitions of a table, assigned by hand: no consumer group hands them out, so there is nothing to
//! rebalance. Each lane has a queue, to which the queues of its partitions are forwarded, and takes records from it
//! thousands at a time (`rd_kafka_consume_batch_queue`): about half of what a message at a time costs. Records stay in
//! librdkafka's memory until the batch is dropped.
//!
//! ```text
//!  broker ── fetch ──► partition queue 0 ─┬─► lane 0's queue ── poll ──► RawBatch of partition 0, of partition 2
//!                      partition queue 2 ─┘
//!                      partition queue 1 ───► lane 1's queue ── poll ──► RawBatch of partition 1
//! ```
//!
//! What is not polled waits in the lane's queue, and when that is full, in Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use self::client::Client;
use self::config::{Fallback, KafkaConfig, Startup};
use self::messages::Lane;
use self::reader::KafkaReader;
use super::{Source, SourceReader};
use crate::change::TopicPartition;
use crate::error::{Error, Result};
use crate::options::Options;

mod client;
mod config;
mod messages;
mod reader;
#[cfg(test)]
mod tests;

/// The options of this connector, beside `connector`, the format's, and [`PROPERTIES`].
pub const OPTIONS: &[&str] = &["topic", "properties.*", "scan.startup.mode", "scan.startup.timestamp-millis"];

/// What follows this prefix goes to librdkafka.
pub const PROPERTIES: &str = "properties.";

/// A table that is one or several Kafka topics.
pub struct KafkaSource {
    config: KafkaConfig,
    client: Option<Arc<Client>>,
    lanes: Vec<Arc<Lane>>,
    /// The partitions that there were at first. Others came later.
    first: Option<BTreeSet<TopicPartition>>,
    /// The lane of each partition that is read.
    assigned: BTreeMap<TopicPartition, usize>,
}

impl KafkaSource {
    /// Checks the options, and connects when it is first asked something.
    pub fn new(options: &Options) -> Result<Self> {
        Ok(Self {
            config: KafkaConfig::new(options)?,
            client: None,
            lanes: Vec::new(),
            first: None,
            assigned: BTreeMap::new(),
        })
    }

    fn client(&mut self) -> Result<Arc<Client>> {
        if let Some(client) = &self.client {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(Client::new(&self.config)?);
        self.client = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Where the group goes on; where it cannot, by the rule.
    fn group_offsets(
        &mut self,
        partitions: &[TopicPartition],
        fallback: Fallback,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        let client = self.client()?;
        let first = self.first_offsets(partitions)?;
        let end = self.end_offsets(partitions)?;
        let mut offsets = BTreeMap::new();
        for (partition, committed) in client.committed(partitions)? {
            let (first, end) = (first.get(&partition).copied().unwrap_or(0), end.get(&partition).copied().unwrap_or(0));
            let offset = match (committed, fallback) {
                (Some(offset), _) if (first..=end).contains(&offset) => offset,
                (_, Fallback::Earliest) => first,
                (_, Fallback::Latest) => end,
                (committed, Fallback::Fail) => {
                    let has = committed
                        .map_or("none".to_owned(), |offset| format!("{offset}, but the topic has {first} to {end}"));
                    return Err(Error::permanent(
                        format!(
                            "table \"{}\": no offset to start {partition} at: the consumer group has {has}; set \
                             'scan.startup.mode' = 'earliest-offset' or 'properties.auto.offset.reset' = 'earliest'",
                            self.config.table
                        ),
                        "'properties.auto.offset.reset' is 'none'",
                    ));
                }
            };
            offsets.insert(partition, offset);
        }
        Ok(offsets)
    }

    fn offsets_at(&mut self, partitions: &[TopicPartition], place: Offset) -> Result<BTreeMap<TopicPartition, i64>> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found = self.client()?.offsets_at(partitions, place, client::ASK)?;
        let missing: Vec<_> =
            found.iter().filter(|(_, offset)| offset.is_none()).map(|(partition, _)| partition.clone()).collect();
        let mut offsets: BTreeMap<_, _> =
            found.into_iter().filter_map(|(partition, offset)| Some((partition, offset?))).collect();
        if let (Some(partition), Offset::Beginning | Offset::End) = (missing.first(), place) {
            return Err(Error::transient(
                format!("Kafka at {} gave no offset of {partition}", self.config.brokers),
                "try again",
            ));
        }
        // No record with that timestamp or a later one: what comes from now on.
        offsets.extend(self.offsets_at(&missing, Offset::End)?);
        Ok(offsets)
    }
}

impl Source for KafkaSource {
    fn partitions(&mut self) -> Result<Vec<TopicPartition>> {
        let client = self.client()?;
        let mut partitions = Vec::new();
        for topic in &self.config.topics {
            partitions.extend(client.partitions(topic)?);
        }
        partitions.sort();
        self.first.get_or_insert_with(|| partitions.iter().cloned().collect());
        Ok(partitions)
    }

    fn start_offsets(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        let is_first = |partition: &&TopicPartition| self.first.as_ref().is_none_or(|first| first.contains(*partition));
        let (asked, later): (Vec<_>, Vec<_>) = partitions.iter().partition(is_first);
        let (asked, later): (Vec<_>, Vec<_>) =
            (asked.into_iter().cloned().collect(), later.into_iter().cloned().collect());
        let mut offsets = self.first_offsets(&later)?;
        offsets.extend(match self.config.startup {
            _ if asked.is_empty() => BTreeMap::new(),
            Startup::Earliest => self.first_offsets(&asked)?,
            Startup::Latest => self.end_offsets(&asked)?,
            Startup::Timestamp(at) => self.offsets_at(&asked, Offset::Offset(at))?,
            Startup::Group(fallback) => self.group_offsets(&asked, fallback)?,
        });
        Ok(offsets)
    }

    fn first_offsets(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.offsets_at(partitions, Offset::Beginning)
    }

    fn end_offsets(&mut self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> {
        self.offsets_at(partitions, Offset::End)
    }

    fn known_ends(&self, partitions: &[TopicPartition]) -> BTreeMap<TopicPartition, i64> {
        let Some(client) = &self.client else { return BTreeMap::new() };
        partitions.iter().filter_map(|it| Some((it.clone(), messages::known_end(client, it)?))).collect()
    }

    fn reader(&mut self) -> Result<Box<dyn SourceReader>> {
        let lane = Arc::new(Lane::new(self.client()?)?);
        self.lanes.push(Arc::clone(&lane));
        Ok(Box::new(KafkaReader::new(lane)))
    }

    fn assign(&mut self, lane: usize, partition: &TopicPartition, from: i64) -> Result<()> {
        let client = self.client()?;
        let index = lane;
        let lane = self.lanes.get(lane).ok_or_else(|| Error::internal(format!("lane {lane} has no reader yet")))?;
        lane.add(partition.clone(), from);
        lane.forward(partition)?;
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(from))
            .map_err(Error::internal)?;
        let what = || format!("cannot start reading {partition} at offset {from} from {}", self.config.brokers);
        client.consumer.incremental_assign(&list).map_err(|error| client.failure(what(), error))?;
        self.assigned.insert(partition.clone(), index);
        Ok(())
    }

    fn commit(&mut self, offsets: &BTreeMap<TopicPartition, i64>) -> Result<()> {
        let Some(client) = self.client.as_ref().filter(|_| !offsets.is_empty()) else { return Ok(()) };
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(*offset))
                .map_err(Error::internal)?;
        }
        if let Err(error) = client.consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(table = self.config.table, "offsets were not committed to the consumer group: {error}");
        }
        Ok(())
    }

    fn maintain(&mut self) -> Result<()> {
        let Some(client) = &self.client else { return Ok(()) };
        client.serve()?;
        if client.is_away() && !self.assigned.is_empty() {
            let partitions: Vec<_> = self.assigned.keys().cloned().collect();
            // Still away: the context has logged it.
            let Ok(ends) = client.offsets_at(&partitions, Offset::End, client::GLANCE) else { return Ok(()) };
            for (partition, end) in ends {
                if let (Some(&lane), Some(end)) = (self.assigned.get(&partition), end) {
                    self.lanes[lane].set_end(&partition, end);
                }
            }
            client.back();
        }
        Ok(())
    }
}
