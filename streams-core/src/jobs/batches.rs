//! Batches of items: items of several keys are collected, and a key is in one running batch at a
//! time.
//!
//! [`Batches`] is a machine, as [`Lanes`](super::lanes::Lanes) is: the driver adds items
//! ([`Batches::push`]), runs the batches that [`Batches::poll`] returns, reports their ends
//! ([`Batches::end`]), and polls again at [`Batches::poll_timeout`] at the latest.
//!
//! A batch starts when enough items are at hand, or when the first of them has waited for
//! [`BatchLimits::delay`]. Items whose key is in a running batch wait for its end. So items of one
//! key are executed in the order of their addition, several of them in one batch or not.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::planted::{self, Bug};

/// The number of a batch, unique within its [`Batches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(u64);

/// The limits of [`Batches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// How many items a batch has at most.
    pub size: usize,
    /// How many batches run at the same time.
    pub concurrency: usize,
    /// How long an item waits for others.
    pub delay: Duration,
    /// How many items may wait.
    pub pending: usize,
}

/// An item that waits.
#[derive(Debug)]
struct Item<T> {
    number: u64,
    since: Instant,
    /// Whether it counts as an item; a placeholder only keeps its place among those of its key.
    counts: bool,
    payload: T,
}

/// The items of a key that wait.
#[derive(Debug)]
struct Queue<T> {
    /// Whether the key is in a running batch.
    is_busy: bool,
    items: VecDeque<Item<T>>,
}

/// A batch to execute.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch<K, T> {
    /// Its number, for [`Batches::end`].
    pub id: BatchId,
    /// Its items and placeholders, in the order of their addition.
    pub items: Vec<(K, T)>,
}

/// Items on their way into batches. The module's documentation has the rules.
#[derive(Debug)]
pub struct Batches<K, T> {
    limits: BatchLimits,
    queues: HashMap<K, Queue<T>>,
    /// The items of keys that are in no running batch, by number: in the order of their addition.
    ready: BTreeMap<u64, K>,
    /// How many of them count.
    ready_items: usize,
    running: HashMap<BatchId, Vec<K>>,
    pending: usize,
    next_item: u64,
    next_batch: u64,
}

impl<K: Clone + Eq + Hash, T> Batches<K, T> {
    /// Creates queues without items.
    pub fn new(limits: BatchLimits) -> Self {
        Self {
            limits,
            queues: HashMap::new(),
            ready: BTreeMap::new(),
            ready_items: 0,
            running: HashMap::new(),
            pending: 0,
            next_item: 0,
            next_batch: 0,
        }
    }

    /// Adds an item behind those of its key.
    pub fn push(&mut self, now: Instant, key: K, payload: T) {
        self.add(now, key, true, payload);
    }

    /// Adds a placeholder: it keeps its place among the items of its key and fills no batch.
    pub fn push_placeholder(&mut self, now: Instant, key: K, payload: T) {
        self.add(now, key, false, payload);
    }

    fn add(&mut self, since: Instant, key: K, counts: bool, payload: T) {
        let number = self.next_item;
        self.next_item += 1;
        self.pending += 1;
        let new = || Queue { is_busy: false, items: VecDeque::new() };
        let queue = self.queues.entry(key.clone()).or_insert_with(new);
        queue.items.push_back(Item { number, since, counts, payload });
        if !queue.is_busy {
            self.ready_items += usize::from(counts);
            self.ready.insert(number, key);
        }
    }

    /// Returns the next batch, if one is due. Call it until there is none.
    pub fn poll(&mut self, now: Instant) -> Option<Batch<K, T>> {
        let is_full = self.ready_items >= self.limits.size;
        let has_waited = self.due().is_some_and(|due| due <= now);
        if self.running.len() >= self.limits.concurrency || !(is_full || has_waited) {
            return None;
        }
        let (mut items, mut count) = (Vec::new(), 0);
        while let Some(entry) = self.ready.first_entry() {
            let Some(queue) = self.queues.get_mut(entry.get()) else {
                break;
            };
            let fits = |item: &mut Item<T>| count < self.limits.size || !item.counts;
            let Some(item) = queue.items.pop_front_if(fits) else {
                break;
            };
            count += usize::from(item.counts);
            items.push((entry.remove(), item.payload));
        }
        self.ready_items -= count;
        self.pending -= items.len();
        let id = BatchId(self.next_batch);
        self.next_batch += 1;
        let mut keys = Vec::new();
        for (key, _) in &items {
            self.begin(key, &mut keys);
        }
        self.running.insert(id, keys);
        Some(Batch { id, items })
    }

    /// What is left of a key waits for the batch that has it.
    fn begin(&mut self, key: &K, keys: &mut Vec<K>) {
        let Some(queue) = self.queues.get_mut(key).filter(|queue| !queue.is_busy) else {
            return;
        };
        keys.push(key.clone());
        queue.is_busy = !planted::is(Bug::BatchesShareKey);
        for item in queue.items.iter().filter(|_| queue.is_busy) {
            self.ready.remove(&item.number);
            self.ready_items -= usize::from(item.counts);
        }
    }

    /// Returns when to poll again at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due().filter(|_| self.running.len() < self.limits.concurrency)
    }

    /// When the first item has waited long enough.
    fn due(&self) -> Option<Instant> {
        let (_, key) = self.ready.first_key_value()?;
        let first = self.queues.get(key)?.items.front()?;
        Some(first.since + self.limits.delay)
    }

    /// A batch has ended: its keys are free.
    pub fn end(&mut self, id: BatchId) {
        for key in self.running.remove(&id).into_iter().flatten() {
            let Some(queue) = self.queues.get_mut(&key) else {
                continue;
            };
            queue.is_busy = false;
            for item in &queue.items {
                self.ready_items += usize::from(item.counts);
                self.ready.insert(item.number, key.clone());
            }
            if queue.items.is_empty() {
                self.queues.remove(&key);
            }
        }
    }

    /// Removes the items that wait and for which `which` returns true. Running batches go on.
    pub fn cancel(&mut self, mut which: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut cancelled = Vec::new();
        for queue in self.queues.values_mut() {
            for item in std::mem::take(&mut queue.items) {
                if !which(&item.payload) {
                    queue.items.push_back(item);
                    continue;
                }
                if self.ready.remove(&item.number).is_some() {
                    self.ready_items -= usize::from(item.counts);
                }
                cancelled.push(item.payload);
            }
        }
        self.queues.retain(|_, queue| queue.is_busy || !queue.items.is_empty());
        self.pending -= cancelled.len();
        cancelled
    }

    /// Returns true if no more items wait than may.
    pub const fn has_room(&self) -> bool {
        self.pending <= self.limits.pending
    }

    /// Returns how many items wait.
    pub const fn pending(&self) -> usize {
        self.pending
    }

    /// Returns how many batches run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Returns true if an item of the key waits or runs.
    pub fn is_known(&self, key: &K) -> bool {
        self.queues.contains_key(key)
    }
}

#[cfg(test)]
#[path = "batches_tests.rs"]
mod tests;
