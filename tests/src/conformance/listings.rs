//! Groups and transactions as administrators see them.

use anyhow::{Context, Result};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Message;

use super::ctx::{Ctx, code, text};
use super::groups::Speaker;
use super::producers::TXN_OFFSETS;
use super::records::Batch;
use super::versions::each_ordered;

super::named!("listings":
    a_stable_group_is_described,
    an_empty_group_is_described,
    a_group_that_is_not_there_is_described,
    a_group_that_joins_is_described,
    describe_groups_in_each_version,
    groups_are_listed,
    groups_are_listed_by_state,
    list_groups_in_each_version,
    groups_are_deleted,
    delete_groups_in_each_version,
    a_deleted_group_forgets_its_offsets,
    offsets_are_deleted,
    offsets_are_deleted_of_a_subscribed_topic,
    a_transaction_is_described,
    a_transaction_that_is_not_there_is_described,
    transactions_are_listed,
    transactions_are_listed_by_state_and_producer,
    producers_are_described,
    producers_of_an_unknown_partition_are_described,
);

fn describe(ctx: &mut Ctx, label: &str, group: &str) -> Result<()> {
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
    let response = ctx.call(5, &request)?;
    let found = response.groups.first().context("no group")?;
    let (answer, state) = (code(found.error_code), found.group_state.to_string());
    let kind = (found.protocol_type.to_string(), found.protocol_data.to_string());
    ctx.say(format!("{label}: {answer} {state} `{}` `{}`", kind.0, kind.1));
    let mut members: Vec<String> = Vec::new();
    for member in &found.members {
        let id = ctx.alias("m", member.member_id.as_str());
        let instance = member.group_instance_id.as_deref().unwrap_or("-").to_owned();
        let metadata = String::from_utf8_lossy(&member.member_metadata).into_owned();
        let assignment = String::from_utf8_lossy(&member.member_assignment).into_owned();
        let client = (member.client_id.as_str(), member.client_host.as_str());
        members.push(format!("  {id} {instance} `{metadata}` `{assignment}` {client:?}"));
    }
    members.sort();
    members.into_iter().for_each(|member| ctx.say(member));
    Ok(())
}

fn a_stable_group_is_described(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let mut member = ctx.member(&group)?.instance("pod");
    ctx.settle_alone(&mut member)?;
    describe(ctx, "describe", &group)
}

fn an_empty_group_is_described(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    ctx.commit("commit", &Speaker::nobody(&group), (&topic, 0, 1))?;
    describe(ctx, "offsets alone", &group)?;
    let left = ctx.name("left");
    let member = ctx.alone(&left)?;
    ctx.leave("leave", &left, &[member.speaker()])?;
    describe(ctx, "all have left", &left)
}

fn a_group_that_is_not_there_is_described(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    describe(ctx, "no group", &group)
}

fn a_group_that_joins_is_described(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    let mut first = ctx.alone(&group)?;
    let mut second = ctx.member(&group)?;
    ctx.enter(&mut second)?;
    super::ctx::wait("a rebalance", || {
        Ok((ctx.heartbeat_code(&first.speaker())? == 27).then_some(()))
    })?;
    let state = |ctx: &mut Ctx, label: &str| -> Result<()> {
        let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(&group))]);
        let response = ctx.call(5, &request)?;
        let found = response.groups.first().context("no group")?;
        let (state, members) = (found.group_state.to_string(), found.members.len());
        ctx.say(format!("{label}: {state}, {members} members"));
        Ok(())
    };
    state(ctx, "all are to join")?;
    first.send_join()?;
    ctx.joined("first", &mut first)?;
    ctx.joined("second", &mut second)?;
    state(ctx, "the leader is to assign")
}

fn describe_groups_in_each_version(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    ctx.commit("commit", &Speaker::nobody(&group), (&topic, 0, 1))?;
    // Kafka answers coordinator by coordinator.
    let order = |response: &mut DescribeGroupsResponse| {
        response.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
    };
    each_ordered(ctx, <DescribeGroupsRequest as Message>::VERSIONS, order, |ctx, _| {
        let groups = vec![GroupId(text(&group)), GroupId(text(ctx.name("none")))];
        Ok(DescribeGroupsRequest::default().with_groups(groups))
    })
}

