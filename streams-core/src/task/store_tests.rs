//! A task's store against its changelog, through commits, aborts, failed events and restarts.
//!
//! The oracle keeps what the committed events add up to; a store that is restored from the
//! committed changelog, and the one that lived through it all, must both agree with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::codec::CodecError;
use crate::eos::Snapshot;
use crate::handler::{Completion, CompletionSink};
use crate::record::Outputs;
use crate::store::{Change, Changelog, StoreField, Table, split_table_key};

struct Counts {
    counts: Table<String, u64>,
}

impl StateStore for Counts {
    fn create(_: &TopicPartition) -> Self {
        Self { counts: Table::create("counts") }
    }

    fn drain_changes(
        &mut self,
        event: EventSeq,
        changelog: &mut Changelog<'_>,
    ) -> Result<(), CodecError> {
        self.counts.drain_changes(event, changelog)
    }

    fn undo_from(&mut self, event: EventSeq) {
        self.counts.undo_from(event);
    }

    fn commit_before(&mut self, event: EventSeq) {
        self.counts.commit_before(event);
    }

    fn restore(&mut self, change: Change<'_>) -> Result<(), CodecError> {
        let (_, key) = split_table_key(&change)?;
        self.counts.restore(key, change.value)
    }
}

struct Nobody;

impl CompletionSink<Counts> for Nobody {
    fn complete(&self, _: Completion<Counts>) {}
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    Nothing,
    StoreNotRolledBack,
    ChangelogRecordLeftOut,
}

fn task() -> Task<Counts> {
    let partition = TopicPartition::new("t", 0);
    let context = EventContext::new(partition, Arc::from("changelog"), Arc::new(Nobody));
    Task::new(PartitionId(0), context, None, Snapshot::at(0), None)
}

fn restored(changelog: &Outputs) -> Task<Counts> {
    let mut task = task();
    let headers = crate::record::Headers::default();
    for (offset, record) in (0..).zip(changelog.iter()) {
        let key = record.key.unwrap();
        let change = Change { offset, key, value: record.value, headers: &headers };
        task.context.store.restore(change).unwrap();
    }
    task
}

fn counts(task: &Task<Counts>) -> BTreeMap<String, u64> {
    let rows = task.context.store.counts.iter();
    rows.map(|(key, count)| (key.clone(), *count)).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % n
    }
}

/// One event: counts a key, or takes it away; one in eight fails.
fn event(task: &mut Task<Counts>, random: &mut Random) -> Option<(String, bool)> {
    let key = format!("k{}", random.below(5));
    task.context.begin(None);
    let mark = task.context.mark();
    let removes = random.below(6) == 0;
    match removes {
        true => drop(task.context.store.counts.remove(&key)),
        false => task.context.store.counts.update(key.clone(), |count| *count += 1),
    }
    if random.below(8) == 0 {
        task.context.undo_event(mark);
        return None;
    }
    task.context.seal(mark).unwrap();
    Some((key, removes))
}

fn run(seed: u64, planted: Planted) -> Result<(), String> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let (mut task, mut changelog) = (task(), Outputs::default());
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..200 {
        let mut transaction = expected.clone();
        for _ in 0..random.below(6) {
            match event(&mut task, &mut random) {
                Some((key, true)) => drop(transaction.remove(&key)),
                Some((key, false)) => *transaction.entry(key).or_default() += 1,
                None => {}
            }
        }
        match random.below(10) {
            0..=5 => {
                let last = task.context.event();
                let mut outputs = std::mem::take(task.context.outputs_mut());
                if planted == Planted::ChangelogRecordLeftOut && random.below(4) == 0 {
                    outputs.clear();
                }
                changelog.append(&mut outputs);
                task.context.store.commit_before(last.next());
                expected = transaction;
            }
            6..=8 if planted == Planted::StoreNotRolledBack => task.context.outputs_mut().clear(),
            6..=8 => drop(task.rewind()),
            _ => task = restored(&changelog),
        }
        if counts(&task) != expected {
            let found = counts(&task);
            return Err(format!("EOS-4: the store has {found:?}, not {expected:?}"));
        }
    }
    match counts(&restored(&changelog)) {
        found if found == expected => Ok(()),
        found => Err(format!("the changelog says {found:?}, not {expected:?}")),
    }
}

#[test]
fn eos4_store_and_changelog_follow_the_committed_events() {
    for seed in 1..200 {
        run(seed, Planted::Nothing).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn planted_bugs_are_caught() {
    for planted in [Planted::StoreNotRolledBack, Planted::ChangelogRecordLeftOut] {
        let caught = (1..50).filter(|seed| run(*seed, planted).is_err()).count();
        assert!(caught > 40, "{planted:?} is caught {caught} times only");
    }
}
