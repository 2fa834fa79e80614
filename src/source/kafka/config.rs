//! A Kafka table's options → librdkafka's configuration and the place to start.

use rdkafka::ClientConfig;
use regex::Regex;

use crate::error::{Error, Result};
use crate::kafka_properties::{WRITTEN, refused, set_properties};
use crate::options::Options;

/// Where partitions are read from when there is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Startup {
    Earliest,
    Latest,
    /// The first record with this broker timestamp or a later one, milliseconds since the epoch.
    Timestamp(i64),
    /// What the consumer group has committed; where it has not, or where that is gone, by the rule.
    Group(Fallback),
}

/// Where to start a partition for which the group has no usable offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fallback {
    Earliest,
    Latest,
    Fail,
}

/// Which topics a table is.
#[derive(Debug, Clone)]
pub(super) enum Topics {
    Named(Vec<String>),
    /// All whose whole name matches, also those that appear later.
    Matching(Regex),
}

/// The options of a Kafka table, checked.
#[derive(Clone)]
pub(super) struct KafkaConfig {
    pub(super) table: String,
    pub(super) topics: Topics,
    pub(super) brokers: String,
    pub(super) startup: Startup,
    pub(super) client: ClientConfig,
}

const STARTUP_MODES: &str = "'earliest-offset', 'latest-offset', 'timestamp' or 'group-offsets'";

/// What is set unless the user sets it. Measured: bigger queues cost cache misses, and librdkafka's own back-off of a
/// second lets a full queue sleep. A fetch that waits 100 ms at most tells soon that a partition is read to its end.
const DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "highwater"),
    ("fetch.message.max.bytes", "1048576"),
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.wait.max.ms", "100"),
    ("queued.min.messages", "100000"),
    ("socket.keepalive.enable", "true"),
    ("topic.metadata.refresh.interval.ms", "60000"),
];

/// What is ours, whatever the user sets: offsets are the checkpoint's, and an offset that is gone is an error.
const FIXED: &[(&str, &str)] = &[
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
];

impl KafkaConfig {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let table = options.table().to_owned();
        if let Some(option) = WRITTEN.iter().find(|option| options.get(option).is_some()) {
            return Err(Error::config(format!(
                "table \"{table}\": option '{option}' is for a topic that is written; columns are read from the record's value, and \
                 its key is a metadata column: METADATA FROM 'key'"
            )));
        }
        let topics = topics(options)?;
        let brokers = options.required("properties.bootstrap.servers")?.to_owned();
        let startup = startup(options)?;

        let mut client = ClientConfig::new();
        for (name, value) in DEFAULTS {
            client.set(*name, *value);
        }
        client.set("queued.max.messages.kbytes", queued_kilobytes().to_string());
        client.set("group.id", format!("highwater-{table}"));
        set_properties(&mut client, options)?;
        for (name, value) in FIXED {
            client.set(*name, *value);
        }
        client.create_native_config().map_err(|error| refused(&table, error))?;
        Ok(Self { table, topics, brokers, startup, client })
    }
}

/// How much one lane may have fetched ahead. Each lane has its own queue, so many lanes get less each: 64 MiB up to four
/// cores, and not more than 256 MiB together.
fn queued_kilobytes() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (262_144 / cores).clamp(8_192, 65_536)
}

fn topics(options: &Options) -> Result<Topics> {
    match (options.get("topic"), options.get("topic-pattern")) {
        (Some(_), Some(_)) => Err(Error::config(format!(
            "table \"{}\" has both 'topic' and 'topic-pattern'; leave one of them out",
            options.table()
        ))),
        (None, Some(pattern)) => matching(options, pattern).map(Topics::Matching),
        _ => named(options, options.required("topic")?).map(Topics::Named),
    }
}

/// Brokers' own topics (`__consumer_offsets`) never match.
fn matching(options: &Options, pattern: &str) -> Result<Regex> {
    Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
        let reason = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
        options.invalid("topic-pattern", pattern, &format!("a regular expression for whole names ({reason})"))
    })
}

fn named(options: &Options, text: &str) -> Result<Vec<String>> {
    let mut topics: Vec<String> =
        text.split(';').map(str::trim).filter(|topic| !topic.is_empty()).map(str::to_owned).collect();
    topics.sort();
    topics.dedup();
    let fits = |topic: &String| {
        topic.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) && topic.len() <= 249
    };
    if topics.is_empty() || !topics.iter().all(fits) {
        return Err(options.invalid("topic", text, "a topic's name, or several separated by ';'"));
    }
    Ok(topics)
}

