//! One transaction of the pool, and its states.
//!
//! ```text
//!            +------+ seal  +--------+ transmit +----------+ acks +---------+
//!   offer -> | Open | ----> | Sealed | -------> | Flushing | ---> | Flushed |
//!            +------+       +--------+          +----------+      +---------+
//!               |               |                    |                 | it is the oldest,
//!               |               |                    |                 v and commits aren't held
//!               |               |                    |           +------------+
//!               +---------------+---------+----------+---------- | Committing | --> committed
//!                                         v                      +------------+
//!                                   +----------+                       | lost reply
//!                                   | Aborting | <---- not committed --+--> Indefinite
//!                                   +----------+
//! ```

use std::collections::BTreeMap;
use std::time::Instant;

use super::PartitionId;
use super::progress::Snapshot;
use crate::error::Cause;
use crate::store::EventSeq;

/// The number of a transaction in its pool: they commit in this order (EOS-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnSeq(pub u64);

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnState {
    /// Takes events.
    Open,
    /// Takes no more; its outputs wait until all earlier ones are acknowledged (EOS-1).
    Sealed,
    /// Its outputs are sent, and not all acknowledged.
    Flushing,
    /// All acknowledged; it waits until it is the oldest (EOS-2).
    Flushed,
    /// Its offsets and its commit are on their way.
    Committing,
    /// The reply to its commit was lost.
    Indefinite,
    /// It is being aborted.
    Aborting,
}

impl TxnState {
    /// The transitions there are.
    pub const fn may_become(self, next: Self) -> bool {
        use TxnState::{Aborting, Committing, Flushed, Flushing, Indefinite, Open, Sealed};
        match self {
            Open => matches!(next, Sealed | Aborting),
            Sealed => matches!(next, Flushing | Aborting),
            Flushing => matches!(next, Flushed | Aborting),
            Flushed => matches!(next, Committing | Aborting),
            Committing => matches!(next, Indefinite | Aborting),
            Indefinite => matches!(next, Aborting),
            Aborting => false,
        }
    }

    /// Whether all its outputs are in the log.
    pub(super) const fn is_flushed(self) -> bool {
        matches!(self, Self::Flushed | Self::Committing | Self::Indefinite)
    }
}

/// What a transaction commits for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffset {
    /// The partition.
    pub partition: PartitionId,
    /// The offset, and what is done beyond it.
    pub snapshot: Snapshot,
}

#[derive(Clone, Debug)]
pub(super) struct Touched {
    /// The last event of the partition in this transaction.
    pub(super) last: EventSeq,
    /// What it commits: known once it is sealed.
    pub(super) snapshot: Option<Snapshot>,
}

/// The figures of a committed transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnFigures {
    /// When its first event was offered.
    pub opened_at: Instant,
    /// When it took its last event.
    pub sealed_at: Option<Instant>,
    /// Source records whose events it completes.
    pub source_records: usize,
    /// Records that it produced, changelog included.
    pub records: usize,
    /// The bytes of these records.
    pub bytes: usize,
}

/// One transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub(super) seq: TxnSeq,
    pub(super) slot: usize,
    pub(super) state: TxnState,
    pub(super) opened_at: Instant,
    pub(super) sealed_at: Option<Instant>,
    /// Whether its outputs may go out.
    pub(super) transmit: bool,
    pub(super) events: usize,
    pub(super) source_records: usize,
    pub(super) records: usize,
    pub(super) bytes: usize,
    /// Incomplete events whose effects are in it: it can't be sealed before they are done.
    pub(super) pinned: usize,
    pub(super) touched: BTreeMap<PartitionId, Touched>,
    pub(super) committing_since: Option<Instant>,
    /// Since when some incomplete event has pinned it, without a pause.
    pub(super) pinned_since: Option<Instant>,
    /// Why nobody knows whether its commit happened, if that is so.
    pub(super) indefinite_cause: Cause,
}

impl Transaction {
    pub(super) const fn open(seq: TxnSeq, slot: usize, now: Instant) -> Self {
        Self {
            seq,
            slot,
            state: TxnState::Open,
            opened_at: now,
            sealed_at: None,
            transmit: false,
            events: 0,
            source_records: 0,
            records: 0,
            bytes: 0,
            pinned: 0,
            touched: BTreeMap::new(),
            committing_since: None,
            pinned_since: None,
            indefinite_cause: Cause::Transaction,
        }
    }

    pub(super) fn transition(&mut self, next: TxnState) {
        let from = self.state;
        assert!(from.may_become(next), "{:?} of transaction {}: {next:?}", from, self.seq.0);
        self.state = next;
    }

    /// Events or records, whichever is greater.
    pub(super) fn size(&self) -> usize {
        self.events.max(self.records)
    }

    /// Whether it has anything to commit.
    pub(super) fn has_effect(&self) -> bool {
        !self.touched.is_empty()
    }

    pub(super) const fn figures(&self) -> TxnFigures {
        TxnFigures {
            opened_at: self.opened_at,
            sealed_at: self.sealed_at,
            source_records: self.source_records,
            records: self.records,
            bytes: self.bytes,
        }
    }

    pub(super) fn offsets(&self) -> Vec<CommitOffset> {
        let of = |(partition, touched): (&PartitionId, &Touched)| {
            let snapshot = touched.snapshot.clone()?;
            Some(CommitOffset { partition: *partition, snapshot })
        };
        self.touched.iter().filter_map(of).collect()
    }
}
