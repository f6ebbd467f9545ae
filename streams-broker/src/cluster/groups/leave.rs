//! LeaveGroup: members that go, one or several at a time.

use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::{Group, GroupState};
use crate::cluster::{Cluster, codes};

impl Cluster {
    pub(in crate::cluster) fn leave_group(
        &mut self,
        version: i16,
        request: &LeaveGroupRequest,
    ) -> LeaveGroupResponse {
        let response = LeaveGroupResponse::default();
        if request.group_id.is_empty() {
            return response.with_error_code(codes::INVALID_GROUP_ID);
        }
        // Before version 3 one member leaves, and has no instance id.
        let single = [MemberIdentity::default().with_member_id(request.member_id.clone())];
        let leaving = if version < 3 { &single[..] } else { &request.members };
        let left = self.with_group(&request.group_id, |group, now, settings| {
            group.leave(now, settings.group_initial_rebalance_delay_ms, leaving)
        });
        let left = left.unwrap_or_else(|| vec![codes::UNKNOWN_MEMBER_ID; leaving.len()]);
        if version < 3 {
            return response.with_error_code(left.first().copied().unwrap_or(codes::NONE));
        }
        let members = leaving.iter().zip(left).map(|(member, code)| {
            MemberResponse::default()
                .with_member_id(member.member_id.clone())
                .with_group_instance_id(member.group_instance_id.clone())
                .with_error_code(code)
        });
        response.with_members(members.collect())
    }
}

impl Group {
    /// Takes members out; the others rebalance, once. Returns a code for each.
    fn leave(&mut self, now: i64, delay: i64, leaving: &[MemberIdentity]) -> Vec<i16> {
        let mut codes = Vec::with_capacity(leaving.len());
        for member in leaving {
            codes.push(match self.leaver(member) {
                Ok(id) if self.remove(&id) => codes::NONE,
                Ok(_) => codes::UNKNOWN_MEMBER_ID,
                Err(code) => code,
            });
        }
        if codes.contains(&codes::NONE) {
            match self.state {
                GroupState::Stable | GroupState::Completing => self.prepare_rebalance(now, delay),
                GroupState::Preparing(_) => self.complete_if_all_joined(now),
                GroupState::Empty => {}
            }
        }
        codes
    }

    /// Who is meant. An administrator names a static member by its instance id alone.
    fn leaver(&self, leaving: &MemberIdentity) -> Result<String, i16> {
        let (id, instance) = (leaving.member_id.as_str(), leaving.group_instance_id.as_deref());
        if id.is_empty() {
            let holder = instance.and_then(|instance| self.holder_of(instance));
            return holder.map(str::to_owned).ok_or(codes::UNKNOWN_MEMBER_ID);
        }
        if !self.promised.contains_key(id) {
            self.check_member(id, instance)?;
        }
        Ok(id.to_owned())
    }
}
