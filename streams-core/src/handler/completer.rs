//! Completing an event later, from any thread.

use std::fmt;
use std::sync::Arc;

use super::{EventContext, ExecutionState, HandlerError, Result};
use crate::eos::PartitionId;
use crate::record::TopicPartition;
use crate::store::EventSeq;

/// What is left to do with the store when the work is done.
pub type Finalize<S> =
    Box<dyn FnOnce(&mut EventContext<S>) -> Result<ExecutionState> + Send + 'static>;

/// Which event of which task a completion belongs to.
///
/// The worker ignores a completion of an earlier assignment or of an earlier incarnation: its event
/// is processed again, here or by another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTicket {
    /// The task's partition.
    pub topic_partition: TopicPartition,
    /// The record's offset; `None` for an interjection.
    pub offset: Option<i64>,
    /// The event's number in the task; of an event with several steps, the first one's.
    pub event: EventSeq,
    /// The task's assignment. A partition that comes back has another one.
    pub assignment: PartitionId,
    /// How often the task was rewound in this assignment.
    pub incarnation: u64,
}

/// An event's completion, on its way to the thread that owns the partition.
pub struct Completion<S: 'static> {
    /// The event.
    pub ticket: EventTicket,
    /// Runs there, with the store, inside a transaction.
    pub finalize: Finalize<S>,
}

impl<S: 'static> fmt::Debug for Completion<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

/// Takes completions to the thread that owns the partition.
pub trait CompletionSink<S: 'static>: Send + Sync {
    /// Hands the completion over. It never blocks: there is at most one for each event in flight.
    fn complete(&self, completion: Completion<S>);

    /// Says that a [`Hold`](super::Hold) was dropped. It never blocks. Where no task takes events,
    /// nothing is held.
    fn release(&self, hold: EventTicket) {
        drop(hold);
    }
}

/// The promise to complete an event that returned [`ExecutionState::Incomplete`].
///
/// The finalizers of one partition run in the order of the calls of [`Completer::complete`], in
/// whatever order their events came. So a finalizer that writes rows which other handlers write too
/// needs a rule of its own for their order;
/// [`AsyncJobScheduler`](crate::jobs::AsyncJobScheduler) has one.
///
/// Dropped without [`Completer::complete`], it fails the event: a promise that nobody can keep any
/// more must not hold the partition for ever.
pub struct Completer<S: 'static> {
    ticket: EventTicket,
    sink: Option<Arc<dyn CompletionSink<S>>>,
}

impl<S: 'static> Completer<S> {
    pub(crate) fn new(ticket: EventTicket, sink: Arc<dyn CompletionSink<S>>) -> Self {
        Self { ticket, sink: Some(sink) }
    }

    /// The event's place.
    pub const fn ticket(&self) -> &EventTicket {
        &self.ticket
    }

    /// Completes the event: `finalize` runs in the partition's thread, with the store, inside a
    /// transaction, and says whether the event is done now. If it isn't, `finalize` has taken a
    /// completer for the next step, or another completer of the event is left.
    pub fn complete(
        mut self,
        finalize: impl FnOnce(&mut EventContext<S>) -> Result<ExecutionState> + Send + 'static,
    ) {
        self.send(Box::new(finalize));
    }

    /// Drops the completer without a word, because its event's incarnation is over.
    pub(crate) fn forget(mut self) {
        self.sink = None;
    }

    fn send(&mut self, finalize: Finalize<S>) {
        if let Some(sink) = self.sink.take() {
            sink.complete(Completion { ticket: self.ticket.clone(), finalize });
        }
    }
}

impl<S: 'static> Drop for Completer<S> {
    fn drop(&mut self) {
        self.send(Box::new(|_| {
            Err(HandlerError::fail(
                "the event's completer was dropped without completing it: \
                 call `complete` on every path, also when the work failed",
            ))
        }));
    }
}

impl<S: 'static> fmt::Debug for Completer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completer").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
