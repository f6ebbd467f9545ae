//! A producer of a contract's events, for whoever sends them to a source.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::client::ClusterConfig;
use crate::client::rdkafka::{PlainProducer, ProduceError};
use crate::codec::{AsKey, CodecError, KeyCodec};
use crate::handler::{Events, Topic};
use crate::record::{Outputs, ProducerRecord};

/// A producer of the events of `E`, keyed by `K`: idempotent, and partitioned as Kafka's Java
/// client does (murmur2).
///
/// A producer that is dropped flushes for at most five seconds, and logs an error if records are
/// not acknowledged then. [`EventProducer::flush`] returns that error instead.
///
/// # Examples
/// ```no_run
/// # use streams_core::prelude::*;
/// # use streams_core::EventProducer;
/// # use std::time::Duration;
/// # fn send<E: for<'a> Events<At<'a> = E>>(event: E) -> Result<(), Box<dyn std::error::Error>> {
/// let producer = EventProducer::new("localhost:9092", Topic::<E>::new("contacts"))?;
/// producer.send("123", &event)?;
/// producer.flush(Duration::from_secs(10))?;
/// # Ok(())
/// # }
/// ```
pub struct EventProducer<E, K = String> {
    topic: Topic<E, K>,
    sink: Sink,
}

enum Sink {
    Kafka(PlainProducer),
    /// Whoever tests what sends.
    Memory(Arc<Mutex<Outputs>>),
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
    /// A producer for `topic` at `bootstrap`.
    ///
    /// # Errors
    /// If the client can't be made.
    pub fn new(bootstrap: &str, topic: Topic<E, K>) -> Result<Self, ProduceError> {
        let cluster = ClusterConfig { bootstrap: bootstrap.to_owned(), ..ClusterConfig::default() };
        Ok(Self { topic, sink: Sink::Kafka(PlainProducer::new(&cluster)?) })
    }

    pub(crate) const fn in_memory(topic: Topic<E, K>, sent: Arc<Mutex<Outputs>>) -> Self {
        Self { topic, sink: Sink::Memory(sent) }
    }

    /// Queues an event.
    ///
    /// # Errors
    /// If it can't be encoded, or can't be sent at all.
    pub fn send(
        &self,
        key: &(impl AsKey<K> + ?Sized),
        event: &E::At<'_>,
    ) -> Result<(), SendEventError> {
        let mut outputs = Outputs::default();
        self.topic.write(&mut outputs, None, key, event)?;
        self.send_all(&mut outputs)
    }

    /// Queues a record that no contract describes.
    ///
    /// # Errors
    /// If it can't be sent at all.
    pub fn send_record(&self, record: ProducerRecord) -> Result<(), SendEventError> {
        let mut outputs = Outputs::default();
        record.write_to(&mut outputs);
        self.send_all(&mut outputs)
    }

    fn send_all(&self, outputs: &mut Outputs) -> Result<(), SendEventError> {
        match &self.sink {
            Sink::Kafka(producer) => {
                outputs.iter().try_for_each(|output| producer.send(output))?;
            }
            Sink::Memory(sent) => {
                sent.lock().unwrap_or_else(PoisonError::into_inner).append(outputs);
            }
        }
        Ok(())
    }

    /// Waits until all queued events are acknowledged.
    ///
    /// # Errors
    /// If one was refused, or `timeout` is over.
    pub fn flush(&self, timeout: Duration) -> Result<(), ProduceError> {
        match &self.sink {
            Sink::Kafka(producer) => producer.flush(timeout),
            Sink::Memory(_) => Ok(()),
        }
    }
}

impl<E, K> fmt::Debug for EventProducer<E, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventProducer").field("topic", &self.topic).finish_non_exhaustive()
    }
}
