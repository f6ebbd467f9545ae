//! The driver: steps the real worker on a cluster in memory, under virtual time.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::UnboundedReceiver;

use super::client::{MemoryFetcher, MemoryProducer};
use super::cluster::{Cluster, View};
use super::durable::StepRunner;
use super::{Fault, shown};
use crate::codec::{AsKey, KeyCodec};
use crate::eos::Snapshot;
use crate::group::Generation;
use crate::handler::{EventSource, EventTicket, Events, HandlerClock, PartitionCounts, Topic};
use crate::record::{Outputs, ProducerRecord, Record, TopicPartition};
use crate::runtime::mailbox::Mailbox;
use crate::runtime::slot::{Slot, SlotCalls, SlotCommand};
use crate::runtime::worker::{Assignment, Clock, FromWorker, Next, ToWorker, Worker, WorkerParts};
use crate::runtime::{
    CommittedWith, Lifecycle, NothingMissing, Port, SharedState, SourceBuilder, SourceError,
    SourceHandle, SourceState, StartFrom, UserCommand,
};
use crate::store::is_reserved;

/// The topic of a source that was given none.
const TOPIC: &str = "test";
const GROUP: &str = "test";
/// 2026-01-01 00:00 UTC: where virtual time begins.
pub(super) const START: Duration = Duration::from_secs(1_767_225_600);
const SEED: u64 = 0x5eed;
/// What the group says of a second instance with the same instance id.
const TWIN: &str = "group `test`: FENCED_INSTANCE_ID: another process runs under the same instance \
                    id: give each its own";
/// So many steps without an end are a bug.
const STEPS_MAX: u64 = 100_000_000;

/// Virtual time.
struct VirtualClock {
    base: Instant,
    elapsed: Cell<Duration>,
}

impl VirtualClock {
    fn advance_to(&self, at: Instant) {
        let elapsed = at.saturating_duration_since(self.base);
        self.elapsed.set(self.elapsed.get().max(elapsed));
    }

    fn now_ms(&self) -> i64 {
        i64::try_from((START + self.elapsed.get()).as_millis()).unwrap_or(i64::MAX)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        self.base + self.elapsed.get()
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + START + self.elapsed.get()
    }

    fn handler_clock(&self) -> HandlerClock {
        HandlerClock::At(self.wall_clock())
    }
}

/// A running instance: the worker, and what stands around it.
pub(super) struct Instance<A: EventSource> {
    pub(super) worker: Worker<A, MemoryProducer, MemoryFetcher>,
    pub(super) mailbox: Mailbox<ToWorker<A::Store, MemoryProducer>>,
    /// The producers, each with its commands.
    slots: Vec<(SlotCalls<MemoryProducer>, Receiver<SlotCommand>)>,
    /// Commands that are on their way: nothing is faster than the latency.
    calls: VecDeque<(Instant, usize, SlotCommand)>,
    reports: Receiver<FromWorker>,
    completions: Receiver<ToWorker<A::Store, MemoryProducer>>,
    pub(super) handle: SourceHandle<A>,
    state: SharedState,
    /// What handles ask for.
    commands: UnboundedReceiver<UserCommand>,
}

/// An application on a cluster in memory, under virtual time: no broker, no threads, no waiting.
///
/// It steps the worker that runs in production, with its tasks and its pool of transactions; only
/// the clients below and the clock are others. Made of the settings of a source by
/// [`SourceBuilder::test_driver`], or by [`TestDriver::new`] with the defaults.
///
/// Events are processed as they are sent, and everything is committed when a call returns, unless a
/// completer is awaited. What shows the outcome panics if the source has stopped, with the reason;
/// [`TestDriver::failure`] says it without.
///
/// The guide is in [`crate::testing`].
pub struct TestDriver<A: EventSource> {
    builder: SourceBuilder<A>,
    cluster: Cluster,
    clock: VirtualClock,
    topic: Arc<str>,
    changelog: Arc<str>,
    pub(super) partitions: i32,
    latency: Duration,
    pub(super) instance: Instance<A>,
    held: Option<VecDeque<ToWorker<A::Store, MemoryProducer>>>,
    pub(super) jobs: StepRunner,
    failure: Option<SourceError>,
    has_exited: bool,
    /// Where the records of the last `when` begin, and the topics of them that were looked at.
    pub(super) mark: u64,
    pub(super) seen: Vec<String>,
}

