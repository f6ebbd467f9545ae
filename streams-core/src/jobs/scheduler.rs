//! The scheduler: [`Lanes`] behind a lock, attempts in tokio or in threads, completers for events.
//!
//! The lock is held for a few microseconds and never while a job, a finalizer or a drop of the
//! user's runs. A completer completes under the lock, before the next job of its key starts: so the
//! finalizers of one key run in the order of their jobs.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::config::{SchedulerConfig, check_keys, check_queue_depth};
use super::error::{JobError, JobFailure, JobResult};
use super::lanes::{Attempt, Command, Ended, Exceeded, JobId, Lanes, Next};
use super::pool::Pool;
use super::timer::{self, Timed, pump_unnested};
use super::work::own_runtime;
use super::work::{Attempted, BoxFuture, Finalizer, Work, attempted, guarded, guarded_future};
use crate::error::ConfigError;
use crate::handler::{Completer, EventContext, ExecutionState, HandlerError, Hold, Result};
use crate::store::StateStore;

/// Runs jobs for events: the jobs of one key in their order, and keys in parallel. GKES:
/// `AsyncJobScheduler`.
///
/// [`AsyncJobScheduler::schedule`] takes a completer of the event, and the event is incomplete. The
/// *job* runs elsewhere, without a store, and returns a result. Then the *finalizer* runs on the
/// partition's thread, inside a transaction, with the result, the store and
/// [`forward`](EventContext::forward); it ends the event, or schedules a next job of it. A clone is
/// a handle to the same scheduler, which several partitions, workers and sources can share.
///
/// # Order
/// - Jobs of one key run one after the other. Handlers of one partition schedule them in the order
///   of its events.
/// - The finalizers of one key run in the order of their jobs, if one partition has scheduled them.
/// - Finalizers of different keys run in the order in which their jobs end. So a key whose store
///   rows a finalizer writes should go through the scheduler with all of its events.
///
/// # Full schedulers
/// A scheduler accepts each job. If the job exceeds a limit of [`SchedulerConfig`], its partition
/// takes no more events until the limit is kept again, and pauses its fetch. So a full scheduler
/// drops nothing, blocks no thread, and exceeds its limits by what one event of each partition
/// schedules, and by jobs that finalizers and interjections schedule.
///
/// # Failures
/// An error of the job, a timeout and a panic reach the finalizer as a [`JobError`]. When a
/// partition is lost, revoked or rewound, and when the source stops, the scheduler cancels the jobs
/// of its events: their completers would have no effect, and the events are processed again. So a
/// job may run more than once for one event; its event's outputs and changes are committed once.
///
/// # Threads
/// An asynchronous job ([`AsyncJobScheduler::new`]) runs on the tokio runtime in which the
/// scheduler was made, or else on a runtime that all schedulers of the process share. If it is a
/// `current_thread` runtime, jobs run only while somebody blocks on it. Jobs that block a thread
/// ([`AsyncJobScheduler::blocking`]) have `concurrency` threads of their own; jobs that compute
/// ([`AsyncJobScheduler::compute`]) share one thread for each processor with those of all
/// schedulers.
///
/// # Examples
/// ```
/// use streams_core::jobs::{AsyncJobScheduler, JobError, SchedulerConfig};
/// use streams_core::prelude::*;
///
/// #[derive(Clone, EventCodec, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// struct Mail {
///     address: String,
///     text: String,
/// }
///
/// #[derive(Events)]
/// enum Mails {
///     SendMail(Mail),
/// }
///
/// #[derive(StateStore)]
/// struct Sent {
///     sent: Table<String, i64>,
/// }
///
/// struct App {
///     mails: AsyncJobScheduler<Sent, String, Mail>,
/// }
///
/// async fn send(address: String, mail: Mail) -> Result<usize, std::io::Error> {
///     // .. talk to a mail server ..
///     Ok(address.len() + mail.text.len())
/// }
///
/// fn sent(
///     ctx: &mut EventContext<Sent>,
///     address: String,
///     _: Mail,
///     bytes: Result<usize, JobError>,
/// ) -> Result<ExecutionState> {
///     bytes?; // an error stops the source
///     ctx.store.sent.update(address, |sent| *sent += 1);
///     Ok(Complete)
/// }
///
/// #[event_source(events = Mails, store = Sent, shared = App)]
/// mod mails {
///     use super::*;
///
///     #[event_handler("SendMail")]
///     fn send_mail(
///         ctx: &mut EventContext<Sent>,
///         app: &App,
///         mail: Mail,
///     ) -> Result<ExecutionState> {
///         app.mails.schedule(ctx, mail.address.clone(), mail)
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mails = AsyncJobScheduler::new(SchedulerConfig::slow_network(), send, sent)?;
/// let source = mails::Source::builder().shared(App { mails });
/// # drop(source);
/// # Ok(())
/// # }
/// ```
pub struct AsyncJobScheduler<S: 'static, K, V> {
    inner: Arc<Inner<S, K, V>>,
}

