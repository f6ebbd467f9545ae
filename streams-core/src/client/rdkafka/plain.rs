//! A producer without transactions, for whoever sends events to a source.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::context::Context;
use super::{base_config, creation_error, ffi, headers};
use crate::client::ClusterConfig;
use crate::record::OutputRef;

/// A record that could not be sent.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProduceError {
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
}

/// An idempotent producer on librdkafka.
///
/// When it is dropped, it flushes for at most [`DROP_FLUSH_MAX`] and logs what was not sent.
pub struct PlainProducer {
    producer: ThreadedProducer<Context>,
    /// The topics that records were queued for since the last flush.
    topics: Mutex<BTreeSet<String>>,
}

/// How long a full queue is waited for, at a time.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(1);

/// How long acknowledgements are waited for at first; then for twice as long each time.
const FLUSH_STEP: Duration = Duration::from_millis(5);

/// How long a producer that is dropped waits for acknowledgements.
pub const DROP_FLUSH_MAX: Duration = Duration::from_secs(5);

impl PlainProducer {
    /// A producer.
    ///
    /// # Errors
    /// If a property is not librdkafka's, or has a value that it can't have.
    pub fn new(cluster: &ClusterConfig) -> Result<Self, ProduceError> {
        let producer = base_config(cluster)
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "1")
            .set("delivery.report.only.error", "true")
            .create_with_context(Context::without(cluster.properties.secrets()))
            .map_err(|error| ProduceError::Client { reason: creation_error(cluster, &error) })?;
        Ok(Self { producer, topics: Mutex::default() })
    }

    fn topics(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a record; waits while the queue is full.
    ///
    /// # Errors
    /// If the record can't be sent at all.
    pub fn send(&self, output: OutputRef<'_>) -> Result<(), ProduceError> {
        let mut record = BaseRecord::<[u8], [u8]>::to(output.topic);
        record.partition = output.partition;
        record.key = output.key;
        record.payload = output.value;
        record.timestamp = output.timestamp_ms;
        record.headers = headers(&output);
        while let Err((error, back)) = self.producer.send(record) {
            let KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) = error else {
                let topic = output.topic.to_owned();
                return Err(ProduceError::Refused { topic, reason: error.to_string() });
            };
            std::thread::sleep(QUEUE_FULL_WAIT);
            record = back;
        }
        let mut topics = self.topics();
        if !topics.contains(output.topic) {
            topics.insert(output.topic.to_owned());
        }
        Ok(())
    }

    /// Waits until all queued records are acknowledged.
    ///
    /// # Errors
    /// If one was refused, or `timeout` is over.
    pub fn flush(&self, timeout: Duration) -> Result<(), ProduceError> {
        // Failed deliveries count as in flight until the producer's own thread has seen them.
        let flushed = self.flush_or_ask(timeout);
        if let Some(failed) = self.producer.context().take_failed() {
            return Err(ProduceError::Refused { topic: failed.topic, reason: failed.message });
        }
        let mut topics = self.topics();
        if flushed {
            topics.clear();
            return Ok(());
        }
        let names: Vec<_> = topics.iter().map(|topic| format!("`{topic}`")).collect();
        Err(ProduceError::NotAcknowledged {
            topics: names.join(", "),
            records: usize::try_from(self.producer.in_flight_count()).unwrap_or(0),
            within: timeout,
        })
    }

    /// Whether all is acknowledged within `timeout`.
    ///
    /// A new idempotent producer asks for its id on the first connection; if that is the one which
    /// librdkafka drops once it knows the brokers, it asks again only after a fixed 500 ms, or when
    /// somebody's metadata comes.
    fn flush_or_ask(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut step = FLUSH_STEP;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if ffi::flush(self.producer.client(), left.min(step)) {
                return true;
            }
            if left.is_zero() {
                return false;
            }
            let _ = ffi::answering_broker(self.producer.client(), left.min(step));
            step = step.saturating_mul(2).min(timeout);
        }
    }
}

impl Drop for PlainProducer {
    /// librdkafka would drop what is queued.
    fn drop(&mut self) {
        if self.topics().is_empty() {
            return;
        }
        if let Err(error) = self.flush(DROP_FLUSH_MAX) {
            tracing::error!(%error, "a producer was dropped before its records were sent");
        }
    }
}

impl fmt::Debug for PlainProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainProducer").finish_non_exhaustive()
    }
}
