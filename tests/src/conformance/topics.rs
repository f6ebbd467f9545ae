//! The life of topics: made, grown, shortened, described, deleted.

use anyhow::{Context, Result};
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Message;

use super::ctx::{Ctx, code, text, wait};
use super::logs::{EARLIEST, LATEST, Uncommitted};
use super::records::Batch;
use super::versions::{described, each, each_ordered};

super::named!("topics":
    names_that_cannot_be,
    names_that_collide,
    partition_counts,
    replication_factors,
    a_topic_that_is_there,
    the_same_topic_twice_in_a_request,
    several_topics_in_a_request,
    assignments_by_hand,
    assignments_that_cannot_be,
    only_validated,
    configurations_that_cannot_be,
    create_in_each_version,
    create_with_a_negative_timeout,
    delete_what_is_not_there,
    delete_and_make_anew,
    delete_by_id,
    delete_in_each_version,
    deleted_with_its_offsets,
    more_partitions,
    fewer_partitions,
    more_partitions_only_validated,
    more_partitions_in_each_version,
    new_partitions_are_used,
    records_are_deleted,
    records_are_deleted_beyond_the_end,
    records_are_deleted_up_to_the_end,
    records_are_deleted_within_a_batch,
    records_of_an_unknown_partition_are_deleted,
    delete_records_in_each_version,
    metadata_of_all,
    metadata_of_none,
    metadata_of_names_that_cannot_be,
    metadata_makes_no_topic,
    describe_cluster_in_each_version,
);

fn new(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(TopicName(text(name)))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
}

fn create(ctx: &mut Ctx, label: &str, topics: Vec<CreatableTopic>) -> Result<()> {
    create_with(ctx, label, topics, false)
}

fn create_with(
    ctx: &mut Ctx,
    label: &str,
    topics: Vec<CreatableTopic>,
    validate_only: bool,
) -> Result<()> {
    let request = CreateTopicsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(10_000)
        .with_validate_only(validate_only);
    let mut response = ctx.call(5, &request)?;
    response.topics.sort_by(|a, b| a.name.cmp(&b.name));
    for made in &response.topics {
        let (answer, name) = (code(made.error_code), made.name.as_str());
        let (partitions, replicas) = (made.num_partitions, made.replication_factor);
        ctx.say(format!("{label} `{name}`: {answer}, {partitions} x {replicas}"));
    }
    Ok(())
}

fn names_that_cannot_be(ctx: &mut Ctx) -> Result<()> {
    for name in ["", ".", "..", "a b", "a/b", "ä", "a\u{0}b"] {
        create(ctx, "create", vec![new(name, 1, 1)])?;
    }
    for length in [249, 250] {
        let prefix = ctx.name("");
        let name = format!("{prefix}{}", "x".repeat(length - prefix.len()));
        let request = CreateTopicsRequest::default()
            .with_topics(vec![new(&name, 1, 1)])
            .with_timeout_ms(10_000);
        let response = ctx.call(5, &request)?;
        ctx.say(format!("{length} bytes: {}", code(response.topics[0].error_code)));
    }
    Ok(())
}

fn names_that_collide(ctx: &mut Ctx) -> Result<()> {
    let prefix = ctx.name("a");
    create(ctx, "with a dot", vec![new(&format!("{prefix}.b"), 1, 1)])?;
    create(ctx, "with an underscore", vec![new(&format!("{prefix}_b"), 1, 1)])
}

fn partition_counts(ctx: &mut Ctx) -> Result<()> {
    for count in [-2, 0, 1, 7] {
        let name = ctx.name(&format!("t{count}"));
        create(ctx, &format!("{count} partitions,"), vec![new(&name, count, 1)])?;
    }
    Ok(())
}

fn replication_factors(ctx: &mut Ctx) -> Result<()> {
    for factor in [-2, -1, 0, 1, 2] {
        let name = ctx.name(&format!("t{factor}"));
        create(ctx, &format!("factor {factor},"), vec![new(&name, 1, factor)])?;
    }
    Ok(())
}

fn a_topic_that_is_there(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    create(ctx, "again", vec![new(&topic, 1, 1)])?;
    create(ctx, "with another count", vec![new(&topic, 5, 1)])?;
    create(ctx, "with nonsense", vec![new(&topic, -5, 1)])
}

fn the_same_topic_twice_in_a_request(ctx: &mut Ctx) -> Result<()> {
    let name = ctx.name("t");
    create(ctx, "twice", vec![new(&name, 1, 1), new(&name, 1, 1)])
}

