//! The control thread: it passes the member's events on to the workers, and their reports back.

mod copies;
mod ending;
mod growth;
mod hold;
mod take_over;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior};

use self::growth::Counted;
pub(crate) use self::growth::{CHECK_MAX, CHECK_MIN, Growth};
use self::hold::Hold;
use self::take_over::Attempt;
use super::copies::Copies;
use super::error::SourceError;
use super::error_policy::OnFatal;
use super::mailbox::Mailbox;
use super::outage::Retry;
use super::prepare::{PrepareSettings, changelog_ends};
use super::pulse::{Pulse, Watch};
use super::running::{SharedState, SourceState, UserCommand};
use super::takeover::client_id;
use super::worker::{Assignment, FromWorker, ToWorker};
use crate::client::wire::{Admin, ClientError, Isolation, WireTransport};
use crate::eos::TxnSeq;
use crate::group::{
    Generation, GroupCommand, GroupConfig, GroupEvent, GroupView, Member, Partitions, run,
};
use crate::metrics::{GroupMeters, SourceLabels};
use crate::record::TopicPartition;

/// How long the workers may take to end in order before the control thread cuts the end short.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one question for an indefinite commit's offset may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(30);

/// A worker's mailbox, without its types.
pub(crate) struct WorkerHandle {
    send: Box<dyn Fn(Word) + Send>,
    pulse: Arc<Pulse>,
}

/// What the control thread says to workers.
pub(crate) enum Word {
    Assign(Assignment),
    Warm(TopicPartition, (i64, i64)),
    Forget(TopicPartition),
    Revoke(TopicPartition),
    Retire(TopicPartition),
    Suspend(TopicPartition),
    Resume(TopicPartition),
    LoseAll,
    Hold(u64),
    Release,
    Generation(Generation),
    Confirmed(u64),
    CopyAgeMax(Duration),
    Resolved(TxnSeq, bool),
    Stop,
    StopNow,
}

impl WorkerHandle {
    pub(crate) fn new<S: Send + 'static, P: Send + Sync + 'static>(
        mailbox: &Mailbox<ToWorker<S, P>>,
        pulse: Arc<Pulse>,
    ) -> Self {
        let mailbox = mailbox.clone();
        let send = move |word| {
            mailbox.send(match word {
                Word::Assign(assignment) => ToWorker::Assign(assignment),
                Word::Warm(partition, changelog) => ToWorker::Warm(partition, changelog),
                Word::Forget(partition) => ToWorker::Forget(partition),
                Word::Revoke(partition) => ToWorker::Revoke(partition),
                Word::Retire(partition) => ToWorker::Retire(partition),
                Word::LoseAll => ToWorker::LoseAll,
                Word::Suspend(partition) => ToWorker::Suspend(partition),
                Word::Resume(partition) => ToWorker::Resume(partition),
                Word::Hold(hold) => ToWorker::Hold(hold),
                Word::Release => ToWorker::Release,
                Word::Generation(generation) => ToWorker::Generation(generation),
                Word::Confirmed(question) => ToWorker::Confirmed(question),
                Word::CopyAgeMax(age_max) => ToWorker::CopyAgeMax(age_max),
                Word::Resolved(txn, committed) => ToWorker::Resolved(txn, committed),
                Word::Stop => ToWorker::Stop,
                Word::StopNow => ToWorker::StopNow,
            });
        };
        Self { send: Box::new(send), pulse }
    }
}

/// The result of asynchronous work of the control thread.
enum Done {
    /// Where partitions start.
    Prepared {
        numbers: Vec<i32>,
        attempt: Attempt,
        result: Result<Vec<Assignment>, SourceError>,
    },
    Resolved {
        worker: usize,
        txn: TxnSeq,
        committed: Result<bool, SourceError>,
    },
    /// Where the changelogs of copies begin and end.
    CopiesFound {
        partitions: Vec<i32>,
        retry: Retry,
        ends: Result<ChangelogEnds, SourceError>,
    },
    /// For how long the changelog keeps tombstones.
    Retention {
        retry: Retry,
        retention: Result<Option<Duration>, SourceError>,
    },
    /// Where the changelogs of suspended partitions begin and end.
    HoldEnds {
        hold: u64,
        ends: Result<ChangelogEnds, SourceError>,
    },
    /// How many partitions source and changelog have, if a broker knows both.
    Counted(Result<Option<Counted>, ClientError>),
    /// Where the changelog of a retired partition begins and ends.
    RetiredAt {
        number: i32,
        round: u64,
        ends: Result<ChangelogEnds, SourceError>,
    },
}

