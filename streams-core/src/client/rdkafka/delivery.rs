//! What becomes of each record of a producer without transactions.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{Partitioner as RdPartitioner, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;

use super::context::Context;
use super::ffi::RdError;
use super::txn::cause_of;
use crate::client::Secrets;
use crate::error::{Cause, ConfigError};
use crate::record::{Partitioner, TopicPartition};

/// A record that could not be sent.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProduceError {
    /// A setting can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The client can't be made.
    #[error("can't make a producer: {reason}")]
    Client {
        /// What is wrong with its settings.
        reason: String,
    },
    /// A record was refused, by the client or by the broker.
    #[error("can't send to topic `{topic}`: {reason}")]
    Refused {
        /// Where it should have gone.
        topic: String,
        /// What the client said, with Kafka's name of the error.
        reason: String,
        /// Where the reason lies: after an outage the same record may be taken later.
        cause: Cause,
    },
    /// The time is over, and records are not acknowledged.
    #[error(
        "{records} records for {topics} are not acknowledged within {within:?}: is the broker \
         there, and does the topic exist?"
    )]
    NotAcknowledged {
        /// The topics that records were queued for since the last flush, as text: `` `a`, `b` ``.
        topics: String,
        /// How many records wait.
        records: usize,
        /// How long they were waited for.
        within: Duration,
    },
    /// The record names no topic, and the producer has no default topic.
    #[error("the record names no topic: write `ProducerRecord::to(..)`, or give the producer one")]
    NoTopic,
    /// The record names no partition, and its topic's partitioner chooses none.
    #[error(
        "a record for topic `{topic}` names no partition, and {partitioner} chooses none: set it \
         by `ProducerRecord::partition`"
    )]
    NoPartition {
        /// Where it should have gone.
        topic: String,
        /// The partitioner, as its `Debug` shows it.
        partitioner: String,
    },
    /// The producer ended before the record was acknowledged.
    #[error(
        "the producer was dropped before a record for topic `{topic}` was acknowledged: whether \
         the broker has it is unknown; flush the producer before it is dropped"
    )]
    Abandoned {
        /// Where it should have gone.
        topic: String,
    },
}

/// Where the broker has put a record. GKES: `Record.TopicPartition`, `Record.Offset`; Kafka's
/// `RecordMetadata`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acknowledged {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The record's offset there.
    pub offset: i64,
}

impl Acknowledged {
    pub(crate) const fn new(topic_partition: TopicPartition, offset: i64) -> Self {
        Self { topic_partition, offset }
    }

    /// The partition's number.
    pub const fn partition(&self) -> i32 {
        self.topic_partition.partition()
    }
}

/// What is called once a record is acknowledged or has failed.
type OnDelivery = Box<dyn FnOnce(Result<Acknowledged, ProduceError>) + Send>;

/// One record's callback; empty for a record whose failure the next flush reports.
#[derive(Clone, Default)]
pub(crate) struct Delivery(Arc<Mutex<Option<OnDelivery>>>);

impl Delivery {
    pub(crate) fn new(
        call: impl FnOnce(Result<Acknowledged, ProduceError>) + Send + 'static,
    ) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(call)))))
    }

    fn take(&self) -> Option<OnDelivery> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Calls the callback. Returns the result if there is none.
    pub(crate) fn call(
        &self,
        result: Result<Acknowledged, ProduceError>,
    ) -> Result<(), Result<Acknowledged, ProduceError>> {
        let Some(call) = self.take() else {
            return Err(result);
        };
        if catch_unwind(AssertUnwindSafe(|| call(result))).is_err() {
            tracing::error!("the callback of a sent record panicked");
        }
        Ok(())
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").finish_non_exhaustive()
    }
}

/// Why a record was not queued.
#[derive(Debug)]
pub(crate) enum SendRefused {
    /// The queue is full: try again when a record was delivered.
    Full,
    /// It will never be taken.
    Failed(ProduceError),
}

/// What the client of a producer without transactions calls back into.
#[derive(Debug)]
pub(super) struct PlainContext {
    pub(super) base: Context,
    partitioner: Option<Partitions>,
    /// Wakes futures that wait for space in the queue.
    pub(super) delivered: Notify,
}

/// A topic's partitioner, in the form that the client calls.
#[derive(Debug)]
pub(super) struct Partitions(&'static dyn Partitioner);

impl RdPartitioner for Partitions {
    fn partition(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        partitions: i32,
        _is_available: impl Fn(i32) -> bool,
    ) -> i32 {
        /// No topic has so many: the record fails at once. With -1 librdkafka would keep it until
        /// `delivery.timeout.ms` is over.
        const NONE: i32 = i32::MAX;
        let choose = || self.0.partition(topic, key, partitions);
        match catch_unwind(AssertUnwindSafe(choose)) {
            Ok(chosen) if (0..partitions).contains(&chosen) => chosen,
            Ok(chosen) => {
                tracing::error!(topic, chosen, partitions, "the partitioner chose no partition");
                NONE
            }
            Err(_) => {
                tracing::error!(topic, "the partitioner panicked");
                NONE
            }
        }
    }
}

impl PlainContext {
    pub(super) fn new(secrets: Secrets, partitioner: Option<&'static dyn Partitioner>) -> Self {
        let base = Context::without(secrets);
        Self { base, partitioner: partitioner.map(Partitions), delivered: Notify::new() }
    }
}

impl PlainContext {
    /// Checks that a record for `topic` without a partition can get one.
    pub(super) fn check_partition(&self, topic: &str) -> Result<(), ProduceError> {
        match &self.partitioner {
            Some(Partitions(partitioner)) if partitioner.chooses_none() => {
                let (topic, partitioner) = (topic.to_owned(), format!("{partitioner:?}"));
                Err(ProduceError::NoPartition { topic, partitioner })
            }
            _ => Ok(()),
        }
    }
}

impl ClientContext for PlainContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.base.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.base.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.base.error(error, reason);
    }
}

/// The error of a record for `topic`.
pub(super) fn refused(topic: &str, error: &KafkaError) -> ProduceError {
    let topic = topic.to_owned();
    let code = error.rdkafka_error_code();
    match code {
        Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) => {
            ProduceError::Abandoned { topic }
        }
        _ => {
            let code = code.map_or(-1, |code| code as i32);
            let message = error.to_string();
            let error = RdError { code, message, fatal: false, requires_abort: false };
            let cause = cause_of(&error);
            ProduceError::Refused { topic, reason: error.message, cause }
        }
    }
}

impl ProducerContext<Partitions> for PlainContext {
    type DeliveryOpaque = Arc<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Arc<Delivery>) {
        self.base.called();
        let told = match result {
            Ok(message) => {
                let at = TopicPartition::new(message.topic(), message.partition());
                Ok(Acknowledged::new(at, message.offset()))
            }
            Err((error, message)) => Err(refused(message.topic(), error)),
        };
        if delivery.call(told).is_err()
            && let Err((error, message)) = result
        {
            self.base.note_failed(error, message.topic());
        }
        self.delivered.notify_waiters();
    }

    fn get_custom_partitioner(&self) -> Option<&Partitions> {
        self.partitioner.as_ref()
    }
}