/// How many jobs a scheduler has at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Jobs that wait or run.
    pub pending: usize,
    /// Attempts that run.
    pub running: usize,
    /// Keys with a job.
    pub keys: usize,
    /// Holds of partitions whose jobs exceed a limit.
    pub holds: usize,
}

struct Inner<S: 'static, K, V> {
    config: SchedulerConfig,
    state: Mutex<State<S, K, V>>,
    work: Work<S, K, V>,
    /// What the finalizer does without a result.
    on_error: Arc<OnError<S, K, V>>,
    /// The caller's runtime, or the own one when the first job comes.
    runtime: OnceLock<Handle>,
    /// Something is due earlier than the timer knows.
    sooner: Notify,
}

type OnError<S, K, V> =
    dyn Fn(&mut EventContext<S>, K, V, JobError) -> Result<ExecutionState> + Send + Sync;

struct State<S: 'static, K, V> {
    lanes: Lanes<K, Pending<S, V>>,
    /// Partitions that wait, with the incarnation and the limit for which they do.
    holds: Vec<(u64, Exceeded<K>, Hold<S>)>,
    /// How running attempts are told to stop.
    stops: HashMap<JobId, Arc<Notify>>,
    /// Incarnations whose end is awaited.
    incarnations: HashSet<u64>,
    /// When the timer polls next; `None` if it does not run.
    timer: Option<Instant>,
}

/// An event's job.
struct Pending<S: 'static, V> {
    value: V,
    completer: Completer<S>,
    incarnation: u64,
}

/// What a poll of the lanes asks for.
struct Polled<S: 'static, K, V> {
    starts: Vec<Start<K, V>>,
    /// Holds that end.
    free: Vec<Hold<S>>,
    needs_timer: bool,
}

/// An attempt that is to be started.
struct Start<K, V> {
    id: JobId,
    attempt: Attempt,
    key: K,
    value: V,
    stop: Arc<Notify>,
}

