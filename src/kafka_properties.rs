//! `properties.*` of a Kafka table → librdkafka's configuration.
//!
//! Users write Flink's options, whose `properties.*` are the Java client's. Most names are the same in librdkafka;
//! the others are translated here, or refused with the name of librdkafka's property that does the same.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use crate::error::{Error, Result, suggestion};
use crate::options::Options;

/// Options of topics that are written, which mean nothing where they are read.
pub(crate) const WRITTEN: &[&str] = &["key.fields", "sink.partitions"];

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

/// Hands the properties of a table to librdkafka.
pub(crate) fn set_properties(client: &mut ClientConfig, options: &Options) -> Result<()> {
    options.with_prefix("properties.").try_for_each(|(name, value)| set_property(client, options, name, value))
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
pub(crate) fn refused(table: &str, error: KafkaError) -> Error {
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
