//! Committed offsets of groups, plain and in transactions.
//!
//! **BRK-5** An offset in a transaction is not seen before the commit, and never after an abort.

use std::collections::BTreeMap;

use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TopicName, TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Cluster, codes};

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
    committed: BTreeMap<Place, Offset>,
    /// By producer.
    pending: BTreeMap<i64, BTreeMap<Place, Offset>>,
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

impl Cluster {
    pub(super) fn end_pending_offsets(&mut self, group: &str, producer_id: i64, commit: bool) {
        let Some(group) = self.groups.get_mut(group) else {
            return;
        };
        let pending = group.offsets.pending.remove(&producer_id).unwrap_or_default();
        if commit {
            pending.into_iter().for_each(|(place, offset)| group.offsets.commit(place, offset));
        }
    }

    pub(super) fn txn_offset_commit(
        &mut self,
        request: &TxnOffsetCommitRequest,
    ) -> TxnOffsetCommitResponse {
        let owned = self.transactions.owned(
            &request.transactional_id,
            request.producer_id.0,
            request.producer_epoch,
            codes::INVALID_PRODUCER_EPOCH,
        );
        let added = match owned {
            Err(code) => Err(code),
            Ok(txn) if !txn.groups.contains(request.group_id.as_str()) => {
                Err(codes::INVALID_TXN_STATE)
            }
            Ok(_) => Ok(()),
        };
        let group = self.groups.entry(request.group_id.to_string()).or_default();
        let member = (request.member_id.as_str(), request.group_instance_id.as_deref());
        let allowed = added.and_then(|()| {
            // Generation -1 without a member is a client that is in no group: not fenced, as in
            // Kafka.
            let anonymous = request.generation_id < 0 && member.0.is_empty();
            if anonymous { Ok(()) } else { group.check(member, request.generation_id) }
        });
        self.next_offset_commit += 1;
        let number = self.next_offset_commit;
        let mut topics = Vec::new();
        for topic in &request.topics {
            let mut partitions = Vec::new();
            for partition in &topic.partitions {
                let offset = Offset {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.clone(),
                    request: number,
                };
                let place = (topic.name.to_string(), partition.partition_index);
                if allowed.is_ok() {
                    let pending = group.offsets.pending.entry(request.producer_id.0).or_default();
                    pending.insert(place, offset);
                }
                let response = TxnOffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(allowed.err().unwrap_or(codes::NONE));
                partitions.push(response);
            }
            let response = TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone());
            topics.push(response.with_partitions(partitions));
        }
        TxnOffsetCommitResponse::default().with_topics(topics)
    }
}