impl<S, K, V> AsyncJobScheduler<S, K, V>
where
    S: StateStore,
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Creates a scheduler of asynchronous jobs: `job` is an `async fn` of key and value.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn new<F, R, E>(
        config: SchedulerConfig,
        job: impl Fn(K, V) -> F + Send + Sync + 'static,
        finalizer: impl Fn(&mut EventContext<S>, K, V, JobResult<R>) -> Result<ExecutionState>
        + Send
        + Sync
        + 'static,
    ) -> Result<Self, ConfigError>
    where
        F: Future<Output = std::result::Result<R, E>> + Send + 'static,
        R: Send + 'static,
        E: JobFailure + 'static,
    {
        let finalizer: Arc<Finalizer<S, K, V, R>> = Arc::new(finalizer);
        let on_result = Arc::clone(&finalizer);
        let start = move |key, value| -> BoxFuture<Attempted<S, K, V>> {
            let (job, finalizer) = (job(key, value), Arc::clone(&on_result));
            Box::pin(async move { attempted(job.await, &finalizer) })
        };
        Self::with(config, true, Work::Async(Arc::new(start)), finalizer)
    }

    /// Creates a scheduler of jobs that block their thread: `concurrency` threads run them.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn blocking<R, E>(
        config: SchedulerConfig,
        job: impl Fn(K, V) -> std::result::Result<R, E> + Send + Sync + 'static,
        finalizer: impl Fn(&mut EventContext<S>, K, V, JobResult<R>) -> Result<ExecutionState>
        + Send
        + Sync
        + 'static,
    ) -> Result<Self, ConfigError>
    where
        R: Send + 'static,
        E: JobFailure + 'static,
    {
        let pool = Pool::new("streams-blocking", config.concurrency);
        Self::in_threads(config, pool, job, finalizer)
    }

    /// Creates a scheduler of jobs that keep a processor busy: all such schedulers of the process
    /// share one thread for each processor.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn compute<R, E>(
        config: SchedulerConfig,
        job: impl Fn(K, V) -> std::result::Result<R, E> + Send + Sync + 'static,
        finalizer: impl Fn(&mut EventContext<S>, K, V, JobResult<R>) -> Result<ExecutionState>
        + Send
        + Sync
        + 'static,
    ) -> Result<Self, ConfigError>
    where
        R: Send + 'static,
        E: JobFailure + 'static,
    {
        Self::in_threads(config, Pool::compute(), job, finalizer)
    }

    fn in_threads<R, E>(
        config: SchedulerConfig,
        pool: Pool,
        job: impl Fn(K, V) -> std::result::Result<R, E> + Send + Sync + 'static,
        finalizer: impl Fn(&mut EventContext<S>, K, V, JobResult<R>) -> Result<ExecutionState>
        + Send
        + Sync
        + 'static,
    ) -> Result<Self, ConfigError>
    where
        R: Send + 'static,
        E: JobFailure + 'static,
    {
        let finalizer: Arc<Finalizer<S, K, V, R>> = Arc::new(finalizer);
        let on_result = Arc::clone(&finalizer);
        let run = move |key, value| attempted(job(key, value), &on_result);
        Self::with(config, false, Work::Threads(pool, Arc::new(run)), finalizer)
    }

    fn with<R: Send + 'static>(
        config: SchedulerConfig,
        can_abort: bool,
        work: Work<S, K, V>,
        finalizer: Arc<Finalizer<S, K, V, R>>,
    ) -> Result<Self, ConfigError> {
        let config = config.check()?;
        let runtime = OnceLock::new();
        if let Ok(handle) = Handle::try_current() {
            let _ = runtime.set(handle);
        }
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
        let state = State {
            lanes: Lanes::new(config.limits(), config.policy(can_abort), seed),
            holds: Vec::new(),
            stops: HashMap::new(),
            incarnations: HashSet::new(),
            timer: None,
        };
        let on_error: Arc<OnError<S, K, V>> =
            Arc::new(move |ctx, key, value, error| finalizer(ctx, key, value, Err(error)));
        let (state, sooner) = (Mutex::new(state), Notify::new());
        Ok(Self { inner: Arc::new(Inner { config, state, work, on_error, runtime, sooner }) })
    }

    /// Schedules a job of `key` for the current event, and returns `Ok(Incomplete)`: end the
    /// handler, the interjection or the finalizer with it. GKES: `Schedule`.
    ///
    /// # Errors
    /// If the operating system starts no threads for the scheduler's runtime.
    pub fn schedule(&self, ctx: &EventContext<S>, key: K, value: V) -> Result<ExecutionState> {
        let inner = &self.inner;
        inner.runtime()?;
        let incarnation = ctx.incarnation();
        let number = incarnation.number();
        let pending = Pending { value, completer: ctx.completer(), incarnation: number };
        let mut state = inner.lock();
        let is_new = state.incarnations.insert(number);
        let now = inner.now();
        state.lanes.push(now, key.clone(), pending, None);
        drop(state);
        if is_new {
            let scheduler = Arc::downgrade(inner);
            incarnation.on_end(move || {
                if let Some(scheduler) = scheduler.upgrade() {
                    scheduler.end_incarnation(number);
                }
            });
        }
        inner.pump();
        let mut state = inner.lock();
        if let Some(limit) = state.lanes.exceeded(&key) {
            state.holds.push((number, limit, ctx.hold()));
        }
        Ok(ExecutionState::Incomplete)
    }

    /// Cancels all jobs of `key` that are not over: their finalizers receive
    /// [`JobError::Cancelled`]. Returns how many there were.
    pub fn cancel_key(&self, key: &K) -> usize {
        let inner = &self.inner;
        let mut state = inner.lock();
        let now = inner.now();
        let cancelled = state.lanes.cancel(now, |of, _| of == key);
        let count = cancelled.len();
        for (key, pending) in cancelled {
            inner.complete(key, pending, Err(JobError::Cancelled));
        }
        drop(state);
        inner.pump();
        count
    }

    /// Changes how many keys may have jobs: up to 10,000,000. GKES: `SetMaxConcurrentKeys`.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn set_max_concurrent_keys(&self, keys: usize) -> Result<(), ConfigError> {
        check_keys(keys)?;
        let concurrency = self.inner.config.concurrency;
        self.inner.change(|limits| limits.keys = keys.max(concurrency));
        Ok(())
    }

    /// Changes how many jobs of one key may wait: 0 to 1,000,000. GKES: `SetWorkerQueueDepth`.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn set_worker_queue_depth(&self, jobs: usize) -> Result<(), ConfigError> {
        check_queue_depth(jobs)?;
        self.inner.change(|limits| limits.queue_depth = jobs);
        Ok(())
    }

    /// Returns how many jobs the scheduler has at this moment.
    pub fn counts(&self) -> JobCounts {
        let state = self.inner.lock();
        JobCounts {
            pending: state.lanes.jobs(),
            running: state.lanes.running(),
            keys: state.lanes.keys(),
            holds: state.holds.len(),
        }
    }
}

