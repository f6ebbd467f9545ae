//! The only room that names a Kafka library, behind traits of our own.
//!
//! - [`TxnProducer`]: one transactional producer of the pool; first implementation on librdkafka.
//! - [`Fetcher`]: reads assigned partitions; on librdkafka.
//! - [`wire`]: group membership and administration, over `kafka-protocol` and tokio.

mod coordinator;
mod errors;
mod properties;
pub mod rdkafka;
pub mod wire;

use std::time::Duration;

pub use self::coordinator::CoordinatorWatch;
pub use self::errors::{FetchError, UnreadableBatch};
pub use self::properties::Properties;
pub(crate) use self::properties::Secrets;

use crate::error::TxnError;
use crate::group::Generation;
use crate::record::{OutputRef, Record, TopicPartition};

/// How to reach a cluster: addresses, and librdkafka's properties for whatever else it needs.
#[derive(Clone, Debug, Default)]
pub struct ClusterConfig {
    /// `host:port`, comma-separated.
    pub bootstrap: String,
    /// Further properties, by librdkafka's names; ours win where exactly-once depends on them.
    pub properties: Properties,
}

/// What a transaction commits for one partition of the source topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// The source's partition.
    pub topic_partition: TopicPartition,
    /// One past the highest contiguously completed event.
    pub offset: i64,
    /// What is done beyond it; see `eos::Snapshot::metadata`.
    pub metadata: String,
}

/// Why a record was not taken.
#[derive(Debug)]
pub enum SendError {
    /// The client's queue is full: try again when it has sent some.
    Full,
    /// It will never be taken.
    Refused(TxnError),
}

/// One transactional producer. The blocking calls are made on a thread of its own; [`Self::send`]
/// is not blocking and may be called from another.
pub trait TxnProducer: Send + Sync + 'static {
    /// Takes the transactional id over: fences its former owner, and ends what that left open.
    ///
    /// # Errors
    /// If the broker refuses, or can't be reached within `timeout`.
    fn init(&self, timeout: Duration) -> Result<(), TxnError>;

    /// Begins a transaction, in the client alone.
    ///
    /// # Errors
    /// If the producer is not initialised, or can't go on.
    fn begin(&self) -> Result<(), TxnError>;

    /// Queues a record. It is sent in the order of the calls.
    ///
    /// # Errors
    /// If the queue is full, or the record can't be sent at all.
    fn send(&self, record: OutputRef<'_>) -> Result<(), SendError>;

    /// Returns when all queued records are acknowledged.
    ///
    /// # Errors
    /// If one was refused, or `timeout` is over.
    fn flush(&self, timeout: Duration) -> Result<(), TxnError>;

    /// Adds offsets to the transaction, fenced by member and generation (EOS-7).
    ///
    /// # Errors
    /// If the member or its generation is not the group's, or the broker refuses otherwise.
    fn send_offsets(
        &self,
        offsets: &[OffsetToCommit],
        generation: &Generation,
        timeout: Duration,
    ) -> Result<(), TxnError>;

    /// Commits. Everything must be acknowledged before.
    ///
    /// # Errors
    /// If the broker refuses, or the reply is lost: then it may be committed or not.
    fn commit(&self, timeout: Duration) -> Result<(), TxnError>;

    /// Aborts.
    ///
    /// # Errors
    /// If the broker refuses or can't be reached.
    fn abort(&self, timeout: Duration) -> Result<(), TxnError>;
}

/// What a [`Fetcher`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The events.
    Source,
    /// The changes, until a store is whole.
    Changelog,
}

/// Reads assigned partitions, with `read_committed`. It never joins a group.
pub trait Fetcher: Send + 'static {
    /// Begins to fetch `partition` from `offset`; what was fetched of it before is dropped.
    ///
    /// # Errors
    /// If the client refuses.
    fn assign(&mut self, partition: &TopicPartition, offset: i64) -> Result<(), FetchError>;

    /// Ends fetching `partition`.
    fn unassign(&mut self, partition: &TopicPartition);

    /// Stops fetching `partition` for a while.
    fn pause(&mut self, partition: &TopicPartition);

    /// Goes on fetching `partition`.
    fn resume(&mut self, partition: &TopicPartition);

    /// The partition's end, as far as the last reply told.
    fn end(&self, _partition: &TopicPartition) -> Option<i64> {
        None
    }

    /// Returns the offset behind the batch of records that holds `offset`, by its header alone.
    ///
    /// # Errors
    /// If the broker does not answer, or its batch has no header that can be read.
    fn batch_end(&mut self, partition: &TopicPartition, offset: i64) -> Result<i64, FetchError>;

    /// The offset of the partition's record that is fetched next, if that is known: everything
    /// before it was brought, or is hidden from readers.
    fn position(&self, _partition: &TopicPartition) -> Option<i64> {
        None
    }

    /// What has been fetched, without waiting.
    fn poll(&mut self) -> Option<Fetched>;
}

/// What a [`Fetcher`] brings.
#[derive(Debug)]
pub enum Fetched {
    /// A record.
    Record(Record),
    /// The end of a partition was reached, as far as its transactions are decided. It is the end
    /// that the serving replica knows, which may lag behind the leader's.
    EndOfPartition {
        /// The partition's number.
        partition: i32,
        /// Its end: one past the last offset before it.
        offset: i64,
    },
    /// Something is wrong; the client has logged it, and goes on trying.
    Trouble(String),
    /// A partition can't be read on.
    Failed {
        /// The partition, if the client says which it is.
        partition: Option<TopicPartition>,
        /// Why.
        error: FetchError,
    },
    /// A batch of records can't be read, and will never be.
    Unreadable(UnreadableBatch),
}
