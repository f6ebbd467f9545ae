//! A worker: one thread that owns a set of partitions, with their stores, handlers and producers.
//!
//! Nothing here is shared or locked. [`Worker::step`] does what there is to do and says when to
//! come again; it reads no clock of its own and never waits. `driver` is the thread around it.

mod advance;
mod answers;
#[cfg(test)]
mod asked_tests;
mod closer;
mod commands;
#[cfg(test)]
mod completer_tests;
mod driver;
mod events;
mod fence;
#[cfg(test)]
mod fence_tests;
#[cfg(test)]
mod hanging_tests;
mod inbox;
mod interjections;
mod jobs;
#[cfg(test)]
mod jobs_tests;
mod measure;
mod opening;
#[cfg(test)]
mod opening_tests;
mod pacing;
mod parking;
mod pinned;
#[cfg(test)]
mod planted_tests;
mod restore;
#[cfg(test)]
mod retry_tests;
#[cfg(test)]
mod stall_tests;
mod step;
#[cfg(test)]
mod suspended_tests;
mod warm;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};

use self::advance::Advance;
use self::closer::Closer;
use self::fence::Fence;
use self::inbox::CompletionMailbox;
pub(crate) use self::jobs::JobDone;
use self::pinned::Outlived;
use super::OnUnreadable;
use super::callbacks::{Call, Callbacks};
use super::error::{SourceError, UserCode};
use super::error_policy::ErrorPolicies;
use super::history::{ChangelogTag, CommittedWith};
use super::mailbox::Mailbox;
use super::policy::{ChangelogMissing, OffsetsMissing};
use super::pulse::{Pulse, PulseWriter};
use super::slot::{MakeProducer, OffsetsPatience, Slot, SlotReply};
use super::store_factory::StoreFactory;
use super::tombstones::{DELETE_RETENTION, copy_age_max};
use crate::client::{FetchError, Fetcher, Reads, TxnProducer};
use crate::eos::{Command, EosConfig, Pool, ScheduleKey, Snapshot, TxnSeq};
use crate::error::TxnError;
use crate::group::Generation;
use crate::handler::{
    Completion, EventSource, EventTicket, HandlerClock, PartitionCounts, Scheduled,
};
use crate::jobs::Schedulers;
use crate::jobs::durable::{JobRunner, JobTypes};
use crate::metrics::{MetricsSink, SourceLabels, WorkerMeters};
use crate::record::TopicPartition;
use crate::store::StateStore;
use crate::task::{Interject, Moment, Task};

/// So many events are processed before the mailbox is looked at again.
const EVENTS_PER_ROUND: usize = 512;

/// The time after which a producer whose queue was full is tried again.
const SEND_RETRY: Duration = Duration::from_millis(1);

/// What a worker is told.
pub(crate) enum ToWorker<S: 'static, P> {
    /// A slot's thread says something.
    Slot(usize, SlotReply<P>),
    /// An event is completed.
    Completion(Completion<S>),
    /// An event's hold was dropped: its partition may take events again.
    HoldDropped(EventTicket),
    /// A partition is ours.
    Assign(Assignment),
    /// A warm copy of the partition is wanted; its changelog has these ends.
    Warm(TopicPartition, (i64, i64)),
    /// The warm copy is not wanted any more.
    Forget(TopicPartition),
    /// A partition is given up: finish what has begun.
    Revoke(TopicPartition),
    /// The same, and its store is to be a copy, if it is whole.
    Retire(TopicPartition),
    /// All partitions are lost.
    LoseAll,
    /// The generation is about to change: begin no commit. Of which hold it is the answer says.
    Hold(u64),
    /// The partition may go to another member: begin nothing, and finish what has begun.
    Suspend(TopicPartition),
    /// It goes on.
    Resume(TopicPartition),
    /// It changes when others have joined: commit until then.
    Release,
    /// The generation is known.
    Generation(Generation),
    /// The group's coordinator has confirmed this member after the question of this number. If the
    /// member has lost its partitions instead, `LoseAll` comes.
    Confirmed(u64),
    /// For so long a store that follows its changelog may be without the end of it.
    CopyAgeMax(Duration),
    /// Whether an indefinite commit happened.
    Resolved(TxnSeq, bool),
    /// A durable job has ended.
    JobDone(JobDone),
    /// A caller asks for an interjection.
    Interject(i32, Interject<S>),
    /// The clock calls a further interjection from now on.
    Schedule(Scheduled<S>),
    /// The interjection of this name, which was scheduled so, runs no more.
    Unschedule(Arc<str>),
    /// Give everything up, then end.
    Stop,
    /// End at once; what is open is aborted.
    StopNow,
}

