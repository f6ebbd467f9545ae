//! The transactional producer on librdkafka.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::calls::{Call, CallThread, outdated};
use super::context::Context;
use super::ffi::{self, RdError};
use super::{base_config, creation_error, headers, millis};
use crate::client::{ClusterConfig, CoordinatorWatch, OffsetToCommit, SendError, TxnProducer};
use crate::error::{Cause, Disposition, TxnError, TxnStep, disposition};
use crate::group::Generation;
use crate::record::OutputRef;

const QUEUE_KBYTES: &str = "queue.buffering.max.kbytes";
/// librdkafka's `message.max.bytes`, by default.
const RECORD_BYTES_MAX: usize = 1_000_000;
/// What headers and framing of one record may add.
const QUEUE_KBYTES_SPARE: usize = 64;

/// How long a wait for acknowledgements goes before failed deliveries are looked at. Each wait
/// wakes librdkafka's connections, and that is what sends the records of a partition that was added
/// to the transaction meanwhile: librdkafka (2.12) does not do so by itself when the answer comes.
const FLUSH_STEP: Duration = Duration::from_millis(1);

/// How often a producer that waits for a broker looks whether one has refused its credentials.
const LOOK_FOR_REFUSAL: Duration = Duration::from_secs(1);

/// So long an abort waits until what has been sent is acknowledged.
const SENT_BEFORE_ABORT: Duration = Duration::from_millis(200);

/// A transactional producer on librdkafka.
pub struct RdTxnProducer {
    transactional_id: String,
    /// Ends before the producer does.
    calls: CallThread,
    producer: Arc<BaseProducer<Context>>,
}

/// How long a topic that may have grown is asked for.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

/// The properties of a transactional producer.
pub(super) fn producer_config(
    cluster: &ClusterConfig,
    transactional_id: &str,
    transaction_timeout: Duration,
) -> ClientConfig {
    let mut config = base_config(cluster);
    config
        .set("transactional.id", transactional_id)
        .set("transaction.timeout.ms", millis(transaction_timeout).to_string())
        // A record waits no longer than its transaction.
        .set("message.timeout.ms", millis(transaction_timeout).to_string())
        // The default (CRC32) disagrees with Java's and GKES's.
        .set("partitioner", "murmur2_random")
        // A flush doesn't linger; what is sent before it gains from larger batches.
        .set("linger.ms", "5")
        // CONCURRENT_TRANSACTIONS on AddOffsetsToTxn is retried after this time.
        .set("retry.backoff.ms", "1")
        .set("delivery.report.only.error", "true")
        .set("queue.buffering.max.messages", "200000");
    config
}

impl RdTxnProducer {
    /// A producer, not initialised yet. `coordinator` is what the group's member knows of it.
    ///
    /// # Errors
    /// If a property is not librdkafka's, or has a value that it can't have.
    pub fn new(
        cluster: &ClusterConfig,
        transactional_id: &str,
        transaction_timeout: Duration,
        coordinator: CoordinatorWatch,
        queue_bytes: usize,
    ) -> Result<Self, TxnError> {
        let failed = |message| TxnError {
            step: TxnStep::Init,
            transactional_id: transactional_id.to_owned(),
            message,
            disposition: Disposition::Stop,
            cause: Cause::Transaction,
        };
        let mut config = producer_config(cluster, transactional_id, transaction_timeout);
        if cluster.properties.get(QUEUE_KBYTES).is_none() {
            config.set(QUEUE_KBYTES, queue_kbytes(cluster, queue_bytes).to_string());
        }
        let producer: BaseProducer<Context> = config
            .create_with_context(Context::without(cluster.properties.secrets()))
            .map_err(|error| failed(creation_error(cluster, &error)))?;
        let producer = Arc::new(producer);
        let sends = Arc::clone(&producer);
        let make = move |call: &Call, timeout| match call {
            Call::SendOffsets { offsets, generation } => {
                ffi::send_offsets(&sends, offsets, generation, timeout)
            }
            Call::Abort => sends.abort_transaction(timeout).map_err(|error| detail(&error)),
        };
        let calls = CallThread::spawn(coordinator, make)
            .map_err(|error| failed(format!("no thread for the calls: {error}")))?;
        Ok(Self { transactional_id: transactional_id.to_owned(), calls, producer })
    }

    fn error(&self, step: TxnStep, error: RdError) -> TxnError {
        let message = match self.producer.client().fatal_error() {
            Some((_, reason)) if error.fatal => format!("{} ({reason})", error.message),
            _ => error.message.clone(),
        };
        TxnError {
            step,
            transactional_id: self.transactional_id.clone(),
            message,
            disposition: disposition_of(step, &error),
            cause: cause_of(&error),
        }
    }

    fn result(&self, step: TxnStep, result: Result<(), KafkaError>) -> Result<(), TxnError> {
        result.map_err(|error| self.error(step, detail(&error)))
    }

    /// Takes what librdkafka has to say: its log, errors, records that were not delivered.
    fn serve(&self) {
        self.producer.context().drain(|| self.producer.poll(Duration::ZERO));
    }

