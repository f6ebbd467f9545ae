//! JoinGroup: a barrier that all members of a group pass together.

use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{
    JoinGroupRequest, JoinGroupResponse, ResponseKind, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Barrier, Group, GroupMember, GroupState};
use crate::cluster::{Client, Cluster, RequestId, Settings, codes};

/// So long a new member's JoinGroup waits: Kafka's, who does not know either whether it is still
/// there.
const NEW_MEMBER_MS: i64 = 300_000;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A response with an error.
pub(super) fn refusal(version: i16, code: i16, member_id: &str) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(code)
        .with_generation_id(-1)
        .with_protocol_name((version < 7).then(StrBytes::default))
        .with_member_id(text(member_id))
}

/// A request to join, on its way.
struct Joining<'a> {
    id: RequestId,
    version: i16,
    client: &'a Client,
    request: &'a JoinGroupRequest,
    protocols: Vec<(String, Bytes)>,
    /// The id for a member that has none.
    fresh_id: String,
}

impl Joining<'_> {
    fn instance(&self) -> Option<&str> {
        self.request.group_instance_id.as_deref()
    }

    fn member(&self, now: i64) -> GroupMember {
        let session = i64::from(self.request.session_timeout_ms);
        // Version 0 has no rebalance timeout.
        let rebalance = match self.request.rebalance_timeout_ms {
            given if given >= 0 => i64::from(given),
            _ => session,
        };
        GroupMember {
            instance_id: self.instance().map(str::to_owned),
            client_id: self.client.id.clone(),
            client_host: self.client.host.clone(),
            session_timeout_ms: session,
            rebalance_timeout_ms: rebalance,
            protocols: self.protocols.clone(),
            assignment: Bytes::new(),
            expires: now + NEW_MEMBER_MS,
            new: true,
            joining: Some((self.id, self.version)),
            syncing: None,
            unsynced: false,
        }
    }
}

impl Cluster {
    pub(in crate::cluster) fn join_group(
        &mut self,
        id: RequestId,
        version: i16,
        client: &Client,
        request: &JoinGroupRequest,
    ) {
        let asked = request.member_id.as_str();
        if let Err(code) = self.may_join(request) {
            let refusal = refusal(version, code, asked);
            return self.reply(id, ResponseKind::JoinGroup(refusal));
        }
        let prefix = request.group_instance_id.as_deref().unwrap_or(&client.id);
        let fresh_id = match asked.is_empty() {
            true => format!("{prefix}-{}", self.ids.uuid().hyphenated()),
            false => String::new(),
        };
        let named = |p: &kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol| {
            (p.name.to_string(), p.metadata.clone())
        };
        let protocols = request.protocols.iter().map(named).collect();
        let joining = Joining { id, version, client, request, protocols, fresh_id };
        self.groups.entry(request.group_id.to_string()).or_default();
        self.with_group(&request.group_id, |group, now, settings| {
            if let Err((code, member_id)) = group.join(now, settings, &joining) {
                group.answer_join(id, refusal(version, code, &member_id));
            }
        });
    }

    fn may_join(&self, request: &JoinGroupRequest) -> Result<(), i16> {
        if request.group_id.is_empty() {
            return Err(codes::INVALID_GROUP_ID);
        }
        if !self.settings.group_session_timeout_ms.contains(&request.session_timeout_ms) {
            return Err(codes::INVALID_SESSION_TIMEOUT);
        }
        let known = self.groups.contains_key(request.group_id.as_str());
        // A group is made for a member that is new, and for no other.
        if known || request.member_id.is_empty() { Ok(()) } else { Err(codes::UNKNOWN_MEMBER_ID) }
    }
}

impl Group {
    /// Takes a JoinGroup in. It is refused with a code and a member id, or answered later.
    fn join(
        &mut self,
        now: i64,
        settings: &Settings,
        joining: &Joining<'_>,
    ) -> Result<(), (i16, String)> {
        let asked = joining.request.member_id.as_str();
        if !self.has_room_for(asked, settings.group_max_size) {
            self.remove(asked);
            return Err((codes::GROUP_MAX_SIZE_REACHED, String::new()));
        }
        if !self.supports(&joining.request.protocol_type, &joining.protocols) {
            return Err((codes::INCONSISTENT_GROUP_PROTOCOL, asked.to_owned()));
        }
        let delay = settings.group_initial_rebalance_delay_ms;
        if !asked.is_empty() {
            return self.join_again(now, delay, joining).map_err(|code| (code, asked.to_owned()));
        }
        let former = joining.instance().and_then(|instance| self.holder_of(instance));
        if let Some(former) = former.map(str::to_owned) {
            self.replace(now, delay, &former, joining);
        } else if joining.version >= 4 && joining.instance().is_none() {
            // KIP-394: an id first, so that a client that gives up leaves no member behind.
            let until = now + i64::from(joining.request.session_timeout_ms);
            self.promised.insert(joining.fresh_id.clone(), until);
            return Err((codes::MEMBER_ID_REQUIRED, joining.fresh_id.clone()));
        } else {
            self.add(now, delay, joining.fresh_id.clone(), joining);
        }
        Ok(())
    }