type ChangelogEnds = BTreeMap<i32, (i64, i64)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// The member evacuates: it processes events, while the group moves its partitions away.
    Draining,
    /// The workers drain their tasks and close them.
    Stopping,
    /// The workers have ended, and the member leaves.
    Leaving,
    Ended,
}

/// How long the control thread waits for members and for workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// For the members to which the partitions move.
    pub(crate) leave_timeout: Duration,
    /// For a worker that runs one piece of the application's code.
    pub(crate) max_poll_interval: Duration,
}

/// How a source has ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) result: Result<(), SourceError>,
    /// Workers whose threads are stuck: they can't be joined.
    pub(crate) abandoned: BTreeSet<usize>,
}

/// The control thread's state.
pub(crate) struct Control {
    meters: GroupMeters,
    settings: PrepareSettings,
    workers: Vec<WorkerHandle>,
    state: SharedState,
    group: UnboundedSender<GroupCommand>,
    group_inbox: Option<UnboundedReceiver<GroupCommand>>,
    done: UnboundedSender<Done>,
    done_inbox: Option<UnboundedReceiver<Done>>,
    /// The partitions of this member, each with the round of its assignment.
    owned: BTreeMap<i32, u64>,
    copies: Copies,
    /// Retired partitions that are not acknowledged yet, each with the round of its question.
    retired: BTreeMap<i32, u64>,
    /// Warm copies that started from a retired store since the last `Joined`. If the member is lost
    /// before the next one, it drops them: the next owner may have written to the changelog before
    /// this member read its end.
    unconfirmed: BTreeSet<i32>,
    hold: Hold,
    /// Partitions that the member has revoked after it had suspended them, each with the ends that
    /// its changelog had then.
    retiring: ChangelogEnds,
    keeps_standbys: bool,
    growth: Growth,
    /// The workers' questions that the group has not answered yet: worker and number of each.
    confirming: BTreeMap<u64, (usize, u64)>,
    /// Suspended partitions: the next plan may assign them to other members.
    suspended: BTreeSet<i32>,
    /// The last generation.
    generation: i32,
    leave_timeout: Duration,
    on_fatal: Option<OnFatal>,
    round: u64,
    running: BTreeSet<usize>,
    watch: Watch,
    /// Stuck workers: the control thread does not wait for them.
    abandoned: BTreeSet<usize>,
    /// Whether the workers abort what they have begun, instead of committing it.
    is_cut_short: bool,
    /// Whether the member sends LeaveGroup at its end.
    leaves: bool,
    phase: Phase,
    /// Whether a partition has ever been active here.
    has_worked: bool,
    stop_by: Option<Instant>,
    failure: Option<SourceError>,
}

impl Control {
    pub(crate) fn new(
        settings: &PrepareSettings,
        timeouts: Timeouts,
        workers: Vec<WorkerHandle>,
        state: SharedState,
    ) -> Self {
        let Timeouts { leave_timeout, max_poll_interval } = timeouts;
        let (group, group_inbox) = unbounded_channel();
        let (done, done_inbox) = unbounded_channel();
        let source = Arc::clone(&settings.source);
        let labels = SourceLabels { group: Arc::from(settings.group.as_str()), topic: source };
        Self {
            meters: GroupMeters::new(&labels),
            settings: settings.clone(),
            running: (0..workers.len()).collect(),
            watch: Watch::new(std::time::Instant::now(), max_poll_interval, workers.len()),
            abandoned: BTreeSet::new(),
            is_cut_short: false,
            leaves: true,
            workers,
            state,
            group,
            group_inbox: Some(group_inbox),
            done,
            done_inbox: Some(done_inbox),
            owned: BTreeMap::new(),
            copies: Copies::default(),
            retired: BTreeMap::new(),
            unconfirmed: BTreeSet::new(),
            hold: Hold::default(),
            retiring: ChangelogEnds::new(),
            keeps_standbys: false,
            growth: Growth::default(),
            confirming: BTreeMap::new(),
            suspended: BTreeSet::new(),
            generation: -1,
            leave_timeout,
            on_fatal: None,
            round: 0,
            phase: Phase::Running,
            has_worked: false,
            stop_by: None,
            failure: None,
        }
    }

