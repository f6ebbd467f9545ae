//! Offsets in transactions: hidden until the commit, fenced by generation, member and instance.

use anyhow::Result;

use super::ctx::{Ctx, Producer};
use super::groups::Speaker;
use super::members::{await_rebalance, pair};
use super::producers::{TXN_OFFSETS, TXN_OFFSETS_V2};

super::named!("txn_offsets":
    are_hidden_until_the_commit,
    are_gone_after_an_abort,
    of_a_group_that_was_not_added,
    of_a_group_that_was_not_added_in_version_2,
    of_nobody,
    of_a_member_in_its_generation,
    of_a_member_in_another_generation,
    of_an_unknown_member,
    of_a_member_without_a_generation,
    of_a_generation_without_a_member,
    of_another_instance,
    while_others_are_waited_for,
    after_a_rebalance,
    a_plain_commit_while_one_is_pending,
    two_transactions_on_one_partition,
    of_an_unknown_topic,
    of_two_groups_in_one_transaction,
    fenced_ones_leave_nothing,
    are_gone_with_their_owner,
    without_records,
);

fn place(ctx: &mut Ctx) -> Result<(String, String, Producer)> {
    Ok((ctx.topic("t", 1)?, ctx.name("g"), ctx.transactional("id")?))
}

fn are_hidden_until_the_commit(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    ctx.commit("before", &Speaker::nobody(&group), (&topic, 0, 1))?;
    ctx.add_offsets("add", &producer, &group)?;
    let nobody = Speaker::nobody(&group);
    ctx.txn_offsets(TXN_OFFSETS, "in the transaction", &producer, &nobody, (&topic, 0, 5))?;
    ctx.committed("while it is open", &group, &topic, 0, false)?;
    ctx.committed("stable, while it is open", &group, &topic, 0, true)?;
    ctx.end("commit", &producer, true)?;
    ctx.settle_offsets(&group, &topic, 0)?;
    ctx.committed("after", &group, &topic, 0, true)
}

fn are_gone_after_an_abort(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    ctx.add_offsets("add", &producer, &group)?;
    let nobody = Speaker::nobody(&group);
    ctx.txn_offsets(TXN_OFFSETS, "in the transaction", &producer, &nobody, (&topic, 0, 5))?;
    ctx.committed("stable, while it is open", &group, &topic, 0, true)?;
    ctx.end("abort", &producer, false)?;
    ctx.settle_offsets(&group, &topic, 0)?;
    ctx.committed("after", &group, &topic, 0, true)
}

fn of_a_group_that_was_not_added(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let nobody = Speaker::nobody(&group);
    ctx.txn_offsets(TXN_OFFSETS, "no transaction", &producer, &nobody, (&topic, 0, 5))?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.txn_offsets(TXN_OFFSETS, "a transaction without it", &producer, &nobody, (&topic, 0, 5))?;
    let other = ctx.group_elsewhere(&group);
    ctx.add_offsets("add another", &producer, &other)?;
    ctx.txn_offsets(TXN_OFFSETS, "with another group", &producer, &nobody, (&topic, 0, 5))?;
    ctx.committed("committed", &group, &topic, 0, false)
}

fn of_a_group_that_was_not_added_in_version_2(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, mut producer) = place(ctx)?;
    let nobody = Speaker::nobody(&group);
    ctx.txn_offsets(TXN_OFFSETS_V2, "offsets", &producer, &nobody, (&topic, 0, 5))?;
    ctx.committed("while it is open", &group, &topic, 0, true)?;
    ctx.end_v2("commit", &mut producer, true)?;
    ctx.settle_offsets(&group, &topic, 0)?;
    ctx.committed("after", &group, &topic, 0, true)
}

fn of_nobody(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let _member = ctx.alone(&group)?;
    ctx.add_offsets("add", &producer, &group)?;
    let nobody = Speaker::nobody(&group);
    ctx.txn_offsets(TXN_OFFSETS, "a group with members", &producer, &nobody, (&topic, 0, 5))?;
    ctx.end("commit", &producer, true)?;
    ctx.settle_offsets(&group, &topic, 0)?;
    ctx.committed("after", &group, &topic, 0, true)
}

fn of_a_member_in_its_generation(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let member = ctx.alone(&group)?;
    ctx.add_offsets("add", &producer, &group)?;
    ctx.txn_offsets(TXN_OFFSETS, "offsets", &producer, &member.speaker(), (&topic, 0, 5))?;
    ctx.end("commit", &producer, true)?;
    ctx.settle_offsets(&group, &topic, 0)?;
    ctx.committed("after", &group, &topic, 0, true)
}

