//! The fetcher on librdkafka: partitions by assignment, `read_committed`, no group.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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

/// How long partitions wait for a connection before librdkafka is left to find one.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A fetcher on librdkafka.
pub struct RdFetcher {
    consumer: Arc<BaseConsumer<Context>>,
    buffer: BytesMut,
    /// librdkafka complains about partitions that it hasn't got.
    assigned: BTreeSet<TopicPartition>,
    /// librdkafka keeps a partition paused, also when it is given up and assigned again.
    paused: BTreeSet<TopicPartition>,
    /// Whether there is a connection that lasts.
    connected: Arc<AtomicBool>,
    /// Assigned, and to be given to librdkafka once it is connected.
    waiting: BTreeMap<TopicPartition, i64>,
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
        let wake = Arc::new(wake);
        let wakes = Arc::clone(&wake);
        consumer.set_nonempty_callback(move || wakes());
        let consumer = Arc::new(consumer);
        let connected = Self::connect(&consumer, wake);
        Ok(Self {
            consumer,
            connected,
            waiting: BTreeMap::new(),
            buffer: BytesMut::new(),
            assigned: BTreeSet::new(),
            paused: BTreeSet::new(),
            topic: Arc::from(""),
        })
    }

    /// Waits for a connection that lasts, on a thread of its own.
    ///
    /// A partition that librdkafka is given while it changes from its first connection to the
    /// next has no leader, and the question for it is asked again only after a second.
    fn connect(
        consumer: &Arc<BaseConsumer<Context>>,
        wake: Arc<impl Fn() + Send + Sync + 'static>,
    ) -> Arc<AtomicBool> {
        let connected = Arc::new(AtomicBool::new(false));
        let (consumer, done) = (Arc::clone(consumer), Arc::clone(&connected));
        let run = move || {
            let deadline = Instant::now() + CONNECT_MAX;
            // What goes wrong here shows again when the partitions are fetched.
            let _ = ffi::await_broker(consumer.client(), deadline);
            drop(consumer);
            done.store(true, Ordering::Release);
            wake();
        };
        let thread = std::thread::Builder::new().name("streams-connect".to_owned()).spawn(run);
        if thread.is_err() {
            // Then the second is waited for.
            connected.store(true, Ordering::Release);
        }
        connected
    }

    /// Gives librdkafka what it could not be given before.
    fn assign_waiting(&mut self) -> Option<FetchError> {
        if self.waiting.is_empty() || !self.connected.load(Ordering::Acquire) {
            return None;
        }
        while let Some((partition, offset)) = self.waiting.pop_first() {
            if let Err(error) = self.assign_now(&partition, offset) {
                return Some(error);
            }
        }
        None
    }

    fn assign_now(&mut self, partition: &TopicPartition, offset: i64) -> Result<(), FetchError> {
        let failed = |error: KafkaError| FetchError { message: format!("{partition}: {error}") };
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(partition.topic(), partition.partition(), Offset::Offset(offset))
            .map_err(failed)?;
        self.consumer.incremental_assign(&list).map_err(failed)?;
        self.assigned.insert(partition.clone());
        // It does not know partitions that it has not got.
        if self.paused.contains(partition) {
            self.pause(partition);
        }
        Ok(())
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
        self.unassign(partition);
        self.waiting.insert(partition.clone(), offset);
        self.assign_waiting().map_or(Ok(()), Err)
    }

    fn unassign(&mut self, partition: &TopicPartition) {
        if self.paused.contains(partition) {
            self.resume(partition);
        }
        let waited = self.waiting.remove(partition).is_some();
        if waited || !self.assigned.remove(partition) {
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
        self.paused.insert(partition.clone());
    }

    fn resume(&mut self, partition: &TopicPartition) {
        if let Err(error) = self.consumer.resume(&Self::list(partition)) {
            tracing::warn!(%partition, %error, "can't resume");
        }
        self.paused.remove(partition);
    }

    fn end(&self, partition: &TopicPartition) -> Option<i64> {
        ffi::high_watermark(&self.consumer, partition.topic(), partition.partition())
    }

    fn poll(&mut self) -> Option<Fetched> {
        if let Some(error) = self.assign_waiting() {
            return Some(Fetched::Failed(error));
        }
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
