//! Checks the properties of a source's clients before it starts.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::BaseProducer;

use super::context::Context;
use super::creation_error;
use super::fetcher::fetcher_config;
use super::txn::producer_config;
use crate::client::{ClusterConfig, Reads};
use crate::error::ConfigError;

/// The group and the transactional id of clients that never connect.
const NOBODY: &str = "check";

/// Checks that librdkafka takes these properties: each by itself, and all together for a producer
/// and for a consumer.
///
/// The check creates one client of each kind, without a broker to connect to, because librdkafka
/// compares properties with each other only then.
///
/// # Errors
/// If librdkafka does not know a property or refuses its value, or if a client refuses the
/// properties together. The error contains no secret.
pub(crate) fn check_properties(
    cluster: &ClusterConfig,
    transaction_timeout: Duration,
) -> Result<(), ConfigError> {
    for (name, value) in cluster.properties.iter() {
        let mut alone = ClientConfig::new();
        if let Err(error) = alone.set(name, value).create_native_config() {
            let (name, reason) = (name.to_owned(), creation_error(cluster, &error));
            return Err(ConfigError::Property { name, reason });
        }
    }
    let offline = ClusterConfig { bootstrap: String::new(), ..cluster.clone() };
    let producer: BaseProducer<Context> =
        unconnected(producer_config(&offline, NOBODY, transaction_timeout))
            .map_err(|error| refused("producer", cluster, &error))?;
    let consumer: BaseConsumer<Context> =
        unconnected(fetcher_config(&offline, NOBODY, Reads::Source))
            .map_err(|error| refused("consumer", cluster, &error))?;
    // Closing a client takes up to 100 ms. Without a thread the caller closes it.
    let close = move || drop((producer, consumer));
    drop(std::thread::Builder::new().name("streams-close".to_owned()).spawn(close));
    Ok(())
}

/// Creates a client that says nothing of the addresses that it lacks.
fn unconnected<T: FromClientConfigAndContext<Context>>(mut config: ClientConfig) -> KafkaResult<T> {
    config.set("log_level", "0").create_with_context(Context::default())
}

fn refused(client: &'static str, cluster: &ClusterConfig, error: &KafkaError) -> ConfigError {
    ConfigError::Properties { client, reason: creation_error(cluster, error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(properties: &[(&str, &str)]) -> Result<(), String> {
        let mut cluster =
            ClusterConfig { bootstrap: "localhost:1".to_owned(), ..ClusterConfig::default() };
        properties.iter().for_each(|(name, value)| cluster.properties.insert(*name, *value));
        check_properties(&cluster, Duration::from_secs(60)).map_err(|error| error.to_string())
    }

    #[test]
    fn known_properties_of_both_clients_pass() {
        let properties = [("fetch.max.bytes", "2000000"), ("compression.type", "lz4")];
        assert_eq!(check(&properties), Ok(()));
    }

    #[test]
    fn an_error_names_the_property_and_no_secret() {
        let error = check(&[("fetch.max.bites", "1")]).unwrap_err();
        assert!(error.contains("`fetch.max.bites`"), "{error}");
        let error = check(&[("ssl.key.pasword", "hunter2"), ("acks", "hunter2")]).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
