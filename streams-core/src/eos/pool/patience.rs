//! For how long the pool tries again, by the cause of what failed.
//!
//! | cause | the pool stops |
//! |---|---|
//! | [`Cause::Outage`], [`Cause::Group`] | after `outage_timeout` without a commit or a producer |
//! | [`Cause::Access`] | at once before its first commit, else after [`ACCESS_REFUSED_MAX`] |
//! | [`Cause::Transaction`] | after [`ABORTS_IN_A_ROW_MAX`] aborts without a commit |
//!
//! A loss of the partitions is no abort, and neither is the abort of a transaction whose partition
//! the member revokes: both end what the pool has tried until then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{PartitionId, StopReason};
use crate::error::{ACCESS_REFUSED_MAX, Cause};

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
    /// The first failure in a row.
    since: Instant,
    /// The first refusal in a row.
    refused_since: Option<Instant>,
    failures: u32,
    /// When the slot tries again; `None` while it does.
    retry_at: Option<Instant>,
}

/// What failed since the last success.
#[derive(Debug)]
pub(super) struct Patience {
    outage_timeout: Duration,
    has_committed: bool,
    /// Aborts since the last commit.
    aborts: u32,
    /// Those of them that may be the transaction's own fault.
    unexplained: u32,
    /// The first abort since the last commit.
    aborting_since: Option<Instant>,
    /// Whether the last abort may be the fault of one event.
    isolates: bool,
    /// The first abort in a row for refused credentials or permissions.
    refused_since: Option<Instant>,
    /// The partitions that these aborts have rewound: when the pool has none of them any more, it
    /// tries nothing again.
    rewound: BTreeSet<PartitionId>,
    inits: BTreeMap<usize, FailedInit>,
}

impl Patience {
    pub(super) const fn new(outage_timeout: Duration) -> Self {
        Self {
            outage_timeout,
            has_committed: false,
            aborts: 0,
            unexplained: 0,
            aborting_since: None,
            isolates: false,
            refused_since: None,
            rewound: BTreeSet::new(),
            inits: BTreeMap::new(),
        }
    }

    pub(super) const fn set_outage_timeout(&mut self, timeout: Duration) {
        self.outage_timeout = timeout;
    }

    /// A transaction is committed.
    pub(super) fn committed(&mut self) {
        self.has_committed = true;
        self.forget_aborts();
    }

    fn forget_aborts(&mut self) {
        (self.aborts, self.unexplained) = (0, 0);
        (self.aborting_since, self.refused_since) = (None, None);
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
        let since = *self.aborting_since.get_or_insert(now);
        if cause != Cause::Access {
            self.refused_since = None;
        }
        match cause {
            Cause::Outage | Cause::Group => self.outage(now, since),
            Cause::Access => {
                let since = *self.refused_since.get_or_insert(now);
                self.refused(now, since)
            }
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

    fn outage(&self, now: Instant, since: Instant) -> Result<(), StopReason> {
        match now.saturating_duration_since(since) >= self.outage_timeout {
            true => Err(StopReason::Outage),
            false => Ok(()),
        }
    }

    fn refused(&self, now: Instant, since: Instant) -> Result<(), StopReason> {
        let bound = ACCESS_REFUSED_MAX.min(self.outage_timeout);
        let is_over = now.saturating_duration_since(since) >= bound;
        match is_over || !self.has_committed {
            true => Err(StopReason::Failed),
            false => Ok(()),
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
        let first = FailedInit { since: now, refused_since: None, failures: 0, retry_at: None };
        let failed = self.inits.entry(slot).or_insert(first);
        let doublings = failed.failures.min(DOUBLINGS_MAX);
        failed.failures += 1;
        failed.refused_since = match cause {
            Cause::Access => Some(failed.refused_since.unwrap_or(now)),
            Cause::Outage | Cause::Group | Cause::Transaction => None,
        };
        let backoff = INIT_BACKOFF_MIN.saturating_mul(1 << doublings).min(INIT_BACKOFF_MAX);
        failed.retry_at = Some(now + backoff);
        let FailedInit { since, refused_since, .. } = *failed;
        match refused_since {
            Some(since) => self.refused(now, since),
            None => self.outage(now, since),
        }
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
