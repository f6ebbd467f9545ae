//! Offsets of groups: committed, fetched, deleted, outside of transactions.

use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    ConsumerProtocolSubscription, GroupId, OffsetCommitRequest, OffsetCommitResponse,
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, StrBytes};

use super::groups::{Group, GroupState};
use super::offsets::{Offset, Offsets};
use super::{Cluster, codes};

/// The longest metadata of a committed offset (`offset.metadata.max.bytes`).
pub(super) const METADATA_CHARS_MAX: usize = 4_096;

/// Topics with their partitions, as a request asks for them.
type Asked = Vec<(TopicName, Vec<i32>)>;

impl Cluster {
    pub(super) fn offset_commit(
        &mut self,
        version: i16,
        request: &OffsetCommitRequest,
    ) -> OffsetCommitResponse {
        let allowed = self.may_commit(version, request);
        self.next_offset_commit += 1;
        let number = self.next_offset_commit;
        let mut topics = Vec::new();
        for topic in &request.topics {
            let mut partitions = Vec::new();
            for partition in &topic.partitions {
                let metadata = partition.committed_metadata.as_ref();
                let long = |metadata: &StrBytes| metadata.encode_utf16().count();
                let code = if self.log(&topic.name, partition.partition_index).is_none() {
                    codes::UNKNOWN_TOPIC_OR_PARTITION
                } else if let Err(code) = allowed {
                    code
                } else if metadata.map_or(0, long) > METADATA_CHARS_MAX {
                    codes::OFFSET_METADATA_TOO_LARGE
                } else {
                    codes::NONE
                };
                if code == codes::NONE
                    && let Some(group) = self.groups.get_mut(request.group_id.as_str())
                {
                    let offset = Offset {
                        offset: partition.committed_offset,
                        leader_epoch: partition.committed_leader_epoch,
                        metadata: partition.committed_metadata.clone(),
                        request: number,
                    };
                    let place = (topic.name.to_string(), partition.partition_index);
                    group.offsets.commit(place, offset);
                }
                let response = OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code);
                partitions.push(response);
            }
            let response = OffsetCommitResponseTopic::default().with_name(topic.name.clone());
            topics.push(response.with_partitions(partitions));
        }
        OffsetCommitResponse::default().with_topics(topics)
    }

    /// Whether the sender may commit for the group. A group that nobody is in is made for one that
    /// uses it for its offsets alone.
    fn may_commit(&mut self, version: i16, request: &OffsetCommitRequest) -> Result<(), i16> {
        let (now, generation) = (self.now, request.generation_id_or_member_epoch);
        let known = |topic: &TopicName, partition| self.log(topic, partition).is_some();
        let some = request
            .topics
            .iter()
            .any(|topic| topic.partitions.iter().any(|p| known(&topic.name, p.partition_index)));
        if !some {
            // Nothing of it gets to the coordinator.
            return Ok(());
        }
        let group_id = request.group_id.as_str();
        if !self.groups.contains_key(group_id) {
            match (generation < 0, version >= 9) {
                (true, _) => {}
                (false, true) => return Err(codes::GROUP_ID_NOT_FOUND),
                (false, false) => return Err(codes::ILLEGAL_GENERATION),
            }
        }
        let group = self.groups.entry(group_id.to_owned()).or_default();
        if generation < 0 && group.state == GroupState::Empty {
            return Ok(());
        }
        let member = (request.member_id.as_str(), request.group_instance_id.as_deref());
        if generation < 0 && member.0.is_empty() && member.1.is_none() {
            return Err(codes::UNKNOWN_MEMBER_ID);
        }
        group.check(member, generation)?;
        match group.state {
            GroupState::Completing => Err(codes::REBALANCE_IN_PROGRESS),
            GroupState::Empty | GroupState::Preparing(_) | GroupState::Stable => {
                group.heard_of(now, member.0);
                Ok(())
            }
        }
    }

    pub(super) fn offset_fetch(
        &self,
        version: i16,
        request: &OffsetFetchRequest,
    ) -> OffsetFetchResponse {
        if version < 8 {
            let asked = request.topics.as_ref().map(|topics| {
                topics.iter().map(|t| (t.name.clone(), t.partition_indexes.clone())).collect()
            });
            let topics = self.fetch_offsets(&request.group_id, asked, request.require_stable);
            return OffsetFetchResponse::default().with_topics(topics);
        }
        let groups = request.groups.iter().map(|group| {
            let asked = group.topics.as_ref().map(|topics| {
                topics.iter().map(|t| (t.name.clone(), t.partition_indexes.clone())).collect()
            });
            let topics = self.fetch_offsets(&group.group_id, asked, request.require_stable);
            let topics = topics.into_iter().map(as_of_version_8).collect();
            let response = OffsetFetchResponseGroup::default();
            response.with_group_id(group.group_id.clone()).with_topics(topics)
        });
        OffsetFetchResponse::default().with_groups(groups.collect())
    }

    /// The offsets asked for, or all that there are.
    fn fetch_offsets(
        &self,
        group: &GroupId,
        asked: Option<Asked>,
        require_stable: bool,
    ) -> Vec<OffsetFetchResponseTopic> {
        let none = Offsets::default();
        let offsets = self.groups.get(group.as_str()).map_or(&none, |group| &group.offsets);
        let asked = asked.unwrap_or_else(|| offsets.committed_places());
        let of = |name: &TopicName, partition: i32| {
            let place = (name.to_string(), partition);
            let response = OffsetFetchResponsePartition::default()
                .with_partition_index(partition)
                .with_committed_offset(-1)
                .with_committed_leader_epoch(-1)
                .with_metadata(Some(StrBytes::default()));
            if require_stable && offsets.is_unstable(&place) {
                return response.with_error_code(codes::UNSTABLE_OFFSET_COMMIT);
            }
            match offsets.get(&place) {
                None => response,
                Some(offset) => response
                    .with_committed_offset(offset.offset)
                    .with_committed_leader_epoch(offset.leader_epoch)
                    .with_metadata(offset.metadata.clone().or_else(|| Some(StrBytes::default()))),
            }
        };
        let topic = |(name, partitions): (TopicName, Vec<i32>)| {
            let partitions = partitions.into_iter().map(|partition| of(&name, partition)).collect();
            OffsetFetchResponseTopic::default().with_partitions(partitions).with_name(name)
        };
        asked.into_iter().map(topic).collect()
    }

    pub(super) fn offset_delete(&mut self, request: &OffsetDeleteRequest) -> OffsetDeleteResponse {
        let response = OffsetDeleteResponse::default();
        let Some(group) = self.groups.get(request.group_id.as_str()) else {
            return response.with_error_code(codes::GROUP_ID_NOT_FOUND);
        };
        let consumers = group.protocol_type.as_deref() == Some("consumer");
        if group.state != GroupState::Empty && !consumers {
            return response.with_error_code(codes::NON_EMPTY_GROUP);
        }
        let subscribed = group.subscribed_topics();
        let mut topics = Vec::new();
        for topic in &request.topics {
            let is_subscribed =
                subscribed.as_ref().map_or(consumers, |names| names.contains(topic.name.as_str()));
            let mut partitions = Vec::new();
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let code = if self.log(&topic.name, index).is_none() {
                    codes::UNKNOWN_TOPIC_OR_PARTITION
                } else if is_subscribed {
                    codes::GROUP_SUBSCRIBED_TO_TOPIC
                } else {
                    codes::NONE
                };
                if code == codes::NONE
                    && let Some(group) = self.groups.get_mut(request.group_id.as_str())
                {
                    group.offsets.remove(&(topic.name.to_string(), index));
                }
                let response = OffsetDeleteResponsePartition::default();
                partitions.push(response.with_partition_index(index).with_error_code(code));
            }
            let response = OffsetDeleteResponseTopic::default().with_name(topic.name.clone());
            topics.push(response.with_partitions(partitions));
        }
        response.with_topics(topics)
    }
}

