//! A source that was started.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::ops::{Deref, Range};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::block::{block_on, either};
use super::error::SourceError;
use super::handle::{Lifecycle, SourceHandle};
use super::signals::Signal;
use super::status::{RunState, RunStatus};
use crate::group::GroupView;
use crate::handler::EventSource;
use crate::metrics::{Metric, MetricsSink};

/// Whether a source is well: for a deployment's health check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceState {
    /// The source has not processed anything yet.
    #[default]
    Starting,
    /// The source works.
    Healthy,
    /// The source runs, but a partition does not advance although it has further records:
    /// [`stalled_partitions`](crate::SourceHandle::stalled_partitions) returns which.
    Stalled,
    /// The source ran into an error that it can't get over; it stops, or has stopped.
    Unhealthy,
    /// The source has ended, as it was asked to.
    Ended,
}

/// A partition that does not advance although it has further records, or whose take-over does not
/// succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stall {
    /// What holds the partition up, as far as this member knows.
    pub reason: String,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    state: SourceState,
    pub(super) has_ended: bool,
    pub(super) failure: Option<String>,
    pub(super) active: BTreeSet<i32>,
    pub(super) view: Option<GroupView>,
    /// Partitions of the source that no member reads.
    pub(super) unused: Range<i32>,
    pub(super) lags: BTreeMap<i32, i64>,
    pub(super) batches_skipped: u64,
    pub(super) stalls: BTreeMap<i32, Stall>,
}

