//! The fetcher on librdkafka: partitions by assignment, `read_committed`, no group.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::context::Context;
use super::ffi::{self, ConsumerError, Events, Message};
use super::watch::Watch;
use super::{base_config, creation_error};
use crate::client::wire::{Admin, Endpoint};
use crate::client::{ClusterConfig, FetchError, Fetched, Fetcher, Reads, UnreadableBatch};
use crate::record::{Headers, Record, TopicPartition, encode_header};

/// Records are copied into buffers of this size, many to one.
const BUFFER_BYTES: usize = 256 * 1024;

/// How long partitions wait for a connection before librdkafka is left to find one.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A fetcher on librdkafka.
pub struct RdFetcher {
    consumer: Arc<BaseConsumer<Context>>,
    events: Events,
    watch: Watch,
    cluster: ClusterConfig,
    buffer: BytesMut,
    /// librdkafka complains about partitions that it hasn't got.
    assigned: BTreeSet<TopicPartition>,
    /// librdkafka keeps a partition paused, also when it is given up and assigned again.
    paused: BTreeSet<TopicPartition>,
    /// Whether there is a connection that lasts.
    connected: Arc<AtomicBool>,
    /// Assigned, and to be given to librdkafka once it is connected.
    waiting: BTreeMap<TopicPartition, i64>,
    /// How many partitions the topics had when the source started.
    at_start: Arc<AtomicI32>,
    /// Where the fetch of each partition began, or where its end was reached last.
    reached: BTreeMap<TopicPartition, i64>,
    /// The topic of the last record: the next one's most likely.
    topic: Arc<str>,
}

