//! The transaction coordinator: who may write under a transactional id, and what it has written.
//!
//! **BRK-4** An epoch that was fenced appends and commits nothing. Markers are written at once, in
//! the same machine, so there is no time between "prepared" and "complete".

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
    InitProducerIdResponse,
};

use super::{Cluster, codes};

/// The broker's `transaction.max.timeout.ms`.
const TIMEOUT_MS_MAX: i32 = 900_000;

#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    timeout_ms: i64,
    /// Since when it is open; `None` if it isn't.
    started: Option<i64>,
    pub(super) partitions: BTreeSet<(String, i32)>,
    pub(super) groups: BTreeSet<String>,
    /// How the last one ended.
    ended: Option<bool>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Transactions {
    by_id: BTreeMap<String, Transaction>,
    ids: BTreeMap<i64, String>,
    next_producer: i64,
}

impl Transactions {
    pub(super) fn by_producer(&self, producer_id: i64) -> Option<&Transaction> {
        self.by_id.get(self.ids.get(&producer_id)?)
    }

    pub(super) fn deadline(&self) -> Option<i64> {
        self.by_id.values().filter_map(|txn| Some(txn.started? + txn.timeout_ms)).min()
    }

    fn new_producer(&mut self) -> i64 {
        self.next_producer += 1;
        self.next_producer - 1
    }

    /// The transaction, if the producer is its owner.
    pub(super) fn owned(
        &mut self,
        id: &str,
        producer_id: i64,
        epoch: i16,
        fenced: i16,
    ) -> Result<&mut Transaction, i16> {
        let txn = self.by_id.get_mut(id).ok_or(codes::INVALID_PRODUCER_ID_MAPPING)?;
        if txn.producer_id != producer_id {
            return Err(codes::INVALID_PRODUCER_ID_MAPPING);
        }
        if txn.epoch != epoch { Err(fenced) } else { Ok(txn) }
    }
}

/// Kafka says it by another name to clients that know the name.
const fn fenced(version: i16, since: i16) -> i16 {
    if version >= since { codes::PRODUCER_FENCED } else { codes::INVALID_PRODUCER_EPOCH }
}

impl Cluster {
    pub(super) fn init_producer_id(
        &mut self,
        version: i16,
        request: &InitProducerIdRequest,
    ) -> InitProducerIdResponse {
        let response = InitProducerIdResponse::default();
        let initialised = match &request.transactional_id {
            None => Ok((self.transactions.new_producer(), 0)),
            Some(id) => self.init_transactional(version, id, request),
        };
        match initialised {
            Ok((producer_id, epoch)) => {
                response.with_producer_id(producer_id.into()).with_producer_epoch(epoch)
            }
            Err(code) => {
                let none = response.with_producer_id((-1).into()).with_producer_epoch(-1);
                none.with_error_code(code)
            }
        }
    }

    fn init_transactional(
        &mut self,
        version: i16,
        id: &str,
        request: &InitProducerIdRequest,
    ) -> Result<(i64, i16), i16> {
        if !(1..=TIMEOUT_MS_MAX).contains(&request.transaction_timeout_ms) {
            return Err(codes::INVALID_TRANSACTION_TIMEOUT);
        }
        if let Some(txn) = self.transactions.by_id.get(id)
            && request.producer_id.0 >= 0
            && (request.producer_id.0, request.producer_epoch) != (txn.producer_id, txn.epoch)
        {
            // KIP-360: a producer that goes on under its own epoch must still have it.
            return Err(fenced(version, 4));
        }
        self.fence(id);
        let timeout_ms = i64::from(request.transaction_timeout_ms);
        if let Some(txn) = self.transactions.by_id.get_mut(id) {
            txn.timeout_ms = timeout_ms;
            txn.ended = None;
            return Ok((txn.producer_id, txn.epoch));
        }
        let producer_id = self.transactions.new_producer();
        let txn = Transaction {
            producer_id,
            epoch: 0,
            timeout_ms,
            started: None,
            partitions: BTreeSet::new(),
            groups: BTreeSet::new(),
            ended: None,
        };
        self.transactions.by_id.insert(id.to_owned(), txn);
        self.transactions.ids.insert(producer_id, id.to_owned());
        Ok((producer_id, 0))
    }

