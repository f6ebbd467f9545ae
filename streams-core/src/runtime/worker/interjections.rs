//! Interjections: scheduled ones, and those that somebody asks a running source for.
//!
//! An interjection whose transaction is aborted runs again. When each scheduled one runs next is
//! committed with the offsets of its partition: an abort puts it back, and the next owner of the
//! partition continues the schedule instead of starting each interval from zero.

use std::time::{Duration, Instant, SystemTime};

use super::step::{Ended, Ran, Step};
use super::{Clock, Waiting, Worker, next_run};
use crate::client::{Fetcher, TxnProducer};
use crate::eos::{Offer, PartitionId, Schedule, ScheduleKey};
use crate::handler::{EventSource, Interjection, IntoOutcome};
use crate::store::EventSeq;
use crate::task::{Input, Interject, ScheduleState, Task, TaskState};

/// The schedule of interjections with at least this interval is committed at once, if need be in a
/// transaction of its own. That of more frequent ones travels with the commits that there are
/// anyway: at worst the next owner begins their interval anew, or runs them once more.
const COMMITTED_FROM: Duration = Duration::from_secs(60);

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// The keys of these interjections: names that come twice are counted.
    pub(super) fn schedule_keys(
        interjections: &[Interjection<A::Store, A::Shared>],
    ) -> Vec<ScheduleKey> {
        let key = |(which, one): (usize, &Interjection<_, _>)| {
            let same = interjections[..which].iter().filter(|other| other.name == one.name);
            ScheduleKey::new(one.name, same.count())
        };
        interjections.iter().enumerate().map(key).collect()
    }

    /// The schedule of a partition that becomes active: what is committed, and a first run for each
    /// interjection that has none. Returns true as well if the group is to know it at once.
    pub(super) fn first_schedule(
        &mut self,
        now: Instant,
        committed: &Schedule,
    ) -> (Schedule, bool) {
        let (mut schedule, mut is_unknown) = (Schedule::EMPTY, false);
        for (which, key) in self.schedule_keys.clone().into_iter().enumerate() {
            let at_ms = match committed.get(key) {
                Some(at_ms) => at_ms,
                None => {
                    is_unknown |= self.parts.interjections[which].every >= COMMITTED_FROM;
                    self.next_run(now, which).1
                }
            };
            schedule.set(key, at_ms);
        }
        (schedule, is_unknown)
    }

    /// When each interjection runs next by this schedule: at once if that is over, and in an
    /// interval at the latest, however the clocks of two members differ.
    pub(super) fn due_times(&self, now: Instant, schedule: &Schedule) -> Vec<Instant> {
        let due = |(key, one): (&ScheduleKey, &Interjection<A::Store, A::Shared>)| {
            let left = schedule.get(*key).map_or(0, |at_ms| at_ms.saturating_sub(self.wall_ms));
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            now + left.min(one.every + one.jitter)
        };
        self.schedule_keys.iter().zip(&self.parts.interjections).map(due).collect()
    }

    /// The next run of an interjection, by both clocks.
    fn next_run(&mut self, now: Instant, which: usize) -> (Instant, i64) {
        let Interjection { every, jitter, .. } = self.parts.interjections[which];
        let spread = u64::try_from(jitter.as_nanos() * 2).unwrap_or(u64::MAX);
        let at = next_run(now, every, jitter, self.random_below(spread));
        let left = i64::try_from(at.saturating_duration_since(now).as_millis());
        (at, self.wall_ms.saturating_add(left.unwrap_or(i64::MAX)))
    }

    /// Commits the schedules that the group does not know, so that the next owner continues them.
    pub(super) fn commit_schedules(&mut self, now: Instant) {
        let is_unknown =
            |task: &&mut Task<_>| task.begins() && task.schedule == ScheduleState::Unknown;
        while let Some(task) = self.tasks.values_mut().find(is_unknown) {
            let Offer::Join { .. } = self.pool.offer(now) else {
                self.full = true;
                return;
            };
            self.pool.touch(task.id, task.context.event());
            task.schedule = ScheduleState::Committing;
        }
    }

    pub(super) fn run_interjections(&mut self, now: Instant, clock: &impl Clock) {
        let due = |task: &Task<A::Store>| {
            let (which, _) = task.due().find(|(_, at)| *at <= now)?;
            Some((task.topic_partition().partition(), which))
        };
        while let Some((partition, which)) = self.tasks.values().find_map(due) {
            let Offer::Join { slot, .. } = self.offer_event(now) else {
                self.full = true;
                return;
            };
            let interjection = self.parts.interjections[which];
            let (next, next_ms) = self.next_run(now, which);
            if let Some(task) = self.tasks.get_mut(&partition) {
                task.interjections[which] = next;
            }
            let at = clock.wall_clock();
            let input = Input::Scheduled { which, next_ms };
            let step = Step::interjection(interjection.name, input);
            self.run_event(now, slot, partition, step, |ctx, shared, _| {
                (interjection.call)(ctx, shared, at)
            });
            if self.failed {
                return;
            }
        }
    }

    /// A run is complete: the transaction that has its effects also has the time of the next run.
    pub(super) fn scheduled_run_ended(
        &mut self,
        partition: PartitionId,
        step: EventSeq,
        which: usize,
        next_ms: i64,
    ) {
        self.pool.set_due(partition, self.schedule_keys[which], next_ms);
        if self.parts.interjections[which].every >= COMMITTED_FROM {
            self.pool.touch(partition, step);
        }
    }

    /// Runs what somebody asked for, and keeps it until its effects are committed.
    pub(super) fn interject_once(
        &mut self,
        now: Instant,
        slot: usize,
        partition: i32,
        mut run: Interject<A::Store>,
        at: SystemTime,
    ) {
        if !self.tasks.get(&partition).is_some_and(|task| task.state == TaskState::Active) {
            return;
        }
        let step = Step::interjection("interject", Input::Once);
        let first =
            self.run_event(now, slot, partition, step, |ctx, _, _| run(ctx, at).into_outcome());
        let Some(Ran { event, records, ended }) = first else {
            return;
        };
        let complete = ended == Ended::Complete;
        if let Some(task) = self.tasks.get_mut(&partition).filter(|_| !complete || records > 0) {
            task.keep_uncommitted(event, run, complete.then_some(event));
        }
    }

    /// The interjections of a partition whose transactions were aborted come before all others.
    pub(super) fn run_again(&mut self, partition: i32, runs: Vec<Interject<A::Store>>) {
        for run in runs.into_iter().rev() {
            self.waiting.push_front(Waiting::Interject(partition, run));
        }
    }
}
