//! The broker under a test: the embedded one, or real Apache Kafka.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use streams_broker::{Broker, Fault};

use crate::kafka::Kafka;

/// The longest time from the creation of a topic until its partitions have leaders.
const CREATED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// A broker that tests run against.
#[derive(Debug)]
pub enum TestBroker {
    /// The embedded one.
    Embedded(Broker),
    /// Apache Kafka.
    Kafka(Kafka),
}

impl TestBroker {
    /// Starts an embedded broker.
    ///
    /// # Errors
    /// If it does not start.
    pub fn embedded() -> Result<Self> {
        // The tests' sessions are shorter than what a broker allows by default.
        let sessions = Duration::from_secs(1)..=Duration::from_secs(1_800);
        Ok(Self::Embedded(Broker::builder().group_session_timeouts(sessions).start()?))
    }

    /// Where it listens.
    pub fn bootstrap(&self) -> String {
        match self {
            Self::Embedded(broker) => broker.bootstrap(),
            Self::Kafka(kafka) => kafka.bootstrap(),
        }
    }

    /// Lets requests fail; only the embedded broker can.
    ///
    /// # Errors
    /// If it is Apache Kafka.
    pub fn inject(&self, fault: Fault) -> Result<()> {
        match self {
            Self::Embedded(broker) => broker.inject(fault),
            Self::Kafka(_) => bail!("Apache Kafka takes no faults"),
        }
        Ok(())
    }

    /// Creates topics.
    ///
    /// # Errors
    /// As [`create_topics`].
    pub fn create_topics(&self, topics: &[(&str, i32)]) -> Result<()> {
        create_topics(&self.bootstrap(), topics)
    }
}

/// Deletes a topic at `bootstrap`.
///
/// # Errors
/// If it can't be deleted.
pub fn delete_topic(bootstrap: &str, topic: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = runtime.block_on(admin.delete_topics(&[topic], &options))?;
    for result in results {
        result.map_err(|(name, code)| anyhow!("deleting topic {name}: {code}"))?;
    }
    Ok(())
}

/// Grows a topic at `bootstrap` to so many partitions.
///
/// # Errors
/// If it can't be grown.
pub fn grow_topic(bootstrap: &str, topic: &str, partitions: usize) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let grown = NewPartitions::new(topic, partitions);
    let results = runtime.block_on(admin.create_partitions(&[grown], &options))?;
    for result in results {
        result.map_err(|(name, code)| anyhow!("growing topic {name}: {code}"))?;
    }
    Ok(())
}

/// Creates topics at `bootstrap`, and waits until each partition has a leader there: a broker
/// answers CreateTopics before it knows the topic itself.
///
/// # Errors
/// If the broker refuses one, or one has no leaders after `CREATED_WITHIN`.
pub fn create_topics(bootstrap: &str, topics: &[(&str, i32)]) -> Result<()> {
    create_replicated_topics(bootstrap, topics, 1)
}

/// Makes compacted topics at `bootstrap`, as changelogs are.
///
/// # Errors
/// As [`create_topics`].
pub fn create_compacted_topics(bootstrap: &str, topics: &[(&str, i32)]) -> Result<()> {
    create_configured_topics(bootstrap, topics, 1, Some("compact"))
}

/// Makes topics with so many replicas at `bootstrap`.
///
/// # Errors
/// As [`create_topics`].
pub fn create_replicated_topics(
    bootstrap: &str,
    topics: &[(&str, i32)],
    replicas: i32,
) -> Result<()> {
    create_configured_topics(bootstrap, topics, replicas, None)
}

fn create_configured_topics(
    bootstrap: &str,
    topics: &[(&str, i32)],
    replicas: i32,
    cleanup_policy: Option<&str>,
) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let replicated = || TopicReplication::Fixed(replicas);
    let mut new: Vec<NewTopic<'_>> =
        topics.iter().map(|(n, p)| NewTopic::new(n, *p, replicated())).collect();
    if let Some(policy) = cleanup_policy {
        new = new.into_iter().map(|topic| topic.set("cleanup.policy", policy)).collect();
    }
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = runtime.block_on(admin.create_topics(&new, &options))?;
    for result in results {
        result.map_err(|(name, code)| anyhow!("creating topic {name}: {code}"))?;
    }
    let deadline = Instant::now() + CREATED_WITHIN;
    for (name, partitions) in topics {
        let wanted = usize::try_from(*partitions)?;
        let led = || {
            let metadata = admin.inner().fetch_metadata(Some(name), Duration::from_secs(1)).ok()?;
            let topic = metadata.topics().first()?;
            Some(topic.partitions().iter().filter(|partition| partition.leader() >= 0).count())
        };
        while led().unwrap_or(0) < wanted {
            let what = "has no leaders";
            ensure!(Instant::now() < deadline, "{name} {what} after {CREATED_WITHIN:?}");
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}
