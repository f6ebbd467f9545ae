//! Committed offsets of groups, outside of transactions.

use anyhow::{Context, Result};
use kafka_protocol::messages::{GroupId, OffsetFetchRequest};

use super::ctx::{Ctx, code, text};
use super::groups::{Speaker, commit_request, offsets_of};

super::named!("offsets":
    are_kept_for_a_group_without_members,
    that_were_never_committed,
    the_last_commit_wins,
    go_back_if_told_so,
    of_all_partitions,
    of_no_partitions,
    of_an_unknown_topic,
    of_a_partition_that_is_not_there,
    with_metadata_that_is_too_long,
    with_no_metadata,
    with_a_leader_epoch,
    that_are_negative,
    of_a_member_in_its_generation,
    of_a_member_in_another_generation,
    of_an_unknown_member,
    of_nobody_in_a_group_with_members,
    of_a_member_without_a_generation,
    of_a_generation_in_a_group_that_is_not_there,
    of_a_member_that_left,
    while_the_group_rebalances,
    in_an_empty_group_id,
    of_several_groups_at_once,
    survive_the_members,
);

fn are_kept_for_a_group_without_members(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    ctx.commit("commit", &Speaker::nobody(&group), (&topic, 0, 42))?;
    ctx.committed("committed", &group, &topic, 0, false)?;
    ctx.committed("stable", &group, &topic, 0, true)
}

fn that_were_never_committed(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 2)?, ctx.name("g"));
    ctx.committed("no group", &group, &topic, 0, false)?;
    ctx.commit("commit", &Speaker::nobody(&group), (&topic, 0, 1))?;
    ctx.committed("another partition", &group, &topic, 1, false)?;
    ctx.committed("a partition that is not there", &group, &topic, 9, false)?;
    let nowhere = ctx.name("nowhere");
    ctx.committed("a topic that is not there", &group, &nowhere, 0, false)
}

fn the_last_commit_wins(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    for offset in [3, 9] {
        ctx.commit("commit", &Speaker::nobody(&group), (&topic, 0, offset))?;
    }
    ctx.committed("committed", &group, &topic, 0, false)
}

fn go_back_if_told_so(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    for offset in [9, 3] {
        ctx.commit("commit", &Speaker::nobody(&group), (&topic, 0, offset))?;
    }
    ctx.committed("committed", &group, &topic, 0, false)
}

/// Writes all that OffsetFetch gives in these versions; `None` asks for all topics.
fn fetch(
    ctx: &mut Ctx,
    label: &str,
    group: &str,
    topics: Option<Vec<(&str, &[i32])>>,
) -> Result<()> {
    let topics = topics.map(|t| t.into_iter().map(|(name, of)| offsets_of(name, of)).collect());
    let request =
        OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(topics);
    let mut response = ctx.call(7, &request)?;
    ctx.say(format!("{label}: {}", code(response.error_code)));
    response.topics.sort_by(|a, b| a.name.cmp(&b.name));
    for topic in &mut response.topics {
        topic.partitions.sort_by_key(|partition| partition.partition_index);
        for found in &topic.partitions {
            ctx.say(format!(
                "  {} {}: {} {}",
                topic.name.as_str(),
                found.partition_index,
                code(found.error_code),
                found.committed_offset
            ));
        }
    }
    Ok(())
}

fn of_all_partitions(ctx: &mut Ctx) -> Result<()> {
    let (one, two, group) = (ctx.topic("one", 2)?, ctx.topic("two", 1)?, ctx.name("g"));
    fetch(ctx, "before", &group, None)?;
    for place in [(one.as_str(), 1, 11), (&one, 0, 10), (&two, 0, 20)] {
        ctx.commit("commit", &Speaker::nobody(&group), place)?;
    }
    fetch(ctx, "all", &group, None)
}

