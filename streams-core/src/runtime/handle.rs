//! What any thread may ask of a source that runs, and tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::UnboundedSender;

use super::interject::{Answer, InterjectError, Interjected, InterjectedAll, Question, Queue};
use super::mailbox::Mailbox;
use super::running::{SharedState, SourceState, Stall, UserCommand};
use super::schedules::{ScheduleError, ScheduledInterjection, Schedules};
use super::signals::Signal;
use super::status::RunStatus;
use super::worker::ToWorker;
use crate::ExecutionState;
use crate::codec::{AsKey, KeyCodec};
use crate::group::GroupView;
use crate::handler::{EventContext, EventSource, Result as HandlerResult, Scheduled};
use crate::record::partition_for_key;
use crate::task::Interject;

const POLL: Duration = Duration::from_millis(5);

/// What a handle tells a worker.
enum Ask<S: 'static> {
    /// Run this in the partition.
    Interject(i32, Interject<S>),
    /// Run this from now on, by the clock.
    Schedule(Scheduled<S>),
    /// The interjection of this name runs no more.
    Unschedule(Arc<str>),
}

/// A worker, for handles.
pub(crate) struct Port<S: 'static> {
    send: Box<dyn Fn(Ask<S>) + Send + Sync>,
    queue: Queue,
}

impl<S: 'static> Port<S> {
    pub(crate) fn new<P: Send + Sync + 'static>(mailbox: Mailbox<ToWorker<S, P>>) -> Self {
        let send = move |ask| {
            mailbox.send(match ask {
                Ask::Interject(partition, run) => ToWorker::Interject(partition, run),
                Ask::Schedule(scheduled) => ToWorker::Schedule(scheduled),
                Ask::Unschedule(name) => ToWorker::Unschedule(name),
            });
        };
        Self { send: Box::new(send), queue: Queue::default() }
    }
}

/// What is the same for sources of all kinds: their end.
#[derive(Clone, Debug)]
pub(crate) struct Lifecycle {
    pub(crate) commands: UnboundedSender<UserCommand>,
    pub(crate) state: SharedState,
}

impl Lifecycle {
    pub(super) fn command(&self, command: UserCommand) {
        // A source that has ended obeys no more.
        let _ = self.commands.send(command);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state.with(|shared| shared.has_ended)
    }

    /// Obeys signals until the source has ended: the first to which `pre_hook` agrees, and all
    /// after it.
    pub(super) fn obey_signals(
        &self,
        signals: impl IntoIterator<Item = Signal>,
        mut pre_hook: impl FnMut(Signal) -> bool,
        obey: impl Fn(UserCommand),
    ) {
        let (sender, came) = mpsc::channel();
        let on_signal = Arc::new(move |signal| sender.send(signal).is_ok());
        self.command(UserCommand::OnSignals(signals.into_iter().collect(), on_signal));
        let mut stops = false;
        // The source drops the sender when it ends.
        while let Ok(signal) = came.recv() {
            stops = stops || pre_hook(signal);
            if stops {
                obey(UserCommand::Signal);
            }
        }
    }
}

/// What all handles of a source share.
struct Shared<S: 'static> {
    partitions: i32,
    lifecycle: Lifecycle,
    ports: Vec<Port<S>>,
    queue_limit: usize,
    schedules: Schedules,
}

