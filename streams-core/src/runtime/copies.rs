//! Which warm copies the workers hold, and which are wanted: the control thread's book.

use std::collections::BTreeSet;

/// The book. Partitions are numbers: a source has one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copies {
    /// By the group's last word.
    wanted: BTreeSet<i32>,
    /// Made, or being made.
    held: BTreeSet<i32>,
    /// Ours until they are drained: a copy can be made after that.
    closing: BTreeSet<i32>,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Copies to make.
    pub(crate) make: BTreeSet<i32>,
    /// Copies to forget.
    pub(crate) forget: BTreeSet<i32>,
}

impl Copies {
    /// A generation began: these copies are wanted, and these partitions are ours.
    pub(crate) fn joined(&mut self, wanted: BTreeSet<i32>, ours: impl Fn(i32) -> bool) -> Change {
        let is_free = |partition: &&i32| {
            !self.held.contains(partition)
                && !self.closing.contains(partition)
                && !ours(**partition)
        };
        let make: BTreeSet<i32> = wanted.iter().filter(is_free).copied().collect();
        // One that became ours goes on from its copy.
        let is_over = |partition: &&i32| !wanted.contains(partition) && !ours(**partition);
        let forget: BTreeSet<i32> = self.held.iter().filter(is_over).copied().collect();
        self.held.retain(|partition| !forget.contains(partition));
        self.held.extend(&make);
        self.wanted = wanted;
        Change { make, forget }
    }

    /// Whether a copy is still to be made.
    pub(crate) fn holds(&self, partition: i32) -> bool {
        self.held.contains(&partition)
    }

    /// The partition is ours no more. Whatever the worker has of it goes.
    pub(crate) fn revoked(&mut self, partition: i32) {
        self.held.remove(&partition);
        self.closing.insert(partition);
    }

    /// Whether it is ours until it is drained.
    pub(crate) fn is_closing(&self, partition: i32) -> bool {
        self.closing.contains(&partition)
    }

    /// The revoked partition is closed. Returns whether a copy is to be made now.
    pub(crate) fn drained(&mut self, partition: i32) -> bool {
        self.closing.remove(&partition)
            && self.wanted.contains(&partition)
            && self.held.insert(partition)
    }

    /// The worker's copy is none any more: it became its own partition, or is closed.
    pub(crate) fn taken(&mut self, partition: i32) {
        self.held.remove(&partition);
    }

    /// The partition was ours, and is not any more before it began. Returns whether to forget its
    /// copy.
    pub(crate) fn not_taken(&mut self, partition: i32) -> bool {
        !self.wanted.contains(&partition) && self.held.remove(&partition)
    }

    /// There is no copy.
    pub(crate) fn failed(&mut self, partition: i32) {
        self.held.remove(&partition);
        self.wanted.remove(&partition);
    }

    /// All partitions are lost, and none is being closed any more; copies stay.
    pub(crate) fn lost(&mut self) {
        self.closing.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(partitions: &[i32]) -> BTreeSet<i32> {
        partitions.iter().copied().collect()
    }

    fn change(make: &[i32], forget: &[i32]) -> Change {
        Change { make: set(make), forget: set(forget) }
    }

    #[test]
    fn copies_are_made_once_and_forgotten_when_they_are_not_wanted() {
        let mut copies = Copies::default();
        assert_eq!(copies.joined(set(&[1, 2]), |_| false), change(&[1, 2], &[]));
        assert_eq!(copies.joined(set(&[1, 2]), |_| false), change(&[], &[]));
        assert_eq!(copies.joined(set(&[2]), |_| false), change(&[], &[1]));
    }

    #[test]
    fn a_copy_that_becomes_ours_is_not_forgotten() {
        let mut copies = Copies::default();
        copies.joined(set(&[1]), |_| false);
        assert_eq!(copies.joined(set(&[]), |p| p == 1), change(&[], &[]));
        copies.taken(1);
        assert_eq!(copies.joined(set(&[]), |p| p == 1), change(&[], &[]));
    }

    #[test]
    fn a_copy_that_was_to_become_ours_and_does_not_is_forgotten() {
        let mut copies = Copies::default();
        copies.joined(set(&[1]), |_| false);
        copies.joined(set(&[]), |p| p == 1);
        assert!(copies.not_taken(1));
        assert!(!copies.holds(1));
    }

    #[test]
    fn the_old_owner_becomes_a_standby_once_its_partition_is_closed() {
        let mut copies = Copies::default();
        copies.revoked(3);
        assert_eq!(copies.joined(set(&[3]), |_| false), change(&[], &[]));
        assert!(copies.drained(3));
        assert!(copies.holds(3));
        assert!(!copies.drained(3), "once");
    }
}
