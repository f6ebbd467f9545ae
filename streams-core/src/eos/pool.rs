//! Which transaction an event joins, and when that transaction may commit.
//!
//! The pool is a machine: events go in by [`Pool::offer`], [`Pool::deliver`], [`Pool::end_event`]
//! and [`Pool::handle`]; [`Pool::advance`] moves it on; [`Pool::poll_command`] says what to do, and
//! [`Pool::poll_timeout`] when to call [`Pool::advance`] again at the latest. `now` never goes
//! back; a spurious call does nothing. One pool belongs to one worker and its partitions.
//!
//! A transaction is sealed as soon as nothing else is in flight and no more input is at hand; while
//! others are in flight it fills, until the batch size or the batch delay says stop. So an idle
//! application answers at once, and a busy one commits in bulk.

mod failure;
mod patience;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

pub use self::patience::ABORTS_IN_A_ROW_MAX;
use self::patience::Patience;
use super::config::EosConfig;
use super::progress::{Delivery, IN_FLIGHT_EVENTS_MAX, Progress, Snapshot, Window};
use super::schedule::ScheduleKey;
use super::txn::{CommitOffset, Touched, Transaction, TxnFigures, TxnSeq, TxnState};
use crate::error::{Cause, Disposition, OUTAGE_TIMEOUT};
use crate::store::EventSeq;

/// A partition's assignment to this worker: each assignment has a number of its own, so that what
/// belongs to an earlier one can't be taken for this one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u64);

/// Whether an event can begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It joins this transaction, whose producer is `slot`'s.
    Join {
        /// The transaction.
        txn: TxnSeq,
        /// Its producer.
        slot: usize,
    },
    /// All producers are busy, or an abort is under way: it has to wait.
    Full,
}

/// How an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventEnd {
    /// Its number in the task.
    pub event: EventSeq,
    /// The record's offset; `None` for an interjection.
    pub offset: Option<i64>,
    /// How many records it sends, changelog included.
    pub records: usize,
    /// Whether it is done; otherwise a completer will end it.
    pub complete: bool,
}

/// What happened outside. `slot` is a producer's place in the pool, `txn` its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are named for what they are")]
pub enum Event {
    /// The slot's producer is initialised and has begun a transaction.
    Ready { slot: usize },
    /// All outputs of the transaction are acknowledged.
    Flushed { txn: TxnSeq },
    /// The transaction is committed, and its slot's producer has begun another.
    Committed { txn: TxnSeq },
    /// A step of the transaction failed.
    Failed { txn: TxnSeq, disposition: Disposition, cause: Cause },
    /// The slot's transaction is aborted, and its producer has begun another.
    Aborted { slot: usize },
    /// The slot's producer could not abort.
    AbortFailed { slot: usize, disposition: Disposition },
    /// The slot's producer is made anew, and has begun a transaction.
    Recovered { slot: usize },
    /// The slot's producer could not be made anew.
    RecoverFailed { slot: usize, disposition: Disposition, cause: Cause },
    /// The broker's committed offset told whether an indefinite commit happened.
    Resolved { txn: TxnSeq, committed: bool },
    /// The group is about to change its generation: begin no commit.
    HoldCommits,
    /// It goes on, or the next is known: commits may go on.
    ReleaseCommits,
    /// The partition may go to another member: finish what has begun, though commits are held.
    Suspend { partition: PartitionId },
    /// It doesn't.
    Resume { partition: PartitionId },
    /// The partition goes to another member: finish what has begun.
    Close { partition: PartitionId },
    /// An event in the last transaction failed after an earlier step of it had effects: its effects
    /// can't be told from those of other events, so the transaction is aborted.
    Discard,
    /// The member was expelled: nothing may be committed any more.
    LoseAll,
}

