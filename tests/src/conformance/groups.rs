//! Groups, their members and their offsets: the short forms that cases use.

use anyhow::{Context, Result};
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest, TopicName,
};

use super::connection::Connection;
use super::ctx::{Ctx, code, is_transient, text, wait};

pub(super) const JOIN: i16 = 9;
pub(super) const SYNC: i16 = 5;
pub(super) const HEARTBEAT: i16 = 4;
const LEAVE: i16 = 5;
const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 7;
/// The shortest session that Kafka allows by default.
pub(super) const SESSION_MS: i32 = 6_000;

/// In whose name a group is spoken to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speaker<'a> {
    pub(super) group: &'a str,
    pub(super) member: &'a str,
    pub(super) generation: i32,
    pub(super) instance: Option<&'a str>,
}

impl<'a> Speaker<'a> {
    /// A client that is in no group.
    pub(super) const fn nobody(group: &'a str) -> Self {
        Self { group, member: "", generation: -1, instance: None }
    }

    pub(super) const fn new(group: &'a str, member: &'a str, generation: i32) -> Self {
        Self { group, member, generation, instance: None }
    }
}

/// A member of a group, with a connection of its own: its requests may wait for others.
#[derive(Debug)]
pub(super) struct Member {
    connection: Connection,
    pub(super) group: String,
    pub(super) id: String,
    pub(super) generation: i32,
    pub(super) instance: Option<String>,
    pub(super) protocols: Vec<(String, String)>,
    pub(super) session_ms: i32,
    pub(super) rebalance_ms: i32,
    /// What the group agreed on.
    pub(super) protocol: String,
}

impl Member {
    pub(super) fn speaker(&self) -> Speaker<'_> {
        Speaker {
            group: &self.group,
            member: &self.id,
            generation: self.generation,
            instance: self.instance.as_deref(),
        }
    }

    pub(super) fn offers(mut self, protocols: &[(&str, &str)]) -> Self {
        self.protocols =
            protocols.iter().map(|(n, m)| ((*n).to_owned(), (*m).to_owned())).collect();
        self
    }

    pub(super) fn instance(mut self, instance: &str) -> Self {
        self.instance = Some(instance.to_owned());
        self
    }

    pub(super) const fn timeouts(mut self, session_ms: i32, rebalance_ms: i32) -> Self {
        (self.session_ms, self.rebalance_ms) = (session_ms, rebalance_ms);
        self
    }

    pub(super) fn join_request(&self) -> JoinGroupRequest {
        let protocol = |(name, metadata): &(String, String)| {
            JoinGroupRequestProtocol::default()
                .with_name(text(name))
                .with_metadata(Bytes::copy_from_slice(metadata.as_bytes()))
        };
        JoinGroupRequest::default()
            .with_group_id(text(&self.group).into())
            .with_session_timeout_ms(self.session_ms)
            .with_rebalance_timeout_ms(self.rebalance_ms)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.as_ref().map(text))
            .with_protocol_type(text("consumer"))
            .with_protocols(self.protocols.iter().map(protocol).collect())
    }

    /// Sends JoinGroup; [`Ctx::joined`] takes the answer.
    pub(super) fn send_join(&mut self) -> Result<()> {
        let request = self.join_request();
        self.connection.send(JOIN, &request)
    }

    /// Sends SyncGroup, with an assignment for each of `assigned`; [`Ctx::synced`] takes the
    /// answer.
    pub(super) fn send_sync(&mut self, assigned: &[(&str, &str)]) -> Result<()> {
        let request =
            sync_request(&self.speaker(), assigned).with_protocol_name(Some(text(&self.protocol)));
        self.connection.send(SYNC, &request)
    }

    fn learn(&mut self, response: &JoinGroupResponse) {
        self.id = response.member_id.to_string();
        self.generation = response.generation_id;
        self.protocol = response.protocol_name.as_deref().unwrap_or_default().to_owned();
    }
}

pub(super) fn sync_request(speaker: &Speaker<'_>, assigned: &[(&str, &str)]) -> SyncGroupRequest {
    let assignment = |(member, assignment): &(&str, &str)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(Bytes::copy_from_slice(assignment.as_bytes()))
    };
    SyncGroupRequest::default()
        .with_group_id(text(speaker.group).into())
        .with_generation_id(speaker.generation)
        .with_member_id(text(speaker.member))
        .with_group_instance_id(speaker.instance.map(text))
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
        .with_assignments(assigned.iter().map(assignment).collect())
}

impl Ctx {
    /// A member that has not joined yet.
    pub(super) fn member(&self, group: &str) -> Result<Member> {
        Ok(Member {
            connection: self.connect()?,
            group: group.to_owned(),
            id: String::new(),
            generation: -1,
            instance: None,
            protocols: vec![("range".to_owned(), "meta".to_owned())],
            session_ms: SESSION_MS,
            rebalance_ms: 10_000,
            protocol: "range".to_owned(),
        })
    }

