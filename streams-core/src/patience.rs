//! For how long a failed step is tried again, by its cause: one rule for the start, the take-over,
//! warm copies, the group's member and the pool of transactions (C3).
//!
//! | cause | the caller gives up |
//! |---|---|
//! | [`Cause::Outage`], [`Cause::Group`] | when failures in a row last for `outage_timeout` |
//! | the same, and no broker has answered this start yet | at once: the address may be wrong |
//! | [`Cause::Access`] | at once before the first success, else after [`ACCESS_REFUSED_MAX`] |
//! | [`Cause::Transaction`] | at once: the step would fail in the same way again |
//!
//! The pool counts aborts of [`Cause::Transaction`] instead (`eos/pool/patience.rs`).

use std::time::{Duration, Instant};

use crate::error::{ACCESS_REFUSED_MAX, Cause};

/// Why a caller gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GiveUp {
    /// No broker has answered since the start began.
    Unreachable,
    /// The outage has lasted for `outage_timeout`.
    Outage,
    /// The cluster refuses the credentials, or a permission is missing.
    Refused,
    /// The step would fail in the same way again.
    Permanent,
}

/// The failures of one step, or of one start, since the last success.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    outage_timeout: Duration,
    /// Whether a broker has ever answered.
    is_reached: bool,
    /// Whether the cluster has ever let this client do what it asks for.
    has_worked: bool,
    /// The first failure in a row.
    failing_since: Option<Instant>,
    /// The first refusal in a row.
    refused_since: Option<Instant>,
}

impl Patience {
    /// The patience of a client that has found the cluster before.
    pub(crate) const fn new(outage_timeout: Duration) -> Self {
        let (failing_since, refused_since) = (None, None);
        Self { outage_timeout, is_reached: true, has_worked: false, failing_since, refused_since }
    }

    /// The patience of a start: it looks for the cluster for the first time.
    pub(crate) const fn starting(outage_timeout: Duration) -> Self {
        Self { is_reached: false, ..Self::new(outage_timeout) }
    }

    pub(crate) const fn set_outage_timeout(&mut self, timeout: Duration) {
        self.outage_timeout = timeout;
    }

    /// The step is tried since then: an outage counts from there.
    pub(crate) const fn trying_since(mut self, since: Instant) -> Self {
        self.failing_since = Some(since);
        self
    }

    /// Sets whether the cluster has ever let this client do what it asks for.
    pub(crate) const fn having_worked(mut self, has_worked: bool) -> Self {
        self.has_worked = has_worked;
        self
    }

    /// A broker has answered: from now on silence is an outage.
    pub(crate) const fn reached(&mut self) {
        self.is_reached = true;
    }

    pub(crate) const fn has_worked(&self) -> bool {
        self.has_worked
    }

    /// The step has succeeded.
    pub(crate) const fn succeeded(&mut self) {
        (self.is_reached, self.has_worked) = (true, true);
        self.forget();
    }

    /// What was tried until now ends: later failures are counted from their own beginning.
    pub(crate) const fn forget(&mut self) {
        (self.failing_since, self.refused_since) = (None, None);
    }

    /// The step has failed.
    ///
    /// # Errors
    /// Why the caller gives up, if it has tried for long enough.
    pub(crate) fn failed(&mut self, now: Instant, cause: Cause) -> Result<(), GiveUp> {
        let since = *self.failing_since.get_or_insert(now);
        let lasts = |since: Instant| now.saturating_duration_since(since);
        if cause != Cause::Access {
            self.refused_since = None;
        }
        match cause {
            Cause::Outage | Cause::Group if !self.is_reached => Err(GiveUp::Unreachable),
            Cause::Outage | Cause::Group if lasts(since) >= self.outage_timeout => {
                Err(GiveUp::Outage)
            }
            Cause::Outage | Cause::Group => Ok(()),
            Cause::Access => {
                let since = *self.refused_since.get_or_insert(now);
                let bound = ACCESS_REFUSED_MAX.min(self.outage_timeout);
                match self.has_worked && lasts(since) < bound {
                    true => Ok(()),
                    false => Err(GiveUp::Refused),
                }
            }
            Cause::Transaction => Err(GiveUp::Permanent),
        }
    }
}

/// A pause that doubles with each failure in a row, up to a maximum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

/// Doublings beyond this are above every maximum.
const DOUBLINGS_MAX: u32 = 16;