fn several_topics_in_a_request(ctx: &mut Ctx) -> Result<()> {
    let (one, two, three) = (ctx.name("a"), ctx.name("b"), ctx.name("c"));
    create(ctx, "create", vec![new(&one, 1, 1), new(&two, 0, 1), new(&three, 2, 1)])
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |(partition, brokers): &(i32, &[i32])| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*partition)
            .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
    };
    new(name, -1, -1).with_assignments(assignments.iter().map(assignment).collect())
}

fn assignments_by_hand(ctx: &mut Ctx) -> Result<()> {
    let name = ctx.name("t");
    create(ctx, "create", vec![assigned(&name, &[(0, &[1]), (1, &[1])])])
}

fn assignments_that_cannot_be(ctx: &mut Ctx) -> Result<()> {
    let name = ctx.name("t");
    create(ctx, "an unknown node,", vec![assigned(&name, &[(0, &[9])])])?;
    create(ctx, "a node twice,", vec![assigned(&name, &[(0, &[1, 1])])])?;
    create(ctx, "a gap,", vec![assigned(&name, &[(0, &[1]), (2, &[1])])])?;
    create(ctx, "no nodes,", vec![assigned(&name, &[(0, &[])])])?;
    let both = assigned(&name, &[(0, &[1])]).with_num_partitions(1);
    create(ctx, "a count beside it,", vec![both])
}

fn only_validated(ctx: &mut Ctx) -> Result<()> {
    let name = ctx.name("t");
    create_with(ctx, "validate", vec![new(&name, 3, 1)], true)?;
    let found = described(ctx, &name)?;
    ctx.say(format!("then: {}", code(found.error_code)));
    create_with(ctx, "validate nonsense", vec![new(&name, 0, 1)], true)
}

fn configurations_that_cannot_be(ctx: &mut Ctx) -> Result<()> {
    for (number, (key, value)) in [
        ("no.such.config", "1"),
        ("retention.ms", "soon"),
        ("retention.ms", "-2"),
        ("cleanup.policy", "shred"),
        ("cleanup.policy", "compact,delete"),
        ("max.message.bytes", "-1"),
        ("segment.ms", "0"),
        ("min.cleanable.dirty.ratio", "2"),
        ("compression.type", "rar"),
        ("message.timestamp.type", "Yesterday"),
        ("min.insync.replicas", "0"),
    ]
    .into_iter()
    .enumerate()
    {
        let config =
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)));
        let name = ctx.name(&format!("t{number}"));
        create(ctx, &format!("{key}={value}"), vec![new(&name, 1, 1).with_configs(vec![config])])?;
    }
    Ok(())
}

fn create_in_each_version(ctx: &mut Ctx) -> Result<()> {
    let order = |response: &mut CreateTopicsResponse| {
        for topic in &mut response.topics {
            // The configuration is in `configs`.
            topic.configs = None;
        }
    };
    each_ordered(ctx, <CreateTopicsRequest as Message>::VERSIONS, order, |ctx, version| {
        let name = ctx.name(&format!("t{version}"));
        Ok(CreateTopicsRequest::default()
            .with_topics(vec![new(&name, 2, 1), new("a b", 2, 1)])
            .with_timeout_ms(10_000))
    })
}

fn create_with_a_negative_timeout(ctx: &mut Ctx) -> Result<()> {
    let name = ctx.name("t");
    let request = CreateTopicsRequest::default().with_topics(vec![new(&name, 1, 1)]);
    let response = ctx.call(5, &request.with_timeout_ms(-1))?;
    let topic = response.topics.first().context("no topic")?;
    ctx.say(format!("-1 ms: {}", code(topic.error_code)));
    Ok(())
}

fn delete(ctx: &mut Ctx, label: &str, names: &[&str]) -> Result<()> {
    let request = DeleteTopicsRequest::default()
        .with_topic_names(names.iter().map(|name| TopicName(text(name))).collect())
        .with_timeout_ms(10_000);
    let mut response = ctx.call(5, &request)?;
    response.responses.sort_by(|a, b| a.name.cmp(&b.name));
    for gone in &response.responses {
        let name = gone.name.as_ref().map(|name| name.to_string()).unwrap_or_default();
        ctx.say(format!("{label} `{name}`: {}", code(gone.error_code)));
    }
    Ok(())
}

fn delete_what_is_not_there(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let nowhere = ctx.name("nowhere");
    delete(ctx, "delete", &[&nowhere, &topic])?;
    delete(ctx, "twice", &[&nowhere, &nowhere])?;
    delete(ctx, "not a name", &["a b"])?;
    delete(ctx, "nothing", &[])
}

fn delete_and_make_anew(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    ctx.fill(&topic, 0, &Batch::of(["a", "b"]))?;
    let before = described(ctx, &topic)?.topic_id;
    ctx.delete_topic("delete", &topic)?;
    ctx.produce("produce to it", &topic, 0, &Batch::of(["c"]))?;
    ctx.read("read it", &topic, 0, 0, Uncommitted)?;
    ctx.topic("t", 2)?;
    let after = described(ctx, &topic)?.topic_id;
    ctx.say(format!("the same id: {}", before == after));
    ctx.log("log", &topic, 0)
}

