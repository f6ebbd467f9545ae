//! How to take changes back.

use std::collections::VecDeque;

use super::EventSeq;

/// What a store needs to undo its changes, in order, each with the event it belongs to.
///
/// `C` is whatever undoes one change: for a table the key and its former value.
#[derive(Clone, Debug)]
pub struct UndoLog<C> {
    changes: VecDeque<(EventSeq, C)>,
    /// The last so many belong to the current event, which has no number yet.
    pending: usize,
}

impl<C> Default for UndoLog<C> {
    fn default() -> Self {
        Self { changes: VecDeque::new(), pending: 0 }
    }
}

impl<C> UndoLog<C> {
    /// Remembers how to undo the change that is made now.
    pub fn push(&mut self, change: C) {
        self.changes.push_back((EventSeq(u64::MAX), change));
        self.pending += 1;
    }

    /// The latest change.
    pub fn last(&self) -> Option<&C> {
        self.changes.back().map(|(_, change)| change)
    }

    /// The changes since the last [`UndoLog::assign`], in order.
    pub fn pending(&self) -> impl ExactSizeIterator<Item = &C> {
        self.changes.iter().skip(self.changes.len() - self.pending).map(|(_, change)| change)
    }

    /// The changes since the last call belong to `event`.
    pub fn assign(&mut self, event: EventSeq) {
        let start = self.changes.len() - self.pending;
        let before = start.checked_sub(1).and_then(|last| self.changes.get(last));
        debug_assert!(before.is_none_or(|(last, _)| *last <= event), "events come in order");
        for (seq, _) in self.changes.range_mut(start..) {
            *seq = event;
        }
        self.pending = 0;
    }

    /// Takes the latest change, if it belongs to `event`, a later one, or none yet.
    /// Call it until it returns `None`, and undo each.
    pub fn pop_from(&mut self, event: EventSeq) -> Option<C> {
        let (seq, _) = self.changes.back()?;
        if *seq < event {
            return None;
        }
        self.pending = self.pending.saturating_sub(1);
        self.changes.pop_back().map(|(_, change)| change)
    }

    /// Takes the earliest change, if it belongs to an event before `event`: it is committed.
    /// Call it until it returns `None`.
    pub fn pop_before(&mut self, event: EventSeq) -> Option<C> {
        let (seq, _) = self.changes.front()?;
        if *seq >= event {
            return None;
        }
        self.changes.pop_front().map(|(_, change)| change)
    }

    /// Forgets the changes that belong to events before `event`: they are committed.
    pub fn commit_before(&mut self, event: EventSeq) {
        while self.pop_before(event).is_some() {}
    }

    /// How many changes could be undone.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there is nothing to undo.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(log: &mut UndoLog<u32>, from: u64) -> Vec<u32> {
        std::iter::from_fn(|| log.pop_from(EventSeq(from))).collect()
    }

    #[test]
    fn undo_is_latest_first_and_stops_at_the_event() {
        let mut log = UndoLog::default();
        for (event, changes) in [(1, vec![10, 11]), (2, vec![]), (3, vec![30])] {
            changes.into_iter().for_each(|change| log.push(change));
            log.assign(EventSeq(event));
        }
        log.push(40);
        assert_eq!(rest(&mut log, 3), [40, 30]);
        assert!(rest(&mut log, 2).is_empty());
        assert_eq!(rest(&mut log, 0), [11, 10]);
    }

    #[test]
    fn the_committed_is_not_undone() {
        let mut log = UndoLog::default();
        log.push(1);
        log.assign(EventSeq(1));
        log.push(2);
        log.assign(EventSeq(2));
        log.commit_before(EventSeq(2));
        assert_eq!(rest(&mut log, 0), [2]);
        assert!(log.is_empty());
    }

    #[test]
    fn pending_are_those_since_assign() {
        let mut log = UndoLog::default();
        log.push(1);
        log.assign(EventSeq(1));
        log.push(2);
        log.push(3);
        assert_eq!(log.pending().copied().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(log.pop_from(EventSeq(9)), Some(3));
        assert_eq!(log.pending().copied().collect::<Vec<_>>(), [2]);
    }
}
