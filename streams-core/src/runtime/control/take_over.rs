//! Taking partitions over: the control thread finds out where they start beside its other work, and
//! tries again as long as brokers are away.

use std::time::{Duration, Instant};

use super::{Control, Done, Word};
use crate::group::Partitions;
use crate::runtime::error::SourceError;
use crate::runtime::outage::Retry;
use crate::runtime::prepare::prepare;
use crate::runtime::worker::Assignment;

/// An attempt to find out where partitions start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// The round of their assignment.
    pub(super) round: u64,
    /// Whether a former owner may have left an orphaned transaction.
    pub(super) may_be_open: bool,
    /// For how long the control thread tries.
    pub(super) retry: Retry,
}

impl Control {
    /// Finds out where newly assigned partitions start.
    pub(super) fn prepare(&mut self, assigned: &Partitions, handed_over: &Partitions) {
        let numbers = self.numbers(assigned);
        if numbers.is_empty() || !self.goes_on() {
            return;
        }
        let may_be_open = !assigned.is_subset(handed_over);
        self.round += 1;
        let round = self.round;
        self.owned.extend(numbers.iter().map(|number| (*number, round)));
        let attempt = Attempt { round, may_be_open, retry: self.retry() };
        self.find_starts(numbers, attempt, Duration::ZERO);
    }

    /// The attempts of a request that begins now.
    pub(super) fn retry(&self) -> Retry {
        let retry = Retry::new(Instant::now(), self.settings.outage_timeout);
        retry.having_worked(self.has_worked)
    }

    fn find_starts(&self, numbers: Vec<i32>, attempt: Attempt, after: Duration) {
        let (settings, done) = (self.settings.clone(), self.done.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let result = prepare(&settings, &numbers, attempt.may_be_open).await;
            let _ = done.send(Done::Prepared { numbers, attempt, result });
        });
    }

    pub(super) fn prepared(
        &mut self,
        numbers: &[i32],
        attempt: Attempt,
        result: Result<Vec<Assignment>, SourceError>,
    ) {
        let assignments = match result {
            Ok(assignments) => assignments,
            Err(error) => return self.not_prepared(numbers, attempt, error),
        };
        for assignment in assignments {
            let number = assignment.partition.partition();
            // The member may have revoked or lost it since.
            if self.owned.get(&number) == Some(&attempt.round) {
                self.copies.taken(number);
                self.state.lag(number, None);
                self.state.stalled(number, None);
                self.tell(self.worker_of(number), Word::Assign(assignment));
            } else if !self.owned.contains_key(&number) && self.copies.not_taken(number) {
                self.forget(number);
            }
        }
    }

    /// Waits out an outage, for as long as the partitions are this member's.
    fn not_prepared(&mut self, numbers: &[i32], mut attempt: Attempt, error: SourceError) {
        let is_ours = |number: &&i32| self.owned.get(*number) == Some(&attempt.round);
        let ours: Vec<i32> = numbers.iter().filter(is_ours).copied().collect();
        if ours.is_empty() || !self.goes_on() {
            return;
        }
        let (reason, parts) = (error.to_string(), parts(&ours, &error));
        let again = match attempt.retry.failed(Instant::now(), error) {
            Ok(again) => again,
            Err(error) => return self.fail(error),
        };
        tracing::warn!(
            partitions = ?ours, error = reason, ?again,
            "can't find where partitions start yet"
        );
        for number in &ours {
            self.state.stalled(*number, Some(reason.clone()));
        }
        for part in parts {
            self.find_starts(part, attempt, again);
        }
    }
}

/// Returns the partitions that the next attempts ask for together. One partition without a leader
/// must not hold up those that have one. If no broker answers at all, it is the same for all of
/// them.
pub(super) fn parts(numbers: &[i32], error: &SourceError) -> Vec<Vec<i32>> {
    let is_same = matches!(error, SourceError::Client(error) if error.is_no_broker());
    let parts = if is_same { 1 } else { 2 };
    numbers.chunks(numbers.len().div_ceil(parts).max(1)).map(<[i32]>::to_vec).collect()
}
