//! The group's requests on the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};

use super::ClientError;
use super::admin::{Admin, REQUEST_TIMEOUT};
use super::connection::{CLIENT_SOFTWARE, Connection};
use super::consumer_protocol::{
    VERSION, decode_assignment, decode_subscription, encode_assignment, encode_subscription,
};
use super::security::{Endpoint, Security};
use crate::client::CoordinatorWatch;
use crate::group::assignor::{Assignment, Subscription};
use crate::group::{Generation, GroupReply, GroupRequest, GroupTransport};

const PROTOCOL_TYPE: &str = "consumer";
/// What a JoinGroup may take beyond the rebalance timeout. No more than half of that: Kafka takes
/// out a static member that has not come back a rebalance timeout after the generation began.
const JOIN_SLACK: Duration = Duration::from_secs(5);
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;

/// Sends the member's requests to the coordinator.
#[derive(Debug)]
pub struct WireTransport {
    admin: Admin,
    security: Security,
    client_id: String,
    /// Topics that count as having no more partitions than another one.
    limits: BTreeMap<String, String>,
    address: Option<String>,
    /// Taken out for each call, and put back after its reply: a call that was given up in the
    /// middle takes its connection with it.
    coordinator: Option<Connection>,
    /// True from when the coordinator is looked up until it answers.
    is_new: bool,
    watch: CoordinatorWatch,
}

impl WireTransport {
    /// A transport to the cluster at `endpoint`.
    pub fn new(endpoint: &Endpoint) -> Self {
        Self {
            admin: Admin::new(endpoint),
            security: endpoint.security.clone(),
            client_id: CLIENT_SOFTWARE.to_owned(),
            limits: BTreeMap::new(),
            address: None,
            coordinator: None,
            is_new: false,
            watch: CoordinatorWatch::default(),
        }
    }

    /// Notes in `watch` when a coordinator that was looked up answers.
    #[must_use]
    pub fn watched(self, watch: CoordinatorWatch) -> Self {
        Self { watch, ..self }
    }

    /// The name under which the other members see this one.
    #[must_use]
    pub fn named(self, client_id: String) -> Self {
        Self { client_id, ..self }
    }

    /// `topic` counts as having no more partitions than `by`, its changelog.
    #[must_use]
    pub fn limited(mut self, topic: &str, by: &str) -> Self {
        self.limits.insert(topic.to_owned(), by.to_owned());
        self
    }

    async fn open(&mut self, address: &str) -> Result<Connection, ClientError> {
        Ok(Connection::open(address, &self.security).await?.named(&self.client_id))
    }

    /// Asks the coordinator.
    async fn ask<R: Request>(
        &mut self,
        request: &R,
        cap: i16,
        patience: Duration,
    ) -> Result<R::Response, ClientError> {
        let mut connection = match (self.coordinator.take(), self.address.clone()) {
            (Some(connection), _) => connection,
            (None, Some(address)) => self.open(&address).await?,
            (None, None) => {
                return Err(ClientError::refused("the coordinator", COORDINATOR_NOT_AVAILABLE));
            }
        };
        let reply = connection.call(request, cap, patience).await?;
        self.coordinator = Some(connection);
        Ok(reply)
    }

    async fn try_call(&mut self, request: GroupRequest) -> Result<GroupReply, ClientError> {
        match request {
            GroupRequest::FindCoordinator { group_id } => {
                let address = self.admin.group_coordinator(&group_id).await?;
                self.coordinator = Some(self.open(&address).await?);
                self.address = Some(address);
                Ok(GroupReply::Coordinator)
            }
            GroupRequest::Join(join) => {
                let patience = join.rebalance_timeout + JOIN_SLACK.min(join.rebalance_timeout / 2);
                let request = join_request(&join);
                let reply = self.ask(&request, 9, patience).await?;
                let members = reply.members.into_iter().map(|member| {
                    let instance_id = member.group_instance_id.map(|id| id.to_string());
                    let subscription = decode_subscription(member.metadata)
                        .map(|subscription| Subscription { instance_id, ..subscription });
                    (member.member_id.to_string(), subscription)
                });
                Ok(GroupReply::Joined {
                    code: reply.error_code,
                    generation: reply.generation_id,
                    member_id: reply.member_id.to_string(),
                    leader: reply.leader == reply.member_id && !reply.skip_assignment,
                    protocol: reply.protocol_name.map_or(String::new(), |name| name.to_string()),
                    members: members.collect(),
                })
            }
            GroupRequest::Sync { standing, protocol, assignments } => {
                let assignments = assignments.iter().map(|(member, assignment)| {
                    let assignment = encode_assignment(VERSION, assignment);
                    let member = StrBytes::from_string(member.clone());
                    let to = SyncGroupRequestAssignment::default().with_member_id(member);
                    to.with_assignment(assignment)
                });
                let request = SyncGroupRequest::default()
                    .with_group_id(GroupId(text(&standing.group_id)))
                    .with_generation_id(standing.generation_id)
                    .with_member_id(text(&standing.member_id))
                    .with_group_instance_id(standing.instance_id.as_deref().map(text))
                    .with_protocol_type(Some(text(PROTOCOL_TYPE)))
                    .with_protocol_name(Some(text(&protocol)))
                    .with_assignments(assignments.collect());
                let reply = self.ask(&request, 5, REQUEST_TIMEOUT * 6).await?;
                let assignment = match reply.error_code {
                    0 => decode_assignment(reply.assignment)
                        .map_err(|error| ClientError::connection("the group's leader", error))?,
                    _ => Assignment::default(),
                };
                Ok(GroupReply::Synced { code: reply.error_code, assignment })
            }
            GroupRequest::Heartbeat { standing } => self.heartbeat(&standing).await,
            GroupRequest::Leave { standing } => self.leave(&standing).await,
            GroupRequest::Partitions { topics } => self.partitions(topics).await,
        }
    }

