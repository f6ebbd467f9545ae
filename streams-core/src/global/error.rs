//! Why a global changelog does not start, or stopped.

use std::sync::Arc;
use std::time::Duration;

use crate::client::wire::ClientError;
use crate::client::{FetchError, UnreadableBatch};
use crate::error::ConfigError;
use crate::record::TopicPartition;

/// What a receiver returns for a change that it cannot take.
pub type ReceiveError = Box<dyn std::error::Error + Send + Sync>;

/// Why a global changelog does not start, or stopped.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GlobalError {
    /// A setting can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The cluster can't be reached at the start, or it refuses.
    #[error("the global changelog of topic `{topic}` can't be read: {source}")]
    Client {
        /// The topic.
        topic: String,
        /// What the client says.
        source: ClientError,
    },
    /// There is no such topic.
    #[error(
        "topic `{topic}` of a global changelog does not exist: create it, correct its name, or let \
         the application create it (`create_topic`)"
    )]
    TopicMissing {
        /// The topic.
        topic: String,
    },
    /// The topic was deleted and created again while it was read.
    #[error(
        "topic `{topic}` of a global changelog was deleted and created again: what was received is \
         of the former topic; start the global changelog again, with an empty receiver"
    )]
    TopicReplaced {
        /// The topic.
        topic: String,
    },
    /// The topic has another cleanup policy than the application expects.
    #[error(
        "topic `{topic}` of a global changelog has `cleanup.policy` {actual}, and not {expected}: \
         change the topic with `kafka-configs.sh`, or the setting `cleanup_policy`"
    )]
    CleanupPolicy {
        /// The topic.
        topic: String,
        /// What the application expects.
        expected: String,
        /// What the topic has.
        actual: String,
    },
    /// The log does not hold the offset that is read next.
    #[error(
        "the global changelog of {partition} needs offset {position}, but the log holds offsets \
         {low} to {high}: retention deleted records before they were received, or the log was \
         truncated; let the application leave them out (`on_truncated`), or start again"
    )]
    Truncated {
        /// The partition.
        partition: TopicPartition,
        /// The offset that is read next.
        position: i64,
        /// The first offset that is there.
        low: i64,
        /// One past the last.
        high: i64,
    },
    /// A restore takes longer than tombstones are kept.
    #[error(
        "the global changelog of topic `{topic}` can't be read within {age_max:?}, a quarter of \
         its `delete.retention.ms`, twice: tombstones that were not read may be gone, and rows \
         that were deleted would come back; raise `delete.retention.ms` of the topic"
    )]
    TooSlow {
        /// The topic.
        topic: String,
        /// For how long it was tried, twice.
        age_max: Duration,
    },
    /// A batch of records can't be read.
    #[error(
        "{0}: it is corrupt, or compressed in a way that the client does not know; repair the \
         topic, or let the application leave the batch out (`on_unreadable_batch`)"
    )]
    Unreadable(UnreadableBatch),
    /// The receiver does not take a record.
    #[error("the receiver of a global changelog failed at {partition}@{offset}: {source}")]
    Receiver {
        /// The partition.
        partition: TopicPartition,
        /// The record's offset.
        offset: i64,
        /// What the receiver says.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The receiver panicked.
    #[error("the receiver of a global changelog panicked at {partition}@{offset}: {message}")]
    Panicked {
        /// The partition.
        partition: TopicPartition,
        /// The record's offset.
        offset: i64,
        /// The panic's message.
        message: String,
    },
    /// The client can't be made, or a partition can't be fetched.
    #[error("the global changelog of topic `{topic}` can't be fetched: {source}")]
    Fetch {
        /// The topic.
        topic: String,
        /// What the client says.
        source: FetchError,
    },
    /// The global changelog has not caught up in time.
    #[error(
        "the global changelog of topic `{topic}` has not caught up within {within:?}: {lag} \
         offsets are missing{}", because(trouble.as_deref())
    )]
    NotCaughtUp {
        /// The topic.
        topic: String,
        /// How long was waited.
        within: Duration,
        /// How many offsets of all partitions are missing.
        lag: i64,
        /// Why the cluster does not answer, if it does not.
        trouble: Option<String>,
    },
    /// The global changelog was stopped.
    #[error("the global changelog of topic `{topic}` is stopped")]
    Stopped {
        /// The topic.
        topic: String,
    },
    /// There is no such partition.
    #[error("topic `{topic}` of a global changelog has no partition {partition}")]
    NoPartition {
        /// The topic.
        topic: String,
        /// The number that was asked for.
        partition: i32,
    },
    /// A thread can't be started, or ended without a word.
    #[error("a thread of the global changelog of topic `{topic}` ended unexpectedly: {reason}")]
    Thread {
        /// The topic.
        topic: String,
        /// Why.
        reason: String,
    },
}

fn because(trouble: Option<&str>) -> String {
    trouble.map_or_else(String::new, |trouble| format!(" ({trouble})"))
}
