//! Two members of one group, the workers of both under virtual time: a zombie, and a hand-over.
//! Nothing is doubled; and each bug that would let it happen is caught.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::{Assignment, Clock, FromWorker, Next, ToWorker, Worker};
use crate::ErrorPolicy;
use crate::eos::Snapshot;
use crate::group::Generation;
use crate::handler::{Completer, HandlerClock, IntoOutcome};
use crate::planted::{self, Bug};
use crate::prelude::*;
use crate::record::{Outputs, TopicPartition};
use crate::runtime::mailbox::Mailbox;
use crate::runtime::slot::{Slot, SlotCalls, SlotCommand};
use crate::runtime::{CommittedWith, SourceBuilder};
use crate::task::Interject;
use crate::testing::{Cluster, Fault, MemoryFetcher, MemoryProducer, View};

const TOPIC: &str = "events";
const CHANGELOG: &str = "changes";

#[derive(Events)]
pub(super) enum Added {
    Add(u64),
    /// Stays incomplete: a test takes its completer from [`PARKED`].
    Park(u64),
    /// Fails as often as [`STUMBLES`] says, and is counted then.
    Stumble(u64),
}

thread_local! {
    pub(super) static STUMBLES: Cell<u32> = const { Cell::new(0) };
    /// The completers of parked events, in their order. Handlers run in the thread of the test.
    pub(super) static PARKED: RefCell<Vec<Completer<Counts>>> = const { RefCell::new(vec![]) };
}

#[derive(Events)]
pub(super) enum Counted {
    Count(u64),
}

#[derive(StateStore)]
pub(super) struct Counts {
    counts: Table<String, u64>,
}

impl Counts {
    pub(super) fn add(&mut self) {
        self.counts.update("n".to_owned(), |n| *n += 1);
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.get("n").copied().unwrap_or(0)
    }
}

pub(super) static OUT: Topic<Counted> = Topic::new("out");

#[event_source(events = Added, store = Counts)]
pub(super) mod counter {
    use super::*;

    #[event_handler("Add")]
    fn add(ctx: &mut EventContext<Counts>, _: u64) -> Result<ExecutionState> {
        count(ctx)
    }

    #[event_handler("Park")]
    fn park(ctx: &mut EventContext<Counts>, _: u64) -> Result<ExecutionState> {
        PARKED.with_borrow_mut(|parked| parked.push(ctx.completer()));
        Ok(Incomplete)
    }

    #[event_handler("Stumble")]
    fn stumble(ctx: &mut EventContext<Counts>, _: u64) -> Result<ExecutionState> {
        let counted = count(ctx);
        match STUMBLES.get().checked_sub(1) {
            Some(left) => {
                STUMBLES.set(left);
                ctx.fail("it stumbles")
            }
            None => counted,
        }
    }
}

fn count(ctx: &mut EventContext<Counts>) -> Result<ExecutionState> {
    let n = ctx.store.counts.update("n".to_owned(), |n| {
        *n += 1;
        *n
    });
    ctx.forward(&OUT, "n", Counted::Count(n))?;
    Ok(Complete)
}

type MemberWorker = Worker<counter::Source, MemoryProducer, MemoryFetcher>;

pub(super) struct Member {
    pub(super) worker: MemberWorker,
    pub(super) mailbox: Mailbox<ToWorker<Counts, MemoryProducer>>,
    slots: Vec<(SlotCalls<MemoryProducer>, Receiver<SlotCommand>)>,
    pub(super) reports: Receiver<FromWorker>,
}

/// Stands still: what waits for a back-off waits for ever.
pub(super) struct Still(pub(super) Instant, pub(super) SystemTime);

impl Clock for Still {
    fn now(&self) -> Instant {
        self.0
    }

    fn wall_clock(&self) -> SystemTime {
        self.1
    }

    fn handler_clock(&self) -> HandlerClock {
        HandlerClock::At(self.1)
    }
}

pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) clock: Still,
    pub(super) at: TopicPartition,
    /// The callbacks that were called, of all members.
    pub(super) called: Arc<Mutex<Vec<&'static str>>>,
    /// What happens if a handler fails.
    pub(super) policy: ErrorPolicy,
}

impl World {
    pub(super) fn new() -> Self {
        Self::of(1)
    }

