//! Barriers, sessions, static members.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;

use super::*;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn join(member: &str, instance: Option<&str>, metadata: &'static str) -> RequestKind {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("p"))
        .with_metadata(Bytes::from_static(metadata.as_bytes()));
    let request = JoinGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(30_000)
        .with_member_id(text(member))
        .with_group_instance_id(instance.map(text))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    RequestKind::JoinGroup(request)
}

fn sync(member: &str, generation: i32, assignments: &[(&str, &'static str)]) -> RequestKind {
    let assignments = assignments.iter().map(|(member, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(Bytes::from_static(assignment.as_bytes()))
    });
    let request = SyncGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id(generation)
        .with_member_id(text(member))
        .with_assignments(assignments.collect());
    RequestKind::SyncGroup(request)
}

fn joined(reply: Option<&Reply>) -> JoinGroupResponse {
    match reply {
        Some(Reply::Response(response)) => match &**response {
            ResponseKind::JoinGroup(response) => response.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("not joined: {other:?}"),
    }
}

impl Bench {
    fn promised(&mut self) -> String {
        match self.ask(9, join("", None, "m")) {
            ResponseKind::JoinGroup(r) => {
                assert_eq!(r.error_code, codes::MEMBER_ID_REQUIRED);
                r.member_id.to_string()
            }
            other => panic!("{other:?}"),
        }
    }

    fn heartbeat(&mut self, member: &str, generation: i32) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_generation_id(generation)
            .with_member_id(text(member));
        match self.ask(4, RequestKind::Heartbeat(request)) {
            ResponseKind::Heartbeat(r) => r.error_code,
            other => panic!("{other:?}"),
        }
    }

    /// A group of two, stable: their ids, the leader first, and the generation.
    fn pair(&mut self) -> (String, String, i32) {
        let a = self.promised();
        let first = self.send(9, join(&a, None, "m"));
        assert_eq!(joined(self.replies().get(&first)).leader.as_str(), a);
        self.ask(5, sync(&a, 1, &[(&a, "all")]));
        let b = self.promised();
        let second = self.send(9, join(&b, None, "m"));
        assert!(self.replies().is_empty(), "BRK-6: it waits for the other one");
        assert_eq!(self.heartbeat(&a, 1), codes::REBALANCE_IN_PROGRESS);
        let again = self.send(9, join(&a, None, "m"));
        let replies = self.replies();
        assert_eq!(joined(replies.get(&again)).members.len(), 2, "the leader sees both");
        assert!(joined(replies.get(&second)).members.is_empty());
        let waiting = self.send(5, sync(&b, 2, &[]));
        assert!(self.replies().is_empty(), "BRK-6: the leader has not spoken");
        self.send(5, sync(&a, 2, &[(&a, "half"), (&b, "other half")]));
        assert!(self.replies().contains_key(&waiting));
        assert_eq!(self.heartbeat(&a, 2), 0);
        (a, b, 2)
    }
}

#[test]
fn brk6_two_members_pass_the_barrier_together() {
    let mut bench = Bench::new();
    let (a, b, generation) = bench.pair();
    assert_eq!(bench.heartbeat(&b, generation), 0);
    assert_eq!(bench.heartbeat(&a, generation - 1), codes::ILLEGAL_GENERATION);
    assert_eq!(bench.heartbeat("nobody", generation), codes::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_member_that_says_nothing_is_taken_out() {
    let mut bench = Bench::new();
    let (a, b, generation) = bench.pair();
    bench.wait(9_000);
    assert_eq!(bench.heartbeat(&a, generation), 0);
    bench.wait(1_000);
    assert_eq!(bench.heartbeat(&a, generation), codes::REBALANCE_IN_PROGRESS);
    assert_eq!(bench.heartbeat(&b, generation), codes::UNKNOWN_MEMBER_ID);
    let alone = bench.send(9, join(&a, None, "m"));
    assert_eq!(joined(bench.replies().get(&alone)).generation_id, generation + 1);
}

#[test]
fn a_follower_rebalances_only_if_it_says_something_new() {
    let mut bench = Bench::new();
    let (_, b, generation) = bench.pair();
    let same = bench.send(9, join(&b, None, "m"));
    assert_eq!(joined(bench.replies().get(&same)).generation_id, generation);
    bench.send(9, join(&b, None, "new"));
    assert!(bench.replies().is_empty(), "a rebalance: it waits for the leader");
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_former_self() {
    let mut bench = Bench::new();
    let first = bench.send(9, join("", Some("pod-1"), "m"));
    let old = joined(bench.replies().get(&first)).member_id.to_string();
    bench.ask(5, sync(&old, 1, &[(&old, "all")]));
    let back = bench.send(9, join("", Some("pod-1"), "m"));
    let response = joined(bench.replies().get(&back));
    let new = response.member_id.to_string();
    assert_eq!((response.generation_id, response.skip_assignment), (1, true));
    assert_ne!(old, new);
    match bench.ask(5, sync(&new, 1, &[])) {
        ResponseKind::SyncGroup(r) => assert_eq!(r.assignment, Bytes::from_static(b"all")),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.heartbeat(&old, 1), codes::UNKNOWN_MEMBER_ID);
}

#[test]
fn leaving_rebalances_the_others() {
    let mut bench = Bench::new();
    let (a, b, generation) = bench.pair();
    let leave = leave_group_request::MemberIdentity::default().with_member_id(text(&a));
    let request =
        LeaveGroupRequest::default().with_group_id(GroupId(text("g"))).with_members(vec![leave]);
    bench.ask(4, RequestKind::LeaveGroup(request));
    assert_eq!(bench.heartbeat(&b, generation), codes::REBALANCE_IN_PROGRESS);
    assert_eq!(bench.heartbeat(&a, generation), codes::UNKNOWN_MEMBER_ID);
}
