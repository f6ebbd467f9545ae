//! The events of one partition that failed and run again later, and the events behind them.
//!
//! ```text
//!   delivered --> Run ---------> failed --> waits --(due)--> taken --> ended: complete, or
//!       |                          ^          ^                |       incomplete
//!       |                          +----------|----------------+
//!       +--> Wait: behind the first event of its key, until that one has ended
//! ```
//!
//! A waiting event is in flight: the commit point stays before it, later events are committed
//! beyond it, and the window of events in flight bounds how many wait. An event of
//! [`RetryOrder::Partition`] also keeps every later event of the partition out.
//!
//! The number of failures of an event, and the time of its next attempt, survive a rewind: the
//! event is delivered again and waits again. They end with the assignment.
//!
//! Pure: the time is an argument.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::eos::Snapshot;
use crate::record::{ProducerRecord, Record};
use crate::runtime::RetryOrder;

/// What becomes of a delivered event.
#[derive(Debug)]
pub enum Turn {
    /// The event runs now.
    Run,
    /// The event waits: [`Retries::take`] returns it.
    Wait,
    /// The event was decided before its transaction was aborted: no handler runs.
    Decided(Verdict),
}

/// What the policy decided about an event whose transaction had to be aborted.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The event is left out.
    Skip,
    /// This letter is sent in the event's place.
    Letter(ProducerRecord),
    /// The event's key is parked.
    Park,
}

/// An event that has failed and is not committed.
#[derive(Debug)]
struct Failed {
    attempts: u32,
    due: Instant,
    order: RetryOrder,
    verdict: Option<Verdict>,
}

/// An event that waits.
#[derive(Debug)]
struct Held {
    record: Record,
    /// When the event runs; `None` while an earlier event of its key waits.
    at: Option<Instant>,
}

/// The events of a partition that failed or wait.
#[derive(Debug, Default)]
pub struct Retries {
    /// By offset.
    failed: BTreeMap<i64, Failed>,
    /// By offset.
    held: BTreeMap<i64, Held>,
    /// The times of the waiting events that are the first of their keys.
    due: BTreeSet<(Instant, i64)>,
    /// The offsets of each key's waiting events, ascending. The first event may be running.
    lanes: HashMap<Box<[u8]>, VecDeque<i64>>,
    /// The events that the whole partition waits for.
    blocking: BTreeSet<i64>,
    /// How often in a row each scheduled interjection has failed.
    runs: BTreeMap<usize, u32>,
}

impl Retries {
    /// Returns true if no event has failed or waits.
    pub fn is_idle(&self) -> bool {
        self.failed.is_empty() && self.held.is_empty()
    }

    /// Returns true if no new event may begin, because the partition waits for a failed one.
    pub fn blocks_partition(&self) -> bool {
        !self.blocking.is_empty()
    }

    /// Returns the number of events that wait.
    pub fn waiting(&self) -> usize {
        self.held.len()
    }

    /// Decides whether a delivered event runs now.
    pub fn admit(&mut self, now: Instant, record: &Record) -> Turn {
        if self.is_idle() {
            return Turn::Run;
        }
        let known = self.failed.get(&record.offset());
        if let Some(verdict) = known.and_then(|known| known.verdict.clone()) {
            return Turn::Decided(verdict);
        }
        let is_early = known.is_some_and(|known| known.due > now);
        let is_behind = record.key().is_some_and(|key| self.lanes.contains_key(key));
        if is_early || is_behind {
            self.hold(now, record.clone());
            return Turn::Wait;
        }
        Turn::Run
    }

    /// Returns the number of the event's attempt that runs or has just failed, from 1 on.
    pub fn attempt(&self, offset: i64) -> u32 {
        self.failed.get(&offset).map_or(0, |known| known.attempts).saturating_add(1)
    }

    /// The event has failed: it runs again in `after`.
    pub fn retry(&mut self, now: Instant, record: Record, after: Duration, order: RetryOrder) {
        self.retry_after_rewind(now, record.offset(), after, order);
        self.hold(now, record);
    }

    /// The event has failed, and its transaction is being aborted: it is delivered again, and runs
    /// in `after` at the earliest.
    pub fn retry_after_rewind(
        &mut self,
        now: Instant,
        offset: i64,
        after: Duration,
        order: RetryOrder,
    ) {
        let attempts = self.attempt(offset);
        let due = now + after;
        self.failed.insert(offset, Failed { attempts, due, order, verdict: None });
    }

    /// The event's transaction is being aborted: it is delivered again, and this is its outcome.
    pub fn decide(&mut self, now: Instant, offset: i64, verdict: Verdict) {
        let attempts = self.attempt(offset) - 1;
        let (order, verdict) = (RetryOrder::Key, Some(verdict));
        self.failed.insert(offset, Failed { attempts, due: now, order, verdict });
    }

