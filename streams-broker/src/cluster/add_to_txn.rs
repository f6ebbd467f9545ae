//! AddPartitionsToTxn and AddOffsetsToTxn: the older protocol's way into a transaction, and the
//! batched form by which brokers ask each other (KIP-890).

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
};

use super::transactions::{Participant, renamed};
use super::{Cluster, codes};

/// Since this version `PRODUCER_FENCED` has its own name.
const FENCED_SINCE: i16 = 2;
/// Since this version several transactions come in one request.
const BATCHED_SINCE: i16 = 4;

impl Cluster {
    pub(super) fn add_partitions(
        &mut self,
        version: i16,
        request: AddPartitionsToTxnRequest,
    ) -> AddPartitionsToTxnResponse {
        let response = AddPartitionsToTxnResponse::default();
        if version < BATCHED_SINCE {
            let id = request.v3_and_below_transactional_id;
            let producer =
                (request.v3_and_below_producer_id.0, request.v3_and_below_producer_epoch);
            let topics = request.v3_and_below_topics;
            let results = self.add_topics(version, (&id, producer), topics, false);
            return response.with_results_by_topic_v3_and_below(results);
        }
        let mut transactions = Vec::with_capacity(request.transactions.len());
        for asked in request.transactions {
            let producer = (asked.producer_id.0, asked.producer_epoch);
            let of = (asked.transactional_id.as_str(), producer);
            let results = self.add_topics(version, of, asked.topics, asked.verify_only);
            let result = AddPartitionsToTxnResult::default()
                .with_transactional_id(asked.transactional_id)
                .with_topic_results(results);
            transactions.push(result);
        }
        response.with_results_by_transaction(transactions)
    }

    /// All or none: one unknown partition keeps the others out.
    fn add_topics(
        &mut self,
        version: i16,
        (id, producer): (&str, (i64, i16)),
        topics: Vec<AddPartitionsToTxnTopic>,
        verify_only: bool,
    ) -> Vec<AddPartitionsToTxnTopicResult> {
        let all = topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, *p)));
        let known = all.clone().all(|(topic, at)| self.log(&topic.name, at).is_some());
        let added = match (known, verify_only) {
            (false, _) => Err(codes::OPERATION_NOT_ATTEMPTED),
            (true, true) => Ok(()),
            (true, false) => {
                let of = |(topic, at): (&AddPartitionsToTxnTopic, i32)| {
                    Participant::Partition(topic.name.to_string(), at)
                };
                let participants = all.map(of).collect();
                self.transactions.add(id, producer, participants, self.now)
            }
        };
        let code = |topic: &str, at: i32| {
            if self.log(topic, at).is_none() {
                return codes::UNKNOWN_TOPIC_OR_PARTITION;
            }
            let verified = match verify_only && known {
                true => {
                    let place = Participant::Partition(topic.to_owned(), at);
                    self.transactions.verify(id, producer, &place)
                }
                false => added,
            };
            verified.err().map_or(codes::NONE, |code| renamed(code, version, FENCED_SINCE))
        };
        let results = topics.iter().map(|topic| {
            let partition = |at: &i32| {
                AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(*at)
                    .with_partition_error_code(code(&topic.name, *at))
            };
            AddPartitionsToTxnTopicResult::default()
                .with_name(topic.name.clone())
                .with_results_by_partition(topic.partitions.iter().map(partition).collect())
        });
        results.collect()
    }

    pub(super) fn add_offsets(
        &mut self,
        version: i16,
        request: &AddOffsetsToTxnRequest,
    ) -> AddOffsetsToTxnResponse {
        let added = self.transactions.add(
            &request.transactional_id,
            (request.producer_id.0, request.producer_epoch),
            vec![Participant::Group(request.group_id.to_string())],
            self.now,
        );
        let code = added.err().map_or(codes::NONE, |code| renamed(code, version, FENCED_SINCE));
        AddOffsetsToTxnResponse::default().with_error_code(code)
    }
}