impl<S, K, V> Inner<S, K, V>
where
    S: StateStore,
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
{
    fn lock(&self) -> MutexGuard<'_, State<S, K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runtime(&self) -> Result<&Handle> {
        if self.runtime.get().is_none() {
            let handle = own_runtime().map_err(|error| {
                HandlerError::fail(format!(
                    "cannot start the tokio runtime of the job scheduler: {error}"
                ))
            })?;
            let _ = self.runtime.set(handle);
        }
        self.runtime.get().ok_or_else(|| HandlerError::fail("the scheduler has no tokio runtime"))
    }

    /// The time by the runtime's clock, which a test can pause.
    fn now(&self) -> Instant {
        let _entered = self.runtime.get().map(Handle::enter);
        tokio::time::Instant::now().into_std()
    }

    fn change(self: &Arc<Self>, change: impl FnOnce(&mut super::lanes::Limits)) {
        let mut state = self.lock();
        let mut limits = state.lanes.limits();
        change(&mut limits);
        state.lanes.set_limits(limits);
        drop(state);
        self.pump();
    }

    /// Starts what can start, stops what has to stop, and lets partitions go on.
    fn pump(self: &Arc<Self>) {
        pump_unnested(|| {
            let Polled { starts, free, needs_timer } = self.poll();
            drop(free);
            for start in starts {
                self.start(start);
            }
            if needs_timer && let Some(runtime) = self.runtime.get() {
                timer::start(runtime, Arc::clone(self));
            }
        });
    }

    fn poll(&self) -> Polled<S, K, V> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let now = self.now();
        let mut starts = Vec::new();
        while let Some(command) = state.lanes.poll(now) {
            match command {
                Command::Start { id, attempt } => {
                    let Some((key, pending)) = state.lanes.job(id) else {
                        continue;
                    };
                    let (key, value) = (key.clone(), pending.value.clone());
                    let stop = Arc::new(Notify::new());
                    state.stops.insert(id, Arc::clone(&stop));
                    starts.push(Start { id, attempt, key, value, stop });
                }
                Command::Abort { id, .. } => {
                    if let Some(stop) = state.stops.get(&id) {
                        stop.notify_one();
                    }
                }
                Command::TimedOut { key, payload } => {
                    self.complete(key, payload, Err(self.timed_out()));
                }
            }
        }
        let lanes = &state.lanes;
        let free = state.holds.extract_if(.., |(_, limit, _)| lanes.has_room(limit));
        let free = free.map(|(_, _, hold)| hold).collect();
        let due = state.lanes.poll_timeout();
        let needs_timer = timer::arm(&mut state.timer, due, &self.sooner);
        Polled { starts, free, needs_timer }
    }

    /// Completes a job's event: its finalizer runs on the partition's thread.
    fn complete(&self, key: K, pending: Pending<S, V>, result: Attempted<S, K, V>) {
        let Pending { value, completer, .. } = pending;
        match result {
            Ok(finish) => completer.complete(move |ctx| finish(ctx, key, value)),
            Err(error) => {
                let on_error = Arc::clone(&self.on_error);
                completer.complete(move |ctx| on_error(ctx, key, value, error));
            }
        }
    }

    fn timed_out(&self) -> JobError {
        JobError::TimedOut { timeout: self.config.timeout.unwrap_or_default() }
    }

    fn start(self: &Arc<Self>, start: Start<K, V>) {
        let Start { id, attempt, key, value, stop } = start;
        let mut ending = Ending { scheduler: Arc::clone(self), id, attempt, outcome: None };
        match &self.work {
            Work::Async(run) => {
                let run = Arc::clone(run);
                let attempt = async move {
                    // The future of the job is dropped before the attempt ends.
                    ending.outcome = tokio::select! {
                        biased;
                        () = stop.notified() => None,
                        outcome = guarded_future(move || run(key, value)) => Some(outcome),
                    };
                    drop(ending);
                };
                // Without a runtime no job was accepted.
                if let Some(runtime) = self.runtime.get() {
                    drop(runtime.spawn(attempt));
                }
            }
            Work::Threads(pool, run) => {
                let run = Arc::clone(run);
                let task = move || {
                    ending.outcome = Some(guarded(|| run(key, value)));
                    drop(ending);
                };
                if let Err(error) = pool.run(Box::new(task)) {
                    tracing::error!(%error, "no thread starts for a job: it is cancelled");
                }
            }
        }
    }

    /// An attempt has ended; `None` if it was stopped, or dropped by its runtime.
    fn end(self: &Arc<Self>, id: JobId, attempt: Attempt, outcome: Option<Attempted<S, K, V>>) {
        let (how, outcome) = match outcome {
            None => (Ended::Aborted, Err(JobError::Cancelled)),
            Some(Ok(finish)) => (Ended::Succeeded, Ok(finish)),
            Some(Err(JobError::Failed { source, .. })) => {
                (Ended::Failed, Err(JobError::Failed { attempts: attempt.0, source }))
            }
            Some(Err(error)) => (Ended::FailedForGood, Err(error)),
        };
        let mut state = self.lock();
        let now = self.now();
        state.stops.remove(&id);
        match state.lanes.end(now, id, attempt, how) {
            Next::Over { key, payload } => self.complete(key, payload, outcome),
            Next::TimedOut { key, payload } => {
                self.complete(key, payload, Err(self.timed_out()));
            }
            Next::Again(at) => {
                let after = at.saturating_duration_since(now);
                let error = match outcome {
                    Err(error @ JobError::Failed { .. }) => error,
                    _ => self.timed_out(),
                };
                tracing::warn!(attempt = attempt.0, ?after, %error, "a job runs again");
            }
            Next::Nothing => {}
        }
        drop(state);
        self.pump();
    }

    /// An incarnation is over: its events are processed again, and their jobs with them.
    fn end_incarnation(self: &Arc<Self>, number: u64) {
        let mut state = self.lock();
        let now = self.now();
        state.incarnations.remove(&number);
        let cancelled = state.lanes.cancel(now, |_, pending| pending.incarnation == number);
        let holds: Vec<_> = state.holds.extract_if(.., |(of, _, _)| *of == number).collect();
        drop(state);
        drop(holds);
        for (_, pending) in cancelled {
            pending.completer.forget();
        }
        self.pump();
    }
}

