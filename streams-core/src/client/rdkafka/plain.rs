//! A producer without transactions, for whoever sends events to a source.

use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::context::Context;
use super::{base_config, ffi};
use crate::client::ClusterConfig;
use crate::record::OutputRef;

/// A record that could not be sent.
#[derive(Clone, Debug, thiserror::Error)]
#[error("can't send to topic `{topic}`: {message}")]
pub struct ProduceError {
    /// Where it should have gone.
    pub topic: String,
    /// What the client said.
    pub message: String,
}

/// An idempotent producer on librdkafka.
pub struct PlainProducer {
    producer: ThreadedProducer<Context>,
}

/// How long a full queue is waited for, at a time.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(1);

/// How long acknowledgements are waited for at first; then for twice as long each time.
const FLUSH_STEP: Duration = Duration::from_millis(5);

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
            .create_with_context(Context::default())
            .map_err(|error| ProduceError { topic: String::new(), message: error.to_string() })?;
        Ok(Self { producer })
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
        record.headers = (output.header_count() > 0).then(|| {
            output.headers().fold(OwnedHeaders::new(), |headers, header| {
                headers.insert(Header { key: header.name, value: header.value })
            })
        });
        while let Err((error, back)) = self.producer.send(record) {
            let KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) = error else {
                let topic = output.topic.to_owned();
                return Err(ProduceError { topic, message: error.to_string() });
            };
            std::thread::sleep(QUEUE_FULL_WAIT);
            record = back;
        }
        Ok(())
    }

    /// Waits until all queued records are acknowledged.
    ///
    /// # Errors
    /// If one was refused, or `timeout` is over.
    pub fn flush(&self, timeout: Duration) -> Result<(), ProduceError> {
        let error = |message: String| ProduceError { topic: String::new(), message };
        // Failed deliveries count as in flight until the producer's own thread has seen them.
        let flushed = self.flush_or_ask(timeout);
        if let Some(failed) = self.producer.context().take_failed() {
            return Err(error(failed.message));
        }
        match flushed {
            true => Ok(()),
            false => Err(error(format!("not acknowledged within {timeout:?}"))),
        }
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
            step *= 2;
        }
    }
}

impl fmt::Debug for PlainProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainProducer").finish_non_exhaustive()
    }
}
