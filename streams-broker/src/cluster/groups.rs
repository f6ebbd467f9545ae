//! A group: its members, its generation, and what each state allows.
//!
//! **BRK-6** A generation has one leader and one set of members; nobody gets its assignment before
//! all have joined and the leader has spoken.
//!
//! ```text
//!  Empty -> Preparing (all join) -> Completing (the leader assigns) -> Stable
//!    ^          ^                        |                               |
//!    |          +--- a member joins, leaves, expires, changes -----------+
//!    +--- the last one is gone
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, LeaveGroupRequest, LeaveGroupResponse, ResponseKind,
    SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::offsets::Offsets;
use super::{Cluster, RequestId, codes};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum GroupState {
    #[default]
    Empty,
    /// All members are to join until then.
    Preparing {
        deadline: i64,
    },
    /// The leader is to assign.
    Completing,
    Stable,
}

#[derive(Clone, Debug)]
pub(super) struct GroupMember {
    pub(super) instance_id: Option<String>,
    pub(super) session_timeout_ms: i64,
    pub(super) rebalance_timeout_ms: i64,
    pub(super) protocols: Vec<(String, Bytes)>,
    pub(super) assignment: Bytes,
    /// When its session ends, unless it is heard of before.
    pub(super) expires: i64,
    /// Its JoinGroup that waits, and the version.
    pub(super) joining: Option<(RequestId, i16)>,
    /// Its SyncGroup that waits.
    pub(super) syncing: Option<RequestId>,
}

impl GroupMember {
    fn waits(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }
}

