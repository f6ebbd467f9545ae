//! On librdkafka: the transactional producer, the fetcher, the plain producer.

mod calls;
mod context;
mod fetcher;
mod ffi;
mod plain;
mod txn;

use std::time::Duration;

use rdkafka::ClientConfig;

pub use self::fetcher::RdFetcher;
pub use self::plain::{PlainProducer, ProduceError};
pub use self::txn::RdTxnProducer;
use super::ClusterConfig;

/// librdkafka opens its connections one after the other, half of this time apart. At its default
/// of 100 ms that is most of a client's start. The back-off still doubles.
const RECONNECT_BACKOFF_MS: &str = "10";

/// So long after a broker is back it is looked for at the latest; librdkafka's 10 s would be added
/// to each outage. The same as Java's default.
const RECONNECT_BACKOFF_MAX_MS: &str = "1000";

/// Settings that both producers and fetchers have.
fn base_config(cluster: &ClusterConfig) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &cluster.bootstrap);
    config.set("reconnect.backoff.ms", RECONNECT_BACKOFF_MS);
    config.set("reconnect.backoff.max.ms", RECONNECT_BACKOFF_MAX_MS);
    for (name, value) in &cluster.properties {
        config.set(name, value);
    }
    config
}

fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}
