//! Partitions that do not advance, and restores that end too early or too late.

use std::time::Duration;

use super::planted_tests::{Member, World};
use super::{FromWorker, ToWorker};
use crate::record::TopicPartition;

/// The default.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// Steps a member once a second for this time. Returns what it says.
fn wait(world: &mut World, member: &mut Member, time: Duration) -> Vec<FromWorker> {
    let mut said = Vec::new();
    let until = world.clock.0 + time;
    while world.clock.0 < until {
        world.clock.0 += Duration::from_secs(1);
        said.extend(world.settle(member));
    }
    said
}

fn stalls(said: &[FromWorker]) -> Vec<bool> {
    let stall = |said: &FromWorker| match said {
        FromWorker::Stalled(_, reason) => Some(reason.is_some()),
        _ => None,
    };
    said.iter().filter_map(stall).collect()
}

#[test]
fn s3_a_partition_whose_records_do_not_come_is_reported_once() {
    let mut world = World::new();
    let mut a = world.owner("a");
    let at = world.at.clone();
    world.send();
    world.settle(&mut a);
    // The broker knows of two records more, and brings none.
    world.cluster.lock().serve_up_to(&at, Some(1));
    world.send();
    world.send();
    let said = wait(&mut world, &mut a, STALLED_AFTER / 2);
    assert_eq!(stalls(&said), [false; 0], "{said:?}");
    let said = wait(&mut world, &mut a, STALLED_AFTER * 2);
    assert_eq!(stalls(&said), [true], "{said:?}");
    world.cluster.lock().serve_up_to(&at, None);
    let said = wait(&mut world, &mut a, STALLED_AFTER * 2);
    assert_eq!(stalls(&said), [false], "{said:?}");
    assert_eq!(world.counts(), [1, 2, 3]);
}

#[test]
fn s3_a_stall_is_reported_after_the_time_that_is_set() {
    let stalled_after = Duration::from_secs(5);
    let mut world = World::new();
    let mut a = world.member_with("a", |builder| builder.stalled_after(stalled_after));
    world.owns(&mut a, "a");
    let at = world.at.clone();
    world.send();
    world.settle(&mut a);
    world.cluster.lock().serve_up_to(&at, Some(1));
    world.send();
    let said = wait(&mut world, &mut a, Duration::from_secs(4));
    assert_eq!(stalls(&said), [false; 0], "{said:?}");
    let said = wait(&mut world, &mut a, Duration::from_secs(3));
    assert_eq!(stalls(&said), [true], "{said:?}");
}

#[test]
fn s3_a_partition_without_records_or_that_is_suspended_is_not_stalled() {
    let mut world = World::new();
    let mut a = world.owner("a");
    world.send();
    let said = wait(&mut world, &mut a, STALLED_AFTER * 3);
    assert_eq!(stalls(&said), [false; 0], "{said:?}");
    a.mailbox.send(ToWorker::Suspend(world.at.clone()));
    world.settle(&mut a);
    let at = world.at.clone();
    world.cluster.lock().serve_up_to(&at, Some(1));
    world.send();
    let said = wait(&mut world, &mut a, STALLED_AFTER * 3);
    assert_eq!(stalls(&said), [false; 0], "{said:?}");
}

/// A replica that lags behind serves the changelog: its end is not the restore's.
#[test]
fn d5_a_restore_does_not_end_at_an_end_of_partition_before_its_end() {
    let world = World::new();
    let changelog = TopicPartition::new("changes", 0);
    let (mut a, mut b) = (world.owner("a"), world.member("b"));
    for _ in 0..3 {
        world.send();
        world.settle(&mut a);
    }
    world.settle(&mut b);
    world.cluster.lock().serve_up_to(&changelog, Some(2));
    world.generation(&b, "b");
    world.assign(&b);
    let said = world.settle(&mut b);
    let is_active = said.iter().any(|said| matches!(said, FromWorker::Active(_)));
    assert!(!is_active, "the last changes are missing: {said:?}");
    world.cluster.lock().serve_up_to(&changelog, None);
    let said = world.settle(&mut b);
    let is_active = said.iter().any(|said| matches!(said, FromWorker::Active(_)));
    assert!(is_active, "{said:?}");
    world.send();
    world.settle(&mut b);
    assert_eq!(world.counts(), [1, 2, 3, 4]);
}

