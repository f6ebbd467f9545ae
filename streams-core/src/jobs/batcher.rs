//! The batcher: [`Batches`] behind a lock, an executor in tokio or in threads, completers for
//! events.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::batches::{Batch, BatchId, BatchLimits, Batches};
use super::error::{JobError, JobFailure, JobResult, OfBatch};
use super::pool::Pool;
use super::timer::{self, Timed, pump_unnested};
use super::work::{BoxFuture, guarded, guarded_future, own_runtime};
use crate::error::ConfigError;
use crate::handler::{Completer, EventContext, ExecutionState, HandlerError, Hold, Result};
use crate::store::StateStore;

/// How many items a batch has at most.
pub const BATCH_ITEMS_MAX: usize = 1_000_000;
/// How many batches of a batcher may run at the same time at most.
pub const CONCURRENT_BATCHES_MAX: usize = 65_536;
/// How many items of a batcher may wait at most.
pub const PENDING_ITEMS_MAX: usize = 10_000_000;
const DELAY_MAX: Duration = Duration::from_mins(1);
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
const TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// The settings of an [`AsyncBatcher`]. GKES: the arguments of `NewAsyncBatcher`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatcherConfig {
    max_batch_size: usize,
    max_concurrent_batches: usize,
    delay: Duration,
    max_pending_items: usize,
    timeout: Option<Duration>,
}

impl BatcherConfig {
    /// Creates settings for batches of up to `max_batch_size` items (1 to 1,000,000), of which
    /// `max_concurrent_batches` (1 to 65,536) run at the same time. An item waits for 5 ms for
    /// others, and 100,000 items may wait.
    pub const fn new(max_batch_size: usize, max_concurrent_batches: usize) -> Self {
        Self {
            max_batch_size,
            max_concurrent_batches,
            delay: Duration::from_millis(5),
            max_pending_items: 100_000,
            timeout: None,
        }
    }

    /// Sets how long an item waits for others before a batch starts that is not full: up to one
    /// minute, by default 5 ms. With zero it waits for a free batch only.
    #[must_use]
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sets how many items may wait: 1 to 10,000,000, by default 100,000. The partition whose event
    /// exceeds the limit takes no more events until the limit is kept again.
    #[must_use]
    pub const fn max_pending_items(mut self, items: usize) -> Self {
        self.max_pending_items = items;
        self
    }

    /// Sets how long a batch may take: 1 ms to 24 h, by default for ever. Then its items have no
    /// result ([`JobError::TimedOut`]), and the batcher drops the executor's future. A blocking
    /// executor has no timeout, because its thread cannot be stopped.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// If one is out of its range.
    pub fn check(self) -> Result<Self, ConfigError> {
        ConfigError::check("max_batch_size", self.max_batch_size, 1..=BATCH_ITEMS_MAX)?;
        let batches = self.max_concurrent_batches;
        ConfigError::check("max_concurrent_batches", batches, 1..=CONCURRENT_BATCHES_MAX)?;
        ConfigError::check_duration("delay", self.delay, Duration::ZERO..=DELAY_MAX)?;
        ConfigError::check("max_pending_items", self.max_pending_items, 1..=PENDING_ITEMS_MAX)?;
        if let Some(timeout) = self.timeout {
            ConfigError::check_duration("timeout", timeout, TIMEOUT_MIN..=TIMEOUT_MAX)?;
        }
        Ok(self)
    }
}

/// The items of one event, for [`AsyncBatcher::add`]. GKES: `BatchItems`.
#[derive(Clone, Debug)]
pub struct BatchItems<K, V> {
    key: K,
    items: Vec<(K, V)>,
}

impl<K: Clone, V> BatchItems<K, V> {
    /// Creates a group without items; `key` is that of the items that have none of their own. A
    /// group that stays empty keeps its place among the items of its key.
    pub const fn new(key: K) -> Self {
        Self { key, items: Vec::new() }
    }

    /// Adds an item. GKES: `Add`.
    #[must_use]
    pub fn item(mut self, value: V) -> Self {
        self.items.push((self.key.clone(), value));
        self
    }

    /// Adds items. GKES: `Add`.
    #[must_use]
    pub fn items(mut self, values: impl IntoIterator<Item = V>) -> Self {
        let key = &self.key;
        self.items.extend(values.into_iter().map(|value| (key.clone(), value)));
        self
    }

