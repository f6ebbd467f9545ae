//! Warm copies that can't be made: the group asks another member, and nobody stops for it.

use std::collections::{BTreeMap, BTreeSet};

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

/// Why partitions moved, as the views say it that are seen on the way.
#[derive(Default)]
struct Reasons(BTreeMap<i32, BTreeSet<String>>);

impl Reasons {
    fn see(&mut self, view: Option<&GroupView>) {
        for moved in view.iter().flat_map(|view| &view.moved) {
            let reason = format!("{:?}", moved.reason);
            self.0.entry(moved.partition.1).or_default().insert(reason);
        }
    }

    fn of(&self, reason: MoveReason) -> usize {
        let reason = format!("{reason:?}");
        self.0.values().filter(|reasons| reasons.contains(&reason)).count()
    }
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
    let mut reasons = Reasons::default();
    let third = setup.member::<sound::Source>().start()?;
    wait_until("it has its share", || {
        let view = first.group_view();
        reasons.see(view.as_ref());
        settled(view.as_ref()) == [4, 2, 0] && third.active_partitions().len() == 2
    })?;
    ensure!(second.active_partitions().is_empty());
    ensure!(reasons.of(MoveReason::Balance) == 2, "{:?}", reasons.0);
    ensure!(!logged(&["moved", "warm-failed-in-", "reason=Balance"]).is_empty());
    load(3)?;
    setup.check()?;

    // And all of it from a member that leaves.
    first.stop();
    wait_until("it has all", || {
        reasons.see(third.group_view().as_ref());
        third.active_partitions().len() == PARTITIONS
    })?;
    ended(first)?;
    ensure!(reasons.of(MoveReason::Drain) == 4, "{:?}", reasons.0);
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
