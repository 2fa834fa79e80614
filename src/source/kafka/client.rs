//! The client library's object, its log and its errors.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};

use super::config::KafkaConfig;
use crate::change::TopicPartition;
use crate::error::{Error, Result};

/// How long a question to the brokers may take.
pub(super) const ASK: Duration = Duration::from_secs(15);
/// How long a look at the ends may take once a broker was lost.
pub(super) const GLANCE: Duration = Duration::from_millis(300);
/// How long looking for new partitions may take, which is done while a job runs.
const LOOK: Duration = Duration::from_secs(3);

/// One connection to a cluster. Readers, queues and records hold it by `Arc`: it goes when the last of them has gone.
pub(super) struct Client {
    pub(super) consumer: BaseConsumer<Context>,
    pub(super) brokers: String,
    table: String,
    /// Whether the brokers have answered before.
    answered: AtomicBool,
}

impl Client {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self> {
        let context = Context {
            table: config.table.clone(),
            seldom: Seldom::default(),
            last_error: Mutex::new(None),
            away: AtomicBool::new(false),
            trouble: Mutex::new(None),
        };
        let mut settings = config.client.clone();
        if settings.get("debug").is_none() {
            settings.set_log_level(RDKafkaLogLevel::Info);
        } else {
            settings.set_log_level(RDKafkaLogLevel::Debug);
        }
        let consumer = settings.create_with_context(context).map_err(|error| {
            Error::config(format!("table \"{}\": librdkafka refuses the configuration: {error}", config.table))
        })?;
        Ok(Self {
            consumer,
            brokers: config.brokers.clone(),
            table: config.table.clone(),
            answered: AtomicBool::new(false),
        })
    }

