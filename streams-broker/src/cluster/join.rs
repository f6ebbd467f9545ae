//! JoinGroup: a barrier that all members of a group pass together.

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{
    JoinGroupRequest, JoinGroupResponse, ResponseKind, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::groups::{Group, GroupMember, GroupState};
use super::{Cluster, RequestId, codes};

const SESSION_TIMEOUT_MS: std::ops::RangeInclusive<i32> = 500..=1_800_000;
/// So long a member id that was given out waits for its member.
const PROMISE_MS: i64 = 10_000;

impl Cluster {
    pub(super) fn join_group(&mut self, id: RequestId, version: i16, request: JoinGroupRequest) {
        if let Err((code, member_id)) = self.try_join(id, version, &request) {
            let response = JoinGroupResponse::default()
                .with_error_code(code)
                .with_generation_id(-1)
                .with_protocol_name((version < 7).then(StrBytes::default))
                .with_member_id(StrBytes::from_string(member_id));
            self.reply(id, ResponseKind::JoinGroup(response));
        }
    }

    fn try_join(
        &mut self,
        id: RequestId,
        version: i16,
        request: &JoinGroupRequest,
    ) -> Result<(), (i16, String)> {
        let asked = request.member_id.to_string();
        let refuse = |code: i16| (code, asked.clone());
        if request.group_id.is_empty() {
            return Err(refuse(codes::INVALID_GROUP_ID));
        }
        if !SESSION_TIMEOUT_MS.contains(&request.session_timeout_ms) {
            return Err(refuse(codes::INVALID_SESSION_TIMEOUT));
        }
        let instance = request.group_instance_id.as_deref();
        let now = self.now;
        let fresh_id = format!("{}-{}", instance.unwrap_or("member"), self.next_member);
        let group = self.groups.entry(request.group_id.to_string()).or_default();
        let joining = GroupMember::of(now, id, version, request);
        if !fits(group, &joining, &request.protocol_type) {
            return Err(refuse(codes::INCONSISTENT_GROUP_PROTOCOL));
        }
        if !asked.is_empty() {
            let known = group.members.contains_key(&asked);
            let holder = instance.and_then(|instance| group.holder_of(instance));
            if holder.is_some_and(|holder| holder != asked) {
                return Err(refuse(codes::FENCED_INSTANCE_ID));
            }
            if !known && group.promised.remove(&asked).is_none() {
                return Err(refuse(codes::UNKNOWN_MEMBER_ID));
            }
            self.admit(&request.group_id, asked, joining, &request.protocol_type);
            return Ok(());
        }
        self.next_member += 1;
        match instance.and_then(|instance| group.holder_of(instance)) {
            Some(former) => {
                let protocol_type = request.protocol_type.to_string();
                self.replace(&request.group_id, &former, fresh_id, joining, &protocol_type);
                Ok(())
            }
            // KIP-394: an id first, so that a client that gives up leaves no member behind.
            None if version >= 4 && instance.is_none() => {
                group.promised.insert(fresh_id.clone(), now + PROMISE_MS);
                Err((codes::MEMBER_ID_REQUIRED, fresh_id))
            }
            None => {
                self.admit(&request.group_id, fresh_id, joining, &request.protocol_type);
                Ok(())
            }
        }
    }

    /// KIP-345: a static member that comes back takes its former self's place, which is fenced. If
    /// it says the same as before, the generation goes on.
    fn replace(
        &mut self,
        group_id: &str,
        former: &str,
        fresh_id: String,
        mut joining: GroupMember,
        protocol_type: &str,
    ) {
        let Some(group) = self.groups.get_mut(group_id) else {
            return;
        };
        let Some(old) = group.members.remove(former) else {
            return;
        };
        let (was_leader, same) = (group.leader == former, old.protocols == joining.protocols);
        joining.assignment = old.assignment.clone();
        let stable = group.state == GroupState::Stable;
        if was_leader {
            group.leader.clone_from(&fresh_id);
        }
        let fenced = codes::FENCED_INSTANCE_ID;
        if let Some((request, _)) = old.joining {
            let response = JoinGroupResponse::default().with_error_code(fenced);
            self.reply(request, ResponseKind::JoinGroup(response));
        }
        if let Some(request) = old.syncing {
            let response = SyncGroupResponse::default().with_error_code(fenced);
            self.reply(request, ResponseKind::SyncGroup(response));
        }
        if !(stable && same) {
            return self.admit(group_id, fresh_id, joining, protocol_type);
        }
        if let Some(group) = self.groups.get_mut(group_id) {
            group.members.insert(fresh_id.clone(), joining);
        }
        self.reply_join(group_id, &fresh_id, true);
    }

    /// Takes a member's JoinGroup in, and rebalances if that changes anything.
    fn admit(
        &mut self,
        group_id: &str,
        member_id: String,
        mut joining: GroupMember,
        protocol_type: &str,
    ) {
        let Some(group) = self.groups.get_mut(group_id) else {
            return;
        };
        protocol_type.clone_into(&mut group.protocol_type);
        let is_leader = group.leader == member_id;
        let former = group.members.get(&member_id);
        let same = former.is_some_and(|former| former.protocols == joining.protocols);
        if let Some(former) = former {
            joining.assignment = former.assignment.clone();
        }
        group.members.insert(member_id.clone(), joining);
        match group.state {
            GroupState::Preparing { .. } => self.complete_if_all_joined(group_id),
            // A follower that repeats itself, or whose reply was lost, gets the same answer.
            GroupState::Stable if same && !is_leader => {
                self.reply_join(group_id, &member_id, false)
            }
            GroupState::Completing if same => self.reply_join(group_id, &member_id, false),
            GroupState::Stable | GroupState::Completing | GroupState::Empty => {
                self.prepare_rebalance(group_id);
            }
        }
    }

    /// From now on all members have to join again.
    pub(super) fn prepare_rebalance(&mut self, group_id: &str) {
        let now = self.now;
        let Some(group) = self.groups.get_mut(group_id) else {
            return;
        };
        let patience = group.members.values().map(|member| member.rebalance_timeout_ms).max();
        group.state = GroupState::Preparing { deadline: now + patience.unwrap_or(0) };
        let syncing: Vec<RequestId> =
            group.members.values_mut().filter_map(|member| member.syncing.take()).collect();
        for request in syncing {
            let response = SyncGroupResponse::default();
            let response = response.with_error_code(codes::REBALANCE_IN_PROGRESS);
            self.reply(request, ResponseKind::SyncGroup(response));
        }
        self.complete_if_all_joined(group_id);
    }

    /// BRK-6: the generation begins when all have joined.
    pub(super) fn complete_if_all_joined(&mut self, group_id: &str) {
        let Some(group) = self.groups.get_mut(group_id) else {
            return;
        };
        let preparing = matches!(group.state, GroupState::Preparing { .. });
        let all = group.members.values().all(|member| member.joining.is_some());
        if !preparing || !all || !group.promised.is_empty() || group.members.is_empty() {
            return;
        }
        group.generation += 1;
        group.state = GroupState::Completing;
        group.protocol = group.choose_protocol();
        if !group.members.contains_key(&group.leader)
            && let Some(first) = group.members.keys().next()
        {
            group.leader.clone_from(first);
        }
        let members: Vec<String> = group.members.keys().cloned().collect();
        for member in members {
            self.reply_join(group_id, &member, false);
        }
    }

    fn reply_join(&mut self, group_id: &str, member_id: &str, skip_assignment: bool) {
        let now = self.now;
        let Some(group) = self.groups.get_mut(group_id) else {
            return;
        };
        let is_leader = group.leader == member_id;
        let metadata = |member: &GroupMember| {
            let offered = member.protocols.iter().find(|(name, _)| *name == group.protocol);
            offered.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
        };
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let members = group.members.iter().filter(|_| is_leader).map(|(id, member)| {
            JoinGroupResponseMember::default()
                .with_member_id(text(id))
                .with_group_instance_id(member.instance_id.as_deref().map(text))
                .with_metadata(metadata(member))
        });
        let response = JoinGroupResponse::default()
            .with_generation_id(group.generation)
            .with_protocol_name(Some(text(&group.protocol)))
            .with_leader(text(&group.leader))
            .with_member_id(text(member_id))
            .with_members(members.collect());
        let protocol_type = text(&group.protocol_type);
        let Some(member) = group.members.get_mut(member_id) else {
            return;
        };
        member.expires = now + member.session_timeout_ms;
        let Some((request, version)) = member.joining.take() else {
            return;
        };
        let mut response = response;
        if version >= 7 {
            response = response.with_protocol_type(Some(protocol_type));
        }
        if version >= 9 {
            response = response.with_skip_assignment(skip_assignment);
        } else if skip_assignment {
            // Without the flag: nobody is told to lead, so that nobody assigns anew.
            response = response.with_leader(StrBytes::default()).with_members(Vec::new());
        }
        self.reply(request, ResponseKind::JoinGroup(response));
    }
}

/// Whether the member shares a protocol with all the others.
fn fits(group: &Group, joining: &GroupMember, protocol_type: &str) -> bool {
    if joining.protocols.is_empty() || protocol_type.is_empty() {
        return false;
    }
    if group.is_empty() {
        return true;
    }
    let offers = |member: &GroupMember, name: &str| member.protocols.iter().any(|p| p.0 == name);
    let shared = |name: &str| group.members.values().all(|member| offers(member, name));
    group.protocol_type == protocol_type && joining.protocols.iter().any(|(name, _)| shared(name))
}

impl GroupMember {
    fn of(now: i64, id: RequestId, version: i16, request: &JoinGroupRequest) -> Self {
        let session = i64::from(request.session_timeout_ms);
        // Version 0 has no rebalance timeout.
        let rebalance = match request.rebalance_timeout_ms {
            given if given > 0 => i64::from(given),
            _ => session,
        };
        let protocol =
            |p: &kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol| {
                (p.name.to_string(), p.metadata.clone())
            };
        Self {
            instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
            session_timeout_ms: session,
            rebalance_timeout_ms: rebalance,
            protocols: request.protocols.iter().map(protocol).collect(),
            assignment: bytes::Bytes::new(),
            expires: now + session,
            joining: Some((id, version)),
            syncing: None,
        }
    }
}