    /// Returns true if a waiting event may run.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.next_due().is_some_and(|due| due <= now)
    }

    /// Returns when the next waiting event runs.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes a waiting event that is due, to run it.
    pub fn take(&mut self, now: Instant) -> Option<Record> {
        let (_, offset) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.pop_first();
        self.held.remove(&offset).map(|held| held.record)
    }

    /// A step of the event has ended well, or the event is left out: the next event of its key, and
    /// the partition, wait no more.
    pub fn ended(&mut self, now: Instant, record: &Record) {
        let offset = record.offset();
        self.blocking.remove(&offset);
        let Some(lane) = record.key().and_then(|key| self.lanes.get_mut(key)) else {
            return;
        };
        if lane.front() != Some(&offset) {
            return;
        }
        lane.pop_front();
        match (lane.front().copied(), record.key()) {
            (Some(next), _) => self.schedule(now, next),
            (None, Some(key)) => drop(self.lanes.remove(key)),
            (None, None) => {}
        }
    }

    /// Returns the number of the interjection's attempt that has just failed, from 1 on.
    pub fn run_attempt(&self, which: usize) -> u32 {
        self.runs.get(&which).map_or(0, |failed| *failed).saturating_add(1)
    }

    /// The scheduled interjection has failed, and runs again at its next time.
    pub fn run_failed(&mut self, which: usize) {
        self.runs.insert(which, self.run_attempt(which));
    }

    /// The scheduled interjection has run well, or this run of it is left out.
    pub fn run_ended(&mut self, which: usize) {
        self.runs.remove(&which);
    }

    /// All events that are not committed are delivered again.
    pub fn rewind(&mut self) {
        self.held.clear();
        self.due.clear();
        self.lanes.clear();
        self.blocking.clear();
    }

    /// The partition is given up: another member counts from 1 again.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets the events that are committed.
    pub fn committed(&mut self, committed: &Snapshot) {
        let is_pending = |offset: i64| {
            offset >= committed.offset && committed.done.binary_search(&offset).is_err()
        };
        self.failed.retain(|offset, _| is_pending(*offset));
    }

    fn hold(&mut self, now: Instant, record: Record) {
        let offset = record.offset();
        if self.failed.get(&offset).is_some_and(|known| known.order == RetryOrder::Partition) {
            self.blocking.insert(offset);
        }
        let key: Option<Box<[u8]>> = record.key().map(Box::from);
        self.held.insert(offset, Held { record, at: None });
        let Some(key) = key else {
            return self.schedule(now, offset);
        };
        let lane = self.lanes.entry(key).or_default();
        let place = lane.partition_point(|other| *other < offset);
        if lane.get(place) != Some(&offset) {
            lane.insert(place, offset);
        }
        if place > 0 {
            return;
        }
        if let Some(second) = lane.get(1)
            && let Some(at) = self.held.get_mut(second).and_then(|held| held.at.take())
        {
            self.due.remove(&(at, *second));
        }
        self.schedule(now, offset);
    }

    fn schedule(&mut self, now: Instant, offset: i64) {
        let Some(held) = self.held.get_mut(&offset) else {
            return;
        };
        let at = self.failed.get(&offset).map_or(now, |known| known.due.max(now));
        held.at = Some(at);
        self.due.insert((at, offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::TopicPartition;

    const SECOND: Duration = Duration::from_secs(1);

    fn event(offset: i64, key: &str) -> Record {
        let record = Record::new(TopicPartition::new("t", 0), offset);
        if key.is_empty() { record } else { record.with_key(key.as_bytes().to_vec()) }
    }

    fn offsets(retries: &mut Retries, now: Instant) -> Vec<i64> {
        let mut taken = vec![];
        while let Some(record) = retries.take(now) {
            taken.push(record.offset());
            retries.ended(now, &record);
        }
        taken
    }

    fn runs(retries: &mut Retries, now: Instant, event: &Record) -> bool {
        matches!(retries.admit(now, event), Turn::Run)
    }

    #[test]
    fn events_of_the_same_key_wait_in_their_order_and_others_run() {
        let (mut retries, now) = (Retries::default(), Instant::now());
        assert!(runs(&mut retries, now, &event(0, "a")));
        retries.retry(now, event(0, "a"), SECOND, RetryOrder::Key);
        assert!(!runs(&mut retries, now, &event(1, "a")));
        assert!(runs(&mut retries, now, &event(2, "b")));
        assert!(runs(&mut retries, now, &event(3, "")));
        assert!(!runs(&mut retries, now, &event(4, "a")));
        assert!(!retries.blocks_partition());
        assert_eq!((retries.take(now).is_none(), retries.next_due()), (true, Some(now + SECOND)));
        assert_eq!(offsets(&mut retries, now + SECOND), [0, 1, 4]);
        assert!(runs(&mut retries, now, &event(5, "a")), "the key waits no more");
    }

    #[test]
    fn a_partition_waits_for_its_event_alone() {
        let (mut retries, now) = (Retries::default(), Instant::now());
        retries.retry(now, event(0, "a"), SECOND, RetryOrder::Partition);
        assert!(retries.blocks_partition());
        let again = retries.take(now + SECOND).expect("it is due");
        assert!(retries.blocks_partition(), "it has not ended");
        assert_eq!(retries.attempt(0), 2);
        retries.retry(now + SECOND, again, SECOND, RetryOrder::Partition);
        let again = retries.take(now + 2 * SECOND).expect("it is due");
        retries.ended(now, &again);
        assert!(!retries.blocks_partition());
        assert_eq!(retries.attempt(0), 3, "an abort may bring it again");
        retries.committed(&Snapshot::at(1));
        assert_eq!((retries.attempt(0), retries.is_idle()), (1, true));
    }

    #[test]
    fn a_rewind_keeps_the_attempts_and_the_time() {
        let (mut retries, now) = (Retries::default(), Instant::now());
        retries.retry(now, event(3, "a"), SECOND, RetryOrder::Partition);
        retries.rewind();
        assert!(!retries.blocks_partition() && retries.waiting() == 0);
        assert!(runs(&mut retries, now, &event(2, "a")), "an earlier one runs");
        assert!(!runs(&mut retries, now, &event(3, "a")), "it waits again");
        assert!(retries.blocks_partition());
        assert_eq!((retries.attempt(3), retries.next_due()), (2, Some(now + SECOND)));
        retries.rewind();
        assert!(runs(&mut retries, now + SECOND, &event(3, "a")), "its time has come");
    }

    #[test]
    fn what_was_decided_runs_no_handler() {
        let (mut retries, now) = (Retries::default(), Instant::now());
        retries.decide(now, 7, Verdict::Skip);
        retries.rewind();
        assert!(matches!(retries.admit(now, &event(7, "a")), Turn::Decided(Verdict::Skip)));
        let beyond = Snapshot { done: vec![7], ..Snapshot::at(3) };
        retries.committed(&beyond);
        assert!(retries.is_idle());
    }

    #[test]
    fn an_event_that_fails_late_waits_before_the_later_ones_of_its_key() {
        let (mut retries, now) = (Retries::default(), Instant::now());
        // Event 0 is incomplete; event 1 of the same key fails first.
        retries.retry(now, event(1, "a"), SECOND, RetryOrder::Key);
        retries.retry(now, event(0, "a"), 2 * SECOND, RetryOrder::Key);
        assert!(retries.take(now + SECOND).is_none(), "event 1 is behind event 0");
        assert_eq!(offsets(&mut retries, now + 2 * SECOND), [0, 1]);
    }

    /// Every event of a random history runs until it succeeds, and no event of a key runs before an
    /// earlier one of its key has ended; aborts come in between.
    #[test]
    fn random_histories_keep_the_order_of_keys_and_lose_nothing() {
        for seed in 1..300_u64 {
            history(seed);
        }
    }

    fn history(seed: u64) {
        let mut random = seed;
        let mut below = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let keys = ["a", "b", "c", ""];
        let events: Vec<Record> =
            (0..60).map(|offset| event(offset, keys[below(4) as usize])).collect();
        let (mut retries, mut now) = (Retries::default(), Instant::now());
        let (mut next, mut done, mut committed) = (0, vec![false; 60], vec![false; 60]);
        for _ in 0..20_000 {
            if committed.iter().all(|done| *done) {
                return;
            }
            match below(10) {
                0 => now += SECOND / 2,
                1 => {
                    retries.rewind();
                    done.clone_from(&committed);
                    next = committed.iter().position(|done| !done).unwrap_or(60);
                }
                2 => {
                    committed.clone_from(&done);
                    let offset = committed.iter().position(|done| !done).unwrap_or(60);
                    let beyond = (offset..60).filter(|at| committed[*at]).map(|at| at as i64);
                    let snapshot =
                        Snapshot { done: beyond.collect(), ..Snapshot::at(offset as i64) };
                    retries.committed(&snapshot);
                }
                _ => {
                    let taken = retries.take(now);
                    let running = match taken {
                        Some(record) => record,
                        None if next < 60 && !retries.blocks_partition() => {
                            let record = events[next].clone();
                            next += 1;
                            if done[next - 1] || !runs(&mut retries, now, &record) {
                                continue;
                            }
                            record
                        }
                        None => continue,
                    };
                    let offset = running.offset();
                    let earlier = events[..offset as usize].iter();
                    let is_open = |other: &Record| !done[other.offset() as usize];
                    let same = |other: &&Record| {
                        running.key().is_some() && other.key() == running.key() && is_open(other)
                    };
                    assert_eq!(earlier.filter(same).count(), 0, "seed {seed}, event {offset}");
                    if below(3) == 0 {
                        let order =
                            if below(2) == 0 { RetryOrder::Key } else { RetryOrder::Partition };
                        retries.retry(now, running, SECOND, order);
                    } else {
                        assert!(!std::mem::replace(&mut done[offset as usize], true), "twice");
                        retries.ended(now, &running);
                    }
                }
            }
        }
        panic!("seed {seed}: events wait for ever");
    }
}
