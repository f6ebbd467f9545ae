//! The fetcher on librdkafka: partitions by assignment, `read_committed`, no group.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::context::Context;
use super::{base_config, ffi};
use crate::client::{ClusterConfig, FetchError, Fetched, Fetcher, Reads};
use crate::record::{Headers, Record, TopicPartition, encode_header};

/// Records are copied into buffers of this size, many to one.
const BUFFER_BYTES: usize = 256 * 1024;

/// A fetcher on librdkafka.
pub struct RdFetcher {
    consumer: BaseConsumer<Context>,
    buffer: BytesMut,
    /// librdkafka complains about partitions that it hasn't got.
    assigned: BTreeSet<TopicPartition>,
    /// The topic of the last record: the next one's most likely.
    topic: Arc<str>,
}

impl RdFetcher {
    /// A fetcher without partitions; `wake` is called from another thread when it has something.
    ///
    /// # Errors
    /// If a property is not librdkafka's, or has a value that it can't have.
    pub fn new(
        cluster: &ClusterConfig,
        group_id: &str,
        reads: Reads,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, FetchError> {
        let mut config = base_config(cluster);
        // The end of a changelog is known with an empty reply, and a hand-over waits for it.
        let wait_max_ms = match reads {
            Reads::Source => "100",
            Reads::Changelog => "20",
        };
        // At its default of one second, a full queue pauses the partition for that long.
        for (name, value) in [
            ("fetch.queue.backoff.ms", "1"),
            ("queued.min.messages", "20000"),
            ("queued.max.messages.kbytes", "16384"),
            ("fetch.wait.max.ms", wait_max_ms),
        ] {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        let mut consumer: BaseConsumer<Context> = config
            .set("group.id", group_id)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .create_with_context(Context::default())
            .map_err(|error| FetchError { message: error.to_string() })?;
        consumer.set_nonempty_callback(wake);
        Ok(Self {
            consumer,
            buffer: BytesMut::new(),
            assigned: BTreeSet::new(),
            topic: Arc::from(""),
        })
    }

    fn list(partition: &TopicPartition) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(partition.topic(), partition.partition());
        list
    }
}

/// Copies a message out of librdkafka's memory.
fn record(message: &BorrowedMessage<'_>, buffer: &mut BytesMut, topic: &mut Arc<str>) -> Record {
    if **topic != *message.topic() {
        *topic = Arc::from(message.topic());
    }
    let at = TopicPartition::new(Arc::clone(topic), message.partition());
    let mut record = Record::new(at, message.offset());
    let needed = message.key_len() + message.payload_len();
    if buffer.capacity() < needed {
        *buffer = BytesMut::with_capacity(BUFFER_BYTES.max(needed));
    }
    if let Some(key) = message.key() {
        buffer.put_slice(key);
        record = record.with_key(buffer.split().freeze());
    }
    if let Some(value) = message.payload() {
        buffer.put_slice(value);
        record = record.with_value(buffer.split().freeze());
    }
    if let Some(headers) = message.headers() {
        for header in headers.iter() {
            encode_header(buffer, header.key, header.value);
        }
        let encoded = buffer.split().freeze();
        record = record.with_headers(Headers::from_encoded(encoded, headers.count()));
    }
    if let Some(timestamp_ms) = message.timestamp().to_millis() {
        record = record.with_timestamp_ms(timestamp_ms);
    }
    record
}

impl Fetcher for RdFetcher {
    fn assign(&mut self, partition: &TopicPartition, offset: i64) -> Result<(), FetchError> {
        let failed = |error: KafkaError| FetchError { message: format!("{partition}: {error}") };
        self.unassign(partition);
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(partition.topic(), partition.partition(), Offset::Offset(offset))
            .map_err(failed)?;
        self.consumer.incremental_assign(&list).map_err(failed)?;
        self.assigned.insert(partition.clone());
        Ok(())
    }

    fn unassign(&mut self, partition: &TopicPartition) {
        if !self.assigned.remove(partition) {
            return;
        }
        if let Err(error) = self.consumer.incremental_unassign(&Self::list(partition)) {
            tracing::warn!(%partition, %error, "can't unassign");
        }
    }

    fn pause(&mut self, partition: &TopicPartition) {
        if let Err(error) = self.consumer.pause(&Self::list(partition)) {
            tracing::warn!(%partition, %error, "can't pause");
        }
    }

    fn resume(&mut self, partition: &TopicPartition) {
        if let Err(error) = self.consumer.resume(&Self::list(partition)) {
            tracing::warn!(%partition, %error, "can't resume");
        }
    }

    fn end(&self, partition: &TopicPartition) -> Option<i64> {
        ffi::high_watermark(&self.consumer, partition.topic(), partition.partition())
    }

    fn poll(&mut self) -> Option<Fetched> {
        let Self { consumer, buffer, topic, .. } = self;
        let next = consumer.context().drain(|| consumer.poll(Duration::ZERO));
        Some(match next? {
            Ok(message) => Fetched::Record(record(&message, buffer, topic)),
            Err(KafkaError::PartitionEOF(partition)) => Fetched::EndOfPartition(partition),
            Err(error) => trouble(&error),
        })
    }
}

fn trouble(error: &KafkaError) -> Fetched {
    use RDKafkaErrorCode::{
        AutoOffsetReset, OffsetOutOfRange, TopicAuthorizationFailed, UnknownPartition,
        UnknownTopic, UnknownTopicOrPartition,
    };
    let message = error.to_string();
    match error.rdkafka_error_code() {
        Some(
            AutoOffsetReset
            | OffsetOutOfRange
            | TopicAuthorizationFailed
            | UnknownPartition
            | UnknownTopic
            | UnknownTopicOrPartition,
        ) => Fetched::Failed(FetchError { message }),
        _ => Fetched::Trouble(message),
    }
}

impl fmt::Debug for RdFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RdFetcher").finish_non_exhaustive()
    }
}
