//! The commit pause: the workers begin no commit while the generation may end, and suspend the
//! partitions that the member may release.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{ChangelogEnds, Control, Done, Word};
use crate::client::wire::Isolation;
use crate::group::{GroupCommand, Partitions};
use crate::runtime::error::SourceError;

/// The last commit pause: which workers still commit, and which partitions are suspended.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// The number of the commit pause.
    pub(super) number: u64,
    /// The workers that have a commit under way.
    pub(super) committing: BTreeSet<usize>,
    /// Suspended partitions without an event in a pending transaction.
    pub(super) drained: BTreeSet<i32>,
    /// Where their changelogs begin and end, if the control thread has read it.
    pub(super) ends: ChangelogEnds,
}

impl Control {
    /// The member is about to send JoinGroup: the workers begin no commit, and suspend the outgoing
    /// partitions.
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

    /// A worker has no commit under way any more, and has drained these suspended partitions.
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
        // Their stores may become copies, which need the changelog's end from before the next owner
        // writes.
        let (hold, partitions) = (*hold, drained.iter().copied().collect());
        let answer = move |ends| Done::HoldEnds { hold, ends };
        self.ask_ends(partitions, Isolation::ReadUncommitted, Duration::ZERO, answer);
    }

    /// The control thread has read the changelogs' ends. The group may have resumed some of the
    /// partitions meanwhile.
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

    /// Resumes those of these partitions that are suspended.
    pub(super) fn resume(&mut self, partitions: &Partitions) {
        for partition in self.numbers(partitions) {
            if self.suspended.remove(&partition) {
                self.hold.ends.remove(&partition);
                self.tell(self.worker_of(partition), Word::Resume(self.partition(partition)));
            }
        }
    }
}
