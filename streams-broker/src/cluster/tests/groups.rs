//! Barriers, sessions, static members.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use super::*;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn join(member: &str, instance: Option<&str>, metadata: &'static str) -> RequestKind {
    join_with(member, instance, &[("p", metadata)])
}

fn join_with(
    member: &str,
    instance: Option<&str>,
    protocols: &[(&str, &'static str)],
) -> RequestKind {
    let protocols = protocols.iter().map(|(name, metadata)| {
        JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(Bytes::from_static(metadata.as_bytes()))
    });
    let request = JoinGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(30_000)
        .with_member_id(text(member))
        .with_group_instance_id(instance.map(text))
        .with_protocol_type(text("consumer"))
        .with_protocols(protocols.collect());
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
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("p")))
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

impl Bench {
    fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<i16> {
        let members = members.iter().map(|(member, instance)| {
            leave_group_request::MemberIdentity::default()
                .with_member_id(text(member))
                .with_group_instance_id(instance.map(text))
        });
        let request = LeaveGroupRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_members(members.collect());
        match self.ask(5, RequestKind::LeaveGroup(request)) {
            ResponseKind::LeaveGroup(r) => r.members.iter().map(|m| m.error_code).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, request: RequestKind) -> i16 {
        match self.ask(9, request) {
            ResponseKind::JoinGroup(response) => response.error_code,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn several_leave_in_one_request() {
    let mut bench = Bench::new();
    let (a, b, _) = bench.pair();
    let codes = bench.leave(&[(&a, None), ("nobody", None), (&b, Some("pod")), ("", Some("pod"))]);
    let unknown = codes::UNKNOWN_MEMBER_ID;
    assert_eq!(codes, [codes::NONE, unknown, unknown, unknown]);
    assert_eq!(bench.heartbeat(&b, 2), codes::REBALANCE_IN_PROGRESS);
    assert_eq!(bench.leave(&[(&b, None)]), [codes::NONE]);
    assert_eq!(bench.cluster.groups["g"].state.name(), "Empty");
    assert_eq!(bench.cluster.groups["g"].generation, 3, "an empty generation is one too");
}

#[test]
fn the_protocol_is_voted_for_among_those_that_all_have() {
    let mut bench = Bench::new();
    let (all, some) = ([("x", ""), ("y", ""), ("z", "")], [("z", ""), ("y", "")]);
    let ids: Vec<String> = (0..3).map(|_| bench.promised()).collect();
    for (id, protocols) in ids.iter().zip([&all[..], &some[..], &some[..]]) {
        bench.send(9, join_with(id, None, protocols));
    }
    // The first one was alone; it comes again when it hears of the others.
    let again = bench.send(9, join_with(&ids[0], None, &all));
    let response = joined(bench.replies().get(&again));
    assert_eq!(response.protocol_name.as_deref(), Some("z"), "two of three prefer it to y");
    assert_eq!(
        bench.refused(join_with("", None, &[("x", "")])),
        codes::INCONSISTENT_GROUP_PROTOCOL
    );
    assert_eq!(bench.refused(join_with("", None, &[])), codes::INCONSISTENT_GROUP_PROTOCOL);
}

#[test]
fn who_does_not_join_in_time_is_out_unless_it_is_static() {
    let mut bench = Bench::new();
    let first = bench.send(9, join("", Some("pod-1"), "m"));
    let pod = joined(bench.replies().get(&first)).member_id.to_string();
    let id = bench.promised();
    let second = bench.send(9, join(&id, None, "m"));
    bench.wait(9_000);
    assert_eq!(bench.heartbeat(&pod, 1), codes::REBALANCE_IN_PROGRESS, "it is heard of");
    for _ in 0..2 {
        bench.wait(9_000);
        assert_eq!(bench.heartbeat(&pod, 1), codes::REBALANCE_IN_PROGRESS);
        assert!(!bench.replies().contains_key(&second));
    }
    bench.wait(3_000);
    let response = joined(bench.replies().get(&second));
    assert_eq!(response.leader.as_str(), id, "who is there leads");
    assert_eq!(response.members.len(), 2, "the static member is kept");
    // It never asks for its assignment: it is taken out when all have had their time.
    bench.send(5, sync(&id, 2, &[]));
    for _ in 0..4 {
        bench.wait(8_000);
        bench.heartbeat(&id, 2);
        bench.heartbeat(&pod, 2);
    }
    assert_eq!(bench.heartbeat(&pod, 2), codes::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.heartbeat(&id, 2), codes::REBALANCE_IN_PROGRESS);
}

#[test]
fn a_static_member_with_another_protocol_rebalances_and_its_former_self_is_fenced() {
    let mut bench = Bench::new();
    let first = bench.send(9, join("", Some("pod-1"), "m"));
    let old = joined(bench.replies().get(&first)).member_id.to_string();
    bench.ask(5, sync(&old, 1, &[(&old, "all")]));
    let back = bench.send(9, join_with("", Some("pod-1"), &[("q", "m"), ("p", "m")]));
    let response = joined(bench.replies().get(&back));
    assert_eq!((response.generation_id, response.skip_assignment), (2, false));
    assert_eq!(bench.refused(join(&old, Some("pod-1"), "m")), codes::FENCED_INSTANCE_ID);
    assert_eq!(bench.leave(&[(&old, Some("pod-1"))]), [codes::FENCED_INSTANCE_ID]);
    assert_eq!(bench.leave(&[("", Some("pod-1"))]), [codes::NONE]);
}

#[test]
fn the_first_generation_waits_as_long_as_it_is_told_to() {
    let mut bench = Bench::new();
    bench.cluster.settings.group_initial_rebalance_delay_ms = 3_000;
    let (a, b) = (bench.promised(), bench.promised());
    let first = bench.send(9, join(&a, None, "m"));
    bench.wait(2_000);
    let second = bench.send(9, join(&b, None, "m"));
    bench.wait(1_000);
    assert!(bench.replies().is_empty(), "a new member prolongs it");
    bench.wait(3_000);
    let replies = bench.replies();
    let joined = |id| (joined(replies.get(id)).generation_id, joined(replies.get(id)).leader);
    assert_eq!(joined(&first), joined(&second));
    assert_eq!(joined(&first).0, 1);
}

#[test]
fn a_group_is_no_larger_than_it_may_be() {
    let mut bench = Bench::new();
    bench.pair();
    bench.cluster.settings.group_max_size = 2;
    assert_eq!(bench.refused(join("", None, "m")), codes::GROUP_MAX_SIZE_REACHED);
}

#[test]
fn who_is_no_member_is_told_so() {
    let mut bench = Bench::new();
    assert_eq!(bench.refused(join("nobody", None, "m")), codes::UNKNOWN_MEMBER_ID);
    assert!(bench.cluster.groups.is_empty(), "no group is made for it");
    let (a, _, generation) = bench.pair();
    assert_eq!(bench.refused(join("nobody", None, "m")), codes::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.refused(join(&a, Some("pod-1"), "m")), codes::UNKNOWN_MEMBER_ID);
    let mut other = sync(&a, generation, &[]);
    if let RequestKind::SyncGroup(request) = &mut other {
        request.protocol_name = Some(text("q"));
    }
    match bench.ask(5, other) {
        ResponseKind::SyncGroup(r) => assert_eq!(r.error_code, codes::INCONSISTENT_GROUP_PROTOCOL),
        other => panic!("{other:?}"),
    }
}