impl Shared {
    pub(super) fn state(&self) -> SourceState {
        match self.state {
            SourceState::Unhealthy => SourceState::Unhealthy,
            _ if self.has_ended => SourceState::Ended,
            _ if !self.stalls.is_empty() => SourceState::Stalled,
            state => state,
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    shared: Mutex<Shared>,
    /// For threads that wait for the end.
    at_end: Condvar,
    /// For futures that wait for it.
    ended: watch::Sender<bool>,
    /// For the application's own tasks.
    status: RunStatus,
}

/// What the control thread lets others see.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedState(Arc<Inner>);

impl SharedState {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing panics while it holds the lock.
        self.0.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with<R>(&self, read: impl FnOnce(&mut Shared) -> R) -> R {
        read(&mut self.lock())
    }

    pub(crate) fn set(&self, state: SourceState) {
        self.with(|shared| {
            // An unhealthy source never gets well again.
            if shared.state != SourceState::Unhealthy {
                shared.state = state;
            }
        });
    }

    /// The source has ended; `failure` says why, if it was not asked to.
    pub(crate) fn end(&self, failure: Option<&SourceError>) {
        self.with(|shared| {
            if failure.is_some() {
                shared.state = SourceState::Unhealthy;
            }
            shared.failure = failure.map(ToString::to_string);
            shared.has_ended = true;
            shared.active.clear();
            shared.lags.clear();
            shared.stalls.clear();
        });
        self.0.at_end.notify_all();
        self.0.ended.send_replace(true);
        self.0.status.advance(RunState::Ended);
    }

    /// The source has begun to stop.
    pub(crate) fn stopping(&self) {
        self.0.status.advance(RunState::Stopping);
    }

    pub(super) fn status(&self) -> &RunStatus {
        &self.0.status
    }

    /// Waits until the source has ended.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut ended = self.0.ended.subscribe();
        async move {
            // The sender lives as long as the state; a source without one has ended.
            let _ = ended.wait_for(|has_ended| *has_ended).await;
        }
    }

    /// Blocks until the source has ended, for at most `timeout`. Returns true if it has.
    pub(super) fn wait_until_ended(&self, timeout: Duration) -> bool {
        let running = |shared: &mut Shared| !shared.has_ended;
        let waited = self.0.at_end.wait_timeout_while(self.lock(), timeout, running);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }

    /// The partition does not advance, for this reason; or does again.
    pub(crate) fn stalled(&self, partition: i32, reason: Option<String>) {
        self.with(|shared| match reason {
            Some(reason) => shared.stalls.insert(partition, Stall { reason }),
            None => shared.stalls.remove(&partition),
        });
    }

    pub(crate) fn set_view(&self, view: GroupView) {
        self.with(|shared| shared.view = Some(view));
    }

    /// These partitions of the source no member reads.
    pub(crate) fn unused(&self, partitions: Range<i32>) {
        self.with(|shared| shared.unused = partitions);
    }

    /// So far behind is the warm copy; `None` if there is none any more.
    pub(crate) fn lag(&self, partition: i32, lag: Option<i64>) {
        self.with(|shared| match lag {
            Some(lag) => shared.lags.insert(partition, lag),
            None => shared.lags.remove(&partition),
        });
    }

    pub(crate) fn batch_skipped(&self) {
        self.with(|shared| shared.batches_skipped += 1);
    }

    /// Nothing is ours any more.
    pub(crate) fn lost(&self) {
        self.with(|shared| {
            shared.active.clear();
            shared.stalls.clear();
        });
    }

    /// Returns how many partitions are active now.
    pub(crate) fn active(&self, partition: i32, is_active: bool) -> usize {
        self.with(|shared| {
            shared.stalls.remove(&partition);
            match is_active {
                true => shared.active.insert(partition),
                false => shared.active.remove(&partition),
            };
            shared.active.len()
        })
    }
}

/// What the user asks for.
pub(crate) enum UserCommand {
    /// Stop in good order. A source that stops already goes on with that.
    Stop,
    /// Stop at once.
    StopNow,
    /// A signal came: stop in good order, and faster each time it comes again.
    Signal,
    /// Listen to these signals, and hand each on.
    OnSignals(Vec<Signal>, OnSignal),
}

/// Takes a signal; returns false if it takes no more.
pub(crate) type OnSignal = Arc<dyn Fn(Signal) -> bool + Send + Sync>;

/// A source that was started: the owner of its threads, and a [`SourceHandle`] by `Deref`. The
/// [module's page](crate::runtime) tells how sources run and end.
///
/// Dropping it stops it in good order, and waits for its end. If [`stop`](SourceHandle::stop) was
/// called before, the drop waits for that end and does not cut it short. To leave a source running
/// without an owner, keep the `RunningSource` in a static or a thread that waits.
pub struct RunningSource<A: EventSource> {
    handle: SourceHandle<A>,
    thread: Option<SourceThread>,
    metrics: MetricsSink,
}

/// The control thread of a source.
pub(super) type SourceThread = JoinHandle<Result<(), SourceError>>;

impl<A: EventSource> RunningSource<A> {
    pub(crate) const fn new(
        handle: SourceHandle<A>,
        thread: SourceThread,
        metrics: MetricsSink,
    ) -> Self {
        Self { handle, thread: Some(thread), metrics }
    }

    /// Sends a metric of the application to the source's `MetricsHandler`, after those that wait
    /// there. Returns false if the source drops it because
    /// [`METRICS_QUEUE_MAX`](crate::metrics::METRICS_QUEUE_MAX) metrics wait. GKES: `EmitMetric`.
    pub fn emit_metric(&self, metric: Metric) -> bool {
        self.metrics.send(metric)
    }

    /// Returns a handle that other threads and tasks keep: it neither borrows nor owns the source.
    pub fn handle(&self) -> SourceHandle<A> {
        self.handle.clone()
    }

    /// Waits until the source has ended.
    ///
    /// # Errors
    /// If it ended by itself: why.
    pub fn wait(mut self) -> Result<(), SourceError> {
        self.join()
    }

    /// Runs until SIGINT or SIGTERM, then stops in good order. The second signal stops it at once.
    /// On other systems than Unix: until Ctrl-C. GKES: `WaitForSignals(nil)`.
    ///
    /// # Errors
    /// If it ended by itself: why.
    pub fn run_until_signal(self) -> Result<(), SourceError> {
        self.stop_on_signals();
        self.wait()
    }