    /// Calls this function where the process would exit.
    pub(crate) fn on_fatal(self, on_fatal: Option<OnFatal>) -> Self {
        Self { on_fatal, ..self }
    }

    /// Runs until the source has ended.
    pub(crate) async fn run(
        mut self,
        group: &GroupConfig,
        mut from_workers: UnboundedReceiver<FromWorker>,
        mut user: UnboundedReceiver<UserCommand>,
    ) -> End {
        let (events, mut group_events) = unbounded_channel();
        self.keeps_standbys = group.standby_replicas > 0;
        let member = Member::new(std::time::Instant::now(), group.clone());
        let transport = WireTransport::new(&self.settings.endpoint)
            .limited(&self.settings.source, &self.settings.changelog)
            .watched(self.settings.coordinator.clone());
        let transport = match group.instance_id {
            Some(_) => transport,
            None => transport.named(client_id(&self.settings.take_over.instance)),
        };
        let inboxes = (self.group_inbox.take(), self.done_inbox.take());
        let (Some(commands), Some(mut done)) = inboxes else {
            let error = SourceError::Thread("the control thread runs once".to_owned());
            return End { result: Err(error), abandoned: BTreeSet::new() };
        };
        let on_event = move |event| drop(events.send(event));
        tokio::spawn(run(member, transport, commands, on_event));
        self.ask_retention();
        let every = self.growth.every;
        let mut counts = tokio::time::interval_at(Instant::now() + every, every);
        counts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = tokio::time::interval(self.watch.every());
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.phase != Phase::Ended {
            let stopping = self.stop_by.is_some();
            let deadline = self.stop_by.unwrap_or_else(|| Instant::now() + STOP_TIMEOUT);
            tokio::select! {
                Some(event) = group_events.recv() => self.group_event(event),
                Some(message) = from_workers.recv() => self.worker_says(message),
                Some(done) = done.recv() => self.done(done),
                Some(command) = user.recv() => self.user_command(command),
                _ = counts.tick(), if self.goes_on() => self.look_for_partitions(),
                _ = looks.tick() => self.look_for_stuck(),
                () = tokio::time::sleep_until(deadline), if stopping => self.time_is_over(),
            }
        }
        self.abandoned.extend(&self.running);
        End { result: self.failure.map_or(Ok(()), Err), abandoned: self.abandoned }
    }

    fn worker_of(&self, partition: i32) -> usize {
        usize::try_from(partition).unwrap_or(0) % self.workers.len()
    }

    fn tell(&self, worker: usize, word: Word) {
        if let Some(handle) = self.workers.get(worker) {
            (handle.send)(word);
        }
    }

    fn tell_all(&self, word: impl Fn() -> Word) {
        self.workers.iter().for_each(|worker| (worker.send)(word()));
    }

