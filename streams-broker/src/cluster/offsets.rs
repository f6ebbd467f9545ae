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