    async fn heartbeat(&mut self, standing: &Generation) -> Result<GroupReply, ClientError> {
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(&standing.group_id)))
            .with_generation_id(standing.generation_id)
            .with_member_id(text(&standing.member_id))
            .with_group_instance_id(standing.instance_id.as_deref().map(text));
        let reply = self.ask(&request, 4, REQUEST_TIMEOUT).await?;
        Ok(GroupReply::Heartbeat { code: reply.error_code })
    }

    async fn leave(&mut self, standing: &Generation) -> Result<GroupReply, ClientError> {
        let member = MemberIdentity::default()
            .with_member_id(text(&standing.member_id))
            .with_group_instance_id(standing.instance_id.as_deref().map(text));
        let request = LeaveGroupRequest::default()
            .with_group_id(GroupId(text(&standing.group_id)))
            .with_members(vec![member]);
        let reply = self.ask(&request, 4, REQUEST_TIMEOUT).await?;
        Ok(GroupReply::Left { code: reply.error_code })
    }

    async fn partitions(&mut self, topics: BTreeSet<String>) -> Result<GroupReply, ClientError> {
        let limits = self.limits.iter().filter(|(topic, _)| topics.contains(*topic));
        let limits: BTreeMap<String, String> =
            limits.map(|(topic, by)| (topic.clone(), by.clone())).collect();
        let asked = topics.iter().chain(limits.values()).cloned().collect();
        let counts = self.admin.counts(&asked).await?;
        let count = |topic: &String| match limits.get(topic) {
            None => counts[topic],
            Some(by) => counts[topic].and_then(|count| Ok(count.min(counts[by]?))),
        };
        let partitions = topics.iter().map(|topic| (topic.clone(), count(topic))).collect();
        Ok(GroupReply::Partitions { partitions })
    }
}

/// Returns the error code of a coordinator's reply.
const fn coordinator_code(reply: &GroupReply) -> Option<i16> {
    match reply {
        GroupReply::Joined { code, .. }
        | GroupReply::Synced { code, .. }
        | GroupReply::Heartbeat { code }
        | GroupReply::Left { code } => Some(*code),
        GroupReply::Coordinator | GroupReply::Partitions { .. } | GroupReply::Refused { .. } => {
            None
        }
    }
}

/// Returns true if the reply is that of the group's coordinator: one that knows the group.
fn is_coordinators(reply: &GroupReply) -> bool {
    let not_yet = [COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR];
    coordinator_code(reply).is_some_and(|code| !not_yet.contains(&code))
}

impl GroupTransport for WireTransport {
    async fn call(&mut self, request: GroupRequest) -> Result<GroupReply, String> {
        let reply = self.try_call(request).await;
        match &reply {
            Ok(GroupReply::Coordinator) => self.is_new = true,
            Ok(reply) if self.is_new && is_coordinators(reply) => {
                self.is_new = false;
                let address = self.address.as_deref().unwrap_or_default();
                self.watch.note_answer(Instant::now(), address);
            }
            _ => {}
        }
        reply.or_else(|error| match error.code() {
            Some(code) => Ok(GroupReply::Refused { code }),
            None => {
                self.address = None;
                Err(error.to_string())
            }
        })
    }
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn join_request(join: &crate::group::JoinRequest) -> JoinGroupRequest {
    let protocol = |(name, subscription): &(String, Subscription)| {
        let metadata = encode_subscription(VERSION, subscription);
        JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(metadata)
    };
    let millis = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(&join.group_id)))
        .with_session_timeout_ms(millis(join.session_timeout))
        .with_rebalance_timeout_ms(millis(join.rebalance_timeout))
        .with_member_id(text(&join.member_id))
        .with_group_instance_id(join.instance_id.as_deref().map(text))
        .with_protocol_type(text(PROTOCOL_TYPE))
        .with_protocols(join.protocols.iter().map(protocol).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_that_does_not_know_the_group_yet_has_not_answered() {
        assert!(is_coordinators(&GroupReply::Heartbeat { code: 0 }));
        assert!(is_coordinators(&GroupReply::Heartbeat { code: 27 }), "a rebalance");
        for code in [COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR] {
            assert!(!is_coordinators(&GroupReply::Heartbeat { code }));
            assert!(!is_coordinators(&GroupReply::Refused { code }));
        }
        assert!(!is_coordinators(&GroupReply::Coordinator), "any broker says so");
    }
}