impl<A: EventSource, Missing: NothingMissing> SourceBuilder<A, Missing> {
    /// A test driver of this application, with these settings: topic, number of partitions (by
    /// default 1), changelog, [`EosConfig`](crate::eos::EosConfig), interjections and what to do
    /// with undecodable records. What concerns the cluster or the group is not used.
    ///
    /// # Panics
    /// If a setting can't be used.
    #[track_caller]
    pub fn test_driver(self) -> TestDriver<A> {
        TestDriver::start(self.ready())
    }
}

impl<A: EventSource> TestDriver<A> {
    /// A driver with one partition and the default settings.
    #[track_caller]
    pub fn new() -> Self
    where
        A::Shared: NothingMissing,
    {
        A::builder().test_driver()
    }

    #[track_caller]
    fn start(mut builder: SourceBuilder<A>) -> Self {
        if builder.topic.is_empty() {
            builder = builder.topic(TOPIC);
        }
        builder = builder.bootstrap("memory:9092").group(GROUP);
        let mut builder = match builder.check() {
            Ok(builder) => builder,
            Err(error) => panic!("the settings of the source: {error}"),
        };
        // The jitter of interjections is the same in each run.
        builder.group.seed = SEED;
        let partitions = builder.partitions.unwrap_or(1);
        let cluster = Cluster::new(partitions);
        let (topic, changelog) = (Arc::from(builder.topic.as_str()), builder.changelog_name());
        let clock = VirtualClock { base: Instant::now(), elapsed: Cell::new(Duration::ZERO) };
        let jobs = StepRunner::default();
        let instance = Instance::new(&builder, &cluster, &jobs);
        let mut driver = Self {
            builder,
            cluster,
            clock,
            topic,
            changelog: Arc::from(changelog),
            partitions,
            latency: Duration::ZERO,
            instance,
            held: None,
            jobs,
            failure: None,
            has_exited: false,
            mark: 0,
            seen: vec![],
        };
        driver.cluster.lock().make_topic(&driver.topic);
        driver.cluster.lock().make_topic(&driver.changelog);
        driver.join();
        driver
    }

    /// Takes all partitions, and restores what the changelog has.
    fn join(&mut self) {
        self.cluster.lock().set_time(self.clock.now_ms());
        // The producers first: initialising them ends what a predecessor has open.
        self.settle();
        let generation_id = self.cluster.lock().next_generation();
        self.instance.mailbox.send(ToWorker::Generation(Generation {
            group_id: GROUP.into(),
            member_id: "member".into(),
            generation_id,
            instance_id: None,
        }));
        for partition in 0..self.partitions {
            match self.assignment(partition) {
                Ok(assignment) => self.instance.mailbox.send(ToWorker::Assign(assignment)),
                Err(error) => self.failure = Some(error),
            }
        }
        self.settle();
    }

    fn assignment(&self, partition: i32) -> Result<Assignment, SourceError> {
        let at = self.at(partition);
        let changelog = TopicPartition::new(Arc::clone(&self.changelog), partition);
        let state = self.cluster.lock();
        let committed = state
            .committed(&at)
            .map(|known| Snapshot::parse(known.offset, &known.metadata))
            .transpose()
            .map_err(|reason| SourceError::OffsetMetadata { partition: at.clone(), reason })?;
        let first = match self.builder.start_from {
            StartFrom::Earliest => 0,
            StartFrom::Latest => state.end(&at),
        };
        let start = committed.clone().unwrap_or_else(|| Snapshot::at(first));
        let changelog = (0, state.end(&changelog));
        let committed_with = CommittedWith::Unknown;
        Ok(Assignment { partition: at, committed, committed_with, start, changelog })
    }

    fn at(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.topic), partition)
    }

    /// Each call to the cluster takes this long in virtual time, by default nothing: with it,
    /// transactions overlap and fill, and [`TestDriver::send_all`] shows how.
    pub const fn latency(&mut self, latency: Duration) -> &mut Self {
        self.latency = latency;
        self
    }
}

