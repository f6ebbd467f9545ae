//! Generations that a member misses, stepped.

use super::tests::{Bench, joined, owned, parts, told};
use super::*;
use crate::group::user_data::Instructions;

/// What the member does when its JoinGroup goes unanswered, or its process stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    /// The JoinGroup is swallowed, and the call ends after the rebalance timeout.
    Joining,
    /// The process is stopped between the heartbeat and the JoinGroup.
    Rejoin,
    /// The process is stopped while it waits for its last commit.
    Holding,
}

/// A member with a session of five minutes that has 0 and 1, and is away for 65 s.
fn away(instance: Option<&str>, away: Away) -> Bench {
    let mut bench = Bench::configured(|config| {
        config.instance_id = instance.map(str::to_owned);
        config.session_timeout = Duration::from_secs(300);
    });
    bench.join(1, &[0, 1], &[]);
    bench.heartbeat(27);
    match away {
        Away::Joining => drop(bench.join_request()),
        Away::Rejoin => assert!(matches!(bench.member.state, State::Rejoin { .. })),
        Away::Holding => {
            assert_eq!(bench.member.poll_request(bench.now), None);
            assert!(matches!(bench.member.state, State::Holding { .. }));
        }
    }
    bench.events();
    bench.now += Duration::from_secs(65);
    if away == Away::Joining {
        bench.member.handle_reply(bench.now, Err("no answer".to_owned()));
        bench.now += BACKOFF_MAX;
    }
    bench
}

/// The generation begins, and the member is told what it lost, before it may commit.
#[track_caller]
fn join_and_lose(bench: &mut Bench, generation: i32) {
    let claimed = owned(&bench.join_request(), Assignor::IncrCoop);
    assert_eq!(claimed, parts(&[0, 1]), "it does not know yet");
    bench.joined(generation);
    let events: Vec<GroupEvent> = std::iter::from_fn(|| bench.member.poll_event()).collect();
    let decisive =
        |event: &&GroupEvent| matches!(event, GroupEvent::Lost { .. } | GroupEvent::Begun { .. });
    let first = events.iter().find(decisive);
    assert!(matches!(first, Some(GroupEvent::Lost { .. })), "D2: {first:?} comes first");
    // What comes next is taken over from the committed offset.
    let events = bench.synced(&[0], &Instructions { handed_over: parts(&[0]), ..told(&[], false) });
    assert_eq!(joined(&events)[..3], [parts(&[0]), parts(&[]), parts(&[0])]);
    let handed_over = events.iter().any(
        |event| matches!(event, GroupEvent::Joined { handed_over, .. } if !handed_over.is_empty()),
    );
    assert!(!handed_over, "it may have been another member's since");
}

#[test]
fn d2_a_static_member_that_misses_a_generation_loses_its_partitions_before_it_commits() {
    for state in [Away::Joining, Away::Rejoin, Away::Holding] {
        let mut bench = away(Some("i"), state);
        join_and_lose(&mut bench, 3);
    }
}

#[test]
fn d2_a_dynamic_member_does_not_trust_a_gap_either() {
    join_and_lose(&mut away(None, Away::Joining), 3);
}

#[test]
fn a_member_that_was_only_slow_keeps_its_partitions() {
    for state in [Away::Joining, Away::Rejoin, Away::Holding] {
        let mut bench = away(Some("i"), state);
        bench.join_request();
        bench.joined(2);
        let events = bench.synced(&[0, 1], &told(&[], false));
        assert_eq!(joined(&events)[..3], [parts(&[]), parts(&[]), parts(&[0, 1])], "{state:?}");
    }
}

/// The coordinator called again before the assignment was there: no generation was missed.
#[test]
fn a_generation_without_an_assignment_is_not_missed() {
    let mut bench = Bench::new();
    bench.join(1, &[0, 1], &[]);
    bench.heartbeat(27);
    for generation in 2..5 {
        bench.join_request();
        bench.joined(generation);
        bench.reply(GroupReply::Synced { code: 27, assignment: Assignment::default() });
        assert!(!bench.events().iter().any(|event| matches!(event, GroupEvent::Lost { .. })));
        bench.now += BACKOFF_MAX;
    }
    let events = bench.join(5, &[0, 1], &[]);
    assert_eq!(joined(&events)[..3], [parts(&[]), parts(&[]), parts(&[0, 1])]);
}

/// A coordinator that takes over from a dead one knows generations with assignments alone, and
/// counts on from there.
#[test]
fn d2_a_generation_that_the_next_coordinator_has_forgotten_does_not_count() {
    let mut bench = Bench::new();
    bench.join(1, &[0, 1], &[]);
    bench.heartbeat(27);
    bench.join_request();
    bench.joined(2);
    bench.reply(GroupReply::Synced { code: 16, assignment: Assignment::default() });
    bench.events();
    bench.now += BACKOFF_MAX;
    // 2 began once more, without this member.
    join_and_lose(&mut bench, 3);
}

/// Leaders before Kafka 3.5 drop a claim that is older than the newest one.
#[test]
fn d2_a_claim_that_a_sticky_leader_drops_is_lost() {
    let mut bench = Bench::with(Assignor::CooperativeSticky);
    bench.join(1, &[0, 1], &[]);
    bench.heartbeat(27);
    bench.join_request();
    bench.joined(2);
    bench.reply(GroupReply::Synced { code: 27, assignment: Assignment::default() });
    bench.events();
    // Another member has its assignment of generation 2, and claims with it.
    let join = bench.join_request();
    assert_eq!(owned(&join, Assignor::CooperativeSticky), parts(&[0, 1]));
    assert_eq!(join.protocols[0].1.generation, 1);
    bench.joined(3);
    let events = bench.events();
    assert!(matches!(events[..], [.., GroupEvent::Lost { .. }]), "D2: {events:?}");
}

/// The process before it was told to give a partition up, and is gone: the coordinator lets the new
/// process in without a rebalance.
#[test]
fn a_static_member_finishes_what_its_former_self_gave_up() {
    let mut bench = Bench::configured(|config| config.instance_id = Some("i".to_owned()));
    bench.join_request();
    bench.joined(4);
    let unowned = GroupView { generation: 4, unowned: parts(&[1]), ..GroupView::default() };
    bench.synced(&[0], &Instructions { view: Some(unowned), ..told(&[], false) });
    bench.now += WARMED_DELAY;
    bench.join_request();
    bench.joined(5);
    let view = GroupView { generation: 5, ..GroupView::default() };
    bench.synced(&[0], &Instructions { view: Some(view), ..told(&[], false) });
    bench.heartbeat(0);
    assert_eq!(bench.request(), None, "once");
}

/// Its JoinGroup claimed 1, which should move: the plan gives that to no other member yet.
#[test]
fn d2_a_member_that_lost_what_it_claimed_joins_again_without_it() {
    let mut bench = away(Some("i"), Away::Joining);
    join_and_lose(&mut bench, 3);
    bench.now += WARMED_DELAY;
    let join = bench.join_request();
    assert_eq!(owned(&join, Assignor::IncrCoop), parts(&[0]));
    bench.joined(4);
    bench.synced(&[0], &told(&[], false));
    bench.heartbeat(0);
    assert_eq!(bench.request(), None, "once");
}

#[test]
fn a_member_that_is_given_all_that_it_lost_does_not_join_again() {
    let mut bench = away(Some("i"), Away::Joining);
    bench.join_request();
    bench.joined(3);
    bench.synced(&[0, 1], &told(&[], false));
    bench.heartbeat(0);
    assert_eq!(bench.request(), None);
}
