//! Interjections whose partition moves away: each caller is told.

use std::time::Duration;

use super::planted_tests::{Counts, Member, World};
use super::{FromWorker, ToWorker};
use crate::record::TopicPartition;
use crate::runtime::{InterjectError, Interjected, Question, Queue, SharedState};
use crate::testing::Fault;

thread_local! {
    /// A source that has not ended.
    static STATE: SharedState = SharedState::default();
}

/// Asks for the number of rows; with `adds`, of an interjection that adds one.
fn ask(member: &Member, partition: i32, adds: bool) -> Interjected<u64> {
    let question = Question::<Counts, u64>::new(move |ctx| {
        if adds {
            ctx.store.add();
        }
        Ok(ctx.store.total())
    });
    let (asked, handle) =
        STATE.with(|state| question.ask(partition, (&Queue::default(), 9), state));
    let asked = asked.expect("there is room");
    member.mailbox.send(ToWorker::Interject(partition, asked));
    handle
}

fn answer(handle: Interjected<u64>) -> Result<u64, String> {
    let answer = handle.wait_timeout(Duration::ZERO);
    let answer = answer.unwrap_or_else(|handle| panic!("no answer of {handle:?}"));
    answer.map_err(|error| match error {
        InterjectError::PartitionNotAssigned { .. } => "not assigned".to_owned(),
        InterjectError::PartitionNotReady { .. } => "not ready".to_owned(),
        InterjectError::Lost { .. } => "lost".to_owned(),
        InterjectError::Stopped { .. } => "stopped".to_owned(),
        other => other.to_string(),
    })
}

#[test]
fn an_interjection_of_a_partition_that_is_not_here_is_refused() {
    let world = World::new();
    let mut a = world.owner("a");
    world.settle(&mut a);
    let (here, elsewhere) = (ask(&a, 0, false), ask(&a, 1, false));
    world.settle(&mut a);
    assert_eq!(answer(here), Ok(0));
    assert_eq!(answer(elsewhere), Err("not assigned".to_owned()));
    let mut b = world.member("b");
    b.mailbox.send(ToWorker::Warm(world.at.clone(), world.changelog()));
    let copy = ask(&b, 0, false);
    world.settle(&mut b);
    assert_eq!(answer(copy), Err("not assigned".to_owned()), "a warm copy is another member's");
}

#[test]
fn an_interjection_of_a_partition_that_is_restored_is_refused() {
    let world = World::new();
    let mut a = world.owner("a");
    world.send();
    world.settle(&mut a);
    let mut b = world.member("b");
    world.settle(&mut b);
    world.generation(&b, "b");
    world.assign(&b);
    let asked = ask(&b, 0, false);
    b.worker.step(&world.clock);
    assert_eq!(answer(asked), Err("not ready".to_owned()));
    world.settle(&mut b);
    let asked = ask(&b, 0, false);
    world.settle(&mut b);
    assert_eq!(answer(asked), Ok(1));
}

#[test]
fn interjections_of_a_lost_partition_are_answered() {
    let world = World::new();
    let mut a = world.owner("a");
    world.settle(&mut a);
    let ran = ask(&a, 0, true);
    a.worker.step(&world.clock);
    let ran = ran.wait_timeout(Duration::ZERO).expect_err("its effects are not committed");
    a.mailbox.send(ToWorker::Suspend(TopicPartition::clone(&world.at)));
    let waits = ask(&a, 0, false);
    a.worker.step(&world.clock);
    a.mailbox.send(ToWorker::LoseAll);
    a.worker.step(&world.clock);
    assert_eq!(answer(ran), Err("lost".to_owned()), "its commit is not known");
    assert_eq!(answer(waits), Err("lost".to_owned()));
}

#[test]
fn a_revoked_partition_commits_what_ran_and_refuses_what_waits() {
    for retires in [false, true] {
        let world = World::new();
        let mut a = world.owner("a");
        world.settle(&mut a);
        let ran = ask(&a, 0, true);
        a.worker.step(&world.clock);
        a.mailbox.send(ToWorker::Suspend(world.at.clone()));
        let waits = ask(&a, 0, false);
        a.mailbox.send(match retires {
            true => ToWorker::Retire(world.at.clone()),
            false => ToWorker::Revoke(world.at.clone()),
        });
        let said = world.settle(&mut a);
        let is_done =
            |said: &FromWorker| matches!(said, FromWorker::Drained(_) | FromWorker::Retired(_));
        assert!(said.iter().any(is_done), "{said:?}");
        assert_eq!(answer(ran), Ok(1), "it is committed");
        assert_eq!(answer(waits), Err("lost".to_owned()));
        let late = ask(&a, 0, false);
        world.settle(&mut a);
        assert_eq!(answer(late), Err("not assigned".to_owned()));
    }
}

#[test]
fn an_abort_while_a_partition_is_revoked_loses_what_ran() {
    let world = World::new();
    let mut a = world.owner("a");
    world.settle(&mut a);
    world.cluster.lock().inject(Fault::Abort);
    let ran = ask(&a, 0, true);
    a.worker.step(&world.clock);
    a.mailbox.send(ToWorker::Revoke(world.at.clone()));
    world.settle(&mut a);
    assert_eq!(answer(ran), Err("lost".to_owned()), "it does not run again");
}

#[test]
fn a_worker_that_stops_answers() {
    for now in [false, true] {
        let world = World::new();
        let mut a = world.owner("a");
        world.settle(&mut a);
        a.mailbox.send(ToWorker::Suspend(world.at.clone()));
        let waits = ask(&a, 0, false);
        a.worker.step(&world.clock);
        a.mailbox.send(if now { ToWorker::StopNow } else { ToWorker::Stop });
        let late = ask(&a, 0, false);
        world.settle(&mut a);
        assert_eq!(answer(waits), Err("stopped".to_owned()));
        drop(a);
        assert_eq!(answer(late), Err("stopped".to_owned()));
    }
}