    /// Blocks until one of `signals` comes and `pre_hook` agrees, then stops in good order and
    /// waits for the end. GKES: `WaitForSignals`.
    ///
    /// `pre_hook` runs in this thread. If it returns false, the source goes on. After it has
    /// returned true it is not called again: the next signal stops the source at once.
    ///
    /// # Errors
    /// If the source ended by itself: why. If this system can't listen to a signal:
    /// [`SourceError::Signals`]; the source has stopped then.
    ///
    /// # Examples
    /// ```no_run
    /// # use streams_core::prelude::*;
    /// use streams_core::{RunningSource, Signal, SourceError};
    ///
    /// fn run<A: EventSource>(source: RunningSource<A>) -> Result<(), SourceError> {
    ///     let signals = [Signal::Terminate, Signal::User1];
    ///     source.wait_for_signals(signals, |signal| {
    ///         println!("{signal}: shutting down");
    ///         signal != Signal::User1
    ///     })
    /// }
    /// ```
    pub fn wait_for_signals(
        self,
        signals: impl IntoIterator<Item = Signal>,
        pre_hook: impl FnMut(Signal) -> bool,
    ) -> Result<(), SourceError> {
        let lifecycle = self.handle.lifecycle();
        lifecycle.obey_signals(signals, pre_hook, |command| lifecycle.command(command));
        self.wait()
    }

    /// Blocks until `shutdown` is ready, then stops in good order and waits for the end. A source
    /// that ends by itself is not waited for any longer. GKES: `WaitForChannel`.
    ///
    /// Any future will do: the receiving end of a `tokio::sync::oneshot` channel, whose sender
    /// sends or is dropped; a `CancellationToken`;
    /// [`RunStatus::stopping`](crate::RunStatus::stopping). It is polled in this thread, without an
    /// executor.
    ///
    /// # Errors
    /// If the source ended by itself: why.
    pub fn wait_for(self, shutdown: impl Future) -> Result<(), SourceError> {
        block_on(either(shutdown, self.ended()));
        self.stop();
        self.wait()
    }

    /// Runs until `shutdown` is ready, then stops in good order and waits for the end, as
    /// [`RunningSource::wait_for`] does for threads.
    ///
    /// A future that is dropped before its end stops the source, as a dropped `RunningSource`.
    ///
    /// # Errors
    /// If the source ended by itself: why.
    pub async fn run_until(self, shutdown: impl Future) -> Result<(), SourceError> {
        either(shutdown, self.ended()).await;
        self.stop();
        self.ended().await;
        // The thread ends right after it has said so.
        self.wait()
    }

    /// Gives the parts to the owner of several sources.
    pub(super) fn into_parts(mut self) -> (Lifecycle, Option<SourceThread>) {
        (self.handle.lifecycle().clone(), self.thread.take())
    }

    fn join(&mut self) -> Result<(), SourceError> {
        self.thread.take().map_or(Ok(()), join)
    }
}

pub(super) fn join(thread: SourceThread) -> Result<(), SourceError> {
    thread.join().unwrap_or_else(|_| Err(SourceError::Thread("control".to_owned())))
}

impl<A: EventSource> Deref for RunningSource<A> {
    type Target = SourceHandle<A>;

    fn deref(&self) -> &SourceHandle<A> {
        &self.handle
    }
}

impl<A: EventSource> Drop for RunningSource<A> {
    fn drop(&mut self) {
        if self.thread.is_none() {
            return;
        }
        self.stop();
        if let Err(error) = self.join() {
            tracing::error!(%error, "the source had failed");
        }
    }
}

impl<A: EventSource> fmt::Debug for RunningSource<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningSource").field("state", &self.state()).finish_non_exhaustive()
    }
}