    pub(super) fn of(partitions: i32) -> Self {
        let cluster = Cluster::new(partitions);
        for topic in [TOPIC, CHANGELOG, "out"] {
            cluster.lock().make_topic(topic);
        }
        let (clock, at) =
            (Still(Instant::now(), SystemTime::UNIX_EPOCH), TopicPartition::new(TOPIC, 0));
        Self { cluster, clock, at, called: Arc::default(), policy: ErrorPolicy::fail() }
    }

    pub(super) fn member(&self, name: &'static str) -> Member {
        self.member_with(name, |builder| builder)
    }

    /// A member with further settings.
    pub(super) fn member_with(
        &self,
        name: &'static str,
        set: impl FnOnce(SourceBuilder<counter::Source>) -> SourceBuilder<counter::Source>,
    ) -> Member {
        let builder = counter::Source::builder().bootstrap("memory:1").group("g").topic(TOPIC);
        let builder = builder.changelog(CHANGELOG).on_handler_error(self.policy.clone());
        let builder = set(builder).check().expect("settings");
        let call = |name| {
            let called = Arc::clone(&self.called);
            move |_: &TopicPartition| called.lock().expect("no panic").push(name)
        };
        let builder = builder.on_assigned(call("assigned")).on_activated(call("activated"));
        let builder = builder.on_will_revoke(call("will revoke")).on_revoked(call("revoked"));
        let (mailbox, inbox) = Mailbox::new();
        let (reports, from_worker) = channel();
        let (producers, fetchers) = (self.cluster.clone(), self.cluster.clone());
        let make_producer = Arc::new(move |slot| {
            Ok(MemoryProducer::new(producers.clone(), format!("g-{name}-{slot}")))
        });
        let parts = builder.worker_parts(
            0,
            make_producer,
            Box::new(move |_| Ok(MemoryFetcher::new(fetchers.clone()))),
            Box::new(move |report| drop(reports.send(report))),
        );
        let (mut slots, mut workers_slots) = (vec![], vec![]);
        for index in 0..parts.eos.pool_size {
            let (slot, commands) = Slot::without_thread();
            workers_slots.push(slot);
            slots.push((SlotCalls::new(index, Arc::clone(&parts.make_producer)), commands));
        }
        let fetcher = MemoryFetcher::new(self.cluster.clone());
        let worker = Worker::new(parts, fetcher, workers_slots, mailbox.clone(), inbox);
        Member { worker, mailbox, slots, reports: from_worker }
    }

    /// A member that is given the partition.
    pub(super) fn owner(&self, name: &'static str) -> Member {
        let mut member = self.member(name);
        self.owns(&mut member, name);
        member
    }

    /// Assigns the partition to a new member.
    pub(super) fn owns(&self, member: &mut Member, name: &'static str) {
        self.settle(member);
        self.generation(member, name);
        self.assign(member);
    }

    /// Steps a member until it has nothing to do. Returns what it says.
    pub(super) fn settle(&self, member: &mut Member) -> VecDeque<FromWorker> {
        for _ in 0..10_000 {
            let next = member.worker.step(&self.clock);
            let mut moved = false;
            for (slot, (calls, commands)) in member.slots.iter_mut().enumerate() {
                for command in commands.try_iter() {
                    let mailbox = &member.mailbox;
                    calls.make(command, &|reply| mailbox.send(ToWorker::Slot(slot, reply)));
                    moved = true;
                }
            }
            if next != Next::Again && !moved {
                return member.reports.try_iter().collect();
            }
        }
        panic!("it is never done");
    }

    pub(super) fn generation(&self, member: &Member, name: &str) {
        let generation_id = self.cluster.lock().next_generation();
        member.mailbox.send(ToWorker::Generation(Generation {
            group_id: "g".into(),
            member_id: name.into(),
            generation_id,
            instance_id: None,
        }));
    }

    pub(super) fn changelog(&self) -> (i64, i64) {
        self.changelog_of(0)
    }

    pub(super) fn changelog_of(&self, partition: i32) -> (i64, i64) {
        (0, self.cluster.lock().end(&TopicPartition::new(CHANGELOG, partition)))
    }

    pub(super) fn assign(&self, member: &Member) {
        self.assign_one(member, &self.at);
    }

