//! Completers that outlive the assignment in which their events began.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::planted_tests::{Counted, Counts, Member, OUT, PARKED, World};
use super::{FromWorker, ToWorker};
use crate::handler::{Completer, Hold};
use crate::prelude::*;
use crate::testing::Fault;

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

/// Holds the partition, and counts the ends of its incarnation.
fn held(member: &mut Member) -> (Hold<Counts>, Arc<AtomicUsize>) {
    let ends = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&ends);
    let task = member.worker.tasks.get_mut(&0).expect("the partition's task");
    task.context.incarnation().on_end(move || {
        told.fetch_add(1, Ordering::Relaxed);
    });
    (task.context.hold(), ends)
}

#[test]
fn a_held_partition_takes_no_events_until_the_hold_is_dropped() {
    let world = World::new();
    let mut a = world.owner("a");
    world.settle(&mut a);
    let (hold, ends) = held(&mut a);
    for _ in 0..1_000 {
        world.send();
    }
    world.settle(&mut a);
    assert_eq!(world.counts(), [0; 0]);
    // The mailbox carries the end of the hold, and so wakes the worker.
    drop(hold);
    world.settle(&mut a);
    assert_eq!((world.counts().len(), committed(&world)), (1_000, 1_000));
    assert_eq!(ends.load(Ordering::Relaxed), 0);
}

#[test]
fn a_revoked_partition_tells_the_end_of_its_incarnation_at_once() {
    let world = World::new();
    let mut a = world.owner("a");
    world.park();
    world.settle(&mut a);
    let (hold, ends) = held(&mut a);
    a.mailbox.send(ToWorker::Revoke(world.at.clone()));
    world.settle(&mut a);
    assert_eq!(ends.load(Ordering::Relaxed), 1);
    drop((hold, PARKED.take()));
    world.settle(&mut a);
    assert_eq!(ends.load(Ordering::Relaxed), 1);
}

#[test]
fn a_hold_ends_with_its_incarnation_and_frees_no_later_one() {
    let world = World::new();
    let mut a = world.owner("a");
    world.settle(&mut a);
    let (lost, ends) = held(&mut a);
    world.send();
    a.mailbox.send(ToWorker::LoseAll);
    world.settle(&mut a);
    assert_eq!(ends.load(Ordering::Relaxed), 1);
    world.generation(&a, "a");
    world.assign(&a);
    world.settle(&mut a);
    assert_eq!(world.counts(), [1], "the new assignment is not held");
    let (current, ends) = held(&mut a);
    drop(lost);
    world.send();
    world.settle(&mut a);
    assert_eq!(world.counts(), [1], "the hold of the first assignment frees no later one");
    drop(current);
    world.settle(&mut a);
    assert_eq!(world.counts(), [1, 2]);
    // A rewind ends the incarnation too.
    let (rewound, _) = held(&mut a);
    assert_eq!(ends.load(Ordering::Relaxed), 0);
    world.cluster.lock().inject(Fault::Abort);
    World::interject(&a);
    world.settle(&mut a);
    assert_eq!((world.counts(), ends.load(Ordering::Relaxed)), (vec![1, 2, 3], 1));
    world.send();
    world.settle(&mut a);
    assert_eq!(world.counts(), [1, 2, 3, 4], "the rewind has ended the hold");
    drop(rewound);
}