fn delete_by_id(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let id = described(ctx, &topic)?.topic_id;
    for label in ["once", "twice"] {
        let state = DeleteTopicState::default().with_topic_id(id).with_name(None);
        let request = DeleteTopicsRequest::default().with_topics(vec![state]);
        let response = ctx.call(6, &request.with_timeout_ms(10_000))?;
        let gone = response.responses.first().context("no topic")?;
        let named = gone.name.as_ref().map(|name| name.to_string());
        ctx.say(format!("{label}: {}, name {named:?}", code(gone.error_code)));
        wait("the topic's end", || Ok((described(ctx, &topic)?.error_code == 3).then_some(())))?;
    }
    Ok(())
}

fn delete_in_each_version(ctx: &mut Ctx) -> Result<()> {
    each(ctx, |ctx, version| {
        let name = TopicName(text(ctx.topic(&format!("t{version}"), 1)?));
        let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
        Ok(match version {
            0..6 => request.with_topic_names(vec![name]),
            _ => request.with_topics(vec![DeleteTopicState::default().with_name(Some(name))]),
        })
    })
}

fn deleted_with_its_offsets(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    ctx.commit("commit", &super::groups::Speaker::nobody(&group), (&topic, 0, 5))?;
    ctx.delete_topic("delete", &topic)?;
    wait("the offset's end", || {
        ctx.committed_offset(&group, &topic, 0).map(|offset| (offset == -1).then_some(()))
    })?;
    ctx.committed("after", &group, &topic, 0, false)
}

fn grow(name: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic::default()
        .with_name(TopicName(text(name)))
        .with_count(count)
        .with_assignments(None)
}

fn partitions(
    ctx: &mut Ctx,
    label: &str,
    topic: CreatePartitionsTopic,
    validate_only: bool,
) -> Result<()> {
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000)
        .with_validate_only(validate_only);
    let response = ctx.call(1, &request)?;
    let grown = response.results.first().context("no topic")?;
    ctx.say(format!("{label}: {}", code(grown.error_code)));
    Ok(())
}

fn more_partitions(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    partitions(ctx, "3", grow(&topic, 3), false)?;
    ctx.await_leaders(&topic, 3)?;
    let count = described(ctx, &topic)?.partitions.len();
    ctx.say(format!("{count} partitions"));
    let assignment =
        |id: i32| CreatePartitionsAssignment::default().with_broker_ids(vec![id.into()]);
    let by_hand = |count, ids: &[i32]| {
        grow(&topic, count).with_assignments(Some(ids.iter().map(|id| assignment(*id)).collect()))
    };
    partitions(ctx, "4, by hand", by_hand(4, &[1]), false)?;
    partitions(ctx, "5, on an unknown node", by_hand(5, &[9]), false)?;
    partitions(ctx, "6, one assignment for two", by_hand(6, &[1]), false)
}

fn fewer_partitions(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 3)?;
    for count in [3, 2, 0, -1] {
        partitions(ctx, &count.to_string(), grow(&topic, count), false)?;
    }
    let nowhere = ctx.name("nowhere");
    partitions(ctx, "an unknown topic", grow(&nowhere, 3), false)
}

fn more_partitions_only_validated(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    partitions(ctx, "validate 3", grow(&topic, 3), true)?;
    partitions(ctx, "validate 1", grow(&topic, 1), true)?;
    let count = described(ctx, &topic)?.partitions.len();
    ctx.say(format!("{count} partitions"));
    Ok(())
}

fn more_partitions_in_each_version(ctx: &mut Ctx) -> Result<()> {
    each(ctx, |ctx, version| {
        let topic = ctx.topic(&format!("t{version}"), 1)?;
        Ok(CreatePartitionsRequest::default()
            .with_topics(vec![grow(&topic, 2)])
            .with_timeout_ms(10_000))
    })
}

fn new_partitions_are_used(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    ctx.fill(&topic, 0, &Batch::of(["a"]))?;
    partitions(ctx, "2", grow(&topic, 2), false)?;
    ctx.await_leaders(&topic, 2)?;
    ctx.produce("produce", &topic, 1, &Batch::of(["b"]))?;
    ctx.log("partition 0", &topic, 0)?;
    ctx.log("partition 1", &topic, 1)
}

fn five(ctx: &mut Ctx) -> Result<String> {
    let topic = ctx.topic("t", 1)?;
    for value in ["a", "b", "c", "d", "e"] {
        ctx.fill(&topic, 0, &Batch::of([value]))?;
    }
    Ok(topic)
}

