//! A partition that stands still, because the group may give it to another member.

use super::planted_tests::{Member, World};
use super::{FromWorker, ToWorker};
use crate::testing::Fault;

/// A member that has processed so many events, and not committed them yet.
fn begun(world: &World, events: u32) -> Member {
    let mut a = world.owner("a");
    world.settle(&mut a);
    (0..events).for_each(|_| world.send());
    a.worker.step(&world.clock);
    a
}

/// The member is to join: its partition stands still, and nothing more is committed.
fn hold(world: &World, member: &Member, hold: u64) {
    member.mailbox.send(ToWorker::Suspend(world.at.clone()));
    member.mailbox.send(ToWorker::Hold(hold));
}

/// What it says of a hold: which, and what stands still.
fn held(world: &World, member: &mut Member) -> Option<(u64, Vec<i32>)> {
    world.settle(member).into_iter().find_map(|said| match said {
        FromWorker::Held { hold, suspended, .. } => Some((hold, suspended)),
        _ => None,
    })
}

#[test]
fn eos6_what_has_begun_is_committed_although_commits_are_held_and_nothing_else_begins() {
    let world = World::new();
    let mut a = begun(&world, 2);
    hold(&world, &a, 7);
    world.send();
    World::interject(&a);
    a.worker.step(&world.clock);
    let said: Vec<_> = a.reports.try_iter().collect();
    assert!(said.is_empty(), "what has begun is not committed: {said:?}");
    assert_eq!(held(&world, &mut a), Some((7, vec![0])));
    assert_eq!(world.counts(), [1, 2]);
    world.settle(&mut a);
    assert_eq!(world.counts(), [1, 2], "it stands still");
    world.generation(&a, "a");
    a.mailbox.send(ToWorker::Resume(world.at.clone()));
    world.settle(&mut a);
    assert_eq!(world.counts(), [1, 2, 3, 4], "what came meanwhile is not lost");
    let called = world.called.lock().expect("no panic").clone();
    assert_eq!(called, ["assigned", "activated", "will revoke", "activated"]);
}

#[test]
fn eos6_one_that_stands_still_is_given_on_as_it_is() {
    let world = World::new();
    let (mut a, mut b) = (begun(&world, 1), world.member("b"));
    world.settle(&mut b);
    b.mailbox.send(ToWorker::Warm(world.at.clone(), world.changelog()));
    world.settle(&mut b);
    hold(&world, &a, 1);
    world.send();
    assert_eq!(held(&world, &mut a), Some((1, vec![0])));
    // Both hear of the generation at the same time.
    world.generation(&a, "a");
    a.mailbox.send(ToWorker::Revoke(world.at.clone()));
    world.generation(&b, "b");
    world.assign(&b);
    world.settle(&mut b);
    let said = world.settle(&mut a);
    assert!(said.iter().any(|said| matches!(said, FromWorker::Drained(_))), "{said:?}");
    world.send();
    world.settle(&mut b);
    assert_eq!(world.counts(), [1, 2, 3]);
    let called = world.called.lock().expect("no panic").clone();
    // `b` begins after the second, and may have begun before the last.
    let all = ["assigned", "activated", "will revoke", "assigned", "activated", "revoked"];
    assert_eq!(called, all);
}

#[test]
fn eos4_what_is_aborted_while_it_stands_still_is_processed_when_it_goes_on() {
    let world = World::new();
    let mut a = begun(&world, 1);
    world.cluster.lock().inject(Fault::Abort);
    hold(&world, &a, 1);
    assert_eq!(held(&world, &mut a), Some((1, vec![0])));
    assert_eq!(world.counts(), [0; 0], "nothing is left of it");
    world.generation(&a, "a");
    a.mailbox.send(ToWorker::Resume(world.at.clone()));
    world.settle(&mut a);
    assert_eq!(world.counts(), [1]);
}

#[test]
fn a_hold_that_is_over_is_not_answered() {
    let world = World::new();
    let mut a = begun(&world, 1);
    hold(&world, &a, 1);
    a.mailbox.send(ToWorker::Release);
    assert_eq!(held(&world, &mut a), None);
    hold(&world, &a, 2);
    assert_eq!(held(&world, &mut a), Some((2, vec![0])));
}