fn startup(options: &Options) -> Result<Startup> {
    let reset = "properties.auto.offset.reset";
    let fallback = match options.get(reset) {
        None | Some("earliest" | "smallest" | "beginning") => Fallback::Earliest,
        Some("latest" | "largest" | "end") => Fallback::Latest,
        Some("none" | "error") => Fallback::Fail,
        Some(other) => return Err(options.invalid(reset, other, "'earliest', 'latest' or 'none'")),
    };
    let default = if options.get("properties.group.id").is_some() { "group-offsets" } else { "earliest-offset" };
    let millis = "scan.startup.timestamp-millis";
    let startup = match options.get("scan.startup.mode").unwrap_or(default) {
        "earliest-offset" => Startup::Earliest,
        "latest-offset" => Startup::Latest,
        "group-offsets" => Startup::Group(fallback),
        "timestamp" => {
            options.required(millis)?;
            let at: i64 = options.parse(millis, 0, "milliseconds since 1970-01-01 UTC")?;
            if at < 0 {
                return Err(options.invalid(millis, &at.to_string(), "milliseconds since 1970-01-01 UTC"));
            }
            Startup::Timestamp(at)
        }
        other => return Err(options.invalid("scan.startup.mode", other, STARTUP_MODES)),
    };
    if !matches!(startup, Startup::Timestamp(_)) && options.get(millis).is_some() {
        return Err(Error::config(format!(
            "table \"{}\": option '{millis}' needs 'scan.startup.mode' = 'timestamp'",
            options.table()
        )));
    }
    Ok(startup)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(extra: &[(&str, &str)]) -> Result<KafkaConfig> {
        let base = [("topic", "shop.customer"), ("properties.bootstrap.servers", "kafka:9092")];
        let values = base.iter().chain(extra).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        KafkaConfig::new(&Options::new("customer", values))
    }

    fn message(extra: &[(&str, &str)]) -> String {
        config(extra).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn options_of_topics_that_are_written() {
        let said = message(&[("key.fields", "id")]);
        assert!(said.contains("'key.fields' is for a topic that is written"), "{said}");
    }

    #[test]
    fn defaults_can_be_overridden_but_not_what_is_ours() {
        let config = config(&[
            ("properties.fetch.queue.backoff.ms", "7"),
            ("properties.max.partition.fetch.bytes", "5000000"),
            ("properties.enable.auto.commit", "true"),
            ("properties.auto.offset.reset", "latest"),
        ])
        .unwrap();
        assert_eq!(config.client.get("fetch.queue.backoff.ms"), Some("7"));
        assert_eq!(config.client.get("fetch.message.max.bytes"), Some("5000000"));
        assert_eq!(config.client.get("enable.auto.commit"), Some("false"));
        assert_eq!(config.client.get("auto.offset.reset"), Some("error"));
        assert_eq!(config.client.get("group.id"), Some("highwater-customer"));
    }

    #[test]
    fn topics_are_a_list() {
        let Topics::Named(topics) = config(&[("topic", "b; a;b")]).unwrap().topics else { panic!("named") };
        assert_eq!(topics, ["a", "b"]);
        for topic in ["", ";", "a b", "ü"] {
            assert!(message(&[("topic", topic)]).contains("'topic'"), "{topic}");
        }
    }

    #[test]
    fn startup_modes() {
        let startup = |extra: &[(&str, &str)]| config(extra).unwrap().startup;
        assert_eq!(startup(&[]), Startup::Earliest);
        assert_eq!(startup(&[("properties.group.id", "g")]), Startup::Group(Fallback::Earliest));
        let latest = [("properties.group.id", "g"), ("properties.auto.offset.reset", "latest")];
        assert_eq!(startup(&latest), Startup::Group(Fallback::Latest));
        assert_eq!(startup(&[("scan.startup.mode", "latest-offset")]), Startup::Latest);
        let at = [("scan.startup.mode", "timestamp"), ("scan.startup.timestamp-millis", "1718900000000")];
        assert_eq!(startup(&at), Startup::Timestamp(1_718_900_000_000));
        assert!(message(&[("scan.startup.mode", "timestamp")]).contains("scan.startup.timestamp-millis"));
        assert!(message(&[("scan.startup.timestamp-millis", "5")]).contains("'timestamp'"));
        assert!(message(&[("scan.startup.mode", "earliest")]).contains("'earliest-offset'"));
    }

    #[test]
    fn unknown_and_foreign_properties_say_what_to_write() {
        assert_eq!(
            message(&[("properties.fetch.queue.backof.ms", "1")]),
            "table \"customer\": librdkafka has no property \"fetch.queue.backof.ms\" ('properties.fetch.queue.backof.ms'); \
             did you mean \"fetch.queue.backoff.ms\"?"
        );
        assert!(message(&[("properties.ssl.truststore.location", "/x.jks")]).contains("properties.ssl.ca.location"));
        assert!(message(&[("properties.fetch.min.bytes", "many")]).contains("properties.fetch.min.bytes"));
    }

    #[test]
    fn secrets_stay_secret() {
        let jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"anna\" password=\"s3\\\"cret\";";
        let client = config(&[("properties.sasl.jaas.config", jaas)]).unwrap().client;
        assert_eq!((client.get("sasl.username"), client.get("sasl.password")), (Some("anna"), Some("s3\"cret")));
        let broken = message(&[("properties.sasl.jaas.config", "Krb5LoginModule required password=\"hunter2\"")]);
        assert!(broken.contains("properties.sasl.username") && !broken.contains("hunter2"), "{broken}");
    }
}
