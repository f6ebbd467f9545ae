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
use crate::handler::{EventContext, EventSource, Outcome};
use crate::record::{OutputMark, Record, TopicPartition};
use crate::runtime::error::{EventPlace, UserCode};
use crate::runtime::failure::{EventFailure, PanicText};
use crate::runtime::pulse::panic_text;
use crate::store::{EventSeq, StateStore};
use crate::task::{Input, Task, Waiting};

/// What a handler's panic was called with.
type Panic = Box<dyn Any + Send>;

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// Runs a step of an event in the slot's transaction: every handler, finalizer and interjection
    /// runs here. Returns what came of it, unless the partition has no task or the source stops.
    ///
    /// `run` is the application's code. It may fail or panic: then the worker undoes the step, and
    /// asks the error policy.
    pub(super) fn run_event(
        &mut self,
        now: Instant,
        slot: usize,
        partition: i32,
        step: Step,
        run: impl FnOnce(&mut EventContext<A::Store>, &Arc<A::Shared>, &Input) -> Outcome,
    ) -> Option<Ran> {
        match self.try_event(now, slot, partition, step, run) {
            Ok(ran) => ran,
            Err(failed) => {
                let (step, failed) = *failed;
                self.answer_failure(now, slot, partition, step, failed)
            }
        }
    }

    /// Runs a step as [`Worker::run_event`] does. If the step fails, the worker undoes it and asks
    /// no error policy.
    pub(super) fn try_event(
        &mut self,
        now: Instant,
        slot: usize,
        partition: i32,
        step: Step,
        run: impl FnOnce(&mut EventContext<A::Store>, &Arc<A::Shared>, &Input) -> Outcome,
    ) -> Result<Option<Ran>, Box<(Step, FailedStep)>> {
        let Some(task) = self.tasks.get_mut(&partition) else {
            return Ok(None);
        };
        let record = step.input.record().cloned();
        match &step.earlier {
            None => task.context.begin(record),
            Some(earlier) => task.context.begin_step(record, earlier.event),
        }
        let attempt = step.offset().map(|offset| task.retries.attempt(offset));
        let span = step.span(task.topic_partition(), attempt);
        let entered = span.enter();
        let mark = task.context.mark();
        self.pulse.enter(step.code, task.topic_partition(), step.offset(), step.name());
        let shared = &self.parts.shared;
        let call = || run(&mut task.context, shared, &step.input);
        let outcome = catch_unwind(AssertUnwindSafe(call));
        let completers = step.earlier.as_ref().map_or(0, |earlier| earlier.completers);
        let ended = settle(task, mark, outcome, completers);
        self.pulse.leave();
        drop(entered);
        self.slots[slot].follows(self.pool.txn_of(slot), &span);
        match ended {
            Ok(ended) => {
                if let Input::Scheduled { which, .. } = step.input {
                    task.retries.run_ended(which);
                }
                Ok(self.end_step(now, slot, partition, step, ended))
            }
            Err(failed) => Err(Box::new((step, failed))),
        }
    }

    /// Ends a step of an event: the transaction takes its effects, and an incomplete event is kept
    /// for its completers.
    pub(super) fn end_step(
        &mut self,
        now: Instant,
        slot: usize,
        partition: i32,
        step: Step,
        ended: Ended,
    ) -> Option<Ran> {
        let task = self.tasks.get_mut(&partition)?;
        let (id, last) = (task.id, task.context.event());
        match &step.input {
            Input::Record(record) if !task.retries.is_idle() => task.retries.ended(now, record),
            Input::Parked(record) => task.parking.ended(record.key().unwrap_or_default()),
            _ => {}
        }
        let offset = match &step.input {
            Input::Record(record) => Some(record.offset()),
            // The offset of a parked record is committed.
            Input::Parked(_) | Input::Scheduled { .. } | Input::Once => None,
        };
        let input = step.input;
        let event = step.earlier.as_ref().map_or(last, |earlier| earlier.event);
        let pinned = step.earlier.is_some_and(|earlier| earlier.pinned);
        let outputs = task.context.outputs_mut();
        let (records, bytes) = (outputs.len(), outputs.size_bytes());
        let complete = ended == Ended::Complete;
        self.pool.end_event(id, EventEnd { event: last, offset, records, complete }, pinned);
        self.pool.add_bytes(bytes);
        match (ended, input) {
            (Ended::Complete, Input::Record(_) | Input::Parked(_)) => {}
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
        Some(Ran { event: last, records, ended })
    }
}