    /// Adds an item with a key of its own. GKES: `AddWithKey`.
    #[must_use]
    pub fn item_with_key(mut self, key: K, value: V) -> Self {
        self.items.push((key, value));
        self
    }
}

/// An item that was executed. GKES: `BatchItem`.
#[derive(Debug)]
pub struct BatchItem<K, V, R> {
    /// The item's key.
    pub key: K,
    /// The item.
    pub value: V,
    /// Its result, or why there is none.
    pub result: JobResult<R>,
}

/// Executes items of several events together, for services that take batches. GKES:
/// `AsyncBatcher`.
///
/// [`AsyncBatcher::add`] takes a completer of the event, and the event is incomplete. The
/// *executor* gets items of several events, keys and partitions at a time, and returns a result for
/// each, in their order. After the last item of an event its *callback* runs on the partition's
/// thread, inside a transaction, with the items, the store and
/// [`forward`](EventContext::forward).
///
/// # Order
/// A key is in one running batch at a time. So items of one key are executed in the order of their
/// addition, and the callbacks of one key and one partition run in that order. An event whose items
/// do not fit in one batch has them in several.
///
/// # Failures
/// If the executor returns an error, panics or exceeds the timeout, each item of the batch has that
/// as its result. When a partition is lost, revoked or rewound, and when the source stops, the
/// batcher removes the items of its events that wait; a running batch goes on, and their results
/// have no effect. So an item may be executed more than once for one event.
///
/// # Full batchers
/// As an [`AsyncJobScheduler`](super::AsyncJobScheduler), a full batcher takes each item, and holds
/// the partition.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use streams_core::jobs::{AsyncBatcher, BatchItems, BatcherConfig};
/// use streams_core::prelude::*;
///
/// #[derive(Events)]
/// enum Rows {
///     Insert(String),
/// }
///
/// struct App {
///     rows: AsyncBatcher<NoStore, String, String>,
/// }
///
/// async fn write(rows: Vec<(String, String)>) -> std::io::Result<Vec<std::io::Result<()>>> {
///     // .. one request for all of them ..
///     Ok(rows.iter().map(|_| Ok(())).collect())
/// }
///
/// #[event_source(events = Rows, store = NoStore, shared = App)]
/// mod rows {
///     use super::*;
///
///     #[event_handler("Insert")]
///     fn insert(
///         ctx: &mut EventContext<NoStore>,
///         app: &App,
///         row: String,
///     ) -> Result<ExecutionState> {
///         let items = BatchItems::new(row.clone()).item(row);
///         app.rows.add(ctx, items, |_, items| {
///             for item in items {
///                 item.result?; // an error stops the source
///             }
///             Ok(Complete)
///         })
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = BatcherConfig::new(50, 100).delay(Duration::from_millis(10));
/// let source = rows::Source::builder().shared(App { rows: AsyncBatcher::new(config, write)? });
/// # drop(source);
/// # Ok(())
/// # }
/// ```
pub struct AsyncBatcher<S: 'static, K, V, R = ()> {
    inner: Arc<Inner<S, K, V, R>>,
}

/// What the callback of an event's items returns, as a handler does.
pub type CallbackResult = Result<ExecutionState>;

type Callback<S, K, V, R> =
    Box<dyn FnOnce(&mut EventContext<S>, Vec<BatchItem<K, V, R>>) -> Result<ExecutionState> + Send>;

/// What an executor returns: a result for each item, or one error for all.
type Executed<R> = Result<Vec<JobResult<R>>, JobError>;

type Execute<K, V, T> = Arc<dyn Fn(Vec<(K, V)>) -> T + Send + Sync>;

enum Executor<K, V, R> {
    Async(Execute<K, V, BoxFuture<Executed<R>>>),
    Threads(Pool, Execute<K, V, Executed<R>>),
}

struct Inner<S: 'static, K, V, R> {
    config: BatcherConfig,
    executor: Executor<K, V, R>,
    state: Mutex<State<S, K, V, R>>,
    runtime: OnceLock<Handle>,
    sooner: Notify,
}

struct State<S: 'static, K, V, R> {
    batches: Batches<K, Item<S, K, V, R>>,
    /// Partitions that wait, with the incarnation for which they do.
    holds: Vec<(u64, Hold<S>)>,
    incarnations: HashSet<u64>,
    timer: Option<Instant>,
}

