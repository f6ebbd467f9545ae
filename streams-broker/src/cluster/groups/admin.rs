//! Groups listed, described, deleted.

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    GroupId, ListGroupsRequest, ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Group, GroupState};
use crate::cluster::{Cluster, codes};

/// What everybody may do with a group, as a set of bits: read, delete, describe, alter and describe
/// its configuration.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl Cluster {
    pub(in crate::cluster) fn list_groups(
        &self,
        request: &ListGroupsRequest,
    ) -> ListGroupsResponse {
        let asked = |filter: &[StrBytes], value: &str| {
            filter.is_empty() || filter.iter().any(|f| f.trim().eq_ignore_ascii_case(value))
        };
        let listed = |group: &&Group| {
            asked(&request.states_filter, group.state.name())
                && asked(&request.types_filter, "classic")
        };
        let groups = self.groups.iter().filter(|(_, group)| listed(group)).map(|(id, group)| {
            ListedGroup::default()
                .with_group_id(GroupId(text(id)))
                .with_protocol_type(text(group.protocol_type.as_deref().unwrap_or_default()))
                .with_group_state(StrBytes::from_static_str(group.state.name()))
                .with_group_type(StrBytes::from_static_str("classic"))
        });
        ListGroupsResponse::default().with_groups(groups.collect())
    }

    pub(in crate::cluster) fn describe_groups(
        &self,
        version: i16,
        request: &DescribeGroupsRequest,
    ) -> DescribeGroupsResponse {
        let describe = |id: &GroupId| {
            let described = match self.groups.get(id.as_str()) {
                Some(group) => group.describe(),
                None => {
                    let dead = DescribedGroup::default()
                        .with_group_state(StrBytes::from_static_str("Dead"));
                    match version {
                        ..6 => dead,
                        _ => dead
                            .with_error_code(codes::GROUP_ID_NOT_FOUND)
                            .with_error_message(Some(text(&format!("Group {} not found.", id.0)))),
                    }
                }
            };
            let operations = request.include_authorized_operations
                && version >= 3
                && described.error_code == codes::NONE;
            let operations = if operations { GROUP_OPERATIONS } else { i32::MIN };
            described.with_group_id(id.clone()).with_authorized_operations(operations)
        };
        let groups = request.groups.iter().map(describe).collect();
        DescribeGroupsResponse::default().with_groups(groups)
    }

    pub(in crate::cluster) fn delete_groups(
        &mut self,
        request: &DeleteGroupsRequest,
    ) -> DeleteGroupsResponse {
        let mut results = Vec::new();
        for id in &request.groups_names {
            let code = match self.groups.get(id.as_str()).map(|group| &group.state) {
                None => codes::GROUP_ID_NOT_FOUND,
                Some(GroupState::Empty) => {
                    self.groups.remove(id.as_str());
                    codes::NONE
                }
                Some(_) => codes::NON_EMPTY_GROUP,
            };
            let result = DeletableGroupResult::default().with_group_id(id.clone());
            results.push(result.with_error_code(code));
        }
        DeleteGroupsResponse::default().with_results(results)
    }
}

impl Group {
    fn describe(&self) -> DescribedGroup {
        // Before it is stable, what the members say and get may still change.
        let protocol = self.protocol.as_deref().filter(|_| self.state == GroupState::Stable);
        let members = self.members.iter().map(|(id, member)| {
            let described = DescribedGroupMember::default()
                .with_member_id(text(id))
                .with_group_instance_id(member.instance_id.as_deref().map(text))
                .with_client_id(text(&member.client_id))
                .with_client_host(text(&member.client_host));
            match protocol {
                None => described,
                Some(protocol) => described
                    .with_member_metadata(member.metadata(protocol))
                    .with_member_assignment(member.assignment.clone()),
            }
        });
        DescribedGroup::default()
            .with_group_state(StrBytes::from_static_str(self.state.name()))
            .with_protocol_type(text(self.protocol_type.as_deref().unwrap_or_default()))
            .with_protocol_data(text(protocol.unwrap_or_default()))
            .with_members(members.collect())
    }
}
