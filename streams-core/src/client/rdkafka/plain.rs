//! A producer without transactions, for whoever sends events to a source.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::context::FailedDelivery;
use super::delivery::{
    Acknowledged, Delivery, Partitions, PlainContext, ProduceError, SendRefused, refused,
};
use super::ffi::RdError;
use super::txn::cause_of;
use super::{base_config, creation_error, ffi, headers};
use crate::client::ClusterConfig;
use crate::record::{OutputRef, Partitioner};

/// An idempotent producer on librdkafka.
///
/// When it is dropped, it flushes for at most [`DROP_FLUSH_MAX`] and logs what was not sent.
pub struct PlainProducer {
    producer: ThreadedProducer<PlainContext, Partitions>,
    /// The callback of records that have none.
    no_callback: Arc<Delivery>,
    /// The topics that records were queued for since the last flush.
    topics: Mutex<BTreeSet<String>>,
}

/// How long a full queue is waited for, at a time.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(1);

/// How long acknowledgements are waited for at first; then for twice as long each time.
const FLUSH_STEP: Duration = Duration::from_millis(5);

/// The longest time between two looks for a broker, while a record is waited for.
const WAIT_STEP_MAX: Duration = Duration::from_secs(1);

/// How long a producer that is dropped waits for acknowledgements.
pub const DROP_FLUSH_MAX: Duration = Duration::from_secs(5);

impl PlainProducer {
    /// Returns a producer.
    ///
    /// The properties `enable.idempotence` (true), `linger.ms` (1) and `partitioner`
    /// (`murmur2_random`) have these values unless `cluster` sets them.
    ///
    /// # Errors
    /// If a property is not librdkafka's, or has a value that it can't have.
    pub fn new(cluster: &ClusterConfig) -> Result<Self, ProduceError> {
        Self::partitioned(cluster, None)
    }

    /// Returns a producer whose records without a partition go where `partitioner` says; without
    /// one, where the client's property says.
    ///
    /// # Errors
    /// As [`PlainProducer::new`].
    pub fn partitioned(
        cluster: &ClusterConfig,
        partitioner: Option<&'static dyn Partitioner>,
    ) -> Result<Self, ProduceError> {
        let mut config = base_config(cluster);
        for (name, value) in
            [("enable.idempotence", "true"), ("partitioner", "murmur2_random"), ("linger.ms", "1")]
        {
            if cluster.properties.get(name).is_none() {
                config.set(name, value);
            }
        }
        if partitioner.is_some() {
            // Otherwise librdkafka chooses the partition of records without a key by itself.
            config.set("sticky.partitioning.linger.ms", "0");
        }
        let context = PlainContext::new(cluster.properties.secrets(), partitioner);
        let producer = config
            // Each record's callback is owed its offset.
            .set("delivery.report.only.error", "false")
            .create_with_context(context)
            .map_err(|error| ProduceError::Client { reason: creation_error(cluster, &error) })?;
        Ok(Self { producer, no_callback: Arc::default(), topics: Mutex::default() })
    }

    fn topics(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a record; waits while the queue is full. The next [`flush`](Self::flush) reports
    /// its failure.
    ///
    /// # Errors
    /// If the record can't be sent at all.
    pub fn send(&self, output: OutputRef<'_>) -> Result<(), ProduceError> {
        self.send_waiting(output, &self.no_callback)
    }

    /// Queues a record whose `delivery` is called once it is acknowledged or has failed; waits
    /// while the queue is full.
    pub(crate) fn send_waiting(
        &self,
        output: OutputRef<'_>,
        delivery: &Arc<Delivery>,
    ) -> Result<(), ProduceError> {
        loop {
            match self.try_send(output, delivery) {
                Ok(()) => return Ok(()),
                Err(SendRefused::Full) => std::thread::sleep(QUEUE_FULL_WAIT),
                Err(SendRefused::Failed(error)) => return Err(error),
            }
        }
    }

    /// Queues a record, without waiting.
    pub(crate) fn try_send(
        &self,
        output: OutputRef<'_>,
        delivery: &Arc<Delivery>,
    ) -> Result<(), SendRefused> {
        if output.partition.is_none() {
            let checked = self.producer.context().check_partition(output.topic);
            checked.map_err(SendRefused::Failed)?;
        }
        let opaque = Arc::clone(delivery);
        let mut record =
            BaseRecord::<[u8], [u8], Arc<Delivery>>::with_opaque_to(output.topic, opaque);
        record.partition = output.partition;
        record.key = output.key;
        record.payload = output.value;
        record.timestamp = output.timestamp_ms;
        record.headers = headers(&output);
        // Before the record is queued: a producer that is dropped looks whether there is any.
        let mut topics = self.topics();
        if !topics.contains(output.topic) {
            topics.insert(output.topic.to_owned());
        }
        drop(topics);
        match self.producer.send(record) {
            Ok(()) => Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                Err(SendRefused::Full)
            }
            Err((error, _)) => Err(SendRefused::Failed(refused(output.topic, &error))),
        }
    }

    /// Waits until a record was delivered since `queue` was called, if it finds the queue full.
    ///
    /// # Errors
    /// What `queue` returns, unless the queue is full.
    pub(crate) async fn queue_async(
        &self,
        queue: impl Fn() -> Result<(), SendRefused>,
    ) -> Result<(), ProduceError> {
        loop {
            let mut delivered = std::pin::pin!(self.producer.context().delivered.notified());
            delivered.as_mut().enable();
            match queue() {
                Ok(()) => return Ok(()),
                Err(SendRefused::Full) => delivered.await,
                Err(SendRefused::Failed(error)) => return Err(error),
            }
        }
    }

    /// Queues a record, and waits until it is acknowledged or has failed.
    pub(crate) fn produce(&self, output: OutputRef<'_>) -> Result<Acknowledged, ProduceError> {
        let (sender, result) = channel();
        let delivery = Arc::new(Delivery::new(move |result| drop(sender.send(result))));
        self.send_waiting(output, &delivery)?;
        self.wait(&result, output.topic)
    }

    /// As with a flush, a first record would wait for 500 ms now and then.
    fn wait(
        &self,
        result: &Receiver<Result<Acknowledged, ProduceError>>,
        topic: &str,
    ) -> Result<Acknowledged, ProduceError> {
        let mut step = FLUSH_STEP;
        loop {
            match result.recv_timeout(step) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(ProduceError::Abandoned { topic: topic.to_owned() });
                }
                Err(RecvTimeoutError::Timeout) => {
                    let _ = ffi::answering_broker(self.producer.client(), step);
                    step = step.saturating_mul(2).min(WAIT_STEP_MAX);
                }
            }
        }
    }

    /// Waits until all queued records are acknowledged.
    ///
    /// # Errors
    /// If one was refused, or `timeout` is over.
    pub fn flush(&self, timeout: Duration) -> Result<(), ProduceError> {
        // Failed deliveries count as in flight until the producer's own thread has seen them.
        let flushed = self.flush_or_ask(timeout);
        if let Some(failed) = self.producer.context().base.take_failed() {
            return Err(failed_delivery(failed));
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

fn failed_delivery(failed: FailedDelivery) -> ProduceError {
    let FailedDelivery { code, topic, message } = failed;
    let error = RdError { code, message, fatal: false, requires_abort: false };
    let cause = cause_of(&error);
    ProduceError::Refused { topic, reason: error.message, cause }
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