/// How long a topic that has grown is asked for.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// The properties of a fetcher.
pub(super) fn fetcher_config(
    cluster: &ClusterConfig,
    group_id: &str,
    reads: Reads,
) -> ClientConfig {
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
    config
        .set("group.id", group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true");
    config
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
        let mut consumer: BaseConsumer<Context> = fetcher_config(cluster, group_id, reads)
            .create_with_context(Context::without(cluster.properties.secrets()))
            .map_err(|error| FetchError { message: creation_error(cluster, &error) })?;
        let wake = Arc::new(wake);
        let wakes = Arc::clone(&wake);
        consumer.set_nonempty_callback(move || wakes());
        let consumer = Arc::new(consumer);
        let events = Events::of(&consumer)
            .ok_or_else(|| FetchError { message: "the client has no queue".to_owned() })?;
        let wakes = Arc::clone(&wake);
        let watch = Watch::start(&consumer, cluster, move || wakes())
            .map_err(|error| FetchError { message: format!("no thread for the watch: {error}") })?;
        let connected = Self::connect(&consumer, wake);
        Ok(Self {
            consumer,
            events,
            watch,
            cluster: cluster.clone(),
            connected,
            waiting: BTreeMap::new(),
            buffer: BytesMut::new(),
            assigned: BTreeSet::new(),
            paused: BTreeSet::new(),
            at_start: Arc::new(AtomicI32::new(i32::MAX)),
            reached: BTreeMap::new(),
            topic: Arc::from(""),
        })
    }

    /// Partitions from this number on were added at run time: librdkafka, which looks for them only
    /// every five minutes, is told to look before it gets one.
    #[must_use]
    pub fn grown_from(self, at_start: Arc<AtomicI32>) -> Self {
        Self { at_start, ..self }
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
    fn assign_waiting(&mut self) -> Option<(TopicPartition, FetchError)> {
        if self.waiting.is_empty() || !self.connected.load(Ordering::Acquire) {
            return None;
        }
        while let Some((partition, offset)) = self.waiting.pop_first() {
            if let Err(error) = self.assign_now(&partition, offset) {
                return Some((partition, error));
            }
        }
        None
    }

    fn assign_now(&mut self, partition: &TopicPartition, offset: i64) -> Result<(), FetchError> {
        let failed = |error: KafkaError| FetchError { message: format!("{partition}: {error}") };
        if partition.partition() >= self.at_start.load(Ordering::Relaxed) {
            // If it does not answer, librdkafka reports the partition as unknown.
            let _ = self.consumer.fetch_metadata(Some(partition.topic()), METADATA_TIMEOUT);
        }
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(partition.topic(), partition.partition(), Offset::Offset(offset))
            .map_err(failed)?;
        self.consumer.incremental_assign(&list).map_err(failed)?;
        self.assigned.insert(partition.clone());
        self.reached.insert(partition.clone(), offset);
        self.watch.begin(partition, offset);
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
fn record(message: &Message<'_>, buffer: &mut BytesMut, topic: &mut Arc<str>) -> Fetched {
    if **topic != *message.topic() {
        *topic = Arc::from(message.topic());
    }
    let at = TopicPartition::new(Arc::clone(topic), message.partition());
    let mut record = Record::new(at.clone(), message.offset());
    let (key, value) = (message.key(), message.value());
    let needed = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
    if buffer.capacity() < needed {
        *buffer = BytesMut::with_capacity(BUFFER_BYTES.max(needed));
    }
    if let Some(key) = key {
        buffer.put_slice(key);
        record = record.with_key(buffer.split().freeze());
    }
    if let Some(value) = value {
        buffer.put_slice(value);
        record = record.with_value(buffer.split().freeze());
    }
    match message.headers(|name, value| encode_header(buffer, name, value)) {
        Ok(0) => {}
        Ok(count) => {
            let encoded = buffer.split().freeze();
            record = record.with_headers(Headers::from_encoded(encoded, count));
        }
        Err(code) => {
            buffer.clear();
            let (offset, reason) = (message.offset(), format!("its headers: {code}"));
            return Fetched::Unreadable(UnreadableBatch { partition: at, offset, reason });
        }
    }
    if let Some(leader_epoch) = message.leader_epoch() {
        record = record.with_leader_epoch(leader_epoch);
    }
    if let Some(timestamp_ms) = message.timestamp_ms() {
        record = record.with_timestamp_ms(timestamp_ms);
    }
    Fetched::Record(record)
}

impl Fetcher for RdFetcher {
    fn assign(&mut self, partition: &TopicPartition, offset: i64) -> Result<(), FetchError> {
        self.unassign(partition);
        self.waiting.insert(partition.clone(), offset);
        self.assign_waiting().map_or(Ok(()), |(_, error)| Err(error))
    }

    fn unassign(&mut self, partition: &TopicPartition) {
        if self.paused.contains(partition) {
            self.resume(partition);
        }
        self.watch.end(partition);
        self.reached.remove(partition);
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
        self.watch.pause(partition, true);
        self.paused.insert(partition.clone());
    }

    fn resume(&mut self, partition: &TopicPartition) {
        if let Err(error) = self.consumer.resume(&Self::list(partition)) {
            tracing::warn!(%partition, %error, "can't resume");
        }
        self.watch.pause(partition, false);
        self.paused.remove(partition);
    }

    fn end(&self, partition: &TopicPartition) -> Option<i64> {
        ffi::high_watermark(&self.consumer, partition.topic(), partition.partition())
    }

    fn position(&self, partition: &TopicPartition) -> Option<i64> {
        let reached = self.reached.get(partition).copied()?;
        let read = ffi::position(&self.consumer, partition.topic(), partition.partition());
        Some(read.unwrap_or(reached).max(reached))
    }

    /// Blocks for as long as a leader may be away.
    fn batch_end(&mut self, partition: &TopicPartition, offset: i64) -> Result<i64, FetchError> {
        let failed = |error: &dyn fmt::Display| FetchError { message: error.to_string() };
        let endpoint = Endpoint::of(&self.cluster).map_err(|error| failed(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(&error))?;
        let mut admin = Admin::new(&endpoint);
        let end = admin.batch_end(partition.topic(), partition.partition(), offset);
        runtime.block_on(end).map_err(|error| failed(&error))
    }

    fn poll(&mut self) -> Option<Fetched> {
        if let Some((partition, error)) = self.assign_waiting() {
            return Some(Fetched::Failed { partition: Some(partition), error });
        }
        let Self { events, buffer, topic, .. } = self;
        match events.poll(|message| record(message, buffer, topic)) {
            Some(Ok(fetched)) => Some(fetched),
            Some(Err(error)) => {
                if let (RDKafkaErrorCode::PartitionEOF, Some((topic, number, offset))) =
                    (error.code, &error.place)
                {
                    let at = TopicPartition::new(topic.as_str(), *number);
                    self.reached.insert(at, *offset);
                }
                Some(trouble(error))
            }
            None => self.watch.poll().map(Fetched::Unreadable),
        }
    }
}

/// An error of the consumer: the end of a partition, one that passes, or one that does not.
fn trouble(error: ConsumerError) -> Fetched {
    use RDKafkaErrorCode::{
        AutoOffsetReset, BadCompression, BadMessage, InvalidMessage, NotImplemented,
        OffsetOutOfRange, PartitionEOF, TopicAuthorizationFailed, UnknownPartition, UnknownTopic,
        UnknownTopicOrPartition, UnsupportedCompressionType,
    };
    let ConsumerError { code, message, place } = error;
    match (code, place) {
        (PartitionEOF, Some((_, partition, offset))) => {
            Fetched::EndOfPartition { partition, offset }
        }
        (
            // Kafka calls `InvalidMessage` CORRUPT_MESSAGE.
            BadCompression
            | BadMessage
            | InvalidMessage
            | NotImplemented
            | UnsupportedCompressionType,
            Some((topic, partition, offset)),
        ) => {
            let partition = TopicPartition::new(topic, partition);
            Fetched::Unreadable(UnreadableBatch { partition, offset, reason: message })
        }
        (
            AutoOffsetReset
            | OffsetOutOfRange
            | TopicAuthorizationFailed
            | UnknownPartition
            | UnknownTopic
            | UnknownTopicOrPartition,
            place,
        ) => {
            let partition = place.map(|(topic, number, _)| TopicPartition::new(topic, number));
            Fetched::Failed { partition, error: FetchError { message } }
        }
        _ => {
            tracing::warn!(target: "librdkafka", "{message}");
            Fetched::Trouble(message)
        }
    }
}

impl fmt::Debug for RdFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RdFetcher").finish_non_exhaustive()
    }
}