    pub(super) fn assign_one(&self, member: &Member, at: &TopicPartition) {
        let committed = self.cluster.lock().committed(at).cloned();
        let committed = committed
            .map(|known| Snapshot::parse(known.offset, &known.metadata).expect("our metadata"));
        let start = committed.clone().unwrap_or_else(|| Snapshot::at(0));
        let (partition, changelog) = (at.clone(), self.changelog_of(at.partition()));
        let committed_with = CommittedWith::Unknown;
        let assignment = Assignment { partition, committed, committed_with, start, changelog };
        member.mailbox.send(ToWorker::Assign(assignment));
    }

    pub(super) fn interject(member: &Member) {
        let run = Interject::unasked(|ctx, _| count(ctx).into_outcome());
        member.mailbox.send(ToWorker::Interject(0, run));
    }

    pub(super) fn send(&self) {
        self.send_keyed("n");
    }

    pub(super) fn send_keyed(&self, key: &str) {
        self.send_event(key, &Added::Add(1));
    }

    pub(super) fn stumble(&self) {
        self.send_event("n", &Added::Stumble(1));
    }

    pub(super) fn park(&self) {
        self.send_event("n", &Added::Park(1));
    }

    /// In a transaction of its own, whose marker takes the next offset.
    pub(super) fn send_in_transaction(&self) {
        let mut state = self.cluster.lock();
        let epoch = state.init_producer("input");
        for output in Self::outputs("n", &Added::Add(1)).iter() {
            state.send("input", epoch, &output).expect("there is the topic");
        }
        state.commit("input", epoch).expect("a commit");
    }

    fn outputs(key: &str, event: &Added) -> Outputs {
        let mut outputs = Outputs::default();
        let topic: Topic<Added> = Topic::new(TOPIC);
        topic.write(&mut outputs, None, key, event).expect("it has a form");
        outputs
    }

    fn send_event(&self, key: &str, event: &Added) {
        let outputs = Self::outputs(key, event);
        for output in outputs.iter() {
            self.cluster.lock().append(&output).expect("there is the topic");
        }
    }

    /// The committed counts.
    pub(super) fn counts(&self) -> Vec<u64> {
        let is_output = |record: &Record, _| &**record.topic_partition().topic() == "out";
        let outputs = self.cluster.lock().records(View::Committed, 0, is_output);
        let value = |record: &Record| {
            let bytes = record.value().unwrap_or_default().try_into().expect("eight bytes");
            u64::from_be_bytes(bytes)
        };
        outputs.iter().map(value).collect()
    }
}

/// A member that does not know yet that it was expelled goes on, and so does its successor.
fn zombie(go_on: impl Fn(&World, &Member)) -> Vec<u64> {
    let world = World::new();
    let (mut a, mut b) = (world.owner("a"), world.member("b"));
    world.send();
    world.send();
    world.settle(&mut a);
    assert_eq!(world.counts(), [1, 2]);
    world.settle(&mut b);
    world.generation(&b, "b");
    world.assign(&b);
    world.settle(&mut b);
    go_on(&world, &a);
    world.settle(&mut a);
    go_on(&world, &b);
    world.settle(&mut b);
    world.counts()
}

fn hand_over() -> Vec<u64> {
    let world = World::new();
    let (mut a, mut b) = (world.owner("a"), world.member("b"));
    world.settle(&mut b);
    world.send();
    world.send();
    world.settle(&mut a);
    b.mailbox.send(ToWorker::Warm(world.at.clone(), world.changelog()));
    let warmed = world.settle(&mut b);
    assert!(matches!(warmed.front(), Some(FromWorker::Warmed(_))), "{warmed:?}");
    // The copy has reached the end, and this comes after it.
    world.send();
    world.settle(&mut a);
    a.mailbox.send(ToWorker::Revoke(world.at.clone()));
    let drained = world.settle(&mut a);
    assert!(drained.iter().any(|said| matches!(said, FromWorker::Drained(_))), "{drained:?}");
    world.generation(&b, "b");
    world.assign(&b);
    world.send();
    world.settle(&mut b);
    world.counts()
}

/// The reply to its JoinGroup does not come, and the group is in another generation already.
#[test]
fn a_member_that_misses_a_generation_tries_one_commit_and_waits() {
    let mut world = World::new();
    let mut a = world.owner("a");
    world.send();
    world.settle(&mut a);
    a.mailbox.send(ToWorker::Release);
    let missed = world.cluster.lock().next_generation();
    world.send();
    for _ in 0..100 {
        world.settle(&mut a);
        world.clock.0 += Duration::from_secs(2);
    }
    assert_eq!(world.counts(), [1], "EOS-7: generation {missed} is another one");
    assert!(!a.worker.failed, "twenty aborts in a row would have stopped it");
    world.generation(&a, "a");
    world.settle(&mut a);
    assert_eq!(world.counts(), [1, 2]);
}