    /// Ends what the current owner has open, and its epoch.
    fn fence(&mut self, id: &str) {
        let exhausted =
            self.transactions.by_id.get(id).is_some_and(|txn| txn.epoch == i16::MAX - 1);
        let fresh = exhausted.then(|| self.transactions.new_producer());
        let Some(txn) = self.transactions.by_id.get_mut(id) else {
            return;
        };
        txn.epoch += 1;
        if txn.started.is_some() {
            self.end(id, false);
        }
        if let Some((txn, producer_id)) = self.transactions.by_id.get_mut(id).zip(fresh) {
            txn.producer_id = producer_id;
            txn.epoch = 0;
            self.transactions.ids.insert(producer_id, id.to_owned());
        }
    }

    /// Writes the markers.
    fn end(&mut self, id: &str, commit: bool) {
        let Some(txn) = self.transactions.by_id.get_mut(id) else {
            return;
        };
        let producer = (txn.producer_id, txn.epoch);
        let partitions = std::mem::take(&mut txn.partitions);
        let groups = std::mem::take(&mut txn.groups);
        txn.started = None;
        txn.ended = Some(commit);
        let now = self.now;
        for (topic, partition) in partitions {
            if let Some(log) = self.log_mut(&topic, partition) {
                log.end_transaction(producer, commit, now);
            }
        }
        for group in groups {
            self.end_pending_offsets(&group, producer.0, commit);
        }
        self.appended = true;
    }

    pub(super) fn expire_transactions(&mut self) {
        let now = self.now;
        let expired = |txn: &Transaction| txn.started.is_some_and(|at| at + txn.timeout_ms <= now);
        let ids: Vec<String> = self
            .transactions
            .by_id
            .iter()
            .filter(|(_, txn)| expired(txn))
            .map(|(id, _)| id.clone())
            .collect();
        ids.iter().for_each(|id| self.fence(id));
    }

    pub(super) fn add_partitions(
        &mut self,
        version: i16,
        request: AddPartitionsToTxnRequest,
    ) -> AddPartitionsToTxnResponse {
        let now = self.now;
        let unknown: BTreeSet<(String, i32)> = request
            .v3_and_below_topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.to_string(), *p)))
            .filter(|(topic, partition)| self.log(topic, *partition).is_none())
            .collect();
        let owned = self.transactions.owned(
            &request.v3_and_below_transactional_id,
            request.v3_and_below_producer_id.0,
            request.v3_and_below_producer_epoch,
            fenced(version, 2),
        );
        let mut results = Vec::new();
        let mut txn = owned;
        for topic in request.v3_and_below_topics {
            let mut partitions = Vec::new();
            for partition in topic.partitions {
                let place = (topic.name.to_string(), partition);
                let code = match &mut txn {
                    Err(code) => *code,
                    Ok(_) if unknown.contains(&place) => codes::UNKNOWN_TOPIC_OR_PARTITION,
                    Ok(txn) => {
                        txn.started.get_or_insert(now);
                        txn.partitions.insert(place);
                        codes::NONE
                    }
                };
                let result = AddPartitionsToTxnPartitionResult::default();
                partitions
                    .push(result.with_partition_index(partition).with_partition_error_code(code));
            }
            let result = AddPartitionsToTxnTopicResult::default().with_name(topic.name);
            results.push(result.with_results_by_partition(partitions));
        }
        AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results)
    }

    pub(super) fn add_offsets(
        &mut self,
        version: i16,
        request: &AddOffsetsToTxnRequest,
    ) -> AddOffsetsToTxnResponse {
        let now = self.now;
        let owned = self.transactions.owned(
            &request.transactional_id,
            request.producer_id.0,
            request.producer_epoch,
            fenced(version, 2),
        );
        let code = match owned {
            Err(code) => code,
            Ok(txn) => {
                txn.started.get_or_insert(now);
                txn.groups.insert(request.group_id.to_string());
                codes::NONE
            }
        };
        AddOffsetsToTxnResponse::default().with_error_code(code)
    }

    pub(super) fn end_txn(&mut self, version: i16, request: &EndTxnRequest) -> EndTxnResponse {
        let owned = self.transactions.owned(
            &request.transactional_id,
            request.producer_id.0,
            request.producer_epoch,
            fenced(version, 2),
        );
        let code = match owned.map(|txn| (txn.started, txn.ended)) {
            Err(code) => code,
            Ok((Some(_), _)) => {
                self.end(&request.transactional_id, request.committed);
                codes::NONE
            }
            // The reply was lost, and the client asks again.
            Ok((None, ended)) if ended == Some(request.committed) => codes::NONE,
            Ok(_) => codes::INVALID_TXN_STATE,
        };
        EndTxnResponse::default().with_error_code(code)
    }
}
