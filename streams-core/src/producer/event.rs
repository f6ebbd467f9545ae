//! A producer of a contract's events, for whoever sends them to a source.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::sink::Mock;
use super::untyped::{Producer, ProducerBuilder};
use super::{Acknowledged, ProduceError};
use crate::client::ClusterConfig;
use crate::client::rdkafka::Delivery;
use crate::codec::{AsKey, CodecError, KeyCodec};
use crate::handler::{Events, Topic};
use crate::record::{Outputs, Partitioner, ProducerRecord};

/// A producer of the events of `E`, keyed by `K`: idempotent, and partitioned as Kafka's Java
/// client does (murmur2), unless the topic has a [`Partitioner`](crate::record::Partitioner).
///
/// [`produce`](Self::produce) waits for the broker, [`produce_async`](Self::produce_async) returns
/// a future, [`produce_with`](Self::produce_with) takes a callback, and [`send`](Self::send) leaves
/// failures to the next [`flush`](Self::flush); [`Producer`] says what each of them does while the
/// client's queue is full. Headers, a timestamp or a partition of one's own go by
/// [`record`](Self::record).
///
/// A producer that is dropped flushes for at most five seconds, and logs an error if records are
/// not acknowledged then. [`EventProducer::flush`] returns that error instead.
///
/// # Examples
/// ```no_run
/// # use streams_core::prelude::*;
/// # use streams_core::EventProducer;
/// # use std::time::Duration;
/// # async fn send<E: for<'a> Events<At<'a> = E>>(
/// #     one: E, two: E, three: E, four: E,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let producer = EventProducer::new("localhost:9092", Topic::<E>::new("contacts"))?;
/// let at = producer.produce("123", &one)?;
/// println!("partition {}, offset {}", at.partition(), at.offset);
///
/// let at = producer.produce_async("123", &two).await?;
/// assert!(at.offset > 0);
///
/// let manual = producer.record("123", &three)?.partition(3).header("source", Some(b"import"));
/// producer.produce_record(manual)?;
///
/// producer.send("123", &four)?;
/// producer.flush(Duration::from_secs(10))?;
/// # Ok(())
/// # }
/// ```
pub struct EventProducer<E, K = String> {
    topic: Topic<E, K>,
    producer: Producer,
}

/// An event that could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendEventError {
    /// The payload has no form in its codec.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The client refuses, or the broker.
    #[error(transparent)]
    Produce(#[from] ProduceError),
}

impl<E: Events, K: KeyCodec> EventProducer<E, K> {
    /// Returns a producer for `topic` at `bootstrap`; [`EventProducer::builder`] has further
    /// settings.
    ///
    /// # Errors
    /// If the client can't be made.
    pub fn new(bootstrap: &str, topic: Topic<E, K>) -> Result<Self, ProduceError> {
        Self::builder(topic).bootstrap(bootstrap).build()
    }

    /// Returns the settings of a producer for `topic`: TLS, SASL and all other properties of the
    /// client.
    pub fn builder(topic: Topic<E, K>) -> EventProducerBuilder<E, K> {
        let partitioner = topic.chosen_by();
        let producer = Producer::builder().topic(topic.name().to_owned());
        EventProducerBuilder { topic, producer: producer.optional_partitioner(partitioner) }
    }

    pub(crate) fn in_memory(topic: Topic<E, K>, mock: Arc<Mutex<Mock>>) -> Self {
        let producer = Producer::in_memory(Some(topic.name()), mock);
        Self { topic, producer }
    }

    /// Returns the record of an event, to which a partition, headers or a timestamp can be added.
    ///
    /// # Errors
    /// If the event can't be encoded.
    pub fn record(
        &self,
        key: &(impl AsKey<K> + ?Sized),
        event: &E::At<'_>,
    ) -> Result<ProducerRecord, CodecError> {
        let outputs = self.encoded(key, event)?;
        let output = outputs.iter().next().expect("it was written just now");
        Ok(ProducerRecord::from_output(&output))
    }

    /// Produces an event: blocks until the broker has acknowledged it. GKES: `Producer.Produce`.
    ///
    /// Each event on its own waits for a round trip to the broker. Do not call this in asynchronous
    /// code.
    ///
    /// # Errors
    /// If the event can't be encoded, is refused, or is not acknowledged within
    /// `delivery.timeout.ms` (a property; by default 5 minutes).
    pub fn produce(
        &self,
        key: &(impl AsKey<K> + ?Sized),
        event: &E::At<'_>,
    ) -> Result<Acknowledged, SendEventError> {
        let outputs = self.encoded(key, event)?;
        Ok(self.producer.sink().produce(&outputs)?)
    }

    /// Produces a record, as [`EventProducer::produce`] does an event.
    ///
    /// # Errors
    /// As [`Producer::produce`].
    pub fn produce_record(&self, record: ProducerRecord) -> Result<Acknowledged, ProduceError> {
        self.producer.produce(record)
    }

