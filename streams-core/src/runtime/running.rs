//! A source that was started.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::error::SourceError;
use super::mailbox::Mailbox;
use super::worker::ToWorker;
use crate::ExecutionState;
use crate::client::rdkafka::RdTxnProducer;
use crate::group::GroupView;
use crate::handler::{EventContext, EventSource, Result as HandlerResult};
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
    /// [`RunningSource::stalled_partitions`] says which.
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
struct Shared {
    state: SourceState,
    has_ended: bool,
    failure: Option<String>,
    active: BTreeSet<i32>,
    view: Option<GroupView>,
    /// Partitions of the source that no member reads.
    unused: Range<i32>,
    lags: BTreeMap<i32, i64>,
    batches_skipped: u64,
    stalls: BTreeMap<i32, Stall>,
}

impl Shared {
    fn state(&self) -> SourceState {
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
}

/// What the control thread lets others see.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedState(Arc<Inner>);

impl SharedState {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing panics while it holds the lock.
        self.0.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, read: impl FnOnce(&mut Shared) -> R) -> R {
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
#[derive(Clone, Copy, Debug)]
pub(crate) enum UserCommand {
    Stop,
    StopNow,
    StopOnSignals,
}

/// A source that was started. Dropping it stops it, and waits for its end.
pub struct RunningSource<A: EventSource> {
    partitions: i32,
    commands: UnboundedSender<UserCommand>,
    thread: Option<JoinHandle<Result<(), SourceError>>>,
    state: SharedState,
    workers: Vec<Mailbox<ToWorker<A::Store, RdTxnProducer>>>,
    metrics: MetricsSink,
}

const POLL: Duration = Duration::from_millis(5);

impl<A: EventSource> RunningSource<A> {
    pub(crate) const fn new(
        partitions: i32,
        commands: UnboundedSender<UserCommand>,
        thread: JoinHandle<Result<(), SourceError>>,
        state: SharedState,
        workers: Vec<Mailbox<ToWorker<A::Store, RdTxnProducer>>>,
        metrics: MetricsSink,
    ) -> Self {
        Self { partitions, commands, thread: Some(thread), state, workers, metrics }
    }

    /// Sends a metric of the application to the source's `MetricsHandler`, after those that wait
    /// there. Returns false if the source drops it because
    /// [`METRICS_QUEUE_MAX`](crate::metrics::METRICS_QUEUE_MAX) metrics wait. GKES: `EmitMetric`.
    pub fn emit_metric(&self, metric: Metric) -> bool {
        self.metrics.send(metric)
    }

    /// The number of partitions that the source's topic had at the start.
    pub const fn partitions(&self) -> i32 {
        self.partitions
    }

    /// Whether the source is well. After the end it is [`SourceState::Ended`], or still
    /// [`SourceState::Unhealthy`] if an error was the reason.
    pub fn state(&self) -> SourceState {
        self.state.with(|shared| shared.state())
    }

    /// Returns the partitions of this member that do not advance although they have further
    /// records, each with what holds it up.
    pub fn stalled_partitions(&self) -> BTreeMap<i32, Stall> {
        self.state.with(|shared| shared.stalls.clone())
    }

    /// The partitions whose events are processed here.
    pub fn active_partitions(&self) -> BTreeSet<i32> {
        self.state.with(|shared| shared.active.clone())
    }

    /// The group as its leader planned it last: its members, their partitions and warm copies, and
    /// what is on its way from one to another; `None` before the first generation.
    pub fn group_view(&self) -> Option<GroupView> {
        self.state.with(|shared| shared.view.clone())
    }

    /// The partitions that were added to the source's topic while it ran, and that no member reads:
    /// [`NewPartitions::Refuse`](super::NewPartitions::Refuse).
    pub fn unused_partitions(&self) -> Range<i32> {
        self.state.with(|shared| shared.unused.clone())
    }

    /// The warm copies that are kept here, each with the number of changelog offsets that it is
    /// behind, as of a second ago.
    pub fn warm_copies(&self) -> BTreeMap<i32, i64> {
        self.state.with(|shared| shared.lags.clone())
    }

    /// Returns how many batches of records were left out because they can't be read
    /// ([`OnUnreadable::Skip`](crate::OnUnreadable)).
    pub fn batches_skipped(&self) -> u64 {
        self.state.with(|shared| shared.batches_skipped)
    }

    /// Returns the error that ended the source, once it has ended; `None` before, and if the source
    /// ended as it was asked to.
    pub fn failure(&self) -> Option<String> {
        self.state.with(|shared| shared.failure.clone())
    }

    /// Waits until the source has ended, however it ended. The future borrows nothing, so an
    /// application can await it beside its other work, and end when the source does.
    ///
    /// # Examples
    /// ```no_run
    /// # use streams_core::prelude::*;
    /// # async fn serve() {}
    /// # async fn run<A: EventSource>(source: std::sync::Arc<streams_core::RunningSource<A>>) {
    /// let ended = source.ended();
    /// tokio::select! {
    ///     () = serve() => {}
    ///     () = ended => println!("the source has ended: {:?}", source.failure()),
    /// }
    /// # }
    /// ```
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut ended = self.state.0.ended.subscribe();
        async move {
            // The sender lives as long as the state; a source without one has ended.
            let _ = ended.wait_for(|has_ended| *has_ended).await;
        }
    }

    /// Blocks until the source has ended, for at most `timeout`. Returns whether it has.
    pub fn wait_until_ended(&self, timeout: Duration) -> bool {
        let running = |shared: &mut Shared| !shared.has_ended;
        let at_end = &self.state.0.at_end;
        let waited = at_end.wait_timeout_while(self.state.lock(), timeout, running);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }

    /// Waits until `partitions` are processed here. Returns whether they are, within `timeout`.
    pub fn wait_for_active(&self, partitions: usize, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while self.active_partitions().len() < partitions {
            let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            if ended || Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }

    /// Runs `run` for `partition`, with its store, inside a transaction, if the partition is
    /// processed here. GKES: `Interject`.
    ///
    /// Its effects are committed once. If the transaction is aborted, `run` is called again, as the
    /// handlers of events are; to give a value away, take it out of an `Option`. If the partition
    /// is lost or moves to another member before that, `run` is dropped.
    pub fn interject(
        &self,
        partition: i32,
        run: impl FnMut(&mut EventContext<A::Store>, SystemTime) -> HandlerResult<ExecutionState>
        + Send
        + 'static,
    ) {
        let worker = usize::try_from(partition).unwrap_or(0) % self.workers.len();
        self.workers[worker].send(ToWorker::Interject(partition, Box::new(run)));
    }

    /// Asks the source to stop. It goes on until its partitions have moved to others, one by one,
    /// to members that have warm copies of them, but no longer than `leave_timeout`; then it
    /// finishes what has begun, commits, and leaves the group. Asked again, it stops at once, and
    /// within seconds even if a handler never returns: then its thread is abandoned.
    pub fn stop(&self) {
        let _ = self.commands.send(UserCommand::Stop);
    }

    /// Asks the source to stop at once: what is open is aborted. A handler that does not return
    /// within seconds is abandoned with its thread.
    pub fn stop_now(&self) {
        let _ = self.commands.send(UserCommand::StopNow);
    }

    /// Stops on SIGINT and SIGTERM, as [`RunningSource::stop`] does; the second one forces.
    pub fn stop_on_signals(&self) {
        let _ = self.commands.send(UserCommand::StopOnSignals);
    }

    /// Waits until the source has ended.
    ///
    /// # Errors
    /// If it ended by itself: why.
    pub fn wait(mut self) -> Result<(), SourceError> {
        self.join()
    }

    /// Runs until SIGINT or SIGTERM, then stops in good order.
    ///
    /// # Errors
    /// If it ended by itself: why.
    pub fn run_until_signal(self) -> Result<(), SourceError> {
        self.stop_on_signals();
        self.wait()
    }

    fn join(&mut self) -> Result<(), SourceError> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        thread.join().unwrap_or_else(|_| Err(SourceError::Thread("control".to_owned())))
    }
}

impl<A: EventSource> Drop for RunningSource<A> {
    fn drop(&mut self) {
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
