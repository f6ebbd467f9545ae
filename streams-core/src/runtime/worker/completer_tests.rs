//! Completers that outlive the assignment in which their events began.

use super::planted_tests::{Counted, Counts, Member, OUT, PARKED, World};
use super::{FromWorker, ToWorker};
use crate::handler::Completer;
use crate::prelude::*;

/// Completes an event with an output of this number.
fn complete(completer: Completer<Counts>, number: u64) {
    completer.complete(move |ctx| {
        ctx.forward(&OUT, "n", Counted::Count(number))?;
        Ok(Complete)
    });
}

/// The partition is lost and assigned again while the event at offset 1 is incomplete; then the
/// event at offset 2 begins. Returns the completers of 1 (first assignment), 1 and 2.
fn assigned_again(world: &World, member: &mut Member) -> [Completer<Counts>; 3] {
    world.send();
    world.settle(member);
    world.park();
    world.settle(member);
    member.mailbox.send(ToWorker::LoseAll);
    world.settle(member);
    world.generation(member, "a");
    world.assign(member);
    world.settle(member);
    world.park();
    world.settle(member);
    PARKED.take().try_into().expect("three events began")
}

fn committed(world: &World) -> i64 {
    world.cluster.lock().committed(&world.at).expect("an offset").offset
}

#[test]
fn d1_a_completer_of_an_earlier_assignment_has_no_effect() {
    let world = World::new();
    let mut a = world.owner("a");
    let [stale, first, second] = assigned_again(&world, &mut a);
    complete(stale, 100);
    world.settle(&mut a);
    assert_eq!(world.counts(), [1], "the stale completer completed another event");
    complete(first, 101);
    complete(second, 102);
    world.settle(&mut a);
    assert_eq!(world.counts(), [1, 101, 102]);
    assert_eq!(committed(&world), 3);
}

#[test]
fn d1_a_dropped_completer_of_an_earlier_assignment_has_no_effect() {
    let world = World::new();
    let mut a = world.owner("a");
    let [stale, first, second] = assigned_again(&world, &mut a);
    drop(stale);
    let said = world.settle(&mut a);
    assert!(said.is_empty(), "the stale completer failed another event: {said:?}");
    complete(first, 101);
    complete(second, 102);
    world.settle(&mut a);
    assert_eq!(world.counts(), [1, 101, 102]);
    assert_eq!(committed(&world), 3);
}

/// Each record of the source is alone in its transaction, so that every other offset is a marker's.
#[test]
fn c4_events_behind_an_incomplete_one_are_committed_though_offsets_have_gaps() {
    let world = World::new();
    let mut a = world.owner("a");
    world.park();
    (0..1_000).for_each(|_| world.send_in_transaction());
    let said = world.settle(&mut a);
    let failed = said.iter().find(|said| matches!(said, FromWorker::Failed(_)));
    assert!(failed.is_none(), "{failed:?}");
    assert_eq!(world.counts().len(), 999, "the window has the incomplete one and these");
    let [first] = PARKED.take().try_into().expect("one event");
    complete(first, 5_000);
    world.settle(&mut a);
    assert_eq!(world.counts().len(), 1_001);
    assert_eq!(committed(&world), 2_000);
}

/// The store of a retired task stays, and so does its context.
#[test]
fn d1_a_completer_of_a_retired_task_has_no_effect() {
    let world = World::new();
    let mut a = world.owner("a");
    world.send();
    world.park();
    world.settle(&mut a);
    let [stale] = PARKED.take().try_into().expect("one event began");
    a.mailbox.send(ToWorker::Retire(world.at.clone()));
    world.settle(&mut a);
    a.mailbox.send(ToWorker::Warm(world.at.clone(), world.changelog()));
    world.settle(&mut a);
    world.generation(&a, "a");
    world.assign(&a);
    world.settle(&mut a);
    let [current] = PARKED.take().try_into().expect("the event began again");
    complete(stale, 100);
    complete(current, 101);
    world.settle(&mut a);
    assert_eq!(world.counts(), [1, 101]);
    assert_eq!(committed(&world), 2);
}