    fn partition(&self, number: i32) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.settings.source), number)
    }

    fn group_event(&mut self, event: GroupEvent) {
        match event {
            GroupEvent::Rejoining { hold, outgoing } => self.begin_hold(hold, &outgoing),
            GroupEvent::Waiting { resumed } => {
                self.resume(&resumed);
                self.tell_all(|| Word::Release);
            }
            GroupEvent::Begun { generation, resumed } => {
                self.resume(&resumed);
                self.tell_all(|| Word::Generation(generation.clone()));
            }
            GroupEvent::Joined { generation, assigned, handed_over, revoked, owned, warm } => {
                let id = generation.generation_id;
                tracing::info!(generation = id, ?assigned, ?revoked, ?owned, ?warm, "joined");
                self.meters.joined();
                // The coordinator has not expelled the member until now.
                self.unconfirmed.clear();
                self.generation = id;
                self.resume(&owned);
                self.revoke(&revoked, &warm);
                self.prepare(&assigned, &handed_over);
                self.copy(&warm);
                if revoked.is_empty() && assigned.is_empty() && self.owned.is_empty() {
                    self.state.set(SourceState::Healthy);
                }
            }
            GroupEvent::Revoked { partitions } => self.revoke(&partitions, &Partitions::new()),
            GroupEvent::View(view) => {
                explain(&view);
                self.meters.view(view.members.len(), view.transitions.len());
                self.state.set_view(*view);
            }
            GroupEvent::Drained if self.phase == Phase::Draining => self.stop(),
            GroupEvent::Drained => {}
            GroupEvent::Lost { reason } => self.lost(&reason),
            GroupEvent::Confirmed { question } => {
                if let Some((worker, question)) = self.confirming.remove(&question) {
                    self.tell(worker, Word::Confirmed(question));
                }
            }
            GroupEvent::Failed { reason } => {
                self.fail(SourceError::Group(reason));
                if self.running.is_empty() {
                    self.phase = Phase::Ended;
                }
            }
            GroupEvent::Left => {
                if self.running.is_empty() {
                    self.phase = Phase::Ended;
                }
            }
        }
    }

    /// Other members may own the partitions now: the workers commit nothing, and drop the tasks.
    fn lost(&mut self, reason: &str) {
        tracing::warn!(reason, "all partitions are lost");
        self.meters.lost();
        self.owned.clear();
        self.suspended.clear();
        self.hold = Hold::default();
        self.retiring.clear();
        self.generation = -1;
        self.retired.clear();
        self.confirming.clear();
        self.copies.lost();
        self.state.lost();
        self.tell_all(|| Word::LoseAll);
        // The next owners may have written before the control thread read the ends from which these
        // copies follow.
        for number in std::mem::take(&mut self.unconfirmed) {
            self.copies.taken(number);
            self.forget(number);
        }
    }

    /// Asks where changelogs begin and end, beside everything else, after a while.
    fn ask_ends(
        &self,
        partitions: Vec<i32>,
        isolation: Isolation,
        after: Duration,
        answer: impl FnOnce(Result<ChangelogEnds, SourceError>) -> Done + Send + 'static,
    ) {
        let (settings, done) = (self.settings.clone(), self.done.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let ends = changelog_ends(&settings, &partitions, isolation).await;
            let _ = done.send(answer(ends));
        });
    }

    fn numbers(&self, partitions: &Partitions) -> Vec<i32> {
        let ours = partitions.iter().filter(|(topic, _)| **topic == *self.settings.source);
        ours.map(|(_, number)| *number).collect()
    }

    fn name(&self, number: i32) -> Partitions {
        Partitions::from([(self.settings.source.to_string(), number)])
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Prepared { numbers, attempt, result } => {
                self.prepared(&numbers, attempt, result);
            }
            Done::Resolved { worker, txn, committed: Ok(committed) } => {
                self.tell(worker, Word::Resolved(txn, committed));
            }
            Done::Resolved { committed: Err(error), .. } => self.fail(error),
            Done::CopiesFound { partitions, retry, ends } => {
                self.copies_found(&partitions, retry, ends);
            }
            Done::Retention { retry, retention } => self.retention(retry, retention),
            Done::HoldEnds { hold, ends } => self.hold_ends(hold, ends),
            Done::RetiredAt { number, round, ends } => self.retired_at(number, round, ends),
            Done::Counted(counted) => self.counted(counted),
        }
    }

    fn worker_says(&mut self, message: FromWorker) {
        match message {
            FromWorker::Active(partition) => {
                self.has_worked = true;
                self.state.set(SourceState::Healthy);
                self.meters.active(self.state.active(partition.partition(), true));
            }
            FromWorker::Drained(partition) => {
                let number = partition.partition();
                self.retired.remove(&number);
                self.retiring.remove(&number);
                self.meters.active(self.state.active(number, false));
                self.acknowledge(number);
                if self.copies.drained(number) {
                    self.find_copies(vec![number]);
                }
            }
            FromWorker::Retired(partition) => {
                self.meters.active(self.state.active(partition.partition(), false));
                self.retired(partition.partition());
            }
            FromWorker::Held { worker, hold, suspended } => self.held(worker, hold, &suspended),
            FromWorker::Warmed(partition) => {
                let _ = self.group.send(GroupCommand::Warmed(self.name(partition.partition())));
            }
            FromWorker::WarmFailed(partition, reason) => {
                let number = partition.partition();
                self.copies.failed(number);
                self.state.lag(number, None);
                let _ = self.group.send(GroupCommand::WarmFailed(self.name(number), reason));
            }
            FromWorker::CopyTooOld(partition) => {
                let number = partition.partition();
                self.state.lag(number, None);
                if self.copies.holds(number) {
                    self.find_copies(vec![number]);
                }
            }
            FromWorker::Lag(lags) => {
                lags.iter().for_each(|(number, lag)| self.state.lag(*number, Some(*lag)));
            }
            FromWorker::Stalled(partition, reason) => {
                self.state.stalled(partition.partition(), reason);
            }
            FromWorker::Resolve { worker, txn, offsets } => self.resolve(worker, txn, offsets),
            FromWorker::Confirm { worker, question } => self.confirm(worker, question),
            FromWorker::BatchSkipped => self.state.batch_skipped(),
            FromWorker::Failed(error) => self.fail(error),
            FromWorker::Fatal(error) => self.fail_fatally(error),
            FromWorker::Ended(worker) => {
                self.running.remove(&worker);
                self.held(worker, self.hold.number, &[]);
                if self.running.is_empty() {
                    self.leave();
                } else if self.goes_on() {
                    self.stop();
                }
            }
        }
    }

    /// Passes a worker's question on to the member.
    fn confirm(&mut self, worker: usize, question: u64) {
        self.round += 1;
        self.confirming.insert(self.round, (worker, question));
        let _ = self.group.send(GroupCommand::Confirm(self.round));
    }

    /// Decides an indefinite commit. If a committed offset carries this transaction's tag, the
    /// commit happened. If none does, it never will: the slot has re-initialised its producer, and
    /// thereby fenced the old one.
    fn resolve(&self, worker: usize, txn: TxnSeq, offsets: Vec<(TopicPartition, i64, String)>) {
        let (settings, done) = (self.settings.clone(), self.done.clone());
        // A transaction was on its way: the source has worked.
        let mut retry = self.retry().having_worked(true);
        tokio::spawn(async move {
            let mut admin = Admin::new(&settings.endpoint);
            let numbers: Vec<i32> = offsets.iter().map(|(at, _, _)| at.partition()).collect();
            let (group, source) = (settings.group.as_str(), &*settings.source);
            let committed = loop {
                match admin.committed(group, source, &numbers, RESOLVE_TIMEOUT).await {
                    Ok(found) => break Ok(found),
                    Err(error) => match retry.wait(error.into()).await {
                        Ok(()) => {}
                        Err(error) => break Err(error),
                    },
                }
            };
            let committed = committed.map(|found| {
                offsets.iter().any(|(at, offset, metadata)| {
                    let found = found.get(&at.partition());
                    found.is_some_and(|f| f.offset == *offset && f.metadata == *metadata)
                })
            });
            let _ = done.send(Done::Resolved { worker, txn, committed });
        });
    }
}

/// Tells operators what changes with a generation, and why.
fn explain(view: &GroupView) {
    let unowned = view.unowned.len();
    let (generation, protocol, members) = (view.generation, &view.protocol, view.members.len());
    tracing::info!(generation, protocol, members, unowned, in_flight = ?view.transitions, "group");
    for moved in &view.moved {
        let (partition, reason) =
            (format!("{}-{}", moved.partition.0, moved.partition.1), moved.reason);
        tracing::info!(generation, partition, from = ?moved.from, to = ?moved.to, ?reason, "moved");
    }
}

#[cfg(test)]
mod tests;