/// A partition, and where it goes on.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) partition: TopicPartition,
    /// What the group has committed; `None` if nothing.
    pub(crate) committed: Option<Snapshot>,
    /// The changelog topic that the committed offset belongs to.
    pub(crate) committed_with: CommittedWith,
    /// Where to start.
    pub(crate) start: Snapshot,
    /// The changelog's first offset and its end.
    pub(crate) changelog: (i64, i64),
}

/// What a worker says.
#[derive(Debug)]
pub(crate) enum FromWorker {
    /// The partition's store is restored, and its events are processed.
    Active(TopicPartition),
    /// Asked to hold its commits, it has none on its way, and these partitions stand still.
    Held { worker: usize, hold: u64, suspended: Vec<i32> },
    /// The warm copy has caught up.
    Warmed(TopicPartition),
    /// The warm copy was given up because it had fallen behind for too long: a new one is wanted.
    CopyTooOld(TopicPartition),
    /// There is no warm copy, and why.
    WarmFailed(TopicPartition, String),
    /// So many changelog offsets are missing in each warm copy.
    Lag(BTreeMap<i32, i64>),
    /// The revoked partition is done (EOS-6).
    Drained(TopicPartition),
    /// The same, and its store waits to become a copy: to be warmed, or forgotten.
    Retired(TopicPartition),
    /// The partition does not advance although it has further records, for this reason; or it does
    /// again.
    Stalled(TopicPartition, Option<String>),
    /// Was this commit of ours?
    Resolve { worker: usize, txn: TxnSeq, offsets: Vec<(TopicPartition, i64, String)> },
    /// The worker wants a proof that the group's coordinator still counts on this member, newer
    /// than this question: `Confirmed` repeats its number.
    Confirm { worker: usize, question: u64 },
    /// A batch of records was left out.
    BatchSkipped,
    /// The worker can't go on; what has begun is still committed.
    Failed(SourceError),
    /// Nothing may run on: the process is to exit.
    Fatal(SourceError),
    /// The worker has ended.
    Ended(usize),
}

/// Makes a fetcher.
pub(crate) type MakeFetcher<F> = Box<dyn Fn(Reads) -> Result<F, FetchError> + Send>;

/// What a worker is made of.
pub(crate) struct WorkerParts<A: EventSource, P, F> {
    pub(crate) index: usize,
    pub(crate) eos: EosConfig,
    pub(crate) in_flight_events_max: usize,
    pub(crate) schedulers: Schedulers,
    pub(crate) group_id: Arc<str>,
    pub(crate) changelog: Arc<str>,
    /// The changelog topic's tag, which goes with each committed offset.
    pub(crate) changelog_tag: Option<ChangelogTag>,
    /// The numbers of partitions that handlers may know.
    pub(crate) counts: PartitionCounts,
    pub(crate) offsets_missing: OffsetsMissing,
    pub(crate) changelog_missing: ChangelogMissing,
    pub(crate) errors: ErrorPolicies,
    /// The topics that dead letters may go to.
    pub(crate) dead_letter_topics: BTreeSet<String>,
    pub(crate) on_unreadable: OnUnreadable,
    /// The labels of the worker's figures.
    pub(crate) labels: SourceLabels,
    pub(crate) metrics: MetricsSink,
    /// The source's own, and those that were scheduled.
    pub(crate) interjections: Vec<Scheduled<A::Store>>,
    /// What all handlers share.
    pub(crate) shared: Arc<A::Shared>,
    /// The types of durable jobs.
    pub(crate) jobs: Arc<JobTypes<A::Store>>,
    /// Their names.
    pub(crate) job_types: Arc<[&'static str]>,
    /// Runs durable jobs; `None` if there is no type.
    pub(crate) runner: Option<Arc<dyn JobRunner>>,
    pub(crate) stores: StoreFactory<A::Store>,
    /// Whether outputs take over the trace headers of their input.
    pub(crate) propagate_trace_context: bool,
    pub(crate) seed: u64,
    pub(crate) outage_timeout: Duration,
    /// How long a partition may not advance before the worker reports it.
    pub(crate) stalled_after: Duration,
    pub(crate) make_producer: MakeProducer<P>,
    pub(crate) make_fetcher: MakeFetcher<F>,
    pub(crate) callbacks: Callbacks,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) report: Box<dyn Fn(FromWorker) + Send>,
}

