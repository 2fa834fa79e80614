//! A Kafka table's options → librdkafka's configuration and the place to start.
//!
//! Users write Flink's options, whose `properties.*` are the Java client's. Most names are the same in librdkafka;
//! the others are translated here, or refused with the name of librdkafka's property that does the same.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use regex::Regex;

use crate::error::{Error, Result, suggestion};
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

/// The Java client's names where librdkafka has others.
const TRANSLATED: &[(&str, &str)] = &[
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("request.timeout.ms", "socket.timeout.ms"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("socket.connection.setup.timeout.max.ms", "socket.connection.setup.timeout.ms"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
    ("ssl.keystore.key", "ssl.key.pem"),
    ("ssl.truststore.certificates", "ssl.ca.pem"),
];

/// Properties of the Java consumer that mean nothing here and do no harm.
const IGNORED: &[&str] = &[
    "allow.auto.create.topics",
    "default.api.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "auto.commit.interval.ms",
    "key.deserializer",
    "max.poll.records",
    "partition.discovery.interval.ms",
    "value.deserializer",
];

/// Properties of the Java client that librdkafka does otherwise, and how.
const REFUSED: &[(&str, &str)] = &[
    (
        "ssl.truststore.location",
        "librdkafka reads certificates as PEM: give 'properties.ssl.ca.location' a PEM file (keytool -exportcert -rfc)",
    ),
    (
        "ssl.truststore.password",
        "librdkafka reads certificates as PEM, which need no password: use 'properties.ssl.ca.location'",
    ),
    ("ssl.truststore.type", "librdkafka reads certificates as PEM: use 'properties.ssl.ca.location'"),
    (
        "ssl.keystore.type",
        "librdkafka's 'properties.ssl.keystore.location' is a PKCS#12 file; for PEM use 'properties.ssl.certificate.location' and 'properties.ssl.key.location'",
    ),
    (
        "ssl.protocol",
        "librdkafka takes the newest TLS version that both sides have; 'properties.ssl.cipher.suites' narrows it",
    ),
    (
        "ssl.enabled.protocols",
        "librdkafka takes the newest TLS version that both sides have; 'properties.ssl.cipher.suites' narrows it",
    ),
    (
        "sasl.login.callback.handler.class",
        "that is a Java class; librdkafka has 'properties.sasl.oauthbearer.method' = 'oidc'",
    ),
    (
        "sasl.client.callback.handler.class",
        "that is a Java class; librdkafka has 'properties.sasl.oauthbearer.method' = 'oidc'",
    ),
    ("interceptor.classes", "that is a Java class"),
    ("partition.assignment.strategy", "Highwater assigns partitions to its lanes itself"),
    ("group.instance.id", "Highwater assigns partitions to its lanes itself and joins no group"),
];

impl KafkaConfig {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let table = options.table().to_owned();
        let topics = topics(options)?;
        let brokers = options.required("properties.bootstrap.servers")?.to_owned();
        let startup = startup(options)?;

        let mut client = ClientConfig::new();
        for (name, value) in DEFAULTS {
            client.set(*name, *value);
        }
        client.set("queued.max.messages.kbytes", queued_kilobytes().to_string());
        client.set("group.id", format!("highwater-{table}"));
        for (name, value) in options.with_prefix("properties.") {
            set_property(&mut client, options, name, value)?;
        }
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

/// Hands one property to librdkafka, under its name there.
fn set_property(client: &mut ClientConfig, options: &Options, name: &str, value: &str) -> Result<()> {
    if IGNORED.contains(&name) || name == "auto.offset.reset" {
        return Ok(());
    }
    if name == "sasl.jaas.config" {
        return set_jaas(client, options, value);
    }
    if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Err(Error::config(format!(
            "table \"{}\": option 'properties.{name}' cannot be used: {instead}",
            options.table()
        )));
    }
    let (name, value) = match (name, value) {
        // Java switches the check of the host name off with the empty string.
        ("ssl.endpoint.identification.algorithm", "") => (name, "none"),
        _ => (TRANSLATED.iter().find(|(java, _)| *java == name).map_or(name, |(_, ours)| *ours), value),
    };
    client.set(name, value);
    Ok(())
}

/// `…PlainLoginModule required username="u" password="p";` → `sasl.username`, `sasl.password`.
fn set_jaas(client: &mut ClientConfig, options: &Options, value: &str) -> Result<()> {
    let known = value.contains("PlainLoginModule") || value.contains("ScramLoginModule");
    match (known, jaas_value(value, "username"), jaas_value(value, "password")) {
        (true, Some(username), Some(password)) => {
            client.set("sasl.username", username).set("sasl.password", password);
            Ok(())
        }
        _ => Err(Error::config(format!(
            "table \"{}\": option 'properties.sasl.jaas.config' is not of the form '…PlainLoginModule required username=\"…\" \
             password=\"…\";' (or ScramLoginModule): use 'properties.sasl.username' and 'properties.sasl.password' instead",
            options.table()
        ))),
    }
}

fn jaas_value(text: &str, name: &str) -> Option<String> {
    let start = text.find(&format!(" {name}="))? + name.len() + 2;
    let rest = &text[start..];
    let quote = rest.chars().next()?;
    if quote != '"' && quote != '\'' {
        return Some(rest.split([' ', ';']).next()?.to_owned());
    }
    let mut value = String::new();
    let mut characters = rest.chars().skip(1);
    loop {
        match characters.next()? {
            '\\' => value.push(characters.next()?),
            character if character == quote => return Some(value),
            character => value.push(character),
        }
    }
}

/// librdkafka's refusal of a property, in our words and without the value where that may be a secret.
fn refused(table: &str, error: KafkaError) -> Error {
    let KafkaError::ClientConfig(_, description, name, _) = error else {
        return Error::config(format!("table \"{table}\": librdkafka refuses the configuration: {error}"));
    };
    let secret = ["password", "secret", "pem", "key", "jaas", "token"].iter().any(|word| name.contains(word));
    if description.starts_with("No such configuration property") {
        let names = property_names();
        let hint = suggestion(&name, names.iter().map(String::as_str));
        return Error::config(format!(
            "table \"{table}\": librdkafka has no property \"{name}\" ('properties.{name}'){hint}"
        ));
    }
    let description = if secret { "its value is not accepted" } else { description.as_str() };
    Error::config(format!("table \"{table}\": option 'properties.{name}': {description}"))
}

/// The names of all properties that this librdkafka has.
fn property_names() -> Vec<String> {
    let Ok(config) = ClientConfig::new().create_native_config() else { return Vec::new() };
    let mut count = 0;
    // SAFETY: `config` lives until the end; the dump is an array of `count` C strings, name and value in turn, which stays
    // ours until `rd_kafka_conf_dump_free`. Strings are copied before that.
    unsafe {
        let dump = rdkafka_sys::rd_kafka_conf_dump(config.ptr(), &raw mut count);
        if dump.is_null() {
            return Vec::new();
        }
        let names = (0..count)
            .step_by(2)
            .map(|index| std::ffi::CStr::from_ptr(*dump.add(index)).to_string_lossy().into_owned())
            .collect();
        rdkafka_sys::rd_kafka_conf_dump_free(dump, count);
        names
    }
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