/// A handle of a source that runs: any thread or task asks and tells the source by it.
///
/// A clone is the same handle. Handles do not keep the source running:
/// [`RunningSource`](crate::RunningSource) owns its threads.
///
/// # Interjections
///
/// An interjection is a closure that runs in a partition's thread, between two events, with the
/// partition's store. [`query`](Self::query) reads the store, [`interject`](Self::interject)
/// changes it or forwards events, exactly once. Each has a result, and the handle of the result is
/// a future with a [`wait`](Interjected::wait) for threads.
///
/// What a result promises:
///
/// - [`query`](Self::query): it comes as soon as `read` ran, and `read` has seen the effects of all
///   events that the partition has processed, committed or not.
/// - [`query_committed`](Self::query_committed): it comes when all that `read` has seen is
///   committed, and proves that this member still owned the partition.
/// - [`interject`](Self::interject): it comes when the effects of the closure are committed; if it
///   has none, as soon as it ran.
/// - [`interject_async`](Self::interject_async): the same, once the interjection is complete.
///
/// If the transaction is aborted, the closure runs again on the store that was rolled back, and the
/// last run's result counts: so it is an `FnMut`.
///
/// # Examples
/// An HTTP server counts the rows of all stores of this member:
/// ```no_run
/// use streams_core::prelude::*;
/// use streams_core::{InterjectError, SourceHandle};
/// # #[derive(Events)]
/// # enum Numbers {
/// #     Add(i64),
/// # }
/// # #[derive(StateStore)]
/// # struct Sums {
/// #     sums: Table<String, i64>,
/// # }
/// # #[event_source(events = Numbers, store = Sums)]
/// # mod sums {
/// #     use super::*;
/// #     #[event_handler("Add")]
/// #     fn add(_: &mut EventContext<Sums>, _: i64) -> Result<ExecutionState> {
/// #         Ok(Complete)
/// #     }
/// # }
///
/// async fn rows(source: SourceHandle<sums::Source>) -> Result<usize, InterjectError> {
///     let counts = source.query_all(|store| store.sums.len()).await;
///     counts.into_values().sum()
/// }
///
/// async fn sum(source: SourceHandle<sums::Source>, key: String) -> Result<i64, InterjectError> {
///     let partition = source.partition_of::<String>(&key);
///     source.query(partition, move |store| store.sums.get(&key).copied().unwrap_or(0)).await
/// }
/// # fn main() {}
/// ```
pub struct SourceHandle<A: EventSource> {
    shared: Arc<Shared<A::Store>>,
}

impl<A: EventSource> Clone for SourceHandle<A> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<A: EventSource> SourceHandle<A> {
    pub(crate) fn new(
        partitions: i32,
        lifecycle: Lifecycle,
        ports: Vec<Port<A::Store>>,
        queue_limit: usize,
        schedules: Schedules,
    ) -> Self {
        Self { shared: Arc::new(Shared { partitions, lifecycle, ports, queue_limit, schedules }) }
    }

    pub(super) fn lifecycle(&self) -> &Lifecycle {
        &self.shared.lifecycle
    }

    fn state_of(&self) -> &SharedState {
        &self.shared.lifecycle.state
    }

    /// The number of partitions that the source's topic had at the start.
    pub fn partitions(&self) -> i32 {
        self.shared.partitions
    }

    /// Returns the partition to which Kafka's default partitioner sends records with this key:
    /// where to ask for what the key's events have left in the store.
    ///
    /// Partitions that were added to the topic since the start are not counted: see
    /// [`NewPartitions`](super::NewPartitions).
    pub fn partition_of<K: KeyCodec>(&self, key: &(impl AsKey<K> + ?Sized)) -> i32 {
        let mut bytes = Vec::new();
        key.encode_as_key(&mut bytes);
        partition_for_key(&bytes, self.partitions())
    }

    /// Whether the source is well. After the end it is [`SourceState::Ended`], or still
    /// [`SourceState::Unhealthy`] if an error was the reason.
    pub fn state(&self) -> SourceState {
        self.state_of().with(|shared| shared.state())
    }

    /// Returns the partitions of this member that do not advance although they have further
    /// records, each with what holds it up.
    pub fn stalled_partitions(&self) -> BTreeMap<i32, Stall> {
        self.state_of().with(|shared| shared.stalls.clone())
    }

    /// The partitions whose events are processed here.
    pub fn active_partitions(&self) -> BTreeSet<i32> {
        self.state_of().with(|shared| shared.active.clone())
    }

    /// The group as its leader planned it last: its members, their partitions and warm copies, and
    /// what is on its way from one to another; `None` before the first generation.
    pub fn group_view(&self) -> Option<GroupView> {
        self.state_of().with(|shared| shared.view.clone())
    }

