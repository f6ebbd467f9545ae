//! Produce: batches go to the logs, if their producers may write.

use bytes::Bytes;
use kafka_protocol::messages::produce_request::TopicProduceData;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use super::batch::{self, BatchHeader};
use super::producers::Origin;
use super::transactions::{Participant, renamed};
use super::{Cluster, codes};

/// Since this version a client knows `TRANSACTION_ABORTABLE`.
const ABORTABLE_SINCE: i16 = 11;
/// Since this version Produce takes its partitions into the transaction by itself (KIP-890).
const ADDS_SINCE: i16 = 12;

/// What a request says of all its batches.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    version: i16,
    acks: i16,
    transactional_id: Option<&'a str>,
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
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let appended = match unnamed {
                // Kafka asks what the transactional id of none may do.
                true => Err(codes::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
                false => self.append(asked, &topic.name, data.index, data.records),
            };
            let response = PartitionProduceResponse::default()
                .with_index(data.index)
                .with_log_append_time_ms(-1);
            let start = self.log(&topic.name, data.index).map_or(-1, |log| log.start());
            partitions.push(match appended {
                Ok(base) => response.with_base_offset(base).with_log_start_offset(start),
                Err(code) => {
                    let response = response.with_base_offset(-1).with_log_start_offset(-1);
                    response.with_error_code(code)
                }
            });
        }
        TopicProduceResponse::default().with_name(topic.name).with_partition_responses(partitions)
    }

    fn append(
        &mut self,
        asked: Asked<'_>,
        topic: &str,
        partition: i32,
        records: Option<Bytes>,
    ) -> Result<i64, i16> {
        let known = self.topics.get(topic).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let limit = known.config.max_message_bytes;
        self.log(topic, partition).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let (header, bytes) = batch::single(&records.unwrap_or_default())?;
        if !matches!(asked.acks, -1..=1) {
            return Err(codes::INVALID_REQUIRED_ACKS);
        }
        let origin = self.take_in(asked, &header, topic, partition)?;
        if bytes.len() > limit {
            return Err(codes::MESSAGE_TOO_LARGE);
        }
        let logs = self.topics.values().flat_map(|topic| &topic.partitions);
        let held: usize = logs.map(super::PartitionLog::size_bytes).sum();
        if held > self.settings.memory_bytes_max {
            return Err(codes::KAFKA_STORAGE_ERROR);
        }
        let log = self.log_mut(topic, partition).ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let base = log.append(&header, &bytes, origin)?;
        self.appended = true;
        Ok(base)
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
        let Some(id) = asked.transactional_id.filter(|_| header.transactional) else {
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