fn of_a_member_in_another_generation(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let member = ctx.alone(&group)?;
    ctx.add_offsets("add", &producer, &group)?;
    for generation in [-2, 0, 2] {
        let speaker = Speaker::new(&group, &member.id, generation);
        let label = format!("generation {generation}");
        ctx.txn_offsets(TXN_OFFSETS, &label, &producer, &speaker, (&topic, 0, 5))?;
    }
    Ok(())
}

fn of_an_unknown_member(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let member = ctx.alone(&group)?;
    ctx.add_offsets("add", &producer, &group)?;
    let stranger = Speaker::new(&group, "stranger", member.generation);
    ctx.txn_offsets(TXN_OFFSETS, "stranger", &producer, &stranger, (&topic, 0, 5))?;
    let empty = ctx.name("empty");
    ctx.add_offsets("add an empty group", &producer, &empty)?;
    let stranger = Speaker::new(&empty, "stranger", 1);
    ctx.txn_offsets(TXN_OFFSETS, "in an empty group", &producer, &stranger, (&topic, 0, 5))
}

fn of_a_member_without_a_generation(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let member = ctx.alone(&group)?;
    ctx.add_offsets("add", &producer, &group)?;
    let speaker = Speaker::new(&group, &member.id, -1);
    ctx.txn_offsets(TXN_OFFSETS, "a member, -1", &producer, &speaker, (&topic, 0, 5))?;
    let stranger = Speaker::new(&group, "stranger", -1);
    ctx.txn_offsets(TXN_OFFSETS, "a stranger, -1", &producer, &stranger, (&topic, 0, 5))
}

fn of_a_generation_without_a_member(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let member = ctx.alone(&group)?;
    ctx.add_offsets("add", &producer, &group)?;
    for generation in [member.generation, 0, 5] {
        let speaker = Speaker::new(&group, "", generation);
        let label = format!("no member, {generation}");
        ctx.txn_offsets(TXN_OFFSETS, &label, &producer, &speaker, (&topic, 0, 5))?;
    }
    Ok(())
}

fn of_another_instance(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let mut member = ctx.member(&group)?.instance("pod");
    ctx.settle_alone(&mut member)?;
    ctx.add_offsets("add", &producer, &group)?;
    let at = (topic.as_str(), 0, 5);
    let speaker = Speaker { instance: Some("other"), ..member.speaker() };
    ctx.txn_offsets(TXN_OFFSETS, "another instance", &producer, &speaker, at)?;
    let speaker = Speaker { member: "stranger", ..member.speaker() };
    ctx.txn_offsets(TXN_OFFSETS, "another member of it", &producer, &speaker, at)?;
    let speaker = Speaker { instance: None, ..member.speaker() };
    ctx.txn_offsets(TXN_OFFSETS, "without the instance", &producer, &speaker, at)?;
    ctx.txn_offsets(TXN_OFFSETS, "the instance", &producer, &member.speaker(), at)
}

/// Commits go on with the old generation until all have joined, and with the new one before the
/// assignment is there.
fn while_others_are_waited_for(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let (mut first, mut second) = pair(ctx, &group)?;
    let old = second.generation;
    ctx.add_offsets("add", &producer, &group)?;
    second.protocols[0].1 = "other".to_owned();
    second.send_join()?;
    await_rebalance(ctx, &first)?;
    let at = (topic.as_str(), 0, 5);
    ctx.txn_offsets(TXN_OFFSETS, "one that waits", &producer, &second.speaker(), at)?;
    ctx.txn_offsets(TXN_OFFSETS, "one that is waited for", &producer, &first.speaker(), at)?;
    first.send_join()?;
    ctx.joined("first", &mut first)?;
    ctx.joined("second", &mut second)?;
    let late = Speaker::new(&group, &second.id, old);
    ctx.txn_offsets(TXN_OFFSETS, "a late one", &producer, &late, at)?;
    ctx.txn_offsets(TXN_OFFSETS, "the new generation", &producer, &second.speaker(), at)?;
    ctx.end("commit", &producer, true)?;
    Ok(())
}

fn after_a_rebalance(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let mut member = ctx.alone(&group)?;
    let before = member.generation;
    ctx.add_offsets("add", &producer, &group)?;
    member.send_join()?;
    ctx.joined("again", &mut member)?;
    let at = (topic.as_str(), 0, 5);
    let old = Speaker::new(&group, &member.id, before);
    ctx.txn_offsets(TXN_OFFSETS, "the old generation", &producer, &old, at)?;
    ctx.txn_offsets(TXN_OFFSETS, "the new one, unassigned", &producer, &member.speaker(), at)?;
    let id = member.id.clone();
    ctx.sync("sync", &mut member, &[(&id, "all")])?;
    ctx.txn_offsets(TXN_OFFSETS, "the new one", &producer, &member.speaker(), at)
}

