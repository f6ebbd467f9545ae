//! EndTxn: commit and abort by both protocols, fencing, and the markers.

use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse};

use super::transactions::{EPOCH_LAST, NO_EPOCH, Transaction, TxnState, renamed};
use super::{Cluster, codes};

/// Since this version `PRODUCER_FENCED` has its own name.
const FENCED_SINCE: i16 = 2;
/// Since this version each end bumps the epoch (KIP-890).
const BUMP_SINCE: i16 = 5;

/// What a request to end a transaction comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It is to be done.
    Begins,
    /// It was done before, and the reply was lost.
    Done,
}

impl Transaction {
    /// EndTxn by the older protocol: the epoch stays, so that the state alone tells a retry.
    fn end_v1(&self, producer: (i64, i16), commit: bool) -> Result<Ending, i16> {
        if self.producer_id != producer.0 {
            return Err(codes::INVALID_PRODUCER_ID_MAPPING);
        }
        if self.epoch != producer.1 {
            return Err(codes::PRODUCER_FENCED);
        }
        match self.state() {
            TxnState::Ongoing => Ok(Ending::Begins),
            TxnState::Complete { commit: done } if done == commit => Ok(Ending::Done),
            TxnState::Prepared { commit: done, .. } if done == commit => {
                Err(codes::CONCURRENT_TRANSACTIONS)
            }
            TxnState::Empty | TxnState::Prepared { .. } | TxnState::Complete { .. } => {
                Err(codes::INVALID_TXN_STATE)
            }
        }
    }

    /// EndTxn by KIP-890: the epoch before the bump tells a retry from the next transaction's end.
    fn end_v2(&self, producer: (i64, i16), commit: bool) -> Result<Ending, i16> {
        let (producer_id, epoch) = producer;
        let overflowed =
            self.previous_producer_id == producer_id && epoch == EPOCH_LAST && self.epoch == 0;
        let bumped = self.epoch == epoch.wrapping_add(1);
        let is_retry = bumped || overflowed;
        if self.producer_id != producer_id && !overflowed {
            return Err(codes::INVALID_PRODUCER_ID_MAPPING);
        }
        let valid = match self.state() {
            TxnState::Empty | TxnState::Ongoing => epoch == self.epoch,
            TxnState::Prepared { .. } => bumped,
            TxnState::Complete { .. } => is_retry || epoch == self.epoch,
        };
        if !valid {
            return Err(codes::PRODUCER_FENCED);
        }
        match self.state() {
            TxnState::Ongoing => Ok(Ending::Begins),
            TxnState::Prepared { commit: done, .. } if done == commit => {
                Err(codes::CONCURRENT_TRANSACTIONS)
            }
            TxnState::Complete { commit: done } if is_retry && done == commit => Ok(Ending::Done),
            // An abort of a transaction to which nothing came.
            TxnState::Complete { .. } if !is_retry && !commit => Ok(Ending::Begins),
            TxnState::Empty if !commit => Ok(Ending::Begins),
            TxnState::Empty | TxnState::Prepared { .. } | TxnState::Complete { .. } => {
                Err(codes::INVALID_TXN_STATE)
            }
        }
    }
}

impl Cluster {
    pub(super) fn end_txn(&mut self, version: i16, request: &EndTxnRequest) -> EndTxnResponse {
        let bumps = version >= BUMP_SINCE;
        let ended = self.try_end(bumps, request);
        let response = EndTxnResponse::default();
        let (producer_id, epoch) = match ended {
            Ok(given) => given,
            Err(code) => {
                let code = renamed(code, version, FENCED_SINCE);
                return response.with_error_code(code);
            }
        };
        match bumps {
            true => response.with_producer_id(producer_id.into()).with_producer_epoch(epoch),
            false => response,
        }
    }

    /// The producer id and the epoch to go on with.
    fn try_end(&mut self, bumps: bool, request: &EndTxnRequest) -> Result<(i64, i16), i16> {
        let id = request.transactional_id.as_str();
        if id.is_empty() {
            return Err(codes::INVALID_REQUEST);
        }
        let producer = (request.producer_id.0, request.producer_epoch);
        let known = self.transactions.by_id.get(id).ok_or(codes::INVALID_PRODUCER_ID_MAPPING)?;
        let ending = match bumps {
            true => known.end_v2(producer, request.committed)?,
            false => known.end_v1(producer, request.committed)?,
        };
        let given = (known.producer_id, known.epoch);
        match ending {
            Ending::Done => Ok(given),
            Ending::Begins => Ok(self.prepare(id, request.committed, bumps)),
        }
    }

    /// Decides how the transaction ends; returns what the producer goes on with.
    fn prepare(&mut self, id: &str, commit: bool, bumps: bool) -> (i64, i16) {
        let due = self.now + self.settings.transactions.marker_delay_ms;
        let exhausted = self.transactions.by_id.get(id).is_some_and(Transaction::is_exhausted);
        let next = (bumps && exhausted).then(|| self.transactions.new_producer());
        let Some(txn) = self.transactions.by_id.get_mut(id) else {
            return (-1, NO_EPOCH);
        };
        if txn.state() != TxnState::Ongoing {
            txn.started = self.now;
        }
        if bumps {
            txn.last_epoch = txn.epoch;
            txn.epoch = txn.epoch.saturating_add(1);
            txn.next_producer_id = next;
        }
        let given = next.map_or((txn.producer_id, txn.epoch), |id| (id, 0));
        self.transactions.transition(id, TxnState::Prepared { commit, due }, self.now);
        if due <= self.now {
            self.complete(id);
        }
        given
    }

    /// BRK-4: the owner's epoch is over, and what it has open is aborted.
    pub(super) fn fence(&mut self, id: &str) {
        let due = self.now + self.settings.transactions.marker_delay_ms;
        let Some(txn) = self.transactions.by_id.get_mut(id) else {
            return;
        };
        txn.last_epoch = txn.epoch;
        txn.epoch = txn.epoch.saturating_add(1);
        self.transactions.transition(id, TxnState::Prepared { commit: false, due }, self.now);
        if due <= self.now {
            self.complete(id);
        }
    }

    /// Writes the markers.
    pub(super) fn complete(&mut self, id: &str) {
        let Some(txn) = self.transactions.by_id.get_mut(id) else {
            return;
        };
        let TxnState::Prepared { commit, .. } = txn.state() else {
            return;
        };
        let producer = (txn.producer_id, txn.epoch);
        let partitions = std::mem::take(&mut txn.partitions);
        let groups = std::mem::take(&mut txn.groups);
        if let Some(next) = txn.next_producer_id.take() {
            txn.previous_producer_id = txn.producer_id;
            txn.producer_id = next;
            txn.epoch = 0;
        }
        self.transactions.transition(id, TxnState::Complete { commit }, self.now);
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
}
