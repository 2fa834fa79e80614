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
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use self::client::{ASK, Client};
use self::config::{Fallback, KafkaConfig, Startup, Topics};
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
mod topic_ids;

/// The options of this connector, beside `connector`, the format's, and [`PROPERTIES`].
pub const OPTIONS: &[&str] =
    &["topic", "topic-pattern", "properties.*", "scan.startup.mode", "scan.startup.timestamp-millis"];

/// What follows this prefix goes to librdkafka.
pub const PROPERTIES: &str = "properties.";

/// A table that is one or several Kafka topics.
pub struct KafkaSource {
    config: KafkaConfig,
    connection: Arc<Connection>,
    /// Whether it looks after the connection, for all tables that share it.
    leads: bool,
    /// The partitions that there were at first. Others came later.
    first: Option<BTreeSet<TopicPartition>>,
}

/// What the tables of one connection share.
struct Connection {
    config: KafkaConfig,
    client: OnceLock<Arc<Client>>,
    lanes: Mutex<Vec<Arc<Lane>>>,
    /// The lane of each partition that is read.
    assigned: Mutex<BTreeMap<TopicPartition, usize>>,
    /// Whether topics are asked for all at once, and the last answer: with thousands of tables, one by one takes too long.
    asks_for_all: bool,
    topics: Mutex<Option<(Instant, PartitionsByTopic)>>,
    ids: Mutex<Option<(Instant, BTreeMap<String, String>)>>,
    /// Whether the brokers tell their topics' ids; none until they were asked.
    tells_ids: OnceLock<bool>,
}

type PartitionsByTopic = BTreeMap<Arc<str>, Vec<TopicPartition>>;

/// How old an answer about all topics may be.
const TOPICS_AGE: Duration = Duration::from_secs(2);
/// How many tables of one connection ask for their topics one by one.
const ASK_ONE_BY_ONE: usize = 4;
/// How long brokers may take for their first answer about ids. Those that know none (before Kafka 2.8, and librdkafka's mock
/// cluster) do not say so but leave the question open.
const FIRST_IDS: Duration = Duration::from_secs(5);

impl Connection {
    fn new(config: &KafkaConfig, tables: usize) -> Self {
        Self {
            config: config.clone(),
            client: OnceLock::new(),
            lanes: Mutex::default(),
            assigned: Mutex::default(),
            asks_for_all: tables > ASK_ONE_BY_ONE,
            topics: Mutex::default(),
            ids: Mutex::default(),
            tells_ids: OnceLock::new(),
        }
    }

    fn partitions(&self, topics: &[String]) -> Result<Vec<TopicPartition>> {
        if !self.asks_for_all {
            return self.client()?.partitions(topics);
        }
        let mut answer = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if answer.as_ref().is_none_or(|(at, _)| at.elapsed() > TOPICS_AGE) {
            let mut all = PartitionsByTopic::new();
            for partition in self.client()?.partitions_matching(|_| true)? {
                all.entry(Arc::clone(&partition.topic)).or_default().push(partition);
            }
            *answer = Some((Instant::now(), all));
        }
        let known = answer.as_ref().map(|(_, all)| all);
        let found: Option<Vec<_>> = topics.iter().map(|topic| known?.get(topic.as_str())).collect();
        match found {
            Some(found) => Ok(found.into_iter().flatten().cloned().collect()),
            // With the reason.
            None => self.client()?.partitions(topics),
        }
    }

    /// The ids of topics: of all that are read over the connection in one question. Brokers that left the first one open are
    /// not asked again.
    fn topic_ids(&self, topics: &[String]) -> Result<BTreeMap<String, String>> {
        let patience = match self.tells_ids.get() {
            Some(false) => return Ok(BTreeMap::new()),
            Some(true) => ASK,
            None => FIRST_IDS,
        };
        let mut answer = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |all: &BTreeMap<String, String>| {
            topics.iter().map(|topic| Some((topic.clone(), all.get(topic)?.clone()))).collect::<Option<_>>()
        };
        if let Some((at, all)) = answer.as_ref()
            && at.elapsed() < TOPICS_AGE
            && let Some(found) = own(all)
        {
            return Ok(found);
        }
        let mut asked: BTreeSet<String> = topics.iter().cloned().collect();
        let assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        asked.extend(assigned.keys().map(|partition| partition.topic.to_string()));
        drop(assigned);
        let asked: Vec<_> = asked.into_iter().collect();
        let told = topic_ids::topic_ids(self.client()?.as_ref(), &asked, patience);
        self.tells_ids.get_or_init(|| told.is_some());
        let all = told.unwrap_or_default();
        let found = all.iter().filter(|(topic, _)| topics.contains(topic));
        let found = found.map(|(topic, id)| (topic.clone(), id.clone())).collect();
        *answer = Some((Instant::now(), all));
        Ok(found)
    }

