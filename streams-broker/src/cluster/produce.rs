//! Produce: batches go to the logs, if their producers may write.

use bytes::Bytes;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use super::batch::{self, BatchHeader};
use super::{Cluster, codes};

impl Cluster {
    pub(super) fn produce(&mut self, request: ProduceRequest) -> ProduceResponse {
        let mut responses = Vec::with_capacity(request.topic_data.len());
        for topic in request.topic_data {
            let mut partitions = Vec::with_capacity(topic.partition_data.len());
            for data in topic.partition_data {
                let appended = self.append(&topic.name, data.index, data.records);
                let response = PartitionProduceResponse::default()
                    .with_index(data.index)
                    .with_log_append_time_ms(-1)
                    .with_log_start_offset(0);
                partitions.push(match appended {
                    Ok(base) => response.with_base_offset(base),
                    Err(code) => response.with_base_offset(-1).with_error_code(code),
                });
            }
            let response = TopicProduceResponse::default().with_name(topic.name);
            responses.push(response.with_partition_responses(partitions));
        }
        ProduceResponse::default().with_responses(responses)
    }

    fn append(&mut self, topic: &str, partition: i32, records: Option<Bytes>) -> Result<i64, i16> {
        let batches = batch::split(&records.unwrap_or_default())?;
        let known = self.topics.get(topic).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let limit = known.config.max_message_bytes;
        if batches.iter().any(|(_, bytes)| bytes.len() > limit) {
            return Err(codes::MESSAGE_TOO_LARGE);
        }
        let logs = self.topics.values().flat_map(|topic| &topic.partitions);
        let held: usize = logs.map(super::PartitionLog::size_bytes).sum();
        if held > self.settings.memory_bytes_max {
            return Err(codes::KAFKA_STORAGE_ERROR);
        }
        let mut base = None;
        for (header, bytes) in batches {
            self.may_write(&header, topic, partition)?;
            let log = self.log_mut(topic, partition).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
            let appended = log.append(&header, &bytes)?;
            base.get_or_insert(appended);
        }
        self.appended = true;
        base.ok_or(codes::INVALID_RECORD)
    }

    /// BRK-4: a fenced epoch writes nothing; and a transaction writes where it said it would.
    fn may_write(&self, header: &BatchHeader, topic: &str, partition: i32) -> Result<(), i16> {
        let Some(txn) = self.transactions.by_producer(header.producer_id) else {
            return match header.transactional {
                true => Err(codes::INVALID_PRODUCER_ID_MAPPING),
                false => Ok(()),
            };
        };
        if header.producer_epoch != txn.epoch {
            return Err(codes::INVALID_PRODUCER_EPOCH);
        }
        let added = txn.partitions.contains(&(topic.to_owned(), partition));
        if header.transactional && !added {
            return Err(codes::INVALID_TXN_STATE);
        }
        Ok(())
    }
}
