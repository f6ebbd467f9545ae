//! [`Batches`] in random runs: what each batch may have, and that no item is lost or late.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

const MS: Duration = Duration::from_millis(1);
const LIMITS: BatchLimits =
    BatchLimits { size: 3, concurrency: 2, delay: MS.saturating_mul(5), pending: 10 };

/// An item of the reference: its number tells its place among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Known {
    number: u64,
    key: u64,
    since: Instant,
    counts: bool,
}

struct Run {
    batches: Batches<u64, Known>,
    now: Instant,
    waiting: Vec<Known>,
    running: HashMap<BatchId, Vec<Known>>,
    done: Vec<Known>,
    added: u64,
    random: u64,
}

impl Run {
    fn new(seed: u64, now: Instant) -> Self {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let (waiting, running, done) = (vec![], HashMap::new(), vec![]);
        Self { batches: Batches::new(LIMITS), now, waiting, running, done, added: 0, random }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn push(&mut self) {
        let (key, counts) = (self.below(5), self.below(5) > 0);
        let known = Known { number: self.added, key, since: self.now, counts };
        self.added += 1;
        match counts {
            true => self.batches.push(self.now, key, known),
            false => self.batches.push_placeholder(self.now, key, known),
        }
        self.waiting.push(known);
    }

    fn is_busy(&self, key: u64) -> bool {
        self.running.values().flatten().any(|known| known.key == key)
    }

    /// What could be in the next batch.
    fn eligible(&self) -> impl Iterator<Item = &Known> {
        self.waiting.iter().filter(|known| !self.is_busy(known.key))
    }

    fn is_due(&self) -> bool {
        let full = self.eligible().filter(|known| known.counts).count() >= LIMITS.size;
        let waited = |known: &Known| known.since + LIMITS.delay <= self.now;
        self.running.len() < LIMITS.concurrency && (full || self.eligible().any(waited))
    }

    fn poll(&mut self) {
        while let Some(Batch { id, items }) = self.batches.poll(self.now) {
            assert!(self.is_due(), "a batch that is not due");
            let items: Vec<Known> = items.into_iter().map(|(_, known)| known).collect();
            let count = items.iter().filter(|known| known.counts).count();
            assert!(!items.is_empty() && count <= LIMITS.size);
            // The first of those that may be in it, in their order.
            let first: Vec<Known> = self.eligible().take(items.len()).copied().collect();
            assert_eq!(items, first);
            let next = self.eligible().nth(items.len()).copied();
            assert!(next.is_none_or(|next| next.counts && count == LIMITS.size), "{next:?}");
            self.waiting.retain(|known| !items.contains(known));
            self.running.insert(id, items);
        }
        assert!(!self.is_due(), "a batch is due");
        let due = self.eligible().next().map(|first| first.since + LIMITS.delay);
        let due = due.filter(|_| self.running.len() < LIMITS.concurrency);
        assert_eq!(self.batches.poll_timeout(), due);
        assert_eq!(self.batches.pending(), self.waiting.len());
        assert_eq!(self.batches.has_room(), self.waiting.len() <= LIMITS.pending);
        for key in 0..5 {
            let waits = self.waiting.iter().any(|known| known.key == key);
            assert_eq!(self.batches.is_known(&key), waits || self.is_busy(key));
        }
    }

    fn end(&mut self) {
        let mut ids: Vec<BatchId> = self.running.keys().copied().collect();
        ids.sort_unstable();
        if ids.is_empty() {
            return;
        }
        let id = ids[usize::try_from(self.below(8)).expect("a small number") % ids.len()];
        self.batches.end(id);
        self.done.extend(self.running.remove(&id).into_iter().flatten());
    }

    fn step(&mut self) {
        match self.below(10) {
            0..=4 => self.push(),
            5..=7 => self.end(),
            8 => self.now += MS * 2,
            _ => {
                let key = self.below(20);
                let cancelled = self.batches.cancel(|known| known.key == key);
                let of_key = self.waiting.iter().filter(|known| known.key == key);
                assert_eq!(cancelled.len(), of_key.count());
                self.waiting.retain(|known| known.key != key);
                self.done.extend(cancelled);
            }
        }
        self.poll();
    }

    fn drain(&mut self) {
        for _ in 0..10_000 {
            self.now += MS;
            self.poll();
            self.end();
            if self.waiting.is_empty() && self.running.is_empty() {
                break;
            }
        }
        let once: HashSet<u64> = self.done.iter().map(|known| known.number).collect();
        assert_eq!(self.done.len(), once.len(), "an item was in two batches");
        assert_eq!(u64::try_from(once.len()), Ok(self.added), "an item was lost");
        assert!(self.batches.queues.is_empty() && self.batches.ready.is_empty());
    }
}

fn all_runs() {
    let base = Instant::now();
    for seed in 0..200 {
        let mut run = Run::new(seed, base);
        (0..300).for_each(|_| run.step());
        run.drain();
    }
}

#[test]
fn batches_agree_with_the_reference() {
    all_runs();
}

#[test]
fn the_reference_finds_a_key_in_two_running_batches() {
    planted::plant(Some(Bug::BatchesShareKey));
    let found = catch_unwind(AssertUnwindSafe(all_runs));
    planted::plant(None);
    assert!(found.is_err());
}
