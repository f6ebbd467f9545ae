//! Interjections: scheduled ones, and those that a caller asks a running source for.
//!
//! An interjection whose transaction is aborted runs again. When each scheduled one runs next is
//! committed with the offsets of its partition: an abort puts it back, and the next owner of the
//! partition continues the schedule instead of starting each interval from zero.

use std::time::{Duration, Instant, SystemTime};

use super::step::{Ended, FailedStep, Ran, Step};
use super::{Clock, Waiting, Worker, next_run};
use crate::client::{Fetcher, TxnProducer};
use crate::eos::{Offer, PartitionId, Schedule, ScheduleKey};
use crate::handler::{EventSource, HandlerError, Scheduled};
use crate::runtime::InterjectError;
use crate::runtime::failure::EventFailure;
use crate::store::EventSeq;
use crate::task::{Input, Interject, ScheduleState, Task, TaskState};

/// The schedule of interjections with at least this interval is committed at once, if need be in a
/// transaction of its own. That of more frequent ones travels with the commits that there are
/// anyway: at worst the next owner begins their interval anew, or runs them once more.
const COMMITTED_FROM: Duration = Duration::from_secs(60);

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// The keys of these interjections: names that come twice are counted.
    pub(super) fn schedule_keys(interjections: &[Scheduled<A::Store>]) -> Vec<Option<ScheduleKey>> {
        let key = |(which, one): (usize, &Scheduled<_>)| {
            let same = interjections[..which].iter().filter(|other| other.name == one.name);
            Some(ScheduleKey::new(&one.name, same.count()))
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
            let Some(key) = key else {
                continue;
            };
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

    /// When each interjection runs next by this schedule; `None` for one that is cancelled.
    pub(super) fn due_times(&self, now: Instant, schedule: &Schedule) -> Vec<Option<Instant>> {
        let due = |(which, key): (usize, &Option<ScheduleKey>)| {
            let at_ms = schedule.get((*key)?).unwrap_or(0);
            Some(self.due_time(now, which, at_ms))
        };
        self.schedule_keys.iter().enumerate().map(due).collect()
    }

    /// When the interjection runs that is due at this time of day: at once if that is over, and in
    /// an interval at the latest, however the clocks of two members differ.
    fn due_time(&self, now: Instant, which: usize, at_ms: i64) -> Instant {
        let Scheduled { every, jitter, .. } = self.parts.interjections[which];
        let left = u64::try_from(at_ms.saturating_sub(self.wall_ms)).unwrap_or(0);
        now + Duration::from_millis(left).min(every + jitter)
    }

    /// Schedules a further interjection in all partitions, those to come included. A partition
    /// whose former owner had it continues the interval.
    pub(super) fn schedule(&mut self, now: Instant, scheduled: Scheduled<A::Store>) {
        let key = ScheduleKey::new(&scheduled.name, 0);
        self.cancelled.remove(&key);
        // The place of one that is cancelled, and has no run that is incomplete.
        let is_free = |which: &usize| {
            let is_incomplete = |task: &Task<_>| task.is_incomplete(*which);
            self.schedule_keys[*which].is_none() && !self.tasks.values().any(is_incomplete)
        };
        let which = match (0..self.schedule_keys.len()).find(is_free) {
            Some(which) => {
                (self.schedule_keys[which], self.parts.interjections[which]) =
                    (Some(key), scheduled);
                which
            }
            None => {
                self.schedule_keys.push(Some(key));
                self.parts.interjections.push(scheduled);
                self.schedule_keys.len() - 1
            }
        };
        let active = self.tasks.iter().filter(|(_, task)| task.state == TaskState::Active);
        for partition in active.map(|(partition, _)| *partition).collect::<Vec<_>>() {
            let (mut at, mut at_ms) = self.next_run(now, which);
            let Some(task) = self.tasks.get(&partition) else {
                continue;
            };
            if let Some(known_ms) = task.start.schedule.get(key) {
                (at, at_ms) = (self.due_time(now, which, known_ms), known_ms);
            }
            self.pool.add_due(task.id, key, at_ms);
            if let Some(task) = self.tasks.get_mut(&partition) {
                let places = task.interjections.len().max(which + 1);
                task.interjections.resize(places, None);
                task.interjections[which] = Some(at);
                if self.parts.interjections[which].every >= COMMITTED_FROM {
                    task.schedule = ScheduleState::Unknown;
                }
            }
        }
    }

    /// The interjection, which was scheduled while the source ran, runs no more.
    pub(super) fn unschedule(&mut self, name: &str) {
        let key = ScheduleKey::new(name, 0);
        let Some(which) = self.schedule_keys.iter().position(|known| *known == Some(key)) else {
            return;
        };
        self.schedule_keys[which] = None;
        self.cancelled.insert(key);
        for task in self.tasks.values_mut() {
            if let Some(at) = task.interjections.get_mut(which) {
                *at = None;
            }
            let _ = task.start.schedule.remove(key);
            self.pool.remove_due(task.id, key);
        }
    }

    /// The next run of an interjection, by both clocks.
    fn next_run(&mut self, now: Instant, which: usize) -> (Instant, i64) {
        let Scheduled { every, jitter, .. } = self.parts.interjections[which];
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
            let Scheduled { name, call, .. } = self.parts.interjections[which].clone();
            let (next, next_ms) = self.next_run(now, which);
            if let Some(task) = self.tasks.get_mut(&partition) {
                task.interjections[which] = Some(next);
            }
            let at = clock.wall_clock();
            let input = Input::Scheduled { which, next_ms };
            let step = Step::interjection(name.to_string(), input);
            self.run_event(now, slot, partition, step, |ctx, _, _| call(ctx, at));
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
        // It may have been cancelled while it was incomplete.
        let Some(key) = self.schedule_keys[which] else {
            return;
        };
        self.pool.set_due(partition, key, next_ms);
        if self.parts.interjections[which].every >= COMMITTED_FROM {
            self.pool.touch(partition, step);
        }
    }

    /// A caller asks for an interjection: it waits for its turn, or is refused.
    pub(super) fn admit(&mut self, partition: i32, run: Interject<A::Store>) {
        let why = match self.tasks.get(&partition).map(|task| &task.state) {
            _ if self.stopping || self.failed => InterjectError::Stopped { partition },
            Some(TaskState::Active) => {
                return self.waiting.push_back(Waiting::Interject(partition, run));
            }
            Some(TaskState::Restoring(_)) => InterjectError::PartitionNotReady { partition },
            Some(TaskState::Warm(_) | TaskState::Retired | TaskState::Closing) | None => {
                InterjectError::PartitionNotAssigned { partition }
            }
        };
        run.resolve(Err(why));
    }

    /// Why an interjection of a partition that is given up is not run, or not committed.
    pub(super) const fn given_up(&self, partition: i32) -> InterjectError {
        match self.stopping || self.failed {
            true => InterjectError::Stopped { partition },
            false => InterjectError::Lost { partition },
        }
    }

    /// The partition is given up, or with `None` all partitions: what waits for its turn does not
    /// run.
    pub(super) fn end_waiting(&mut self, partition: Option<i32>) {
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Interject(at, run) if partition.is_none_or(|given_up| at == given_up) => {
                    run.resolve(Err(self.given_up(at)));
                }
                Waiting::Completion(_) if partition.is_none() => {}
                waiting => self.waiting.push_back(waiting),
            }
        }
    }

    /// Runs what a caller asked for, and keeps it until its effects are committed.
    pub(super) fn interject_once(
        &mut self,
        now: Instant,
        slot: usize,
        partition: i32,
        mut run: Interject<A::Store>,
        at: SystemTime,
    ) {
        if !self.tasks.get(&partition).is_some_and(|task| task.state == TaskState::Active) {
            return run.resolve(Err(self.given_up(partition)));
        }
        let step = Step::interjection("interject", Input::Once);
        let ran = self.try_event(now, slot, partition, step, |ctx, _, _| run.run(ctx, at));
        let Ran { event, records, ended } = match ran {
            Ok(Some(ran)) => ran,
            Ok(None) => return run.resolve(Err(self.given_up(partition))),
            Err(failed) => return self.once_failed(now, (slot, partition), run, *failed),
        };
        let complete = ended == Ended::Complete;
        let keeps = !complete || records > 0 || run.reads_committed();
        let Some(task) = self.tasks.get_mut(&partition).filter(|_| keeps) else {
            return run.resolve(Ok(()));
        };
        if complete && records == 0 {
            self.pool.touch(task.id, event);
        }
        task.keep_uncommitted(event, run, complete.then_some(event));
    }

    /// An interjection that a caller asked for has failed, and is undone: the caller gets the
    /// error. A panic, a fatal error, and effects of earlier steps stop the source as well.
    fn once_failed(
        &mut self,
        now: Instant,
        (slot, partition): (usize, i32),
        mut run: Interject<A::Store>,
        (step, failed): (Step, FailedStep),
    ) {
        let Some(task) = self.tasks.get(&partition).filter(|_| !run.stops_source()) else {
            self.answer_failure(now, slot, partition, step, failed);
            return;
        };
        let (at, FailedStep { failure, is_undone }) = (step.place(task), failed);
        let (is_fatal, is_panic) = (failure.is_fatal(), failure.is_panic());
        let text = failure.error().to_string();
        if !is_fatal && !is_panic && is_undone && !step.is_pinned() {
            let error = match failure {
                EventFailure::Failed(error) => error,
                _ => HandlerError::fail(text),
            };
            let own = run.take_failure();
            return run.resolve(Err(own.unwrap_or(InterjectError::Failed { partition, error })));
        }
        // The process may end before the source does.
        run.resolve(Err(match is_panic {
            true => InterjectError::Panicked { partition, message: text },
            false => InterjectError::Failed { partition, error: HandlerError::fail(text) },
        }));
        let error = failure.into_source_error(at);
        if is_fatal { self.fail_fatally(error) } else { self.fail(error) }
    }

    /// A completion of an interjection that ran once has failed, and is undone: `first` is its
    /// first step.
    pub(super) fn completion_failed(
        &mut self,
        now: Instant,
        (slot, partition): (usize, i32),
        first: EventSeq,
        (step, failed): (Step, FailedStep),
    ) {
        let task = self.tasks.get_mut(&partition);
        match task.and_then(|task| task.take_uncommitted(first)) {
            Some(run) => self.once_failed(now, (slot, partition), run, (step, failed)),
            None => drop(self.answer_failure(now, slot, partition, step, failed)),
        }
    }

    /// The interjections of a partition whose transactions were aborted come before all others.
    pub(super) fn run_again(&mut self, partition: i32, runs: Vec<Interject<A::Store>>) {
        for run in runs.into_iter().rev() {
            self.waiting.push_front(Waiting::Interject(partition, run));
        }
    }
}