/// What happens to it.
impl<A: EventSource> TestDriver<A> {
    /// Sends an event of the source's contract, and processes it; the key decides the partition.
    ///
    /// # Panics
    /// If it can't be encoded, or the source stops or has stopped.
    #[track_caller]
    pub fn send<K: KeyCodec>(
        &mut self,
        key: &(impl AsKey<K> + ?Sized),
        event: <A::Events as Events>::At<'_>,
    ) -> &mut Self {
        self.append(None, key, &event);
        self.settle();
        self.assert_runs();
        self
    }

    /// As [`TestDriver::send`], to a partition of the test's choice.
    ///
    /// # Panics
    /// As [`TestDriver::send`], or if there is no such partition.
    #[track_caller]
    pub fn send_to_partition<K: KeyCodec>(
        &mut self,
        partition: i32,
        key: &(impl AsKey<K> + ?Sized),
        event: <A::Events as Events>::At<'_>,
    ) -> &mut Self {
        self.append(Some(partition), key, &event);
        self.settle();
        self.assert_runs();
        self
    }

    /// Sends events one after the other, and processes them: so transactions have several.
    ///
    /// # Panics
    /// As [`TestDriver::send`].
    #[track_caller]
    pub fn send_all<'k, 'e, K: KeyCodec, Q: AsKey<K> + ?Sized + 'k>(
        &mut self,
        events: impl IntoIterator<Item = (&'k Q, <A::Events as Events>::At<'e>)>,
    ) -> &mut Self {
        for (key, event) in events {
            self.append(None, key, &event);
        }
        self.settle();
        self.assert_runs();
        self
    }

    /// Sends a record in wire form, right or wrong; one for [`TestDriver::topic`] is processed.
    ///
    /// # Panics
    /// If the topic has no such partition, or the source stops or has stopped.
    #[track_caller]
    pub fn send_record(&mut self, record: ProducerRecord) -> &mut Self {
        self.append_record(record);
        self.settle();
        self.assert_runs();
        self
    }

    #[track_caller]
    pub(super) fn append<K: KeyCodec>(
        &self,
        partition: Option<i32>,
        key: &(impl AsKey<K> + ?Sized),
        event: &<A::Events as Events>::At<'_>,
    ) {
        let mut outputs = Outputs::default();
        let topic = Topic::<A::Events, K>::named(Arc::clone(&self.topic));
        if let Err(error) = topic.write(&mut outputs, partition, key, event) {
            panic!("the event can't be sent: {error}");
        }
        self.append_outputs(&outputs);
    }

    #[track_caller]
    pub(super) fn append_record(&self, record: ProducerRecord) {
        let mut outputs = Outputs::default();
        record.write_to(&mut outputs);
        self.append_outputs(&outputs);
    }

    #[track_caller]
    fn append_outputs(&self, outputs: &Outputs) {
        let mut state = self.cluster.lock();
        state.set_time(self.clock.now_ms());
        for output in outputs.iter() {
            if let Err(error) = state.append(&output) {
                drop(state);
                panic!("{error}");
            }
        }
    }

    /// Moves the clock on, and runs all that becomes due on the way, each at its time.
    ///
    /// # Panics
    /// If the source stops or has stopped.
    #[track_caller]
    pub fn advance(&mut self, time: Duration) -> &mut Self {
        self.run_for(time);
        self.assert_runs();
        self
    }

    /// Processes what came in from elsewhere: completers that were completed, mostly.
    ///
    /// # Panics
    /// If the source stops or has stopped.
    #[track_caller]
    pub fn run_pending(&mut self) -> &mut Self {
        self.settle();
        self.assert_runs();
        self
    }

    /// From now on completions wait for [`TestDriver::complete`], so that a test can choose their
    /// order.
    pub fn hold_completions(&mut self) -> &mut Self {
        self.held.get_or_insert_default();
        self
    }

    /// The completions that wait, in the order they came.
    pub fn held_completions(&mut self) -> Vec<EventTicket> {
        self.take_completions();
        let ticket = |message: &ToWorker<A::Store, MemoryProducer>| match message {
            ToWorker::Completion(completion) => Some(completion.ticket.clone()),
            _ => None,
        };
        self.held.iter().flatten().filter_map(ticket).collect()
    }

    /// Lets the `place`th of the waiting completions run.
    ///
    /// # Panics
    /// If there is none at `place`, or the source stops or has stopped.
    #[track_caller]
    pub fn complete(&mut self, place: usize) -> &mut Self {
        self.take_completions();
        let held = self.held.as_mut();
        let count = held.as_ref().map_or(0, |held| held.len());
        let Some(completion) = held.and_then(|held| held.remove(place)) else {
            panic!("no completion waits at {place}: there are {count}");
        };
        self.instance.mailbox.send(completion);
        self.settle();
        self.assert_runs();
        self
    }

    /// Something goes wrong: the next step that `fault` belongs to fails so. Several come one after
    /// the other.
    pub fn inject(&mut self, fault: Fault) -> &mut Self {
        self.cluster.lock().inject(fault);
        self
    }

    /// Stops in good order and starts again: stores are restored from the changelog.
    ///
    /// # Panics
    /// If it had stopped, or can't start.
    #[track_caller]
    pub fn restart(&mut self) -> &mut Self {
        self.assert_runs();
        self.instance.mailbox.send(ToWorker::Stop);
        self.settle();
        self.crash()
    }

    /// Ends as by `kill -9` and starts again: what is open is aborted, stores are restored from the
    /// changelog, and events that are not committed come again. A source that had failed starts
    /// anew.
    ///
    /// # Panics
    /// If it can't start.
    #[track_caller]
    pub fn crash(&mut self) -> &mut Self {
        (self.failure, self.has_exited) = (None, false);
        self.held = self.held.take().map(|_| VecDeque::new());
        self.jobs.clear();
        // Each process tags its commits by a seed of its own: a tag that comes again at the same
        // offset would make a lost commit look like one that happened.
        self.builder.group.seed = self.builder.group.seed.wrapping_add(SEED);
        self.instance = Instance::new(&self.builder, &self.cluster, &self.jobs);
        self.join();
        self.assert_runs();
        self
    }
}