    /// Kafka counts those that wait while all join, and the members else.
    fn has_room_for(&self, member_id: &str, max: usize) -> bool {
        let member = self.members.get(member_id);
        match self.state {
            GroupState::Empty => true,
            GroupState::Preparing(_) => {
                let waiting = self.members.values().filter(|m| m.joining.is_some()).count();
                waiting < max || member.is_some_and(|member| member.joining.is_some())
            }
            GroupState::Completing | GroupState::Stable => {
                self.members.len() < max || member.is_some()
            }
        }
    }

    /// A member that has an id already.
    fn join_again(&mut self, now: i64, delay: i64, joining: &Joining<'_>) -> Result<(), i16> {
        let member_id = joining.request.member_id.as_str();
        if self.promised.contains_key(member_id) {
            // An id is promised to members without an instance only.
            if joining.instance().is_some() {
                return Err(codes::UNKNOWN_SERVER_ERROR);
            }
            self.add(now, delay, member_id.to_owned(), joining);
            return Ok(());
        }
        self.check_member(member_id, joining.instance())?;
        let same = self.members.get(member_id).is_some_and(|m| m.protocols == joining.protocols);
        let is_leader = self.is_leader(member_id);
        match self.state {
            // Its reply was lost, or it repeats itself: the generation goes on.
            GroupState::Completing if same => {
                let response = self.joined(joining.version, member_id, is_leader, false);
                self.answer_join(joining.id, response);
            }
            // The leader may have seen something that is in nobody's metadata.
            GroupState::Stable if same && !is_leader => {
                let response = self.joined(joining.version, member_id, false, false);
                self.answer_join(joining.id, response);
            }
            GroupState::Empty => return Err(codes::UNKNOWN_MEMBER_ID),
            GroupState::Preparing(_) | GroupState::Completing | GroupState::Stable => {
                self.update(member_id, joining);
                self.rebalance(now, delay);
            }
        }
        Ok(())
    }

    /// What a member says anew.
    fn update(&mut self, member_id: &str, joining: &Joining<'_>) {
        let fresh = joining.member(0);
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        member.protocols = fresh.protocols;
        member.session_timeout_ms = fresh.session_timeout_ms;
        member.rebalance_timeout_ms = fresh.rebalance_timeout_ms;
        let former = member.joining.replace((joining.id, joining.version));
        // The client asked again on a connection of its own: nobody waits for the first answer.
        if let Some((request, version)) = former {
            self.answer_join(request, refusal(version, codes::UNKNOWN_MEMBER_ID, ""));
        }
    }

