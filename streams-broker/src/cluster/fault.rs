//! Faults on demand: a request that is refused, or whose reply is lost.

use kafka_protocol::messages::add_partitions_to_txn_response as add_partitions;
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::txn_offset_commit_response as txn_offsets;
use kafka_protocol::messages::{
    AddOffsetsToTxnResponse, AddPartitionsToTxnResponse, ApiKey, DescribeTransactionsResponse,
    EndTxnResponse, HeartbeatResponse, InitProducerIdResponse, ProduceResponse, RequestKind,
    ResponseKind, TxnOffsetCommitResponse,
};

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It is not done, and answered with this error code.
    Error(i16),
    /// The broker carries the request out, and answers with this error code.
    DoneThenError(i16),
    /// It is done; the connection is closed instead of a reply.
    LoseReply,
    /// Of Produce: it is done, and the log holds the batches with a changed byte, as after a fault
    /// of the disk.
    CorruptBatch,
    /// Of Produce: it is done, and the batches in the log name a codec that does not exist.
    UnknownCodec,
}

impl FaultKind {
    /// Returns true if the fault is in the log, and not in the reply.
    pub(super) const fn is_damage(self) -> bool {
        matches!(self, Self::CorruptBatch | Self::UnknownCodec)
    }
}

/// A fault: the requests of `api` after the next `skip` ones fail, `times` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kind of request: Produce, AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit, EndTxn,
    /// InitProducerId, DescribeTransactions or Heartbeat. Of others only the reply can be lost.
    pub api: ApiKey,
    /// So many are let through first.
    pub skip: u32,
    /// So many fail.
    pub times: u32,
    /// How.
    pub kind: FaultKind,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn of(&mut self, request: &RequestKind) -> Option<FaultKind> {
        if self.0.is_empty() {
            return None;
        }
        let api = api_of(request)?;
        // Only damage hits producers without transactions.
        let plain = matches!(request, RequestKind::Produce(r) if r.transactional_id.is_none());
        let hits = |fault: &&mut Fault| {
            fault.api == api && fault.times > 0 && (!plain || fault.kind.is_damage())
        };
        let fault = self.0.iter_mut().find(hits)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.times -= 1;
        Some(fault.kind)
    }
}

macro_rules! api_keys {
    ($($api:ident)*) => {
        /// The kind of a request.
        pub(super) const fn api_of(request: &RequestKind) -> Option<ApiKey> {
            match request {
                $(RequestKind::$api(_) => Some(ApiKey::$api),)*
                _ => None,
            }
        }
    };
}

api_keys! {
    Produce Fetch ListOffsets Metadata OffsetCommit OffsetFetch FindCoordinator JoinGroup Heartbeat
    LeaveGroup SyncGroup DescribeGroups ListGroups ApiVersions CreateTopics DeleteTopics
    DeleteRecords InitProducerId OffsetForLeaderEpoch AddPartitionsToTxn AddOffsetsToTxn EndTxn
    TxnOffsetCommit DescribeConfigs AlterConfigs CreatePartitions DeleteGroups
    IncrementalAlterConfigs OffsetDelete DescribeCluster DescribeProducers DescribeTransactions
    ListTransactions DescribeTopicPartitions
}

/// The request's response with `code` everywhere.
pub(super) fn refusal(request: &RequestKind, code: i16) -> Option<ResponseKind> {
    Some(match request {
        RequestKind::Produce(r) => {
            let partition = |index: i32| {
                PartitionProduceResponse::default().with_index(index).with_error_code(code)
            };
            let topics = r.topic_data.iter().map(|topic| {
                let partitions = topic.partition_data.iter().map(|data| partition(data.index));
                TopicProduceResponse::default()
                    .with_name(topic.name.clone())
                    .with_partition_responses(partitions.collect())
            });
            ResponseKind::Produce(ProduceResponse::default().with_responses(topics.collect()))
        }
        RequestKind::AddPartitionsToTxn(r) => {
            let partition = |index: &i32| {
                add_partitions::AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(*index)
                    .with_partition_error_code(code)
            };
            let topics = r.v3_and_below_topics.iter().map(|topic| {
                add_partitions::AddPartitionsToTxnTopicResult::default()
                    .with_name(topic.name.clone())
                    .with_results_by_partition(topic.partitions.iter().map(partition).collect())
            });
            let response = AddPartitionsToTxnResponse::default();
            let topics = topics.collect();
            ResponseKind::AddPartitionsToTxn(response.with_results_by_topic_v3_and_below(topics))
        }
        RequestKind::TxnOffsetCommit(r) => {
            let topics = r.topics.iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|partition| {
                    txn_offsets::TxnOffsetCommitResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(code)
                });
                txn_offsets::TxnOffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions.collect())
            });
            let response = TxnOffsetCommitResponse::default();
            ResponseKind::TxnOffsetCommit(response.with_topics(topics.collect()))
        }
        RequestKind::AddOffsetsToTxn(_) => {
            ResponseKind::AddOffsetsToTxn(AddOffsetsToTxnResponse::default().with_error_code(code))
        }
        RequestKind::EndTxn(_) => {
            ResponseKind::EndTxn(EndTxnResponse::default().with_error_code(code))
        }
        RequestKind::InitProducerId(_) => {
            ResponseKind::InitProducerId(InitProducerIdResponse::default().with_error_code(code))
        }
        RequestKind::DescribeTransactions(r) => {
            let states = r.transactional_ids.iter().map(|id| {
                TransactionState::default().with_transactional_id(id.clone()).with_error_code(code)
            });
            let response = DescribeTransactionsResponse::default();
            ResponseKind::DescribeTransactions(response.with_transaction_states(states.collect()))
        }
        RequestKind::Heartbeat(_) => {
            ResponseKind::Heartbeat(HeartbeatResponse::default().with_error_code(code))
        }
        _ => return None,
    })
}