    /// The partitions of these topics, as the brokers know them now.
    pub(super) fn partitions(&self, topics: &[String]) -> Result<Vec<TopicPartition>> {
        let mut partitions = Vec::new();
        for topic in topics {
            let asking = || format!("cannot ask Kafka at {} for the partitions of topic \"{topic}\"", self.brokers);
            let metadata = self.metadata(Some(topic)).map_err(|error| self.failure(asking(), error))?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let error = found.and_then(|found| found.error()).map(RDKafkaErrorCode::from);
            match (found, error) {
                (Some(found), None) if !found.partitions().is_empty() => partitions.extend(partitions_of(found)),
                (_, None | Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {
                    return Err(Error::permanent(
                        format!(
                            "topic \"{topic}\" does not exist at {}; create it or check option 'topic' of table \"{}\"",
                            self.brokers, self.table
                        ),
                        "the brokers do not know it",
                    ));
                }
                (_, Some(code)) => return Err(self.failure(asking(), KafkaError::MetadataFetch(code))),
            }
        }
        Ok(partitions)
    }

    /// The partitions of all topics that are wanted, of which there may be none yet. The brokers' own (`__…`) are none.
    pub(super) fn partitions_matching(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<TopicPartition>> {
        let asking = || format!("cannot ask Kafka at {} for its topics", self.brokers);
        let metadata = self.metadata(None).map_err(|error| self.failure(asking(), error))?;
        let matches =
            |topic: &&MetadataTopic| topic.error().is_none() && !topic.name().starts_with("__") && wanted(topic.name());
        Ok(metadata.topics().iter().filter(matches).flat_map(partitions_of).collect())
    }

    fn metadata(&self, topic: Option<&str>) -> KafkaResult<Metadata> {
        let patience = if self.answered.load(Ordering::Relaxed) { LOOK } else { ASK };
        let metadata = self.consumer.fetch_metadata(topic, patience)?;
        self.answered.store(true, Ordering::Relaxed);
        Ok(metadata)
    }

    /// The offset of each partition at a place: [`Offset::Beginning`], [`Offset::End`], or `Offset::Offset` of a timestamp.
    /// `None` where there is no record that late.
    pub(super) fn offsets_at(
        &self,
        partitions: &[TopicPartition],
        place: Offset,
        patience: Duration,
    ) -> Result<Vec<(TopicPartition, Option<i64>)>> {
        let asking = || format!("cannot ask Kafka at {} for offsets of table \"{}\"", self.brokers, self.table);
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition_offset(&partition.topic, partition.partition, place)
                .map_err(|error| self.failure(asking(), error))?;
        }
        let list = self.consumer.offsets_for_times(list, patience).map_err(|error| self.failure(asking(), error))?;
        self.read_offsets(partitions, &list, &asking)
    }

    /// What the consumer group has committed; `None` where it has not.
    pub(super) fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Option<i64>)>> {
        let asking = || {
            format!(
                "cannot ask Kafka at {} for the offsets that the group of table \"{}\" has committed",
                self.brokers, self.table
            )
        };
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&partition.topic, partition.partition);
        }
        let list = self.consumer.committed_offsets(list, ASK).map_err(|error| self.failure(asking(), error))?;
        self.read_offsets(partitions, &list, &asking)
    }

    fn read_offsets(
        &self,
        partitions: &[TopicPartition],
        list: &TopicPartitionList,
        asking: &dyn Fn() -> String,
    ) -> Result<Vec<(TopicPartition, Option<i64>)>> {
        let read = |partition: &TopicPartition| {
            let place = list.find_partition(&partition.topic, partition.partition);
            let place =
                place.ok_or_else(|| Error::internal(format!("librdkafka left {partition} out of its answer")))?;
            place.error().map_err(|error| self.failure(format!("{} ({partition})", asking()), error))?;
            Ok((partition.clone(), if let Offset::Offset(offset) = place.offset() { Some(offset) } else { None }))
        };
        partitions.iter().map(read).collect()
    }

    /// First offset that a partition still has and the offset after its last.
    pub(super) fn available(&self, partition: &TopicPartition) -> KafkaResult<(i64, i64)> {
        self.consumer.fetch_watermarks(&partition.topic, partition.partition, Duration::from_secs(5))
    }

    /// Gives librdkafka its turn: its log, errors and answers to commits arrive here. Records never do.
    pub(super) fn serve(&self) -> Result<()> {
        for _ in 0..64 {
            match self.consumer.poll(Duration::ZERO) {
                None => {}
                Some(Ok(_)) => return Err(Error::internal("a record came outside of the lanes' queues")),
                // Already logged by the context; what concerns a partition comes in its lane's queue.
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(Error::permanent(
                        format!("the Kafka client of table \"{}\" has failed", self.table),
                        code,
                    ));
                }
                Some(Err(_)) => {}
            }
        }
        Ok(())
    }

    /// A failed question, as transient or permanent. What librdkafka found out in the meantime (a refused login, say)
    /// explains more than the question's own time-out.
    pub(super) fn failure(&self, context: String, error: KafkaError) -> Error {
        // The errors are events; without this they would not have been seen yet.
        let _ = self.serve();
        let last = self.consumer.context().last_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        let code = error.rdkafka_error_code();
        match last {
            Some((last, reason)) if is_permanent(last) => Error::permanent(context, with_remedy(last, reason)),
            _ if code.is_some_and(is_permanent) => Error::permanent(context, error),
            Some((last, reason)) => Error::transient(context, with_remedy(last, reason)),
            None if code == Some(RDKafkaErrorCode::BrokerTransportFailure) => {
                // An earlier question may have told why; brokers that are away since are so for the same reason.
                let why = self.last_trouble().filter(|(code, _)| *code != RDKafkaErrorCode::AllBrokersDown);
                let why = why.map(|(code, reason)| with_remedy(code, reason)).unwrap_or_else(|| {
                    format!(
                        "{error}; nobody answers there, or not in this way: check 'properties.bootstrap.servers' and, for brokers that \
                         want TLS or a login, 'properties.security.protocol'"
                    )
                });
                Error::transient(context, why)
            }
            None => Error::transient(context, error),
        }
    }

    /// Fetches no more of a partition, and forgets what has been fetched of it and not been taken.
    pub(super) fn pause(&self, partition: &TopicPartition) -> Result<()> {
        let what = || format!("cannot pause reading {partition} from {}", self.brokers);
        self.consumer.pause(&list_of(partition)).map_err(|error| self.failure(what(), error))
    }

    /// Goes on with a paused partition, after the last record that was taken of it.
    pub(super) fn resume(&self, partition: &TopicPartition) -> Result<()> {
        let what = || format!("cannot go on reading {partition} from {}", self.brokers);
        self.consumer.resume(&list_of(partition)).map_err(|error| self.failure(what(), error))
    }

    /// Whether a broker was lost since [`Self::back`]: then nobody knows whether a partition is still read to its end.
    pub(super) fn is_away(&self) -> bool {
        self.consumer.context().away.load(Ordering::Acquire)
    }

    /// What the brokers' absence was last put down to.
    pub(super) fn trouble(&self) -> Option<String> {
        self.last_trouble().map(|(_, reason)| reason)
    }

    fn last_trouble(&self) -> Option<(RDKafkaErrorCode, String)> {
        let context = self.consumer.context();
        self.is_away().then(|| context.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()).flatten()
    }

    /// Every partition's leader has answered.
    pub(super) fn back(&self) {
        *self.consumer.context().trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.consumer.context().away.store(false, Ordering::Release);
    }

    pub(super) fn seldom(&self) -> &Seldom {
        &self.consumer.context().seldom
    }
}

