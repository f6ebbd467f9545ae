//! The pool against a model of the world: producers that fail, crash and lose replies, at random.
//!
//! The model keeps what was sent, in the order it was sent, and which transactions were committed.
//! The oracle looks at the committed alone: each event's output is there once, and those of one
//! partition are in its order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::patience::ABORT_BACKOFF_MAX;
use super::*;

/// xorshift, seeded.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Output {
    partition: PartitionId,
    offset: i64,
    txn: TxnSeq,
}

/// How a bug is planted, to see that it is caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// Outputs are sent without waiting for those of earlier transactions (EOS-1).
    SendsEarly,
    /// A commit does not wait until the outputs are acknowledged (EOS-1).
    CommitsUnacknowledged,
    /// A commit takes the offset of the last delivered event (EOS-3).
    CommitsIncomplete,
    /// The rewind is left out (EOS-4).
    NeverRewinds,
}

struct World {
    pool: Pool,
    now: Instant,
    random: Random,
    planted: Planted,
    /// The next offset to deliver, by partition.
    position: BTreeMap<PartitionId, i64>,
    seq: u64,
    /// Not sent yet, by slot.
    held: BTreeMap<usize, Vec<Output>>,
    transmit: BTreeMap<usize, bool>,
    /// On their way to the broker, by slot: each client keeps its own order, and no other.
    network: BTreeMap<usize, VecDeque<Output>>,
    /// The log: in the order of arrival.
    log: Vec<Output>,
    committed: Vec<TxnSeq>,
    offsets: BTreeMap<PartitionId, Snapshot>,
    /// Incomplete events, and whether their output is in a transaction already.
    waiting: Vec<(PartitionId, i64, bool)>,
    replies: Vec<Event>,
    stopped: bool,
}

const EVENTS: i64 = 60;
const PARTITIONS: u64 = 3;

impl World {
    fn new(seed: u64, planted: Planted) -> Self {
        let config = EosConfig::default().target_batch_size(4).unwrap().max_batch_size(8).unwrap();
        let mut pool = Pool::new(config);
        let mut position = BTreeMap::new();
        for id in 0..PARTITIONS {
            pool.add_partition(PartitionId(id), Snapshot::at(0));
            position.insert(PartitionId(id), 0);
        }
        Self {
            pool,
            now: Instant::now(),
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            planted,
            position,
            seq: 0,
            held: BTreeMap::new(),
            transmit: BTreeMap::new(),
            network: BTreeMap::new(),
            log: Vec::new(),
            committed: Vec::new(),
            offsets: BTreeMap::new(),
            waiting: Vec::new(),
            replies: Vec::new(),
            stopped: false,
        }
    }

    fn output(&mut self, txn: TxnSeq, slot: usize, partition: PartitionId, offset: i64) {
        self.held.entry(slot).or_default().push(Output { partition, offset, txn });
        let early = self.planted == Planted::SendsEarly;
        if early || self.transmit.get(&slot).copied().unwrap_or(false) {
            self.send(slot);
        }
    }

    fn send(&mut self, slot: usize) {
        let held = self.held.remove(&slot).unwrap_or_default();
        self.network.entry(slot).or_default().extend(held);
    }

    /// Some slot's next output arrives.
    fn arrive(&mut self) {
        let slot = usize::try_from(self.random.below(3)).unwrap();
        let next = self.network.get_mut(&slot).and_then(VecDeque::pop_front);
        self.log.extend(next);
    }

    /// All outputs of the transaction are in the log.
    fn acknowledge(&mut self, txn: TxnSeq) {
        if let Some(slot) = self.pool.find(txn).map(|txn| txn.slot)
            && self.planted != Planted::CommitsUnacknowledged
        {
            let rest = self.network.remove(&slot).unwrap_or_default();
            self.log.extend(rest.into_iter().filter(|output| output.txn == txn));
        }
    }

    /// The slot's transaction has ended without a commit.
    fn reset(&mut self, slot: usize) {
        self.held.remove(&slot);
        self.network.remove(&slot);
        self.transmit.insert(slot, false);
    }

