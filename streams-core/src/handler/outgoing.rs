//! An event on its way out, with more than a key: headers, a timestamp, a partition.

use std::fmt;
use std::time::SystemTime;

use super::topic::{Draft, Value};
use super::{Events, PartitionCounts, Result, Topic};
use crate::codec::{AsKey, KeyCodec};
use crate::record::{Headers, Outputs, Record};

/// An event that a handler sends once [`Outgoing::send`] is called; made by
/// [`EventContext::outgoing`](super::EventContext::outgoing).
///
/// Without a key, the producer chooses any partition, unless [`Outgoing::partition`] says which.
#[must_use = "the event is sent by `.send()?`"]
pub struct Outgoing<'c, 'e, E: Events, K, Q: ?Sized = K> {
    pub(super) outputs: &'c mut Outputs,
    pub(super) input: Option<&'c Record>,
    pub(super) topic: &'c Topic<E, K>,
    pub(super) event: E::At<'e>,
    pub(super) key: Option<&'c Q>,
    pub(super) partition: Option<i32>,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) headers: Headers,
    pub(super) counts: &'c PartitionCounts,
}

impl<'c, 'e, E: Events, K: KeyCodec, Q: AsKey<K> + ?Sized> Outgoing<'c, 'e, E, K, Q> {
    /// Sets the key: its murmur2 hash decides the partition, as in Kafka's Java client.
    pub fn key<R: AsKey<K> + ?Sized>(self, key: &'c R) -> Outgoing<'c, 'e, E, K, R> {
        Outgoing {
            outputs: self.outputs,
            input: self.input,
            topic: self.topic,
            event: self.event,
            key: Some(key),
            partition: self.partition,
            timestamp_ms: self.timestamp_ms,
            headers: self.headers,
            counts: self.counts,
        }
    }

    /// Appends a header. A `traceparent` or `tracestate` replaces the input's.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, Some(value.as_ref()));
        self
    }

    /// Sets the timestamp, in whole milliseconds; without one it is the time of sending. A time
    /// before 1970 is 1970's first moment.
    pub fn timestamp(mut self, at: SystemTime) -> Self {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.timestamp_ms = Some(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        self
    }

    /// Sends the event to this partition, whatever its key is.
    pub const fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sends the event, in the transaction of the event that is processed.
    ///
    /// # Errors
    /// If the payload can't be encoded, or the topic's partitioner chooses no partition.
    pub fn send(self) -> Result<()> {
        let draft = Draft {
            key: self.key,
            record_type: self.event.record_type(),
            value: Value::Event::<E>(&self.event),
            partition: self.partition,
            timestamp_ms: self.timestamp_ms,
            headers: Some(&self.headers),
            input: self.input,
        };
        let mark = self.outputs.mark();
        self.topic.write_draft(self.outputs, &draft)?;
        self.counts.place(self.topic, self.outputs, mark)
    }
}

impl<E: Events, K, Q: ?Sized> fmt::Debug for Outgoing<'_, '_, E, K, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