    /// The partitions that were added to the source's topic while it ran, and that no member reads:
    /// [`NewPartitions::Refuse`](super::NewPartitions::Refuse).
    pub fn unused_partitions(&self) -> Range<i32> {
        self.state_of().with(|shared| shared.unused.clone())
    }

    /// The warm copies that are kept here, each with the number of changelog offsets that it is
    /// behind, as of a second ago.
    pub fn warm_copies(&self) -> BTreeMap<i32, i64> {
        self.state_of().with(|shared| shared.lags.clone())
    }

    /// Returns how many batches of records were left out because they can't be read
    /// ([`OnUnreadable::Skip`](crate::OnUnreadable)).
    pub fn batches_skipped(&self) -> u64 {
        self.state_of().with(|shared| shared.batches_skipped)
    }

    /// Returns the error that ended the source, once it has ended; `None` before, and if the source
    /// ended as it was asked to.
    pub fn failure(&self) -> Option<String> {
        self.state_of().with(|shared| shared.failure.clone())
    }

    /// Returns true once the source has ended, however it ended.
    pub fn has_ended(&self) -> bool {
        self.lifecycle().has_ended()
    }

    /// Waits until the source has ended, however it ended. The future borrows nothing, so an
    /// application can await it beside its other work, and end when the source does. GKES: `Done`.
    ///
    /// # Examples
    /// ```no_run
    /// # use streams_core::prelude::*;
    /// # async fn serve() {}
    /// # async fn run<A: EventSource>(source: streams_core::SourceHandle<A>) {
    /// let ended = source.ended();
    /// tokio::select! {
    ///     () = serve() => {}
    ///     () = ended => println!("the source has ended: {:?}", source.failure()),
    /// }
    /// # }
    /// ```
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.state_of().ended()
    }

    /// Blocks until the source has ended, for at most `timeout`. Returns whether it has.
    pub fn wait_until_ended(&self, timeout: Duration) -> bool {
        self.state_of().wait_until_ended(timeout)
    }

    /// Waits until `partitions` are processed here. Returns whether they are, within `timeout`.
    pub fn wait_for_active(&self, partitions: usize, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while self.active_partitions().len() < partitions {
            if self.has_ended() || Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }
}

/// The end.
impl<A: EventSource> SourceHandle<A> {
    /// Asks the source to stop in good order. It goes on until its partitions have moved to members
    /// that have warm copies of them, one by one, for at most `leave_timeout`. Then it finishes
    /// what has begun, commits, and leaves the group. GKES: `Stop`.
    ///
    /// The call returns at once, and a second one changes nothing: [`ended`](Self::ended) waits,
    /// [`stop_now`](Self::stop_now) cuts the end short.
    pub fn stop(&self) {
        self.lifecycle().command(UserCommand::Stop);
    }

    /// Asks the source to stop at once: what is open is aborted. A handler that does not return
    /// within seconds is abandoned with its thread. GKES: `StopNow`.
    pub fn stop_now(&self) {
        self.lifecycle().command(UserCommand::StopNow);
    }

    /// Stops on SIGINT and SIGTERM ([`Signal::DEFAULT`]), as [`SourceHandle::stop`] does; the
    /// second signal forces.
    pub fn stop_on_signals(&self) {
        let commands = self.lifecycle().commands.clone();
        let on_signal = Arc::new(move |_| commands.send(UserCommand::Signal).is_ok());
        let signals = Signal::DEFAULT.to_vec();
        self.lifecycle().command(UserCommand::OnSignals(signals, on_signal));
    }

    /// Returns a token for the application's own tasks, which tells them when the source stops and
    /// when it has ended. Each call returns another fork. GKES: `ForkRunStatus`.
    pub fn run_status(&self) -> RunStatus {
        self.state_of().status().fork()
    }
}