    fn event(&mut self) {
        let partition = PartitionId(self.random.below(PARTITIONS));
        let offset = self.position[&partition];
        if offset >= EVENTS {
            return;
        }
        let Offer::Join { txn, slot } = self.pool.offer(self.now) else {
            return;
        };
        self.position.insert(partition, offset + 1);
        if self.pool.deliver(partition, offset) != Delivery::Run {
            return;
        }
        self.seq += 1;
        let complete = !self.random.one_in(6);
        let sends = complete || self.random.one_in(3);
        if sends {
            self.output(txn, slot, partition, offset);
        }
        if !complete {
            self.waiting.push((partition, offset, sends));
        }
        let (event, records) = (EventSeq(self.seq), usize::from(sends));
        let end = EventEnd { event, offset: Some(offset), records, complete };
        self.pool.end_event(partition, end, false);
    }

    fn complete(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let Offer::Join { txn, slot } = self.pool.offer_completion(self.now) else {
            return;
        };
        let which = usize::try_from(self.random.below(self.waiting.len() as u64)).unwrap();
        let (partition, offset, sent) = self.waiting.swap_remove(which);
        self.seq += 1;
        if !sent {
            self.output(txn, slot, partition, offset);
        }
        let (event, records) = (EventSeq(self.seq), usize::from(!sent));
        let end = EventEnd { event, offset: Some(offset), records, complete: true };
        self.pool.end_event(partition, end, sent);
    }

    fn cause(&mut self) -> Cause {
        match self.random.below(3) {
            0 => Cause::Outage,
            1 => Cause::Group,
            _ => Cause::Transaction,
        }
    }

    fn failure(&mut self, txn: TxnSeq) -> Option<Event> {
        if !self.random.one_in(12) {
            return None;
        }
        let disposition = match self.random.below(4) {
            0 | 1 => Disposition::Abort,
            2 => Disposition::Recover,
            _ => Disposition::RecoverAll,
        };
        Some(Event::Failed { txn, disposition, cause: self.cause() })
    }

    fn execute(&mut self, command: Command) {
        let reply = match command {
            Command::Init { slot } => Event::Ready { slot },
            Command::Recover { slot } => {
                self.reset(slot);
                Event::Recovered { slot }
            }
            Command::Transmit { slot, .. } => {
                self.transmit.insert(slot, true);
                return self.send(slot);
            }
            Command::Flush { txn, slot } => {
                assert!(self.held.get(&slot).is_none_or(Vec::is_empty), "all is sent before");
                self.failure(txn).unwrap_or(Event::Flushed { txn })
            }
            Command::Commit { txn, slot, offsets } => self.commit(txn, slot, offsets),
            Command::Abort { slot, .. } => {
                self.reset(slot);
                match self.random.one_in(5) {
                    true => Event::AbortFailed { slot, disposition: Disposition::Recover },
                    false => Event::Aborted { slot },
                }
            }
            Command::Resolve { txn, .. } => {
                Event::Resolved { txn, committed: self.committed.contains(&txn) }
            }
            Command::Settled { .. } | Command::Drained { .. } | Command::TimedOut { .. } => return,
            Command::Rewind { partition, to } => {
                self.waiting.retain(|(of, ..)| *of != partition);
                if self.planted != Planted::NeverRewinds {
                    self.position.insert(partition, to.offset);
                }
                return;
            }
            Command::Stop { .. } => {
                self.stopped = true;
                return;
            }
        };
        self.replies.push(reply);
    }

    fn commit(&mut self, txn: TxnSeq, slot: usize, offsets: Vec<CommitOffset>) -> Event {
        assert!(!offsets.is_empty(), "EOS-7: every commit has an offset that fences it");
        if let Some(failure) = self.failure(txn) {
            return failure;
        }
        let lost = self.random.one_in(10);
        if lost && self.random.one_in(2) {
            return Event::Failed {
                txn,
                disposition: Disposition::Indefinite,
                cause: Cause::Outage,
            };
        }
        self.committed.push(txn);
        for CommitOffset { partition, mut snapshot } in offsets {
            if self.planted == Planted::CommitsIncomplete {
                snapshot = Snapshot::at(self.position[&partition]);
            }
            let before = self.offsets.insert(partition, snapshot.clone());
            assert!(before.is_none_or(|b| b.offset <= snapshot.offset), "EOS-3: never back");
        }
        // What has not arrived by now is refused: its transaction has ended.
        self.network.remove(&slot);
        self.transmit.insert(slot, false);
        match lost {
            true => {
                Event::Failed { txn, disposition: Disposition::Indefinite, cause: Cause::Outage }
            }
            false => Event::Committed { txn },
        }
    }

