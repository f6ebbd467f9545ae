//! SyncGroup and Heartbeat: the assignment handed out, and the sign of life.

use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, ResponseKind, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Group, GroupState};
use crate::cluster::{Cluster, RequestId, codes};

impl Cluster {
    pub(in crate::cluster) fn sync_group(
        &mut self,
        id: RequestId,
        version: i16,
        request: &SyncGroupRequest,
    ) {
        // From version 5 on the client says what it believes to be in (KIP-559).
        let named = request.protocol_type.is_some() && request.protocol_name.is_some();
        let refused = if version >= 5 && !named {
            Err(codes::INCONSISTENT_GROUP_PROTOCOL)
        } else if request.group_id.is_empty() {
            Err(codes::INVALID_GROUP_ID)
        } else {
            let synced =
                self.with_group(&request.group_id, |group, now, _| group.sync(now, id, request));
            synced.unwrap_or(Err(codes::UNKNOWN_MEMBER_ID))
        };
        if let Err(code) = refused {
            let response = SyncGroupResponse::default().with_error_code(code);
            self.reply(id, ResponseKind::SyncGroup(response));
        }
    }

    pub(in crate::cluster) fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
    ) -> HeartbeatResponse {
        let beaten = match request.group_id.is_empty() {
            true => Err(codes::INVALID_GROUP_ID),
            false => self
                .with_group(&request.group_id, |group, now, _| group.beat(now, request))
                .unwrap_or(Err(codes::UNKNOWN_MEMBER_ID)),
        };
        HeartbeatResponse::default().with_error_code(beaten.err().unwrap_or(codes::NONE))
    }
}

impl Group {
    fn beat(&mut self, now: i64, request: &HeartbeatRequest) -> Result<(), i16> {
        let member = (request.member_id.as_str(), request.group_instance_id.as_deref());
        self.check(member, request.generation_id)?;
        self.heard_of(now, member.0);
        match self.state {
            GroupState::Preparing(_) => Err(codes::REBALANCE_IN_PROGRESS),
            GroupState::Empty => Err(codes::UNKNOWN_MEMBER_ID),
            GroupState::Completing | GroupState::Stable => Ok(()),
        }
    }

    /// Takes a SyncGroup in. It is refused with a code, or answered later.
    fn sync(&mut self, now: i64, id: RequestId, request: &SyncGroupRequest) -> Result<(), i16> {
        let member_id = request.member_id.as_str();
        let generation = request.generation_id;
        self.check((member_id, request.group_instance_id.as_deref()), generation)?;
        let differs = |said: &Option<StrBytes>, known: &Option<String>| {
            said.as_ref().zip(known.as_ref()).is_some_and(|(said, known)| said.as_str() != known)
        };
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            return Err(codes::INCONSISTENT_GROUP_PROTOCOL);
        }
        let member = self.members.get_mut(member_id).ok_or(codes::UNKNOWN_MEMBER_ID)?;
        match self.state {
            GroupState::Empty => Err(codes::UNKNOWN_MEMBER_ID),
            GroupState::Preparing(_) => Err(codes::REBALANCE_IN_PROGRESS),
            GroupState::Stable => {
                member.unsynced = false;
                self.answer_assignment(member_id, id);
                Ok(())
            }
            GroupState::Completing => {
                member.unsynced = false;
                member.syncing = Some(id);
                if self.is_leader(member_id) {
                    self.assign(now, request);
                }
                Ok(())
            }
        }
    }

    /// The leader has spoken. Whoever it did not mention gets nothing.
    fn assign(&mut self, now: i64, request: &SyncGroupRequest) {
        for (id, member) in &mut self.members {
            let said = request.assignments.iter().rfind(|said| said.member_id.as_str() == id);
            member.assignment = said.map(|said| said.assignment.clone()).unwrap_or_default();
        }
        self.state = GroupState::Stable;
        let waiting: Vec<(String, RequestId)> = self
            .members
            .iter_mut()
            .filter_map(|(id, member)| {
                let request = member.syncing.take()?;
                member.heard(now);
                Some((id.clone(), request))
            })
            .collect();
        waiting.into_iter().for_each(|(id, request)| self.answer_assignment(&id, request));
    }

    fn answer_assignment(&mut self, member_id: &str, request: RequestId) {
        if self.members.values().all(|member| !member.unsynced) {
            self.sync_deadline = None;
        }
        let text = |text: &String| StrBytes::from_string(text.clone());
        let assignment = self.members.get(member_id).map(|member| member.assignment.clone());
        let response = SyncGroupResponse::default()
            .with_protocol_type(self.protocol_type.as_ref().map(text))
            .with_protocol_name(self.protocol.as_ref().map(text))
            .with_assignment(assignment.unwrap_or_default());
        self.answer_sync(request, response);
    }
}
