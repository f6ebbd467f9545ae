//! Warm copies go to other racks first.

use anyhow::{Result, ensure};
use streams_core::group::GroupView;
use streams_tests::workload::Workload;

use super::app::{Setup, ended, sound, wait_until};

/// Whether each member has two partitions, and each partition one copy, in another rack.
fn is_spread(view: &GroupView) -> bool {
    let owners = || view.members.values().flat_map(|m| m.owned.iter().map(|p| (p, &m.rack)));
    let copies = |partition: &(String, i32)| {
        let has = |warm: &&streams_core::group::MemberView| warm.warm.contains_key(partition);
        view.members.values().filter(has).map(|member| &member.rack).collect::<Vec<_>>()
    };
    view.transitions.is_empty()
        && view.members.values().all(|member| member.owned.len() == 2)
        && owners().all(|(partition, rack)| matches!(copies(partition)[..], [of] if of != rack))
}

#[test]
fn warm_copies_of_a_running_source_go_to_other_racks_first() -> Result<()> {
    let setup = Setup::new("racks", 6)?;
    let start = |rack| setup.member::<sound::Source>().standby_replicas(1).rack(rack).start();
    let members = [start("r1")?, start("r1")?, start("r2")?];
    setup.send(&Workload { records: 200, ids: 40, rate: 0, seed: 4 })?;
    wait_until("each partition has a copy in another rack", || {
        members[0].group_view().as_ref().is_some_and(is_spread)
    })?;
    // Without racks each member would have two.
    let copies = || members.each_ref().map(|member| member.warm_copies().len());
    wait_until("the copies are there", || copies()[2] == 4 && copies()[0] + copies()[1] == 2)?;
    let view = members[0].group_view();
    let racks: Vec<_> = view.iter().flat_map(|v| v.members.values()).map(|m| &m.rack).collect();
    ensure!(racks.iter().filter(|rack| rack.as_deref() == Some("r1")).count() == 2, "{racks:?}");
    setup.check()?;
    members.iter().for_each(|member| member.stop_now());
    for member in members {
        ended(member)?;
    }
    Ok(())
}
