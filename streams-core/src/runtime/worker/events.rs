//! Events: records and completions. Interjections are in `interjections`.

use std::time::Instant;

use super::pacing::say_pace;
use super::step::Step;
use super::{Clock, EVENTS_PER_ROUND, FromWorker, Waiting, Worker, find};
use crate::client::{Fetched, Fetcher, TxnProducer, UnreadableBatch};
use crate::eos::{Delivery, Offer};
use crate::handler::{Completion, EventContext, EventSource, IntoOutcome, Outcome};
use crate::record::Record;
use crate::runtime::OnUnreadable;
use crate::runtime::error::SourceError;
use crate::task::{Input, Task, TaskState, Turn};

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// Processes events until there are none, or no transaction takes them, or it is time to look
    /// at the mailbox. Returns whether there may be more.
    pub(super) fn process(&mut self, now: Instant, clock: &impl Clock) -> bool {
        self.full = !self.open_partitions(now);
        if self.full {
            return false;
        }
        self.run_waiting(now, clock);
        self.run_retries(now);
        self.run_unparked(now);
        let more_jobs = self.run_finalizers(now);
        self.run_interjections(now, clock);
        self.commit_schedules(now);
        for _ in 0..EVENTS_PER_ROUND {
            if self.failed {
                return false;
            }
            let Offer::Join { slot, .. } = self.offer_event(now) else {
                self.full = true;
                return false;
            };
            match self.next_record() {
                Some(Fetched::Record(record)) => self.run_record(now, slot, record),
                Some(Fetched::Trouble(message)) => tracing::debug!(message, "fetching"),
                Some(Fetched::Failed { error, .. }) => self.fail(error.into()),
                Some(Fetched::Unreadable(batch)) => self.meet_unreadable(batch),
                Some(Fetched::EndOfPartition { .. }) => {}
                None => return more_jobs,
            }
        }
        true
    }

    /// A batch that can't be read stops the source, or its records are left out.
    fn meet_unreadable(&mut self, batch: UnreadableBatch) {
        let at = batch.partition.clone();
        if self.task_of(&at).is_none_or(|task| task.state != TaskState::Active) {
            return;
        }
        if self.parts.on_unreadable == OnUnreadable::Fail {
            return self.fail(SourceError::Unreadable(batch));
        }
        let end = self.fetcher.batch_end(&at, batch.offset);
        let skipped = end.and_then(|end| self.fetcher.assign(&at, end).map(|()| end));
        let next = match skipped {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%batch, %error, "can't skip the batch");
                return self.fail(SourceError::Unreadable(batch));
            }
        };
        if self.task_of(&at).is_some_and(|task| task.is_paused()) {
            self.fetcher.pause(&at);
        }
        tracing::warn!(%batch, next, "skipped a batch of records");
        (self.parts.report)(FromWorker::BatchSkipped);
    }

    /// Offers a transaction to a record or an interjection, unless too much waits to be sent.
    pub(super) fn offer_event(&mut self, now: Instant) -> Offer {
        let unsent: usize = self.slots.iter().map(|slot| slot.outputs.size_bytes()).sum();
        match unsent >= self.parts.eos.max_unsent_bytes {
            true => Offer::Full,
            false => self.pool.offer(now),
        }
    }

    /// A record that was put back comes before one that is new.
    fn next_record(&mut self) -> Option<Fetched> {
        for task in self.tasks.values_mut() {
            let window = self.pool.window(task.id);
            if let Some(pause) = task.flow(window) {
                let partition = task.topic_partition();
                match pause {
                    true => self.fetcher.pause(partition),
                    false => self.fetcher.resume(partition),
                }
                say_pace(task, window, pause, self.pool.in_flight(task.id));
            }
            if task.takes_more(window)
                && let Some(record) = task.backlog.pop_front()
            {
                return Some(Fetched::Record(record));
            }
        }
        self.fetcher.poll()
    }

    fn run_record(&mut self, now: Instant, slot: usize, record: Record) {
        let number = record.topic_partition().partition();
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        if task.topic_partition().topic() != record.topic_partition().topic() {
            return;
        }
        if !task.takes_more(self.pool.window(task.id)) {
            if task.state == TaskState::Active {
                task.backlog.push_back(record);
            }
            return;
        }
        if self.pool.deliver(task.id, record.offset()) != Delivery::Run {
            return;
        }
        match task.retries.admit(now, &record) {
            Turn::Run => self.run_handler(now, slot, number, record),
            Turn::Wait => {}
            Turn::Decided(verdict) => self.apply(now, slot, number, record, verdict),
        }
    }

    /// Runs the events that failed and are due, and the events that waited behind them.
    fn run_retries(&mut self, now: Instant) {
        let is_ready =
            |task: &&mut Task<A::Store>| task.begins_events() && task.retries.is_ready(now);
        while !self.failed && self.tasks.values_mut().any(|task| is_ready(&task)) {
            let Offer::Join { slot, .. } = self.offer_event(now) else {
                self.full = true;
                return;
            };
            let Some(task) = self.tasks.values_mut().find(is_ready) else {
                return;
            };
            let number = task.topic_partition().partition();
            if let Some(record) = task.retries.take(now) {
                self.run_handler(now, slot, number, record);
            }
        }
    }

    fn run_handler(&mut self, now: Instant, slot: usize, partition: i32, record: Record) {
        if self.is_behind_parked(partition, &record) {
            return self.park(now, slot, partition, record);
        }
        self.run_event(now, slot, partition, Step::handler(record), |ctx, shared, input| {
            input.record().map_or(Outcome::Unrouted, |record| A::dispatch(ctx, shared, record))
        });
    }

    /// Moves a task's outputs to the transaction that they belong to.
    pub(super) fn take_outputs(&mut self, now: Instant, slot: usize, partition: i32) {
        let Some(task) = self.tasks.get_mut(&partition) else {
            return;
        };
        let outputs = task.context.outputs_mut();
        if outputs.is_empty() {
            return;
        }
        let known = &mut self.slots[slot];
        if known.outputs.is_empty() {
            // Nothing waits before it: no copy is needed.
            std::mem::swap(&mut known.outputs, outputs);
        } else {
            known.outputs.append(outputs);
        }
        self.send_slot(now, slot);
    }

    /// Runs completions and interjections in their order. One that has to wait holds up none that
    /// may run: a completion may be what unpins the transaction that an interjection waits for.
    fn run_waiting(&mut self, now: Instant, clock: &impl Clock) {
        let mut next = 0;
        while let Some(waiting) = self.waiting.get(next).filter(|_| !self.failed) {
            let is_completion = matches!(waiting, Waiting::Completion(_));
            if self.must_wait(waiting) || (self.full && !is_completion) {
                next += 1;
                continue;
            }
            let offer = match is_completion {
                true => self.pool.offer_completion(now),
                false => self.offer_event(now),
            };
            let Offer::Join { slot, .. } = offer else {
                self.full = true;
                // No transaction takes what a completion may not join.
                if is_completion {
                    return;
                }
                continue;
            };
            match self.waiting.remove(next) {
                Some(Waiting::Completion(completion)) => {
                    self.complete(now, slot, completion);
                    // An interjection may have waited for it.
                    next = 0;
                }
                Some(Waiting::Interject(partition, run)) => {
                    self.interject_once(now, slot, partition, run, clock.wall_clock());
                }
                None => return,
            }
        }
    }

    /// Returns true if the task begins nothing, or has too many incomplete interjections.
    fn must_wait(&self, waiting: &Waiting<A::Store>) -> bool {
        let task = |partition| self.tasks.get(&partition);
        match waiting {
            Waiting::Completion(completion) => {
                let partition = completion.ticket.topic_partition.partition();
                task(partition).is_some_and(|task| task.suspended)
            }
            Waiting::Interject(partition, _) => task(*partition)
                .is_some_and(|task| task.state == TaskState::Active && !task.takes_interjection()),
        }
    }

    fn complete(&mut self, now: Instant, slot: usize, completion: Completion<A::Store>) {
        let Completion { ticket, finalize } = completion;
        let Some(task) = find(&mut self.tasks, &ticket.topic_partition) else {
            return;
        };
        // The event of an earlier assignment or incarnation is processed again.
        if !task.context.issued(&ticket) || task.state != TaskState::Active {
            return;
        }
        let Some(waiting) = task.take_waiting(&ticket) else {
            return;
        };
        let number = task.topic_partition().partition();
        let is_asked = matches!(waiting.input, Input::Once);
        let step = Step::completion(ticket.event, waiting);
        let run = |ctx: &mut EventContext<_>, _: &_, _: &_| finalize(ctx).into_outcome();
        if !is_asked {
            self.run_event(now, slot, number, step, run);
        } else if let Err(failed) = self.try_event(now, slot, number, step, run) {
            self.completion_failed(now, (slot, number), ticket.event, *failed);
        }
    }
}