/// The clock stands still, and what was fetched before wakes nobody a second time.
#[test]
fn eos4_an_abort_is_replayed_although_nobody_wakes_the_worker() {
    let world = World::new();
    let mut a = world.owner("a");
    world.cluster.lock().inject(Fault::Abort);
    world.send();
    world.settle(&mut a);
    assert_eq!(world.counts(), [1]);
}

fn with(bug: Bug, run: impl FnOnce() -> Vec<u64>) -> Vec<u64> {
    planted::plant(Some(bug));
    let counts = run();
    planted::plant(None);
    counts
}

fn record(world: &World, _: &Member) {
    if world.counts().len() == 2 && world.cluster.lock().end(&world.at) == 2 {
        world.send();
    }
}

#[test]
fn eos7_a_zombie_commits_nothing() {
    assert_eq!(zombie(record), [1, 2, 3]);
    assert_eq!(zombie(|_, member| World::interject(member)), [1, 2, 3]);
}

#[test]
fn eos7_without_a_generation_a_zombie_commits() {
    assert_eq!(with(Bug::CommitWithoutGeneration, || zombie(record)), [1, 2, 3, 3]);
}

#[test]
fn eos7_without_an_offset_a_zombies_interjection_is_committed() {
    let interject = || zombie(|_, member| World::interject(member));
    assert_eq!(with(Bug::InterjectionWithoutFence, interject), [1, 2, 3, 3]);
}

#[test]
fn a_warm_copy_goes_on_with_the_last_records_of_its_changelog() {
    assert_eq!(hand_over(), [1, 2, 3, 4]);
}

#[test]
fn a_copy_without_its_last_records_counts_twice() {
    assert_eq!(with(Bug::StaleCopy, hand_over), [1, 2, 3, 3]);
}

/// A partition goes to another member and comes back; its store stays as a copy meanwhile.
fn there_and_back(asked_in_time: bool) -> Vec<u64> {
    let world = World::new();
    let (mut a, mut b) = (world.owner("a"), world.member("b"));
    world.settle(&mut b);
    world.send();
    world.send();
    world.settle(&mut a);
    a.mailbox.send(ToWorker::Retire(world.at.clone()));
    let said = world.settle(&mut a);
    assert!(said.iter().any(|said| matches!(said, FromWorker::Retired(_))), "{said:?}");
    assert_eq!(world.called.lock().expect("no panic").last(), Some(&"revoked"));
    let in_time = world.changelog();
    world.generation(&b, "b");
    world.assign(&b);
    world.send();
    world.settle(&mut b);
    let ends = if asked_in_time { in_time } else { world.changelog() };
    a.mailbox.send(ToWorker::Warm(world.at.clone(), ends));
    world.settle(&mut a);
    assert_eq!(a.worker.warm_partitions(), [0]);
    b.mailbox.send(ToWorker::Revoke(world.at.clone()));
    world.settle(&mut b);
    world.generation(&a, "a");
    world.assign(&a);
    world.send();
    world.settle(&mut a);
    world.counts()
}

#[test]
fn a_store_that_is_given_up_stays_as_a_copy() {
    assert_eq!(there_and_back(true), [1, 2, 3, 4]);
}

/// Why a partition is acknowledged only when the end of its changelog is known.
#[test]
fn a_store_that_follows_from_too_late_counts_twice() {
    assert_eq!(there_and_back(false), [1, 2, 3, 3]);
}

#[test]
fn a_retired_store_that_is_not_wanted_is_closed() {
    for last in [|at| ToWorker::Forget(at), |_| ToWorker::LoseAll, |_| ToWorker::Stop] {
        let world = World::new();
        let mut a = world.owner("a");
        world.send();
        world.settle(&mut a);
        a.mailbox.send(ToWorker::Retire(world.at.clone()));
        world.settle(&mut a);
        assert_eq!(a.worker.tasks.len(), 1);
        a.mailbox.send(last(world.at.clone()));
        world.settle(&mut a);
        assert!(a.worker.tasks.is_empty());
        let life = ["assigned", "activated", "will revoke", "revoked"];
        assert_eq!(*world.called.lock().expect("no panic"), life, "once");
    }
}

