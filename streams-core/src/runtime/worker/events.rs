//! Events: records and completions. Interjections are in `interjections`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::{Clock, EVENTS_PER_ROUND, FromWorker, Waiting, Worker, find};
use crate::client::{Fetched, Fetcher, TxnProducer, UnreadableBatch};
use crate::eos::{Delivery, EventEnd, Offer};
use crate::handler::{Completion, EventSource, IntoOutcome, Outcome, Severity};
use crate::record::{ProducerRecord, Record};
use crate::runtime::error::{CodePlace, EventPlace, SourceError, UserCode};
use crate::runtime::pulse::panic_text;
use crate::runtime::{OnUndecodable, OnUnreadable};
use crate::store::{EventSeq, StateStore};
use crate::task::{Input, Task, TaskState, Waiting as WaitingEvent};

/// What a handler's panic was called with.
type Panic = Box<dyn Any + Send>;

/// Why an event fails that nobody could complete.
const WITHOUT_COMPLETER: &str = "it returned `Incomplete` without a live completer, so nobody \
    could complete the event: take a new one with `ctx.completer()` in the handler or the \
    finalizer that returns `Incomplete`, or return `Complete`";

/// Headers of a dead letter: where it came from, and why.
const DEAD_LETTER_SOURCE: &str = "__source__";
const DEAD_LETTER_ERROR: &str = "__error__";

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// Processes events until there are none, or no transaction takes them, or it is time to look
    /// at the mailbox. Returns whether there may be more.
    pub(super) fn process(&mut self, now: Instant, clock: &impl Clock) -> bool {
        self.full = !self.open_partitions(now);
        if self.full {
            return false;
        }
        self.run_waiting(now, clock);
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
                None => return false,
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
                let held_back = self.pool.in_flight(task.id);
                tracing::debug!(%partition, pause, held_back, "the worker paces a partition");
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
        let offset = Some(record.offset());
        task.context.begin(Some(record.clone()));
        let mark = task.context.mark();
        let at = record.topic_partition();
        self.pulse.enter(UserCode::Handler, at, offset, record.record_type());
        let dispatch = || A::dispatch(&mut task.context, &self.parts.shared, &record);
        let outcome = catch_unwind(AssertUnwindSafe(dispatch));
        let ended = settle(task, mark, outcome, 0, || place(&record));
        self.pulse.leave();
        let ended = match ended {
            Err(error) => tolerate(task, &record, error, &self.parts.on_undecodable),
            ended => ended,
        };
        match ended {
            Ok(ended) => {
                let event = task.context.event();
                let begun = Begun { event, offset, input: Input::Record(record), pinned: false };
                self.end_step(now, slot, number, begun, ended);
            }
            Err(error) => self.fail(error),
        }
    }

    /// Ends a step of an event: the transaction takes its effects, and an incomplete event is kept
    /// for its completers.
    pub(super) fn end_step(
        &mut self,
        now: Instant,
        slot: usize,
        partition: i32,
        begun: Begun,
        ended: Ended,
    ) {
        let Some(task) = self.tasks.get_mut(&partition) else {
            return;
        };
        let Begun { event, offset, input, pinned } = begun;
        let outputs = task.context.outputs_mut();
        let (records, bytes) = (outputs.len(), outputs.size_bytes());
        let complete = ended == Ended::Complete;
        let (id, step) = (task.id, task.context.event());
        self.pool.end_event(id, EventEnd { event: step, offset, records, complete }, pinned);
        self.pool.add_bytes(bytes);
        match (ended, input) {
            (Ended::Complete, Input::Record(_)) => {}
            (Ended::Complete, Input::Scheduled { which, next_ms }) => {
                self.scheduled_run_ended(id, step, which, next_ms);
            }
            (Ended::Complete, Input::Once) => {
                task.completed_once(event, (pinned || records > 0).then_some(step));
            }
            (Ended::Incomplete { completers }, input) => {
                let pinned = pinned || records > 0;
                task.keep_waiting(event, WaitingEvent { input, pinned, completers });
            }
        }
        self.take_outputs(now, slot, partition);
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
        let WaitingEvent { input, pinned, completers } = waiting;
        let record = input.record().cloned();
        let at = record.as_ref().map_or_else(|| interjected(task, "completer"), place);
        task.context.begin_step(record, ticket.event);
        let mark = task.context.mark();
        self.pulse.enter(UserCode::Completion, &at.partition, at.offset, &at.name);
        let run = || finalize(&mut task.context).into_outcome();
        let outcome = catch_unwind(AssertUnwindSafe(run));
        // This one has completed.
        let others = completers.saturating_sub(1);
        let ended = settle(task, mark, outcome, others, || at);
        self.pulse.leave();
        match ended {
            Ok(ended) => {
                let number = task.topic_partition().partition();
                let begun = Begun { event: ticket.event, offset: ticket.offset, input, pinned };
                self.end_step(now, slot, number, begun, ended);
            }
            Err(error) => self.fail(error),
        }
    }
}

