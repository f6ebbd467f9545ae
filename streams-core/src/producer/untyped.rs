//! A producer of records that no contract describes.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::sink::{Mock, Sink};
use super::{Acknowledged, ProduceError};
use crate::client::ClusterConfig;
use crate::client::rdkafka::{Delivery, PlainProducer};
use crate::error::ConfigError;
use crate::record::{Outputs, Partitioner, ProducerRecord};

/// A producer of any records: idempotent, without transactions. GKES: `Producer`.
///
/// Each record is sent in one of four ways:
///
/// | method | waits | tells the outcome |
/// |---|---|---|
/// | [`produce`](Self::produce) | until the record is acknowledged | returns partition and offset |
/// | [`produce_async`](Self::produce_async) | | a future of partition and offset |
/// | [`produce_with`](Self::produce_with) | | a callback with partition and offset |
/// | [`send`](Self::send) | | the next [`flush`](Self::flush) reports the first failure |
///
/// The client tries a record again for `delivery.timeout.ms` (a property; by default 5 minutes).
/// Its queue takes `queue.buffering.max.messages` records (100,000) and
/// `queue.buffering.max.kbytes` (1 GiB). While the queue is full, `produce`, `produce_with` and
/// `send` wait for space, and the future of `produce_async` does.
///
/// Clones share one client. The last one that is dropped flushes for at most five seconds, and logs
/// an error if records are not acknowledged then.
///
/// # Examples
/// ```no_run
/// use streams_core::producer::{ProduceError, Producer};
/// use streams_core::record::ProducerRecord;
///
/// # fn main() -> Result<(), ProduceError> {
/// let producer = Producer::builder().bootstrap("localhost:9092").topic("audit").build()?;
/// let record = ProducerRecord::to_default_topic().key("123").value("created");
/// let at = producer.produce(record)?;
/// println!("partition {}, offset {}", at.partition(), at.offset);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Producer {
    sink: Arc<Sink>,
    topic: Option<Arc<str>>,
}

impl Producer {
    /// Returns the settings of a producer.
    pub fn builder() -> ProducerBuilder {
        ProducerBuilder { cluster: ClusterConfig::default(), topic: None, partitioner: None }
    }

    pub(crate) fn in_memory(topic: Option<&str>, mock: Arc<Mutex<Mock>>) -> Self {
        Self { sink: Arc::new(Sink::Memory(mock)), topic: topic.map(Arc::from) }
    }

    /// Produces a record: blocks until the broker has acknowledged it. GKES: `Produce`.
    ///
    /// Each record on its own waits for a round trip to the broker. For many records, use another
    /// method. Do not call this in asynchronous code.
    ///
    /// # Errors
    /// If the record names no topic, is refused, or is not acknowledged within
    /// `delivery.timeout.ms`.
    pub fn produce(&self, record: ProducerRecord) -> Result<Acknowledged, ProduceError> {
        self.sink.produce(&self.written(record)?)
    }

    /// Queues a record, and returns a future of its partition and offset. The record is on its way
    /// whether the future is awaited or not, unless the queue was full.
    ///
    /// # Errors
    /// As [`Producer::produce`].
    pub fn produce_async(
        &self,
        record: ProducerRecord,
    ) -> impl Future<Output = Result<Acknowledged, ProduceError>> + Send + use<> + 'static {
        let queued = self.written(record).map(|outputs| self.sink.produce_async(outputs));
        async move { queued?.await }
    }

    /// Queues a record, and calls `done` once it is acknowledged or has failed. GKES:
    /// `ProduceAsync`.
    ///
    /// The callback runs on the client's thread and must not block. It is called exactly once,
    /// unless this returns an error.
    ///
    /// # Errors
    /// If the record names no topic, or can't be sent at all.
    pub fn produce_with(
        &self,
        record: ProducerRecord,
        done: impl FnOnce(Result<Acknowledged, ProduceError>) + Send + 'static,
    ) -> Result<(), ProduceError> {
        self.sink.produce_with(&self.written(record)?, Delivery::new(done))
    }

    /// Queues a record; the next [`flush`](Self::flush) reports its failure.
    ///
    /// # Errors
    /// If the record names no topic, or can't be sent at all.
    pub fn send(&self, record: ProducerRecord) -> Result<(), ProduceError> {
        self.sink.send(&self.written(record)?)
    }

    /// Waits until all queued records are acknowledged.
    ///
    /// # Errors
    /// If a record of [`send`](Self::send) was refused, or `timeout` is over.
    pub fn flush(&self, timeout: Duration) -> Result<(), ProduceError> {
        self.sink.flush(timeout)
    }

    pub(super) const fn sink(&self) -> &Arc<Sink> {
        &self.sink
    }

    fn written(&self, record: ProducerRecord) -> Result<Outputs, ProduceError> {
        let record = match (record.topic().is_empty(), &self.topic) {
            (false, _) => record,
            (true, Some(topic)) => record.with_topic(topic.to_string()),
            (true, None) => return Err(ProduceError::NoTopic),
        };
        let mut outputs = Outputs::default();
        record.write_to(&mut outputs);
        Ok(outputs)
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("topic", &self.topic).field("sink", &self.sink).finish()
    }
}

/// The settings of a [`Producer`]; made by [`Producer::builder`].
#[derive(Clone, Debug)]
pub struct ProducerBuilder {
    cluster: ClusterConfig,
    topic: Option<String>,
    partitioner: Option<&'static dyn Partitioner>,
}

impl ProducerBuilder {
    /// Sets the cluster: `host:port`, comma-separated.
    #[must_use]
    pub fn bootstrap(mut self, bootstrap: impl Into<String>) -> Self {
        self.cluster.bootstrap = bootstrap.into();
        self
    }

    /// Sets a further property of the client, by librdkafka's name: `compression.type`, say. For
    /// TLS see [`SourceBuilder::property`](crate::SourceBuilder::property).
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.cluster.properties.insert(name, value);
        self
    }

    /// Sets the cluster and all properties at once.
    #[must_use]
    pub fn cluster(mut self, cluster: ClusterConfig) -> Self {
        self.cluster = cluster;
        self
    }

    /// Sets the topic of records that name none ([`ProducerRecord::to_default_topic`]).
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// Sets who chooses the partition of records that name none; by default the key's murmur2 hash
    /// decides, and records without a key go to random partitions.
    #[must_use]
    pub fn partitioner(mut self, partitioner: &'static dyn Partitioner) -> Self {
        self.partitioner = Some(partitioner);
        self
    }

    pub(super) fn optional_partitioner(
        mut self,
        partitioner: Option<&'static dyn Partitioner>,
    ) -> Self {
        self.partitioner = partitioner.or(self.partitioner);
        self
    }

    /// Returns the producer. It does not wait for a broker.
    ///
    /// # Errors
    /// If a setting is missing, or a property is not librdkafka's or has a value that it can't
    /// have.
    pub fn build(self) -> Result<Producer, ProduceError> {
        if self.cluster.bootstrap.trim().is_empty() {
            let hint = "write `.bootstrap(\"host:port\")`";
            return Err(ConfigError::Missing { name: "bootstrap", hint }.into());
        }
        let sink = Sink::Kafka(PlainProducer::partitioned(&self.cluster, self.partitioner)?);
        Ok(Producer { sink: Arc::new(sink), topic: self.topic.map(Arc::from) })
    }
}