    fn client(&self) -> Result<Arc<Client>> {
        if let Some(client) = self.client.get() {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(Client::new(&self.config)?);
        Ok(Arc::clone(self.client.get_or_init(|| client)))
    }
}

/// What tables must have in common to be read over one connection, in words that may hold secrets.
pub(super) fn connection(options: &Options) -> String {
    let mut properties: Vec<_> = options.with_prefix(PROPERTIES).collect();
    if options.get("properties.group.id").is_none() {
        // Each has a consumer group of its own.
        properties.push(("group.id", options.table()));
    }
    format!("{properties:?}")
}

/// The sources of tables that share a connection; the first looks after it.
pub(super) fn open_together(tables: &[&Options]) -> Result<Vec<Box<dyn Source>>> {
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    let mut connection: Option<Arc<Connection>> = None;
    for options in tables {
        let config = KafkaConfig::new(options)?;
        let leads = connection.is_none();
        let connection = Arc::clone(connection.get_or_insert_with(|| Arc::new(Connection::new(&config, tables.len()))));
        sources.push(Box::new(KafkaSource { config, connection, leads, first: None }));
    }
    Ok(sources)
}

impl KafkaSource {
    /// Checks the options, and connects when it is first asked something.
    pub fn new(options: &Options) -> Result<Self> {
        let config = KafkaConfig::new(options)?;
        let connection = Arc::new(Connection::new(&config, 1));
        Ok(Self { config, connection, leads: true, first: None })
    }

    fn client(&self) -> Result<Arc<Client>> {
        self.connection.client()
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
        let found = self.client()?.offsets_at(partitions, place, ASK)?;
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
        let mut partitions = match &self.config.topics {
            Topics::Named(topics) => self.connection.partitions(topics)?,
            Topics::Matching(pattern) => self.client()?.partitions_matching(|topic| pattern.is_match(topic))?,
        };
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

    fn offsets_after(&mut self, partitions: &[TopicPartition], time: i64) -> Result<BTreeMap<TopicPartition, i64>> {
        self.offsets_at(partitions, Offset::Offset(time + 1))
    }

    fn topic_ids(&mut self, topics: &[String]) -> Result<BTreeMap<String, String>> {
        self.connection.topic_ids(topics)
    }

    fn known_ends(&self, partitions: &[TopicPartition]) -> BTreeMap<TopicPartition, i64> {
        let Some(client) = self.connection.client.get() else { return BTreeMap::new() };
        partitions.iter().filter_map(|it| Some((it.clone(), messages::known_end(client, it)?))).collect()
    }

    fn reader(&mut self) -> Result<Box<dyn SourceReader>> {
        let lane = Arc::new(Lane::new(self.client()?)?);
        let mut lanes = self.connection.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.push(Arc::clone(&lane));
        Ok(Box::new(KafkaReader::new(lane)))
    }

    fn assign(&mut self, lane: usize, partition: &TopicPartition, from: i64) -> Result<()> {
        let client = self.client()?;
        let index = lane;
        let lanes = self.connection.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.get(lane).ok_or_else(|| Error::internal(format!("lane {lane} has no reader yet")))?;
        lane.add(partition.clone(), from);
        lane.forward(partition)?;
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(from))
            .map_err(Error::internal)?;
        let what = || format!("cannot start reading {partition} at offset {from} from {}", self.config.brokers);
        client.consumer.incremental_assign(&list).map_err(|error| client.failure(what(), error))?;
        let mut assigned = self.connection.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        assigned.insert(partition.clone(), index);
        Ok(())
    }

    fn commit(&mut self, offsets: &BTreeMap<TopicPartition, i64>) -> Result<()> {
        let client = self.connection.client.get().filter(|_| !offsets.is_empty());
        let Some(client) = client else { return Ok(()) };
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

    fn trouble(&self) -> Option<String> {
        self.connection.client.get().and_then(|client| client.trouble())
    }

    fn maintain(&mut self) -> Result<()> {
        let Some(client) = self.connection.client.get().filter(|_| self.leads) else { return Ok(()) };
        client.serve()?;
        let assigned = self.connection.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        if client.is_away() && !assigned.is_empty() {
            let partitions: Vec<_> = assigned.keys().cloned().collect();
            // Still away: the context has logged it.
            let Ok(ends) = client.offsets_at(&partitions, Offset::End, client::GLANCE) else { return Ok(()) };
            let lanes = self.connection.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            for (partition, end) in ends {
                if let (Some(&lane), Some(end)) = (assigned.get(&partition), end) {
                    lanes[lane].set_end(&partition, end);
                }
            }
            client.back();
        }
        Ok(())
    }
}