/// Interjections.
impl<A: EventSource> SourceHandle<A> {
    /// Runs `run` in `partition`, with its store, inside a transaction. GKES: `Interject`.
    ///
    /// The result comes when the effects of `run` are committed, once; if it has none, as soon as
    /// it ran. An error that `run` returns undoes its effects and goes to the caller: the source
    /// goes on, unless the error is [fatal](crate::HandlerError::fatal). A panic stops the source,
    /// as a handler's does.
    ///
    /// If the transaction is aborted, `run` is called again, as the handlers of events are; to give
    /// a value away, take it out of an `Option`.
    pub fn interject<R: Send + 'static>(
        &self,
        partition: i32,
        run: impl FnMut(&mut EventContext<A::Store>) -> HandlerResult<R> + Send + 'static,
    ) -> Interjected<R> {
        self.ask(partition, Question::new(run))
    }

    /// As [`interject`](Self::interject), of a closure that may go on elsewhere: it takes a
    /// completer, returns [`Incomplete`](ExecutionState::Incomplete), and puts its result into the
    /// [`Answer`] before it is complete.
    ///
    /// An error of a completion goes to the caller as well, and so does a completer that is
    /// dropped, unless an earlier step of the interjection has had effects: these can't be undone
    /// alone, so the source stops.
    ///
    /// # Examples
    /// ```no_run
    /// # use streams_core::prelude::*;
    /// # use streams_core::{InterjectError, SourceHandle};
    /// # fn slow_lookup() -> String { String::new() }
    /// # async fn run<A: EventSource>(source: SourceHandle<A>) -> Result<String, InterjectError> {
    /// source
    ///     .interject_async(0, |ctx, answer| {
    ///         let completer = ctx.completer();
    ///         std::thread::spawn(move || {
    ///             let found = slow_lookup();
    ///             completer.complete(move |_ctx| {
    ///                 answer.set(found);
    ///                 Ok(Complete)
    ///             });
    ///         });
    ///         Ok(Incomplete)
    ///     })
    ///     .await
    /// # }
    /// ```
    pub fn interject_async<R: Send + 'static>(
        &self,
        partition: i32,
        run: impl FnMut(&mut EventContext<A::Store>, Answer<R>) -> HandlerResult<ExecutionState>
        + Send
        + 'static,
    ) -> Interjected<R> {
        self.ask(partition, Question::asynchronous(run))
    }

    /// Reads the store of `partition`, and answers as soon as it has.
    ///
    /// `read` sees what handlers see: the effects of all events that the partition has processed,
    /// committed or not. An abort may take some of them back; the events are processed again then.
    /// A panic of `read` goes to the caller, and the source goes on.
    pub fn query<R: Send + 'static>(
        &self,
        partition: i32,
        read: impl FnMut(&A::Store) -> R + Send + 'static,
    ) -> Interjected<R> {
        self.ask(partition, Question::query(false, read))
    }

    /// Reads the store of `partition`, and answers when all that `read` has seen is committed.
    ///
    /// The commit carries this member's generation, so the answer also proves that the partition
    /// was this member's when `read` ran: no other member had processed a later event. It costs a
    /// transaction if none is under way; after an abort `read` runs again.
    pub fn query_committed<R: Send + 'static>(
        &self,
        partition: i32,
        read: impl FnMut(&A::Store) -> R + Send + 'static,
    ) -> Interjected<R> {
        self.ask(partition, Question::query(true, read))
    }

    /// Runs `run` in each partition that is active here, in parallel: one result each. GKES:
    /// `InterjectAll`.
    pub fn interject_all<R: Send + 'static>(
        &self,
        run: impl Fn(&mut EventContext<A::Store>) -> HandlerResult<R> + Send + Sync + 'static,
    ) -> InterjectedAll<R> {
        let run = Arc::new(run);
        self.ask_all(|| {
            let run = Arc::clone(&run);
            Question::new(move |ctx| run(ctx))
        })
    }

    /// Reads the store of each partition that is active here, as [`query`](Self::query).
    pub fn query_all<R: Send + 'static>(
        &self,
        read: impl Fn(&A::Store) -> R + Send + Sync + 'static,
    ) -> InterjectedAll<R> {
        let read = Arc::new(read);
        self.ask_all(|| {
            let read = Arc::clone(&read);
            Question::query(false, move |store| read(store))
        })
    }

    /// Runs `run` in each partition that is active here, one partition after the other, and blocks
    /// until the last has answered: no two of them run at the same time. Returns the results by
    /// partition. GKES: `InterjectAllSync`.
    ///
    /// A handler, an interjection or a callback must not call this: it would wait for itself.
    pub fn interject_all_sync<R: Send + 'static>(
        &self,
        run: impl Fn(&mut EventContext<A::Store>) -> HandlerResult<R> + Send + Sync + 'static,
    ) -> BTreeMap<i32, Result<R, InterjectError>> {
        let run = Arc::new(run);
        let one = |partition| {
            let run = Arc::clone(&run);
            (partition, self.interject(partition, move |ctx| run(ctx)).wait())
        };
        self.active_partitions().into_iter().map(one).collect()
    }

    /// Schedules an interjection in each partition of this member, those to come included: every
    /// `every`, longer or shorter by a random time up to `jitter`. GKES: `ScheduleInterjection`.
    ///
    /// `name` names it in errors and logs, and in the committed schedule: it must be unique, and
    /// the same in all members. The time of the next run is committed with the partition's offset,
    /// as of an `#[interjection]`: an abort puts it back, and the next owner of the partition
    /// continues the interval if it has scheduled the same name before, or if the partition comes
    /// back before another owner commits. Otherwise the interval begins when it is scheduled there.
    ///
    /// An interjection is begun again only when its last run is complete: runs that take longer
    /// than
    /// `every` do not pile up. Its error or panic stops the source, as a handler's does.
    ///
    /// # Errors
    /// If `every` is not within 1 ms to 365 days or `jitter` is longer; if the name is taken; if
    /// the offset's metadata has no room for another interjection; if the source has ended.
    pub fn schedule_interjection(
        &self,
        name: impl Into<String>,
        every: Duration,
        jitter: Duration,
        run: impl Fn(&mut EventContext<A::Store>, SystemTime) -> HandlerResult<ExecutionState>
        + Send
        + Sync
        + 'static,
    ) -> Result<ScheduledInterjection<A>, ScheduleError> {
        let scheduled = Scheduled::new(name.into(), every, jitter, run);
        let name = Arc::clone(&scheduled.name);
        if self.has_ended() {
            return Err(ScheduleError::Stopped);
        }
        let tell = || self.tell_all(|| Ask::Schedule(scheduled.clone()));
        self.shared.schedules.add(&scheduled, tell)?;
        Ok(ScheduledInterjection::new(self.clone(), name))
    }

    pub(super) fn unschedule(&self, name: &Arc<str>) {
        let tell = || self.tell_all(|| Ask::Unschedule(Arc::clone(name)));
        self.shared.schedules.remove(name, tell);
    }

    fn tell_all(&self, ask: impl Fn() -> Ask<A::Store>) {
        self.shared.ports.iter().for_each(|port| (port.send)(ask()));
    }

    fn ask<R: Send + 'static>(
        &self,
        partition: i32,
        question: Question<A::Store, R>,
    ) -> Interjected<R> {
        let ports = &self.shared.ports;
        let port = &ports[usize::try_from(partition).unwrap_or(0) % ports.len()];
        let queue = (&port.queue, self.shared.queue_limit);
        let (asked, handle) = question.ask(partition, queue, self.state_of());
        if let Some(asked) = asked {
            (port.send)(Ask::Interject(partition, asked));
        }
        handle
    }

    fn ask_all<R: Send + 'static>(
        &self,
        question: impl Fn() -> Question<A::Store, R>,
    ) -> InterjectedAll<R> {
        let ask = |partition| self.ask(partition, question());
        InterjectedAll::new(self.active_partitions().into_iter().map(ask).collect())
    }
}

impl<A: EventSource> fmt::Debug for SourceHandle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceHandle").field("state", &self.state()).finish_non_exhaustive()
    }
}