/// The same topic, as it is written from version 8 on.
fn as_of_version_8(topic: OffsetFetchResponseTopic) -> OffsetFetchResponseTopics {
    let partition = |partition: OffsetFetchResponsePartition| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(partition.partition_index)
            .with_committed_offset(partition.committed_offset)
            .with_committed_leader_epoch(partition.committed_leader_epoch)
            .with_metadata(partition.metadata)
            .with_error_code(partition.error_code)
    };
    OffsetFetchResponseTopics::default()
        .with_name(topic.name)
        .with_partitions(topic.partitions.into_iter().map(partition).collect())
}

impl Group {
    /// The topics that the members say they read; `None` if they don't say it in the consumer
    /// protocol.
    fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if self.protocol_type.as_deref() != Some("consumer") {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let metadata = member.metadata(self.protocol.as_deref()?);
            topics.extend(subscription(metadata)?);
        }
        Some(topics)
    }
}

/// The topics of a subscription: its version, then what version 0 begins with.
fn subscription(metadata: Bytes) -> Option<Vec<String>> {
    let mut bytes = metadata.slice_ref(metadata.get(2..)?);
    let count = bytes.get(..4).and_then(|count| count.try_into().ok()).map(i32::from_be_bytes)?;
    // Each name takes two bytes at least: the library would allocate whatever is claimed.
    if usize::try_from(count).ok()? > bytes.len() / 2 {
        return None;
    }
    let subscription = ConsumerProtocolSubscription::decode(&mut bytes, 0).ok()?;
    Some(subscription.topics.iter().map(|topic| topic.to_string()).collect())
}