/// The generation changed before the partition was acknowledged.
#[test]
fn a_store_that_is_given_up_twice_is_said_once() {
    let again: [fn(TopicPartition) -> ToWorker<Counts, MemoryProducer>; 2] =
        [ToWorker::Retire, ToWorker::Revoke];
    for (again, stays) in again.into_iter().zip([true, false]) {
        let world = World::new();
        let mut a = world.owner("a");
        world.send();
        world.settle(&mut a);
        a.mailbox.send(ToWorker::Retire(world.at.clone()));
        world.settle(&mut a);
        a.mailbox.send(again(world.at.clone()));
        let said = world.settle(&mut a);
        match stays {
            true => assert!(said.is_empty(), "its end is asked for already: {said:?}"),
            false => assert!(matches!(said.front(), Some(FromWorker::Drained(_))), "{said:?}"),
        }
        assert_eq!(a.worker.tasks.contains_key(&0), stays);
        let life = ["assigned", "activated", "will revoke", "revoked"];
        assert_eq!(*world.called.lock().expect("no panic"), life, "once");
    }
}

#[test]
fn a_copy_that_is_forgotten_is_closed() {
    let world = World::new();
    let mut b = world.member("b");
    b.mailbox.send(ToWorker::Warm(world.at.clone(), (0, 0)));
    world.settle(&mut b);
    assert_eq!(b.worker.warm_partitions(), [0]);
    b.mailbox.send(ToWorker::LoseAll);
    world.settle(&mut b);
    assert_eq!(b.worker.warm_partitions(), [0], "it holds only what is committed");
    b.mailbox.send(ToWorker::Forget(world.at.clone()));
    world.settle(&mut b);
    assert!(b.worker.warm_partitions().is_empty());
    assert!(b.worker.restorer.is_none(), "and nobody reads its changelog");
}

/// It was given to us, and taken away again before we knew where it goes on.
#[test]
fn a_copy_that_never_became_ours_is_closed_without_a_word() {
    let world = World::new();
    let mut b = world.member("b");
    b.mailbox.send(ToWorker::Warm(world.at.clone(), (0, 0)));
    world.settle(&mut b);
    b.mailbox.send(ToWorker::Revoke(world.at.clone()));
    let said = world.settle(&mut b);
    assert!(said.iter().any(|said| matches!(said, FromWorker::Drained(_))), "{said:?}");
    assert!(b.worker.warm_partitions().is_empty());
    assert_eq!(*world.called.lock().expect("no panic"), [""; 0], "it was not assigned");
    world.generation(&b, "b");
    world.assign(&b);
    world.settle(&mut b);
    b.mailbox.send(ToWorker::Revoke(world.at.clone()));
    world.settle(&mut b);
    let life = ["assigned", "activated", "will revoke", "revoked"];
    assert_eq!(*world.called.lock().expect("no panic"), life);
}

/// Five thousand changes of each of two partitions: more than a step reads.
#[test]
fn what_is_ours_is_restored_before_copies_that_are_far_behind() {
    let world = World::of(2);
    let other = TopicPartition::new(TOPIC, 1);
    let (mut a, mut b) = (world.owner("a"), world.member("b"));
    world.assign_one(&a, &other);
    world.settle(&mut b);
    let all = |end: i64| (0..2).all(|p| world.changelog_of(p).1 > end);
    let mut key = 0;
    while !all(5_000) {
        for _ in 0..500 {
            world.send_keyed(&format!("k{key}"));
            key += 1;
        }
        world.settle(&mut a);
    }
    b.mailbox.send(ToWorker::Warm(other, world.changelog_of(1)));
    world.generation(&b, "b");
    world.assign(&b);
    for _ in 0..world.changelog_of(0).1 / 4_096 + 1 {
        b.worker.step(&world.clock);
    }
    let said: Vec<_> = b.reports.try_iter().collect();
    assert!(matches!(said[..], [FromWorker::Lag(_), FromWorker::Active(_)]), "{said:?}");
    let said = world.settle(&mut b);
    let warmed = said.iter().any(|said| matches!(said, FromWorker::Warmed(_)));
    assert!(warmed, "the copy goes on: {said:?}");
}