fn a_plain_commit_while_one_is_pending(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let nobody = Speaker::nobody(&group);
    ctx.add_offsets("add", &producer, &group)?;
    ctx.txn_offsets(TXN_OFFSETS, "in the transaction", &producer, &nobody, (&topic, 0, 5))?;
    ctx.commit("plain", &nobody, (&topic, 0, 9))?;
    ctx.committed("while it is open", &group, &topic, 0, false)?;
    ctx.committed("stable, while it is open", &group, &topic, 0, true)?;
    ctx.end("commit", &producer, true)?;
    ctx.settle_offsets(&group, &topic, 0)?;
    ctx.committed("after", &group, &topic, 0, true)
}

fn two_transactions_on_one_partition(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, first) = place(ctx)?;
    let second = ctx.transactional("second")?;
    let nobody = Speaker::nobody(&group);
    ctx.add_offsets("add first", &first, &group)?;
    ctx.add_offsets("add second", &second, &group)?;
    ctx.txn_offsets(TXN_OFFSETS, "first", &first, &nobody, (&topic, 0, 5))?;
    ctx.txn_offsets(TXN_OFFSETS, "second", &second, &nobody, (&topic, 0, 6))?;
    ctx.end("second commits", &second, true)?;
    super::ctx::wait("the second's offset", || {
        ctx.committed_offset(&group, &topic, 0).map(|offset| (offset == 6).then_some(()))
    })?;
    ctx.committed("the first is open", &group, &topic, 0, true)?;
    ctx.end("first commits", &first, true)?;
    ctx.settle_offsets(&group, &topic, 0)?;
    ctx.committed("the later request wins", &group, &topic, 0, true)
}

fn of_an_unknown_topic(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let nobody = Speaker::nobody(&group);
    ctx.add_offsets("add", &producer, &group)?;
    let nowhere = ctx.name("nowhere");
    ctx.txn_offsets(TXN_OFFSETS, "an unknown topic", &producer, &nobody, (&nowhere, 0, 5))?;
    ctx.txn_offsets(TXN_OFFSETS, "an unknown partition", &producer, &nobody, (&topic, 7, 5))
}

fn of_two_groups_in_one_transaction(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let other = ctx.name("other");
    for (group, offset) in [(&group, 1), (&other, 2)] {
        ctx.add_offsets("add", &producer, group)?;
        let nobody = Speaker::nobody(group);
        ctx.txn_offsets(TXN_OFFSETS, "offsets", &producer, &nobody, (&topic, 0, offset))?;
    }
    ctx.end("commit", &producer, true)?;
    for group in [&group, &other] {
        ctx.settle_offsets(group, &topic, 0)?;
        ctx.committed("after", group, &topic, 0, true)?;
    }
    Ok(())
}

fn fenced_ones_leave_nothing(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let member = ctx.alone(&group)?;
    ctx.add_offsets("add", &producer, &group)?;
    let old = Speaker::new(&group, &member.id, member.generation - 1);
    ctx.txn_offsets(TXN_OFFSETS, "an old generation", &producer, &old, (&topic, 0, 5))?;
    ctx.committed("stable", &group, &topic, 0, true)?;
    ctx.end("commit all the same", &producer, true)?;
    ctx.settle_offsets(&group, &topic, 0)?;
    ctx.committed("after", &group, &topic, 0, true)
}

fn are_gone_with_their_owner(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let nobody = Speaker::nobody(&group);
    ctx.commit("plain", &nobody, (&topic, 0, 1))?;
    ctx.add_offsets("add", &producer, &group)?;
    ctx.txn_offsets(TXN_OFFSETS, "in the transaction", &producer, &nobody, (&topic, 0, 5))?;
    // The owner starts anew: the transaction and its offsets are gone.
    ctx.transactional("id")?;
    ctx.settle_offsets(&group, &topic, 0)?;
    ctx.committed("after", &group, &topic, 0, true)
}

fn without_records(ctx: &mut Ctx) -> Result<()> {
    let (topic, group, producer) = place(ctx)?;
    let nobody = Speaker::nobody(&group);
    for round in 0..3 {
        ctx.add_offsets("add", &producer, &group)?;
        ctx.txn_offsets(TXN_OFFSETS, "offsets", &producer, &nobody, (&topic, 0, round))?;
        ctx.end("commit", &producer, true)?;
    }
    ctx.settle_offsets(&group, &topic, 0)?;
    ctx.committed("after", &group, &topic, 0, true)?;
    ctx.log("the topic's log", &topic, 0)
}