/// A group.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) state: GroupState,
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) protocol: String,
    pub(super) leader: String,
    pub(super) members: BTreeMap<String, GroupMember>,
    /// Ids given out that have not joined yet, with their ends (KIP-394).
    pub(super) promised: BTreeMap<String, i64>,
    pub(super) offsets: Offsets,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<i64> {
        let sessions = self.members.values().filter(|m| !m.waits()).map(|m| m.expires);
        let rebalance = match self.state {
            GroupState::Preparing { deadline } => Some(deadline),
            _ => None,
        };
        sessions.chain(rebalance).chain(self.promised.values().copied()).min()
    }

    /// Whether this member may speak for this generation; it is heard of then.
    pub(super) fn check(
        &mut self,
        now: i64,
        (member_id, instance_id): (&str, Option<&str>),
        generation: i32,
    ) -> Result<(), i16> {
        if let Some(instance) = instance_id
            && let Some(holder) = self.holder_of(instance)
            && holder != member_id
        {
            return Err(codes::FENCED_INSTANCE_ID);
        }
        let member = self.members.get_mut(member_id).ok_or(codes::UNKNOWN_MEMBER_ID)?;
        if generation != self.generation {
            return Err(codes::ILLEGAL_GENERATION);
        }
        member.expires = now + member.session_timeout_ms;
        Ok(())
    }

    /// The member that has this instance id.
    pub(super) fn holder_of(&self, instance: &str) -> Option<String> {
        let has = |member: &&GroupMember| member.instance_id.as_deref() == Some(instance);
        self.members.iter().find(|(_, member)| has(member)).map(|(id, _)| id.clone())
    }

    /// The first preference that all have, by the most votes.
    pub(super) fn choose_protocol(&self) -> String {
        let offers =
            |member: &GroupMember, name: &str| member.protocols.iter().any(|p| p.0 == name);
        let common = |name: &str| self.members.values().all(|member| offers(member, name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| common(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let chosen = votes.into_iter().max_by_key(|(_, count)| *count);
        chosen.map_or_else(String::new, |(name, _)| name.to_owned())
    }

    pub(super) fn check_invariants(&self) {
        if self.state == GroupState::Stable {
            assert!(self.members.contains_key(&self.leader), "BRK-6: a generation has a leader");
            let waits = self.members.values().any(GroupMember::waits);
            assert!(!waits, "BRK-6: in a stable group nobody waits");
        }
        if self.state == GroupState::Empty {
            assert!(self.members.is_empty(), "an empty group has no members");
        }
    }
}

impl Cluster {
    pub(super) fn heartbeat(&mut self, request: &HeartbeatRequest) -> HeartbeatResponse {
        let now = self.now;
        let member = (request.member_id.as_str(), request.group_instance_id.as_deref());
        let checked = match self.groups.get_mut(request.group_id.as_str()) {
            None => Err(codes::UNKNOWN_MEMBER_ID),
            Some(group) => {
                let checked = group.check(now, member, request.generation_id);
                let preparing = matches!(group.state, GroupState::Preparing { .. });
                let joins = if preparing { Err(codes::REBALANCE_IN_PROGRESS) } else { Ok(()) };
                checked.and(joins)
            }
        };
        HeartbeatResponse::default().with_error_code(checked.err().unwrap_or(codes::NONE))
    }

    pub(super) fn sync_group(&mut self, id: RequestId, request: SyncGroupRequest) {
        let now = self.now;
        let member = (request.member_id.as_str(), request.group_instance_id.as_deref());
        let refuse =
            |code| ResponseKind::SyncGroup(SyncGroupResponse::default().with_error_code(code));
        let Some(group) = self.groups.get_mut(request.group_id.as_str()) else {
            return self.reply(id, refuse(codes::UNKNOWN_MEMBER_ID));
        };
        if let Err(code) = group.check(now, member, request.generation_id) {
            return self.reply(id, refuse(code));
        }
        match group.state {
            GroupState::Preparing { .. } | GroupState::Empty => {
                self.reply(id, refuse(codes::REBALANCE_IN_PROGRESS));
            }
            GroupState::Stable => self.reply_sync(&request.group_id, &request.member_id, id),
            GroupState::Completing => {
                if let Some(member) = group.members.get_mut(request.member_id.as_str()) {
                    member.syncing = Some(id);
                }
                if group.leader == request.member_id.as_str() {
                    for assigned in request.assignments {
                        if let Some(member) = group.members.get_mut(assigned.member_id.as_str()) {
                            member.assignment = assigned.assignment;
                        }
                    }
                    group.state = GroupState::Stable;
                    self.reply_all_syncs(&request.group_id);
                }
            }
        }
    }

    fn reply_all_syncs(&mut self, group_id: &str) {
        let Some(group) = self.groups.get_mut(group_id) else {
            return;
        };
        let waiting: Vec<(String, RequestId)> = group
            .members
            .iter_mut()
            .filter_map(|(member, known)| Some((member.clone(), known.syncing.take()?)))
            .collect();
        for (member, request) in waiting {
            self.reply_sync(group_id, &member, request);
        }
    }

    fn reply_sync(&mut self, group_id: &str, member_id: &str, id: RequestId) {
        let Some(group) = self.groups.get_mut(group_id) else {
            return;
        };
        let Some(member) = group.members.get_mut(member_id) else {
            return;
        };
        member.expires = self.now + member.session_timeout_ms;
        let response = SyncGroupResponse::default()
            .with_protocol_type(Some(StrBytes::from_string(group.protocol_type.clone())))
            .with_protocol_name(Some(StrBytes::from_string(group.protocol.clone())))
            .with_assignment(member.assignment.clone());
        self.reply(id, ResponseKind::SyncGroup(response));
    }

    pub(super) fn leave_group(&mut self, request: &LeaveGroupRequest) -> LeaveGroupResponse {
        let group_id = request.group_id.as_str();
        if request.members.is_empty() {
            let left = self.remove_member(group_id, &request.member_id);
            let code = if left { codes::NONE } else { codes::UNKNOWN_MEMBER_ID };
            return LeaveGroupResponse::default().with_error_code(code);
        }
        let mut members = Vec::new();
        for leaving in &request.members {
            let instance = leaving.group_instance_id.as_deref();
            let holder = self.groups.get(group_id).zip(instance).and_then(|(g, i)| g.holder_of(i));
            let fenced = holder.as_deref().is_some_and(|holder| {
                !leaving.member_id.is_empty() && holder != leaving.member_id.as_str()
            });
            let id = holder.unwrap_or_else(|| leaving.member_id.to_string());
            let code = match fenced {
                true => codes::FENCED_INSTANCE_ID,
                false if self.remove_member(group_id, &id) => codes::NONE,
                false => codes::UNKNOWN_MEMBER_ID,
            };
            let response = MemberResponse::default()
                .with_member_id(leaving.member_id.clone())
                .with_group_instance_id(leaving.group_instance_id.clone())
                .with_error_code(code);
            members.push(response);
        }
        LeaveGroupResponse::default().with_members(members)
    }

    /// Takes a member out; the others rebalance.
    fn remove_member(&mut self, group_id: &str, member_id: &str) -> bool {
        let Some(group) = self.groups.get_mut(group_id) else {
            return false;
        };
        let promised = group.promised.remove(member_id).is_some();
        if group.members.remove(member_id).is_none() {
            if promised {
                self.complete_if_all_joined(group_id);
            }
            return promised;
        }
        if group.members.is_empty() {
            group.state = GroupState::Empty;
            group.generation += 1;
        } else if matches!(group.state, GroupState::Preparing { .. }) {
            self.complete_if_all_joined(group_id);
        } else {
            self.prepare_rebalance(group_id);
        }
        true
    }

    pub(super) fn expire_members(&mut self) {
        let now = self.now;
        let due = |group: &Group| group.deadline().is_some_and(|deadline| deadline <= now);
        let ids: Vec<String> =
            self.groups.iter().filter(|(_, g)| due(g)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            group.promised.retain(|_, end| *end > now);
            let over = matches!(group.state, GroupState::Preparing { deadline } if deadline <= now);
            let expired: Vec<String> = group
                .members
                .iter()
                .filter(|(_, m)| !m.waits() && (m.expires <= now || over))
                .map(|(member, _)| member.clone())
                .collect();
            for member in &expired {
                self.remove_member(&id, member);
            }
            self.complete_if_all_joined(&id);
        }
    }
}
