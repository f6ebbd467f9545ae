//! Events that wait for another attempt, while their partition is suspended, revoked or lost.

use std::time::Duration;

use super::planted_tests::{Member, STUMBLES, World};
use super::{FromWorker, ToWorker};
use crate::ErrorPolicy;

const SECOND: Duration = Duration::from_secs(1);

/// The owner's event has failed, and waits; a second event waits behind it.
fn waiting() -> (World, Member) {
    let mut world = World::new();
    world.policy = ErrorPolicy::retry(10, SECOND).into();
    STUMBLES.set(1);
    let mut a = world.owner("a");
    world.settle(&mut a);
    world.stumble();
    world.send();
    world.settle(&mut a);
    assert_eq!(world.counts(), [0; 0]);
    assert_eq!(STUMBLES.get(), 0, "its first attempt has failed");
    (world, a)
}

fn is_held(said: &FromWorker) -> bool {
    matches!(said, FromWorker::Held { suspended, .. } if suspended == &[0])
}

#[test]
fn eos6_a_suspended_partition_drains_although_an_event_waits_for_its_retry() {
    let (mut world, mut a) = waiting();
    a.mailbox.send(ToWorker::Suspend(world.at.clone()));
    a.mailbox.send(ToWorker::Hold(1));
    let said = world.settle(&mut a);
    assert!(said.iter().any(is_held), "{said:?}");
    world.clock.0 += 2 * SECOND;
    world.settle(&mut a);
    assert_eq!(world.counts(), [0; 0], "it begins nothing");
    world.generation(&a, "a");
    a.mailbox.send(ToWorker::Resume(world.at.clone()));
    world.settle(&mut a);
    assert_eq!(world.counts(), [1, 2], "both events run now");
}

#[test]
fn eos6_a_revoked_partition_does_not_wait_for_a_retry() {
    let (world, mut a) = waiting();
    a.mailbox.send(ToWorker::Revoke(world.at.clone()));
    let said = world.settle(&mut a);
    assert!(said.iter().any(|said| matches!(said, FromWorker::Drained(_))), "{said:?}");
    let mut b = world.owner("b");
    world.settle(&mut b);
    assert_eq!(world.counts(), [1, 2], "the next owner runs the event at once");
}

#[test]
fn a_partition_that_comes_back_has_nothing_of_its_former_retries() {
    let (mut world, mut a) = waiting();
    a.mailbox.send(ToWorker::LoseAll);
    world.settle(&mut a);
    world.clock.0 += 2 * SECOND;
    world.settle(&mut a);
    assert_eq!(world.counts(), [0; 0]);
    world.generation(&a, "a");
    world.assign(&a);
    world.settle(&mut a);
    assert_eq!(world.counts(), [1, 2]);
}

#[test]
fn a_store_that_was_retired_and_comes_back_has_nothing_of_its_former_retries() {
    let (world, mut a) = waiting();
    a.mailbox.send(ToWorker::Retire(world.at.clone()));
    let said = world.settle(&mut a);
    assert!(said.iter().any(|said| matches!(said, FromWorker::Retired(_))), "{said:?}");
    a.mailbox.send(ToWorker::Warm(world.at.clone(), world.changelog()));
    world.settle(&mut a);
    world.generation(&a, "a");
    world.assign(&a);
    world.settle(&mut a);
    assert_eq!(world.counts(), [1, 2], "the event runs at once, as on another member");
}

#[test]
fn a_worker_that_stops_does_not_wait_for_a_retry() {
    let (world, mut a) = waiting();
    a.mailbox.send(ToWorker::Stop);
    let said = world.settle(&mut a);
    assert!(said.iter().any(|said| matches!(said, FromWorker::Drained(_))), "{said:?}");
    assert!(a.worker.ended);
}