/// An item, or the placeholder of an empty group.
struct Item<S: 'static, K, V, R> {
    /// Its place in the group, and its value; `None` for a placeholder.
    value: Option<(usize, V)>,
    group: Arc<Mutex<Group<S, K, V, R>>>,
    incarnation: u64,
}

/// What ends a group: the event's completer, and what it completes the event with.
type End<S, K, V, R> = (Completer<S>, Callback<S, K, V, R>);

/// The items of an event.
struct Group<S: 'static, K, V, R> {
    done: Vec<Option<BatchItem<K, V, R>>>,
    left: usize,
    /// `None` once the group is complete.
    end: Option<End<S, K, V, R>>,
}

impl<S: StateStore, K: Send + 'static, V: Send + 'static, R: Send + 'static> Group<S, K, V, R> {
    /// An item is done, or with `None` the placeholder is. The last one completes the event.
    fn done(&mut self, item: Option<(usize, BatchItem<K, V, R>)>) {
        if let Some((place, item)) = item {
            self.done[place] = Some(item);
            self.left -= 1;
        }
        if self.left == 0
            && let Some((completer, callback)) = self.end.take()
        {
            let items: Vec<_> = self.done.drain(..).flatten().collect();
            completer.complete(move |ctx| callback(ctx, items));
        }
    }
}

/// The error of a batch, for one of its items.
fn of_item(error: &Arc<JobError>) -> JobError {
    match &**error {
        JobError::TimedOut { timeout } => JobError::TimedOut { timeout: *timeout },
        JobError::Panicked { message } => JobError::Panicked { message: message.clone() },
        JobError::Cancelled => JobError::Cancelled,
        JobError::Failed { .. } => {
            JobError::Failed { attempts: 1, source: Box::new(OfBatch(Arc::clone(error))) }
        }
    }
}

fn failed(error: impl JobFailure) -> JobError {
    JobError::Failed { attempts: 1, source: error.into_source() }
}

/// What the executor returned, in one form.
fn executed<R, E: JobFailure, B: JobFailure>(
    returned: std::result::Result<Vec<std::result::Result<R, E>>, B>,
) -> Executed<R> {
    let results = returned.map_err(failed)?;
    Ok(results.into_iter().map(|result| result.map_err(failed)).collect())
}

