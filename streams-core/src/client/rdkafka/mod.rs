//! On librdkafka: the transactional producer, the fetcher, the plain producer.

mod calls;
mod check;
mod context;
mod delivery;
mod fetcher;
mod ffi;
mod plain;
mod txn;
mod watch;

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;

pub(crate) use self::check::check_properties;
pub use self::delivery::{Acknowledged, ProduceError};
pub(crate) use self::delivery::{Delivery, SendRefused};
pub use self::fetcher::RdFetcher;
pub use self::plain::{DROP_FLUSH_MAX, PlainProducer};
pub use self::txn::RdTxnProducer;
use super::{ClusterConfig, Properties};
use crate::record::OutputRef;

/// librdkafka opens its connections one after the other, half of this time apart. At its default
/// of 100 ms that is most of a client's start. The back-off still doubles.
const RECONNECT_BACKOFF_MS: &str = "10";

/// So long after a broker is back it is looked for at the latest; librdkafka's 10 s would be added
/// to each outage. The same as Java's default.
const RECONNECT_BACKOFF_MAX_MS: &str = "1000";

/// How long a topic may be unknown before its records fail with the topic's name. At librdkafka's
/// default of 30 s, counted from the topic's first use, a flush ends first, and without the name.
const TOPIC_UNKNOWN_MAX_MS: &str = "10000";

/// Settings that both producers and fetchers have.
fn base_config(cluster: &ClusterConfig) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &cluster.bootstrap);
    config.set("reconnect.backoff.ms", RECONNECT_BACKOFF_MS);
    config.set("reconnect.backoff.max.ms", RECONNECT_BACKOFF_MAX_MS);
    config.set("topic.metadata.propagation.max.ms", TOPIC_UNKNOWN_MAX_MS);
    for (name, value) in cluster.properties.iter() {
        config.set(name, value);
    }
    config
}

/// What rust-rdkafka says about a client that can't be made, without secrets: for a property its
/// error carries the value.
fn creation_error(cluster: &ClusterConfig, error: &KafkaError) -> String {
    let text = match error {
        KafkaError::ClientConfig(_, reason, name, value) => {
            let shown = Properties::shown(name, value);
            let reason = match value.as_str() == shown || value.is_empty() {
                true => reason.clone(),
                false => reason.replace(value.as_str(), shown),
            };
            format!("the property `{name}` can't be set to `{shown}`: {reason}")
        }
        other => other.to_string(),
    };
    cluster.properties.secrets().scrub(text)
}

/// The headers of a record to send, if it has any.
fn headers(output: &OutputRef<'_>) -> Option<OwnedHeaders> {
    let count = output.header_count();
    (count > 0).then(|| {
        let headers = OwnedHeaders::new_with_capacity(count);
        output
            .headers()
            .raw()
            .fold(headers, |headers, (name, value)| ffi::add_header(headers, name, value))
    })
}

fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}
