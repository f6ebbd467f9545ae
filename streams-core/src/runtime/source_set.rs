//! Several sources in one process that stop together.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use super::block::{block_on, either};
use super::error::SourceError;
use super::handle::Lifecycle;
use super::running::{RunningSource, SourceThread, UserCommand, join};
use super::signals::Signal;
use crate::handler::EventSource;

/// Several sources that stop together: when one of them ends, however it ends, the others stop in
/// good order, and [`wait`](Self::wait) returns the errors of all. Dropping the set stops them all
/// and waits for their end.
///
/// # Examples
/// ```no_run
/// # use streams_core::prelude::*;
/// use streams_core::{RunningSource, SourceSet, SourceSetError};
///
/// fn run<A: EventSource, B: EventSource>(
///     orders: RunningSource<A>,
///     billing: RunningSource<B>,
/// ) -> Result<(), SourceSetError> {
///     SourceSet::new().with("orders", orders).with("billing", billing).run_until_signal()
/// }
/// ```
#[derive(Default)]
pub struct SourceSet {
    sources: Vec<Source>,
}

struct Source {
    name: String,
    lifecycle: Lifecycle,
    thread: Option<SourceThread>,
}

impl SourceSet {
    /// Creates a set without sources.
    #[must_use]
    pub const fn new() -> Self {
        Self { sources: Vec::new() }
    }

    /// Adds a source. Errors name it by `name`.
    #[must_use]
    pub fn with<A: EventSource>(
        mut self,
        name: impl Into<String>,
        source: RunningSource<A>,
    ) -> Self {
        let (lifecycle, thread) = source.into_parts();
        self.sources.push(Source { name: name.into(), lifecycle, thread });
        self
    }

    /// Asks all sources to stop in good order, as
    /// [`SourceHandle::stop`](crate::SourceHandle::stop) does.
    pub fn stop(&self) {
        self.command(|| UserCommand::Stop);
    }

    /// Asks all sources to stop at once, as
    /// [`SourceHandle::stop_now`](crate::SourceHandle::stop_now).
    pub fn stop_now(&self) {
        self.command(|| UserCommand::StopNow);
    }

    /// Waits until one source has ended, stops the others, and waits for them.
    ///
    /// # Errors
    /// If a source ended by itself: the errors of all that did.
    pub fn wait(mut self) -> Result<(), SourceSetError> {
        block_on(self.any_ended());
        self.end()
    }

    /// Runs until SIGINT or SIGTERM, or until a source ends by itself; then all stop in good order.
    /// The second signal stops them at once.
    ///
    /// # Errors
    /// If a source ended by itself: the errors of all that did.
    pub fn run_until_signal(self) -> Result<(), SourceSetError> {
        self.wait_for_signals(Signal::DEFAULT.iter().copied(), |_| true)
    }

    /// Blocks until one of `signals` comes and `pre_hook` agrees, or until a source ends by itself;
    /// then all stop in good order. As
    /// [`RunningSource::wait_for_signals`].
    ///
    /// # Errors
    /// If a source ended by itself: the errors of all that did.
    pub fn wait_for_signals(
        mut self,
        signals: impl IntoIterator<Item = Signal>,
        mut pre_hook: impl FnMut(Signal) -> bool,
    ) -> Result<(), SourceSetError> {
        // Whoever ends first ends the wait.
        let watch = self.stop_others();
        if let Some(first) = self.sources.first().filter(|_| watch.is_ok()) {
            let obey = |_| self.command(|| UserCommand::Signal);
            first.lifecycle.obey_signals(signals, &mut pre_hook, obey);
        }
        let ended = self.end();
        let Err(error) = watch else {
            return ended;
        };
        let mut failures = ended.err().map_or_else(Vec::new, |error| error.failures);
        failures.push(("signals".to_owned(), SourceError::Thread(error.to_string())));
        Err(SourceSetError { failures })
    }

    /// Blocks until `shutdown` is ready, or until a source ends by itself; then all stop in good
    /// order. GKES: `WaitForChannel` of several sources.
    ///
    /// # Errors
    /// If a source ended by itself: the errors of all that did.
    pub fn wait_for(mut self, shutdown: impl Future) -> Result<(), SourceSetError> {
        block_on(either(shutdown, self.any_ended()));
        self.end()
    }

    fn command(&self, command: impl Fn() -> UserCommand) {
        self.sources.iter().for_each(|source| source.lifecycle.command(command()));
    }

    /// Waits until one source has ended; without sources not at all.
    fn any_ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let ended = |source: &Source| Box::pin(source.lifecycle.state.ended()) as Ended;
        let mut ended: Vec<Ended> = self.sources.iter().map(ended).collect();
        std::future::poll_fn(move |context| {
            let mut is_over = ended.is_empty();
            for one in &mut ended {
                is_over |= one.as_mut().poll(context).is_ready();
            }
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        })
    }

    /// Stops all others when the first source ends, in a thread of its own.
    fn stop_others(&self) -> std::io::Result<()> {
        let lifecycles: Vec<_> = self.sources.iter().map(|one| one.lifecycle.clone()).collect();
        let any_ended = self.any_ended();
        let stop = move || {
            block_on(any_ended);
            lifecycles.iter().for_each(|one| one.command(UserCommand::Stop));
        };
        std::thread::Builder::new().name("streams-set".to_owned()).spawn(stop).map(drop)
    }

    /// Stops all, and waits for all.
    fn end(&mut self) -> Result<(), SourceSetError> {
        self.stop();
        let mut failures = Vec::new();
        for source in std::mem::take(&mut self.sources) {
            if let Some(Err(error)) = source.thread.map(join) {
                failures.push((source.name, error));
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(SourceSetError { failures }) }
    }
}

type Ended = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Drop for SourceSet {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "a source had failed");
        }
    }
}

impl fmt::Debug for SourceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.sources.iter().map(|source| &source.name);
        f.debug_list().entries(names).finish()
    }
}

/// The errors of the sources of a set that ended by themselves.
#[derive(Debug)]
pub struct SourceSetError {
    failures: Vec<(String, SourceError)>,
}

impl SourceSetError {
    /// Returns each source that failed, by its name, with its error.
    pub fn failures(&self) -> &[(String, SourceError)] {
        &self.failures
    }
}

impl fmt::Display for SourceSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, error)) in self.failures.iter().enumerate() {
            let separator = if place > 0 { "; " } else { "" };
            write!(f, "{separator}source `{name}` failed: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SourceSetError {}
