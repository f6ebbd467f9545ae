//! Events: records, completions, interjections.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::{Clock, EVENTS_PER_ROUND, Waiting, Worker};
use crate::client::{Fetched, Fetcher, TxnProducer};
use crate::eos::{Delivery, EventEnd, Offer};
use crate::handler::{Completion, EventContext, EventSource, IntoOutcome, Outcome, Severity};
use crate::record::{ProducerRecord, Record};
use crate::runtime::OnUndecodable;
use crate::runtime::error::{EventPlace, SourceError};
use crate::store::StateStore;
use crate::task::{Task, TaskState, Waiting as WaitingEvent};

/// What a handler's panic was called with.
type Panic = Box<dyn Any + Send>;

/// Headers of a dead letter: where it came from, and why.
const DEAD_LETTER_SOURCE: &str = "__source__";
const DEAD_LETTER_ERROR: &str = "__error__";

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// Processes events until there are none, or no transaction takes them, or it is time to look
    /// at the mailbox. Returns whether there may be more.
    pub(super) fn process(&mut self, now: Instant, clock: &impl Clock) -> bool {
        self.full = false;
        self.run_waiting(now, clock);
        self.run_interjections(now, clock);
        for _ in 0..EVENTS_PER_ROUND {
            if self.failed {
                return false;
            }
            let Offer::Join { slot, .. } = self.pool.offer(now) else {
                self.full = true;
                return false;
            };
            match self.next_record() {
                Some(Fetched::Record(record)) => self.run_record(now, slot, record),
                Some(Fetched::Trouble(message)) => tracing::debug!(message, "fetching"),
                Some(Fetched::Failed(error)) => self.fail(error.into()),
                Some(Fetched::EndOfPartition(_)) => {}
                None => return false,
            }
        }
        true
    }

    /// A record that was put back comes before one that is new.
    fn next_record(&mut self) -> Option<Fetched> {
        for task in self.tasks.values_mut() {
            let in_flight = self.pool.in_flight(task.id);
            if let Some(pause) = task.flow(in_flight) {
                match pause {
                    true => self.fetcher.pause(task.topic_partition()),
                    false => self.fetcher.resume(task.topic_partition()),
                }
            }
            if task.takes_more(in_flight)
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
        if !task.takes_more(self.pool.in_flight(task.id)) {
            if task.state == TaskState::Active {
                task.backlog.push_back(record);
            }
            return;
        }
        if self.pool.deliver(task.id, record.offset()) != Delivery::Run {
            return;
        }
        let offset = Some(record.offset());
        task.context.begin(Some(record.clone()));
        let mark = task.context.mark();
        let dispatch = || A::dispatch(&mut task.context, &self.parts.shared, &record);
        let outcome = catch_unwind(AssertUnwindSafe(dispatch));
        let ended = settle(task, mark, outcome, || place(&record));
        let ended = match ended {
            Err(error) => tolerate(task, &record, error, &self.parts.on_undecodable),
            ended => ended,
        };
        match ended {
            Ok(complete) => {
                let records = task.context.outputs_mut().len();
                let event = task.context.event();
                if !complete {
                    let waiting = WaitingEvent { record: Some(record), pinned: records > 0 };
                    task.waiting.insert(event, waiting);
                }
                let end = EventEnd { event, offset, records, complete };
                self.pool.end_event(task.id, end, false);
                self.take_outputs(now, slot, number);
            }
            Err(error) => self.fail(error),
        }
    }

    /// Moves a task's outputs to the transaction that they belong to.
    fn take_outputs(&mut self, now: Instant, slot: usize, partition: i32) {
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
            let must_wait = self.waits_for_suspended(waiting) || (self.full && !is_completion);
            if must_wait {
                next += 1;
                continue;
            }
            let offer = match is_completion {
                true => self.pool.offer_completion(now),
                false => self.pool.offer(now),
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
                Some(Waiting::Completion(completion)) => self.complete(now, slot, completion),
                Some(Waiting::Interject(partition, run)) => {
                    let at = clock.wall_clock();
                    let run = |ctx: &mut EventContext<_>| run(ctx, at).into_outcome();
                    self.interject(now, slot, partition, "interject", run);
                }
                None => return,
            }
        }
    }

    fn waits_for_suspended(&self, waiting: &Waiting<A::Store>) -> bool {
        let partition = match waiting {
            Waiting::Completion(completion) => completion.ticket.topic_partition.partition(),
            Waiting::Interject(partition, _) => *partition,
        };
        self.tasks.get(&partition).is_some_and(|task| task.suspended)
    }

    fn complete(&mut self, now: Instant, slot: usize, completion: Completion<A::Store>) {
        let Completion { ticket, finalize } = completion;
        let Some(task) = self.task_of(&ticket.topic_partition) else {
            return;
        };
        // The event of an earlier assignment or incarnation is processed again.
        if !task.context.issued(&ticket) || task.state != TaskState::Active {
            return;
        }
        let Some(waiting) = task.take_waiting(&ticket) else {
            return;
        };
        let at = waiting.record.as_ref().map_or_else(|| interjected(task, "completer"), place);
        task.context.begin(waiting.record.clone());
        let mark = task.context.mark();
        let run = || finalize(&mut task.context).into_outcome();
        let outcome = catch_unwind(AssertUnwindSafe(run));
        match settle(task, mark, outcome, || at) {
            Ok(complete) => {
                let records = task.context.outputs_mut().len();
                let event = task.context.event();
                let pinned = waiting.pinned;
                if !complete {
                    let waiting = WaitingEvent { pinned: pinned || records > 0, ..waiting };
                    task.waiting.insert(ticket.event, waiting);
                }
                let (id, number) = (task.id, task.topic_partition().partition());
                let end = EventEnd { event, offset: ticket.offset, records, complete };
                self.pool.end_event(id, end, pinned);
                self.take_outputs(now, slot, number);
            }
            Err(error) => self.fail(error),
        }
    }

    fn run_interjections(&mut self, now: Instant, clock: &impl Clock) {
        let due = |task: &Task<A::Store>| {
            let at = task.interjections.iter().position(|at| *at <= now)?;
            task.begins().then_some((task.topic_partition().partition(), at))
        };
        while let Some((partition, which)) = self.tasks.values().find_map(due) {
            let Offer::Join { slot, .. } = self.pool.offer(now) else {
                self.full = true;
                return;
            };
            let Some(interjection) = self.parts.interjections.get(which).copied() else {
                return;
            };
            let next = self.first_run(now, interjection.every, interjection.jitter);
            if let Some(task) = self.tasks.get_mut(&partition) {
                task.interjections[which] = next;
            }
            let (at, shared) = (clock.wall_clock(), Arc::clone(&self.parts.shared));
            let run = |ctx: &mut EventContext<A::Store>| (interjection.call)(ctx, &shared, at);
            self.interject(now, slot, partition, interjection.name, run);
            if self.failed {
                return;
            }
        }
    }

    fn interject(
        &mut self,
        now: Instant,
        slot: usize,
        partition: i32,
        name: &str,
        run: impl FnOnce(&mut EventContext<A::Store>) -> Outcome,
    ) {
        let Some(task) = self.tasks.get_mut(&partition) else {
            return;
        };
        if task.state != TaskState::Active {
            return;
        }
        let at = interjected(task, name);
        task.context.begin(None);
        let mark = task.context.mark();
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&mut task.context)));
        match settle(task, mark, outcome, || at) {
            Ok(complete) => {
                let records = task.context.outputs_mut().len();
                let event = task.context.event();
                if !complete {
                    let waiting = WaitingEvent { record: None, pinned: records > 0 };
                    task.waiting.insert(event, waiting);
                }
                let end = EventEnd { event, offset: None, records, complete };
                self.pool.end_event(task.id, end, false);
                self.take_outputs(now, slot, partition);
            }
            Err(error) => self.fail(error),
        }
    }
}