fn of_no_partitions(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    ctx.commit("commit", &Speaker::nobody(&group), (&topic, 0, 1))?;
    fetch(ctx, "no topics", &group, Some(vec![]))?;
    fetch(ctx, "no partitions", &group, Some(vec![(&topic, &[])]))?;
    fetch(ctx, "one twice", &group, Some(vec![(&topic, &[0, 0])]))
}

fn of_an_unknown_topic(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.name("nowhere"), ctx.name("g"));
    ctx.commit("commit", &Speaker::nobody(&group), (&topic, 0, 1))?;
    fetch(ctx, "all", &group, None)
}

fn of_a_partition_that_is_not_there(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    for partition in [1, -1] {
        let label = format!("partition {partition}");
        ctx.commit(&label, &Speaker::nobody(&group), (&topic, partition, 1))?;
    }
    fetch(ctx, "all", &group, None)
}

fn with_metadata_that_is_too_long(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    for length in [4_096, 4_097] {
        let mut request = commit_request(&Speaker::nobody(&group), &[(&topic, 0, 1)]);
        request.topics[0].partitions[0].committed_metadata = Some(text("x".repeat(length)));
        let response = ctx.call(8, &request)?;
        let answer = response.topics[0].partitions[0].error_code;
        ctx.say(format!("{length} bytes: {}", code(answer)));
    }
    Ok(())
}

fn with_no_metadata(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    let mut request = commit_request(&Speaker::nobody(&group), &[(&topic, 0, 1)]);
    request.topics[0].partitions[0].committed_metadata = None;
    let response = ctx.call(8, &request)?;
    ctx.say(format!("commit: {}", code(response.topics[0].partitions[0].error_code)));
    ctx.committed("committed", &group, &topic, 0, false)
}

fn with_a_leader_epoch(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    for epoch in [0, 7, -1] {
        let mut request = commit_request(&Speaker::nobody(&group), &[(&topic, 0, 1)]);
        request.topics[0].partitions[0].committed_leader_epoch = epoch;
        let response = ctx.call(8, &request)?;
        ctx.say(format!("epoch {epoch}: {}", code(response.topics[0].partitions[0].error_code)));
        ctx.committed("committed", &group, &topic, 0, false)?;
    }
    Ok(())
}

fn that_are_negative(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    for offset in [-1, -2] {
        let label = format!("offset {offset}");
        ctx.commit(&label, &Speaker::nobody(&group), (&topic, 0, offset))?;
        ctx.committed("committed", &group, &topic, 0, false)?;
    }
    Ok(())
}

fn of_a_member_in_its_generation(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    let member = ctx.alone(&group)?;
    ctx.commit("commit", &member.speaker(), (&topic, 0, 5))?;
    ctx.committed("committed", &group, &topic, 0, false)
}

fn of_a_member_in_another_generation(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    let member = ctx.alone(&group)?;
    for generation in [-2, 0, 2] {
        let speaker = Speaker::new(&group, &member.id, generation);
        ctx.commit(&format!("generation {generation}"), &speaker, (&topic, 0, 5))?;
    }
    ctx.committed("committed", &group, &topic, 0, false)
}

fn of_an_unknown_member(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    let member = ctx.alone(&group)?;
    let stranger = Speaker::new(&group, "stranger", member.generation);
    ctx.commit("stranger", &stranger, (&topic, 0, 5))?;
    let nameless = Speaker::new(&group, "", member.generation);
    ctx.commit("no name", &nameless, (&topic, 0, 5))?;
    ctx.committed("committed", &group, &topic, 0, false)
}

fn of_nobody_in_a_group_with_members(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    let _member = ctx.alone(&group)?;
    ctx.commit("nobody", &Speaker::nobody(&group), (&topic, 0, 5))?;
    ctx.committed("committed", &group, &topic, 0, false)
}

fn of_a_member_without_a_generation(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    let member = ctx.alone(&group)?;
    ctx.commit("a member, -1", &Speaker::new(&group, &member.id, -1), (&topic, 0, 5))?;
    let empty = ctx.name("empty");
    ctx.commit("a stranger, -1, no group", &Speaker::new(&empty, "x", -1), (&topic, 0, 5))?;
    ctx.committed("committed", &empty, &topic, 0, false)
}

