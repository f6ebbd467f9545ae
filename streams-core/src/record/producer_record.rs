//! A record to send, on its own.

use std::borrow::Cow;
use std::convert::Infallible;

use bytes::Bytes;

use super::headers::trace_headers;
use super::{Headers, OutputRef, Outputs, RECORD_TYPE_HEADER, Record};

/// A record to send: topic, and whatever else is set.
///
/// Handlers forward typed events by `EventContext::forward`; this is for everything that no
/// contract describes.
///
/// # Examples
/// ```
/// use streams_core::record::ProducerRecord;
///
/// let audit = ProducerRecord::to("audit")
///     .key(&b"123"[..])
///     .value(&b"created"[..])
///     .header("source", Some(b"contacts"))
///     .record_type("ContactAudited");
/// assert_eq!(audit.topic(), "audit");
/// ```
#[derive(Clone, Debug)]
pub struct ProducerRecord {
    topic: Cow<'static, str>,
    partition: Option<i32>,
    timestamp_ms: Option<i64>,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Headers,
}

impl ProducerRecord {
    /// A record for `topic`, without key, value or headers.
    pub fn to(topic: impl Into<Cow<'static, str>>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            timestamp_ms: None,
            key: None,
            value: None,
            headers: Headers::default(),
        }
    }

    /// A record for the default topic of a [`Producer`](crate::producer::Producer). A handler can't
    /// forward it.
    pub fn to_default_topic() -> Self {
        Self::to("")
    }

    /// The same record, for another topic.
    #[must_use]
    pub fn with_topic(mut self, topic: impl Into<Cow<'static, str>>) -> Self {
        self.topic = topic.into();
        self
    }

    /// The record of an output.
    pub(crate) fn from_output(output: &OutputRef<'_>) -> Self {
        let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        Self {
            topic: Cow::Owned(output.topic.to_owned()),
            partition: output.partition,
            timestamp_ms: output.timestamp_ms,
            key: output.key.map(copy),
            value: output.value.map(copy),
            headers: Headers::from_pairs(output.headers().raw()),
        }
    }

    /// Sends it to this partition; without, the key's murmur2 hash decides.
    #[must_use]
    pub const fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Gives it this timestamp, in milliseconds since the Unix epoch; without, it is now.
    #[must_use]
    pub const fn timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the value; without, the record is a tombstone.
    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Appends a header. Its name is UTF-8, unless a record's own headers are passed on.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: Option<&[u8]>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// Appends the record-type header, by which a source routes the record.
    #[must_use]
    pub fn record_type(self, record_type: &str) -> Self {
        self.header(RECORD_TYPE_HEADER, Some(record_type.as_bytes()))
    }

    /// Where it goes.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The value, if it is set.
    pub fn value_bytes(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// The key, if it is set.
    pub fn key_bytes(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// Appends the record to `outputs`.
    pub fn write_to(self, outputs: &mut Outputs) {
        self.write_traced(outputs, None);
    }

    /// As [`ProducerRecord::write_to`], with the trace context of `input`.
    pub(crate) fn write_traced(self, outputs: &mut Outputs, input: Option<&Record>) {
        let copy = |bytes: Bytes| {
            move |buffer: &mut Vec<u8>| {
                buffer.extend_from_slice(&bytes);
                Ok::<_, Infallible>(())
            }
        };
        let mut record = outputs.record(self.topic);
        let traced = trace_headers(input, Some(&self.headers));
        let traced = traced.map(|(name, value)| (name.as_bytes(), value));
        record.headers(self.headers.iter().raw().chain(traced));
        if let Some(partition) = self.partition {
            record.partition(partition);
        }
        if let Some(timestamp_ms) = self.timestamp_ms {
            record.timestamp_ms(timestamp_ms);
        }
        if let Some(key) = self.key {
            let Ok(_) = record.key_with(copy(key));
        }
        if let Some(value) = self.value {
            let Ok(_) = record.value_with(copy(value));
        }
        record.finish();
    }
}
