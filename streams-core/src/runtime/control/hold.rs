//! Commits that are held while the generation changes, and partitions that stand still meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{ChangelogEnds, Control, Done, Word};
use crate::client::wire::Isolation;
use crate::group::{GroupCommand, Partitions};
use crate::runtime::error::SourceError;

/// The last hold of commits: who has still to do it, and what stands still.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// Which it is.
    pub(super) number: u64,
    /// Workers that have not stopped to commit yet.
    pub(super) committing: BTreeSet<usize>,
    /// Partitions that stand still, with nothing in a transaction.
    pub(super) drained: BTreeSet<i32>,
    /// Where the changelogs of those begin and end, if it was asked.
    pub(super) ends: ChangelogEnds,
}

impl Control {
    /// The generation is about to change: no commit begins, and what others prepare for stands
    /// still.
    pub(super) fn begin_hold(&mut self, number: u64, outgoing: &Partitions) {
        self.hold = Hold { number, committing: self.running.clone(), ..Hold::default() };
        let outgoing = if self.goes_on() { self.numbers(outgoing) } else { Vec::new() };
        for partition in outgoing {
            self.suspended.insert(partition);
            self.tell(self.worker_of(partition), Word::Suspend(self.partition(partition)));
        }
        self.tell_all(|| Word::Hold(number));
        self.if_held();
    }

    /// A worker commits no more, for now, and these partitions stand still.
    pub(super) fn held(&mut self, worker: usize, number: u64, drained: &[i32]) {
        if number == self.hold.number && self.hold.committing.remove(&worker) {
            self.hold.drained.extend(drained);
            self.if_held();
        }
    }

    pub(super) fn if_held(&mut self) {
        let Hold { number: hold, committing, drained, .. } = &self.hold;
        if !committing.is_empty() {
            return;
        }
        if drained.is_empty() || !self.keeps_standbys {
            return self.say_held();
        }
        // Their stores may be copies then, which follow from before the next owner writes.
        let (hold, partitions) = (*hold, drained.iter().copied().collect());
        let answer = move |ends| Done::HoldEnds { hold, ends };
        self.ask_ends(partitions, Isolation::ReadUncommitted, Duration::ZERO, answer);
    }

    /// It may have taken so long that some go on.
    pub(super) fn hold_ends(&mut self, hold: u64, ends: Result<ChangelogEnds, SourceError>) {
        if hold == self.hold.number {
            let mut ends = ends.unwrap_or_default();
            ends.retain(|partition, _| self.suspended.contains(partition));
            self.hold.drained.retain(|partition| ends.contains_key(partition));
            self.hold.ends = ends;
            self.say_held();
        }
    }

    pub(super) fn say_held(&self) {
        let drained = self.hold.drained.iter().flat_map(|number| self.name(*number)).collect();
        let _ = self.group.send(GroupCommand::Held(self.hold.number, drained));
    }

    /// What stands still of these goes on; nothing else is to stand still any more.
    pub(super) fn resume(&mut self, partitions: &Partitions) {
        for partition in self.numbers(partitions) {
            if self.suspended.remove(&partition) {
                self.hold.ends.remove(&partition);
                self.tell(self.worker_of(partition), Word::Resume(self.partition(partition)));
            }
        }
    }
}
