//! Durable jobs whose partition moves: two members of one group, under virtual time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::planted_tests::{Counted, Counts, Member, OUT, World};
use super::{FromWorker, ToWorker};
use crate::handler::IntoOutcome;
use crate::jobs::durable::{JobConfig, JobError, JobRun, Next};
use crate::prelude::*;
use crate::task::Interject;
use crate::testing::StepRunner;

#[derive(EventCodec, Job, Serialize, Deserialize)]
struct Later(u64);

async fn run(_: Later, _: JobRun) -> std::io::Result<()> {
    Ok(())
}

fn finalize(
    ctx: &mut EventContext<Counts>,
    later: Later,
    _: &std::result::Result<(), JobError>,
) -> Result<Next> {
    ctx.forward(&OUT, "n", Counted::Count(later.0))?;
    Ok(Next::Done)
}

/// A member, and the jobs that have begun there.
fn member(world: &World, name: &'static str) -> (Member, StepRunner) {
    let mut member =
        world.member_with(name, |source| source.durable_job(JobConfig::default(), run, finalize));
    let runner = StepRunner::default();
    member.worker.parts.runner = Some(Arc::new(runner.clone()));
    world.settle(&mut member);
    (member, runner)
}

fn own(world: &World, member: &mut Member, name: &'static str) {
    world.generation(member, name);
    world.assign(member);
    world.settle(member);
}

fn schedule(world: &World, member: &mut Member, number: u64) {
    let run = Interject::unasked(move |ctx: &mut EventContext<Counts>, _| {
        let scheduled = ctx.schedule::<String, _>("n", Later(number));
        scheduled.map(|_| Complete).into_outcome()
    });
    member.mailbox.send(ToWorker::Interject(0, run));
    world.settle(member);
}

#[test]
fn eos7_a_zombies_finalizer_commits_nothing() {
    let world = World::new();
    let ((mut a, runs_of_a), (mut b, runs_of_b)) = (member(&world, "a"), member(&world, "b"));
    own(&world, &mut a, "a");
    schedule(&world, &mut a, 7);
    own(&world, &mut b, "b");
    assert_eq!((runs_of_a.len(), runs_of_b.len()), (1, 1), "the job is pending at both");
    assert!(runs_of_a.run(0));
    world.settle(&mut a);
    assert!(world.counts().is_empty(), "the zombie has committed");
    assert!(runs_of_b.run(0));
    world.settle(&mut b);
    assert_eq!(world.counts(), [7]);
}

#[test]
fn the_outcome_of_an_earlier_assignment_has_no_effect() {
    let world = World::new();
    let (mut a, runs) = member(&world, "a");
    own(&world, &mut a, "a");
    schedule(&world, &mut a, 7);
    // A job in a thread that can't be cancelled.
    let stale = runs.take(0).expect("the job has begun");
    a.mailbox.send(ToWorker::LoseAll);
    world.settle(&mut a);
    own(&world, &mut a, "a");
    assert_eq!(runs.len(), 1, "the job has begun again");
    stale();
    world.settle(&mut a);
    assert!(world.counts().is_empty(), "the outcome belongs to another assignment");
    assert!(runs.run(0));
    world.settle(&mut a);
    assert_eq!(world.counts(), [7]);
}

#[test]
fn a_lost_partition_cancels_its_runs() {
    let world = World::new();
    let (mut a, runs) = member(&world, "a");
    own(&world, &mut a, "a");
    schedule(&world, &mut a, 7);
    assert_eq!(runs.len(), 1);
    a.mailbox.send(ToWorker::LoseAll);
    world.settle(&mut a);
    assert_eq!(runs.len(), 0);
}

#[test]
fn a_suspended_partition_begins_no_job_and_no_finalizer() {
    let world = World::new();
    let (mut a, runs) = member(&world, "a");
    own(&world, &mut a, "a");
    schedule(&world, &mut a, 7);
    schedule(&world, &mut a, 8);
    a.mailbox.send(ToWorker::Suspend(world.at.clone()));
    world.settle(&mut a);
    assert!(runs.run(0));
    world.settle(&mut a);
    assert!(world.counts().is_empty(), "a finalizer began");
    assert_eq!(runs.len(), 0);
    a.mailbox.send(ToWorker::Resume(world.at.clone()));
    world.settle(&mut a);
    assert_eq!((world.counts(), runs.len()), (vec![7], 1));
}

/// The partition goes to a member with a warm copy, while the former owner keeps its store; then it
/// comes back.
#[test]
fn pending_jobs_move_with_warm_copies_there_and_back() {
    let world = World::new();
    let ((mut a, runs_of_a), (mut b, runs_of_b)) = (member(&world, "a"), member(&world, "b"));
    own(&world, &mut a, "a");
    schedule(&world, &mut a, 1);
    b.mailbox.send(ToWorker::Warm(world.at.clone(), world.changelog()));
    world.settle(&mut b);
    schedule(&world, &mut a, 2);
    assert!(runs_of_a.run(0));
    world.settle(&mut a);
    assert_eq!((world.counts(), runs_of_a.len()), (vec![1], 1), "the second one runs");
    a.mailbox.send(ToWorker::Retire(world.at.clone()));
    let said = world.settle(&mut a);
    assert!(said.iter().any(|said| matches!(said, FromWorker::Retired(_))), "{said:?}");
    assert_eq!(runs_of_a.len(), 0, "its run is cancelled");
    let ends = world.changelog();
    own(&world, &mut b, "b");
    a.mailbox.send(ToWorker::Warm(world.at.clone(), ends));
    world.settle(&mut a);
    assert!(runs_of_b.run(0));
    world.settle(&mut b);
    assert_eq!((world.counts(), runs_of_b.len()), (vec![1, 2], 0));
    schedule(&world, &mut b, 3);
    b.mailbox.send(ToWorker::Revoke(world.at.clone()));
    world.settle(&mut b);
    own(&world, &mut a, "a");
    schedule(&world, &mut a, 4);
    while runs_of_a.run(0) {
        world.settle(&mut a);
    }
    assert_eq!(world.counts(), [1, 2, 3, 4], "the numbers of jobs go on, and so does their order");
}
