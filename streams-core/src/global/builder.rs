//! The settings of a global changelog: one builder method each.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::error::GlobalError;
use super::log::GlobalChangeLog;
use super::receiver::ChangeLogReceiver;
use crate::client::ClusterConfig;
use crate::client::wire::Endpoint;
use crate::error::ConfigError;
use crate::runtime::{OnUnreadable, StartFrom};

const CHECK_INTERVAL: Duration = Duration::from_secs(5);
const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(100);
const CHECK_INTERVAL_MAX: Duration = Duration::from_hours(1);
const STALE_AFTER: Duration = Duration::from_secs(30);
const STALE_AFTER_MAX: Duration = Duration::from_hours(24 * 365);
const PARTITIONS_MAX: i32 = 100_000;

/// How Kafka removes old records of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CleanupPolicy {
    /// Kafka keeps the last record of each key. GKES: `CompactCleanupPolicy`.
    #[default]
    Compact,
    /// Kafka deletes records by age and size (`retention.ms`, `retention.bytes`). GKES:
    /// `DeleteCleanupPolicy`.
    Delete,
}

impl CleanupPolicy {
    /// Kafka's name of the policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Delete => "delete",
        }
    }

    /// Returns true if a topic with this `cleanup.policy` is compacted.
    pub(super) fn compacts(actual: &str) -> bool {
        actual.split(',').any(|policy| policy.trim() == Self::Compact.name())
    }

    /// Returns true if a topic with this `cleanup.policy` keeps what a topic with `self` keeps.
    pub(super) fn is_met_by(self, actual: &str) -> bool {
        let mut policies = actual.split(',').map(str::trim);
        match self {
            // `compact,delete` deletes the last record of a key too.
            Self::Compact => policies.all(|policy| policy == self.name()),
            Self::Delete => policies.any(|policy| policy == self.name()),
        }
    }
}

/// What to do if the log does not hold the offset that is read next: retention has deleted records
/// before they were received, or the log was truncated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnTruncated {
    /// Stop the global changelog with [`GlobalError::Truncated`]: no change is lost in silence.
    #[default]
    Fail,
    /// Continue at the first record that is there, with a warning and a call of
    /// [`ChangeLogReceiver::truncated`].
    Skip,
}

#[derive(Clone, Debug)]
pub(super) struct GlobalSettings {
    pub(super) cluster: ClusterConfig,
    pub(super) topic: String,
    pub(super) start_from: StartFrom,
    pub(super) cleanup_policy: Option<CleanupPolicy>,
    pub(super) create: Option<i32>,
    pub(super) replication_factor: i16,
    pub(super) topic_configs: BTreeMap<String, String>,
    pub(super) on_unreadable: OnUnreadable,
    pub(super) on_truncated: OnTruncated,
    pub(super) check_interval: Duration,
    pub(super) stale_after: Duration,
}

impl GlobalSettings {
    pub(super) fn check(&self) -> Result<Endpoint, ConfigError> {
        let missing = |name, hint| Err(ConfigError::Missing { name, hint });
        if self.cluster.bootstrap.trim().is_empty() {
            return missing("bootstrap", "write `.bootstrap(\"host:port\")`");
        }
        if self.topic.is_empty() {
            return missing("topic", "write `.topic(\"customers\")`");
        }
        let checks = CHECK_INTERVAL_MIN..=CHECK_INTERVAL_MAX;
        ConfigError::check_duration("check_interval", self.check_interval, checks)?;
        let stale = self.check_interval..=STALE_AFTER_MAX;
        ConfigError::check_duration("stale_after", self.stale_after, stale)?;
        if let Some(partitions) = self.create {
            ConfigError::check("create_topic", partitions, 1..=PARTITIONS_MAX)?;
        }
        Endpoint::of(&self.cluster)
    }
}

/// The settings of a [`GlobalChangeLog`]; made by [`GlobalChangeLog::builder`].
#[derive(Clone)]
pub struct GlobalBuilder<R> {
    pub(super) settings: GlobalSettings,
    pub(super) receiver: R,
}

