//! A topic to send to, with the cluster that it is on.

use std::collections::BTreeMap;

use super::untyped::{Producer, ProducerBuilder};
use crate::client::ClusterConfig;
use crate::client::wire::{Admin, ClientError, Endpoint, NewTopic};
use crate::error::ConfigError;

const PARTITIONS_MAX: i32 = 100_000;
const MIN_IN_SYNC: &str = "min.insync.replicas";

/// Why a destination can't be created.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// A setting can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The cluster can't be reached, or refuses.
    #[error("topic `{topic}` can't be created: {source}")]
    Client {
        /// The topic.
        topic: String,
        /// What the client says.
        source: ClientError,
    },
    /// A thread for the requests can't be started, or panicked.
    #[error("topic `{topic}` can't be created: no thread asks the cluster: {reason}")]
    Thread {
        /// The topic.
        topic: String,
        /// Why.
        reason: String,
    },
}

/// A topic to send to, and the cluster that it is on. GKES: `Destination`.
///
/// # Examples
/// ```no_run
/// use streams_core::producer::Destination;
/// use streams_core::record::ProducerRecord;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let audit = Destination::new("audit")
///     .bootstrap("localhost:9092")
///     .partitions(3)
///     .replication_factor(3)
///     .min_in_sync(2)
///     .create()?;
/// println!("`audit` has {:?} partitions", audit.num_partitions());
/// audit.producer().build()?.produce(ProducerRecord::to_default_topic().value("started"))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Destination {
    cluster: ClusterConfig,
    topic: String,
    partitions: Option<i32>,
    replication_factor: i16,
    topic_configs: BTreeMap<String, String>,
}

impl Destination {
    /// Returns the destination of a topic. GKES: `DefaultTopic`.
    pub fn new(topic: impl Into<String>) -> Self {
        Self {
            cluster: ClusterConfig::default(),
            topic: topic.into(),
            partitions: None,
            replication_factor: -1,
            topic_configs: BTreeMap::new(),
        }
    }

    /// Sets the cluster: `host:port`, comma-separated.
    #[must_use]
    pub fn bootstrap(mut self, bootstrap: impl Into<String>) -> Self {
        self.cluster.bootstrap = bootstrap.into();
        self
    }

    /// Sets a further property of the clients, by librdkafka's name. For TLS see
    /// [`SourceBuilder::property`](crate::SourceBuilder::property).
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.cluster.properties.insert(name, value);
        self
    }

    /// Sets the cluster and all properties at once.
    #[must_use]
    pub fn cluster(mut self, cluster: ClusterConfig) -> Self {
        self.cluster = cluster;
        self
    }

    /// Sets the number of partitions that [`create`](Self::create) gives the topic: 1 to 100,000,
    /// by default the cluster's `num.partitions`. GKES: `NumPartitions`.
    #[must_use]
    pub const fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// Sets the replication factor that [`create`](Self::create) gives the topic; by default the
    /// cluster's. GKES: `ReplicationFactor`.
    #[must_use]
    pub const fn replication_factor(mut self, replication_factor: i16) -> Self {
        self.replication_factor = replication_factor;
        self
    }

    /// Sets `min.insync.replicas` of a topic that is created. GKES: `MinInSync`.
    #[must_use]
    pub fn min_in_sync(self, replicas: u16) -> Self {
        self.topic_config(MIN_IN_SYNC, replicas.to_string())
    }

    /// Sets a configuration of a topic that is created: `retention.ms`, say.
    #[must_use]
    pub fn topic_config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.topic_configs.insert(name.into(), value.into());
        self
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The number of partitions, if it was set or the topic was created.
    pub const fn num_partitions(&self) -> Option<i32> {
        self.partitions
    }

    /// Returns the settings of a producer whose default topic this is.
    pub fn producer(&self) -> ProducerBuilder {
        Producer::builder().cluster(self.cluster.clone()).topic(self.topic.clone())
    }

    /// Creates the topic if it does not exist, and returns the destination with the topic's number
    /// of partitions, which may be another than was asked for. GKES: `CreateDestination`.
    ///
    /// Blocks until the topic has leaders.
    ///
    /// # Errors
    /// If a setting can't be used, no broker answers, or the broker refuses.
    pub fn create(mut self) -> Result<Self, DestinationError> {
        let missing = |name, hint| Err(ConfigError::Missing { name, hint }.into());
        if self.cluster.bootstrap.trim().is_empty() {
            return missing("bootstrap", "write `.bootstrap(\"host:port\")`");
        }
        if self.topic.is_empty() {
            return missing("topic", "write `Destination::new(\"audit\")`");
        }
        if let Some(partitions) = self.partitions {
            ConfigError::check("partitions", partitions, 1..=PARTITIONS_MAX)?;
        }
        let endpoint = Endpoint::of(&self.cluster)?;
        let failed =
            |reason: String| DestinationError::Thread { topic: self.topic.clone(), reason };
        let ask = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| failed(error.to_string()))?;
            let created = runtime.block_on(self.create_at(&endpoint));
            created.map_err(|source| DestinationError::Client { topic: self.topic.clone(), source })
        };
        // The caller may be inside of a runtime, which must not block.
        let asked = std::thread::scope(|scope| {
            let builder = std::thread::Builder::new().name("streams-create".to_owned());
            let thread = builder.spawn_scoped(scope, ask);
            let thread = thread.map_err(|error| failed(error.to_string()))?;
            thread.join().map_err(|_| failed("it panicked".to_owned()))?
        });
        self.partitions = Some(asked?);
        Ok(self)
    }

    async fn create_at(&self, endpoint: &Endpoint) -> Result<i32, ClientError> {
        let mut admin = Admin::new(endpoint);
        if let Some(found) = admin.topic(&self.topic).await? {
            return Ok(found.partitions);
        }
        let topic = NewTopic {
            name: self.topic.clone(),
            partitions: self.partitions.unwrap_or(-1),
            replication_factor: self.replication_factor,
            configs: self.topic_configs.clone(),
        };
        admin.create_topic(&topic).await?;
        let found = admin.topic(&self.topic).await?;
        Ok(found.map_or(topic.partitions, |found| found.partitions))
    }
}