fn list(ctx: &mut Ctx, label: &str, version: i16, request: &ListGroupsRequest) -> Result<()> {
    let response = ctx.call(version, request)?;
    let mine = response.groups.iter().filter(|group| ctx.is_mine(&group.group_id));
    let mut lines: Vec<String> = mine
        .map(|group| {
            let (id, kind) = (group.group_id.as_str(), group.protocol_type.as_str());
            format!("  {id} `{kind}` {} {}", group.group_state.as_str(), group.group_type.as_str())
        })
        .collect();
    lines.sort();
    ctx.say(format!("{label}: {}", code(response.error_code)));
    lines.into_iter().for_each(|line| ctx.say(line));
    Ok(())
}

/// A stable group and an empty one.
fn two_groups(ctx: &mut Ctx) -> Result<super::groups::Member> {
    let (topic, stable, empty) = (ctx.topic("t", 1)?, ctx.name("stable"), ctx.name("empty"));
    ctx.commit("commit", &Speaker::nobody(&empty), (&topic, 0, 1))?;
    ctx.alone(&stable)
}

fn groups_are_listed(ctx: &mut Ctx) -> Result<()> {
    let _member = two_groups(ctx)?;
    list(ctx, "all", 5, &ListGroupsRequest::default())
}

fn groups_are_listed_by_state(ctx: &mut Ctx) -> Result<()> {
    let _member = two_groups(ctx)?;
    for state in ["Stable", "Empty", "stable", "Nonsense"] {
        let request = ListGroupsRequest::default().with_states_filter(vec![text(state)]);
        list(ctx, state, 4, &request)?;
    }
    for kind in ["classic", "consumer"] {
        let request = ListGroupsRequest::default().with_types_filter(vec![text(kind)]);
        list(ctx, kind, 5, &request)?;
    }
    Ok(())
}

fn list_groups_in_each_version(ctx: &mut Ctx) -> Result<()> {
    let _member = two_groups(ctx)?;
    for version in 0..=5 {
        list(ctx, &format!("v{version}"), version, &ListGroupsRequest::default())?;
    }
    Ok(())
}

fn delete(ctx: &mut Ctx, label: &str, group: &str) -> Result<()> {
    let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(group))]);
    let response = ctx.call(1, &request)?;
    let result = response.results.first().context("no result")?;
    ctx.say(format!("{label}: {}", code(result.error_code)));
    Ok(())
}

fn groups_are_deleted(ctx: &mut Ctx) -> Result<()> {
    let member = two_groups(ctx)?;
    let (empty, none) = (ctx.name("empty"), ctx.name("none"));
    delete(ctx, "with members", &member.group)?;
    delete(ctx, "empty", &empty)?;
    delete(ctx, "empty, again", &empty)?;
    delete(ctx, "not there", &none)?;
    describe(ctx, "then", &empty)
}

fn delete_groups_in_each_version(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let order = |response: &mut DeleteGroupsResponse| {
        response.results.sort_by(|a, b| a.group_id.cmp(&b.group_id));
    };
    each_ordered(ctx, <DeleteGroupsRequest as Message>::VERSIONS, order, |ctx, version| {
        let group = ctx.name(&format!("g{version}"));
        ctx.commit("commit", &Speaker::nobody(&group), (&topic, 0, 1))?;
        let groups = vec![GroupId(text(&group)), GroupId(text(ctx.name("none")))];
        Ok(DeleteGroupsRequest::default().with_groups_names(groups))
    })
}

fn a_deleted_group_forgets_its_offsets(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    ctx.commit("commit", &Speaker::nobody(&group), (&topic, 0, 1))?;
    delete(ctx, "delete", &group)?;
    ctx.committed("committed", &group, &topic, 0, false)
}

fn delete_offsets(ctx: &mut Ctx, label: &str, group: &str, topic: &str) -> Result<()> {
    let asked = [0, 9].map(|p| OffsetDeleteRequestPartition::default().with_partition_index(p));
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(asked.to_vec());
    let request =
        OffsetDeleteRequest::default().with_group_id(GroupId(text(group))).with_topics(vec![topic]);
    let response = ctx.call(0, &request)?;
    let mut answers: Vec<String> = Vec::new();
    for found in response.topics.iter().flat_map(|topic| &topic.partitions) {
        answers.push(format!("{} {}", found.partition_index, code(found.error_code)));
    }
    answers.sort();
    ctx.say(format!("{label}: {} [{}]", code(response.error_code), answers.join(", ")));
    Ok(())
}

