//! The first event of a partition, and what a changelog says about offsets.

use super::planted_tests::{Member, World};
use super::{Assignment, FromWorker, ToWorker};
use crate::eos::Snapshot;
use crate::runtime::SourceError;
use crate::runtime::history::CommittedWith;
use crate::runtime::problem::TopicProblem;
use crate::testing::Fault;

fn committed(world: &World) -> Option<i64> {
    world.cluster.lock().committed(&world.at).map(|known| known.offset)
}

fn failure(world: &World, member: &mut Member) -> Option<SourceError> {
    world.settle(member).into_iter().find_map(|said| match said {
        FromWorker::Failed(error) => Some(error),
        _ => None,
    })
}

fn times_active(said: impl IntoIterator<Item = FromWorker>) -> usize {
    said.into_iter().filter(|said| matches!(said, FromWorker::Active(_))).count()
}

#[test]
fn d4_a_partition_is_active_when_its_start_position_is_committed() {
    let world = World::new();
    let mut a = world.owner("a");
    a.worker.step(&world.clock);
    a.worker.step(&world.clock);
    assert_eq!((committed(&world), times_active(a.reports.try_iter())), (None, 0));
    assert_eq!(times_active(world.settle(&mut a)), 1);
    assert_eq!(committed(&world), Some(0));
    world.send();
    world.settle(&mut a);
    assert_eq!((committed(&world), world.counts()), (Some(1), vec![1]));
}

#[test]
fn d4_an_abort_of_the_first_transaction_runs_the_first_event_again() {
    let world = World::new();
    world.send();
    world.cluster.lock().inject(Fault::Abort);
    let mut a = world.owner("a");
    assert_eq!(times_active(world.settle(&mut a)), 1);
    assert_eq!((committed(&world), world.counts()), (Some(1), vec![1]));
    // The next owner finds the record, and commits nothing by itself.
    let end = world.changelog();
    a.mailbox.send(ToWorker::Revoke(world.at.clone()));
    world.settle(&mut a);
    let mut b = world.owner("b");
    assert_eq!(times_active(world.settle(&mut b)), 1);
    assert_eq!(world.changelog(), end);
}

#[test]
fn d8_a_warm_copy_that_has_every_record_is_no_way_around_the_check() {
    let world = World::new();
    let mut a = world.owner("a");
    world.settle(&mut a);
    world.send();
    world.settle(&mut a);
    let mut b = world.member("b");
    world.settle(&mut b);
    b.mailbox.send(ToWorker::Warm(world.at.clone(), world.changelog()));
    world.settle(&mut b);
    world.cluster.lock().expire(&world.at);
    world.generation(&b, "b");
    world.assign(&b);
    let error = failure(&world, &mut b).expect("the source stops");
    assert!(matches!(error, SourceError::OffsetMissing { records: 1, .. }), "{error}");
}

#[test]
fn d8_a_store_without_a_row_is_no_way_around_the_check() {
    let world = World::new();
    let mut a = world.owner("a");
    world.settle(&mut a);
    world.cluster.lock().expire(&world.at);
    let mut b = world.owner("b");
    let error = failure(&world, &mut b).expect("the source stops");
    assert!(matches!(error, SourceError::OffsetMissing { records: 0, .. }), "{error}");
}

#[test]
fn d3_a_changelog_that_lost_its_records_is_refused() {
    let world = World::new();
    let mut a = world.member("a");
    world.settle(&mut a);
    world.generation(&a, "a");
    let at = Snapshot::at(7);
    a.mailbox.send(ToWorker::Assign(Assignment {
        partition: world.at.clone(),
        committed: Some(at.clone()),
        committed_with: CommittedWith::This,
        start: at,
        changelog: world.changelog(),
    }));
    let error = failure(&world, &mut a).expect("the source stops");
    let SourceError::Topics(problems) = &error else { panic!("{error}") };
    assert!(matches!(problems[..], [TopicProblem::ChangelogEmptied { partition: 0, .. }]));
}