/// What can be seen of it.
impl<A: EventSource> TestDriver<A> {
    /// The source topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The time, as interjections are told.
    pub fn now(&self) -> SystemTime {
        self.clock.wall_clock()
    }

    /// The store of a partition, after all events so far, committed or not.
    ///
    /// # Panics
    /// If there is no such partition, or the source has stopped.
    #[track_caller]
    pub fn store(&self, partition: i32) -> &A::Store {
        self.assert_runs();
        let Some(store) = self.instance.worker.store(partition) else {
            panic!("no partition {partition}: there are {}", self.partitions);
        };
        store
    }

    /// All that was forwarded and committed, in order: what a `read_committed` reader finds.
    pub fn outputs(&self) -> Vec<Record> {
        self.outputs_since(0, View::Committed)
    }

    /// What is forwarded and not committed: what only a `read_uncommitted` reader finds. Events
    /// that wait for a completer keep it so.
    pub fn uncommitted(&self) -> Vec<Record> {
        self.outputs_since(0, View::Open)
    }

    /// All that was forwarded to `topic` and committed, in order, as its contract reads it.
    ///
    /// Payloads that borrow can't be returned; read those from [`TestDriver::outputs`].
    ///
    /// # Panics
    /// If a record is not of the contract.
    #[track_caller]
    pub fn read<E, K>(&self, topic: &Topic<E, K>) -> Vec<(K, E)>
    where
        E: for<'a> Events<At<'a> = E>,
        K: KeyCodec,
    {
        let of_topic = |record: &Record| **record.topic_partition().topic() == *topic.name();
        let read = |record: Record| {
            let key = K::decode_key(record.key().unwrap_or_default());
            let event = E::decode(&record);
            match (key, event) {
                (Ok(key), Ok(Some(event))) => (key, event),
                (key, event) => panic!(
                    "not of `{}`: {}: {}",
                    E::NAME,
                    shown::record(&record),
                    key.err().or_else(|| event.err()).map_or_else(
                        || format!("its record types are {:?}", E::RECORD_TYPES),
                        |error| error.to_string()
                    )
                ),
            }
        };
        self.outputs().into_iter().filter(of_topic).map(read).collect()
    }

    pub(super) fn outputs_since(&self, since: u64, view: View) -> Vec<Record> {
        let changelog = &self.changelog;
        let is_output =
            |record: &Record, sent: bool| sent && record.topic_partition().topic() != changelog;
        self.cluster.lock().records(view, since, is_output)
    }

    /// The committed changes of a partition's store, in order. A value of `None` is a removal.
    pub fn changelog(&self, partition: i32) -> Vec<Record> {
        let at = TopicPartition::new(Arc::clone(&self.changelog), partition);
        let is_change = |record: &Record, _| {
            *record.topic_partition() == at && !is_reserved(record.key().unwrap_or_default())
        };
        self.cluster.lock().records(View::Committed, 0, is_change)
    }

