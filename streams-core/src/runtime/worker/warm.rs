//! Warm copies: stores of other members' partitions, which follow the changelog.
//!
//! A copy holds only committed changes, processes no event, and takes part in no transaction. When
//! the group assigns its partition to this member, the worker promotes the copy: the store still
//! lacks the changelog from the copy's position to the end that the control thread read after the
//! former owner had released the partition.
//!
//! If the group wants a copy of a partition that the member revokes, the worker retires the store.
//! All of its changes are committed by then, and the member neither acknowledges nor releases the
//! partition before the control thread knows the changelog's end. The changes before that end are
//! in the store, and the next owner writes those after it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, Instant};

use super::{FromWorker, Worker, find};
use crate::client::{Fetcher, TxnProducer};
use crate::handler::EventSource;
use crate::planted::{self, Bug};
use crate::record::TopicPartition;
use crate::runtime::InterjectError;
use crate::runtime::callbacks::Call;
use crate::runtime::error::{SourceError, UserCode};
use crate::task::{Restore, Task, TaskState, WarmCopy};

/// The time between two reports of the copies' lags.
const LAG_EVERY: Duration = Duration::from_secs(1);

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// Starts a warm copy.
    pub(super) fn warm(&mut self, now: Instant, partition: &TopicPartition, changelog: (i64, i64)) {
        let number = partition.partition();
        if self.stopping || self.failed {
            return;
        }
        let ((low, end), at) = (changelog, self.moment(now));
        let start = match self.tasks.get(&number).map(|task| &task.state) {
            None => match self.new_task(partition) {
                Ok(task) => {
                    self.tasks.insert(number, task);
                    low
                }
                Err(error) => {
                    tracing::warn!(%partition, %error, "no warm copy");
                    let failed = FromWorker::WarmFailed(partition.clone(), error.to_string());
                    return (self.parts.report)(failed);
                }
            },
            Some(TaskState::Retired) => end,
            Some(_) => return,
        };
        if let Some(task) = self.tasks.get_mut(&number) {
            task.state = TaskState::Warm(WarmCopy::new(at, start, end));
        }
        tracing::info!(%partition, start, end, "warming up");
        if let Err(error) = self.begin_restore(number, start) {
            self.warm_failed(number, &error);
        }
    }

    /// Retires a drained task: no pending transaction has an event of it, so its store holds
    /// committed changes alone.
    pub(super) fn retire(&mut self, partition: TopicPartition) {
        let id = self.next_id();
        if let Some(task) = find(&mut self.tasks, &partition) {
            // An interjection's changes that are not committed end with the assignment.
            let number = partition.partition();
            task.end_uncommitted(|| InterjectError::Lost { partition: number });
            let rewind = || drop(task.rewind());
            let undone = self.pulse.guard(UserCode::Store, &partition, None, "undo_from", rewind);
            // Completers that still exist belong to the former assignment.
            task.renumber(id);
            task.jobs.clear();
            (task.state, task.retires) = (TaskState::Retired, false);
            tracing::info!(%partition, "retired");
            if let Err(error) = undone {
                self.fail(error);
            }
        }
        self.call_back(Call::Revoked, &partition);
        (self.parts.report)(FromWorker::Retired(partition));
    }

    /// Drops a copy that the group does not want any more.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        let number = partition.partition();
        if self.task_of(partition).is_some_and(|task| task.state.is_copy()) {
            self.end_restore(number);
            self.close(number);
        }
    }

    pub(super) fn forget_all(&mut self) {
        for partition in self.warm_partitions() {
            self.end_restore(partition);
            self.close(partition);
        }
    }

    pub(super) fn warm_partitions(&self) -> Vec<i32> {
        let warm = self.tasks.iter().filter(|(_, task)| matches!(task.state, TaskState::Warm(_)));
        warm.map(|(partition, _)| *partition).collect()
    }

    pub(super) fn warm_failed(&mut self, partition: i32, error: &dyn Display) {
        let Some(at) = self.tasks.get(&partition).map(|task| task.topic_partition().clone()) else {
            return;
        };
        tracing::warn!(partition = %at, %error, "no warm copy");
        // The report comes first: to end the copy's reader takes a while, in which the plan could
        // ask the owner to release the partition.
        (self.parts.report)(FromWorker::WarmFailed(at, error.to_string()));
        self.end_restore(partition);
        self.close(partition);
    }

    /// Promotes the copy, if there is one. Returns the rest of its restore, if one is left.
    #[expect(clippy::option_option, reason = "is there a copy; is anything missing")]
    pub(super) fn take_warm(
        &mut self,
        now: Instant,
        partition: i32,
        (low, end): (i64, i64),
    ) -> Option<Option<Restore>> {
        let at = self.moment(now);
        let task = self.tasks.get_mut(&partition)?;
        let TaskState::Warm(copy) = &task.state else {
            return None;
        };
        // Kafka has deleted records that the copy has not read, or may have deleted tombstones:
        // only a new restore can be whole.
        if copy.position() < low || copy.age(at) > self.copy_age_max {
            let (age, partition_at) = (copy.age(at), task.topic_partition());
            tracing::warn!(partition = %partition_at, ?age, "the warm copy is too old to be taken");
            self.close(partition);
            return None;
        }
        let rest = copy.take(at, (low, end));
        let (partition, missing) = (task.topic_partition(), end - rest.position());
        tracing::info!(%partition, missing, "the warm copy is ours");
        let is_whole = rest.is_done() || planted::is(Bug::StaleCopy);
        Some((!is_whole).then_some(rest))
    }

    /// Starts those stores again that have lagged for so long that Kafka may have deleted
    /// tombstones which they have not read. The worker has read no record since its last step.
    pub(super) fn begin_again(&mut self, now: Instant) {
        let (at, age_max) = (self.moment(now), self.copy_age_max);
        let is_old = |task: &Task<A::Store>| match &task.state {
            TaskState::Warm(copy) => copy.age(at) > age_max,
            TaskState::Restoring(restore) => restore.age(at) > age_max,
            _ => false,
        };
        let old = self.tasks.iter().filter(|(_, task)| is_old(task));
        for partition in old.map(|(partition, _)| *partition).collect::<Vec<_>>() {
            match self.tasks.get(&partition).map(|task| &task.state) {
                Some(TaskState::Restoring(restore)) => {
                    let again = restore.again(at);
                    self.restore_again(partition, again);
                }
                _ => self.copy_again(partition),
            }
        }
    }

    /// Drops the copy. The control thread asks where the changelog begins by now, and starts
    /// another.
    fn copy_again(&mut self, partition: i32) {
        let Some(at) = self.tasks.get(&partition).map(|task| task.topic_partition().clone()) else {
            return;
        };
        let age_max = self.copy_age_max;
        tracing::warn!(
            partition = %at, ?age_max,
            "the warm copy begins again: it was not whole for so long that tombstones which it has \
             not read may be gone"
        );
        self.end_restore(partition);
        self.close(partition);
        (self.parts.report)(FromWorker::CopyTooOld(at));
    }

    /// The restore begins again with an empty store. One that takes so long twice would never end.
    fn restore_again(&mut self, partition: i32, again: Option<Restore>) {
        let Some(task) = self.tasks.get(&partition) else {
            return;
        };
        let at = task.topic_partition().clone();
        let Some(again) = again else {
            let (changelog, age_max) = (self.changelog(partition), self.copy_age_max);
            return self.fail(SourceError::RestoreTooSlow { partition: at, changelog, age_max });
        };
        tracing::warn!(partition = %at, "the restore begins again: it has taken too long");
        let mut fresh = match self.new_task(&at) {
            Ok(fresh) => fresh,
            Err(error) => return self.fail(error),
        };
        let from = again.position();
        if let Some(mut old) = self.tasks.remove(&partition) {
            (fresh.committed, fresh.start) = (old.committed.take(), old.start.clone());
            fresh.committed_with = old.committed_with;
            self.revoke_store(&mut old);
            self.closer.drop(old);
        }
        fresh.state = TaskState::Restoring(again);
        self.tasks.insert(partition, fresh);
        if let Err(error) = self.begin_restore(partition, from) {
            self.fail(error);
        }
    }

    /// Tells copies whose changelog brings no records where it ends.
    fn ask_for_ends(&mut self, now: Instant) {
        let (at, age_max) = (self.moment(now), self.copy_age_max);
        let asks = |(partition, task): (&i32, &mut Task<A::Store>)| match &mut task.state {
            TaskState::Warm(copy) => {
                copy.asks_for_end(at, age_max).then(|| (*partition, copy.position()))
            }
            _ => None,
        };
        for (partition, position) in self.tasks.iter_mut().filter_map(asks).collect::<Vec<_>>() {
            if let Err(error) = self.begin_restore(partition, position) {
                self.warm_failed(partition, &error);
            }
        }
    }

    /// Reports which copies have caught up, and, once in a while, their lags.
    pub(super) fn report_warm(&mut self, now: Instant) {
        self.ask_for_ends(now);
        let mut lags = BTreeMap::new();
        for partition in self.warm_partitions() {
            let changelog = self.changelog(partition);
            let end = self.restorer.as_ref().and_then(|restorer| restorer.end(&changelog));
            let Some(task) = self.tasks.get_mut(&partition) else {
                continue;
            };
            let at = task.topic_partition().clone();
            if let TaskState::Warm(copy) = &mut task.state {
                lags.insert(partition, copy.lag(end));
                if copy.becomes_ready(end) {
                    tracing::info!(partition = %at, records = copy.records(), "warm");
                    (self.parts.report)(FromWorker::Warmed(at));
                }
            }
        }
        if !lags.is_empty() && self.lag_due.is_none_or(|due| now >= due) {
            lags.iter().for_each(|(partition, lag)| self.meters.copy(*partition, *lag));
            self.lag_due = Some(now + LAG_EVERY);
            (self.parts.report)(FromWorker::Lag(lags));
        }
    }
}