/// Methods that the builders of changelogs and of tables share, as their settings are the same.
macro_rules! settings {
    ($($field:ident).+) => {
        /// Sets the cluster: `host:port`, comma-separated.
        #[must_use]
        pub fn bootstrap(mut self, bootstrap: impl Into<String>) -> Self {
            self.$($field).+.cluster.bootstrap = bootstrap.into();
            self
        }

        /// Sets a further property of the Kafka clients, by librdkafka's name: `client.id`, say.
        /// For TLS see [`SourceBuilder::property`](crate::SourceBuilder::property).
        #[must_use]
        pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
            self.$($field).+.cluster.properties.insert(name, value);
            self
        }

        /// Sets the topic. It must exist, unless [`create_topic`](Self::create_topic) is set.
        #[must_use]
        pub fn topic(mut self, topic: impl Into<String>) -> Self {
            self.$($field).+.topic = topic.into();
            self
        }

        /// Creates the topic with this number of partitions (1 to 100,000) if it does not exist.
        /// Its cleanup policy is [`cleanup_policy`](Self::cleanup_policy), or
        /// [`CleanupPolicy::Compact`](super::CleanupPolicy).
        #[must_use]
        pub const fn create_topic(mut self, partitions: i32) -> Self {
            self.$($field).+.create = Some(partitions);
            self
        }

        /// Sets the replication factor of a topic that is created; by default the cluster's.
        #[must_use]
        pub const fn replication_factor(mut self, replication_factor: i16) -> Self {
            self.$($field).+.replication_factor = replication_factor;
            self
        }

        /// Sets a configuration of a topic that is created: `min.insync.replicas`, say.
        #[must_use]
        pub fn topic_config(
            mut self,
            name: impl Into<String>,
            value: impl Into<String>,
        ) -> Self {
            self.$($field).+.topic_configs.insert(name.into(), value.into());
            self
        }

        /// Sets the cleanup policy that the topic must have; by default any will do. A topic with
        /// another one is an error at the start
        /// ([`GlobalError::CleanupPolicy`](super::GlobalError::CleanupPolicy)).
        #[must_use]
        pub const fn cleanup_policy(mut self, policy: CleanupPolicy) -> Self {
            self.$($field).+.cleanup_policy = Some(policy);
            self
        }

        /// Sets what to do with a batch of records that can't be read; by default the global
        /// changelog stops.
        #[must_use]
        pub const fn on_unreadable_batch(mut self, policy: OnUnreadable) -> Self {
            self.$($field).+.on_unreadable = policy;
            self
        }

        /// Sets what to do if the log does not hold the offset that is read next; by default the
        /// global changelog stops.
        #[must_use]
        pub const fn on_truncated(mut self, policy: OnTruncated) -> Self {
            self.$($field).+.on_truncated = policy;
            self
        }

        /// Sets how often the brokers are asked for the topic's partitions and their ends: 100 ms
        /// to 1 h, by default 5 s. A partition that is added is read within this time; lags and
        /// staleness are as old as the last answer.
        #[must_use]
        pub const fn check_interval(mut self, interval: Duration) -> Self {
            self.$($field).+.check_interval = interval;
            self
        }

        /// Sets the staleness from which on the state is
        /// [`GlobalState::Stale`](super::GlobalState::Stale): from
        /// [`check_interval`](Self::check_interval) on, by default 30 s.
        #[must_use]
        pub const fn stale_after(mut self, age: Duration) -> Self {
            self.$($field).+.stale_after = age;
            self
        }
    };
}
pub(super) use settings;

impl<R: ChangeLogReceiver> GlobalBuilder<R> {
    pub(super) fn new(receiver: R) -> Self {
        let settings = GlobalSettings {
            cluster: ClusterConfig::default(),
            topic: String::new(),
            start_from: StartFrom::Earliest,
            cleanup_policy: None,
            create: None,
            replication_factor: -1,
            topic_configs: BTreeMap::new(),
            on_unreadable: OnUnreadable::default(),
            on_truncated: OnTruncated::default(),
            check_interval: CHECK_INTERVAL,
            stale_after: STALE_AFTER,
        };
        Self { settings, receiver }
    }

    settings!(settings);

    /// Sets where to begin: by default with the first record of each partition. With
    /// [`StartFrom::Latest`] the receiver gets what is written after the start.
    #[must_use]
    pub const fn start_from(mut self, start_from: StartFrom) -> Self {
        self.settings.start_from = start_from;
        self
    }

    /// Checks the settings and the topic, and starts to read. GKES: `GlobalChangeLog.Start`.
    ///
    /// Blocks until the topic and its ends are known. The receiver gets its records after that:
    /// [`GlobalChangeLog::wait_caught_up`] waits for those that are there now.
    ///
    /// # Errors
    /// If a setting can't be used, no broker answers, or the topic is missing or unsuitable.
    pub fn start(self) -> Result<GlobalChangeLog, GlobalError> {
        GlobalChangeLog::start(self.settings, self.receiver)
    }
}

impl<R> fmt::Debug for GlobalBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GlobalBuilder").field(&self.settings).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_met_by_one_that_keeps_as_much() {
        assert!(CleanupPolicy::Compact.is_met_by("compact"));
        assert!(!CleanupPolicy::Compact.is_met_by("compact,delete"));
        assert!(!CleanupPolicy::Compact.is_met_by("delete"));
        assert!(CleanupPolicy::Delete.is_met_by("compact, delete"));
        assert!(!CleanupPolicy::Delete.is_met_by("compact"));
    }

    #[test]
    fn a_setting_that_can_not_be_used_is_named() {
        let builder = || {
            let receiver = |_: &crate::Record| Ok(());
            GlobalBuilder::new(receiver).bootstrap("localhost:1").topic("t")
        };
        let error = |builder: GlobalBuilder<_>| builder.settings.check().unwrap_err().to_string();
        assert!(builder().settings.check().is_ok());
        assert!(error(builder().bootstrap(" ")).contains("`bootstrap` is missing"));
        assert!(error(builder().topic("")).contains("`topic` is missing"));
        let short = builder().check_interval(Duration::from_millis(1));
        assert!(error(short).contains("`check_interval` is 1ms"));
        let fresh = builder().stale_after(Duration::from_secs(1));
        assert!(error(fresh).contains("`stale_after` is 1s"));
        assert!(error(builder().create_topic(0)).contains("`create_topic` is 0"));
    }
}
