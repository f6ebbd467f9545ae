//! A fenced producer: the broker refuses its epoch. The group tells what that means.
//!
//! There are three cases:
//!
//! - The group has expelled this member, and the next owner of its partitions has aborted its
//!   transactions (`runtime/takeover.rs`). The group answers `Lost`.
//! - A twin runs with the same instance id. The group answers with an error,
//!   `FENCED_INSTANCE_ID`, and the source ends.
//! - The broker has aborted a transaction that was older than `transaction_timeout`, or a slow
//!   take-over has aborted one of a member that came back. The group still counts on this member.
//!
//! So the worker asks the group, and the producer waits. It commits nothing meanwhile (EOS-5). The
//! slot gets a new producer after `Lost`, or once the coordinator has accepted a request that the
//! member sent after the fence. That is safe in each case, because every commit carries the
//! generation (EOS-7). The worker waits for the answer as long as for any outage.

use std::time::Instant;

use super::{FromWorker, Worker};
use crate::client::{Fetcher, TxnProducer};
use crate::eos::{Event, StopReason};
use crate::error::{Cause, Disposition, TxnError, TxnStep};
use crate::handler::EventSource;
use crate::runtime::slot::SlotCommand;

/// Fenced producers that wait for the group's answer.
#[derive(Debug, Default)]
pub(super) struct Fence {
    /// How often all partitions were lost.
    losses: u64,
    /// The first fence that the group has not explained.
    since: Option<Instant>,
    /// The number of the last question: an answer to an earlier one does not explain a later fence.
    question: u64,
    /// The slots that wait for a new producer.
    held: Vec<usize>,
}

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// Keeps an error of the slot's producer. Returns what to do about it, and its cause.
    pub(super) fn keep(
        &mut self,
        now: Instant,
        slot: usize,
        error: TxnError,
    ) -> (Disposition, Cause) {
        let (disposition, cause, step) = (error.disposition, error.cause, error.step);
        let worker = self.parts.index;
        let generation = self.generation.as_ref().map(|generation| generation.generation_id);
        let is_late = self.rejoining || self.slots[slot].generation != generation;
        if is_late && step == TxnStep::SendOffsets && disposition == Disposition::Abort {
            // That others were waited for, and this was tried meanwhile, is what costs least.
            tracing::debug!(worker, %error, "the generation changed under a commit");
            // The next one's name may be long in coming, and until then all would be refused. One
            // that stops does not wait for it: its events are the next owner's.
            if self.rejoining && !self.stopping {
                self.pool.handle(now, Event::HoldCommits);
            }
        } else {
            tracing::warn!(worker, ?disposition, %error, "transaction step failed");
        }
        self.ask_about_transaction(slot, &error);
        self.last_error = Some(error);
        if disposition == Disposition::RecoverAll {
            self.offsets_patience.hung();
        }
        if disposition != Disposition::Fenced {
            return (disposition, cause);
        }
        // One that was made before the last loss is explained by it.
        if self.slots[slot].made_after_losses == self.fence.losses {
            self.fence.since.get_or_insert(now);
            self.fence.question += 1;
            let question = self.fence.question;
            (self.parts.report)(FromWorker::Confirm { worker, question });
        }
        // librdkafka repeats EndTxn by itself: the first one may have committed before somebody
        // raised the epoch.
        match step {
            TxnStep::Commit => (Disposition::Indefinite, cause),
            _ => (Disposition::Recover, cause),
        }
    }

    /// Makes the slot's producer, once no fence is unexplained.
    pub(super) fn make_producer(&mut self, slot: usize) {
        let known = &mut self.slots[slot];
        known.reset();
        known.producer = None;
        if self.fence.since.is_some() {
            return self.fence.held.push(slot);
        }
        known.made_after_losses = self.fence.losses;
        known.command(SlotCommand::Init);
    }

    /// All partitions are lost, which explains whatever fence there is.
    pub(super) fn explain_fences_by_loss(&mut self) {
        self.fence.losses += 1;
        self.explain_fences();
    }

    /// The coordinator has confirmed this member after the question.
    pub(super) fn confirmed(&mut self, question: u64) {
        if question == self.fence.question {
            self.explain_fences();
        }
    }

    fn explain_fences(&mut self) {
        self.fence.since = None;
        for slot in std::mem::take(&mut self.fence.held) {
            self.make_producer(slot);
        }
    }

    /// When the worker has waited for the group's answer for too long.
    pub(super) fn fence_due(&self) -> Option<Instant> {
        self.fence.since.map(|since| since + self.parts.outage_timeout)
    }

    /// Stops the source, if the group has not explained a fence.
    pub(super) fn stop_if_fenced(&mut self, now: Instant) {
        if !self.ended && self.fence_due().is_some_and(|due| now >= due) {
            self.stop(StopReason::Outage);
        }
    }
}
