//! Static members (KIP-345): an instance id outlives its member id.

use anyhow::Result;

use super::ctx::{Ctx, wait};
use super::groups::{Member, Speaker};

super::named!("static_members":
    join_at_once,
    are_replaced_without_a_rebalance,
    a_replacement_with_other_metadata,
    the_one_that_was_replaced_is_fenced,
    a_replacement_while_all_join,
    that_leave_by_instance_id,
    that_leave_by_both_ids,
    an_instance_nobody_has,
    the_leader_is_replaced,
    join_with_an_unknown_member_id,
    join_with_the_known_member_id,
    speak_without_their_instance_id,
    commit_offsets,
);

fn pair(ctx: &mut Ctx, group: &str) -> Result<(Member, Member)> {
    let mut first = ctx.alone(group)?;
    let mut second = ctx.member(group)?.instance("pod");
    second.send_join()?;
    wait("a rebalance", || Ok((ctx.heartbeat_code(&first.speaker())? == 27).then_some(())))?;
    first.send_join()?;
    ctx.joined("leader", &mut first)?;
    ctx.joined("static", &mut second)?;
    let (one, two) = (first.id.clone(), second.id.clone());
    first.send_sync(&[(&one, "one"), (&two, "two")])?;
    second.send_sync(&[])?;
    ctx.synced("leader", &mut first)?;
    ctx.synced("static", &mut second)?;
    Ok((first, second))
}

fn join_at_once(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let mut member = ctx.member(&group)?.instance("pod");
    ctx.join("join", &mut member)?;
    let id = member.id.clone();
    ctx.sync("sync", &mut member, &[(&id, "all")])?;
    ctx.heartbeat("heartbeat", &member.speaker())?;
    Ok(())
}

fn are_replaced_without_a_rebalance(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (first, old) = pair(ctx, &group)?;
    let mut new = ctx.member(&group)?.instance("pod");
    ctx.join("the replacement", &mut new)?;
    ctx.sync("its assignment", &mut new, &[])?;
    ctx.heartbeat("the leader", &first.speaker())?;
    ctx.heartbeat("the replacement", &new.speaker())?;
    ctx.heartbeat("the old one", &old.speaker())?;
    Ok(())
}

fn a_replacement_with_other_metadata(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (mut first, _old) = pair(ctx, &group)?;
    let mut new = ctx.member(&group)?.instance("pod").offers(&[("range", "changed")]);
    new.send_join()?;
    ctx.joined("the replacement", &mut new)?;
    let answer = ctx.heartbeat("the leader", &first.speaker())?;
    if answer == 27 {
        first.send_join()?;
        ctx.joined("the leader", &mut first)?;
    }
    ctx.sync("the replacement", &mut new, &[])?;
    Ok(())
}

fn the_one_that_was_replaced_is_fenced(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let topic = ctx.topic("t", 1)?;
    let (_first, mut old) = pair(ctx, &group)?;
    let mut new = ctx.member(&group)?.instance("pod");
    ctx.join("the replacement", &mut new)?;
    ctx.heartbeat("heartbeat", &old.speaker())?;
    ctx.commit("commit", &old.speaker(), (&topic, 0, 1))?;
    ctx.sync("sync", &mut old, &[])?;
    ctx.leave("leave", &group, &[old.speaker()])?;
    ctx.join("join", &mut old)?;
    ctx.heartbeat("the replacement", &new.speaker())?;
    Ok(())
}

fn a_replacement_while_all_join(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let mut first = ctx.alone(&group)?;
    let mut old = ctx.member(&group)?.instance("pod");
    old.send_join()?;
    wait("a rebalance", || Ok((ctx.heartbeat_code(&first.speaker())? == 27).then_some(())))?;
    let mut new = ctx.member(&group)?.instance("pod");
    new.send_join()?;
    ctx.joined("the old one", &mut old)?;
    first.send_join()?;
    ctx.joined("the leader", &mut first)?;
    ctx.joined("the replacement", &mut new)?;
    Ok(())
}

fn that_leave_by_instance_id(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (first, member) = pair(ctx, &group)?;
    let by_instance = Speaker { member: "", ..member.speaker() };
    ctx.leave("leave", &group, &[by_instance])?;
    ctx.heartbeat("the leader", &first.speaker())?;
    ctx.heartbeat("the static one", &member.speaker())?;
    Ok(())
}

fn that_leave_by_both_ids(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (_first, member) = pair(ctx, &group)?;
    let wrong = Speaker { member: "stranger", ..member.speaker() };
    ctx.leave("a wrong member id", &group, &[wrong])?;
    ctx.leave("both", &group, &[member.speaker()])
}

fn an_instance_nobody_has(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (_first, member) = pair(ctx, &group)?;
    let other = Speaker { instance: Some("other"), ..member.speaker() };
    ctx.heartbeat("heartbeat", &other)?;
    ctx.leave("leave", &group, &[other])
}

fn the_leader_is_replaced(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let mut leader = ctx.member(&group)?.instance("leader");
    ctx.settle_alone(&mut leader)?;
    let mut follower = ctx.member(&group)?.instance("follower");
    follower.send_join()?;
    wait("a rebalance", || Ok((ctx.heartbeat_code(&leader.speaker())? == 27).then_some(())))?;
    leader.send_join()?;
    ctx.joined("leader", &mut leader)?;
    ctx.joined("follower", &mut follower)?;
    let (one, two) = (leader.id.clone(), follower.id.clone());
    leader.send_sync(&[(&one, "one"), (&two, "two")])?;
    follower.send_sync(&[])?;
    ctx.synced("leader", &mut leader)?;
    ctx.synced("follower", &mut follower)?;
    let mut new = ctx.member(&group)?.instance("leader");
    ctx.join("the replacement", &mut new)?;
    ctx.sync("its assignment", &mut new, &[])?;
    ctx.heartbeat("the follower", &follower.speaker())?;
    Ok(())
}

fn join_with_an_unknown_member_id(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (_first, _known) = pair(ctx, &group)?;
    for (instance, label) in [("pod", "a known instance"), ("new", "a new instance")] {
        let mut member = ctx.member(&group)?.instance(instance);
        member.id = "stranger".to_owned();
        ctx.join(label, &mut member)?;
    }
    Ok(())
}

fn join_with_the_known_member_id(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (first, mut member) = pair(ctx, &group)?;
    ctx.join("again", &mut member)?;
    ctx.heartbeat("the leader", &first.speaker())?;
    Ok(())
}

fn speak_without_their_instance_id(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let topic = ctx.topic("t", 1)?;
    let (_first, member) = pair(ctx, &group)?;
    let plain = Speaker { instance: None, ..member.speaker() };
    ctx.heartbeat("heartbeat", &plain)?;
    ctx.commit("commit", &plain, (&topic, 0, 1))?;
    Ok(())
}

fn commit_offsets(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let topic = ctx.topic("t", 1)?;
    let (_first, member) = pair(ctx, &group)?;
    let at = (topic.as_str(), 0, 4);
    ctx.commit("the instance", &member.speaker(), at)?;
    let wrong = Speaker { member: "stranger", ..member.speaker() };
    ctx.commit("a wrong member id", &wrong, at)?;
    let other = Speaker { instance: Some("other"), ..member.speaker() };
    ctx.commit("a wrong instance id", &other, at)?;
    Ok(())
}
