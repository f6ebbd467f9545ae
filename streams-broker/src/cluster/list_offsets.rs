//! ListOffsets, OffsetForLeaderEpoch and DeleteRecords: where a log begins, ends, and was when.

use std::collections::BTreeSet;

use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};

use super::fetch::{READ_COMMITTED, check_leader_epoch};
use super::log::PartitionLog;
use super::{Cluster, codes};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
/// The one leader epoch that there is.
const LEADER_EPOCH: i32 = 0;
const NO_LEADER_EPOCH: i32 = -1;

/// Since which version a timestamp below 0 means something.
const fn known_since(timestamp: i64) -> Option<i16> {
    match timestamp {
        LATEST | EARLIEST => Some(1),
        MAX_TIMESTAMP => Some(7),
        EARLIEST_LOCAL => Some(8),
        LATEST_TIERED => Some(9),
        0.. => Some(1),
        _ => None,
    }
}

impl Cluster {
    pub(super) fn list_offsets(
        &self,
        version: i16,
        request: &ListOffsetsRequest,
    ) -> ListOffsetsResponse {
        let twice = named_twice(request);
        let mut refused = BTreeSet::new();
        let committed = request.isolation_level == READ_COMMITTED;
        let topics = request.topics.iter().map(|topic| {
            let once = |asked: &&ListOffsetsPartition| {
                let place = (topic.name.as_str(), asked.partition_index);
                !twice.contains(&place) || refused.insert(place)
            };
            let partitions = topic.partitions.iter().filter(once).map(|asked| {
                let response = ListOffsetsPartitionResponse::default()
                    .with_partition_index(asked.partition_index)
                    .with_timestamp(-1)
                    .with_offset(-1)
                    .with_leader_epoch(NO_LEADER_EPOCH);
                let log = self.log(&topic.name, asked.partition_index);
                let known = known_since(asked.timestamp).is_some_and(|since| version >= since);
                let found = match log {
                    _ if twice.contains(&(topic.name.as_str(), asked.partition_index)) => {
                        Err(codes::INVALID_REQUEST)
                    }
                    _ if !known => Err(codes::UNSUPPORTED_VERSION),
                    None => Err(codes::UNKNOWN_TOPIC_OR_PARTITION),
                    Some(log) => look_up(log, asked, committed),
                };
                match found {
                    Err(code) => response.with_error_code(code),
                    Ok((offset, timestamp, epoch)) => response
                        .with_offset(offset)
                        .with_timestamp(timestamp)
                        // Before, a response has no place for it, and can't be written.
                        .with_leader_epoch(if version >= 4 { epoch } else { NO_LEADER_EPOCH }),
                }
            });
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }

    pub(super) fn offsets_for_leader_epochs(
        &self,
        request: &OffsetForLeaderEpochRequest,
    ) -> OffsetForLeaderEpochResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let response = EpochEndOffset::default()
                    .with_partition(asked.partition)
                    .with_leader_epoch(NO_LEADER_EPOCH)
                    .with_end_offset(-1);
                let end = self.log(&topic.topic, asked.partition).map(|log| epoch_end(log, asked));
                match end {
                    None => response.with_error_code(codes::UNKNOWN_TOPIC_OR_PARTITION),
                    Some(Err(code)) => response.with_error_code(code),
                    Some(Ok(None)) => response,
                    Some(Ok(Some((epoch, end)))) => {
                        response.with_leader_epoch(epoch).with_end_offset(end)
                    }
                }
            });
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions.collect())
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    }

    pub(super) fn delete_records(
        &mut self,
        request: &DeleteRecordsRequest,
    ) -> DeleteRecordsResponse {
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let deleted = self.delete_before(&topic.name, asked.partition_index, asked.offset);
                let result = DeleteRecordsPartitionResult::default()
                    .with_partition_index(asked.partition_index)
                    .with_low_watermark(deleted.unwrap_or(-1))
                    .with_error_code(deleted.err().unwrap_or(codes::NONE));
                partitions.push(result);
            }
            let result = DeleteRecordsTopicResult::default().with_name(topic.name.clone());
            topics.push(result.with_partitions(partitions));
        }
        DeleteRecordsResponse::default().with_topics(topics)
    }

    fn delete_before(&mut self, topic: &str, partition: i32, offset: i64) -> Result<i64, i16> {
        let keeps = self.topics.get(topic).is_some_and(|topic| !topic.config.delete);
        let log = self.log_mut(topic, partition).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        if keeps {
            return Err(codes::POLICY_VIOLATION);
        }
        match offset {
            -1 => log.advance_start(log.end()),
            offset if (0..=log.end()).contains(&offset) => log.advance_start(offset),
            _ => return Err(codes::OFFSET_OUT_OF_RANGE),
        }
        Ok(log.start())
    }
}

/// The partitions that are named more than once.
fn named_twice(request: &ListOffsetsRequest) -> BTreeSet<(&str, i32)> {
    let mut seen = BTreeSet::new();
    let all = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|asked| (topic.name.as_str(), asked.partition_index))
    });
    all.filter(|place| !seen.insert(*place)).collect()
}

/// Offset, timestamp and leader epoch.
fn look_up(
    log: &PartitionLog,
    asked: &ListOffsetsPartition,
    committed: bool,
) -> Result<(i64, i64, i32), i16> {
    check_leader_epoch(asked.current_leader_epoch)?;
    let limit = if committed { log.stable() } else { log.end() };
    let nowhere = (-1, -1, NO_LEADER_EPOCH);
    let found = match asked.timestamp {
        LATEST => return Ok((limit, -1, LEADER_EPOCH)),
        EARLIEST | EARLIEST_LOCAL => return Ok((log.start(), -1, LEADER_EPOCH)),
        LATEST_TIERED => return Ok(nowhere),
        MAX_TIMESTAMP => log.latest_time(),
        time => log.at_time(time),
    };
    let found = found.filter(|(offset, _)| *offset < limit);
    Ok(found.map_or(nowhere, |(offset, timestamp)| (offset, timestamp, LEADER_EPOCH)))
}

/// An epoch and where it ends, if it has been.
fn epoch_end(
    log: &PartitionLog,
    asked: &OffsetForLeaderPartition,
) -> Result<Option<(i32, i64)>, i16> {
    check_leader_epoch(asked.current_leader_epoch)?;
    Ok(match asked.leader_epoch {
        LEADER_EPOCH => Some((LEADER_EPOCH, log.end())),
        NO_LEADER_EPOCH | 1.. => None,
        // Before the first one: where that begins.
        epoch => Some((epoch, log.start())),
    })
}
