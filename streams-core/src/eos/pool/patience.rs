//! For how long the pool tries again, by the cause of what failed.
//!
//! | cause | the pool stops |
//! |---|---|
//! | [`Cause::Outage`], [`Cause::Group`] | after `outage_timeout` without a commit or a producer |
//! | [`Cause::Access`] | at once before its first commit, else after a minute |
//! | [`Cause::Transaction`] | after [`ABORTS_IN_A_ROW_MAX`] aborts without a commit |
//!
//! The first two rows are the rule of all components ([`crate::patience`]).
//!
//! A loss of the partitions is no abort, and neither is the abort of a transaction whose partition
//! the member revokes: both end what the pool has tried until then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{PartitionId, StopReason};
use crate::error::Cause;
use crate::patience::{self, Backoff, GiveUp};

/// How many transactions may abort without a commit between them, if their causes say neither
/// outage nor group: one poison batch aborts each time.
pub const ABORTS_IN_A_ROW_MAX: u32 = 20;
const ABORT_BACKOFF_MIN: Duration = Duration::from_millis(5);
pub(super) const ABORT_BACKOFF_MAX: Duration = Duration::from_secs(1);
const INIT_BACKOFF_MIN: Duration = Duration::from_millis(50);
const INIT_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Doublings beyond this are above every maximum.
const DOUBLINGS_MAX: u32 = 16;
const _: () = assert!(ABORT_BACKOFF_MIN.as_nanos() < ABORT_BACKOFF_MAX.as_nanos());
const _: () = assert!(INIT_BACKOFF_MIN.as_nanos() < INIT_BACKOFF_MAX.as_nanos());

/// A slot whose producer could not be initialised.
#[derive(Clone, Copy, Debug)]
struct FailedInit {
    rule: patience::Patience,
    backoff: Backoff,
    /// When the slot tries again; `None` while it does.
    retry_at: Option<Instant>,
}

const fn reason(give_up: GiveUp) -> StopReason {
    match give_up {
        GiveUp::Outage => StopReason::Outage,
        GiveUp::Unreachable | GiveUp::Refused | GiveUp::Permanent => StopReason::Failed,
    }
}

/// What failed since the last success.
#[derive(Debug)]
pub(super) struct Patience {
    /// The aborts since the last commit, and whether there was one.
    rule: patience::Patience,
    /// Aborts since the last commit.
    aborts: u32,
    /// Those of them that may be the transaction's own fault.
    unexplained: u32,
    /// Whether the last abort may be the fault of one event.
    isolates: bool,
    /// The partitions that these aborts have rewound: when the pool has none of them any more, it
    /// tries nothing again.
    rewound: BTreeSet<PartitionId>,
    inits: BTreeMap<usize, FailedInit>,
}

impl Patience {
    pub(super) const fn new(outage_timeout: Duration) -> Self {
        Self {
            rule: patience::Patience::new(outage_timeout),
            aborts: 0,
            unexplained: 0,
            isolates: false,
            rewound: BTreeSet::new(),
            inits: BTreeMap::new(),
        }
    }

    pub(super) const fn set_outage_timeout(&mut self, timeout: Duration) {
        self.rule.set_outage_timeout(timeout);
    }

    /// A transaction is committed.
    pub(super) fn committed(&mut self) {
        self.rule.succeeded();
        self.forget_aborts();
    }

    fn forget_aborts(&mut self) {
        (self.aborts, self.unexplained) = (0, 0);
        self.rule.forget();
        self.isolates = false;
        self.rewound.clear();
    }

    /// All partitions are lost: there is nothing to try again.
    pub(super) fn lost(&mut self) {
        self.forget_aborts();
    }

    /// The partition is rewound, because a transaction aborted.
    pub(super) fn rewound(&mut self, partition: PartitionId) {
        self.rewound.insert(partition);
    }

    /// The pool does not have the partition any more.
    pub(super) fn drained(&mut self, partition: PartitionId) {
        if self.rewound.remove(&partition) && self.rewound.is_empty() {
            self.forget_aborts();
        }
    }

    /// Transactions abort.
    ///
    /// # Errors
    /// The reason to stop, if the pool has tried for long enough.
    pub(super) fn aborts(&mut self, now: Instant, cause: Cause) -> Result<(), StopReason> {
        self.aborts += 1;
        let tried = self.rule.failed(now, cause);
        match cause {
            Cause::Outage | Cause::Group | Cause::Access => tried.map_err(reason),
            Cause::Transaction => {
                self.unexplained += 1;
                self.isolates = true;
                match self.unexplained > ABORTS_IN_A_ROW_MAX {
                    true => Err(StopReason::TooManyAborts),
                    false => Ok(()),
                }
            }
        }
    }

    /// How long the events wait before the pool takes them again. After the first abort in a row
    /// they don't: most often the generation changed under a commit.
    pub(super) fn abort_backoff(&self) -> Option<Duration> {
        let doublings = self.aborts.checked_sub(2)?.min(DOUBLINGS_MAX);
        Some(ABORT_BACKOFF_MIN.saturating_mul(1 << doublings).min(ABORT_BACKOFF_MAX))
    }

    /// The slot's producer could not be initialised: it tries again after a while, because an error
    /// may come at once.
    ///
    /// # Errors
    /// The reason to stop, if the slot has tried for long enough.
    pub(super) fn init_failed(
        &mut self,
        now: Instant,
        slot: usize,
        cause: Cause,
    ) -> Result<(), StopReason> {
        let failed = self.inits.entry(slot).or_insert_with(|| {
            let mut rule = self.rule;
            rule.forget();
            let backoff = Backoff::new(INIT_BACKOFF_MIN, INIT_BACKOFF_MAX);
            FailedInit { rule, backoff, retry_at: None }
        });
        failed.retry_at = Some(now + failed.backoff.after_failure());
        // An initialisation holds no event: whatever failed may pass.
        let cause = if cause == Cause::Transaction { Cause::Outage } else { cause };
        failed.rule = failed.rule.having_worked(self.rule.has_worked());
        failed.rule.failed(now, cause).map_err(reason)
    }

    /// The slot's producer is initialised.
    pub(super) fn initialised(&mut self, slot: usize) {
        self.inits.remove(&slot);
    }

    /// The slots that try again now.
    pub(super) fn retries(&mut self, now: Instant) -> Vec<usize> {
        let due = |(slot, failed): (&usize, &mut FailedInit)| {
            failed.retry_at.take_if(|at| *at <= now).map(|_| *slot)
        };
        self.inits.iter_mut().filter_map(due).collect()
    }

    /// When the next slot tries again.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.inits.values().filter_map(|failed| failed.retry_at).min()
    }

    /// An event has outlived its transaction.
    pub(super) const fn isolate(&mut self) {
        self.isolates = true;
    }

    /// Returns true if the last abort may be the fault of one event: then each event gets a
    /// transaction of its own, until one commits.
    pub(super) const fn isolates(&self) -> bool {
        self.isolates
    }
}