    /// A group in another partition of the coordinator's topic than `group`: Kafka adds to a
    /// transaction that partition, and so all groups in it.
    pub(super) fn group_elsewhere(&self, group: &str) -> String {
        let place = |group: &str| {
            let next = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
            let hash = group.encode_utf16().fold(0_i32, next) & i32::MAX;
            (hash % 5, hash % 50)
        };
        let (small, large) = place(group);
        let differs = |other: &String| place(other).0 != small && place(other).1 != large;
        let mut names = (0..).map(|number| self.name(&format!("other{number}")));
        names.find(differs).unwrap_or_default()
    }

    /// Joins, with a second request if the first only gave an id; writes the last answer.
    pub(super) fn join(&mut self, label: &str, member: &mut Member) -> Result<i16> {
        self.enter(member)?;
        self.joined(label, member)
    }

    /// Sends JoinGroup under an id that the broker knows: the answer is still to be taken.
    pub(super) fn enter(&mut self, member: &mut Member) -> Result<()> {
        if member.id.is_empty() && member.instance.is_none() {
            let request = member.join_request();
            member.id = wait("an id for a member", || {
                let response = member.connection.call(JOIN, &request)?;
                Ok((!is_transient(response.error_code)).then(|| response.member_id.to_string()))
            })?;
        }
        member.send_join()
    }

    /// Takes the answer to JoinGroup, and writes it.
    pub(super) fn joined(&mut self, label: &str, member: &mut Member) -> Result<i16> {
        let response = member.connection.receive::<JoinGroupRequest>(JOIN)?;
        self.say_joined(label, &response);
        if response.error_code == 0 {
            member.learn(&response);
        }
        Ok(response.error_code)
    }

    pub(super) fn say_joined(&mut self, label: &str, response: &JoinGroupResponse) {
        let mut line = format!("{label}: {}", code(response.error_code));
        if response.error_code == 0 {
            let me = self.alias("m", response.member_id.as_str());
            let leader = self.alias("m", response.leader.as_str());
            let protocol = response.protocol_name.as_deref().unwrap_or("-");
            line += &format!(
                " {me} in generation {}, {protocol}, led by {leader}",
                response.generation_id
            );
            if response.skip_assignment {
                line += ", which need not assign";
            }
            let mut members: Vec<String> = response
                .members
                .iter()
                .map(|member| {
                    let alias = self.alias("m", member.member_id.as_str());
                    let instance = member.group_instance_id.as_deref().unwrap_or("-");
                    let metadata = String::from_utf8_lossy(&member.metadata).into_owned();
                    format!("{alias} {instance} {metadata}")
                })
                .collect();
            members.sort();
            if !members.is_empty() {
                line += &format!("; members: {}", members.join(", "));
            }
        }
        self.say(line);
    }

    /// Sends SyncGroup and writes the answer.
    pub(super) fn sync(
        &mut self,
        label: &str,
        member: &mut Member,
        assigned: &[(&str, &str)],
    ) -> Result<i16> {
        member.send_sync(assigned)?;
        self.synced(label, member)
    }

    /// Takes the answer to SyncGroup, and writes it.
    pub(super) fn synced(&mut self, label: &str, member: &mut Member) -> Result<i16> {
        let response = member.connection.receive::<SyncGroupRequest>(SYNC)?;
        let mut line = format!("{label}: {}", code(response.error_code));
        if response.error_code == 0 {
            let assigned = String::from_utf8_lossy(&response.assignment);
            let kind = response.protocol_type.as_deref().unwrap_or("-");
            let name = response.protocol_name.as_deref().unwrap_or("-");
            line += &format!(" `{assigned}` {kind} {name}");
        }
        self.say(line);
        Ok(response.error_code)
    }

    /// One member, joined, its assignment given: the shortest way to a stable group.
    pub(super) fn alone(&mut self, group: &str) -> Result<Member> {
        let mut member = self.member(group)?;
        self.settle_alone(&mut member)?;
        Ok(member)
    }

    pub(super) fn settle_alone(&mut self, member: &mut Member) -> Result<()> {
        self.enter(member)?;
        let response = member.connection.receive::<JoinGroupRequest>(JOIN)?;
        member.learn(&response);
        let id = member.id.clone();
        member.send_sync(&[(&id, "all")])?;
        let synced = member.connection.receive::<SyncGroupRequest>(SYNC)?;
        if response.error_code != 0 || synced.error_code != 0 {
            let (join, sync) = (code(response.error_code), code(synced.error_code));
            self.say(format!("a group of one: join {join}, sync {sync}"));
        }
        Ok(())
    }

    pub(super) fn heartbeat(&mut self, label: &str, speaker: &Speaker<'_>) -> Result<i16> {
        let answer = self.heartbeat_code(speaker)?;
        self.say(format!("{label}: {}", code(answer)));
        Ok(answer)
    }