    fn step(&mut self) {
        match self.random.below(8) {
            0..=2 => self.event(),
            3 => self.complete(),
            4 | 5 if !self.replies.is_empty() => {
                let which = self.random.below(self.replies.len() as u64);
                let reply = self.replies.remove(usize::try_from(which).unwrap());
                if let Event::Flushed { txn } = reply {
                    self.acknowledge(txn);
                }
                self.pool.handle(self.now, reply);
            }
            6 => self.arrive(),
            _ => self.now += Duration::from_millis(self.random.below(4)),
        }
        let more = self.random.one_in(2);
        self.pool.advance(self.now, more);
        while let Some(command) = self.pool.poll_command() {
            self.execute(command);
        }
        if self.planted == Planted::Nothing {
            self.pool.check_invariants();
        }
    }

    /// A crash: another worker takes over from what is committed.
    fn crash(&mut self) {
        let mut pool = Pool::new(EosConfig::default());
        for id in 0..PARTITIONS {
            let id = PartitionId(id);
            let committed = self.offsets.get(&id).cloned().unwrap_or_default();
            self.position.insert(id, committed.offset);
            pool.add_partition(id, committed);
        }
        // Transaction numbers go on, so that the log tells them apart.
        pool.next_txn = TxnSeq(1_000_000 * (self.seq + 1));
        self.pool = pool;
        self.held.clear();
        self.network.clear();
        self.transmit.clear();
        self.waiting.clear();
        self.replies.clear();
    }

    fn is_done(&self) -> bool {
        let all = |p: &i64| *p >= EVENTS;
        let quiet = self.pool.is_quiet() && self.replies.is_empty();
        self.position.values().all(all) && self.waiting.is_empty() && quiet
    }

    /// What is wrong with the committed output.
    fn verdict(&self) -> Result<(), String> {
        for id in 0..PARTITIONS {
            let of = |output: &&Output| {
                output.partition == PartitionId(id) && self.committed.contains(&output.txn)
            };
            let mut offsets: Vec<i64> = self.log.iter().filter(of).map(|o| o.offset).collect();
            let count = offsets.len();
            offsets.sort_unstable();
            offsets.dedup();
            if count != offsets.len() {
                return Err(format!("partition {id}: {} duplicates", count - offsets.len()));
            }
            if offsets.len() != usize::try_from(EVENTS).unwrap() {
                return Err(format!("partition {id}: {} of {EVENTS} events", offsets.len()));
            }
        }
        Ok(())
    }

    /// Whether transactions sent in their order: the log's committed ones never go back.
    fn sent_in_order(&self) -> bool {
        let committed = self.log.iter().filter(|o| self.committed.contains(&o.txn));
        committed.map(|o| o.txn).is_sorted()
    }
}

fn run(seed: u64, planted: Planted, crashes: bool) -> Result<(), String> {
    let mut world = World::new(seed, planted);
    for step in 0..60_000 {
        world.step();
        if crashes && step % 500 == 499 && step < 3_000 {
            world.crash();
        }
        if world.stopped {
            return Err("stopped".to_owned());
        }
        if world.is_done() {
            break;
        }
    }
    if !world.is_done() {
        return Err(format!("it came to a halt: {:?}", world.position));
    }
    if !world.sent_in_order() {
        return Err("EOS-1: transactions were sent out of order".to_owned());
    }
    world.verdict()
}