/// What to do. `slot` is a producer's place in the pool, `txn` its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are named for what they are")]
pub enum Command {
    /// Initialise the slot's producer, and begin. Answer: `Ready` or `RecoverFailed`.
    Init { slot: usize },
    /// The transaction's outputs may go out now, those to come included.
    Transmit { txn: TxnSeq, slot: usize },
    /// Wait until all outputs are acknowledged. Answer: `Flushed` or `Failed`.
    Flush { txn: TxnSeq, slot: usize },
    /// Send the offsets, commit, begin. Answer: `Committed` or `Failed`.
    Commit { txn: TxnSeq, slot: usize, offsets: Vec<CommitOffset> },
    /// Abort, begin. Answer: `Aborted` or `AbortFailed`.
    Abort { txn: TxnSeq, slot: usize },
    /// Make the producer anew: initialising it ends whatever it left open. Answer: `Recovered` or
    /// `RecoverFailed`.
    Recover { slot: usize },
    /// Ask for the committed offsets: at or past these means committed. Answer: `Resolved`.
    Resolve { txn: TxnSeq, offsets: Vec<CommitOffset> },
    /// Committed: of each partition, the events up to this one can't be undone any more.
    Settled { txn: TxnSeq, partitions: Vec<(PartitionId, EventSeq)>, figures: TxnFigures },
    /// The transaction is pinned, and older than `transaction_timeout`: its events come again once.
    TimedOut { txn: TxnSeq },
    /// Undo all that is not committed, and fetch again from there.
    Rewind { partition: PartitionId, to: Snapshot },
    /// The closed partition has nothing left in any transaction (EOS-6).
    Drained { partition: PartitionId },
    /// Stop: nothing more will be committed.
    Stop { reason: StopReason },
}

/// Why the pool stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A step failed in a way that a replay would repeat.
    Failed,
    /// Transactions were aborted [`ABORTS_IN_A_ROW_MAX`] times in a row.
    TooManyAborts,
    /// The cluster was away for `outage_timeout`.
    Outage,
}

/// The next producer is initialised when the one before is ready, and after this time at the
/// latest: one that ends what a predecessor left open takes half a second.
const INIT_APART: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
struct Partition {
    progress: Progress,
    committed: Snapshot,
    closing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Not ready: its producer is being initialised.
    Starting,
    /// Ready for a transaction.
    Idle,
    /// Its producer works for this transaction.
    Busy(TxnSeq),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    Running,
    /// Transactions are being aborted; these partitions are in them.
    Aborting(BTreeSet<PartitionId>),
    Stopped,
}

/// The pool of transactional producers of one worker.
#[derive(Debug)]
pub struct Pool {
    config: EosConfig,
    slots: Vec<Slot>,
    /// When each slot's producer was initialised.
    made_at: Vec<Option<Instant>>,
    /// So many of them have been told to initialise their producer.
    begun: usize,
    /// When the next one is told at the latest.
    init_by: Option<Instant>,
    /// Idle slots, the longest idle first: a transactional id that was used a moment ago may meet
    /// CONCURRENT_TRANSACTIONS.
    idle: VecDeque<usize>,
    /// In the order they opened.
    txns: VecDeque<Transaction>,
    next_txn: TxnSeq,
    partitions: BTreeMap<PartitionId, Partition>,
    /// Those of them that are suspended: most often none, and each event asks.
    suspended: BTreeSet<PartitionId>,
    mode: Mode,
    commits_held: bool,
    patience: Patience,
    in_flight_events_max: usize,
    resume_at: Option<Instant>,
    commands: VecDeque<Command>,
}

impl Pool {
    /// A pool whose producers are initialised one after the other: several that connect at once
    /// slow down everybody who works, and the first event needs one.
    pub fn new(config: EosConfig) -> Self {
        let mut pool = Self {
            config,
            slots: vec![Slot::Starting; config.pool_size],
            made_at: vec![None; config.pool_size],
            begun: 0,
            init_by: None,
            idle: VecDeque::new(),
            txns: VecDeque::new(),
            next_txn: TxnSeq(0),
            partitions: BTreeMap::new(),
            suspended: BTreeSet::new(),
            mode: Mode::Running,
            commits_held: false,
            patience: Patience::new(OUTAGE_TIMEOUT),
            in_flight_events_max: IN_FLIGHT_EVENTS_MAX,
            resume_at: None,
            commands: VecDeque::new(),
        };
        pool.init_next();
        pool
    }

