//! A fenced producer: what that means is for the group to say.
//!
//! A producer of ours is fenced when another one takes its transactional id. There are two cases:
//!
//! - This member was away for longer than its session, and whoever has its partitions now has
//!   ended what it left open (`runtime/takeover.rs`). The group says so: all is lost. Then the
//!   producer is made anew, and the source goes on.
//! - Another process runs under our instance's name. The group says that too, as an error
//!   (FENCED_INSTANCE_ID).
//!
//! So the producer waits for that word. It commits nothing meanwhile (EOS-5). If the group says
//! nothing for as long as a session, the source stops.

use std::time::Instant;

use super::Worker;
use crate::client::{Fetcher, TxnProducer};
use crate::eos::{Event, StopReason};
use crate::error::{Disposition, TxnError, TxnStep};
use crate::handler::EventSource;
use crate::runtime::slot::SlotCommand;

/// Fenced producers that wait for the group's word.
#[derive(Debug, Default)]
pub(super) struct Fence {
    /// How often all partitions were lost.
    losses: u64,
    /// Since when a fence is unexplained.
    since: Option<Instant>,
    /// The slots that wait for a new producer.
    held: Vec<usize>,
}

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// Keeps an error of the slot's producer, and says what to do about it.
    pub(super) fn keep(&mut self, now: Instant, slot: usize, error: TxnError) -> Disposition {
        let disposition = error.disposition;
        let worker = self.parts.index;
        let generation = self.generation.as_ref().map(|generation| generation.generation_id);
        let is_late = self.rejoining || self.slots[slot].generation != generation;
        if is_late && error.step == TxnStep::SendOffsets && disposition == Disposition::Abort {
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
        self.last_error = Some(error);
        if disposition != Disposition::Fenced {
            return disposition;
        }
        // One that was made before the last loss is explained by it.
        if self.slots[slot].made_after_losses == self.fence.losses {
            self.fence.since.get_or_insert(now);
        }
        Disposition::Recover
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
    pub(super) fn explain_fences(&mut self) {
        self.fence.losses += 1;
        self.fence.since = None;
        for slot in std::mem::take(&mut self.fence.held) {
            self.make_producer(slot);
        }
    }

    /// When the group has said nothing for too long.
    pub(super) fn fence_due(&self) -> Option<Instant> {
        self.fence.since.map(|since| since + self.parts.session_timeout)
    }

    /// Stops the source, if the group has not explained a fence.
    pub(super) fn stop_if_fenced(&mut self, now: Instant) {
        if !self.ended && self.fence_due().is_some_and(|due| now >= due) {
            self.stop(StopReason::Fenced);
        }
    }
}