/// One worker.
pub(crate) struct Worker<A: EventSource, P, F> {
    parts: WorkerParts<A, P, F>,
    pulse: PulseWriter,
    meters: WorkerMeters,
    inbox: Receiver<ToWorker<A::Store, P>>,
    completions: Arc<CompletionMailbox<A::Store, P>>,
    fetcher: F,
    /// Reads the changelog; made when it is needed, gone when it isn't.
    restorer: Option<F>,
    closer: Closer,
    pool: Pool,
    slots: Vec<Slot<P>>,
    /// By the partition's number: a source has one topic.
    tasks: BTreeMap<i32, Task<A::Store>>,
    generation: Option<Generation>,
    next_assignment: u64,
    /// Completions and interjections that wait for a transaction.
    waiting: VecDeque<Waiting<A::Store>>,
    last_error: Option<TxnError>,
    /// The failed steps of transactions since the last commit.
    txn_failures: u32,
    fence: Fence,
    outlived: Outlived,
    offsets_patience: OffsetsPatience,
    /// When the lag of warm copies is said next.
    lag_due: Option<Instant>,
    /// When the gauges are set next.
    gauges_due: Option<Instant>,
    /// Asked to hold its commits, and one is on its way.
    holding: Option<u64>,
    /// The member joins, and its generation may end at any time.
    rejoining: bool,
    /// No transaction took the last event: what ends one wakes us.
    full: bool,
    advance: Advance,
    copy_age_max: Duration,
    /// The wall clock at the beginning of the step.
    wall: SystemTime,
    failed: bool,
    stopping: bool,
    ended: bool,
    random: u64,
    /// The keys of the interjections, in their order; `None` for one that is cancelled.
    schedule_keys: Vec<Option<ScheduleKey>>,
    /// The keys of those that were cancelled: an abort may bring one back.
    cancelled: BTreeSet<ScheduleKey>,
    /// The time of day of this step, in milliseconds since the Unix epoch.
    wall_ms: i64,
}

enum Waiting<S: 'static> {
    Completion(Completion<S>),
    Interject(i32, Interject<S>),
}

/// The time, as a worker asks for it.
pub(crate) trait Clock {
    /// It never goes back.
    fn now(&self) -> Instant;

    /// The time of day, which interjections are told.
    fn wall_clock(&self) -> SystemTime;

    /// The clock that handlers see.
    fn handler_clock(&self) -> HandlerClock;
}

/// When to step a worker again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// At once.
    Again,
    /// When its mailbox or its fetcher has something, and at this time at the latest.
    Wait(Option<Instant>),
    /// Never: it has ended.
    Ended,
}

impl<A: EventSource, P: TxnProducer, F: Fetcher> Worker<A, P, F> {
    /// A worker without partitions; `slots` are its pool's.
    pub(crate) fn new(
        parts: WorkerParts<A, P, F>,
        fetcher: F,
        slots: Vec<Slot<P>>,
        mailbox: Mailbox<ToWorker<A::Store, P>>,
        inbox: Receiver<ToWorker<A::Store, P>>,
    ) -> Self {
        assert_eq!(slots.len(), parts.eos.pool_size, "a slot for each producer of the pool");
        Self {
            completions: Arc::new(CompletionMailbox(mailbox)),
            random: parts.seed | 1,
            schedule_keys: Self::schedule_keys(&parts.interjections),
            cancelled: BTreeSet::new(),
            wall_ms: 0,
            pool: Pool::new(parts.eos)
                .outage_timeout(parts.outage_timeout)
                .in_flight_events_max(parts.in_flight_events_max),
            pulse: PulseWriter::new(Arc::clone(&parts.pulse)),
            meters: WorkerMeters::new(parts.labels.clone(), parts.index, parts.metrics.clone()),
            parts,
            inbox,
            fetcher,
            restorer: None,
            closer: Closer::default(),
            slots,
            tasks: BTreeMap::new(),
            generation: None,
            next_assignment: 0,
            waiting: VecDeque::new(),
            last_error: None,
            txn_failures: 0,
            fence: Fence::default(),
            outlived: Outlived::new(),
            offsets_patience: OffsetsPatience::default(),
            lag_due: None,
            gauges_due: None,
            holding: None,
            rejoining: false,
            full: false,
            advance: Advance::default(),
            copy_age_max: copy_age_max(DELETE_RETENTION),
            wall: SystemTime::UNIX_EPOCH,
            failed: false,
            stopping: false,
            ended: false,
        }
    }

