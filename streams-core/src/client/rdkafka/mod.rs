//! On librdkafka: the transactional producer, the fetcher, the plain producer.

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

/// Settings that both producers and fetchers have.
/// librdkafka opens its connections one after the other, half of this time apart. At its default
/// of 100 ms that is most of a client's start; the back-off still doubles up to 10 s.
const RECONNECT_BACKOFF_MS: &str = "10";

fn base_config(cluster: &ClusterConfig) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &cluster.bootstrap);
    config.set("reconnect.backoff.ms", RECONNECT_BACKOFF_MS);
    for (name, value) in &cluster.properties {
        config.set(name, value);
    }
    config
}

fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}
