//! How long the member waits for a cluster that does not answer, or that refuses it.
//!
//! *An outage* is waited out with a back-off, for up to `outage_timeout`: no coordinator can be
//! reached, or each answer says that it is not at work. Only an answer about the group ends it: a
//! broker that knows where the coordinator should be proves nothing.
//!
//! *A missing permission* is no outage. A member that has never had an assignment ends at once. One
//! that has worked may meet a broker that has just started and has not read its rules yet: it asks
//! again, and ends after [`ACCESS_REFUSED_MAX`](crate::error::ACCESS_REFUSED_MAX).

use std::time::{Duration, Instant};

use super::Member;
use crate::error::Cause;
use crate::patience;

/// What failed since the coordinator last answered for the group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience(patience::Patience);

impl Patience {
    pub(super) const fn new(now: Instant, outage_timeout: Duration) -> Self {
        Self(patience::Patience::new(outage_timeout).trying_since(now))
    }

    /// The coordinator has answered for the group.
    pub(super) const fn answered(&mut self, now: Instant) {
        self.0.forget();
        self.0 = self.0.trying_since(now);
    }

    /// The member has an assignment.
    pub(super) const fn worked(&mut self) {
        self.0 = self.0.having_worked(true);
    }

    /// Returns true if the member has ever had an assignment.
    pub(super) const fn has_worked(&self) -> bool {
        self.0.has_worked()
    }
}

impl Member {
    /// No answer came, or one of a broker that does not know now. Returns whether the member has
    /// waited for too long, and has failed.
    pub(super) fn has_waited_too_long(&mut self, now: Instant, reason: &str) -> bool {
        let is_over = self.patience.0.failed(now, Cause::Outage).is_err();
        if is_over {
            let timeout = self.config.outage_timeout;
            self.fail(&format!(
                "no coordinator has answered for {timeout:?} (`outage_timeout`), the last error \
                 was: {reason}; bring the cluster back, and start again"
            ));
        }
        is_over
    }

    /// A permission is missing, or the credentials are not taken.
    pub(super) fn access_refused(&mut self, now: Instant, name: &str, hint: &str) {
        if self.patience.0.failed(now, Cause::Access).is_ok() {
            tracing::warn!(group = self.config.group_id, name, hint, "access refused: asked again");
            return self.retry(now);
        }
        self.fail(&format!("{name}: {hint}"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::error::{ACCESS_REFUSED_MAX, OUTAGE_TIMEOUT};
    use crate::group::member::tests::Bench;
    use crate::group::{GroupEvent, GroupReply};

    /// Lets each request fail until the member has failed. Returns how long it took, and why.
    fn fail(bench: &mut Bench, reply: &Result<GroupReply, String>) -> (Duration, String) {
        let begun = bench.now;
        for _ in 0..100_000 {
            if bench.request().is_some() {
                bench.member.handle_reply(bench.now, reply.clone());
            }
            if let Some(GroupEvent::Failed { reason }) = bench.events().pop() {
                return (bench.now - begun, reason);
            }
            let next = bench.member.poll_timeout().expect("it goes on");
            bench.now = next.max(bench.now + Duration::from_millis(1));
        }
        panic!("it asks for ever");
    }

    #[test]
    fn c3_an_outage_is_waited_out_for_as_long_as_is_set() {
        let gone = || Err("no route to host".to_owned());
        for timeout in [Duration::from_secs(30), OUTAGE_TIMEOUT] {
            for has_worked in [false, true] {
                let mut bench = Bench::configured(|config| config.outage_timeout = timeout);
                if has_worked {
                    bench.join(1, &[0], &[]);
                }
                for reply in [gone(), Ok(GroupReply::Refused { code: 15 })] {
                    let mut bench = Bench {
                        now: bench.now,
                        member: bench.member.clone(),
                        assignor: bench.assignor,
                    };
                    let (waited, reason) = fail(&mut bench, &reply);
                    let late = waited.checked_sub(timeout).expect("not earlier");
                    assert!(late < Duration::from_secs(2), "{waited:?}");
                    assert!(reason.contains("outage_timeout"), "{reason}");
                }
            }
        }
    }

    #[test]
    fn c3_an_outage_that_ends_does_not_count() {
        let timeout = Duration::from_secs(30);
        let mut bench = Bench::configured(|config| config.outage_timeout = timeout);
        for generation in 1..5 {
            bench.join(generation, &[0], &[]);
            bench.now += timeout - Duration::from_secs(1);
            bench.member.handle_timeout(bench.now);
            let failed = bench.events().into_iter().any(|e| matches!(e, GroupEvent::Failed { .. }));
            assert!(!failed);
        }
    }

    #[test]
    fn c3_a_missing_permission_is_reported_at_once_at_the_start() {
        for (code, right) in [(30, "grant READ"), (29, "grant DESCRIBE and READ"), (31, "grant")] {
            let mut bench = Bench::new();
            let (waited, reason) = fail(&mut bench, &Ok(GroupReply::Refused { code }));
            assert_eq!(waited, Duration::ZERO);
            assert!(reason.contains(right) && reason.contains("`g`"), "{reason}");
        }
    }

    #[test]
    fn c3_a_permission_that_is_taken_away_ends_the_member_after_a_minute() {
        let mut bench = Bench::new();
        bench.join(1, &[0], &[]);
        let (waited, reason) = fail(&mut bench, &Ok(GroupReply::Refused { code: 30 }));
        let late = waited.checked_sub(ACCESS_REFUSED_MAX).expect("not earlier");
        assert!(late < Duration::from_secs(2), "{waited:?}");
        assert!(reason.contains("GROUP_AUTHORIZATION_FAILED"), "{reason}");
        // A broker that restarts may not know it for a moment.
        let mut bench = Bench::new();
        bench.join(1, &[0], &[]);
        for _ in 0..100 {
            bench.heartbeat(30);
            bench.now += Duration::from_secs(1);
            bench.heartbeat(0);
        }
        assert_eq!(bench.events(), []);
    }
}
