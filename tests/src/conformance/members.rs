//! Groups as barriers: joining, assigning, leaving, and who may speak for a generation.

use anyhow::Result;

use super::ctx::{Ctx, code, wait};
use super::groups::{JOIN, Member, SESSION_MS, Speaker};

const REBALANCE_IN_PROGRESS: i16 = 27;

super::named!("members":
    a_first_join_gives_an_id,
    a_group_of_one,
    two_members_join,
    nobody_is_assigned_before_the_leader_speaks,
    a_member_hears_of_a_rebalance_by_its_heartbeat,
    a_follower_joins_again_unchanged,
    a_leader_joins_again_unchanged,
    a_member_joins_again_with_other_metadata,
    the_protocol_that_all_offer,
    the_protocol_with_most_votes,
    no_protocol_in_common,
    another_protocol_type,
    no_protocols_at_all,
    an_empty_protocol_type,
    an_empty_group_id,
    a_session_timeout_out_of_range,
    an_unknown_member,
    a_heartbeat_of_another_generation,
    a_sync_of_another_generation,
    a_sync_with_another_protocol,
    a_sync_again_gives_the_same,
    a_member_leaves,
    the_last_member_leaves,
    leaving_twice,
    leaving_a_group_that_is_not_there,
    a_member_expires,
    a_member_that_does_not_rejoin_is_left_out,
    a_new_leader_after_the_old_one_left,
);

/// Two members in a stable group; the first one leads.
pub(super) fn pair(ctx: &mut Ctx, group: &str) -> Result<(Member, Member)> {
    let mut first = ctx.alone(group)?;
    let mut second = ctx.member(group)?;
    ctx.enter(&mut second)?;
    await_rebalance(ctx, &first)?;
    first.send_join()?;
    ctx.joined("first", &mut first)?;
    ctx.joined("second", &mut second)?;
    let (one, two) = (first.id.clone(), second.id.clone());
    second.send_sync(&[])?;
    first.send_sync(&[(&one, "one"), (&two, "two")])?;
    ctx.synced("first", &mut first)?;
    ctx.synced("second", &mut second)?;
    Ok((first, second))
}

pub(super) fn await_rebalance(ctx: &mut Ctx, member: &Member) -> Result<()> {
    wait("a rebalance", || {
        let answer = ctx.heartbeat_code(&member.speaker())?;
        Ok((answer == REBALANCE_IN_PROGRESS).then_some(()))
    })
}

fn a_first_join_gives_an_id(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let member = ctx.member(&group)?;
    for version in [0, 3, 4, 5, 9] {
        let mut request = member.join_request();
        request.group_id =
            kafka_protocol::messages::GroupId(super::ctx::text(format!("{group}{version}")));
        if version == 0 {
            request.rebalance_timeout_ms = -1;
        }
        let response = ctx.call(version, &request)?;
        let given = if response.member_id.is_empty() { "no id" } else { "an id" };
        let answer = code(response.error_code);
        let generation = response.generation_id;
        ctx.say(format!("version {version}: {answer}, {given}, generation {generation}"));
    }
    Ok(())
}

fn a_group_of_one(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let mut member = ctx.member(&group)?;
    ctx.join("join", &mut member)?;
    let id = member.id.clone();
    ctx.sync("sync", &mut member, &[(&id, "mine")])?;
    ctx.heartbeat("heartbeat", &member.speaker())?;
    Ok(())
}

fn two_members_join(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (first, second) = pair(ctx, &group)?;
    ctx.heartbeat("first", &first.speaker())?;
    ctx.heartbeat("second", &second.speaker())?;
    Ok(())
}

fn nobody_is_assigned_before_the_leader_speaks(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (mut first, mut second) = pair(ctx, &group)?;
    second.protocols[0].1 = "other".to_owned();
    second.send_join()?;
    await_rebalance(ctx, &first)?;
    first.send_join()?;
    ctx.joined("first", &mut first)?;
    ctx.joined("second", &mut second)?;
    second.send_sync(&[])?;
    // A follower's heartbeat while the leader has not spoken.
    ctx.heartbeat("a follower, meanwhile", &second.speaker())?;
    let two = second.id.clone();
    first.send_sync(&[(&two, "two")])?;
    ctx.synced("second", &mut second)?;
    ctx.synced("first, without an assignment", &mut first)?;
    Ok(())
}

