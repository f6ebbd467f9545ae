//! The transaction coordinator: who may write under a transactional id, and what is open there.
//!
//! **BRK-4** An epoch that was fenced appends and commits nothing.
//!
//! ```text
//!  Empty ---> Ongoing ---> Prepared(commit | abort) ---> Complete(commit | abort)
//!    ^           ^                                            |  |
//!    |           +----------- the next transaction -----------+  |
//!    +------------------- InitProducerId -----------------------+
//! ```
//!
//! Both protocols end in the same states. In the older one (librdkafka's) partitions and groups are
//! added by requests of their own, and the epoch stays. In the newer one (KIP-890,
//! `transaction.version` 2) Produce and TxnOffsetCommit add them by themselves, and each end bumps
//! the epoch, so that a late request of one transaction never lands in the next.
//!
//! Markers are written at once, unless [`TransactionSettings::marker_delay_ms`] says otherwise:
//! then clients meet the `CONCURRENT_TRANSACTIONS` that Kafka answers with meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cluster, codes};

/// The last epoch that is given out; the next owner gets another producer id.
pub(super) const EPOCH_LAST: i16 = i16::MAX - 1;
pub(super) const NO_EPOCH: i16 = -1;
const NO_PRODUCER: i64 = -1;

/// The settings of transactions and idempotence.
#[derive(Clone, Debug)]
pub struct TransactionSettings {
    /// `transaction.max.timeout.ms`: the longest timeout that a producer may ask for.
    pub timeout_ms_max: i32,
    /// `transactional.id.expiration.ms`: so long an id without transactions is known.
    pub id_expiration_ms: i64,
    /// `producer.id.expiration.ms`: so long a partition remembers the sequences of a producer.
    pub producer_expiration_ms: i64,
    /// So long after EndTxn the markers are written.
    pub marker_delay_ms: i64,
    /// The feature `transaction.version` as clients are told: 2 is KIP-890's protocol.
    pub version: i16,
}

impl Default for TransactionSettings {
    fn default() -> Self {
        Self {
            timeout_ms_max: 900_000,
            id_expiration_ms: 7 * 86_400_000,
            producer_expiration_ms: 86_400_000,
            marker_delay_ms: 0,
            version: 2,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub(super) enum TxnState {
    Empty,
    Ongoing,
    /// How it ends is decided; its markers are written when they are due.
    Prepared {
        commit: bool,
        due: i64,
    },
    Complete {
        commit: bool,
    },
}

impl TxnState {
    /// The name in Kafka's answers.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::Prepared { commit: true, .. } => "PrepareCommit",
            Self::Prepared { commit: false, .. } => "PrepareAbort",
            Self::Complete { commit: true } => "CompleteCommit",
            Self::Complete { commit: false } => "CompleteAbort",
        }
    }

    const fn may_become(self, next: Self) -> bool {
        match next {
            Self::Empty => matches!(self, Self::Empty | Self::Complete { .. }),
            Self::Ongoing => !matches!(self, Self::Prepared { .. }),
            // With KIP-890 an abort may come before anything was added.
            Self::Prepared { commit, .. } => match self {
                Self::Ongoing => true,
                Self::Empty | Self::Complete { .. } => !commit,
                Self::Prepared { .. } => false,
            },
            Self::Complete { commit } => match self {
                Self::Prepared { commit: prepared, .. } => commit == prepared,
                Self::Empty | Self::Ongoing | Self::Complete { .. } => false,
            },
        }
    }
}

/// What a transaction takes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Participant {
    Partition(String, i32),
    Group(String),
}

