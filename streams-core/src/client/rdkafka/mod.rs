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
fn base_config(cluster: &ClusterConfig) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &cluster.bootstrap);
    for (name, value) in &cluster.properties {
        config.set(name, value);
    }
    config
}

fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}