fn of_a_generation_in_a_group_that_is_not_there(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    ctx.commit("commit", &Speaker::new(&group, "stranger", 1), (&topic, 0, 5))?;
    ctx.commit("nobody", &Speaker::nobody(&group), (&topic, 0, 5))?;
    ctx.commit("and again", &Speaker::new(&group, "stranger", 1), (&topic, 0, 6))?;
    ctx.committed("committed", &group, &topic, 0, false)
}

fn of_a_member_that_left(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    let member = ctx.alone(&group)?;
    ctx.leave("leave", &group, &[member.speaker()])?;
    ctx.commit("commit", &member.speaker(), (&topic, 0, 5))?;
    ctx.committed("committed", &group, &topic, 0, false)
}

fn while_the_group_rebalances(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    let mut first = ctx.alone(&group)?;
    let mut second = ctx.member(&group)?;
    ctx.enter(&mut second)?;
    super::ctx::wait("a rebalance", || {
        Ok((ctx.heartbeat_code(&first.speaker())? == 27).then_some(()))
    })?;
    ctx.commit("all are to join", &first.speaker(), (&topic, 0, 5))?;
    first.send_join()?;
    ctx.joined("first", &mut first)?;
    ctx.joined("second", &mut second)?;
    ctx.commit("the leader is to assign, leader", &first.speaker(), (&topic, 0, 6))?;
    ctx.commit("the leader is to assign, follower", &second.speaker(), (&topic, 0, 7))?;
    ctx.committed("committed", &group, &topic, 0, false)
}

fn in_an_empty_group_id(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let group = "";
    ctx.commit("commit, in version 8", &Speaker::nobody(group), (&topic, 0, 5))?;
    ctx.committed("committed", group, &topic, 0, false)
}

fn of_several_groups_at_once(ctx: &mut Ctx) -> Result<()> {
    use kafka_protocol::messages::offset_fetch_request::{
        OffsetFetchRequestGroup, OffsetFetchRequestTopics,
    };
    let topic = ctx.topic("t", 2)?;
    let groups = [ctx.name("g1"), ctx.name("g2"), ctx.name("none")];
    ctx.commit("g1", &Speaker::nobody(&groups[0]), (&topic, 0, 1))?;
    ctx.commit("g2", &Speaker::nobody(&groups[1]), (&topic, 1, 2))?;
    let all = |group: &String| {
        OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group))).with_topics(None)
    };
    let some = OffsetFetchRequestTopics::default()
        .with_name(kafka_protocol::messages::TopicName(text(&topic)))
        .with_partition_indexes(vec![0, 1]);
    let mut asked: Vec<_> = groups.iter().map(all).collect();
    asked[1].topics = Some(vec![some]);
    let response = ctx.call(8, &OffsetFetchRequest::default().with_groups(asked))?;
    for group in &response.groups {
        ctx.say(format!("{}: {}", group.group_id.as_str(), code(group.error_code)));
        let topic = group.topics.first();
        for found in topic.map(|topic| topic.partitions.as_slice()).unwrap_or_default() {
            let (index, answer) = (found.partition_index, code(found.error_code));
            ctx.say(format!("  {index}: {answer} {}", found.committed_offset));
        }
    }
    response.groups.first().map(drop).context("no groups")
}

fn survive_the_members(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    let member = ctx.alone(&group)?;
    ctx.commit("commit", &member.speaker(), (&topic, 0, 5))?;
    ctx.leave("leave", &group, &[member.speaker()])?;
    ctx.committed("committed", &group, &topic, 0, false)?;
    ctx.commit("nobody commits", &Speaker::nobody(&group), (&topic, 0, 6))?;
    ctx.committed("committed", &group, &topic, 0, false)
}