/// A step of an event: a piece of the application's code, and what it is called for.
pub(super) struct Step {
    code: UserCode,
    /// The name of what is no record.
    name: Cow<'static, str>,
    pub(super) input: Input,
    /// What the event has done before; `None` for its first step.
    earlier: Option<EarlierSteps>,
    /// Whether a policy may leave it out.
    is_optional: bool,
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
        Self { code: UserCode::Handler, name, input, earlier: None, is_optional: true }
    }

    /// The handler of a record that was parked.
    pub(super) const fn parked(record: Record) -> Self {
        let (code, name) = (UserCode::Handler, Cow::Borrowed(""));
        Self { code, name, input: Input::Parked(record), earlier: None, is_optional: true }
    }

    /// An interjection of this name.
    pub(super) fn interjection(name: impl Into<Cow<'static, str>>, input: Input) -> Self {
        let name = name.into();
        Self { code: UserCode::Interjection, name, input, earlier: None, is_optional: true }
    }

    /// The finalizer of a durable job of this type.
    pub(super) fn finalizer(job_type: &str) -> Self {
        let name = Cow::Owned(format!("finalizer of job `{job_type}`"));
        let (code, input) = (UserCode::Interjection, Input::Once);
        Self { code, name, input, earlier: None, is_optional: false }
    }

    /// What completes the incomplete event that began as `event`.
    pub(super) fn completion(event: EventSeq, waiting: Waiting) -> Self {
        let Waiting { input, pinned, completers } = waiting;
        // This one has completed.
        let completers = completers.saturating_sub(1);
        let earlier = Some(EarlierSteps { event, pinned, completers });
        let (code, name) = (UserCode::Completion, Cow::Borrowed("completer"));
        Self { code, name, input, earlier, is_optional: true }
    }

    /// Returns true if a policy may leave it out: the finalizer of a durable job decides itself
    /// what becomes of the job's row.
    pub(super) const fn is_optional(&self) -> bool {
        self.is_optional
    }

    /// Returns true if an earlier step had effects.
    pub(super) fn is_pinned(&self) -> bool {
        self.earlier.as_ref().is_some_and(|earlier| earlier.pinned)
    }

    /// The span of the step, in which the application's code runs.
    fn span(&self, at: &TopicPartition, attempt: Option<u32>) -> Span {
        tracing::debug_span!(
            target: "streams::event",
            "event",
            topic = &**at.topic(),
            partition = at.partition(),
            offset = self.offset(),
            name = self.name(),
            step = ?self.code,
            attempt,
        )
    }

    /// The record's offset; `None` for an interjection.
    pub(super) fn offset(&self) -> Option<i64> {
        self.input.record().map(Record::offset)
    }

    /// The record type, or the interjection's name.
    pub(super) fn name(&self) -> &str {
        self.input.record().map_or(&self.name, Record::record_type)
    }

    pub(super) fn place<S: StateStore>(&self, task: &Task<S>) -> EventPlace {
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

/// A step that failed.
pub(super) struct FailedStep {
    pub(super) failure: EventFailure,
    /// Whether the store is as it was before the step; `false` if it panicked meanwhile.
    pub(super) is_undone: bool,
}

/// Ends a step of an event: logs its changes, or undoes it. `completers` is how many an earlier
/// step has left.
fn settle<S: StateStore>(
    task: &mut Task<S>,
    mark: OutputMark,
    outcome: Result<Outcome, Panic>,
    completers: usize,
) -> Result<Ended, FailedStep> {
    let completers = completers + task.context.completers_taken();
    let ended = match outcome {
        Ok(Outcome::Complete) => Ok(Ended::Complete),
        Ok(Outcome::Incomplete) if completers > 0 => Ok(Ended::Incomplete { completers }),
        Ok(Outcome::Incomplete) => Err(EventFailure::WithoutCompleter),
        Ok(Outcome::Failed(error)) => Err(EventFailure::Failed(error)),
        Ok(Outcome::Undecodable(error)) => Err(EventFailure::Undecodable(error)),
        Ok(Outcome::Unrouted) => Err(EventFailure::Unrouted),
        Err(panic) => Err(EventFailure::Panicked(PanicText(panic_text(&*panic)))),
    };
    let sealed =
        ended.and_then(|ended| match catch_unwind(AssertUnwindSafe(|| task.context.seal(mark))) {
            Ok(Ok(_)) => Ok(ended),
            Ok(Err(error)) => Err(EventFailure::Changes(error)),
            Err(panic) => Err(EventFailure::ChangesPanicked(PanicText(panic_text(&*panic)))),
        });
    sealed.map_err(|failure| FailedStep { failure, is_undone: undo(task, mark) })
}

/// Undoes a step that failed. Returns false if the store panicked meanwhile.
fn undo<S: StateStore>(task: &mut Task<S>, mark: OutputMark) -> bool {
    let undone = catch_unwind(AssertUnwindSafe(|| task.context.undo_event(mark)));
    if let Err(panic) = &undone {
        let (partition, message) = (task.topic_partition(), panic_text(&**panic));
        tracing::error!(%partition, message, "the store panicked while it undid an event");
    }
    undone.is_ok()
}
