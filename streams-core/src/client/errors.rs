//! Why a fetcher can't read on.

use crate::record::TopicPartition;

/// A batch of records that the client can't read: corrupt, or compressed in a way that it does not
/// know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("can't read the batch of records at {partition}@{offset}: {reason}")]
pub struct UnreadableBatch {
    /// The partition that holds the batch.
    pub partition: TopicPartition,
    /// An offset in the batch.
    pub offset: i64,
    /// What the client said, with Kafka's name of the error.
    pub reason: String,
}

/// A partition that can't be read on.
#[derive(Clone, Debug, thiserror::Error)]
#[error("can't fetch: {message}")]
pub struct FetchError {
    /// What the client said, with Kafka's name of the error.
    pub message: String,
}
