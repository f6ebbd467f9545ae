//! Committed offsets of groups, plain and in transactions.
//!
//! **BRK-5** An offset in a transaction is not seen before the commit, and never after an abort.

use std::collections::BTreeMap;

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

type Place = (String, i32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offset {
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) metadata: Option<StrBytes>,
    /// The number of its request: a later one wins, in whatever order they become visible.
    pub(super) request: u64,
}

/// A group's offsets.
#[derive(Clone, Debug, Default)]
pub(super) struct Offsets {
    pub(super) committed: BTreeMap<Place, Offset>,
    /// By producer.
    pub(super) pending: BTreeMap<i64, BTreeMap<Place, Offset>>,
}

impl Offsets {
    pub(super) fn is_unstable(&self, place: &Place) -> bool {
        self.pending.values().any(|offsets| offsets.contains_key(place))
    }

    pub(super) fn commit(&mut self, place: Place, offset: Offset) {
        let newer = self.committed.get(&place).is_none_or(|known| known.request < offset.request);
        if newer {
            self.committed.insert(place, offset);
        }
    }

    pub(super) fn get(&self, place: &Place) -> Option<&Offset> {
        self.committed.get(place)
    }

    /// Forgets an offset, and what a transaction has pending for it.
    pub(super) fn remove(&mut self, place: &Place) {
        self.committed.remove(place);
        self.pending.values_mut().for_each(|offsets| drop(offsets.remove(place)));
        self.pending.retain(|_, offsets| !offsets.is_empty());
    }

    /// Forgets the offsets of a topic that is deleted.
    pub(super) fn remove_topic(&mut self, name: &str) {
        self.committed.retain(|(topic, _), _| topic != name);
        self.pending.values_mut().for_each(|o| o.retain(|(topic, _), _| topic != name));
        self.pending.retain(|_, offsets| !offsets.is_empty());
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// If something doesn't.
    pub(super) fn check_invariants(&self) {
        for (place, pending) in self.pending.values().flatten() {
            let committed = self.committed.get(place).map(|offset| offset.request);
            let is_visible = committed == Some(pending.request);
            assert!(!is_visible, "BRK-5: an offset is committed before its transaction");
        }
    }

    /// The partitions with a committed offset, by topic.
    pub(super) fn committed_places(&self) -> Vec<(TopicName, Vec<i32>)> {
        let mut places: Vec<(TopicName, Vec<i32>)> = Vec::new();
        for (topic, partition) in self.committed.keys() {
            match places.last_mut().filter(|(name, _)| name.as_str() == topic) {
                Some((_, partitions)) => partitions.push(*partition),
                None => {
                    let name = TopicName(StrBytes::from_string(topic.clone()));
                    places.push((name, vec![*partition]));
                }
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(request: u64) -> Offset {
        Offset { offset: 5, leader_epoch: -1, metadata: None, request }
    }

    #[test]
    #[should_panic(expected = "BRK-5")]
    fn brk5_an_offset_that_is_committed_before_its_transaction_is_found_out() {
        let (mut offsets, place) = (Offsets::default(), ("t".to_owned(), 0));
        offsets.pending.entry(1).or_default().insert(place.clone(), offset(2));
        offsets.check_invariants();
        offsets.commit(place, offset(2));
        offsets.check_invariants();
    }
}