/// EOS-1, EOS-2, EOS-3, EOS-4 and EOS-7, through aborts, recoveries, lost replies and late
/// completions.
#[test]
fn eos1_eos2_eos3_eos4_eos7_hold_through_random_failures() {
    for seed in 1..400 {
        run(seed, Planted::Nothing, false).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn eos3_a_crash_loses_and_doubles_nothing() {
    for seed in 1..200 {
        run(seed, Planted::Nothing, true).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn planted_bugs_are_caught() {
    let all = [
        Planted::SendsEarly,
        Planted::CommitsUnacknowledged,
        Planted::CommitsIncomplete,
        Planted::NeverRewinds,
    ];
    for planted in all {
        let caught = (1..100).filter(|seed| {
            let outcome = std::panic::catch_unwind(|| run(*seed, planted, true));
            !matches!(outcome, Ok(Ok(())))
        });
        assert!(caught.count() > 20, "{planted:?} is not caught");
    }
}

pub(super) fn pool() -> (Pool, Instant) {
    pool_of(EosConfig::default())
}

fn pool_of(config: EosConfig) -> (Pool, Instant) {
    let mut pool = Pool::new(config);
    let now = Instant::now();
    for slot in 0..3 {
        pool.handle(now, Event::Ready { slot });
    }
    pool.add_partition(PartitionId(0), Snapshot::at(0));
    while pool.poll_command().is_some() {}
    (pool, now)
}

#[test]
fn producers_are_initialised_one_after_the_other() {
    let mut pool = Pool::new(EosConfig::default());
    let now = Instant::now();
    assert_eq!(commands(&mut pool), [Command::Init { slot: 0 }]);
    pool.add_partition(PartitionId(0), Snapshot::at(0));
    assert_eq!(pool.offer(now), Offer::Full);
    // One that takes long holds nobody up.
    pool.advance(now, false);
    assert_eq!(pool.poll_timeout(), Some(now + INIT_APART));
    pool.advance(now + INIT_APART - Duration::from_millis(1), false);
    assert_eq!(commands(&mut pool), []);
    pool.advance(now + INIT_APART, false);
    assert_eq!(commands(&mut pool), [Command::Init { slot: 1 }]);
    pool.handle(now, Event::Ready { slot: 1 });
    assert_eq!(commands(&mut pool), [Command::Init { slot: 2 }]);
    assert!(matches!(pool.offer(now), Offer::Join { slot: 1, .. }), "one is enough to begin");
    pool.handle(now, Event::Ready { slot: 0 });
    pool.handle(now, Event::Ready { slot: 2 });
    assert_eq!(commands(&mut pool), [Command::Transmit { txn: TxnSeq(0), slot: 1 }]);
    pool.advance(now + INIT_APART, false);
    assert_eq!(pool.poll_timeout(), None, "all are begun");
}

pub(super) fn event(pool: &mut Pool, now: Instant, offset: i64, records: usize, complete: bool) {
    event_of(pool, now, PartitionId(0), offset, records, complete);
}

fn event_of(
    pool: &mut Pool,
    now: Instant,
    partition: PartitionId,
    offset: i64,
    records: usize,
    complete: bool,
) {
    assert!(matches!(pool.offer(now), Offer::Join { .. }));
    assert_eq!(pool.deliver(partition, offset), Delivery::Run);
    let seq = EventSeq(u64::try_from(offset).unwrap() + 1);
    let end = EventEnd { event: seq, offset: Some(offset), records, complete };
    pool.end_event(partition, end, false);
}

pub(super) fn commands(pool: &mut Pool) -> Vec<Command> {
    std::iter::from_fn(|| pool.poll_command()).collect()
}

#[test]
fn with_nothing_in_flight_a_transaction_does_not_wait() {
    let (mut pool, now) = pool();
    event(&mut pool, now, 0, 1, true);
    pool.advance(now, false);
    let txn = TxnSeq(0);
    let sent = [Command::Transmit { txn, slot: 0 }, Command::Flush { txn, slot: 0 }];
    assert_eq!(commands(&mut pool), sent);
    // The next one takes events for as long as this one is in flight.
    event(&mut pool, now, 1, 1, true);
    pool.advance(now + Duration::from_secs(1), false);
    assert!(commands(&mut pool).is_empty());
    assert_eq!(pool.poll_timeout(), None, "what ends this one wakes it");
    pool.handle(now, Event::Flushed { txn });
    pool.advance(now, false);
    commands(&mut pool);
    event(&mut pool, now, 2, 1, true);
    pool.advance(now, false);
    let flushes = |c: &Command| matches!(c, Command::Flush { .. });
    assert!(!commands(&mut pool).iter().any(flushes), "it could not be committed yet");
    pool.handle(now, Event::Committed { txn });
    pool.advance(now, false);
    assert!(commands(&mut pool).iter().any(flushes));
}

#[test]
fn eos3_effects_of_an_incomplete_event_hold_their_transaction_open() {
    let (mut pool, now) = pool();
    event(&mut pool, now, 0, 1, false);
    event(&mut pool, now, 1, 1, true);
    pool.advance(now + Duration::from_secs(1), false);
    let sealed = |c: &Command| matches!(c, Command::Flush { .. });
    assert!(!commands(&mut pool).iter().any(sealed), "pinned");
    let end = EventEnd { event: EventSeq(3), offset: Some(0), records: 1, complete: true };
    pool.end_event(PartitionId(0), end, true);
    pool.advance(now + Duration::from_secs(1), false);
    assert!(commands(&mut pool).iter().any(sealed));
}

#[test]
fn eos5_a_fenced_producer_commits_nothing() {
    let (mut pool, now) = pool();
    event(&mut pool, now, 0, 1, true);
    pool.advance(now, false);
    commands(&mut pool);
    let (disposition, cause) = (Disposition::Fenced, Cause::Transaction);
    pool.handle(now, Event::Failed { txn: TxnSeq(0), disposition, cause });
    pool.advance(now, false);
    assert_eq!(commands(&mut pool), [Command::Recover { slot: 0 }], "the worker asks the group");
    pool.handle(now, Event::Flushed { txn: TxnSeq(0) });
    pool.advance(now, false);
    assert_eq!(commands(&mut pool), [], "EOS-5: nothing is committed");
    assert_eq!(pool.offer(now), Offer::Full);
}

#[test]
fn eos6_a_closed_partition_is_drained_when_its_last_transaction_is_committed() {
    let (mut pool, now) = pool();
    event(&mut pool, now, 0, 1, true);
    pool.handle(now, Event::Close { partition: PartitionId(0) });
    pool.advance(now, true);
    let txn = TxnSeq(0);
    commands(&mut pool);
    pool.handle(now, Event::Flushed { txn });
    pool.advance(now, false);
    let drained = Command::Drained { partition: PartitionId(0) };
    assert!(!commands(&mut pool).contains(&drained), "EOS-6: it is not committed yet");
    assert_eq!(pool.deliver(PartitionId(0), 1), Delivery::Stale, "nothing more is begun");
    pool.handle(now, Event::Committed { txn });
    pool.advance(now, false);
    assert!(commands(&mut pool).contains(&drained));
}

#[test]
fn eos7_commits_wait_while_the_generation_changes() {
    let (mut pool, now) = pool();
    event(&mut pool, now, 0, 1, true);
    pool.advance(now, false);
    pool.handle(now, Event::HoldCommits);
    pool.handle(now, Event::Flushed { txn: TxnSeq(0) });
    pool.advance(now, false);
    let commits = |c: &Command| matches!(c, Command::Commit { .. });
    assert!(!commands(&mut pool).iter().any(commits));
    pool.handle(now, Event::ReleaseCommits);
    pool.advance(now, false);
    assert!(commands(&mut pool).iter().any(commits));
}

#[test]
fn eos6_what_is_suspended_is_committed_although_commits_are_held() {
    let (mut pool, now) = pool();
    pool.add_partition(PartitionId(1), Snapshot::at(0));
    event(&mut pool, now, 0, 1, true);
    // The next one waits for the first, which is on its way.
    pool.advance(now, false);
    event_of(&mut pool, now, PartitionId(1), 0, 1, true);
    pool.handle(now, Event::Suspend { partition: PartitionId(0) });
    pool.handle(now, Event::HoldCommits);
    pool.handle(now, Event::Flushed { txn: TxnSeq(0) });
    pool.advance(now, false);
    let commits = |c: &Command| matches!(c, Command::Commit { .. });
    assert!(!pool.suspended_are_drained());
    assert!(commands(&mut pool).iter().any(commits), "it has something of the partition");
    pool.handle(now, Event::Committed { txn: TxnSeq(0) });
    assert!(pool.suspended_are_drained());
    pool.advance(now, false);
    commands(&mut pool);
    pool.handle(now, Event::Flushed { txn: TxnSeq(1) });
    pool.advance(now, false);
    assert!(!commands(&mut pool).iter().any(commits), "this one has not, and is held");
    pool.handle(now, Event::ReleaseCommits);
    pool.advance(now, false);
    assert!(commands(&mut pool).iter().any(commits));
}

#[test]
fn nothing_joins_a_transaction_that_is_to_end_for_what_is_suspended() {
    let (mut pool, now) = pool();
    event(&mut pool, now, 0, 1, true);
    pool.handle(now, Event::Suspend { partition: PartitionId(0) });
    assert_eq!(pool.offer(now), Offer::Full, "it could be pinned to it");
    pool.advance(now, true);
    assert!(matches!(pool.offer(now), Offer::Join { txn: TxnSeq(1), .. }));
}

#[test]
fn what_waits_for_a_completer_is_not_suspended() {
    let (mut pool, now) = pool();
    pool.add_partition(PartitionId(1), Snapshot::at(0));
    event(&mut pool, now, 0, 1, false);
    assert!(!pool.can_suspend(PartitionId(0)), "its transaction may be open for long");
    assert!(pool.can_suspend(PartitionId(1)));
}

/// However late it is looked at.
#[test]
fn eos3_nothing_begins_before_a_rewind_is_carried_out() {
    let (mut pool, now) = pool();
    event(&mut pool, now, 0, 1, true);
    pool.advance(now, false);
    let txn = TxnSeq(0);
    pool.handle(
        now,
        Event::Failed { txn, disposition: Disposition::Abort, cause: Cause::Transaction },
    );
    commands(&mut pool);
    pool.handle(now, Event::Aborted { slot: 0 });
    let later = now + Duration::from_secs(60);
    assert_eq!(pool.offer(later), Offer::Full, "the fetcher is past what was undone");
    assert!(matches!(commands(&mut pool)[..], [Command::Rewind { .. }]));
    assert!(matches!(pool.offer(later), Offer::Join { .. }));
}

#[test]
fn the_first_abort_is_replayed_at_once_and_those_that_follow_wait() {
    let (mut pool, now) = pool();
    for (n, wait_ms) in (0..).zip([0, 5, 10, 20]) {
        let now = now + Duration::from_secs(n);
        event(&mut pool, now, 0, 1, true);
        pool.advance(now, false);
        let txn = TxnSeq(n);
        pool.handle(
            now,
            Event::Failed { txn, disposition: Disposition::Abort, cause: Cause::Transaction },
        );
        let abort = |c: &Command| match c {
            Command::Abort { slot, .. } => Some(*slot),
            _ => None,
        };
        let slot = commands(&mut pool).iter().find_map(abort).expect("an abort");
        pool.handle(now, Event::Aborted { slot });
        commands(&mut pool);
        let resumes = now + Duration::from_millis(wait_ms);
        assert_eq!(pool.poll_timeout(), (wait_ms > 0).then_some(resumes));
        pool.advance(resumes, false);
        assert_eq!(pool.poll_timeout(), None);
    }
}

#[test]
fn a_lost_reply_is_asked_for_before_anything_is_undone() {
    let (mut pool, now) = pool();
    event(&mut pool, now, 0, 1, true);
    pool.advance(now, false);
    let txn = TxnSeq(0);
    pool.handle(now, Event::Flushed { txn });
    pool.advance(now, false);
    commands(&mut pool);
    pool.handle(
        now,
        Event::Failed { txn, disposition: Disposition::Indefinite, cause: Cause::Outage },
    );
    assert_eq!(commands(&mut pool), [Command::Recover { slot: 0 }]);
    pool.handle(now, Event::Recovered { slot: 0 });
    assert!(matches!(commands(&mut pool)[..], [Command::Resolve { .. }]));
    pool.handle(now, Event::Resolved { txn, committed: true });
    assert!(matches!(commands(&mut pool)[..], [Command::Settled { .. }]));
}

#[test]
fn too_many_aborts_in_a_row_stop_the_source() {
    let (mut pool, mut now) = pool();
    for n in 0..u64::from(ABORTS_IN_A_ROW_MAX) + 1 {
        event(&mut pool, now, 0, 1, true);
        pool.advance(now, false);
        let txn = TxnSeq(n);
        pool.handle(
            now,
            Event::Failed { txn, disposition: Disposition::Abort, cause: Cause::Transaction },
        );
        for command in commands(&mut pool) {
            match command {
                Command::Abort { slot, .. } => pool.handle(now, Event::Aborted { slot }),
                Command::Stop { reason } => return assert_eq!(reason, StopReason::TooManyAborts),
                _ => {}
            }
        }
        now += ABORT_BACKOFF_MAX;
        pool.advance(now, false);
        commands(&mut pool);
    }
    panic!("it goes on for ever");
}

#[test]
fn u4_a_transaction_with_too_many_bytes_ends_although_another_is_in_flight() {
    let config = EosConfig { max_batch_bytes: 100, ..EosConfig::default() };
    let (mut pool, now) = pool_of(config);
    event(&mut pool, now, 0, 1, true);
    pool.advance(now, false);
    commands(&mut pool);
    event(&mut pool, now, 1, 1, true);
    pool.add_bytes(99);
    pool.advance(now, true);
    let flushes = |c: &Command| matches!(c, Command::Flush { .. });
    pool.handle(now, Event::Flushed { txn: TxnSeq(0) });
    pool.advance(now, true);
    assert!(!commands(&mut pool).iter().any(flushes), "it takes more");
    event(&mut pool, now, 2, 1, true);
    pool.add_bytes(1);
    assert_eq!(pool.offer(now), Offer::Full);
    pool.advance(now, true);
    assert!(commands(&mut pool).iter().any(flushes), "it is full");
    assert!(matches!(pool.offer(now), Offer::Join { txn: TxnSeq(2), .. }));
}