fn place(record: &Record) -> EventPlace {
    EventPlace {
        partition: record.topic_partition().clone(),
        offset: Some(record.offset()),
        name: record.record_type().to_owned(),
    }
}

fn interjected<S: StateStore>(task: &Task<S>, name: &str) -> EventPlace {
    EventPlace { partition: task.topic_partition().clone(), offset: None, name: name.to_owned() }
}

/// Ends an event: logs its changes, or undoes it. Returns whether it is complete.
fn settle<S: StateStore>(
    task: &mut Task<S>,
    mark: crate::record::OutputMark,
    outcome: Result<Outcome, Panic>,
    at: impl FnOnce() -> EventPlace,
) -> Result<bool, SourceError> {
    let complete = match outcome {
        Ok(Outcome::Complete) => true,
        Ok(Outcome::Incomplete) => false,
        failed => {
            task.context.undo_event(mark);
            return Err(failure(failed, at()));
        }
    };
    if let Err(source) = task.context.seal(mark) {
        task.context.undo_event(mark);
        return Err(SourceError::Changelog { at: at(), source });
    }
    Ok(complete)
}

fn failure(outcome: Result<Outcome, Panic>, at: EventPlace) -> SourceError {
    match outcome {
        Ok(Outcome::Failed(error)) => {
            let fatal = error.severity() == Severity::Fatal;
            SourceError::Handler { at, reason: error.to_string(), fatal }
        }
        Ok(Outcome::Undecodable(source)) => SourceError::Undecodable { at, source },
        Ok(Outcome::Unrouted | Outcome::Complete | Outcome::Incomplete) => {
            SourceError::Unrouted { at }
        }
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            SourceError::Panicked { at, message: text.unwrap_or_else(|| "no message".to_owned()) }
        }
    }
}

/// What the application says about records that can't be decoded or routed.
fn tolerate<S: StateStore>(
    task: &mut Task<S>,
    record: &Record,
    error: SourceError,
    policy: &OnUndecodable,
) -> Result<bool, SourceError> {
    if !matches!(error, SourceError::Undecodable { .. } | SourceError::Unrouted { .. }) {
        return Err(error);
    }
    match policy {
        OnUndecodable::Fail => Err(error),
        OnUndecodable::Skip => {
            tracing::warn!(%error, "skipped");
            Ok(true)
        }
        OnUndecodable::DeadLetter(topic) => {
            tracing::warn!(%error, topic, "sent to the dead-letter topic");
            let source = format!("{}@{}", record.topic_partition(), record.offset());
            let mut letter = ProducerRecord::to(topic.clone());
            if let Some(key) = record.key() {
                letter = letter.key(key.to_vec());
            }
            if let Some(value) = record.value() {
                letter = letter.value(value.to_vec());
            }
            for header in record.headers() {
                letter = letter.header(header.name, header.value);
            }
            letter = letter.header(DEAD_LETTER_SOURCE, Some(source.as_bytes()));
            letter = letter.header(DEAD_LETTER_ERROR, Some(error.to_string().as_bytes()));
            task.context.forward_record(letter);
            Ok(true)
        }
    }
}
