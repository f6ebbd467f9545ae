//! Produce: batches go to the logs, if their producers may write.

use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use kafka_protocol::protocol::StrBytes;

use super::batch::{self, BatchHeader};
use super::compress::Codec;
use super::configs::TopicConfig;
use super::log::Written;
use super::producers::Origin;
use super::transactions::{Participant, renamed};
use super::{Cluster, Reply, codes};

/// Before this version a client can't read zstd.
const ZSTD_SINCE: i16 = 7;
/// Since this version a client knows `TRANSACTION_ABORTABLE`.
const ABORTABLE_SINCE: i16 = 11;
/// Since this version Produce takes its partitions into the transaction by itself (KIP-890).
const ADDS_SINCE: i16 = 12;
/// Since this version topics are named by id.
const IDS_SINCE: i16 = 13;

/// What a request says of all its batches.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    version: i16,
    acks: i16,
    transactional_id: Option<&'a str>,
}

/// Why a batch is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Refusal {
    code: i16,
    message: Option<String>,
    /// The records that are to blame, by number.
    records: Vec<(usize, String)>,
}

impl From<i16> for Refusal {
    fn from(code: i16) -> Self {
        Self { code, ..Self::default() }
    }
}

/// What all logs hold, or a little more: topics that were deleted are taken off when it counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    bytes_at_most: usize,
}

impl Cluster {
    pub(super) fn produce(&mut self, version: i16, request: ProduceRequest) -> ProduceResponse {
        let asked = Asked {
            version,
            acks: request.acks,
            transactional_id: request.transactional_id.as_ref().map(|id| id.as_str()),
        };
        let unnamed = asked.transactional_id.is_none()
            && request.topic_data.iter().flat_map(|topic| &topic.partition_data).any(|data| {
                data.records.as_ref().is_some_and(|records| batch::is_transactional(records))
            });
        let mut responses = Vec::with_capacity(request.topic_data.len());
        for topic in request.topic_data {
            responses.push(self.produce_topic(asked, topic, unnamed));
        }
        ProduceResponse::default().with_responses(responses)
    }

    fn produce_topic(
        &mut self,
        asked: Asked<'_>,
        topic: TopicProduceData,
        unnamed: bool,
    ) -> TopicProduceResponse {
        let name = match asked.version < IDS_SINCE {
            true => Ok(topic.name.to_string()),
            false => {
                self.topic_name(topic.topic_id).map(str::to_owned).ok_or(codes::UNKNOWN_TOPIC_ID)
            }
        };
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in last_of_each(topic.partition_data) {
            let index = data.index;
            let written = match &name {
                // Kafka asks what the transactional id of none may do.
                _ if unnamed => Err(codes::TRANSACTIONAL_ID_AUTHORIZATION_FAILED.into()),
                Err(code) => Err((*code).into()),
                Ok(name) => self.write(asked, name, data),
            };
            let log = name.as_ref().ok().and_then(|name| self.log(name, index));
            let start = log.map_or(-1, |log| log.start());
            partitions.push(answer(index, written, start));
        }
        TopicProduceResponse::default()
            .with_name(TopicName(topic.name.0))
            .with_topic_id(topic.topic_id)
            .with_partition_responses(partitions)
    }

    fn write(
        &mut self,
        asked: Asked<'_>,
        topic: &str,
        data: PartitionProduceData,
    ) -> Result<Written, Refusal> {
        let partition = data.index;
        let bytes: Bytes = data.records.unwrap_or_default();
        self.log(topic, partition).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let header = batch::single(&bytes)?;
        if header.codec() == Some(Codec::Zstd) && asked.version < ZSTD_SINCE {
            return Err(codes::UNSUPPORTED_COMPRESSION_TYPE.into());
        }
        if !matches!(asked.acks, -1..=1) {
            return Err(codes::INVALID_REQUIRED_ACKS.into());
        }
        let origin = self.take_in(asked, &header, topic, partition)?;
        let now = self.now;
        let known = self.topics.get(topic).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        if bytes.len() > known.config.max_message_bytes {
            return Err(codes::MESSAGE_TOO_LARGE.into());
        }
        check_records(&known.config, &header, &bytes, now)?;
        self.has_room(bytes.len())?;
        let bytes = self.damage.map_or_else(|| bytes.clone(), |fault| batch::damage(&bytes, fault));
        let known = self.topics.get_mut(topic).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let log = usize::try_from(partition).ok().and_then(|at| known.partitions.get_mut(at));
        let log = log.ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let written = log.append((&header, &bytes), origin, &known.config, now)?;
        self.held.bytes_at_most += written.size;
        self.appended = true;
        Ok(written)
    }

    /// Whether the logs may hold so much more.
    fn has_room(&mut self, bytes: usize) -> Result<(), Refusal> {
        let limit = self.settings.memory_bytes_max;
        if self.held.bytes_at_most + bytes <= limit {
            return Ok(());
        }
        let logs = self.topics.values().flat_map(|topic| &topic.partitions);
        self.held.bytes_at_most = logs.map(super::PartitionLog::size_bytes).sum();
        if self.held.bytes_at_most + bytes <= limit {
            return Ok(());
        }
        let message = format!("the broker's memory limit of {limit} bytes is reached");
        Err(Refusal { message: Some(message), ..codes::KAFKA_STORAGE_ERROR.into() })
    }

