//! A transactional producer. Everything here blocks.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::error::{Error, Result};
use crate::kafka_properties::{refused, set_properties};
use crate::options::Options;

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Set unless the user sets it.
const DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "highwater"),
    ("compression.type", "lz4"),
    ("linger.ms", "20"),
    ("socket.keepalive.enable", "true"),
    ("transaction.timeout.ms", "60000"),
];

/// A table that is a topic to be written.
pub(super) struct ProducerConfig {
    pub(super) topic: String,
    brokers: String,
    /// How many partitions the topic gets when it is made; the broker's default is -1.
    partitions: i32,
    /// The group whose offset says which block came last; also the transactional id.
    id: String,
    client: ClientConfig,
}

/// A record to be written. Without a value it is a tombstone.
pub(super) struct Record {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
}

impl ProducerConfig {
    pub(super) fn new(options: &Options, job: &str, table: &str) -> Result<Self> {
        let topic = options.required("topic")?.to_owned();
        if topic.contains([';', ',']) {
            return Err(options.invalid("topic", &topic, "one topic for a table that is written"));
        }
        let brokers = options.required("properties.bootstrap.servers")?.to_owned();
        let mut client = ClientConfig::new();
        for (name, value) in DEFAULTS {
            client.set(*name, *value);
        }
        set_properties(&mut client, options)?;
        client.create_native_config().map_err(|error| refused(options.table(), error))?;
        let partitions = options.parse("sink.partitions", -1, "a number of partitions")?;
        Ok(Self { topic, brokers, partitions, id: format!("highwater-{job}-{table}"), client })
    }

    /// Makes the topic when it is not there.
    pub(super) fn ensure_topic(&self) -> Result<()> {
        let failed = |error: KafkaError| self.failed("make sure of", error);
        let admin: AdminClient<DefaultClientContext> = self.client.create().map_err(failed)?;
        let metadata = admin.inner().fetch_metadata(Some(&self.topic), PATIENCE).map_err(failed)?;
        if metadata.topics().iter().any(|topic| topic.name() == self.topic && !topic.partitions().is_empty()) {
            return Ok(());
        }
        let topic = NewTopic::new(&self.topic, self.partitions, TopicReplication::Fixed(-1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let made = futures::executor::block_on(admin.create_topics([&topic], &options)).map_err(failed)?;
        match made.into_iter().next() {
            Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => {
                Err(failed(KafkaError::AdminOp(code)))
            }
            _ => {
                tracing::info!("topic \"{}\" created at {}", self.topic, self.brokers);
                Ok(())
            }
        }
    }

    /// Of what will not pass by itself: another process has taken over, or access is denied.
    fn failed(&self, what: &str, error: KafkaError) -> Error {
        let context = format!("cannot {what} topic \"{}\" at {}", self.topic, self.brokers);
        let code = error.rdkafka_error_code();
        match code {
            Some(
                RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch,
            ) => Error::permanent(format!("{context}: another process of the job writes it now"), error),
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::InvalidTopic
                | RDKafkaErrorCode::PolicyViolation
                | RDKafkaErrorCode::MessageSizeTooLarge,
            ) => Error::permanent(context, error),
            _ => Error::transient(context, error),
        }
    }
}

/// The one producer with the table's transactional id.
pub(super) struct Producer {
    config: std::sync::Arc<ProducerConfig>,
    producer: BaseProducer,
    group: BaseConsumer,
}

impl Producer {
    /// Takes the transactional id over. What its owner before had begun is settled then.
    pub(super) fn start(config: std::sync::Arc<ProducerConfig>) -> Result<Self> {
        let failed = |error: KafkaError| config.failed("write", error);
        let mut client = config.client.clone();
        client.set("transactional.id", &config.id).set("enable.idempotence", "true");
        let producer: BaseProducer = client.create().map_err(failed)?;
        producer.init_transactions(PATIENCE).map_err(failed)?;
        let mut client = config.client.clone();
        for name in ["compression.type", "linger.ms", "transaction.timeout.ms"] {
            client.remove(name);
        }
        client.set("group.id", &config.id).set("isolation.level", "read_committed").set("enable.auto.commit", "false");
        let group = client.create().map_err(failed)?;
        Ok(Self { producer, group, config })
    }

    /// The epoch and the token of the block that came last.
    pub(super) fn committed(&self) -> Result<Option<(i64, String)>> {
        let failed = |error: KafkaError| self.config.failed("find out what is in", error);
        let found = self.group.committed_offsets(self.marker(Offset::Invalid, "")?, PATIENCE).map_err(failed)?;
        let element = found.elements().first().map(|element| (element.offset(), element.metadata().to_owned()));
        Ok(element.and_then(|(offset, token)| match offset {
            Offset::Offset(epoch) => Some((epoch, token)),
            _ => None,
        }))
    }

    /// The offset that says which block came last.
    fn marker(&self, offset: Offset, token: &str) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(&self.config.topic, 0);
        element.set_metadata(token);
        element.set_offset(offset).map_err(|error| self.config.failed("write", error))?;
        Ok(list)
    }

    /// Writes a block in a transaction of its own.
    pub(super) fn send(&self, records: &[Record], epoch: u64, token: &str) -> Result<()> {
        let failed = |error: KafkaError| self.config.failed("write", error);
        self.producer.begin_transaction().map_err(failed)?;
        for record in records {
            self.produce(record)?;
        }
        let epoch = i64::try_from(epoch).map_err(Error::internal)?;
        let marker = self.marker(Offset::Offset(epoch), token)?;
        let group: ConsumerGroupMetadata =
            self.group.group_metadata().ok_or_else(|| Error::internal("a consumer without a group"))?;
        self.producer.send_offsets_to_transaction(&marker, &group, PATIENCE).map_err(failed)?;
        self.producer.commit_transaction(PATIENCE).map_err(failed)
    }

    fn produce(&self, record: &Record) -> Result<()> {
        let begun = Instant::now();
        loop {
            let mut message: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.config.topic);
            message.key = record.key.as_deref();
            message.payload = record.value.as_deref();
            match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) if begun.elapsed() < PATIENCE => {
                    self.producer.poll(Duration::from_millis(50));
                }
                Err((error, _)) => return Err(self.config.failed("write", error)),
            }
        }
    }
}
