//! Fetch: reading, with or without what is not decided.
//!
//! There are no fetch sessions: each response has session id 0, upon which a client sends full
//! requests, and a request that goes on with a session is told that there is none.

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::{FetchRequest, FetchResponse, ResponseKind};

use super::log::PartitionLog;
use super::{Cluster, RequestId, codes};

pub(super) const READ_COMMITTED: i8 = 1;
/// Since this version topics are named by id.
const IDS_SINCE: i16 = 13;
/// The longest that a fetch may wait, whatever it asks for.
const WAIT_MS_MAX: i32 = 60_000;
/// The most bytes of one response (`fetch.max.bytes` of the broker).
const BYTES_MAX: usize = 55 << 20;
/// The epochs of requests that don't go on with a session.
const NO_SESSION: std::ops::RangeInclusive<i32> = -1..=0;

/// A fetch that waits for records.
#[derive(Clone, Debug)]
pub(super) struct ParkedFetch {
    pub(super) id: RequestId,
    pub(super) deadline: i64,
    version: i16,
    request: FetchRequest,
}

/// What a client may know of the leader's epoch.
///
/// # Errors
/// `UNKNOWN_LEADER_EPOCH`: it is later than any that was.
pub(super) const fn check_leader_epoch(epoch: i32) -> Result<(), i16> {
    if epoch > 0 { Err(codes::UNKNOWN_LEADER_EPOCH) } else { Ok(()) }
}

fn bytes(asked: i32) -> usize {
    usize::try_from(asked).unwrap_or(0)
}

impl Cluster {
    pub(super) fn fetch(&mut self, id: RequestId, version: i16, request: FetchRequest) {
        if !NO_SESSION.contains(&request.session_epoch) {
            let refusal =
                FetchResponse::default().with_error_code(codes::FETCH_SESSION_ID_NOT_FOUND);
            return self.reply(id, ResponseKind::Fetch(refusal));
        }
        if request.max_wait_ms <= 0 || self.has_enough(version, &request) {
            let response = self.read(version, &request);
            return self.reply(id, ResponseKind::Fetch(response));
        }
        let deadline = self.now + i64::from(request.max_wait_ms.min(WAIT_MS_MAX));
        self.parked.push(ParkedFetch { id, deadline, version, request });
    }

    /// Answers the fetches that have enough, or have waited enough.
    pub(super) fn serve_parked(&mut self) {
        let appended = std::mem::take(&mut self.appended);
        let due = |fetch: &ParkedFetch| fetch.deadline <= self.now;
        if !appended && !self.parked.iter().any(due) {
            return;
        }
        for fetch in std::mem::take(&mut self.parked) {
            if fetch.deadline <= self.now || self.has_enough(fetch.version, &fetch.request) {
                let response = self.read(fetch.version, &fetch.request);
                self.reply(fetch.id, ResponseKind::Fetch(response));
            } else {
                self.parked.push(fetch);
            }
        }
    }

    /// The log that is asked for.
    fn fetched_log(
        &self,
        version: i16,
        topic: &FetchTopic,
        partition: i32,
    ) -> Result<&PartitionLog, i16> {
        let name = match version < IDS_SINCE {
            true => topic.topic.as_str(),
            false => self.topic_name(topic.topic_id).ok_or(codes::UNKNOWN_TOPIC_ID)?,
        };
        self.log(name, partition).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// Whether the response is to be sent now: there are `min_bytes`, or a partition is refused, or
    /// nothing is asked for.
    fn has_enough(&self, version: i16, request: &FetchRequest) -> bool {
        let wanted = bytes(request.min_bytes).min(bytes(request.max_bytes)).min(BYTES_MAX);
        let (mut found, mut asked) = (0, false);
        for topic in &request.topics {
            for partition in &topic.partitions {
                asked = true;
                let Ok(log) = self.fetched_log(version, topic, partition.partition) else {
                    return true;
                };
                let Ok(limit) = readable_to(log, partition, request.isolation_level) else {
                    return true;
                };
                let most = bytes(partition.partition_max_bytes);
                found += log.readable(partition.fetch_offset, limit, most);
            }
        }
        found >= wanted || !asked
    }

    fn read(&self, version: i16, request: &FetchRequest) -> FetchResponse {
        let mut left = bytes(request.max_bytes).min(BYTES_MAX);
        // Kafka gives the first batch there is, however large; what follows has to fit.
        let mut at_least_one = request.max_bytes >= 0;
        let mut responses = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let read = self
                    .fetched_log(version, topic, asked.partition)
                    .and_then(|log| Ok((log, readable_to(log, asked, request.isolation_level)?)));
                let data = match read {
                    Err(code) => refused(asked.partition, code),
                    Ok((log, limit)) => {
                        let max_bytes = bytes(asked.partition_max_bytes).min(left);
                        let offset = asked.fetch_offset;
                        let first = at_least_one && asked.partition_max_bytes >= 0;
                        let (records, end) = log.read(offset, limit, max_bytes, first);
                        left = left.saturating_sub(records.len());
                        at_least_one &= records.is_empty();
                        let committed = request.isolation_level == READ_COMMITTED;
                        served(log, asked, records, committed.then_some(end))
                    }
                };
                partitions.push(data);
            }
            let response = FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_topic_id(topic.topic_id);
            responses.push(response.with_partitions(partitions));
        }
        FetchResponse::default().with_responses(responses)
    }
}

/// Up to where a partition can be read.
fn readable_to(log: &PartitionLog, asked: &FetchPartition, isolation: i8) -> Result<i64, i16> {
    check_leader_epoch(asked.current_leader_epoch)?;
    if !(log.start()..=log.end()).contains(&asked.fetch_offset) {
        return Err(codes::OFFSET_OUT_OF_RANGE);
    }
    Ok(if isolation == READ_COMMITTED { log.stable() } else { log.end() })
}

fn refused(partition: i32, code: i16) -> PartitionData {
    // A partition that is not there has an empty list in Kafka, and others have none.
    let unknown = matches!(code, codes::UNKNOWN_TOPIC_OR_PARTITION | codes::UNKNOWN_TOPIC_ID);
    PartitionData::default()
        .with_partition_index(partition)
        .with_error_code(code)
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        .with_preferred_read_replica((-1).into())
        .with_aborted_transactions(unknown.then(Vec::new))
        .with_records(Some(Bytes::new()))
}

/// `committed_to` is where the records end, if aborted ones are to be told apart.
fn served(
    log: &PartitionLog,
    asked: &FetchPartition,
    records: Bytes,
    committed_to: Option<i64>,
) -> PartitionData {
    let aborted = committed_to.map(|end| {
        let aborted = log.aborted(asked.fetch_offset, end).into_iter().map(|aborted| {
            AbortedTransaction::default()
                .with_producer_id(aborted.producer_id.into())
                .with_first_offset(aborted.first)
        });
        aborted.collect()
    });
    PartitionData::default()
        .with_partition_index(asked.partition)
        .with_high_watermark(log.end())
        .with_last_stable_offset(log.stable())
        .with_log_start_offset(log.start())
        .with_preferred_read_replica((-1).into())
        .with_aborted_transactions(aborted)
        .with_records(Some(records))
}