    /// Does what there is to do: messages, changelog records, events, the pool's commands.
    pub(crate) fn step(&mut self, clock: &impl Clock) -> Next {
        if self.ended {
            return Next::Ended;
        }
        self.pulse.beat();
        let now = clock.now();
        self.wall = clock.wall_clock();
        self.wall_ms = unix_ms(self.wall);
        while let Ok(message) = self.inbox.try_recv() {
            self.handle(now, message);
        }
        let more_restores = self.restore(now);
        for task in self.tasks.values_mut() {
            task.context.set_clock(clock.handler_clock());
        }
        let more_events = !self.failed && self.process(now, clock);
        // The pool is asked with the time after the events, so that no batch gets too old.
        let now = clock.now();
        self.pool.advance(now, more_events);
        let mut rewound = false;
        while let Some(command) = self.pool.poll_command() {
            rewound |= matches!(command, Command::Rewind { .. });
            self.execute(now, command);
        }
        self.start_jobs();
        self.transmit(now);
        if self.holding.is_some()
            && !self.pool.is_committing()
            && self.pool.suspended_are_drained()
            && let Some(hold) = self.holding.take()
        {
            let suspended = self.tasks.iter().filter(|(_, task)| task.suspended);
            let suspended = suspended.map(|(partition, _)| *partition).collect();
            let worker = self.parts.index;
            (self.parts.report)(FromWorker::Held { worker, hold, suspended });
        }
        self.measure(now);
        self.look_at_positions(now);
        self.stop_if_fenced(now);
        self.end_if_stopped();
        // What lies there is to be taken: nobody wakes us for it.
        match (self.ended, more_restores || more_events || rewound) {
            (true, _) => Next::Ended,
            (false, true) => Next::Again,
            (false, false) => {
                let due = [self.due(), self.retry_send(now), self.jobs_due(now)];
                Next::Wait(due.into_iter().flatten().min())
            }
        }
    }

    /// When a producer whose queue was full is tried again: its client tells nobody that it sent
    /// some.
    fn retry_send(&self, now: Instant) -> Option<Instant> {
        let waits = |slot: &Slot<P>| slot.transmit && slot.sent < slot.outputs.len();
        self.slots.iter().any(waits).then(|| now + SEND_RETRY)
    }

    /// A partition's store.
    pub(crate) fn store(&self, partition: i32) -> Option<&A::Store> {
        self.tasks.get(&partition).map(|task| &task.context.store)
    }

    /// The scheduled interjections, those that were cancelled included.
    pub(crate) fn interjections(&self) -> &[Scheduled<A::Store>] {
        &self.parts.interjections
    }

    /// When a timer of the pool is due: something is under way.
    pub(crate) fn pool_due(&self) -> Option<Instant> {
        self.pool.next_step()
    }

    /// When a timer is due.
    fn due(&self) -> Option<Instant> {
        let interjections = self.tasks.values().flat_map(Task::due).map(|(_, at)| at);
        let begin = self.tasks.values().filter(|task| task.begins_events());
        let retries = begin.flat_map(|task| {
            let unparked = task.parking.next_due(task.context.framework());
            task.retries.next_due().into_iter().chain(unparked)
        });
        let events = interjections.chain(retries).filter(|_| !self.full && !self.failed);
        events.chain(self.pool.poll_timeout()).chain(self.fence_due()).min()
    }

    /// This step's time by both clocks.
    const fn moment(&self, now: Instant) -> Moment {
        Moment { now, wall: self.wall }
    }

    fn end_if_stopped(&mut self) {
        if self.stopping && self.tasks.is_empty() && self.pool.is_quiet() {
            self.ended = true;
        }
    }

    fn task_of(&mut self, partition: &TopicPartition) -> Option<&mut Task<A::Store>> {
        find(&mut self.tasks, partition)
    }

    /// A failure that ends the source: what is complete is committed, nothing more is begun.
    fn fail(&mut self, error: SourceError) {
        if !std::mem::replace(&mut self.failed, true) {
            tracing::error!(worker = self.parts.index, %error, "the source stops");
            (self.parts.report)(FromWorker::Failed(error));
        }
    }

    /// A failure after which nothing may run on.
    fn fail_fatally(&mut self, error: SourceError) {
        self.failed = true;
        (self.parts.report)(FromWorker::Fatal(error));
    }

    /// Calls the application back. A panic there fails the source, as a handler's does.
    fn call_back(&mut self, call: Call, partition: &TopicPartition) {
        let Self { pulse, parts, .. } = self;
        let run = || parts.callbacks.call(call, partition);
        if let Err(error) = pulse.guard(UserCode::Callback, partition, None, call.name(), run) {
            self.fail(error);
        }
    }

    /// A number below `bound`, from the worker's own generator.
    fn random_below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        if bound == 0 { 0 } else { self.random % bound }
    }
}

fn unix_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn find<'t, S: StateStore>(
    tasks: &'t mut BTreeMap<i32, Task<S>>,
    partition: &TopicPartition,
) -> Option<&'t mut Task<S>> {
    let task = tasks.get_mut(&partition.partition())?;
    (task.topic_partition() == partition).then_some(task)
}

/// The next run of an interjection: `every`, longer or shorter by up to `jitter`.
fn next_run(now: Instant, every: Duration, jitter: Duration, random: u64) -> Instant {
    now + (every + Duration::from_nanos(random)).saturating_sub(jitter)
}
