//! A batch of records that no client can read.

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