    pub(super) fn heartbeat_code(&mut self, speaker: &Speaker<'_>) -> Result<i16> {
        let request = HeartbeatRequest::default()
            .with_group_id(text(speaker.group).into())
            .with_generation_id(speaker.generation)
            .with_member_id(text(speaker.member))
            .with_group_instance_id(speaker.instance.map(text));
        Ok(self.call(HEARTBEAT, &request)?.error_code)
    }

    /// Leaves, in the newest version: by member id, by instance id, or by both.
    pub(super) fn leave(&mut self, label: &str, group: &str, who: &[Speaker<'_>]) -> Result<()> {
        let identity = |speaker: &Speaker<'_>| {
            MemberIdentity::default()
                .with_member_id(text(speaker.member))
                .with_group_instance_id(speaker.instance.map(text))
        };
        let request = LeaveGroupRequest::default()
            .with_group_id(text(group).into())
            .with_members(who.iter().map(identity).collect());
        let response = self.call(LEAVE, &request)?;
        let members: Vec<String> = response
            .members
            .iter()
            .map(|member| {
                let instance = member.group_instance_id.as_deref().unwrap_or("-");
                let id = match member.member_id.as_str() {
                    "" => "-".to_owned(),
                    id => self.alias("m", id),
                };
                format!("{id} {instance} {}", code(member.error_code))
            })
            .collect();
        self.say(format!("{label}: {} [{}]", code(response.error_code), members.join(", ")));
        Ok(())
    }

    /// Commits an offset, and writes the answer.
    pub(super) fn commit(
        &mut self,
        label: &str,
        speaker: &Speaker<'_>,
        (topic, partition, offset): (&str, i32, i64),
    ) -> Result<i16> {
        let request = commit_request(speaker, &[(topic, partition, offset)]);
        let answer = wait("an answer to OffsetCommit", || {
            let response = self.call(OFFSET_COMMIT, &request)?;
            let topic = response.topics.first().context("no topic")?;
            let answer = topic.partitions.first().context("no partition")?.error_code;
            Ok((!is_transient(answer)).then_some(answer))
        })?;
        self.say(format!("{label}: {}", code(answer)));
        Ok(answer)
    }

    /// Writes a group's offset of a partition.
    pub(super) fn committed(
        &mut self,
        label: &str,
        group: &str,
        topic: &str,
        partition: i32,
        require_stable: bool,
    ) -> Result<()> {
        let topics = vec![offsets_of(topic, &[partition])];
        let request = OffsetFetchRequest::default()
            .with_group_id(text(group).into())
            .with_topics(Some(topics))
            .with_require_stable(require_stable);
        let response = self.call(OFFSET_FETCH, &request)?;
        let topic = response.topics.first().context("no topic")?;
        let found = topic.partitions.first().context("no partition")?;
        self.say(format!(
            "{label}: {} {} offset {} epoch {} `{}`",
            code(response.error_code),
            code(found.error_code),
            found.committed_offset,
            found.committed_leader_epoch,
            found.metadata.as_deref().unwrap_or("-"),
        ));
        Ok(())
    }

    /// A group's offset of a partition, or -1.
    pub(super) fn committed_offset(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
    ) -> Result<i64> {
        let request = OffsetFetchRequest::default()
            .with_group_id(text(group).into())
            .with_topics(Some(vec![offsets_of(topic, &[partition])]));
        let response = self.call(OFFSET_FETCH, &request)?;
        let topic = response.topics.first().context("no topic")?;
        Ok(topic.partitions.first().context("no partition")?.committed_offset)
    }

    /// Waits until no offset of the partition is pending in a transaction.
    pub(super) fn settle_offsets(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
    ) -> Result<()> {
        let topics = vec![offsets_of(topic, &[partition])];
        let request = OffsetFetchRequest::default()
            .with_group_id(text(group).into())
            .with_topics(Some(topics))
            .with_require_stable(true);
        wait("the group's stable offset", || {
            let response = self.call(OFFSET_FETCH, &request)?;
            let topic = response.topics.first().context("no topic")?;
            let found = topic.partitions.first().context("no partition")?;
            Ok((found.error_code == 0).then_some(()))
        })
    }
}

pub(super) fn offsets_of(topic: &str, partitions: &[i32]) -> OffsetFetchRequestTopic {
    OffsetFetchRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partition_indexes(partitions.to_vec())
}

pub(super) fn commit_request(
    speaker: &Speaker<'_>,
    offsets: &[(&str, i32, i64)],
) -> OffsetCommitRequest {
    let topic = |(topic, partition, offset): &(&str, i32, i64)| {
        let asked = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(text("meta")));
        OffsetCommitRequestTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![asked])
    };
    OffsetCommitRequest::default()
        .with_group_id(text(speaker.group).into())
        .with_generation_id_or_member_epoch(speaker.generation)
        .with_member_id(text(speaker.member))
        .with_group_instance_id(speaker.instance.map(text))
        .with_topics(offsets.iter().map(topic).collect())
}
