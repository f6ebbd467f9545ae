//! Scheduled interjections, as a worker keeps them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{EventContext, Interjection, IntoOutcome, Outcome, Result};
use crate::ExecutionState;

/// What a scheduled interjection calls.
type ScheduledCall<S> = Arc<dyn Fn(&mut EventContext<S>, SystemTime) -> Outcome + Send + Sync>;

/// An interjection that the clock calls, with all that it captures.
pub(crate) struct Scheduled<S: 'static> {
    pub(crate) name: Arc<str>,
    pub(crate) every: Duration,
    pub(crate) jitter: Duration,
    pub(crate) call: ScheduledCall<S>,
}

impl<S: 'static> Scheduled<S> {
    /// An interjection that is not part of the routing table.
    pub(crate) fn new(
        name: impl Into<Arc<str>>,
        every: Duration,
        jitter: Duration,
        call: impl Fn(&mut EventContext<S>, SystemTime) -> Result<ExecutionState>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let call = move |ctx: &mut EventContext<S>, at| call(ctx, at).into_outcome();
        Self { name: name.into(), every, jitter, call: Arc::new(call) }
    }

    /// A row of the routing table, with what all handlers share.
    pub(crate) fn of_row<H: Send + Sync>(row: Interjection<S, H>, shared: Arc<H>) -> Self {
        let Interjection { name, every, jitter, call } = row;
        let call = move |ctx: &mut EventContext<S>, at| call(ctx, &shared, at);
        Self { name: name.into(), every, jitter, call: Arc::new(call) }
    }
}

impl<S: 'static> Clone for Scheduled<S> {
    fn clone(&self) -> Self {
        let Self { name, every, jitter, call } = self;
        Self { name: Arc::clone(name), every: *every, jitter: *jitter, call: Arc::clone(call) }
    }
}

impl<S: 'static> fmt::Debug for Scheduled<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduled")
            .field("name", &self.name)
            .field("every", &self.every)
            .field("jitter", &self.jitter)
            .finish_non_exhaustive()
    }
}