impl Backoff {
    pub(crate) const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0 }
    }

    /// Returns the pause after one more failure.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let doublings = self.failures.min(DOUBLINGS_MAX);
        self.failures = self.failures.saturating_add(1);
        self.min.saturating_mul(1 << doublings).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::OUTAGE_TIMEOUT;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn c3_an_outage_is_waited_out_from_its_first_failure_to_the_timeout() {
        for cause in [Cause::Outage, Cause::Group] {
            let (now, mut patience) = (Instant::now(), Patience::new(OUTAGE_TIMEOUT));
            assert_eq!(patience.failed(now, cause), Ok(()));
            assert_eq!(patience.failed(now + OUTAGE_TIMEOUT - SECOND, cause), Ok(()));
            assert_eq!(patience.failed(now + OUTAGE_TIMEOUT, cause), Err(GiveUp::Outage));
        }
    }

    #[test]
    fn c3_an_outage_that_ends_does_not_count() {
        let (mut now, mut patience) = (Instant::now(), Patience::new(OUTAGE_TIMEOUT));
        for _ in 0..5 {
            assert_eq!(patience.failed(now, Cause::Outage), Ok(()));
            now += OUTAGE_TIMEOUT - SECOND;
            assert_eq!(patience.failed(now, Cause::Outage), Ok(()));
            patience.succeeded();
            now += SECOND;
        }
    }

    #[test]
    fn c3_a_step_that_is_tried_since_earlier_waits_for_the_rest() {
        let begun = Instant::now();
        let mut patience = Patience::new(OUTAGE_TIMEOUT).trying_since(begun);
        assert_eq!(patience.failed(begun + OUTAGE_TIMEOUT, Cause::Outage), Err(GiveUp::Outage));
    }

    #[test]
    fn c3_a_start_waits_only_for_a_cluster_that_has_answered() {
        let now = Instant::now();
        let mut patience = Patience::starting(OUTAGE_TIMEOUT);
        assert_eq!(patience.failed(now, Cause::Outage), Err(GiveUp::Unreachable));
        patience.reached();
        assert_eq!(patience.failed(now + SECOND, Cause::Outage), Ok(()));
        let over = now + OUTAGE_TIMEOUT;
        assert_eq!(patience.failed(over, Cause::Outage), Err(GiveUp::Outage));
    }

    #[test]
    fn c3_a_refusal_is_reported_at_once_by_a_client_that_has_not_worked() {
        let now = Instant::now();
        for mut patience in [Patience::starting(OUTAGE_TIMEOUT), Patience::new(OUTAGE_TIMEOUT)] {
            assert_eq!(patience.failed(now, Cause::Access), Err(GiveUp::Refused));
            patience.reached();
            assert_eq!(patience.failed(now, Cause::Outage), Ok(()));
            let later = now + Duration::from_mins(10);
            assert_eq!(patience.failed(later, Cause::Access), Err(GiveUp::Refused));
        }
    }

    #[test]
    fn c3_a_client_that_has_worked_puts_up_with_refusals_in_a_row_for_a_minute() {
        let (now, mut patience) = (Instant::now(), Patience::new(OUTAGE_TIMEOUT));
        patience.succeeded();
        let almost = ACCESS_REFUSED_MAX - SECOND;
        assert_eq!(patience.failed(now, Cause::Access), Ok(()));
        assert_eq!(patience.failed(now + almost, Cause::Access), Ok(()));
        // Another cause between two refusals: they are not in a row.
        assert_eq!(patience.failed(now + almost, Cause::Outage), Ok(()));
        let again = now + ACCESS_REFUSED_MAX;
        assert_eq!(patience.failed(again, Cause::Access), Ok(()));
        let refused = again + ACCESS_REFUSED_MAX;
        assert_eq!(patience.failed(refused, Cause::Access), Err(GiveUp::Refused));
    }

    #[test]
    fn what_would_fail_again_is_not_tried_again() {
        let mut patience = Patience::new(OUTAGE_TIMEOUT).having_worked(true);
        let failed = patience.failed(Instant::now(), Cause::Transaction);
        assert_eq!(failed, Err(GiveUp::Permanent));
    }

    #[test]
    fn a_backoff_doubles_up_to_its_maximum() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let millis: Vec<_> = (0..9).map(|_| backoff.after_failure().as_millis()).collect();
        assert_eq!(millis, [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        for _ in 0..100 {
            assert_eq!(backoff.after_failure(), Duration::from_secs(5));
        }
    }
}