/// A member restores a partition of its own and keeps copies of two others; the changelog of one
/// copy can't be read.
#[test]
fn u8_a_copy_whose_changelog_fails_costs_no_other_partition_anything() {
    let world = World::of(3);
    let partitions: Vec<_> = (0..3).map(|number| TopicPartition::new("events", number)).collect();
    let mut a = world.owner("a");
    world.assign_one(&a, &partitions[1]);
    world.assign_one(&a, &partitions[2]);
    for key in 0..50 {
        world.send_keyed(&format!("k{key}"));
    }
    world.settle(&mut a);
    let mut b = world.member("b");
    world.settle(&mut b);
    let changelog = TopicPartition::new("changes", 2);
    world.cluster.lock().damage(&changelog);
    for number in [1, 2] {
        let ends = world.changelog_of(number);
        b.mailbox.send(ToWorker::Warm(partitions[usize::try_from(number).unwrap()].clone(), ends));
    }
    world.generation(&b, "b");
    world.assign_one(&b, &partitions[0]);
    let mut said = world.settle(&mut b);
    // The copies wait for the restore.
    said.extend(world.settle(&mut b));
    let failed = said.iter().any(|said| matches!(said, FromWorker::Failed(_)));
    assert!(!failed, "the source stops: {said:?}");
    assert_eq!(b.worker.warm_partitions(), [1], "{said:?}");
    let lost: Vec<_> = said.iter().filter(|s| matches!(s, FromWorker::WarmFailed(..))).collect();
    assert_eq!(lost.len(), 1, "{said:?}");
    let is_active = said.iter().any(|said| matches!(said, FromWorker::Active(_)));
    assert!(is_active, "{said:?}");
}

/// A copy that stood still for longer than tombstones are kept, by the wall clock alone.
#[test]
fn d7_a_copy_that_stood_still_is_given_up_and_not_taken() {
    let mut world = World::new();
    let (mut a, mut b) = (world.owner("a"), world.member("b"));
    world.send();
    world.settle(&mut a);
    world.settle(&mut b);
    b.mailbox.send(ToWorker::Warm(world.at.clone(), world.changelog()));
    world.settle(&mut b);
    assert_eq!(b.worker.warm_partitions(), [0]);
    world.clock.1 += Duration::from_hours(7);
    let said = world.settle(&mut b);
    let given_up = said.iter().any(|said| matches!(said, FromWorker::CopyTooOld(_)));
    assert!(given_up, "rows that were deleted meanwhile would live on: {said:?}");
    assert!(b.worker.warm_partitions().is_empty());
    b.mailbox.send(ToWorker::Warm(world.at.clone(), world.changelog()));
    let said = world.settle(&mut b);
    let is_warm = said.iter().any(|said| matches!(said, FromWorker::Warmed(_)));
    assert!(is_warm, "a new one is made: {said:?}");
}

#[test]
fn d7_a_copy_that_is_silent_for_days_stays_because_it_hears_the_end() {
    let mut world = World::new();
    let (mut a, mut b) = (world.owner("a"), world.member("b"));
    world.send();
    world.settle(&mut a);
    world.settle(&mut b);
    b.mailbox.send(ToWorker::Warm(world.at.clone(), world.changelog()));
    world.settle(&mut b);
    for _ in 0..48 {
        let hour = Duration::from_hours(1);
        (world.clock.0, world.clock.1) = (world.clock.0 + hour, world.clock.1 + hour);
        let said = world.settle(&mut b);
        let given_up = said.iter().any(|said| matches!(said, FromWorker::CopyTooOld(_)));
        assert!(!given_up, "{said:?}");
    }
}

#[test]
fn d7_a_restore_that_stood_still_begins_again_once() {
    let mut world = World::new();
    let changelog = TopicPartition::new("changes", 0);
    let (mut a, mut b) = (world.owner("a"), world.member("b"));
    for _ in 0..3 {
        world.send();
        world.settle(&mut a);
    }
    world.settle(&mut b);
    world.cluster.lock().serve_up_to(&changelog, Some(2));
    world.generation(&b, "b");
    world.assign(&b);
    world.settle(&mut b);
    world.clock.1 += Duration::from_hours(7);
    let said = world.settle(&mut b);
    assert!(!said.iter().any(|said| matches!(said, FromWorker::Failed(_))), "{said:?}");
    world.cluster.lock().serve_up_to(&changelog, None);
    world.settle(&mut b);
    world.send();
    world.settle(&mut b);
    assert_eq!(world.counts(), [1, 2, 3, 4], "the store was read again from the beginning");
}