impl<S, K, V, R> AsyncBatcher<S, K, V, R>
where
    S: StateStore,
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
    R: Send + 'static,
{
    /// Creates a batcher whose executor is an `async fn`: it returns a result for each item, in
    /// their order, or one error for all. GKES: `NewAsyncBatcher`.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn new<F, E, B>(
        config: BatcherConfig,
        executor: impl Fn(Vec<(K, V)>) -> F + Send + Sync + 'static,
    ) -> Result<Self, ConfigError>
    where
        F: Future<Output = std::result::Result<Vec<std::result::Result<R, E>>, B>> + Send + 'static,
        E: JobFailure + 'static,
        B: JobFailure + 'static,
    {
        let execute = move |items| -> BoxFuture<Executed<R>> {
            let execution = executor(items);
            Box::pin(async move { executed(execution.await) })
        };
        Self::with(config, Executor::Async(Arc::new(execute)))
    }

    /// Creates a batcher whose executor blocks its thread: `max_concurrent_batches` threads run it.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn blocking<E, B>(
        config: BatcherConfig,
        executor: impl Fn(Vec<(K, V)>) -> std::result::Result<Vec<std::result::Result<R, E>>, B>
        + Send
        + Sync
        + 'static,
    ) -> Result<Self, ConfigError>
    where
        E: JobFailure + 'static,
        B: JobFailure + 'static,
    {
        let pool = Pool::new("streams-batches", config.max_concurrent_batches);
        let execute = move |items| executed(executor(items));
        Self::with(config, Executor::Threads(pool, Arc::new(execute)))
    }

    fn with(config: BatcherConfig, executor: Executor<K, V, R>) -> Result<Self, ConfigError> {
        let config = config.check()?;
        let runtime = OnceLock::new();
        if let Ok(handle) = Handle::try_current() {
            let _ = runtime.set(handle);
        }
        let limits = BatchLimits {
            size: config.max_batch_size,
            concurrency: config.max_concurrent_batches,
            delay: config.delay,
            pending: config.max_pending_items,
        };
        let state = Mutex::new(State {
            batches: Batches::new(limits),
            holds: Vec::new(),
            incarnations: HashSet::new(),
            timer: None,
        });
        let sooner = Notify::new();
        Ok(Self { inner: Arc::new(Inner { config, executor, state, runtime, sooner }) })
    }

    /// Adds the items of the current event, and returns `Ok(Incomplete)`: end the handler, the
    /// interjection or the finalizer with it. `callback` runs after the last of them. GKES: `Add`.
    ///
    /// # Errors
    /// If the operating system starts no threads for the batcher's runtime.
    pub fn add(
        &self,
        ctx: &EventContext<S>,
        items: BatchItems<K, V>,
        callback: impl FnOnce(&mut EventContext<S>, Vec<BatchItem<K, V, R>>) -> CallbackResult
        + Send
        + 'static,
    ) -> Result<ExecutionState> {
        let inner = &self.inner;
        inner.runtime()?;
        let incarnation = ctx.incarnation();
        let number = incarnation.number();
        let BatchItems { key, items } = items;
        let group = Arc::new(Mutex::new(Group {
            done: items.iter().map(|_| None).collect(),
            left: items.len(),
            end: Some((ctx.completer(), Box::new(callback))),
        }));
        let mut state = inner.lock();
        let is_new = state.incarnations.insert(number);
        let now = inner.now();
        let item = |value| Item { value, group: Arc::clone(&group), incarnation: number };
        if !items.is_empty() {
            for (place, (key, value)) in items.into_iter().enumerate() {
                state.batches.push(now, key, item(Some((place, value))));
            }
        } else if state.batches.is_known(&key) {
            state.batches.push_placeholder(now, key, item(None));
        } else {
            // Nothing of its key is before it.
            lock(&group).done(None);
        }
        drop(state);
        if is_new {
            let batcher = Arc::downgrade(inner);
            incarnation.on_end(move || {
                if let Some(batcher) = batcher.upgrade() {
                    batcher.end_incarnation(number);
                }
            });
        }
        inner.pump();
        let mut state = inner.lock();
        if !state.batches.has_room() {
            state.holds.push((number, ctx.hold()));
        }
        Ok(ExecutionState::Incomplete)
    }

    /// Returns how many items wait, and how many batches run.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.inner.lock();
        (state.batches.pending(), state.batches.running())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S, K, V, R> Inner<S, K, V, R>