    /// The committed offset of a partition: one past the last event before which all are done. A
    /// new partition has the offset that it starts from.
    pub fn committed(&self, partition: i32) -> Option<i64> {
        self.cluster.lock().committed(&self.at(partition)).map(|known| known.offset)
    }

    /// Why the source has stopped, if it has.
    pub const fn failure(&self) -> Option<&SourceError> {
        self.failure.as_ref()
    }

    /// Returns true if the process would have exited, after
    /// [`ErrorResponse::FatallyExit`](crate::ErrorResponse::FatallyExit), for example.
    pub const fn has_exited(&self) -> bool {
        self.has_exited
    }

    #[track_caller]
    pub(super) fn assert_runs(&self) {
        if let Some(error) = &self.failure {
            panic!("the source has stopped: {error}");
        }
    }

    pub(super) fn appended(&self) -> u64 {
        self.cluster.lock().appended()
    }
}

/// How time goes by.
impl<A: EventSource> TestDriver<A> {
    /// Runs until nothing is left to do but to wait for events, completers and interjections; the
    /// clock goes on as far as transactions ask for it.
    pub(super) fn settle(&mut self) {
        self.run(None);
    }

    /// Runs what became due by `time` from now.
    pub(super) fn run_for(&mut self, time: Duration) {
        let until = self.clock.now() + time;
        self.run(Some(until));
        self.clock.advance_to(until);
        self.settle();
    }

    /// Returns true if a completion or another message has come from elsewhere.
    pub(super) fn take_news(&mut self) -> bool {
        self.take_completions()
    }

    /// Runs as far as `until`; without, as long as transactions are under way.
    fn run(&mut self, until: Option<Instant>) {
        for _ in 0..STEPS_MAX {
            self.cluster.lock().set_time(self.clock.now_ms());
            let next = self.instance.worker.step(&self.clock);
            let moved = self.carry();
            let due = match next {
                Next::Again => continue,
                _ if moved => continue,
                Next::Ended => {
                    self.instance.state.end(self.failure.as_ref());
                    return;
                }
                Next::Wait(due) => due,
            };
            let calls = self.instance.calls.front().map(|(at, _, _)| *at);
            let due = match until {
                Some(until) => due.into_iter().chain(calls).min().filter(|due| *due <= until),
                None => self.instance.worker.pool_due().into_iter().chain(calls).min(),
            };
            match due {
                Some(due) if due > self.clock.now() => self.clock.advance_to(due),
                _ => return,
            }
        }
        panic!("the application is never done: does it send to its own topic without end?");
    }

    /// Carries messages between worker, producers and control; returns whether there were any.
    fn carry(&mut self) -> bool {
        let mut moved = self.take_completions();
        moved |= self.jobs.run_all();
        while let Ok(command) = self.instance.commands.try_recv() {
            self.instance.state.stopping();
            self.instance.mailbox.send(match command {
                UserCommand::StopNow => ToWorker::StopNow,
                // Nobody takes the partitions over, and signals are the process's.
                UserCommand::Stop | UserCommand::Signal | UserCommand::OnSignals(..) => {
                    ToWorker::Stop
                }
            });
            moved = true;
        }
        let now = self.clock.now();
        let instance = &mut self.instance;
        for (slot, (_, commands)) in instance.slots.iter().enumerate() {
            let arrives = now + self.latency;
            instance.calls.extend(commands.try_iter().map(|command| (arrives, slot, command)));
        }
        while let Some((_, slot, command)) = instance.calls.pop_front_if(|(at, _, _)| *at <= now) {
            let mailbox = &instance.mailbox;
            let reply = |reply| mailbox.send(ToWorker::Slot(slot, reply));
            instance.slots[slot].0.make(command, &reply);
            moved = true;
        }
        while let Ok(report) = self.instance.reports.try_recv() {
            self.report(report);
            moved = true;
        }
        moved
    }