    fn add(&mut self, now: i64, delay: i64, member_id: String, joining: &Joining<'_>) {
        self.promised.remove(&member_id);
        if self.members.is_empty() {
            self.protocol_type = Some(joining.request.protocol_type.to_string());
        }
        if let GroupState::Preparing(Barrier::Initial { joined, .. }) = &mut self.state {
            *joined = true;
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        self.members.insert(member_id, joining.member(now));
        self.rebalance(now, delay);
    }

    /// KIP-345: a static member that comes back takes its former self's place, which is fenced. If
    /// the protocol stays the same, the generation goes on.
    fn replace(&mut self, now: i64, delay: i64, former: &str, joining: &Joining<'_>) {
        let Some(old) = self.members.remove(former) else {
            return;
        };
        let (id, leader_before) = (joining.fresh_id.clone(), self.leader.clone());
        if self.is_leader(former) {
            self.leader = Some(id.clone());
        }
        let fenced = codes::FENCED_INSTANCE_ID;
        if let Some((request, version)) = old.joining {
            self.answer_join(request, refusal(version, fenced, former));
        }
        if let Some(request) = old.syncing {
            self.answer_sync(request, SyncGroupResponse::default().with_error_code(fenced));
        }
        let mut member = joining.member(now);
        member.assignment = old.assignment;
        member.new = false;
        member.heard(now);
        self.members.insert(id.clone(), member);
        match self.state {
            GroupState::Stable if self.protocol == self.choose_protocol() => {
                let is_leader = self.is_leader(&id);
                let mut response = self.joined(joining.version, &id, is_leader, is_leader);
                if joining.version < 9 {
                    // Without the flag: who was the leader before is named, and nobody assigns.
                    let before = leader_before.unwrap_or_default();
                    response = response.with_leader(text(&before)).with_members(Vec::new());
                }
                if let Some(member) = self.members.get_mut(&id) {
                    member.joining = None;
                }
                self.answer_join(joining.id, response);
            }
            // The leader may have assigned to the former self by now.
            GroupState::Stable | GroupState::Completing => self.prepare_rebalance(now, delay),
            GroupState::Preparing(_) | GroupState::Empty => self.complete_if_all_joined(now),
        }
    }

    fn rebalance(&mut self, now: i64, delay: i64) {
        match self.state {
            GroupState::Preparing(_) => self.complete_if_all_joined(now),
            _ => self.prepare_rebalance(now, delay),
        }
    }

    /// From now on all members have to join again.
    pub(super) fn prepare_rebalance(&mut self, now: i64, initial_delay_ms: i64) {
        let patience = self.rebalance_timeout_ms();
        let mut out = std::mem::take(&mut self.out);
        for member in self.members.values_mut() {
            member.unsynced = false;
            if self.state == GroupState::Completing {
                member.assignment = Bytes::new();
            }
            if let Some(request) = member.syncing.take() {
                member.heard(now);
                let response = SyncGroupResponse::default();
                let response = response.with_error_code(codes::REBALANCE_IN_PROGRESS);
                out.push((request, ResponseKind::SyncGroup(response)));
            }
        }
        self.out = out;
        self.sync_deadline = None;
        if self.state != GroupState::Empty {
            self.state = GroupState::Preparing(Barrier::All { deadline: now + patience });
            return self.complete_if_all_joined(now);
        }
        self.state = GroupState::Preparing(Barrier::Initial {
            deadline: now + initial_delay_ms,
            delay_ms: initial_delay_ms,
            remaining_ms: (patience - initial_delay_ms).max(0),
            joined: false,
        });
        if initial_delay_ms <= 0 {
            self.complete_join(now);
        }
    }

    /// BRK-6: the generation begins when all have joined; the first one when its time has come.
    pub(super) fn complete_if_all_joined(&mut self, now: i64) {
        let waits_for_all = matches!(self.state, GroupState::Preparing(Barrier::All { .. }));
        let nobody = self.members.is_empty() && matches!(self.state, GroupState::Preparing(_));
        if (waits_for_all || nobody) && self.have_all_joined() {
            self.complete_join(now);
        }
    }

    /// The generation begins, with those that have joined; static members may be late.
    pub(super) fn complete_join(&mut self, now: i64) {
        let late = |m: &GroupMember| m.joining.is_none() && m.instance_id.is_none();
        let late: Vec<String> =
            self.members.iter().filter(|(_, m)| late(m)).map(|(id, _)| id.clone()).collect();
        for member in &late {
            self.remove(member);
        }
        let patience = self.rebalance_timeout_ms();
        let joined = |id: &String| self.members.get(id).is_some_and(|m| m.joining.is_some());
        if !self.leader.as_ref().is_some_and(joined) {
            match self.members.iter().find(|(_, member)| member.joining.is_some()) {
                Some((id, _)) => self.leader = Some(id.clone()),
                None if self.members.is_empty() => {}
                // Nobody is there to lead: until the sessions are over, or somebody comes.
                None => {
                    let deadline = now + patience.max(1);
                    self.state = GroupState::Preparing(Barrier::All { deadline });
                    return;
                }
            }
        }
        self.generation = self.generation.wrapping_add(1).max(1);
        self.protocol = self.choose_protocol();
        if self.members.is_empty() {
            self.state = GroupState::Empty;
            return;
        }
        self.state = GroupState::Completing;
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let is_leader = self.is_leader(&id);
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            member.heard(now);
            (member.new, member.unsynced) = (false, true);
            if let Some((request, version)) = member.joining.take() {
                let response = self.joined(version, &id, is_leader, false);
                self.answer_join(request, response);
            }
        }
        self.sync_deadline = Some(now + patience);
    }

    fn joined(
        &self,
        version: i16,
        member_id: &str,
        with_members: bool,
        skip_assignment: bool,
    ) -> JoinGroupResponse {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.iter().filter(|_| with_members).map(|(id, member)| {
            JoinGroupResponseMember::default()
                .with_member_id(text(id))
                .with_group_instance_id(member.instance_id.as_deref().map(text))
                .with_metadata(member.metadata(protocol))
        });
        let protocol_type = self.protocol_type.as_deref().filter(|_| version >= 7);
        JoinGroupResponse::default()
            .with_generation_id(self.generation)
            .with_protocol_type(protocol_type.map(text))
            .with_protocol_name(Some(text(protocol)))
            .with_leader(text(self.leader.as_deref().unwrap_or_default()))
            .with_skip_assignment(skip_assignment && version >= 9)
            .with_member_id(text(member_id))
            .with_members(members.collect())
    }
}
