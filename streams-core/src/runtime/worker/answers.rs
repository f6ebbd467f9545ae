//! What a worker does about an event or a transaction that failed: it asks the application's error
//! policies, and carries out their answers.

use std::time::Instant;

use super::Worker;
use super::parking::ParkedEnd;
use super::step::{Ended, FailedStep, Ran, Step, place};
use crate::client::{Fetcher, TxnProducer};
use crate::eos::{Event, PartitionId};
use crate::error::{TxnError, TxnStep};
use crate::handler::EventSource;
use crate::record::{Record, TopicPartition};
use crate::runtime::dead_letter::dead_letter;
use crate::runtime::error::{EventPlace, SourceError, UserCode};
use crate::runtime::error_policy::{
    ErrorContext, ErrorResponse, RETRY_AFTER_MAX, RETRY_AFTER_MIN, TransactionErrorContext,
    TransactionResponse,
};
use crate::runtime::failure::EventFailure;
use crate::task::{Input, Verdict};

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// Asks the policy about a step that failed, and does what it answers. Returns the step if the
    /// event ends all the same.
    pub(super) fn answer_failure(
        &mut self,
        now: Instant,
        slot: usize,
        partition: i32,
        step: Step,
        failed: FailedStep,
    ) -> Option<Ran> {
        let task = self.tasks.get_mut(&partition)?;
        let at = step.place(task);
        let FailedStep { failure, is_undone } = failed;
        if failure.is_fatal() {
            self.fail_fatally(failure.into_source_error(at));
            return None;
        }
        // A store that could not undo the step is not asked anything any more. The effects of the
        // earlier steps of what no fetch delivers would need an abort, after which it would run at
        // once again.
        let is_delivered = matches!(step.input, Input::Record(_));
        if !is_undone || !step.is_optional() || (!is_delivered && step.is_pinned()) {
            self.fail(failure.into_source_error(at));
            return None;
        }
        let response = match self.ask(partition, &step, &failure) {
            Ok(ErrorResponse::FatallyExit) => {
                self.fail_fatally(failure.into_source_error(at));
                return None;
            }
            Ok(ErrorResponse::FailConsumer) => {
                self.fail(failure.into_source_error(at));
                return None;
            }
            Ok(response) => response,
            Err(error) => {
                self.fail(error);
                return None;
            }
        };
        let spot = (slot, partition);
        match &step.input {
            Input::Record(record) => {
                let record = record.clone();
                self.answer_record(now, spot, step, record, (&at, &failure), response)
            }
            Input::Parked(record) => {
                let record = record.clone();
                self.answer_unparked(now, spot, step, &record, (&at, &failure), response)
            }
            Input::Scheduled { .. } | Input::Once => {
                if let ErrorResponse::DeadLetter(_) | ErrorResponse::Park = response {
                    self.fail(failure.into_source_error(at));
                    return None;
                }
                warn(&at, &failure, "an interjection failed: this run is left out");
                if let Input::Scheduled { which, .. } = step.input {
                    let retries = &mut self.tasks.get_mut(&partition)?.retries;
                    match response {
                        ErrorResponse::Retry { .. } => retries.run_failed(which),
                        _ => retries.run_ended(which),
                    }
                }
                self.end_step(now, slot, partition, step, Ended::Complete)
            }
        }
    }

    fn answer_record(
        &mut self,
        now: Instant,
        (slot, partition): (usize, i32),
        step: Step,
        record: Record,
        (at, failure): (&EventPlace, &EventFailure),
        response: ErrorResponse,
    ) -> Option<Ran> {
        match response {
            ErrorResponse::DeadLetter(topic) if !self.parts.dead_letter_topics.contains(&topic) => {
                let (at, reason) = (at.clone(), failure.error().to_string());
                self.fail(SourceError::DeadLetterTopic { at, topic, reason });
                None
            }
            ErrorResponse::DeadLetter(topic) => {
                warn(at, failure, "an event failed: its record is sent to a dead-letter topic");
                let letter = Verdict::Letter(dead_letter(topic, &record, failure));
                self.conclude(now, slot, partition, step, record, letter)
            }
            ErrorResponse::Retry { after, order } => {
                let after = after.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX);
                let retries = &mut self.tasks.get_mut(&partition)?.retries;
                let (offset, error) = (record.offset(), failure.error());
                let attempt = retries.attempt(offset);
                tracing::warn!(event = %at, %error, attempt, ?after, ?order, "an event is retried");
                match step.is_pinned() {
                    true => {
                        retries.retry_after_rewind(now, offset, after, order);
                        self.pool.handle(now, Event::Discard);
                    }
                    false => retries.retry(now, record, after, order),
                }
                None
            }
            ErrorResponse::Park => {
                if record.key().is_none() {
                    let reason =
                        format!("a record without a key can't be parked: {}", failure.error());
                    let at = at.clone();
                    self.fail(SourceError::Handler { at, reason, fatal: false });
                    return None;
                }
                warn(at, failure, "an event failed: its key is parked");
                self.conclude(now, slot, partition, step, record, Verdict::Park)
            }
            _ => {
                warn(at, failure, "an event failed: it is left out");
                self.conclude(now, slot, partition, step, record, Verdict::Skip)
            }
        }
    }

    /// Carries out the answer for an event that failed after its key was unparked.
    fn answer_unparked(
        &mut self,
        now: Instant,
        spot: (usize, i32),
        step: Step,
        record: &Record,
        (at, failure): (&EventPlace, &EventFailure),
        response: ErrorResponse,
    ) -> Option<Ran> {
        let end = match response {
            ErrorResponse::DeadLetter(topic) if !self.parts.dead_letter_topics.contains(&topic) => {
                let (at, reason) = (at.clone(), failure.error().to_string());
                self.fail(SourceError::DeadLetterTopic { at, topic, reason });
                return None;
            }
            ErrorResponse::DeadLetter(topic) => {
                warn(at, failure, "an event failed: its record is sent to a dead-letter topic");
                ParkedEnd::Letter(dead_letter(topic, record, failure))
            }
            ErrorResponse::Retry { after, .. } => {
                warn(at, failure, "an unparked event is retried");
                let after = after.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX);
                let parking = &mut self.tasks.get_mut(&spot.1)?.parking;
                parking.retry(now, record.key()?, record.offset(), after);
                return None;
            }
            ErrorResponse::Park => {
                warn(at, failure, "an event failed: its key is parked again");
                ParkedEnd::Park
            }
            _ => {
                warn(at, failure, "an event failed: it is left out");
                ParkedEnd::Skip
            }
        };
        self.end_unparked(now, spot, step, end)
    }

    /// Ends a record's event by its verdict. If earlier steps of it had effects, the event is
    /// delivered again and ends then.
    fn conclude(
        &mut self,
        now: Instant,
        slot: usize,
        partition: i32,
        step: Step,
        record: Record,
        verdict: Verdict,
    ) -> Option<Ran> {
        let task = self.tasks.get_mut(&partition)?;
        if step.is_pinned() {
            task.retries.decide(now, record.offset(), verdict);
            self.pool.handle(now, Event::Discard);
            return None;
        }
        match verdict {
            Verdict::Skip => {}
            Verdict::Letter(letter) => task.context.forward_record(letter),
            Verdict::Park => {
                if !self.park_failed(partition, &record, || place(&record)) {
                    return None;
                }
            }
        }
        self.end_step(now, slot, partition, step, Ended::Complete)
    }

    /// Ends an event that was decided before its transaction was aborted.
    pub(super) fn apply(
        &mut self,
        now: Instant,
        slot: usize,
        partition: i32,
        record: Record,
        verdict: Verdict,
    ) {
        if let Some(task) = self.tasks.get_mut(&partition) {
            task.context.begin(Some(record.clone()));
            let step = Step::handler(record.clone());
            self.conclude(now, slot, partition, step, record, verdict);
        }
    }

    /// Asks the policy.
    ///
    /// # Errors
    /// If the policy panics.
    fn ask(
        &mut self,
        partition: i32,
        step: &Step,
        failure: &EventFailure,
    ) -> Result<ErrorResponse, SourceError> {
        let Self { pulse, parts, tasks, .. } = self;
        let Some(task) = tasks.get(&partition) else {
            return Ok(ErrorResponse::FailConsumer);
        };
        let (setting, policy) = match failure.is_decode_error() {
            true => ("on_decode_error", &parts.errors.decode),
            false => ("on_handler_error", &parts.errors.handler),
        };
        let attempt = match &step.input {
            Input::Record(record) => task.retries.attempt(record.offset()),
            Input::Parked(record) => {
                task.parking.attempt(record.key().unwrap_or_default(), record.offset())
            }
            Input::Scheduled { which, .. } => task.retries.run_attempt(*which),
            Input::Once => 1,
        };
        let (at, input, name) = (task.topic_partition(), step.input.record(), step.name());
        let error = ErrorContext { partition: at, input, name, failure, attempt };
        let respond = || policy.respond(&error);
        pulse.guard(UserCode::Callback, at, step.offset(), setting, respond)
    }

    /// The partition has committed: its failed events that are done are forgotten.
    pub(super) fn forget_failures(&mut self, id: PartitionId) {
        let task = self.tasks.values_mut().find(|task| task.id == id);
        if let Some(task) = task.filter(|task| !task.retries.is_idle())
            && let Some(committed) = self.pool.committed_of(id)
        {
            task.retries.committed(committed);
        }
    }

    /// Asks the policy about a step of a transaction that failed. A transaction that is being
    /// aborted already is not asked about again.
    pub(super) fn ask_about_transaction(&mut self, slot: usize, error: &TxnError) {
        let is_step = !matches!(error.step, TxnStep::Init | TxnStep::Abort);
        if !is_step || !self.pool.may_commit(slot) {
            return;
        }
        self.txn_failures = self.txn_failures.saturating_add(1);
        let failures = self.txn_failures;
        let Self { pulse, parts, tasks, .. } = self;
        let Some(respond) = &parts.errors.transaction else {
            return;
        };
        let at = tasks.values().next().map(|task| task.topic_partition().clone());
        let at = at.unwrap_or_else(|| TopicPartition::new("", 0));
        let context = TransactionErrorContext { error, failures };
        let respond = || respond(&context);
        match pulse.guard(UserCode::Callback, &at, None, "on_transaction_error", respond) {
            Ok(TransactionResponse::Continue) => {}
            Ok(TransactionResponse::FailConsumer) => {
                self.fail(SourceError::Transaction(error.clone()));
            }
            Ok(TransactionResponse::FatallyExit) => {
                self.fail_fatally(SourceError::Transaction(error.clone()));
            }
            Err(error) => self.fail(error),
        }
    }
}

fn warn(at: &EventPlace, failure: &EventFailure, what: &'static str) {
    tracing::warn!(event = %at, kind = failure.kind(), error = %failure.error(), "{what}");
}
