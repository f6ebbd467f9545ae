//! Holding a partition's later events back.

use std::fmt;
use std::sync::Arc;

use super::{CompletionSink, EventTicket};

/// While it lives, its partition takes no more events; made by
/// [`EventContext::hold`](super::EventContext::hold), and dropped in any thread.
#[must_use = "the partition goes on as soon as the hold is dropped"]
pub struct Hold<S: 'static> {
    ticket: EventTicket,
    sink: Arc<dyn CompletionSink<S>>,
}

impl<S: 'static> Hold<S> {
    pub(super) fn new(ticket: EventTicket, sink: Arc<dyn CompletionSink<S>>) -> Self {
        Self { ticket, sink }
    }
}

impl<S: 'static> Drop for Hold<S> {
    fn drop(&mut self) {
        self.sink.release(self.ticket.clone());
    }
}

impl<S: 'static> fmt::Debug for Hold<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
