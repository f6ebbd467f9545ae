//! Fenced producers, and the group's answers.

use std::collections::VecDeque;

use super::planted_tests::{Member, World};
use super::{FromWorker, ToWorker};
use crate::error::{Disposition, OUTAGE_TIMEOUT, TxnStep};
use crate::runtime::error::SourceError;
use crate::testing::Fault;

const NOTHING: [u64; 0] = [];

/// A member whose producer is fenced at this step of the first event's transaction.
fn fenced_at(step: TxnStep) -> (World, Member) {
    let world = World::new();
    let mut member = world.owner("a");
    world.settle(&mut member);
    world.cluster.lock().inject(Fault::At(step, Disposition::Fenced));
    world.send();
    assert_eq!(questions(&world.settle(&mut member)), [1]);
    assert_eq!(world.counts(), NOTHING);
    (world, member)
}

fn questions(said: &VecDeque<FromWorker>) -> Vec<u64> {
    let question = |said: &FromWorker| match said {
        FromWorker::Confirm { question, .. } => Some(*question),
        _ => None,
    };
    said.iter().filter_map(question).collect()
}

#[test]
fn eos5_a_fenced_producer_waits_until_the_group_confirms_the_member() {
    let (world, mut member) = fenced_at(TxnStep::SendOffsets);
    // The answer to a question from before the fence proves nothing.
    member.mailbox.send(ToWorker::Confirmed(0));
    world.send();
    world.settle(&mut member);
    assert_eq!(world.counts(), NOTHING);
    member.mailbox.send(ToWorker::Confirmed(1));
    world.settle(&mut member);
    assert_eq!(world.counts(), [1, 2]);
}

#[test]
fn d6_a_commit_that_is_fenced_is_asked_about_once_the_group_has_answered() {
    let (world, mut member) = fenced_at(TxnStep::Commit);
    member.mailbox.send(ToWorker::Confirmed(1));
    let said = world.settle(&mut member);
    let asked = said.iter().find_map(|said| match said {
        FromWorker::Resolve { txn, .. } => Some(*txn),
        _ => None,
    });
    member.mailbox.send(ToWorker::Resolved(asked.expect("it asks"), false));
    world.settle(&mut member);
    assert_eq!(world.counts(), [1], "it was not committed, and is replayed");
}

#[test]
fn a_loss_explains_a_fence() {
    let (world, mut member) = fenced_at(TxnStep::SendOffsets);
    member.mailbox.send(ToWorker::LoseAll);
    world.settle(&mut member);
    world.generation(&member, "a");
    world.assign(&member);
    world.settle(&mut member);
    assert_eq!(world.counts(), [1]);
}

#[test]
fn c1_a_group_that_says_nothing_is_an_outage_and_no_twin() {
    let (mut world, mut member) = fenced_at(TxnStep::SendOffsets);
    world.clock.0 += OUTAGE_TIMEOUT / 2;
    assert!(world.settle(&mut member).is_empty(), "the worker waits");
    world.clock.0 += OUTAGE_TIMEOUT / 2;
    let said = world.settle(&mut member);
    let failed = said.iter().find_map(|said| match said {
        FromWorker::Failed(error) => Some(error),
        _ => None,
    });
    assert!(matches!(failed, Some(SourceError::Outage { .. })), "{said:?}");
    assert_eq!(world.counts(), NOTHING, "EOS-5: nothing is committed");
}
