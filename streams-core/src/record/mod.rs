//! What a topic holds: [`Record`] as it was read, [`ProducerRecord`] as it is sent, [`Headers`].
//!
//! Nothing is normalised: duplicate headers stay duplicate and in order, keys and values are bytes
//! and need not be UTF-8, a missing value (a tombstone) differs from an empty one.
//!
//! Pure: no async, no clock, no client.

mod headers;
mod outputs;
mod partitioner;
mod partitioners;
mod producer_record;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

pub use self::headers::{Header, Headers, HeadersIter};
pub(crate) use self::headers::{encode_header, trace_headers};
pub use self::outputs::{OutputMark, OutputRef, OutputWriter, Outputs};
pub use self::partitioner::{murmur2, partition_for_key};
pub use self::partitioners::{Manual, Murmur2, Partitioner, RoundRobin};
pub use self::producer_record::ProducerRecord;

/// The header that carries the record type, as in GKES (`RecordTypeHeaderKey`).
pub const RECORD_TYPE_HEADER: &str = "__grt__";

/// A partition of a topic. Ordered by topic, then by partition.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    topic: Arc<str>,
    partition: i32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }

    /// The topic's name.
    pub const fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The partition's number in its topic, from 0.
    pub const fn partition(&self) -> i32 {
        self.partition
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One record, as it was read from its partition.
///
/// Cheap to clone: key, value and headers share the buffer of the fetch they came in.
#[derive(Clone)]
pub struct Record {
    topic_partition: TopicPartition,
    offset: i64,
    leader_epoch: Option<i32>,
    timestamp_ms: Option<i64>,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Headers,
}

impl Record {
    /// A record at `offset` of `topic_partition`, without key, value, headers or timestamp.
    ///
    /// # Examples
    /// ```
    /// use streams_core::record::{Headers, Record, TopicPartition};
    ///
    /// let record = Record::new(TopicPartition::new("contacts", 0), 7)
    ///     .with_key(&b"123"[..])
    ///     .with_value(&br#"{"id":"123"}"#[..])
    ///     .with_record_type("CreateContact");
    /// assert_eq!(record.record_type(), "CreateContact");
    /// ```
    pub fn new(topic_partition: TopicPartition, offset: i64) -> Self {
        Self {
            topic_partition,
            offset,
            leader_epoch: None,
            timestamp_ms: None,
            key: None,
            value: None,
            headers: Headers::default(),
        }
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the value.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Replaces the headers.
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// Appends the record-type header [`RECORD_TYPE_HEADER`].
    #[must_use]
    pub fn with_record_type(mut self, record_type: &str) -> Self {
        self.headers.push(RECORD_TYPE_HEADER, Some(record_type.as_bytes()));
        self
    }

    /// Sets the timestamp, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn with_timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// Sets the leader epoch that the record was fetched under (KIP-320).
    #[must_use]
    pub const fn with_leader_epoch(mut self, leader_epoch: i32) -> Self {
        self.leader_epoch = Some(leader_epoch);
        self
    }

    /// Where the record stands.
    pub const fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// The record's offset in its partition.
    pub const fn offset(&self) -> i64 {
        self.offset
    }

    /// The leader epoch that the record was fetched under, if the broker told (KIP-320).
    pub const fn leader_epoch(&self) -> Option<i32> {
        self.leader_epoch
    }

    /// Milliseconds since the Unix epoch: when the record was made, or appended, as the topic says.
    pub const fn timestamp_ms(&self) -> Option<i64> {
        self.timestamp_ms
    }

    /// The timestamp as the standard library's type. `None` if the record has none.
    pub fn timestamp(&self) -> Option<SystemTime> {
        let since_epoch = u64::try_from(self.timestamp_ms?).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(since_epoch))
    }

    /// The key's bytes. They need not be UTF-8.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// The value's bytes; `None` is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// The headers, in their order, duplicates kept.
    pub const fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The record type: the first [`RECORD_TYPE_HEADER`] header.
    ///
    /// Empty if there is none, or if it is not UTF-8; no event has an empty record type.
    pub fn record_type(&self) -> &str {
        self.headers
            .get(RECORD_TYPE_HEADER)
            .flatten()
            .and_then(|name| std::str::from_utf8(name).ok())
            .unwrap_or("")
    }

    /// Key, value and headers together, in bytes: what a buffer holding the record is charged.
    pub fn size_bytes(&self) -> usize {
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        len(&self.key) + len(&self.value) + self.headers.size_bytes()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("at", &format_args!("{}@{}", self.topic_partition, self.offset))
            .field("record_type", &self.record_type())
            .field("key", &self.key)
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .field("timestamp_ms", &self.timestamp_ms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_is_not_an_empty_value() {
        let record = Record::new(TopicPartition::new("t", 0), 1);
        assert_eq!(record.value(), None);
        assert_eq!(record.with_value(&b""[..]).value(), Some(&b""[..]));
    }

    #[test]
    fn a_record_type_that_is_not_utf8_is_no_record_type() {
        let mut headers = Headers::default();
        headers.push(RECORD_TYPE_HEADER, Some(&[0xff, 0xfe]));
        let record = Record::new(TopicPartition::new("t", 0), 1).with_headers(headers);
        assert_eq!(record.record_type(), "");
    }

    #[test]
    fn topic_partitions_sort_by_topic_then_by_number() {
        let mut all = [
            TopicPartition::new("b", 0),
            TopicPartition::new("a", 10),
            TopicPartition::new("a", 9),
        ];
        all.sort();
        assert_eq!(format!("{all:?}"), "[a-9, a-10, b-0]");
    }
}