where
    S: StateStore,
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
    R: Send + 'static,
{
    fn lock(&self) -> MutexGuard<'_, State<S, K, V, R>> {
        lock(&self.state)
    }

    fn runtime(&self) -> Result<&Handle> {
        if self.runtime.get().is_none() {
            let handle = own_runtime().map_err(|error| {
                HandlerError::fail(format!(
                    "cannot start the tokio runtime of the batcher: {error}"
                ))
            })?;
            let _ = self.runtime.set(handle);
        }
        self.runtime.get().ok_or_else(|| HandlerError::fail("the batcher has no tokio runtime"))
    }

    fn now(&self) -> Instant {
        let _entered = self.runtime.get().map(Handle::enter);
        tokio::time::Instant::now().into_std()
    }

    fn pump(self: &Arc<Self>) {
        pump_unnested(|| {
            let mut state = self.lock();
            let now = self.now();
            let batches: Vec<_> = std::iter::from_fn(|| state.batches.poll(now)).collect();
            let has_room = state.batches.has_room();
            let free = if has_room { std::mem::take(&mut state.holds) } else { Vec::new() };
            let due = state.batches.poll_timeout();
            let needs_timer = timer::arm(&mut state.timer, due, &self.sooner);
            drop(state);
            drop(free);
            batches.into_iter().for_each(|batch| self.start(batch));
            if needs_timer && let Some(runtime) = self.runtime.get() {
                timer::start(runtime, Arc::clone(self));
            }
        });
    }

    fn start(self: &Arc<Self>, batch: Batch<K, Item<S, K, V, R>>) {
        let Batch { id, items } = batch;
        let value = |(key, item): &(K, Item<S, K, V, R>)| {
            item.value.as_ref().map(|(_, value)| (key.clone(), value.clone()))
        };
        let values: Vec<(K, V)> = items.iter().filter_map(value).collect();
        let mut ending = Ending { batcher: Arc::clone(self), id, items, outcome: None };
        if values.is_empty() {
            ending.outcome = Some(Ok(Vec::new()));
            return;
        }
        match &self.executor {
            Executor::Async(execute) => {
                let (execute, timeout) = (Arc::clone(execute), self.config.timeout);
                let run = async move {
                    let mut ending = ending;
                    let execution = guarded_future(move || execute(values));
                    ending.outcome = Some(match timeout {
                        None => execution.await,
                        Some(timeout) => tokio::time::timeout(timeout, execution)
                            .await
                            .unwrap_or(Err(JobError::TimedOut { timeout })),
                    });
                };
                if let Some(runtime) = self.runtime.get() {
                    drop(runtime.spawn(run));
                }
            }
            Executor::Threads(pool, execute) => {
                let execute = Arc::clone(execute);
                let run = move || {
                    let mut ending = ending;
                    ending.outcome = Some(guarded(|| execute(values)));
                };
                if let Err(error) = pool.run(Box::new(run)) {
                    tracing::error!(%error, "no thread starts for a batch: it is cancelled");
                }
            }
        }
    }

    /// A batch has ended: its items are done, in their order, before the next batch of a key.
    fn end(self: &Arc<Self>, id: BatchId, items: Vec<(K, Item<S, K, V, R>)>, outcome: Executed<R>) {
        let expected = items.iter().filter(|(_, item)| item.value.is_some()).count();
        let outcome = outcome.and_then(|results| match results.len() {
            count if count == expected => Ok(results),
            count => Err(failed(format!(
                "the executor returned {count} results for {expected} items: return one for each, \
                 in their order"
            ))),
        });
        let (mut results, error) = match outcome {
            Ok(results) => (results.into_iter(), Arc::new(JobError::Cancelled)),
            Err(error) => (Vec::new().into_iter(), Arc::new(error)),
        };
        let mut state = self.lock();
        for (key, item) in items {
            let done = item.value.map(|(place, value)| {
                let result = results.next().unwrap_or_else(|| Err(of_item(&error)));
                (place, BatchItem { key, value, result })
            });
            lock(&item.group).done(done);
        }
        state.batches.end(id);
        drop(state);
        self.pump();
    }

    /// An incarnation is over: its events are processed again, and their items with them.
    fn end_incarnation(self: &Arc<Self>, number: u64) {
        let mut state = self.lock();
        state.incarnations.remove(&number);
        let cancelled = state.batches.cancel(|item| item.incarnation == number);
        let holds: Vec<_> = state.holds.extract_if(.., |(of, _)| *of == number).collect();
        drop(state);
        drop(holds);
        for item in &cancelled {
            if let Some((completer, _)) = lock(&item.group).end.take() {
                completer.forget();
            }
        }
        self.pump();
    }
}

impl<S, K, V, R> Timed for Inner<S, K, V, R>
where
    S: StateStore,
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
    R: Send + 'static,
{
    fn next_due(&self) -> Option<Instant> {
        let mut state = self.lock();
        state.timer = state.batches.poll_timeout();
        state.timer
    }

    fn pump(self: &Arc<Self>) {
        Self::pump(self);
    }

    fn sooner(&self) -> &Notify {
        &self.sooner
    }

    /// Items that wait for others would wait for ever.
    fn runtime_is_gone(&self) {
        let mut state = self.lock();
        state.timer = None;
        for item in state.batches.cancel(|_| true) {
            if let Some((completer, _)) = lock(&item.group).end.take() {
                completer.complete(|_| Err(JobError::Cancelled.into()));
            }
        }
    }
}

/// The end of a batch, which is told when this is dropped, whatever becomes of the executor.
struct Ending<S, K, V, R>
where
    S: StateStore,
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
    R: Send + 'static,
{
    batcher: Arc<Inner<S, K, V, R>>,
    id: BatchId,
    items: Vec<(K, Item<S, K, V, R>)>,
    outcome: Option<Executed<R>>,
}

impl<S, K, V, R> Drop for Ending<S, K, V, R>
where
    S: StateStore,
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + 'static,
    R: Send + 'static,
{
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or(Err(JobError::Cancelled));
        self.batcher.end(self.id, std::mem::take(&mut self.items), outcome);
    }
}

impl<S: 'static, K, V, R> Clone for AsyncBatcher<S, K, V, R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S: 'static, K, V, R> fmt::Debug for AsyncBatcher<S, K, V, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncBatcher").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