    /// BRK-4: a fenced epoch writes nothing. By the older protocol a transaction writes where it
    /// said it would; by the newer one the first batch says it.
    fn take_in(
        &mut self,
        asked: Asked<'_>,
        header: &BatchHeader,
        topic: &str,
        partition: i32,
    ) -> Result<Origin, i16> {
        let Some(id) = asked.transactional_id.filter(|_| header.is_transactional()) else {
            return Ok(Origin::Client);
        };
        let producer = (header.producer_id, header.producer_epoch);
        let log = self.log(topic, partition);
        if log.is_some_and(|log| log.producers().is_open(producer.0, producer.1)) {
            return Ok(Origin::Client);
        }
        let place = Participant::Partition(topic.to_owned(), partition);
        let (taken, origin) = match asked.version >= ADDS_SINCE {
            true => {
                let added = self.transactions.add(id, producer, vec![place], self.now);
                (added, Origin::Begins)
            }
            false => (self.transactions.verify(id, producer, &place), Origin::Client),
        };
        taken.map(|()| origin).map_err(|code| match renamed(code, asked.version, i16::MAX) {
            codes::TRANSACTION_ABORTABLE if asked.version < ABORTABLE_SINCE => {
                codes::INVALID_TXN_STATE
            }
            // Older clients retry that one.
            codes::CONCURRENT_TRANSACTIONS if asked.version < ADDS_SINCE => {
                codes::NOT_ENOUGH_REPLICAS
            }
            other => other,
        })
    }
}

/// What becomes of a request without acknowledgement: the only way to say no is to hang up.
pub(super) fn unacknowledged(response: &ProduceResponse) -> Reply {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    match partitions.into_iter().all(|partition| partition.error_code == codes::NONE) {
        true => Reply::Nothing,
        false => Reply::Disconnect,
    }
}

/// A partition that is named twice is written to once: what comes last counts.
fn last_of_each(mut data: Vec<PartitionProduceData>) -> Vec<PartitionProduceData> {
    let mut seen = BTreeSet::new();
    data.reverse();
    data.retain(|data| seen.insert(data.index));
    data.reverse();
    data
}

fn answer(
    index: i32,
    written: Result<Written, Refusal>,
    log_start: i64,
) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    let refusal = match written {
        Ok(written) => {
            return response
                .with_base_offset(written.base)
                .with_log_append_time_ms(written.append_time.unwrap_or(-1))
                .with_log_start_offset(log_start);
        }
        Err(refusal) => refusal,
    };
    // Kafka says where the log starts if it has looked at the records.
    let start = if refusal.records.is_empty() { -1 } else { log_start };
    let records = refusal.records.into_iter().map(|(number, message)| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(i32::try_from(number).unwrap_or(i32::MAX))
            .with_batch_index_error_message(Some(StrBytes::from_string(message)))
    });
    response
        .with_error_code(refusal.code)
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(start)
        .with_record_errors(records.collect())
        .with_error_message(refusal.message.map(StrBytes::from_string))
}

/// Checks the records of a batch: that they can be read, and what their topic asks of them.
fn check_records(
    config: &TopicConfig,
    header: &BatchHeader,
    batch: &[u8],
    now: i64,
) -> Result<(), Refusal> {
    // What Kafka stumbles over it calls an unknown error, and so do we.
    let expanded = batch::expand(header, batch).ok_or(codes::UNKNOWN_SERVER_ERROR)?;
    let earliest = now.saturating_sub(config.timestamp_before_max_ms);
    let latest = now.saturating_add(config.timestamp_after_max_ms);
    let (mut refusal, mut invalid_time) = (Refusal::default(), header.is_log_append_time());
    for (number, record) in batch::records(header, &expanded).enumerate() {
        let record = record.map_err(|_| codes::UNKNOWN_SERVER_ERROR)?;
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        let timed = config.log_append_time || timestamp == -1;
        if config.compact && record.key.is_none() {
            let message = "Compacted topic cannot accept message without key";
            refusal.records.push((number, message.to_owned()));
        } else if !timed && !(earliest..=latest).contains(&timestamp) {
            invalid_time = true;
            let message = format!(
                "Timestamp {timestamp} is out of range. The timestamp should be within \
                 [{earliest}, {latest}]"
            );
            refusal.records.push((number, message));
        } else if header.is_log_append_time() {
            let message = "Producer should not set timestamp type to LogAppendTime.";
            refusal.records.push((number, message.to_owned()));
        }
    }
    if refusal.records.is_empty() {
        return Ok(());
    }
    let (code, message) = match invalid_time {
        true => {
            let message = "One or more records have been rejected due to invalid timestamp";
            (codes::INVALID_TIMESTAMP, message.to_owned())
        }
        false => {
            let count = refusal.records.len();
            let message = format!("One or more records have been rejected due to {count} errors");
            (codes::INVALID_RECORD, message)
        }
    };
    Err(Refusal { code, message: Some(message), ..refusal })
}
