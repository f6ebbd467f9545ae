//! Partitions that are released, stepped.

use super::tests::{Bench, joined, meta, owned, parts, told};
use super::*;
use crate::group::JoinRequest;
use crate::group::user_data::Instructions;

/// A member that has 0 and 1, and somebody prepares for 1.
fn prepared_for() -> Bench {
    let mut bench = Bench::new();
    bench.join_request();
    bench.joined(1);
    bench.synced(&[0, 1], &Instructions { outgoing: parts(&[1]), ..told(&[], false) });
    bench
}

/// The coordinator calls, and the runtime says that 1 stands still.
fn release(bench: &mut Bench) -> JoinRequest {
    bench.heartbeat(27);
    assert_eq!(bench.member.poll_request(bench.now), None, "commits are on their way");
    let rejoining = GroupEvent::Rejoining { hold: 0, outgoing: parts(&[1]) };
    assert_eq!(bench.events(), [rejoining]);
    let hold = bench.member.holds;
    // What others don't prepare for is not released, whatever the runtime says.
    bench.member.held(bench.now, hold, &parts(&[0, 1, 7]));
    match bench.member.poll_request(bench.now) {
        Some(GroupRequest::Join(join)) => *join,
        other => panic!("no JoinGroup: {other:?}"),
    }
}

#[test]
fn one_that_is_released_is_given_on_without_another_rebalance() {
    let mut bench = prepared_for();
    let join = release(&mut bench);
    for assignor in [Assignor::IncrCoop, Assignor::CooperativeSticky] {
        assert_eq!(owned(&join, assignor), parts(&[0]), "it is not claimed");
    }
    assert_eq!(meta(&join).released, parts(&[1]));
    bench.joined(2);
    let events = bench.synced(&[0], &told(&[], false));
    assert_eq!(joined(&events)[..3], [parts(&[]), parts(&[1]), parts(&[0])]);
    // Its closing holds nobody up.
    bench.member.acknowledge_revoked(bench.now, &parts(&[1]), 2);
    bench.heartbeat(0);
    assert!(bench.request().is_none(), "there is nothing to say");
}

#[test]
fn one_that_is_released_in_vain_goes_on_and_is_claimed_again() {
    let mut bench = prepared_for();
    release(&mut bench);
    bench.joined(2);
    let events = bench.synced(&[0, 1], &told(&[], false));
    assert_eq!(joined(&events)[..3], [parts(&[]), parts(&[]), parts(&[0, 1])]);
    bench.heartbeat(27);
    let join = bench.join_request();
    assert_eq!(owned(&join, Assignor::IncrCoop), parts(&[0, 1]));
    assert_eq!(meta(&join).released, parts(&[]), "nobody prepares for it any more");
}

#[test]
fn grp1_a_release_whose_generation_was_not_seen_is_not_taken_back() {
    let mut bench = prepared_for();
    release(&mut bench);
    bench.joined(2);
    // Others may have joined, worked and left in the generation that this was not told of.
    bench.reply(GroupReply::Synced { code: 27, assignment: Assignment::default() });
    let join = bench.join_request();
    assert_eq!(owned(&join, Assignor::IncrCoop), parts(&[0]));
    assert_eq!(meta(&join).released, parts(&[]));
    let revoked = GroupEvent::Revoked { partitions: parts(&[1]) };
    assert_eq!(bench.events()[0], revoked);
    // It comes back before it is closed: it is given up all the same.
    bench.joined(3);
    let events = bench.synced(&[0, 1], &told(&[], false));
    assert_eq!(joined(&events)[..3], [parts(&[]), parts(&[1]), parts(&[0])]);
    bench.member.acknowledge_revoked(bench.now, &parts(&[1]), 3);
    assert_eq!(owned(&bench.join_request(), Assignor::IncrCoop), parts(&[0]));
}

#[test]
fn what_is_said_of_an_earlier_hold_releases_nothing() {
    let mut bench = prepared_for();
    bench.heartbeat(27);
    assert_eq!(bench.member.poll_request(bench.now), None);
    let hold = bench.member.holds;
    bench.member.held(bench.now, hold - 1, &parts(&[1]));
    assert_eq!(bench.member.poll_request(bench.now), None, "its commits are still on their way");
    bench.wait(HOLD_MAX);
    let Some(GroupRequest::Join(join)) = bench.member.poll_request(bench.now) else {
        panic!("no JoinGroup");
    };
    assert_eq!(owned(&join, Assignor::IncrCoop), parts(&[0, 1]), "nothing stood still in time");
    bench.member.held(bench.now, hold, &parts(&[1]));
    bench.joined(2);
    let events = bench.synced(&[0], &told(&[], false));
    assert_eq!(joined(&events)[1], parts(&[1]));
    bench.member.acknowledge_revoked(bench.now, &parts(&[1]), 2);
    assert_eq!(owned(&bench.join_request(), Assignor::IncrCoop), parts(&[0]), "as ever");
}

#[test]
fn a_late_acknowledgement_is_not_of_what_became_ours_again() {
    let mut bench = prepared_for();
    bench.heartbeat(27);
    bench.join(2, &[0], &[]);
    bench.member.acknowledge_revoked(bench.now, &parts(&[1]), 2);
    bench.join(3, &[0, 1], &[]);
    bench.member.acknowledge_revoked(bench.now, &parts(&[1]), 2);
    bench.heartbeat(27);
    assert_eq!(owned(&bench.join_request(), Assignor::IncrCoop), parts(&[0, 1]));
}

#[test]
fn one_that_stands_still_in_vain_goes_on_while_others_are_waited_for() {
    let mut bench = prepared_for();
    bench.heartbeat(27);
    assert_eq!(bench.member.poll_request(bench.now), None);
    bench.wait(HOLD_MAX);
    assert!(matches!(bench.member.poll_request(bench.now), Some(GroupRequest::Join(_))));
    bench.events();
    bench.wait(Duration::from_millis(500));
    assert_eq!(bench.events(), [GroupEvent::Waiting { resumed: parts(&[1]) }]);
}

#[test]
fn what_is_handed_over_is_believed_by_a_member_that_was_there_before() {
    let told = Instructions { handed_over: parts(&[0, 7]), ..told(&[], false) };
    let handed_over = |events: Vec<GroupEvent>| {
        events.into_iter().find_map(|event| match event {
            GroupEvent::Joined { handed_over, .. } => Some(handed_over),
            _ => None,
        })
    };
    let mut bench = Bench::new();
    bench.join_request();
    bench.joined(1);
    assert_eq!(handed_over(bench.synced(&[0], &told)), Some(parts(&[])), "a predecessor was told");
    bench.heartbeat(27);
    bench.join(2, &[], &[]);
    bench.member.acknowledge_revoked(bench.now, &parts(&[0]), 2);
    bench.join_request();
    bench.joined(3);
    assert_eq!(handed_over(bench.synced(&[0], &told)), Some(parts(&[0])), "7 is not ours");
}