fn offsets_are_deleted(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 2)?, ctx.name("g"));
    for partition in [0, 1] {
        ctx.commit("commit", &Speaker::nobody(&group), (&topic, partition, 1))?;
    }
    delete_offsets(ctx, "delete", &group, &topic)?;
    ctx.committed("partition 0", &group, &topic, 0, false)?;
    ctx.committed("partition 1", &group, &topic, 1, false)?;
    let none = ctx.name("none");
    delete_offsets(ctx, "a group that is not there", &none, &topic)?;
    let nowhere = ctx.name("nowhere");
    delete_offsets(ctx, "a topic that is not there", &group, &nowhere)
}

fn offsets_are_deleted_of_a_subscribed_topic(ctx: &mut Ctx) -> Result<()> {
    use bytes::BufMut;
    let (topic, other, group) = (ctx.topic("t", 1)?, ctx.topic("other", 1)?, ctx.name("g"));
    // The consumer protocol's subscription, version 0: the topics, and no user data.
    let mut subscription = bytes::BytesMut::new();
    subscription.put_i16(0);
    subscription.put_i32(1);
    subscription.put_i16(i16::try_from(topic.len())?);
    subscription.put_slice(topic.as_bytes());
    subscription.put_i32(0);
    let subscription = String::from_utf8(subscription.to_vec())?;
    let mut member = ctx.member(&group)?.offers(&[("range", &subscription)]);
    ctx.settle_alone(&mut member)?;
    for topic in [&topic, &other] {
        ctx.commit("commit", &member.speaker(), (topic, 0, 1))?;
        delete_offsets(ctx, "delete", &group, topic)?;
        ctx.committed("then", &group, topic, 0, false)?;
    }
    Ok(())
}

fn describe_transaction(ctx: &mut Ctx, label: &str, id: &str) -> Result<()> {
    let request = DescribeTransactionsRequest::default()
        .with_transactional_ids(vec![TransactionalId(text(id))]);
    let response = ctx.call(0, &request)?;
    let found = response.transaction_states.first().context("no transaction")?.clone();
    let producer = match found.producer_id.0 {
        -1 => "-1".to_owned(),
        id => ctx.alias("p", id),
    };
    let started = if found.transaction_start_time_ms > 0 { "started" } else { "not started" };
    let (answer, state) = (code(found.error_code), found.transaction_state.to_string());
    let (epoch, timeout) = (found.producer_epoch, found.transaction_timeout_ms);
    ctx.say(format!("{label}: {answer} `{state}` {producer} e{epoch} {timeout} ms, {started}"));
    let mut topics: Vec<String> = found
        .topics
        .iter()
        .filter(|topic| ctx.is_mine(topic.topic.as_str()))
        .map(|topic| {
            let mut partitions = topic.partitions.clone();
            partitions.sort_unstable();
            format!("  {} {partitions:?}", topic.topic.as_str())
        })
        .collect();
    topics.sort();
    topics.into_iter().for_each(|topic| ctx.say(topic));
    Ok(())
}

fn a_transaction_is_described(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 2)?, ctx.name("g"));
    let producer = ctx.transactional_for("id", 45_000)?;
    let id = ctx.name("id");
    describe_transaction(ctx, "a new one", &id)?;
    ctx.begin(&producer, &topic, &[0, 1])?;
    ctx.add_offsets("add offsets", &producer, &group)?;
    let nobody = Speaker::nobody(&group);
    ctx.txn_offsets(TXN_OFFSETS, "offsets", &producer, &nobody, (&topic, 0, 1))?;
    describe_transaction(ctx, "open", &id)?;
    ctx.end("commit", &producer, true)?;
    ctx.settle_offsets(&group, &topic, 0)?;
    super::ctx::wait("the end", || {
        let ids = vec![TransactionalId(text(&id))];
        let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
        let response = ctx.call(0, &request)?;
        let state = response.transaction_states.first().context("no transaction")?;
        Ok((state.transaction_state.as_str() == "CompleteCommit").then_some(()))
    })?;
    describe_transaction(ctx, "committed", &id)
}

fn a_transaction_that_is_not_there_is_described(ctx: &mut Ctx) -> Result<()> {
    let id = ctx.name("none");
    describe_transaction(ctx, "not there", &id)?;
    describe_transaction(ctx, "no name", "")
}

