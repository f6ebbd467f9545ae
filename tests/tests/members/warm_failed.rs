//! Warm copies that can't be made: the group asks another member, and nobody stops for it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use streams_core::SourceState;
use streams_core::group::{GroupView, MoveReason};
use streams_tests::workload::Workload;

use super::app::{PATIENCE, Setup, broken, ended, keep_log, logged, sound, wait_until};

const PARTITIONS: usize = 6;

/// How many partitions the members have, the most first; nothing is on its way.
fn settled(view: Option<&GroupView>) -> Vec<usize> {
    let Some(view) = view.filter(|view| view.transitions.is_empty()) else {
        return vec![];
    };
    let mut owned: Vec<usize> = view.members.values().map(|member| member.owned.len()).collect();
    owned.sort_by(|a, b| b.cmp(a));
    owned
}

/// The partitions of which the log says that they moved for this reason. A view is only of the last
/// generation, and several can pass between two looks.
fn moved(reason: MoveReason) -> BTreeSet<String> {
    let lines = logged(&["moved", "warm-failed-in-", &format!("reason={reason:?}")]);
    lines.iter().filter_map(|line| partition(line)).collect()
}

#[test]
fn a_copy_that_can_not_be_made_is_made_by_another_member() -> Result<()> {
    keep_log();
    let setup = Setup::new("warm-failed", i32::try_from(PARTITIONS)?)?;
    let load = |seed| setup.send(&Workload { records: 300, ids: 60, rate: 0, seed });
    let first = setup.member::<sound::Source>().start()?;
    ensure!(first.wait_for_active(PARTITIONS, PATIENCE));
    load(1)?;
    setup.check()?;

    // Nobody can take anything over: the balance stays, and the owner goes on.
    let second = setup.member::<broken::Source>().start()?;
    let failures = || logged(&["no warm copy", "warm-failed-in-", "the disk is full"]);
    wait_until("each partition was tried", || failures().len() >= PARTITIONS)?;
    wait_until("nothing is on its way", || settled(first.group_view().as_ref()) == [6, 0])?;
    ensure!(first.active_partitions().len() == PARTITIONS, "{:?}", first.active_partitions());
    ensure!(first.state() == SourceState::Healthy && second.state() == SourceState::Healthy);
    load(2)?;
    setup.check()?;

    // Somebody can: it gets what it is short of.
    let third = setup.member::<sound::Source>().start()?;
    wait_until("it has its share", || {
        settled(first.group_view().as_ref()) == [4, 2, 0] && third.active_partitions().len() == 2
    })?;
    ensure!(second.active_partitions().is_empty());
    let balanced = moved(MoveReason::Balance);
    ensure!(balanced.len() == 2, "{balanced:?}");
    load(3)?;
    setup.check()?;

    // And all of it from a member that leaves.
    first.stop();
    wait_until("it has all", || third.active_partitions().len() == PARTITIONS)?;
    ended(first)?;
    let drained = moved(MoveReason::Drain);
    ensure!(drained.len() == 4, "{drained:?}");
    load(4)?;
    setup.check()?;
    ensure!(second.active_partitions().is_empty());
    ensure!(second.state() == SourceState::Healthy && third.state() == SourceState::Healthy);
    let one_each: BTreeSet<String> = failures().iter().filter_map(|line| partition(line)).collect();
    ensure!(one_each.len() == PARTITIONS, "{one_each:?}");
    second.stop();
    ended(second).context("it had nothing to give up")?;
    third.stop();
    ended(third)?;
    Ok(())
}

fn partition(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("partition=")?;
    rest.split_whitespace().next().map(ToOwned::to_owned)
}
