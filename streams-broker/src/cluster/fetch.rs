//! Fetch and ListOffsets: reading, with or without what is not decided.

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, ResponseKind,
};

use super::{Cluster, RequestId, codes};

const READ_COMMITTED: i8 = 1;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// The longest that a fetch may wait, whatever it asks for.
const WAIT_MS_MAX: i32 = 60_000;

/// A fetch that waits for records.
#[derive(Clone, Debug)]
pub(super) struct ParkedFetch {
    pub(super) id: RequestId,
    pub(super) deadline: i64,
    request: FetchRequest,
}

impl Cluster {
    pub(super) fn fetch(&mut self, id: RequestId, request: FetchRequest) {
        let (response, bytes, refused) = self.read(&request);
        let enough = bytes >= usize::try_from(request.min_bytes).unwrap_or(0);
        if enough || refused || request.max_wait_ms <= 0 {
            return self.reply(id, ResponseKind::Fetch(response));
        }
        let deadline = self.now + i64::from(request.max_wait_ms.min(WAIT_MS_MAX));
        self.parked.push(ParkedFetch { id, deadline, request });
    }

    /// Answers the fetches that have enough, or have waited enough.
    pub(super) fn serve_parked(&mut self) {
        let appended = std::mem::take(&mut self.appended);
        let due = |fetch: &ParkedFetch| fetch.deadline <= self.now;
        if !appended && !self.parked.iter().any(due) {
            return;
        }
        for fetch in std::mem::take(&mut self.parked) {
            let (response, bytes, refused) = self.read(&fetch.request);
            let enough = bytes >= usize::try_from(fetch.request.min_bytes).unwrap_or(0);
            if enough || refused || fetch.deadline <= self.now {
                self.reply(fetch.id, ResponseKind::Fetch(response));
            } else {
                self.parked.push(fetch);
            }
        }
    }

    /// The response as it would be now, its records' size, and whether a partition is refused.
    fn read(&self, request: &FetchRequest) -> (FetchResponse, usize, bool) {
        let mut left = usize::try_from(request.max_bytes).unwrap_or(0);
        let (mut bytes, mut refused) = (0, false);
        let mut responses = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let data = self.read_partition(&topic.topic, asked, request.isolation_level, left);
                let size = data.records.as_ref().map_or(0, Bytes::len);
                bytes += size;
                left = left.saturating_sub(size);
                refused |= data.error_code != codes::NONE;
                partitions.push(data);
            }
            let response = FetchableTopicResponse::default().with_topic(topic.topic.clone());
            responses.push(response.with_partitions(partitions));
        }
        // Session 0: every fetch is a full one.
        (FetchResponse::default().with_responses(responses), bytes, refused)
    }

    fn read_partition(
        &self,
        topic: &str,
        asked: &FetchPartition,
        isolation: i8,
        left: usize,
    ) -> PartitionData {
        let data = PartitionData::default()
            .with_partition_index(asked.partition)
            .with_high_watermark(-1)
            .with_last_stable_offset(-1)
            .with_log_start_offset(-1)
            .with_preferred_read_replica((-1).into())
            .with_records(Some(Bytes::new()));
        let Some(log) = self.log(topic, asked.partition) else {
            return data.with_error_code(codes::UNKNOWN_TOPIC_OR_PARTITION);
        };
        let data = data
            .with_high_watermark(log.end())
            .with_last_stable_offset(log.stable())
            .with_log_start_offset(log.start());
        let offset = asked.fetch_offset;
        if offset < log.start() || offset > log.end() {
            return data.with_error_code(codes::OFFSET_OUT_OF_RANGE);
        }
        let committed = isolation == READ_COMMITTED;
        let limit = if committed { log.stable() } else { log.end() };
        let asked_bytes = usize::try_from(asked.partition_max_bytes).unwrap_or(0);
        let records = match left {
            0 => Bytes::new(),
            left => log.read(offset, limit, asked_bytes.min(left)),
        };
        let data = data.with_records(Some(records));
        if !committed {
            return data.with_aborted_transactions(None);
        }
        let aborted = log.aborted(offset, limit).into_iter().map(|aborted| {
            AbortedTransaction::default()
                .with_producer_id(aborted.producer_id.into())
                .with_first_offset(aborted.first)
        });
        data.with_aborted_transactions(Some(aborted.collect()))
    }

    pub(super) fn list_offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let response = ListOffsetsPartitionResponse::default()
                    .with_partition_index(asked.partition_index)
                    .with_timestamp(-1)
                    .with_offset(-1)
                    .with_leader_epoch(0);
                let Some(log) = self.log(&topic.name, asked.partition_index) else {
                    return response.with_error_code(codes::UNKNOWN_TOPIC_OR_PARTITION);
                };
                match asked.timestamp {
                    LATEST if request.isolation_level == READ_COMMITTED => {
                        response.with_offset(log.stable())
                    }
                    LATEST => response.with_offset(log.end()),
                    EARLIEST => response.with_offset(log.start()),
                    time => match log.at_time(time) {
                        Some((offset, timestamp)) => {
                            response.with_offset(offset).with_timestamp(timestamp)
                        }
                        None => response,
                    },
                }
            });
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }
}