    /// What the control thread does in production.
    fn report(&mut self, report: FromWorker) {
        match report {
            FromWorker::Resolve { txn, offsets, .. } => {
                let state = self.cluster.lock();
                let committed = offsets.iter().any(|(at, offset, metadata)| {
                    let known = state.committed(at);
                    known.is_some_and(|k| k.offset == *offset && k.metadata == *metadata)
                });
                self.instance.mailbox.send(ToWorker::Resolved(txn, committed));
            }
            // The group knows a twin by its instance id; it never expels one instance alone.
            FromWorker::Confirm { question, .. } => match self.cluster.lock().take_twin() {
                true => {
                    self.failure.get_or_insert_with(|| SourceError::Group(TWIN.to_owned()));
                    self.instance.mailbox.send(ToWorker::StopNow);
                }
                false => self.instance.mailbox.send(ToWorker::Confirmed(question)),
            },
            FromWorker::Failed(error) => {
                self.failure.get_or_insert(error);
                self.instance.mailbox.send(ToWorker::Stop);
            }
            FromWorker::Fatal(error) => {
                if let Some(call) = &self.builder.errors.on_fatal {
                    call(&error);
                }
                (self.failure, self.has_exited) = (Some(error), true);
                self.instance.mailbox.send(ToWorker::StopNow);
            }
            FromWorker::Active(at) => {
                self.instance.state.set(SourceState::Healthy);
                self.instance.state.active(at.partition(), true);
            }
            FromWorker::Drained(at) | FromWorker::Retired(at) => {
                self.instance.state.active(at.partition(), false);
            }
            FromWorker::BatchSkipped | FromWorker::Ended(_) => {}
            // One instance keeps no copies of another's.
            FromWorker::Held { .. }
            | FromWorker::Warmed(_)
            | FromWorker::WarmFailed(..)
            | FromWorker::CopyTooOld(_)
            | FromWorker::Lag(..)
            | FromWorker::Stalled(..) => {}
        }
    }

    fn take_completions(&mut self) -> bool {
        let mut moved = false;
        for completion in self.instance.completions.try_iter() {
            match &mut self.held {
                Some(held) if matches!(completion, ToWorker::Completion(_)) => {
                    held.push_back(completion);
                }
                _ => {
                    self.instance.mailbox.send(completion);
                    moved = true;
                }
            }
        }
        moved
    }
}

impl<A: EventSource> Instance<A> {
    fn new(builder: &SourceBuilder<A>, cluster: &Cluster, jobs: &StepRunner) -> Self {
        let (mailbox, inbox) = Mailbox::new();
        let (completer, completions) = Mailbox::new();
        let (reports, from_worker) = channel();
        let producers = cluster.clone();
        let make_producer =
            move |slot| Ok(MemoryProducer::new(producers.clone(), format!("test-{slot}")));
        let fetchers = cluster.clone();
        let mut parts: WorkerParts<_, MemoryProducer, MemoryFetcher> = builder.worker_parts(
            0,
            Arc::new(make_producer),
            Box::new(move |_| Ok(MemoryFetcher::new(fetchers.clone()))),
            Box::new(move |report| drop(reports.send(report))),
        );
        parts.runner = Some(Arc::new(jobs.clone()));
        parts.counts = PartitionCounts::all(cluster.lock().partitions());
        let (mut slots, mut workers_slots) = (vec![], vec![]);
        for index in 0..parts.eos.pool_size {
            let (slot, commands) = Slot::without_thread();
            workers_slots.push(slot);
            slots.push((SlotCalls::new(index, Arc::clone(&parts.make_producer)), commands));
        }
        let fetcher = MemoryFetcher::new(cluster.clone());
        let worker = Worker::new(parts, fetcher, workers_slots, completer, inbox);
        let (calls, reports) = (VecDeque::new(), from_worker);
        let (user, commands) = tokio::sync::mpsc::unbounded_channel();
        let state = SharedState::default();
        let lifecycle = Lifecycle { commands: user, state: state.clone() };
        let (ports, limit) = (vec![Port::new(mailbox.clone())], builder.interjection_queue);
        let partitions = builder.partitions.unwrap_or(1);
        let handle = SourceHandle::new(partitions, lifecycle, ports, limit, builder.schedules());
        Self { worker, mailbox, slots, calls, reports, completions, handle, state, commands }
    }
}

impl<A: EventSource<Shared: NothingMissing>> Default for TestDriver<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: EventSource> fmt::Debug for TestDriver<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDriver")
            .field("topic", &self.topic)
            .field("partitions", &self.partitions)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}