fn a_member_hears_of_a_rebalance_by_its_heartbeat(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let mut first = ctx.alone(&group)?;
    ctx.heartbeat("before", &first.speaker())?;
    let mut second = ctx.member(&group)?;
    ctx.enter(&mut second)?;
    await_rebalance(ctx, &first)?;
    ctx.heartbeat("while the second joins", &first.speaker())?;
    ctx.sync("a sync meanwhile", &mut first, &[])?;
    first.send_join()?;
    ctx.joined("first", &mut first)?;
    ctx.joined("second", &mut second)?;
    Ok(())
}

fn a_follower_joins_again_unchanged(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (first, mut second) = pair(ctx, &group)?;
    second.send_join()?;
    ctx.joined("second, again", &mut second)?;
    ctx.heartbeat("first", &first.speaker())?;
    Ok(())
}

fn a_leader_joins_again_unchanged(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (mut first, mut second) = pair(ctx, &group)?;
    first.send_join()?;
    await_rebalance(ctx, &second)?;
    second.send_join()?;
    ctx.joined("first", &mut first)?;
    ctx.joined("second", &mut second)?;
    Ok(())
}

fn a_member_joins_again_with_other_metadata(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (mut first, mut second) = pair(ctx, &group)?;
    second.protocols[0].1 = "other".to_owned();
    second.send_join()?;
    await_rebalance(ctx, &first)?;
    first.send_join()?;
    ctx.joined("first", &mut first)?;
    ctx.joined("second", &mut second)?;
    Ok(())
}

/// Lets two members with these offers join.
fn offers(ctx: &mut Ctx, one: &[(&str, &str)], two: &[(&str, &str)]) -> Result<()> {
    let group = ctx.name("g");
    let mut first = ctx.member(&group)?.offers(one);
    ctx.settle_alone(&mut first)?;
    let mut second = ctx.member(&group)?.offers(two);
    ctx.enter(&mut second)?;
    await_rebalance(ctx, &first)?;
    first.send_join()?;
    ctx.joined("first", &mut first)?;
    ctx.joined("second", &mut second)?;
    Ok(())
}

fn the_protocol_that_all_offer(ctx: &mut Ctx) -> Result<()> {
    offers(ctx, &[("a", "1a"), ("b", "1b")], &[("c", "2c"), ("b", "2b")])
}

fn the_protocol_with_most_votes(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let mut first = ctx.member(&group)?.offers(&[("a", "1a"), ("b", "1b")]);
    ctx.settle_alone(&mut first)?;
    let mut others = Vec::new();
    for _ in 0..2 {
        let mut other = ctx.member(&group)?.offers(&[("b", "b"), ("a", "a")]);
        ctx.enter(&mut other)?;
        others.push(other);
    }
    await_rebalance(ctx, &first)?;
    first.send_join()?;
    ctx.joined("first", &mut first)?;
    Ok(())
}

fn no_protocol_in_common(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    ctx.alone(&group)?;
    let mut second = ctx.member(&group)?.offers(&[("other", "x")]);
    ctx.join("second", &mut second)?;
    Ok(())
}

fn another_protocol_type(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    ctx.alone(&group)?;
    let mut request = ctx.member(&group)?.join_request();
    request.protocol_type = super::ctx::text("connect");
    let response = ctx.call(JOIN, &request)?;
    ctx.say_joined("second", &response);
    Ok(())
}

fn no_protocols_at_all(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let mut member = ctx.member(&group)?.offers(&[]);
    ctx.join("first", &mut member)?;
    Ok(())
}

fn an_empty_protocol_type(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let mut request = ctx.member(&group)?.join_request();
    request.protocol_type = super::ctx::text("");
    let response = ctx.call(JOIN, &request)?;
    ctx.say_joined("first", &response);
    Ok(())
}

fn an_empty_group_id(ctx: &mut Ctx) -> Result<()> {
    let nobody = Speaker::nobody("");
    ctx.heartbeat("heartbeat", &nobody)?;
    let request = ctx.member("")?.join_request();
    let response = ctx.call(JOIN, &request)?;
    ctx.say_joined("join", &response);
    let mut member = ctx.member("")?;
    ctx.sync("sync", &mut member, &[])?;
    ctx.leave("leave", "", &[nobody])
}

fn a_session_timeout_out_of_range(ctx: &mut Ctx) -> Result<()> {
    for session in [-1, 0, 999, SESSION_MS, 1_800_000, 1_800_001] {
        let group = ctx.name(&format!("g{session}"));
        let mut request = ctx.member(&group)?.join_request();
        request.session_timeout_ms = session;
        let response = ctx.call(JOIN, &request)?;
        ctx.say_joined(&format!("{session} ms"), &response);
    }
    Ok(())
}