    /// Queues an event, and returns a future of its partition and offset. The event is on its way
    /// whether the future is awaited or not, unless the queue was full.
    ///
    /// # Errors
    /// As [`EventProducer::produce`].
    pub fn produce_async<Q: AsKey<K> + ?Sized>(
        &self,
        key: &Q,
        event: &E::At<'_>,
    ) -> impl Future<Output = Result<Acknowledged, SendEventError>> + Send + use<E, K, Q> {
        let queued = self.encoded(key, event);
        let queued = queued.map(|outputs| self.producer.sink().produce_async(outputs));
        async move { Ok(queued?.await?) }
    }

    /// Queues a record, as [`EventProducer::produce_async`] does an event.
    ///
    /// # Errors
    /// As [`Producer::produce`].
    pub fn produce_record_async(
        &self,
        record: ProducerRecord,
    ) -> impl Future<Output = Result<Acknowledged, ProduceError>> + Send + use<E, K> {
        self.producer.produce_async(record)
    }

    /// Queues an event, and calls `done` once it is acknowledged or has failed. GKES:
    /// `Producer.ProduceAsync`.
    ///
    /// The callback runs on the client's thread and must not block. It is called exactly once,
    /// unless this returns an error.
    ///
    /// # Errors
    /// If the event can't be encoded, or can't be sent at all.
    pub fn produce_with(
        &self,
        key: &(impl AsKey<K> + ?Sized),
        event: &E::At<'_>,
        done: impl FnOnce(Result<Acknowledged, ProduceError>) + Send + 'static,
    ) -> Result<(), SendEventError> {
        let outputs = self.encoded(key, event)?;
        Ok(self.producer.sink().produce_with(&outputs, Delivery::new(done))?)
    }

    /// Queues a record, as [`EventProducer::produce_with`] does an event.
    ///
    /// # Errors
    /// As [`Producer::produce_with`].
    pub fn produce_record_with(
        &self,
        record: ProducerRecord,
        done: impl FnOnce(Result<Acknowledged, ProduceError>) + Send + 'static,
    ) -> Result<(), ProduceError> {
        self.producer.produce_with(record, done)
    }

    /// Queues an event; the next [`flush`](Self::flush) reports its failure.
    ///
    /// # Errors
    /// If it can't be encoded, or can't be sent at all.
    pub fn send(
        &self,
        key: &(impl AsKey<K> + ?Sized),
        event: &E::At<'_>,
    ) -> Result<(), SendEventError> {
        let outputs = self.encoded(key, event)?;
        Ok(self.producer.sink().send(&outputs)?)
    }

    /// Queues a record that no contract describes; the next [`flush`](Self::flush) reports its
    /// failure.
    ///
    /// # Errors
    /// If it can't be sent at all.
    pub fn send_record(&self, record: ProducerRecord) -> Result<(), SendEventError> {
        Ok(self.producer.send(record)?)
    }

    /// Waits until all queued events are acknowledged.
    ///
    /// # Errors
    /// If one that was sent by [`send`](Self::send) was refused, or `timeout` is over.
    pub fn flush(&self, timeout: Duration) -> Result<(), ProduceError> {
        self.producer.flush(timeout)
    }

    fn encoded(
        &self,
        key: &(impl AsKey<K> + ?Sized),
        event: &E::At<'_>,
    ) -> Result<Outputs, CodecError> {
        let mut outputs = Outputs::default();
        self.topic.write(&mut outputs, None, key, event)?;
        Ok(outputs)
    }
}

impl<E, K> fmt::Debug for EventProducer<E, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventProducer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// The settings of an [`EventProducer`]; made by [`EventProducer::builder`].
pub struct EventProducerBuilder<E, K = String> {
    topic: Topic<E, K>,
    producer: ProducerBuilder,
}

impl<E: Events, K: KeyCodec> EventProducerBuilder<E, K> {
    /// Sets the cluster: `host:port`, comma-separated.
    #[must_use]
    pub fn bootstrap(mut self, bootstrap: impl Into<String>) -> Self {
        self.producer = self.producer.bootstrap(bootstrap);
        self
    }

    /// Sets a further property of the client, by librdkafka's name: `compression.type`, say. For
    /// TLS see [`SourceBuilder::property`](crate::SourceBuilder::property).
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.producer = self.producer.property(name, value);
        self
    }

    /// Sets the cluster and all properties at once.
    #[must_use]
    pub fn cluster(mut self, cluster: ClusterConfig) -> Self {
        self.producer = self.producer.cluster(cluster);
        self
    }

    /// Sets who chooses the partition of events, instead of the topic's
    /// [`partitioner`](Topic::partitioner).
    #[must_use]
    pub fn partitioner(mut self, partitioner: &'static dyn Partitioner) -> Self {
        self.producer = self.producer.partitioner(partitioner);
        self
    }

    /// Returns the producer. It does not wait for a broker.
    ///
    /// # Errors
    /// As [`ProducerBuilder::build`].
    pub fn build(self) -> Result<EventProducer<E, K>, ProduceError> {
        let Self { topic, producer } = self;
        Ok(EventProducer { topic, producer: producer.build()? })
    }
}

impl<E, K> fmt::Debug for EventProducerBuilder<E, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventProducerBuilder")
            .field("topic", &self.topic)
            .field("producer", &self.producer)
            .finish()
    }
}