/// A transactional id.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct Transaction {
    pub(super) producer_id: i64,
    /// The producer id before the current one.
    pub(super) previous_producer_id: i64,
    /// The producer id that follows once the markers are written: the epochs are used up.
    pub(super) next_producer_id: Option<i64>,
    pub(super) epoch: i16,
    /// The epoch before the last bump, if a retry may still name it.
    pub(super) last_epoch: i16,
    pub(super) timeout_ms: i32,
    state: TxnState,
    pub(super) partitions: BTreeSet<(String, i32)>,
    pub(super) groups: BTreeSet<String>,
    /// When its last transaction began; -1 if there was none.
    pub(super) started: i64,
    /// When it last changed.
    pub(super) updated: i64,
}

impl Transaction {
    pub(super) fn new(producer_id: i64, now: i64) -> Self {
        Self {
            producer_id,
            previous_producer_id: NO_PRODUCER,
            next_producer_id: None,
            epoch: NO_EPOCH,
            last_epoch: NO_EPOCH,
            timeout_ms: 0,
            state: TxnState::Empty,
            partitions: BTreeSet::new(),
            groups: BTreeSet::new(),
            started: -1,
            updated: now,
        }
    }

    pub(super) const fn state(&self) -> TxnState {
        self.state
    }

    pub(super) const fn is_exhausted(&self) -> bool {
        self.epoch >= EPOCH_LAST
    }

    fn includes(&self, participant: &Participant) -> bool {
        match participant {
            Participant::Partition(topic, partition) => {
                self.partitions.contains(&(topic.clone(), *partition))
            }
            Participant::Group(group) => self.groups.contains(group),
        }
    }

    fn deadline(&self) -> Option<i64> {
        match self.state {
            // Kafka's timeout is over one millisecond after it.
            TxnState::Ongoing => Some(self.started + i64::from(self.timeout_ms) + 1),
            TxnState::Prepared { due, .. } => Some(due),
            TxnState::Empty | TxnState::Complete { .. } => None,
        }
    }
}

/// All transactional ids.
#[derive(Clone, Debug, Default)]
pub(super) struct Transactions {
    pub(super) by_id: BTreeMap<String, Transaction>,
    /// The ids in a state that ends by the clock.
    open: BTreeSet<String>,
    pub(super) next_producer: i64,
}

impl Transactions {
    /// Takes in one that was stored.
    pub(super) fn restore(&mut self, id: &str, transaction: Transaction) {
        if transaction.deadline().is_some() {
            self.open.insert(id.to_owned());
        }
        self.by_id.insert(id.to_owned(), transaction);
    }

    /// The ids with an open transaction.
    pub(super) fn open_ids(&self) -> Vec<String> {
        self.open.iter().cloned().collect()
    }

    pub(super) const fn new_producer(&mut self) -> i64 {
        self.next_producer += 1;
        self.next_producer - 1
    }

    pub(super) fn deadline(&self) -> Option<i64> {
        self.open.iter().filter_map(|id| self.by_id.get(id)?.deadline()).min()
    }

    /// The one place where a state changes.
    pub(super) fn transition(&mut self, id: &str, next: TxnState, now: i64) {
        let Some(txn) = self.by_id.get_mut(id) else {
            return;
        };
        assert!(txn.state.may_become(next), "{:?} can't become {next:?}", txn.state);
        if matches!(next, TxnState::Ongoing | TxnState::Prepared { .. }) {
            txn.previous_producer_id = txn.producer_id;
        }
        txn.state = next;
        txn.updated = now;
        match txn.deadline() {
            Some(_) => self.open.insert(id.to_owned()),
            None => self.open.remove(id),
        };
    }

    /// The transaction, if the producer is its owner and may add to it now.
    fn writable(&self, id: &str, producer: (i64, i16)) -> Result<&Transaction, i16> {
        if id.is_empty() {
            return Err(codes::INVALID_REQUEST);
        }
        let txn = self.by_id.get(id).ok_or(codes::INVALID_PRODUCER_ID_MAPPING)?;
        if txn.producer_id != producer.0 {
            return Err(codes::INVALID_PRODUCER_ID_MAPPING);
        }
        if txn.epoch != producer.1 {
            return Err(codes::PRODUCER_FENCED);
        }
        match txn.state {
            TxnState::Prepared { .. } => Err(codes::CONCURRENT_TRANSACTIONS),
            TxnState::Empty | TxnState::Ongoing | TxnState::Complete { .. } => Ok(txn),
        }
    }