fn an_unknown_member(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let known = ctx.alone(&group)?;
    let stranger = Speaker::new(&group, "stranger", known.generation);
    ctx.heartbeat("heartbeat", &stranger)?;
    let mut request = known.join_request();
    request.member_id = super::ctx::text("stranger");
    let response = ctx.call(JOIN, &request)?;
    ctx.say_joined("join", &response);
    let mut member = ctx.member(&group)?;
    member.id = "stranger".to_owned();
    member.generation = known.generation;
    ctx.sync("sync", &mut member, &[])?;
    ctx.leave("leave", &group, &[stranger])?;
    let empty = ctx.name("empty");
    ctx.heartbeat("a group that is not there", &Speaker::new(&empty, "stranger", 1))?;
    Ok(())
}

fn a_heartbeat_of_another_generation(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let member = ctx.alone(&group)?;
    for generation in [-1, 0, 2] {
        let speaker = Speaker::new(&group, &member.id, generation);
        ctx.heartbeat(&format!("generation {generation}"), &speaker)?;
    }
    Ok(())
}

fn a_sync_of_another_generation(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let mut member = ctx.alone(&group)?;
    for generation in [-1, 0, 2, 1] {
        member.generation = generation;
        ctx.sync(&format!("generation {generation}"), &mut member, &[])?;
    }
    Ok(())
}

fn a_sync_with_another_protocol(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let member = ctx.alone(&group)?;
    for (kind, name) in [("consumer", "other"), ("connect", "range"), ("consumer", "range")] {
        let mut request = super::groups::sync_request(&member.speaker(), &[]);
        request.protocol_type = Some(super::ctx::text(kind));
        request.protocol_name = Some(super::ctx::text(name));
        let response = ctx.call(super::groups::SYNC, &request)?;
        let assigned = String::from_utf8_lossy(&response.assignment).into_owned();
        ctx.say(format!("{kind} {name}: {} `{assigned}`", code(response.error_code)));
    }
    Ok(())
}

fn a_sync_again_gives_the_same(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let mut member = ctx.alone(&group)?;
    let id = member.id.clone();
    ctx.sync("again", &mut member, &[])?;
    ctx.sync("again, with another assignment", &mut member, &[(&id, "other")])?;
    Ok(())
}

fn a_member_leaves(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (mut first, second) = pair(ctx, &group)?;
    ctx.leave("second", &group, &[second.speaker()])?;
    ctx.heartbeat("first", &first.speaker())?;
    ctx.heartbeat("second, after", &second.speaker())?;
    first.send_join()?;
    ctx.joined("first", &mut first)?;
    Ok(())
}

fn the_last_member_leaves(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let member = ctx.alone(&group)?;
    ctx.leave("leave", &group, &[member.speaker()])?;
    ctx.heartbeat("after", &member.speaker())?;
    let mut next = ctx.member(&group)?;
    ctx.join("the next one", &mut next)?;
    Ok(())
}

fn leaving_twice(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (_first, second) = pair(ctx, &group)?;
    ctx.leave("once", &group, &[second.speaker()])?;
    ctx.leave("twice", &group, &[second.speaker()])
}

fn leaving_a_group_that_is_not_there(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    ctx.leave("leave", &group, &[Speaker::new(&group, "stranger", 1)])?;
    ctx.leave("nobody leaves", &group, &[])
}

fn a_member_expires(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (mut first, second) = pair(ctx, &group)?;
    await_rebalance(ctx, &first)?;
    ctx.heartbeat("second", &second.speaker())?;
    first.send_join()?;
    ctx.joined("first", &mut first)?;
    Ok(())
}

fn a_member_that_does_not_rejoin_is_left_out(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let mut first = ctx.member(&group)?.timeouts(SESSION_MS, 100);
    ctx.settle_alone(&mut first)?;
    let mut second = ctx.member(&group)?.timeouts(SESSION_MS, 100);
    ctx.join("second, while the first does not come", &mut second)?;
    ctx.heartbeat("first", &first.speaker())?;
    Ok(())
}

fn a_new_leader_after_the_old_one_left(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let (first, mut second) = pair(ctx, &group)?;
    ctx.leave("the leader", &group, &[first.speaker()])?;
    second.send_join()?;
    ctx.joined("second", &mut second)?;
    Ok(())
}