impl<S, K, V> Timed for Inner<S, K, V>
where
    S: StateStore,
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
{
    fn next_due(&self) -> Option<Instant> {
        let mut state = self.lock();
        state.timer = state.lanes.poll_timeout();
        state.timer
    }

    fn pump(self: &Arc<Self>) {
        Self::pump(self);
    }

    fn sooner(&self) -> &Notify {
        &self.sooner
    }

    /// Jobs in back-off would wait for ever.
    fn runtime_is_gone(&self) {
        let mut state = self.lock();
        state.timer = None;
        let now = self.now();
        for (key, pending) in state.lanes.cancel(now, |_, _| true) {
            self.complete(key, pending, Err(JobError::Cancelled));
        }
    }
}

/// The end of an attempt, which is told when this is dropped, whatever becomes of the attempt.
struct Ending<S, K, V>
where
    S: StateStore,
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
{
    scheduler: Arc<Inner<S, K, V>>,
    id: JobId,
    attempt: Attempt,
    outcome: Option<Attempted<S, K, V>>,
}

impl<S, K, V> Drop for Ending<S, K, V>
where
    S: StateStore,
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
{
    fn drop(&mut self) {
        self.scheduler.end(self.id, self.attempt, self.outcome.take());
    }
}

impl<S: 'static, K, V> Clone for AsyncJobScheduler<S, K, V> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S: 'static, K, V> fmt::Debug for AsyncJobScheduler<S, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncJobScheduler")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}
