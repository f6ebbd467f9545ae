//! InitProducerId: a producer id and an epoch, for a transactional id or for idempotence alone.

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::transactions::{NO_EPOCH, Transaction, TxnState, renamed};
use super::{Cluster, codes};

/// Since this version `PRODUCER_FENCED` has its own name.
const FENCED_SINCE: i16 = 4;

impl Cluster {
    pub(super) fn init_producer_id(
        &mut self,
        version: i16,
        request: &InitProducerIdRequest,
    ) -> InitProducerIdResponse {
        let response = InitProducerIdResponse::default();
        match self.initialise(request) {
            Ok((producer_id, epoch)) => {
                response.with_producer_id(producer_id.into()).with_producer_epoch(epoch)
            }
            Err(code) => response
                .with_producer_id((-1).into())
                .with_producer_epoch(NO_EPOCH)
                .with_error_code(renamed(code, version, FENCED_SINCE)),
        }
    }

    fn initialise(&mut self, request: &InitProducerIdRequest) -> Result<(i64, i16), i16> {
        // KIP-360: a producer that goes on after an error names what it has.
        let expected = match (request.producer_id.0, request.producer_epoch) {
            (-1, NO_EPOCH) => None,
            (-1, _) | (_, NO_EPOCH) => return Err(codes::INVALID_REQUEST),
            expected => Some(expected),
        };
        let Some(id) = &request.transactional_id else {
            return Ok((self.transactions.new_producer(), 0));
        };
        if id.is_empty() {
            return Err(codes::INVALID_REQUEST);
        }
        if request.enable_2_pc {
            return Err(codes::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        }
        if request.keep_prepared_txn {
            return Err(codes::UNSUPPORTED_VERSION);
        }
        let timeout_ms = request.transaction_timeout_ms;
        if !(1..=self.settings.transactions.timeout_ms_max).contains(&timeout_ms) {
            return Err(codes::INVALID_TRANSACTION_TIMEOUT);
        }
        self.initialise_transactional(id, timeout_ms, expected)
    }

    fn initialise_transactional(
        &mut self,
        id: &str,
        timeout_ms: i32,
        expected: Option<(i64, i16)>,
    ) -> Result<(i64, i16), i16> {
        if !self.transactions.by_id.contains_key(id) {
            let producer_id = self.transactions.new_producer();
            let mut txn = Transaction::new(producer_id, self.now);
            txn.epoch = 0;
            txn.timeout_ms = timeout_ms;
            self.transactions.by_id.insert(id.to_owned(), txn);
            return Ok((producer_id, 0));
        }
        let known = self.transactions.by_id.get(id).ok_or(codes::COORDINATOR_NOT_AVAILABLE)?;
        if expected.is_some_and(|expected| !known.may_go_on(expected)) {
            return Err(codes::PRODUCER_FENCED);
        }
        match known.state() {
            TxnState::Prepared { .. } => Err(codes::CONCURRENT_TRANSACTIONS),
            TxnState::Ongoing => {
                // The epoch that this bump makes is given to nobody: the client asks again, and
                // gets the one after it.
                self.fence(id);
                Err(codes::CONCURRENT_TRANSACTIONS)
            }
            TxnState::Empty | TxnState::Complete { .. } => self.bump(id, timeout_ms, expected),
        }
    }

    fn bump(
        &mut self,
        id: &str,
        timeout_ms: i32,
        expected: Option<(i64, i16)>,
    ) -> Result<(i64, i16), i16> {
        let expected = expected.map(|(_, epoch)| epoch);
        let matches = |epoch: i16| expected.is_none_or(|expected| expected == epoch);
        let known = self.transactions.by_id.get(id);
        let rotates = known.is_some_and(|txn| txn.is_exhausted() && matches(txn.epoch));
        let fresh = rotates.then(|| self.transactions.new_producer());
        let txn = self.transactions.by_id.get_mut(id).ok_or(codes::COORDINATOR_NOT_AVAILABLE)?;
        if matches(txn.epoch) {
            txn.last_epoch = expected.map_or(NO_EPOCH, |_| txn.epoch);
            txn.previous_producer_id = txn.producer_id;
            txn.producer_id = fresh.unwrap_or(txn.producer_id);
            txn.epoch = if fresh.is_some() { 0 } else { txn.epoch + 1 };
        } else if expected != Some(txn.last_epoch) {
            return Err(codes::PRODUCER_FENCED);
        }
        // Else the reply to the bump was lost, and the client asks again.
        txn.timeout_ms = timeout_ms;
        txn.started = -1;
        let given = (txn.producer_id, txn.epoch);
        self.transactions.transition(id, TxnState::Empty, self.now);
        Ok(given)
    }
}

impl Transaction {
    /// Whether a producer that names this id and epoch may be the owner. Its epoch is looked at
    /// when it is bumped, not while a transaction is open: so does Kafka.
    fn may_go_on(&self, (producer_id, epoch): (i64, i16)) -> bool {
        let before = producer_id == self.previous_producer_id;
        producer_id == self.producer_id || (before && epoch >= super::transactions::EPOCH_LAST)
    }
}