    /// Sets how long the pool waits out an outage of the cluster; by default one hour.
    #[must_use]
    pub const fn outage_timeout(mut self, timeout: Duration) -> Self {
        self.patience.set_outage_timeout(timeout);
        self
    }

    /// Sets how many events of a partition may be in flight; by default 1,000.
    #[must_use]
    pub const fn in_flight_events_max(mut self, events: usize) -> Self {
        self.in_flight_events_max = events;
        self
    }

    fn init_next(&mut self) {
        if self.begun < self.slots.len() {
            self.commands.push_back(Command::Init { slot: self.begun });
            self.begun += 1;
            self.init_by = None;
        }
    }

    fn init_if_due(&mut self, now: Instant) {
        if self.init_by.is_some_and(|by| now >= by) {
            self.init_next();
        }
        if self.begun < self.slots.len() && self.init_by.is_none() {
            self.init_by = Some(now + INIT_APART);
        }
    }

    /// A partition is assigned, and its store restored; it goes on from `committed`.
    pub fn add_partition(&mut self, partition: PartitionId, committed: Snapshot) {
        let progress = Progress::new(&committed);
        let added = Partition { progress, committed, closing: false };
        let former = self.partitions.insert(partition, added);
        assert!(former.is_none(), "an assignment's number is used once");
    }

    /// Whether an event can begin now; opens a transaction if there is none to join.
    pub fn offer(&mut self, now: Instant) -> Offer {
        self.offer_to(now, false)
    }

    /// Offers a transaction to a completion of an incomplete event.
    ///
    /// A completion joins a pinned transaction however full it is: only completions can unpin that
    /// transaction, and until then it can't be sealed. The number of incomplete events bounds them.
    pub fn offer_completion(&mut self, now: Instant) -> Offer {
        self.offer_to(now, true)
    }

    fn offer_to(&mut self, now: Instant, is_completion: bool) -> Offer {
        if self.mode != Mode::Running || self.resume_at.is_some_and(|at| now < at) {
            return Offer::Full;
        }
        // EOS-3: what has been fetched so far comes after what is to be processed again.
        if self.commands.iter().any(|command| matches!(command, Command::Rewind { .. })) {
            return Offer::Full;
        }
        self.resume_at = None;
        match self.txns.back() {
            Some(txn) if txn.state == TxnState::Open => {
                // What is suspended waits for nothing else that could join it.
                let is_full = txn.size() >= self.max_batch_size(txn)
                    || txn.bytes >= self.config.max_batch_bytes
                    || self.is_expiring(now, txn);
                let unpins = is_completion && txn.pinned > 0;
                if !unpins && (is_full || self.holds_suspended(txn)) {
                    return Offer::Full;
                }
                Offer::Join { txn: txn.seq, slot: txn.slot }
            }
            // The handler of the next event may block, and nobody would commit this one meanwhile.
            Some(_) if self.patience.isolates() => Offer::Full,
            _ => self.open(now),
        }
    }

    /// After an abort that nothing explains, each event gets a transaction of its own: the others
    /// don't share the fate of one that takes too long, or fails each time.
    const fn max_batch_size(&self, txn: &Transaction) -> usize {
        match self.patience.isolates() && txn.pinned == 0 {
            true => 1,
            false => self.config.max_batch_size,
        }
    }

    /// Returns true if a pinned transaction takes completions only: in a steady stream of
    /// incomplete events some event would pin it until the broker aborts it.
    fn is_expiring(&self, now: Instant, txn: &Transaction) -> bool {
        txn.pinned > 0 && now >= txn.opened_at + self.config.transaction_timeout / 2
    }

    fn open(&mut self, now: Instant) -> Offer {
        let Some(slot) = self.idle.pop_front() else {
            return Offer::Full;
        };
        let seq = self.next_txn;
        self.next_txn = TxnSeq(seq.0 + 1);
        self.slots[slot] = Slot::Busy(seq);
        self.txns.push_back(Transaction::open(seq, slot, now));
        self.transmit();
        Offer::Join { txn: seq, slot }
    }