    /// Waits for a broker, but not if it refuses this client.
    fn await_broker(&self, deadline: Instant) -> Result<(), RdError> {
        loop {
            let look = deadline.min(Instant::now() + LOOK_FOR_REFUSAL);
            let Err(error) = ffi::await_broker(self.producer.client(), look) else {
                return Ok(());
            };
            self.serve();
            if let Some(refused) = self.producer.context().take_refused() {
                return Err(refused);
            }
            if Instant::now() >= deadline {
                return Err(error);
            }
        }
    }

    /// Returns the error of records that are not acknowledged. To find their topics it purges them:
    /// the producer is made anew, and its transaction is aborted.
    fn not_acknowledged(&self, timeout: Duration) -> TxnError {
        let records = self.producer.in_flight_count();
        self.producer.purge(PurgeConfig::default().queue().inflight());
        self.serve();
        let context = self.producer.context();
        let (topics, _) = (context.take_failed_topics(), context.take_failed());
        let error = RdError {
            code: RDKafkaErrorCode::OperationTimedOut as i32,
            message: format!("{records} records for {topics} not acknowledged within {timeout:?}"),
            fatal: false,
            requires_abort: true,
        };
        self.error(TxnStep::Produce, error)
    }

    fn failed_delivery(&self) -> Option<TxnError> {
        let failed = self.producer.context().take_failed()?;
        let error = RdError {
            code: failed.code,
            message: failed.message,
            fatal: false,
            requires_abort: true,
        };
        Some(self.error(TxnStep::Produce, error))
    }
}

/// The bound of the producer's queue in KiB: a record that is larger than it would never be taken.
fn queue_kbytes(cluster: &ClusterConfig, queue_bytes: usize) -> usize {
    let record = cluster.properties.get("message.max.bytes");
    let record = record.and_then(|bytes| bytes.parse().ok()).unwrap_or(RECORD_BYTES_MAX);
    queue_bytes.max(record) / 1_024 + QUEUE_KBYTES_SPARE
}

fn detail(error: &KafkaError) -> RdError {
    match error {
        KafkaError::Transaction(inner) => RdError {
            code: inner.code() as i32,
            message: inner.to_string(),
            fatal: inner.is_fatal(),
            requires_abort: inner.txn_requires_abort(),
        },
        other => RdError {
            code: other.rdkafka_error_code().map_or(-1, |code| code as i32),
            message: other.to_string(),
            fatal: false,
            requires_abort: false,
        },
    }
}

/// librdkafka's own codes are negative, Kafka's positive.
fn disposition_of(step: TxnStep, error: &RdError) -> Disposition {
    const FENCED: i32 = RDKafkaErrorCode::Fenced as i32;
    const TIMED_OUT: i32 = RDKafkaErrorCode::OperationTimedOut as i32;
    const UNKNOWN_TOPIC: i32 = RDKafkaErrorCode::UnknownTopic as i32;
    const UNKNOWN_PARTITION: i32 = RDKafkaErrorCode::UnknownPartition as i32;
    const AUTHENTICATION: i32 = RDKafkaErrorCode::Authentication as i32;
    let known = match error.code {
        FENCED => Disposition::Fenced,
        // Nothing was committed, and the client may never come to itself.
        TIMED_OUT => match step {
            TxnStep::SendOffsets | TxnStep::Abort => Disposition::RecoverAll,
            TxnStep::Commit => Disposition::Indefinite,
            TxnStep::Init | TxnStep::Begin | TxnStep::Produce => Disposition::Recover,
        },
        UNKNOWN_TOPIC | UNKNOWN_PARTITION => Disposition::Stop,
        AUTHENTICATION => Disposition::Recover,
        code if code > 0 => disposition(step, i16::try_from(code).unwrap_or(-1)),
        // What librdkafka says of its own state comes after the reply, not instead of it.
        _ if step == TxnStep::Commit => Disposition::Indefinite,
        _ => Disposition::Abort,
    };
    match known {
        // A producer with a fatal error does nothing any more; one that says neither "abort" nor
        // "retry" is in a state that we don't understand.
        Disposition::Abort if error.fatal || !error.requires_abort => Disposition::Recover,
        known => known,
    }
}

