//! Partitions that the member revokes, and warm copies: what the control thread tells the workers.

use std::time::{Duration, Instant};

use super::take_over::parts;
use super::{ChangelogEnds, Control, Done, Word};
use crate::client::wire::Isolation;
use crate::group::{GroupCommand, Partitions};
use crate::runtime::error::SourceError;
use crate::runtime::outage::Retry;
use crate::runtime::prepare::delete_retention;
use crate::runtime::tombstones::{DELETE_RETENTION, copy_age_max};

impl Control {
    /// Revokes partitions. If one is among `warm`, its worker retires the store as a warm copy.
    pub(super) fn revoke(&mut self, partitions: &Partitions, warm: &Partitions) {
        let warm = self.numbers(warm);
        for number in self.numbers(partitions) {
            self.owned.remove(&number);
            self.copies.revoked(number);
            let (stood_still, ends) =
                (self.suspended.remove(&number), self.hold.ends.remove(&number));
            // A suspended partition may have been released. Its next owner then writes without
            // waiting for an acknowledgement, so the store can become a copy only if the control
            // thread read the changelog's end before the release.
            let can_retire = !stood_still || ends.is_some();
            let partition = self.partition(number);
            let word = match warm.contains(&number) && self.goes_on() && can_retire {
                true => Word::Retire(partition),
                false => Word::Revoke(partition),
            };
            if let Some(ends) = ends {
                self.retiring.insert(number, ends);
            }
            self.tell(self.worker_of(number), word);
        }
    }

    /// Acknowledges a revoked partition, unless the group has assigned it to this member again.
    pub(super) fn acknowledge(&self, number: i32) {
        if !self.goes_on() || !self.owned.contains_key(&number) {
            let done = GroupCommand::Acknowledge(self.name(number), self.generation);
            let _ = self.group.send(done);
        }
    }

    /// A worker has drained the partition and kept its store. The control thread reads the
    /// changelog's end before the next owner writes to it, and acknowledges the partition then.
    pub(super) fn retired(&mut self, number: i32) {
        // The member may have lost it since.
        if !self.copies.is_closing(number) {
            return;
        }
        self.round += 1;
        let round = self.round;
        self.retired.insert(number, round);
        if let Some(ends) = self.retiring.remove(&number) {
            return self.retired_at(number, round, Ok(ChangelogEnds::from([(number, ends)])));
        }
        let answer = move |ends| Done::RetiredAt { number, round, ends };
        self.ask_ends(vec![number], Isolation::ReadUncommitted, Duration::ZERO, answer);
    }

    pub(super) fn retired_at(
        &mut self,
        number: i32,
        round: u64,
        ends: Result<ChangelogEnds, SourceError>,
    ) {
        // The member may have lost it, or its worker may have closed it, since.
        if self.retired.get(&number) != Some(&round) {
            return;
        }
        self.retired.remove(&number);
        self.acknowledge(number);
        let is_wanted = self.copies.drained(number);
        let ends = ends.map(|ends| ends.get(&number).copied());
        match ends {
            Ok(Some(ends)) if is_wanted => {
                self.unconfirmed.insert(number);
                self.tell(self.worker_of(number), Word::Warm(self.partition(number), ends));
            }
            _ => {
                self.forget(number);
                if is_wanted {
                    self.find_copies(vec![number]);
                }
            }
        }
    }

    /// Keeps these warm copies, and no others.
    pub(super) fn copy(&mut self, warm: &Partitions) {
        if !self.goes_on() {
            return;
        }
        let wanted = self.numbers(warm).into_iter().collect();
        let owned = &self.owned;
        let change = self.copies.joined(wanted, |number| owned.contains_key(&number));
        for number in change.forget {
            self.forget(number);
        }
        self.find_copies(change.make.into_iter().collect());
    }

    pub(super) fn forget(&self, number: i32) {
        self.state.lag(number, None);
        self.tell(self.worker_of(number), Word::Forget(self.partition(number)));
    }

    pub(super) fn find_copies(&self, partitions: Vec<i32>) {
        if !partitions.is_empty() {
            self.ask_copies(partitions, self.retry(), Duration::ZERO);
            self.ask_retention();
        }
    }

    fn ask_copies(&self, partitions: Vec<i32>, retry: Retry, after: Duration) {
        let asked = partitions.clone();
        let answer = move |ends| Done::CopiesFound { partitions, retry, ends };
        self.ask_ends(asked, Isolation::ReadCommitted, after, answer);
    }

    /// Asks for how long the changelog keeps tombstones: it may have been changed.
    pub(super) fn ask_retention(&self) {
        self.ask_retention_after(self.retry(), Duration::ZERO);
    }

    fn ask_retention_after(&self, retry: Retry, after: Duration) {
        let (settings, done) = (self.settings.clone(), self.done.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let retention = delete_retention(&settings).await;
            let _ = done.send(Done::Retention { retry, retention });
        });
    }

    /// Passes the answer on to the workers. An outage is waited out: with the default of 24 hours a
    /// copy could miss tombstones.
    pub(super) fn retention(
        &self,
        mut retry: Retry,
        retention: Result<Option<Duration>, SourceError>,
    ) {
        let error = match retention {
            Ok(retention) => {
                let age_max = copy_age_max(retention.unwrap_or(DELETE_RETENTION));
                return self.tell_all(|| Word::CopyAgeMax(age_max));
            }
            Err(error) => error,
        };
        match retry.failed(Instant::now(), error) {
            Ok(after) if self.goes_on() => self.ask_retention_after(retry, after),
            Ok(_) => {}
            Err(error) => {
                let changelog = &self.settings.changelog;
                tracing::warn!(
                    changelog, %error,
                    "can't read `delete.retention.ms` of the changelog: it is taken to be 24 h"
                );
            }
        }
    }

    /// Starts the warm copies whose changelog ends are known. An outage is waited out, for as long
    /// as the group wants the copies.
    pub(super) fn copies_found(
        &mut self,
        partitions: &[i32],
        retry: Retry,
        ends: Result<ChangelogEnds, SourceError>,
    ) {
        let held = partitions.iter().copied().filter(|number| self.copies.holds(*number));
        let held: Vec<i32> = held.collect();
        match ends {
            Ok(ends) => {
                let found = held.iter().filter_map(|number| Some((*number, *ends.get(number)?)));
                for (number, ends) in found {
                    self.tell(self.worker_of(number), Word::Warm(self.partition(number), ends));
                }
            }
            Err(error) => self.copies_not_found(&held, retry, error),
        }
    }

    fn copies_not_found(&mut self, held: &[i32], mut retry: Retry, error: SourceError) {
        if held.is_empty() || !self.goes_on() {
            return;
        }
        let (reason, parts) = (error.to_string(), parts(held, &error));
        match retry.failed(Instant::now(), error) {
            Ok(after) => {
                tracing::warn!(
                    partitions = ?held, error = reason, ?after,
                    "can't find the changelog's ends for warm copies yet"
                );
                for part in parts {
                    self.ask_copies(part, retry, after);
                }
            }
            Err(error) => {
                for number in held {
                    self.copies.failed(*number);
                    let failed = GroupCommand::WarmFailed(self.name(*number), error.to_string());
                    let _ = self.group.send(failed);
                }
            }
        }
    }
}
