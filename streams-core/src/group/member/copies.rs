//! The warm copies of a member: which it is to have, which have caught up, which failed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::group::Partitions;
use crate::group::user_data::{Instructions, MemberMeta};

/// So long the group is told that a copy could not be made here; twice as long each time.
const FAILED_MIN: Duration = Duration::from_secs(30);
const FAILED_MAX: Duration = Duration::from_secs(600);

type Partition = (String, i32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WarmCopy {
    /// To be taken over, not to stand by: the group waits for it.
    is_transition: bool,
    is_ready: bool,
}

#[derive(Clone, Debug)]
struct Failure {
    reason: String,
    /// Until then the group is told.
    until: Instant,
    wait: Duration,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Copies {
    copies: BTreeMap<Partition, WarmCopy>,
    failures: BTreeMap<Partition, Failure>,
}

impl Copies {
    /// All that are to be kept.
    pub(super) fn partitions(&self) -> Partitions {
        self.copies.keys().cloned().collect()
    }

    /// Takes the leader's instructions; `owned` needs no copy. What failed since the leader was
    /// `told` is not tried again: it would ask another member, if it knew.
    pub(super) fn follow(
        &mut self,
        now: Instant,
        instructions: &Instructions,
        owned: &Partitions,
        told: &MemberMeta,
    ) {
        let mut wanted: BTreeMap<Partition, bool> = BTreeMap::new();
        if !instructions.is_complete {
            let kept = self.copies.iter().filter(|(_, copy)| copy.is_transition);
            wanted.extend(kept.map(|(partition, _)| (partition.clone(), true)));
            wanted.retain(|partition, _| !instructions.forget.contains(partition));
        }
        wanted.extend(instructions.standbys.iter().map(|partition| (partition.clone(), false)));
        wanted.extend(instructions.transitions.iter().map(|partition| (partition.clone(), true)));
        let has_just_failed = |partition: &Partition| {
            !told.failed.contains_key(partition) && self.is_failing(now, partition)
        };
        wanted.retain(|partition, _| !owned.contains(partition) && !has_just_failed(partition));
        let before = std::mem::take(&mut self.copies);
        let copy = |(partition, is_transition): (Partition, bool)| {
            let is_ready = before.get(&partition).is_some_and(|copy| copy.is_ready);
            (partition, WarmCopy { is_transition, is_ready })
        };
        self.copies = wanted.into_iter().map(copy).collect();
    }

    pub(super) fn warmed(&mut self, partitions: &Partitions) {
        for partition in partitions {
            if let Some(copy) = self.copies.get_mut(partition) {
                copy.is_ready = true;
                self.failures.remove(partition);
            }
        }
    }

    pub(super) fn failed(&mut self, now: Instant, partitions: &Partitions, reason: &str) {
        for partition in partitions {
            if self.copies.remove(partition).is_none() {
                continue;
            }
            let before = self.failures.get(partition);
            let wait = before.map_or(FAILED_MIN, |failure| (failure.wait * 2).min(FAILED_MAX));
            let failure = Failure { reason: reason.to_owned(), until: now + wait, wait };
            self.failures.insert(partition.clone(), failure);
        }
    }

    /// Whether it has failed so lately that it is not to be tried here.
    fn is_failing(&self, now: Instant, partition: &Partition) -> bool {
        self.failures.get(partition).is_some_and(|failure| now < failure.until)
    }

    /// Forgets what failed long ago.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.failures.retain(|_, failure| now < failure.until + failure.wait);
    }

    /// When the group is to be told that a failure may be over.
    pub(super) fn next_expiry(&self, told: &MemberMeta) -> Option<Instant> {
        let failures = self.failures.iter().filter(|(p, _)| told.failed.contains_key(*p));
        failures.map(|(_, failure)| failure.until).min()
    }

    /// What the group is told.
    pub(super) fn report(&self, now: Instant, meta: &mut MemberMeta) {
        for (partition, copy) in &self.copies {
            let list = match (copy.is_transition, copy.is_ready) {
                (true, true) => &mut meta.ready,
                (true, false) => &mut meta.preparing,
                (false, true) => &mut meta.standby,
                (false, false) => &mut meta.restoring,
            };
            list.insert(partition.clone());
        }
        let failures = self.failures.iter().filter(|(_, failure)| now < failure.until);
        meta.failed.extend(failures.map(|(p, failure)| (p.clone(), failure.reason.clone())));
    }

    /// Whether the group waits for something that it was not told. Standbys that are ready can
    /// wait for the next rebalance.
    pub(super) fn has_news(&self, now: Instant, told: &MemberMeta) -> bool {
        let is_news = |(partition, copy): (&Partition, &WarmCopy)| {
            copy.is_transition && copy.is_ready && !told.ready.contains(partition)
        };
        let current = |partition: &Partition| self.is_failing(now, partition);
        self.copies.iter().any(is_news)
            || self.failures.keys().any(|p| current(p) && !told.failed.contains_key(p))
            || told.failed.keys().any(|partition| !current(partition))
    }
}
