//! TxnOffsetCommit: offsets that count once their transaction commits (BRK-5).
//!
//! Only this request is fenced by member and generation (KIP-447), so that a consumer that was
//! expelled from its group can't commit through a producer that is still alive.

use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::commits::METADATA_CHARS_MAX;
use super::groups::Group;
use super::offsets::Offset;
use super::transactions::{Participant, renamed};
use super::{Cluster, codes};

/// Since this version a client knows `TRANSACTION_ABORTABLE`.
const ABORTABLE_SINCE: i16 = 4;
/// Since this version the group is taken into the transaction by itself (KIP-890).
const ADDS_SINCE: i16 = 5;

impl Cluster {
    pub(super) fn txn_offset_commit(
        &mut self,
        version: i16,
        request: &TxnOffsetCommitRequest,
    ) -> TxnOffsetCommitResponse {
        let all = request.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| (topic.name.as_str(), partition))
        });
        let known = all.filter(|(topic, at)| self.log(topic, at.partition_index).is_some());
        let allowed = match known.count() {
            0 => Ok(()),
            _ => self.may_commit_in_txn(version, request),
        };
        self.next_offset_commit += 1;
        let number = self.next_offset_commit;
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let place = (topic.name.to_string(), asked.partition_index);
                let size =
                    asked.committed_metadata.as_ref().map_or(0, |text| text.encode_utf16().count());
                let code = match allowed {
                    _ if self.log(&topic.name, asked.partition_index).is_none() => {
                        codes::UNKNOWN_TOPIC_OR_PARTITION
                    }
                    Err(code) => code,
                    Ok(()) if size > METADATA_CHARS_MAX => codes::OFFSET_METADATA_TOO_LARGE,
                    Ok(()) => codes::NONE,
                };
                if code == codes::NONE {
                    let offset = Offset {
                        offset: asked.committed_offset,
                        leader_epoch: asked.committed_leader_epoch,
                        metadata: asked.committed_metadata.clone(),
                        request: number,
                    };
                    let group = self.groups.entry(request.group_id.to_string()).or_default();
                    let pending = group.offsets.pending.entry(request.producer_id.0).or_default();
                    pending.insert(place, offset);
                }
                let response = TxnOffsetCommitResponsePartition::default();
                let response = response.with_partition_index(asked.partition_index);
                partitions.push(response.with_error_code(code));
            }
            let response = TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone());
            topics.push(response.with_partitions(partitions));
        }
        TxnOffsetCommitResponse::default().with_topics(topics)
    }

    /// Whether the producer and the member may commit; the producer is asked first, as in Kafka.
    fn may_commit_in_txn(
        &mut self,
        version: i16,
        request: &TxnOffsetCommitRequest,
    ) -> Result<(), i16> {
        if request.group_id.is_empty() {
            return Err(codes::INVALID_GROUP_ID);
        }
        let id = request.transactional_id.as_str();
        let producer = (request.producer_id.0, request.producer_epoch);
        let group = Participant::Group(request.group_id.to_string());
        let taken = match version >= ADDS_SINCE {
            true => self.transactions.add(id, producer, vec![group], self.now),
            false => self.transactions.verify(id, producer, &group),
        };
        taken.map_err(|code| match renamed(code, version, i16::MAX) {
            codes::TRANSACTION_ABORTABLE if version < ABORTABLE_SINCE => codes::INVALID_TXN_STATE,
            other => other,
        })?;
        let generation = request.generation_id;
        let member = (request.member_id.as_str(), request.group_instance_id.as_deref());
        // A client that is in no group names none of the three, and is not fenced: as in Kafka.
        let anonymous = generation < 0 && member.0.is_empty() && member.1.is_none();
        match self.groups.get_mut(request.group_id.as_str()) {
            None if generation < 0 => Ok(()),
            None => Err(codes::ILLEGAL_GENERATION),
            Some(_) if anonymous => Ok(()),
            Some(group) if generation < 0 && group.members.is_empty() => Ok(()),
            Some(group) => group.check(member, generation),
        }
    }

    /// Makes a transaction's offsets count, or forgets them.
    pub(super) fn end_pending_offsets(&mut self, group: &str, producer_id: i64, commit: bool) {
        let Some(Group { offsets, .. }) = self.groups.get_mut(group) else {
            return;
        };
        let pending = offsets.pending.remove(&producer_id).unwrap_or_default();
        if commit {
            pending.into_iter().for_each(|(place, offset)| offsets.commit(place, offset));
        }
    }
}