fn records_are_deleted(ctx: &mut Ctx) -> Result<()> {
    let topic = five(ctx)?;
    ctx.delete_records("before 2", &topic, 0, 2)?;
    ctx.delete_records("before 1, after that", &topic, 0, 1)?;
    ctx.offset("earliest", &topic, 0, EARLIEST, Uncommitted)?;
    ctx.read("from 0", &topic, 0, 0, Uncommitted)?;
    ctx.read("from 2", &topic, 0, 2, Uncommitted)
}

fn records_are_deleted_beyond_the_end(ctx: &mut Ctx) -> Result<()> {
    let topic = five(ctx)?;
    ctx.delete_records("before 6", &topic, 0, 6)?;
    ctx.delete_records("before -2", &topic, 0, -2)?;
    ctx.offset("earliest", &topic, 0, EARLIEST, Uncommitted)
}

fn records_are_deleted_up_to_the_end(ctx: &mut Ctx) -> Result<()> {
    let topic = five(ctx)?;
    ctx.delete_records("before -1", &topic, 0, -1)?;
    ctx.offset("earliest", &topic, 0, EARLIEST, Uncommitted)?;
    ctx.offset("latest", &topic, 0, LATEST, Uncommitted)?;
    ctx.produce("produce", &topic, 0, &Batch::of(["f"]))?;
    ctx.read("from 5", &topic, 0, 5, Uncommitted)
}

fn records_are_deleted_within_a_batch(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    ctx.fill(&topic, 0, &Batch::of(["a", "b", "c"]))?;
    ctx.delete_records("before 2", &topic, 0, 2)?;
    ctx.read("from 1", &topic, 0, 1, Uncommitted)?;
    ctx.read("from 2", &topic, 0, 2, Uncommitted)
}

fn records_of_an_unknown_partition_are_deleted(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    ctx.delete_records("an unknown partition", &topic, 4, 0)?;
    let nowhere = ctx.name("nowhere");
    ctx.delete_records("an unknown topic", &nowhere, 0, 0)
}

fn delete_records_in_each_version(ctx: &mut Ctx) -> Result<()> {
    let topic = five(ctx)?;
    each(ctx, |_, version| Ok(super::admin::delete_records_request(&topic, 0, version.into())))
}

fn mine(ctx: &Ctx, response: &MetadataResponse) -> Vec<String> {
    let names = response.topics.iter().filter_map(|topic| topic.name.as_ref());
    let mine = names.map(|name| name.to_string()).filter(|name| ctx.is_mine(name));
    let mut mine: Vec<String> = mine.collect();
    mine.sort();
    mine
}

fn metadata_of_all(ctx: &mut Ctx) -> Result<()> {
    for word in ["b", "a"] {
        ctx.topic(word, 1)?;
    }
    for (version, topics) in [(0, Some(vec![])), (1, None), (9, None)] {
        let response = ctx.call(version, &MetadataRequest::default().with_topics(topics))?;
        let mine = mine(ctx, &response).join(" ");
        ctx.say(format!("v{version}: {mine}"));
    }
    Ok(())
}

fn metadata_of_none(ctx: &mut Ctx) -> Result<()> {
    ctx.topic("t", 1)?;
    for version in [1, 9] {
        let response = ctx.call(version, &MetadataRequest::default().with_topics(Some(vec![])))?;
        let (topics, brokers) = (response.topics.len(), response.brokers.len());
        ctx.say(format!("v{version}: {topics} topics, {brokers} brokers"));
    }
    Ok(())
}

fn metadata_of_names_that_cannot_be(ctx: &mut Ctx) -> Result<()> {
    for name in ["", "a b", ".."] {
        let found = described(ctx, name)?;
        ctx.say(format!("`{name}`: {}", code(found.error_code)));
    }
    Ok(())
}

fn metadata_makes_no_topic(ctx: &mut Ctx) -> Result<()> {
    let nowhere = ctx.name("nowhere");
    let asked = MetadataRequestTopic::default().with_name(Some(TopicName(text(&nowhere))));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![asked]))
        .with_allow_auto_topic_creation(true);
    for _ in 0..2 {
        let response = ctx.call(9, &request)?;
        let topic = response.topics.first().context("no topic")?;
        ctx.say(code(topic.error_code));
    }
    Ok(())
}

fn describe_cluster_in_each_version(ctx: &mut Ctx) -> Result<()> {
    each(ctx, |_, _| Ok(DescribeClusterRequest::default()))?;
    let response = ctx.call(1, &DescribeClusterRequest::default().with_endpoint_type(9))?;
    ctx.say(format!("of nonsense: {}", code(response.error_code)));
    Ok(())
}