    /// Takes something into the transaction, and opens it.
    ///
    /// # Errors
    /// Kafka's code, with `PRODUCER_FENCED` for a fenced epoch.
    pub(super) fn add(
        &mut self,
        id: &str,
        producer: (i64, i16),
        participants: Vec<Participant>,
        now: i64,
    ) -> Result<(), i16> {
        let ongoing = self.writable(id, producer)?.state == TxnState::Ongoing;
        if !ongoing {
            if let Some(txn) = self.by_id.get_mut(id) {
                txn.started = now;
            }
            self.transition(id, TxnState::Ongoing, now);
        }
        if let Some(txn) = self.by_id.get_mut(id) {
            txn.updated = now;
            for participant in participants {
                match participant {
                    Participant::Partition(topic, at) => txn.partitions.insert((topic, at)),
                    Participant::Group(group) => txn.groups.insert(group),
                };
            }
        }
        Ok(())
    }

    /// Whether something was taken in (KIP-890's verification, which guards the older protocol).
    ///
    /// # Errors
    /// Kafka's code, with `PRODUCER_FENCED` for a fenced epoch and `TRANSACTION_ABORTABLE` for what
    /// was not taken in.
    pub(super) fn verify(
        &self,
        id: &str,
        producer: (i64, i16),
        participant: &Participant,
    ) -> Result<(), i16> {
        let added = self.writable(id, producer)?.includes(participant);
        if added { Ok(()) } else { Err(codes::TRANSACTION_ABORTABLE) }
    }

    /// Returns true if the producer's transaction has not ended and includes the group.
    pub(super) fn is_open_for_group(&self, producer_id: i64, group: &str) -> bool {
        let of_producer = self.by_id.values().filter(|txn| txn.producer_id == producer_id);
        of_producer.into_iter().any(|txn| txn.deadline().is_some() && txn.groups.contains(group))
    }

    pub(super) fn check_invariants(&self) {
        for (id, txn) in &self.by_id {
            let timed = txn.deadline().is_some();
            assert_eq!(timed, self.open.contains(id), "what ends by the clock is watched");
            let empty = txn.partitions.is_empty() && txn.groups.is_empty();
            assert!(timed || empty, "BRK-4: only an open transaction has participants");
            assert!(txn.epoch >= 0, "a transactional id has an epoch");
        }
    }
}

/// A fenced epoch, by the name that clients of this version know.
pub(super) const fn renamed(code: i16, version: i16, since: i16) -> i16 {
    match code {
        codes::PRODUCER_FENCED if version < since => codes::INVALID_PRODUCER_EPOCH,
        other => other,
    }
}

impl Cluster {
    /// Ends transactions that took too long, and writes the markers that are due.
    pub(super) fn expire_transactions(&mut self) {
        let now = self.now;
        let due = |id: &&String| {
            let deadline = self.transactions.by_id.get(*id).and_then(Transaction::deadline);
            deadline.is_some_and(|at| at <= now)
        };
        let ids: Vec<String> = self.transactions.open.iter().filter(due).cloned().collect();
        for id in ids {
            match self.transactions.by_id.get(&id).map(Transaction::state) {
                Some(TxnState::Ongoing) => self.fence(&id),
                Some(TxnState::Prepared { .. }) => self.complete(&id),
                Some(TxnState::Empty | TxnState::Complete { .. }) | None => {}
            }
        }
    }

    /// Forgets the ids that nobody has used for long.
    pub(super) fn expire_transactional_ids(&mut self) {
        let before = self.now - self.settings.transactions.id_expiration_ms;
        self.transactions.by_id.retain(|_, txn| txn.deadline().is_some() || txn.updated > before);
    }
}