/// An event whose step ends.
pub(super) struct Begun {
    /// The number of its first step.
    pub(super) event: EventSeq,
    pub(super) offset: Option<i64>,
    pub(super) input: Input,
    /// Whether an earlier step had effects.
    pub(super) pinned: bool,
}

/// How a step of an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Complete,
    /// The event has so many completers left.
    Incomplete {
        completers: usize,
    },
}

pub(super) fn place(record: &Record) -> EventPlace {
    EventPlace {
        partition: record.topic_partition().clone(),
        offset: Some(record.offset()),
        name: record.record_type().to_owned(),
    }
}

pub(super) fn interjected<S: StateStore>(task: &Task<S>, name: &str) -> EventPlace {
    EventPlace { partition: task.topic_partition().clone(), offset: None, name: name.to_owned() }
}

/// Ends a step of an event: logs its changes, or undoes it. `completers` is how many an earlier
/// step has left.
pub(super) fn settle<S: StateStore>(
    task: &mut Task<S>,
    mark: crate::record::OutputMark,
    outcome: Result<Outcome, Panic>,
    completers: usize,
    at: impl FnOnce() -> EventPlace,
) -> Result<Ended, SourceError> {
    let completers = completers + task.context.completers_taken();
    let ended = match outcome {
        Ok(Outcome::Complete) => Ended::Complete,
        Ok(Outcome::Incomplete) if completers > 0 => Ended::Incomplete { completers },
        Ok(Outcome::Incomplete) => {
            let reason = WITHOUT_COMPLETER.to_owned();
            let error = SourceError::Handler { at: at(), reason, fatal: false };
            return Err(undo(task, mark, error));
        }
        failed => return Err(undo(task, mark, failure(failed, at()))),
    };
    match catch_unwind(AssertUnwindSafe(|| task.context.seal(mark))) {
        Ok(Ok(_)) => Ok(ended),
        Ok(Err(source)) => Err(undo(task, mark, SourceError::Changelog { at: at(), source })),
        Err(panic) => {
            let EventPlace { partition, offset, name } = at();
            let at = CodePlace { code: UserCode::Changes, partition, offset, name };
            let error = SourceError::CodePanicked { at, message: panic_text(&*panic) };
            Err(undo(task, mark, error))
        }
    }
}

/// Undoes an event that failed. A store that panics meanwhile gets no further event, because the
/// source stops in any case.
fn undo<S: StateStore>(
    task: &mut Task<S>,
    mark: crate::record::OutputMark,
    error: SourceError,
) -> SourceError {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| task.context.undo_event(mark))) {
        let (partition, message) = (task.topic_partition(), panic_text(&*panic));
        tracing::error!(%partition, message, "the store panicked while it undid an event");
    }
    error
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
        Err(panic) => SourceError::Panicked { at, message: panic_text(&*panic) },
    }
}

/// What the application says about records that can't be decoded or routed.
fn tolerate<S: StateStore>(
    task: &mut Task<S>,
    record: &Record,
    error: SourceError,
    policy: &OnUndecodable,
) -> Result<Ended, SourceError> {
    if !matches!(error, SourceError::Undecodable { .. } | SourceError::Unrouted { .. }) {
        return Err(error);
    }
    match policy {
        OnUndecodable::Fail => Err(error),
        OnUndecodable::Skip => {
            tracing::warn!(%error, "skipped");
            Ok(Ended::Complete)
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
            for (name, value) in record.headers().iter().raw() {
                letter = letter.header(name, value);
            }
            letter = letter.header(DEAD_LETTER_SOURCE, Some(source.as_bytes()));
            letter = letter.header(DEAD_LETTER_ERROR, Some(error.to_string().as_bytes()));
            task.context.forward_record(letter);
            Ok(Ended::Complete)
        }
    }
}