    /// A record of the partition was fetched.
    pub fn deliver(&mut self, partition: PartitionId, offset: i64) -> Delivery {
        match self.partitions.get_mut(&partition) {
            Some(known) if !known.closing => known.progress.deliver(offset),
            _ => Delivery::Stale,
        }
    }

    /// The event ended that was offered a place before: it is in the last transaction.
    ///
    /// `pinned` says that the event was incomplete, and its first effects are in this transaction.
    ///
    /// # Panics
    /// If no transaction was offered.
    pub fn end_event(&mut self, partition: PartitionId, end: EventEnd, pinned: bool) {
        let Some(known) = self.partitions.get_mut(&partition) else {
            return;
        };
        let txn = self.txns.back_mut().expect("the event was offered a transaction");
        assert_eq!(txn.state, TxnState::Open, "the event was offered an open transaction");
        txn.records += end.records;
        if end.complete {
            txn.events += 1;
            txn.pinned -= usize::from(pinned);
            if let Some(offset) = end.offset {
                let was_in_flight = known.progress.complete(offset);
                debug_assert!(was_in_flight, "an event completes once");
                txn.source_records += 1;
            }
        } else if end.records > 0 {
            txn.pinned += usize::from(!pinned);
        }
        if end.records > 0 || (end.complete && end.offset.is_some()) {
            let touched = Touched { last: end.event, snapshot: None };
            txn.touched.insert(partition, touched);
        }
    }

    /// The event that ended last sends so many bytes, changelog included.
    pub fn add_bytes(&mut self, bytes: usize) {
        if let Some(txn) = self.txns.back_mut() {
            txn.bytes += bytes;
        }
    }

    /// Sets when a scheduled interjection of the partition runs next. The next commit of the
    /// partition carries it, and an abort undoes it.
    pub fn set_due(&mut self, partition: PartitionId, key: ScheduleKey, at_ms: i64) {
        if let Some(known) = self.partitions.get_mut(&partition) {
            known.progress.set_due(key, at_ms);
        }
    }

    /// Adds a scheduled interjection to the partition's schedule. An abort does not take it back:
    /// it is due then, too.
    pub fn add_due(&mut self, partition: PartitionId, key: ScheduleKey, at_ms: i64) {
        if let Some(known) = self.partitions.get_mut(&partition) {
            known.progress.set_due(key, at_ms);
            known.committed.schedule.set(key, at_ms);
        }
    }

    /// Removes a scheduled interjection from the partition's schedule. A commit that is under way
    /// may still carry it.
    pub fn remove_due(&mut self, partition: PartitionId, key: ScheduleKey) {
        if let Some(known) = self.partitions.get_mut(&partition) {
            known.progress.remove_due(key);
            let _ = known.committed.schedule.remove(key);
        }
    }

    /// Lets the transaction that was offered commit the partition's offset and schedule, though no
    /// event has effects in it. `last` is the partition's last event so far.
    ///
    /// # Panics
    /// If no transaction was offered.
    pub fn touch(&mut self, partition: PartitionId, last: EventSeq) {
        if self.partitions.contains_key(&partition) {
            let txn = self.txns.back_mut().expect("the event was offered a transaction");
            txn.touched.insert(partition, Touched { last, snapshot: None });
        }
    }