fn list_transactions(
    ctx: &mut Ctx,
    label: &str,
    version: i16,
    request: &ListTransactionsRequest,
) -> Result<()> {
    let response = ctx.call(version, request)?;
    let unknown: Vec<&str> = response.unknown_state_filters.iter().map(|s| s.as_str()).collect();
    ctx.say(format!("{label}: {} unknown {unknown:?}", code(response.error_code)));
    let mut mine: Vec<_> = response
        .transaction_states
        .iter()
        .filter(|state| ctx.is_mine(state.transactional_id.as_str()))
        .map(|state| {
            let id = state.transactional_id.to_string();
            (id, state.transaction_state.to_string(), state.producer_id.0)
        })
        .collect();
    mine.sort();
    for (id, state, producer) in mine {
        let producer = ctx.alias("p", producer);
        ctx.say(format!("  {id} {state} {producer}"));
    }
    Ok(())
}

fn transactions_are_listed(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let open = ctx.transactional("open")?;
    ctx.transactional("empty")?;
    ctx.begin(&open, &topic, &[0])?;
    for version in 0..=2 {
        let label = format!("v{version}");
        list_transactions(ctx, &label, version, &ListTransactionsRequest::default())?;
    }
    let pattern = ctx.name("op.*");
    let request =
        ListTransactionsRequest::default().with_transactional_id_pattern(Some(text(&pattern)));
    list_transactions(ctx, "by a pattern", 2, &request)?;
    let request = ListTransactionsRequest::default().with_duration_filter(3_600_000);
    list_transactions(ctx, "open for an hour", 1, &request)
}

fn transactions_are_listed_by_state_and_producer(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let (open, empty) = (ctx.transactional("open")?, ctx.transactional("empty")?);
    ctx.begin(&open, &topic, &[0])?;
    for state in ["Ongoing", "Empty", "Nonsense"] {
        let request = ListTransactionsRequest::default().with_state_filters(vec![text(state)]);
        list_transactions(ctx, state, 0, &request)?;
    }
    let request =
        ListTransactionsRequest::default().with_producer_id_filters(vec![empty.id.into()]);
    list_transactions(ctx, "by producer", 0, &request)
}

fn describe_producers(ctx: &mut Ctx, label: &str, topic: &str, partition: i32) -> Result<()> {
    let asked = TopicRequest::default()
        .with_name(TopicName(text(topic)))
        .with_partition_indexes(vec![partition]);
    let response = ctx.call(0, &DescribeProducersRequest::default().with_topics(vec![asked]))?;
    let topic = response.topics.first().context("no topic")?;
    let mut found = topic.partitions.first().context("no partition")?.clone();
    found.active_producers.sort_by_key(|producer| producer.producer_id.0);
    ctx.say(format!("{label}: {}", code(found.error_code)));
    let mut lines: Vec<String> = Vec::new();
    for producer in &found.active_producers {
        let id = ctx.alias("p", producer.producer_id.0);
        let (epoch, last) = (producer.producer_epoch, producer.last_sequence);
        let (from, coordinator) = (producer.current_txn_start_offset, producer.coordinator_epoch);
        lines.push(format!("  {id} e{epoch} last {last} open from {from}, epoch {coordinator}"));
    }
    lines.sort();
    lines.into_iter().for_each(|line| ctx.say(line));
    Ok(())
}

fn producers_are_described(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    describe_producers(ctx, "nobody", &topic, 0)?;
    let (plain, producer) = (ctx.idempotent()?, ctx.transactional("id")?);
    ctx.fill(&topic, 0, &Batch::of(["a", "b"]).by(&plain, 0))?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["c"]).by(&producer, 0))?;
    describe_producers(ctx, "two, one in a transaction", &topic, 0)?;
    ctx.end("commit", &producer, true)?;
    ctx.settle(&topic, 0)?;
    describe_producers(ctx, "after the commit", &topic, 0)
}

fn producers_of_an_unknown_partition_are_described(ctx: &mut Ctx) -> Result<()> {
    let (topic, nowhere) = (ctx.topic("t", 1)?, ctx.name("nowhere"));
    describe_producers(ctx, "an unknown partition", &topic, 5)?;
    describe_producers(ctx, "an unknown topic", &nowhere, 0)
}
