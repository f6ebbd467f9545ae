//! ListTransactions, DescribeTransactions and DescribeProducers: what is open, and whose it is.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::list_transactions_response::TransactionState as Listed;
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest,
    DescribeTransactionsResponse, ListTransactionsRequest, ListTransactionsResponse, TopicName,
    TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use regex::Regex;

use super::transactions::Transaction;
use super::{Cluster, codes};

const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];
/// The topic and the number of partitions in which Kafka keeps committed offsets: a transaction
/// with offsets has one of them.
const OFFSETS_TOPIC: &str = "__consumer_offsets";
const OFFSETS_PARTITIONS: i32 = 50;

/// The partition of [`OFFSETS_TOPIC`] that has a group: Java's hash of its name.
fn offsets_partition(group: &str) -> i32 {
    let step = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    let hash = group.encode_utf16().fold(0_i32, step);
    hash.checked_abs().unwrap_or(0) % OFFSETS_PARTITIONS
}

impl Cluster {
    pub(super) fn list_transactions(
        &self,
        request: &ListTransactionsRequest,
    ) -> ListTransactionsResponse {
        let response = ListTransactionsResponse::default();
        let pattern = request.transactional_id_pattern.as_ref().filter(|text| !text.is_empty());
        let pattern = match pattern.map(|text| Regex::new(&format!("^(?:{})$", text.as_str()))) {
            None => None,
            Some(Ok(pattern)) => Some(pattern),
            Some(Err(_)) => return response.with_error_code(codes::INVALID_REGULAR_EXPRESSION),
        };
        let states = &request.state_filters;
        let included = |id: &str, txn: &Transaction| {
            let producers = &request.producer_id_filters;
            let duration = request.duration_filter;
            (producers.is_empty() || producers.iter().any(|id| id.0 == txn.producer_id))
                && (states.is_empty() || states.iter().any(|s| s.as_str() == txn.state().name()))
                && (duration < 0 || self.now - txn.started > duration)
                && pattern.as_ref().is_none_or(|pattern| pattern.is_match(id))
        };
        let all = self.transactions.by_id.iter().filter(|(id, txn)| included(id, txn));
        let listed = all.map(|(id, txn)| {
            Listed::default()
                .with_transactional_id(TransactionalId(StrBytes::from_string(id.clone())))
                .with_producer_id(txn.producer_id.into())
                .with_transaction_state(StrBytes::from_static_str(txn.state().name()))
        });
        let unknown = states.iter().filter(|state| !STATES.contains(&state.as_str())).cloned();
        response
            .with_unknown_state_filters(unknown.collect())
            .with_transaction_states(listed.collect())
    }

    pub(super) fn describe_transactions(
        &self,
        request: &DescribeTransactionsRequest,
    ) -> DescribeTransactionsResponse {
        let described = request.transactional_ids.iter().map(|id| {
            let state = TransactionState::default().with_transactional_id(id.clone());
            match self.transactions.by_id.get(id.as_str()) {
                _ if id.is_empty() => state.with_error_code(codes::INVALID_REQUEST),
                None => state.with_error_code(codes::TRANSACTIONAL_ID_NOT_FOUND),
                Some(txn) => state
                    .with_transaction_state(StrBytes::from_static_str(txn.state().name()))
                    .with_transaction_timeout_ms(txn.timeout_ms)
                    .with_transaction_start_time_ms(txn.started)
                    .with_producer_id(txn.producer_id.into())
                    .with_producer_epoch(txn.epoch)
                    .with_topics(participants(txn)),
            }
        });
        DescribeTransactionsResponse::default().with_transaction_states(described.collect())
    }

    pub(super) fn describe_producers(
        &self,
        request: &DescribeProducersRequest,
    ) -> DescribeProducersResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|at| {
                let response = PartitionResponse::default().with_partition_index(*at);
                match self.log(&topic.name, *at) {
                    None => response.with_error_code(codes::UNKNOWN_TOPIC_OR_PARTITION),
                    Some(log) => {
                        let states = log.producers().iter().map(|(id, producer)| {
                            ProducerState::default()
                                .with_producer_id(id.into())
                                .with_producer_epoch(i32::from(producer.epoch))
                                .with_last_sequence(producer.last_sequence().unwrap_or(-1))
                                .with_last_timestamp(producer.last_timestamp)
                                .with_coordinator_epoch(producer.coordinator_epoch)
                                .with_current_txn_start_offset(producer.open.unwrap_or(-1))
                        });
                        response.with_active_producers(states.collect())
                    }
                }
            });
            TopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        DescribeProducersResponse::default().with_topics(topics.collect())
    }
}

/// The partitions of a transaction, as DescribeTransactions has them.
fn participants(txn: &Transaction) -> Vec<TopicData> {
    let mut topics: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for (topic, partition) in &txn.partitions {
        topics.entry(topic).or_default().insert(*partition);
    }
    for group in &txn.groups {
        topics.entry(OFFSETS_TOPIC).or_default().insert(offsets_partition(group));
    }
    let topic = |(topic, partitions): (&str, BTreeSet<i32>)| {
        TopicData::default()
            .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partitions(partitions.into_iter().collect())
    };
    topics.into_iter().map(topic).collect()
}