    /// Takes in what happened outside.
    pub fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::Ready { slot } => {
                self.initialised(now, slot);
                self.slot_is_idle(slot);
                self.init_next();
            }
            Event::Flushed { txn } => self.flushed(txn),
            Event::Committed { txn } => self.committed(txn),
            Event::Failed { txn, disposition, cause } => self.failed(now, txn, disposition, cause),
            Event::Aborted { slot } => self.ended(now, slot),
            Event::Recovered { slot } => {
                self.initialised(now, slot);
                self.recovered(now, slot);
            }
            Event::AbortFailed { slot, disposition } => self.abort_failed(slot, disposition),
            Event::RecoverFailed { slot, disposition, cause } => {
                self.recover_failed(now, slot, disposition, cause);
            }
            Event::Resolved { txn, committed } => self.resolved(now, txn, committed),
            Event::HoldCommits => self.commits_held = true,
            Event::ReleaseCommits => self.commits_held = false,
            Event::Suspend { partition } => drop(self.suspended.insert(partition)),
            Event::Resume { partition } => drop(self.suspended.remove(&partition)),
            Event::Close { partition } => self.close(now, partition),
            Event::Discard => self.discard(now),
            Event::LoseAll => self.lose_all(now),
        }
    }

    /// Moves on: seals, sends, commits. `more_input` says that more events are at hand right now.
    pub fn advance(&mut self, now: Instant, more_input: bool) {
        if self.resume_at.is_some_and(|at| at <= now) {
            self.resume_at = None;
        }
        if let Some(txn) = self.txns.back_mut() {
            let since = txn.pinned_since.unwrap_or(now);
            txn.pinned_since = (txn.pinned > 0).then_some(since);
        }
        self.expire_pinned(now);
        self.retry_inits(now);
        match self.mode {
            Mode::Running => self.seal_if_due(now, more_input),
            Mode::Aborting(_) => self.finish_abort(now),
            Mode::Stopped => return,
        }
        self.init_if_due(now);
        self.transmit();
        self.commit_oldest(now);
        self.report_drained();
    }

    /// What to do next, in this order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to call [`Pool::advance`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_step().into_iter().chain(self.pinned_until()).min()
    }

    /// When the pool goes on by itself at the latest: the same, without the completers that may
    /// still come.
    pub fn next_step(&self) -> Option<Instant> {
        let batch = self
            .txns
            .back()
            .filter(|txn| txn.state == TxnState::Open && txn.has_effect() && txn.pinned == 0);
        let sealable = self.txns.len() == 1;
        let delay = batch.filter(|_| sealable).map(|txn| txn.opened_at + self.config.batch_delay);
        let retry = self.patience.next_retry();
        delay.into_iter().chain(self.resume_at).chain(self.init_by).chain(retry).min()
    }

    /// When the transaction that waits for a completer has waited for too long. The time of the
    /// handlers does not count: a handler that blocks is not the fault of the event that waits.
    fn pinned_until(&self) -> Option<Instant> {
        let txn = self.txns.back().filter(|txn| txn.state == TxnState::Open)?;
        Some(txn.pinned_since? + self.config.transaction_timeout)
    }

    /// Whether nothing is in flight or waiting to be.
    pub fn is_quiet(&self) -> bool {
        self.mode != Mode::Stopped && self.txns.iter().all(|txn| !txn.has_effect())
    }

    /// Whether a commit is on its way.
    pub fn is_committing(&self) -> bool {
        self.txns.front().is_some_and(|txn| txn.state == TxnState::Committing)
    }

    /// Whether the partition can be suspended: it waits for nobody's completer.
    pub fn can_suspend(&self, partition: PartitionId) -> bool {
        let waits = |txn: &Transaction| txn.pinned > 0 && txn.touched.contains_key(&partition);
        self.mode == Mode::Running && !self.txns.iter().any(waits)
    }

    /// Whether all that is suspended has nothing left in any transaction (EOS-6).
    pub fn suspended_are_drained(&self) -> bool {
        !self.txns.iter().any(|txn| self.holds_suspended(txn))
    }

    fn holds_suspended(&self, txn: &Transaction) -> bool {
        self.suspended.iter().any(|partition| txn.touched.contains_key(partition))
    }

    /// Events of the partition that are delivered, and held back by the first incomplete one.
    pub fn in_flight(&self, partition: PartitionId) -> usize {
        self.partitions.get(&partition).map_or(0, |known| known.progress.in_flight())
    }

    /// How many more events the partition takes, behind its first incomplete one.
    pub fn window(&self, partition: PartitionId) -> Window {
        let bytes_max = self.config.offset_metadata_max_bytes;
        let known = self.partitions.get(&partition);
        let events_max = self.in_flight_events_max;
        known.map_or(Window::Wide, |known| known.progress.window(events_max, bytes_max))
    }

    /// Returns true if the slot's producer works for a transaction that may still be committed.
    pub fn may_commit(&self, slot: usize) -> bool {
        let may = |txn: &Transaction| txn.slot == slot && txn.state != TxnState::Aborting;
        self.txns.iter().any(may)
    }

    /// The transaction that the slot's producer works for.
    pub fn txn_of(&self, slot: usize) -> Option<TxnSeq> {
        match self.slots.get(slot)? {
            Slot::Busy(seq) => Some(*seq),
            Slot::Starting | Slot::Idle => None,
        }
    }

    /// What the partition has committed, as far as this pool knows.
    pub fn committed_of(&self, partition: PartitionId) -> Option<&Snapshot> {
        self.partitions.get(&partition).map(|known| &known.committed)
    }

    fn close(&mut self, now: Instant, partition: PartitionId) {
        let Some(known) = self.partitions.get_mut(&partition) else {
            return;
        };
        known.closing = true;
        let holds = |txn: &Transaction| txn.pinned > 0 && txn.touched.contains_key(&partition);
        if self.mode == Mode::Running && self.txns.back().is_some_and(holds) {
            self.abort_pinned(now);
        }
    }

    fn sealed(&self) -> usize {
        self.txns.iter().filter(|txn| txn.state != TxnState::Open).count()
    }

    fn seal_if_due(&mut self, now: Instant, more_input: bool) {
        let sealed = self.sealed();
        // As long as another is in flight this one could not be committed, and what it takes costs
        // nothing: sealed before, it would be committed without the events that come until then,
        // and those would wait for one commit more. Its outputs go out meanwhile, so little is left
        // to flush.
        let is_alone = self.txns.len() == 1;
        let closing = self.partitions.values().any(|partition| partition.closing)
            || self.txns.back().is_some_and(|txn| self.holds_suspended(txn));
        let Some(txn) = self.txns.back_mut() else {
            return;
        };
        let ready = txn.state == TxnState::Open && txn.has_effect() && txn.pinned == 0;
        if !ready || sealed > self.config.pending_transactions {
            return;
        }
        let is_full =
            txn.size() >= self.config.target_batch_size || txn.bytes >= self.config.max_batch_bytes;
        let is_old = now >= txn.opened_at + self.config.batch_delay;
        let due = is_full || closing || (is_alone && (is_old || !more_input));
        if !due {
            return;
        }
        txn.transition(TxnState::Sealed);
        txn.sealed_at = Some(now);
        for (partition, touched) in &mut txn.touched {
            // A partition that is gone was lost: nothing of it may be committed, and the whole
            // transaction is being aborted.
            if let Some(known) = self.partitions.get(partition) {
                let snapshot = known.progress.snapshot();
                assert!(snapshot.offset >= known.committed.offset, "EOS-3: it never goes back");
                touched.snapshot = Some(snapshot);
            }
        }
    }

    /// EOS-1: outputs go out once those of all earlier transactions are in the log.
    fn transmit(&mut self) {
        for txn in &mut self.txns {
            if !txn.transmit && txn.state != TxnState::Aborting {
                txn.transmit = true;
                self.commands.push_back(Command::Transmit { txn: txn.seq, slot: txn.slot });
            }
            if txn.state == TxnState::Sealed {
                txn.transition(TxnState::Flushing);
                self.commands.push_back(Command::Flush { txn: txn.seq, slot: txn.slot });
            }
            if !txn.state.is_flushed() {
                return;
            }
        }
    }

    /// EOS-2: only the oldest commits.
    fn commit_oldest(&mut self, now: Instant) {
        let held = self.commits_held && self.suspended_are_drained();
        let Some(txn) = self.txns.front_mut() else {
            return;
        };
        if txn.state == TxnState::Flushed && !held {
            txn.transition(TxnState::Committing);
            txn.committing_since = Some(now);
            let (seq, slot, offsets) = (txn.seq, txn.slot, txn.offsets());
            self.commands.push_back(Command::Commit { txn: seq, slot, offsets });
        }
    }

    fn report_drained(&mut self) {
        if self.mode != Mode::Running {
            return;
        }
        let txns = &self.txns;
        let in_use = |id: &PartitionId| txns.iter().any(|txn| txn.touched.contains_key(id));
        let drained: Vec<_> = self
            .partitions
            .iter()
            .filter(|(id, known)| known.closing && !in_use(id))
            .map(|(id, _)| *id)
            .collect();
        for partition in drained {
            self.partitions.remove(&partition);
            self.patience.drained(partition);
            self.suspended.remove(&partition);
            self.commands.push_back(Command::Drained { partition });
        }
    }

    fn initialised(&mut self, now: Instant, slot: usize) {
        self.made_at[slot] = Some(now);
        self.patience.initialised(slot);
    }

    fn slot_is_idle(&mut self, slot: usize) {
        self.slots[slot] = Slot::Idle;
        self.idle.push_back(slot);
    }

    fn find(&mut self, seq: TxnSeq) -> Option<&mut Transaction> {
        self.txns.iter_mut().find(|txn| txn.seq == seq)
    }

    fn flushed(&mut self, seq: TxnSeq) {
        // One that is being aborted meanwhile has nothing to wait for.
        if let Some(txn) = self.find(seq).filter(|txn| txn.state == TxnState::Flushing) {
            txn.transition(TxnState::Flushed);
        }
    }

    fn committed(&mut self, seq: TxnSeq) {
        let Some(txn) = self.txns.pop_front_if(|txn| txn.seq == seq) else {
            debug_assert!(self.mode == Mode::Stopped, "EOS-2: only the oldest is committed");
            return;
        };
        self.slot_is_idle(txn.slot);
        self.settle(txn);
    }

    fn settle(&mut self, txn: Transaction) {
        self.patience.committed();
        let figures = txn.figures();
        let mut partitions = Vec::with_capacity(txn.touched.len());
        for (id, touched) in txn.touched {
            let Some((known, snapshot)) = self.partitions.get_mut(&id).zip(touched.snapshot) else {
                continue;
            };
            assert!(snapshot.offset >= known.committed.offset, "EOS-3: it never goes back");
            known.committed = snapshot;
            partitions.push((id, touched.last));
        }
        self.commands.push_back(Command::Settled { txn: txn.seq, partitions, figures });
    }

    fn stop(&mut self, reason: StopReason) {
        if self.mode != Mode::Stopped {
            self.mode = Mode::Stopped;
            self.commands.clear();
            self.commands.push_back(Command::Stop { reason });
        }
    }

    /// Checks what must always hold; the tests call it after each step.
    ///
    /// # Panics
    /// If something doesn't.
    pub fn check_invariants(&self) {
        let seqs: Vec<_> = self.txns.iter().map(|txn| txn.seq).collect();
        assert!(seqs.is_sorted(), "EOS-2: transactions stay in the order they opened");
        let mut earlier_flushed = true;
        for (place, txn) in self.txns.iter().enumerate() {
            let aborting = txn.state == TxnState::Aborting;
            assert!(
                aborting || !txn.transmit || earlier_flushed,
                "EOS-1: transaction {} sends before the earlier ones are in the log",
                txn.seq.0
            );
            earlier_flushed &= txn.state.is_flushed();
            let ends = matches!(txn.state, TxnState::Committing | TxnState::Indefinite);
            assert!(place == 0 || !ends, "EOS-2: only the oldest commits");
            assert!(txn.pinned == 0 || !ends, "EOS-3: an incomplete event is not committed");
            assert_eq!(self.slots[txn.slot], Slot::Busy(txn.seq), "a producer, a transaction");
        }
        for known in self.partitions.values() {
            let snapshot = known.progress.snapshot();
            assert!(snapshot.offset >= known.committed.offset, "EOS-3: it never goes back");
        }
        let idle = self.slots.iter().filter(|slot| **slot == Slot::Idle).count();
        assert_eq!(idle, self.idle.len(), "every idle slot is in the queue once");
    }
}

#[cfg(test)]
mod failure_tests;
#[cfg(test)]
mod tests;