fn list_of(partition: &TopicPartition) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&partition.topic, partition.partition);
    list
}

fn partitions_of(topic: &MetadataTopic) -> Vec<TopicPartition> {
    let name: Arc<str> = topic.name().into();
    let of = |partition: i32| TopicPartition { topic: Arc::clone(&name), partition };
    topic.partitions().iter().map(|partition| of(partition.id())).collect()
}

/// What librdkafka says of a connection that is refused, and what to do about it.
fn with_remedy(code: RDKafkaErrorCode, reason: String) -> String {
    let remedy = match code {
        RDKafkaErrorCode::SSL if reason.contains("certificate verify failed") => {
            "give the certificate (PEM) of the authority that has signed the brokers' in option 'properties.ssl.ca.location'"
        }
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            "check 'properties.sasl.mechanism', 'properties.sasl.username' and 'properties.sasl.password'"
        }
        _ if reason.contains("ApiVersion") => {
            "the brokers may want TLS or a login: check 'properties.security.protocol' (PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL)"
        }
        _ => return reason,
    };
    format!("{reason}; {remedy}")
}

/// Whether somebody has to act before the same can succeed.
pub(super) fn is_permanent(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SSL
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::InvalidArgument
            | Code::UnsupportedVersion
            | Code::Fatal
            // Records would be skipped.
            | Code::BadMessage
            | Code::BadCompression
            | Code::InvalidMessage
            | Code::NotImplemented
            | Code::MessageSizeTooLarge
    )
}

/// Lets a message through once a minute for each key.
#[derive(Default)]
pub(super) struct Seldom(Mutex<HashMap<String, (Instant, u64)>>);

impl Seldom {
    const EVERY: Duration = Duration::from_secs(60);

    /// `Some(n)` when the message may be logged, `n` of its kind having been kept back.
    pub(super) fn allow(&self, key: &str) -> Option<u64> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match seen.get_mut(key) {
            Some((last, kept_back)) if now.duration_since(*last) < Self::EVERY => {
                *kept_back += 1;
                None
            }
            Some(entry) => Some(std::mem::replace(entry, (now, 0)).1),
            None => {
                seen.insert(key.to_owned(), (now, 0));
                Some(0)
            }
        }
    }
}

/// Where librdkafka's log and errors go: to `tracing`, seldom.
pub(super) struct Context {
    table: String,
    seldom: Seldom,
    last_error: Mutex<Option<(RDKafkaErrorCode, String)>>,
    away: AtomicBool,
    /// The last error since the brokers were away.
    trouble: Mutex<Option<(RDKafkaErrorCode, String)>>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let table = self.table.as_str();
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!(table, facility, "{message}");
            }
            // A failed connection is an error as well, and said there.
            _ if facility == "FAIL" => tracing::debug!(table, facility, "{message}"),
            _ => {
                if let Some(kept_back) = self.seldom.allow(facility) {
                    tracing::warn!(table, facility, kept_back, "{message}");
                }
            }
        }
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        self.away.store(true, Ordering::Release);
        let reason = if reason.is_empty() { code.to_string() } else { reason.to_owned() };
        if let Some(kept_back) = self.seldom.allow(&format!("error {code:?}")) {
            tracing::warn!(table = self.table.as_str(), kept_back, "Kafka: {reason}");
        }
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.is_none() || code != RDKafkaErrorCode::AllBrokersDown {
            *trouble = Some((code, reason.clone()));
        }
        drop(trouble);
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers down" follows every other error and says the least.
        if last.is_none() || code != RDKafkaErrorCode::AllBrokersDown {
            *last = Some((code, reason));
        }
    }
}

impl ConsumerContext for Context {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result
            && let Some(kept_back) = self.seldom.allow("commit")
        {
            tracing::warn!(
                table = self.table.as_str(),
                kept_back,
                "cannot commit offsets to the consumer group (lag will look wrong, nothing is lost): {error}"
            );
        }
    }
}