/// librdkafka's own codes are negative, Kafka's positive.
pub(super) const fn cause_of(error: &RdError) -> Cause {
    const TIMED_OUT: i32 = RDKafkaErrorCode::OperationTimedOut as i32;
    const TIMED_OUT_IN_QUEUE: i32 = RDKafkaErrorCode::TimedOutQueue as i32;
    const MESSAGE_TIMED_OUT: i32 = RDKafkaErrorCode::MessageTimedOut as i32;
    const TRANSPORT: i32 = RDKafkaErrorCode::BrokerTransportFailure as i32;
    const ALL_BROKERS_DOWN: i32 = RDKafkaErrorCode::AllBrokersDown as i32;
    const RESOLVE: i32 = RDKafkaErrorCode::Resolve as i32;
    const WAIT_COORDINATOR: i32 = RDKafkaErrorCode::WaitingForCoordinator as i32;
    const PURGED: i32 = RDKafkaErrorCode::PurgeQueue as i32;
    const PURGED_IN_FLIGHT: i32 = RDKafkaErrorCode::PurgeInflight as i32;
    const AUTHENTICATION: i32 = RDKafkaErrorCode::Authentication as i32;
    const SSL: i32 = RDKafkaErrorCode::SSL as i32;
    match error.code {
        TIMED_OUT | TIMED_OUT_IN_QUEUE | MESSAGE_TIMED_OUT | TRANSPORT | ALL_BROKERS_DOWN
        | RESOLVE | WAIT_COORDINATOR | PURGED | PURGED_IN_FLIGHT => Cause::Outage,
        AUTHENTICATION | SSL => Cause::Access,
        code if code > 0 && code <= i16::MAX as i32 => Cause::of(code as i16),
        _ => Cause::Transaction,
    }
}

impl TxnProducer for RdTxnProducer {
    fn init(&self, timeout: Duration) -> Result<(), TxnError> {
        let deadline = Instant::now() + timeout;
        self.await_broker(deadline).map_err(|error| self.error(TxnStep::Init, error))?;
        let left = deadline.saturating_duration_since(Instant::now());
        self.result(TxnStep::Init, self.producer.init_transactions(left))
    }

    fn begin(&self) -> Result<(), TxnError> {
        // What an aborted transaction purged is no failure of the next one.
        self.serve();
        let _ = self.producer.context().take_failed();
        let _ = self.producer.context().take_failed_topics();
        self.result(TxnStep::Begin, self.producer.begin_transaction())
    }

    fn send(&self, output: OutputRef<'_>) -> Result<(), SendError> {
        let mut record = BaseRecord::<[u8], [u8]>::to(output.topic);
        record.partition = output.partition;
        record.key = output.key;
        record.payload = output.value;
        record.timestamp = output.timestamp_ms;
        record.headers = headers(&output);
        let mut sent = self.producer.send(record);
        if let Err((KafkaError::MessageProduction(RDKafkaErrorCode::UnknownPartition), record)) =
            sent
        {
            // The topic may have grown: librdkafka looks only every five minutes.
            let _ = self.producer.client().fetch_metadata(Some(output.topic), METADATA_TIMEOUT);
            sent = self.producer.send(record);
        }
        match sent {
            Ok(()) => Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                Err(SendError::Full)
            }
            Err((error, _)) => {
                let error = RdError {
                    code: error.rdkafka_error_code().map_or(-1, |code| code as i32),
                    message: format!("{error} for topic `{}`", output.topic),
                    fatal: false,
                    requires_abort: true,
                };
                Err(SendError::Refused(self.error(TxnStep::Produce, error)))
            }
        }
    }

    fn flush(&self, timeout: Duration) -> Result<(), TxnError> {
        let deadline = Instant::now() + timeout;
        loop {
            let empty = ffi::flush(self.producer.client(), FLUSH_STEP);
            self.serve();
            if let Some(error) = self.failed_delivery() {
                return Err(error);
            }
            if empty && self.producer.in_flight_count() == 0 {
                return Ok(());
            }
            if self.calls.is_outdated() {
                return Err(self.error(TxnStep::SendOffsets, outdated()));
            }
            if Instant::now() >= deadline {
                return Err(self.not_acknowledged(timeout));
            }
        }
    }

    fn send_offsets(
        &self,
        offsets: &[OffsetToCommit],
        generation: &Generation,
        timeout: Duration,
    ) -> Result<(), TxnError> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for offset in offsets {
            let at = &offset.topic_partition;
            let mut element = list.add_partition(at.topic(), at.partition());
            element.set_metadata(&offset.metadata);
            let set = element.set_offset(Offset::Offset(offset.offset));
            self.result(TxnStep::SendOffsets, set)?;
        }
        let call = Call::SendOffsets { offsets: list, generation: generation.clone() };
        self.calls
            .call(call, timeout, None)
            .map_err(|error| self.error(TxnStep::SendOffsets, error))
    }

    fn commit(&self, timeout: Duration) -> Result<(), TxnError> {
        // rust-rdkafka flushes in steps of 100 ms if anything is queued, events that nobody has
        // looked at included.
        self.serve();
        self.result(TxnStep::Commit, self.producer.commit_transaction(timeout))
    }

    fn abort(&self, timeout: Duration) -> Result<(), TxnError> {
        // An abort purges requests that are written and not sent, and forgets that their numbers
        // are used: the next transaction fails for the gap, and getting a new epoch takes 500 ms.
        let deadline = Instant::now() + timeout.min(SENT_BEFORE_ABORT);
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            ffi::flush(self.producer.client(), FLUSH_STEP);
            self.serve();
        }
        self.calls
            .call(Call::Abort, timeout, Some(&|| self.serve()))
            .map_err(|error| self.error(TxnStep::Abort, error))
    }
}

impl fmt::Debug for RdTxnProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RdTxnProducer").field(&self.transactional_id).finish()
    }
}
