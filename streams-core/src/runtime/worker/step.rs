//! One way to run an event: each handler, finalizer and interjection is a [`Step`] that
//! [`Worker::run_event`] runs.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tracing::Span;

use super::Worker;
use crate::client::{Fetcher, TxnProducer};
use crate::eos::EventEnd;
use crate::handler::{EventContext, EventSource, Outcome, Severity};
use crate::record::{OutputMark, ProducerRecord, Record, TopicPartition};
use crate::runtime::OnUndecodable;
use crate::runtime::error::{CodePlace, EventPlace, SourceError, UserCode};
use crate::runtime::pulse::panic_text;
use crate::store::{EventSeq, StateStore};
use crate::task::{Input, Task, Waiting};

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
    /// Runs a step of an event in the slot's transaction: every handler, finalizer and interjection
    /// runs here. Returns what came of it, unless the partition has no task or the source stops.
    ///
    /// `run` is the application's code. It may fail or panic: then the worker undoes the step.
    pub(super) fn run_event(
        &mut self,
        now: Instant,
        slot: usize,
        partition: i32,
        step: Step,
        run: impl FnOnce(&mut EventContext<A::Store>, &Arc<A::Shared>, &Input) -> Outcome,
    ) -> Option<Ran> {
        let task = self.tasks.get_mut(&partition)?;
        let record = step.input.record().cloned();
        match &step.earlier {
            None => task.context.begin(record),
            Some(earlier) => task.context.begin_step(record, earlier.event),
        }
        let span = step.span(task.topic_partition());
        let entered = span.enter();
        let mark = task.context.mark();
        self.pulse.enter(step.code, task.topic_partition(), step.offset(), step.name());
        let shared = &self.parts.shared;
        let call = || run(&mut task.context, shared, &step.input);
        let outcome = catch_unwind(AssertUnwindSafe(call));
        let completers = step.earlier.as_ref().map_or(0, |earlier| earlier.completers);
        let ended = settle(task, mark, outcome, completers, |task| step.place(task));
        self.pulse.leave();
        drop(entered);
        self.slots[slot].follows(self.pool.txn_of(slot), &span);
        let ended = match (ended, step.input.record()) {
            (Err(error), Some(record)) => tolerate(task, record, error, &self.parts.on_undecodable),
            (ended, _) => ended,
        };
        match ended {
            Ok(ended) => {
                let (event, records) = (task.context.event(), task.context.outputs_mut().len());
                self.end_step(now, slot, partition, step, ended);
                Some(Ran { event, records, ended })
            }
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    /// Ends a step of an event: the transaction takes its effects, and an incomplete event is kept
    /// for its completers.
    fn end_step(&mut self, now: Instant, slot: usize, partition: i32, step: Step, ended: Ended) {
        let Some(task) = self.tasks.get_mut(&partition) else {
            return;
        };
        let (id, last) = (task.id, task.context.event());
        let (offset, input) = (step.offset(), step.input);
        let event = step.earlier.as_ref().map_or(last, |earlier| earlier.event);
        let pinned = step.earlier.is_some_and(|earlier| earlier.pinned);
        let outputs = task.context.outputs_mut();
        let (records, bytes) = (outputs.len(), outputs.size_bytes());
        let complete = ended == Ended::Complete;
        self.pool.end_event(id, EventEnd { event: last, offset, records, complete }, pinned);
        self.pool.add_bytes(bytes);
        match (ended, input) {
            (Ended::Complete, Input::Record(_)) => {}
            (Ended::Complete, Input::Scheduled { which, next_ms }) => {
                self.scheduled_run_ended(id, last, which, next_ms);
            }
            (Ended::Complete, Input::Once) => {
                task.completed_once(event, (pinned || records > 0).then_some(last));
            }
            (Ended::Incomplete { completers }, input) => {
                let pinned = pinned || records > 0;
                task.keep_waiting(event, Waiting { input, pinned, completers });
            }
        }
        self.take_outputs(now, slot, partition);
    }
}

/// A step of an event: a piece of the application's code, and what it is called for.
pub(super) struct Step {
    code: UserCode,
    /// The name of what is no record.
    name: Cow<'static, str>,
    input: Input,
    /// What the event has done before; `None` for its first step.
    earlier: Option<EarlierSteps>,
}

/// What the earlier steps of an event have left.
struct EarlierSteps {
    /// The number of the first step.
    event: EventSeq,
    /// Whether one of them had effects.
    pinned: bool,
    /// How many completers are left.
    completers: usize,
}

impl Step {
    /// The handler of a record.
    pub(super) const fn handler(record: Record) -> Self {
        let name = Cow::Borrowed("");
        let input = Input::Record(record);
        Self { code: UserCode::Handler, name, input, earlier: None }
    }

    /// An interjection of this name.
    pub(super) const fn interjection(name: &'static str, input: Input) -> Self {
        let name = Cow::Borrowed(name);
        Self { code: UserCode::Interjection, name, input, earlier: None }
    }

    /// The finalizer of a durable job of this type.
    pub(super) fn finalizer(job_type: &str) -> Self {
        let name = Cow::Owned(format!("finalizer of job `{job_type}`"));
        Self { code: UserCode::Interjection, name, input: Input::Once, earlier: None }
    }

    /// What completes the incomplete event that began as `event`.
    pub(super) fn completion(event: EventSeq, waiting: Waiting) -> Self {
        let Waiting { input, pinned, completers } = waiting;
        // This one has completed.
        let completers = completers.saturating_sub(1);
        let earlier = Some(EarlierSteps { event, pinned, completers });
        Self { code: UserCode::Completion, name: Cow::Borrowed("completer"), input, earlier }
    }

    /// The span of the step, in which the application's code runs.
    fn span(&self, at: &TopicPartition) -> Span {
        tracing::debug_span!(
            target: "streams::event",
            "event",
            topic = &**at.topic(),
            partition = at.partition(),
            offset = self.offset(),
            name = self.name(),
            step = ?self.code,
        )
    }

    /// The record's offset; `None` for an interjection.
    fn offset(&self) -> Option<i64> {
        self.input.record().map(Record::offset)
    }

    /// The record type, or the interjection's name.
    fn name(&self) -> &str {
        self.input.record().map_or(&self.name, Record::record_type)
    }

    fn place<S: StateStore>(&self, task: &Task<S>) -> EventPlace {
        self.input.record().map_or_else(|| interjected(task, &self.name), place)
    }
}

/// What came of a step that did not stop the source.
pub(super) struct Ran {
    /// The step's number.
    pub(super) event: EventSeq,
    /// How many records it sends, changelog included.
    pub(super) records: usize,
    pub(super) ended: Ended,
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
fn settle<S: StateStore>(
    task: &mut Task<S>,
    mark: OutputMark,
    outcome: Result<Outcome, Panic>,
    completers: usize,
    at: impl FnOnce(&Task<S>) -> EventPlace,
) -> Result<Ended, SourceError> {
    let completers = completers + task.context.completers_taken();
    let ended = match outcome {
        Ok(Outcome::Complete) => Ended::Complete,
        Ok(Outcome::Incomplete) if completers > 0 => Ended::Incomplete { completers },
        Ok(Outcome::Incomplete) => {
            let reason = WITHOUT_COMPLETER.to_owned();
            let error = SourceError::Handler { at: at(task), reason, fatal: false };
            return Err(undo(task, mark, error));
        }
        failed => {
            let error = failure(failed, at(task));
            return Err(undo(task, mark, error));
        }
    };
    match catch_unwind(AssertUnwindSafe(|| task.context.seal(mark))) {
        Ok(Ok(_)) => Ok(ended),
        Ok(Err(source)) => {
            let error = SourceError::Changelog { at: at(task), source };
            Err(undo(task, mark, error))
        }
        Err(panic) => {
            let EventPlace { partition, offset, name } = at(task);
            let at = CodePlace { code: UserCode::Changes, partition, offset, name };
            let error = SourceError::CodePanicked { at, message: panic_text(&*panic) };
            Err(undo(task, mark, error))
        }
    }
}

/// Undoes an event that failed. A store that panics meanwhile gets no further event, because the
/// source stops in any case.
fn undo<S: StateStore>(task: &mut Task<S>, mark: OutputMark, error: SourceError) -> SourceError {
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
