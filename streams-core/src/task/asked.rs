//! Interjections that a caller asks for: the task runs them, and tells each caller the outcome.

use std::fmt;
use std::time::SystemTime;

use crate::handler::{EventContext, Outcome};
use crate::runtime::InterjectError;

/// What a caller asked for.
pub(crate) trait Asked<S: 'static>: Send {
    /// Runs it. After an abort the task runs it again.
    fn run(&mut self, ctx: &mut EventContext<S>, at: SystemTime) -> Outcome;

    /// The error of the last run, as the caller is to see it.
    fn take_failure(&mut self) -> Option<InterjectError> {
        None
    }

    /// Returns true if the caller wants to know that all that the run has seen is committed, though
    /// the run itself has no effects.
    fn reads_committed(&self) -> bool {
        false
    }

    /// Returns true if a failure stops the source, because no caller takes the error.
    fn stops_source(&self) -> bool {
        false
    }

    /// Tells the caller how it ended: its effects are committed, or why there are none.
    fn resolve(self: Box<Self>, end: Result<(), InterjectError>);
}

/// An interjection that a caller asked for, by `SourceHandle::interject` and its like.
pub struct Interject<S: 'static>(Box<dyn Asked<S>>);

impl<S: 'static> Interject<S> {
    pub(crate) fn new(asked: impl Asked<S> + 'static) -> Self {
        Self(Box::new(asked))
    }

    /// One that no caller waits for: its failure is the source's.
    pub(crate) fn unasked(
        run: impl FnMut(&mut EventContext<S>, SystemTime) -> Outcome + Send + 'static,
    ) -> Self {
        Self::new(Unasked(run))
    }

    pub(crate) fn run(&mut self, ctx: &mut EventContext<S>, at: SystemTime) -> Outcome {
        self.0.run(ctx, at)
    }

    pub(crate) fn take_failure(&mut self) -> Option<InterjectError> {
        self.0.take_failure()
    }

    pub(crate) fn reads_committed(&self) -> bool {
        self.0.reads_committed()
    }

    pub(crate) fn stops_source(&self) -> bool {
        self.0.stops_source()
    }

    pub(crate) fn resolve(self, end: Result<(), InterjectError>) {
        self.0.resolve(end);
    }
}

struct Unasked<F>(F);

impl<S: 'static, F> Asked<S> for Unasked<F>
where
    F: FnMut(&mut EventContext<S>, SystemTime) -> Outcome + Send,
{
    fn run(&mut self, ctx: &mut EventContext<S>, at: SystemTime) -> Outcome {
        (self.0)(ctx, at)
    }

    fn stops_source(&self) -> bool {
        true
    }

    fn resolve(self: Box<Self>, _: Result<(), InterjectError>) {}
}

impl<S: 'static> fmt::Debug for Interject<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interject").finish_non_exhaustive()
    }
}
