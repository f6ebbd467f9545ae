//! The properties of the Kafka clients, and the one place that decides which of them may be shown.

use std::collections::BTreeMap;
use std::fmt;

/// What is shown instead of a value that may be a secret.
const REDACTED: &str = "<redacted>";

/// The shortest value that is looked for in a text: a shorter one would match by chance.
const SCRUBBED_CHARS_MIN: usize = 4;

/// The properties whose values are shown. A property that is not listed may hold a secret, also one
/// that librdkafka adds later, so its value is never shown.
const SHOWN: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "api.version.request",
    "auto.offset.reset",
    "batch.num.messages",
    "batch.size",
    "bootstrap.servers",
    "broker.address.family",
    "broker.address.ttl",
    "check.crcs",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "compression.codec",
    "compression.level",
    "compression.type",
    "connections.max.idle.ms",
    "debug",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.metrics.push",
    "enable.partition.eof",
    "enable.random.seed",
    "enable.ssl.certificate.verification",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.id",
    "isolation.level",
    "linger.ms",
    "log_level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "message.max.bytes",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.max.age.ms",
    "metadata.recovery.strategy",
    "partitioner",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.required.acks",
    "request.timeout.ms",
    "retries",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "security.protocol",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.cipher.suites",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "statistics.interval.ms",
    "sticky.partitioning.linger.ms",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Properties of the Kafka clients, by librdkafka's names.
///
/// `Debug` shows the values of properties that are known to hold no secret, and no other.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties {
    values: BTreeMap<String, String>,
}

impl Properties {
    /// Sets a property.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.values.insert(name.into(), value.into());
    }

    /// Returns the value of a property, if it is set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Returns the properties, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the value if it may be shown, or a placeholder.
    pub(crate) fn shown<'a>(name: &str, value: &'a str) -> &'a str {
        match SHOWN.binary_search(&name) {
            Ok(_) => value,
            Err(_) => REDACTED,
        }
    }

    /// The values that may not be shown.
    pub(crate) fn secrets(&self) -> Secrets {
        let hidden = self.iter().filter(|(name, _)| SHOWN.binary_search(name).is_err());
        Secrets { values: hidden.map(|(_, value)| value.to_owned()).collect() }
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, Self::shown(name, value))))
            .finish()
    }
}

/// Values that no error and no line of the log may contain.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    values: Vec<String>,
}

impl Secrets {
    /// Returns the text without the secrets: librdkafka puts values into its messages.
    pub(crate) fn scrub(&self, text: impl Into<String>) -> String {
        let long = self.values.iter().filter(|value| value.len() >= SCRUBBED_CHARS_MIN);
        long.fold(text.into(), |text, value| match text.contains(value.as_str()) {
            true => text.replace(value.as_str(), REDACTED),
            false => text,
        })
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_are_shown_are_sorted() {
        assert!(SHOWN.is_sorted());
    }

    #[test]
    fn u1_only_listed_values_are_shown() {
        let mut properties = Properties::default();
        properties.insert("client.id", "orders");
        properties.insert("sasl.password", "tiger");
        properties.insert("ssl.key.pem", "-----BEGIN");
        properties.insert("sasl.jaas.config", "password=\"tiger\"");
        properties.insert("new.in.librdkafka.3", "abc");
        assert_eq!(
            format!("{properties:?}"),
            "{\"client.id\": \"orders\", \"new.in.librdkafka.3\": \"<redacted>\", \
             \"sasl.jaas.config\": \"<redacted>\", \"sasl.password\": \"<redacted>\", \
             \"ssl.key.pem\": \"<redacted>\"}"
        );
        let secrets = properties.secrets();
        assert_eq!(secrets.scrub("no tiger, abc, orders"), "no <redacted>, abc, orders");
        assert_eq!(format!("{secrets:?}"), "<redacted>");
    }
}
