//! Each API in each version, with a good request; what comes back is written whole.

use std::fmt::Debug;

use anyhow::{Context, Result};
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::fetch_response::FetchResponse;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Message, Request, VersionRange};

use super::ctx::{Ctx, Producer, code, text, wait};
use super::groups::{Speaker, commit_request, offsets_of, sync_request};
use super::logs::{Committed, LATEST, Uncommitted};
use super::logs::{fetch_request, list_offsets_request, produce_request};
use super::producers::{end_request, init_request};
use super::records::Batch;
use super::tidy::tidy;

super::named!("versions":
    are_announced,
    newer_than_the_codec,
    of_api_versions,
    of_api_versions_that_nobody_knows,
    of_produce,
    of_fetch,
    of_list_offsets,
    of_metadata,
    of_metadata_by_id,
    of_find_coordinator,
    of_init_producer_id,
    of_add_partitions_to_txn,
    of_add_offsets_to_txn,
    of_txn_offset_commit,
    of_end_txn,
    of_offset_commit,
    of_offset_fetch,
    of_join_group,
    of_sync_group,
    of_heartbeat,
    of_leave_group,
    of_offset_for_leader_epoch,
);

/// Asks in each version that the codec knows; versions with the same answer share a line.
pub(super) fn each<R: Request>(
    ctx: &mut Ctx,
    build: impl FnMut(&mut Ctx, i16) -> Result<R>,
) -> Result<()>
where
    R::Response: Debug,
{
    each_in::<R>(ctx, <R as Message>::VERSIONS, build)
}

fn each_in<R: Request>(
    ctx: &mut Ctx,
    versions: VersionRange,
    build: impl FnMut(&mut Ctx, i16) -> Result<R>,
) -> Result<()>
where
    R::Response: Debug,
{
    each_ordered::<R>(ctx, versions, |_| {}, build)
}

/// As [`each`]; `order` sorts what comes in any order.
pub(super) fn each_ordered<R: Request>(
    ctx: &mut Ctx,
    versions: VersionRange,
    order: impl Fn(&mut R::Response),
    mut build: impl FnMut(&mut Ctx, i16) -> Result<R>,
) -> Result<()>
where
    R::Response: Debug,
{
    let mut lines: Vec<(i16, i16, String)> = Vec::new();
    for version in versions.min..=versions.max {
        let request = build(ctx, version)?;
        let seen = match ctx.call(version, &request) {
            Ok(mut response) => {
                order(&mut response);
                tidy(&format!("{response:?}"), ctx.bootstrap())
            }
            Err(error) => error.to_string(),
        };
        match lines.last_mut() {
            Some((_, to, same)) if *same == seen => *to = version,
            _ => lines.push((version, version, seen)),
        }
    }
    for (from, to, seen) in lines {
        ctx.say(format!("v{from}-{to}: {seen}"));
    }
    Ok(())
}

/// What Metadata says of a topic, its id among it.
pub(super) fn described(ctx: &mut Ctx, topic: &str) -> Result<MetadataResponseTopic> {
    let asked = MetadataRequestTopic::default().with_name(Some(TopicName(text(topic))));
    let request = MetadataRequest::default().with_topics(Some(vec![asked]));
    ctx.call(12, &request)?.topics.into_iter().next().context("no topic")
}

fn range<R: Request>(name: &str) -> (i16, String, VersionRange) {
    (R::KEY, name.to_owned(), <R as Message>::VERSIONS)
}

fn known_apis() -> [(i16, String, VersionRange); 33] {
    [
        range::<ProduceRequest>("Produce"),
        range::<FetchRequest>("Fetch"),
        range::<ListOffsetsRequest>("ListOffsets"),
        range::<MetadataRequest>("Metadata"),
        range::<OffsetCommitRequest>("OffsetCommit"),
        range::<OffsetFetchRequest>("OffsetFetch"),
        range::<FindCoordinatorRequest>("FindCoordinator"),
        range::<JoinGroupRequest>("JoinGroup"),
        range::<HeartbeatRequest>("Heartbeat"),
        range::<LeaveGroupRequest>("LeaveGroup"),
        range::<SyncGroupRequest>("SyncGroup"),
        range::<DescribeGroupsRequest>("DescribeGroups"),
        range::<ListGroupsRequest>("ListGroups"),
        range::<ApiVersionsRequest>("ApiVersions"),
        range::<CreateTopicsRequest>("CreateTopics"),
        range::<DeleteTopicsRequest>("DeleteTopics"),
        range::<DeleteRecordsRequest>("DeleteRecords"),
        range::<InitProducerIdRequest>("InitProducerId"),
        range::<OffsetForLeaderEpochRequest>("OffsetForLeaderEpoch"),
        range::<AddPartitionsToTxnRequest>("AddPartitionsToTxn"),
        range::<AddOffsetsToTxnRequest>("AddOffsetsToTxn"),
        range::<EndTxnRequest>("EndTxn"),
        range::<TxnOffsetCommitRequest>("TxnOffsetCommit"),
        range::<DescribeConfigsRequest>("DescribeConfigs"),
        range::<AlterConfigsRequest>("AlterConfigs"),
        range::<CreatePartitionsRequest>("CreatePartitions"),
        range::<DeleteGroupsRequest>("DeleteGroups"),
        range::<IncrementalAlterConfigsRequest>("IncrementalAlterConfigs"),
        range::<OffsetDeleteRequest>("OffsetDelete"),
        range::<DescribeClusterRequest>("DescribeCluster"),
        range::<DescribeProducersRequest>("DescribeProducers"),
        range::<DescribeTransactionsRequest>("DescribeTransactions"),
        range::<ListTransactionsRequest>("ListTransactions"),
    ]
}

fn are_announced(ctx: &mut Ctx) -> Result<()> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("conformance"))
        .with_client_software_version(text("1"));
    let response = ctx.call(3, &request)?;
    for (key, name, VersionRange { min, max }) in known_apis() {
        let found = response.api_keys.iter().find(|api| api.api_key == key);
        let all = found.is_some_and(|api| api.min_version <= min && api.max_version >= max);
        let served = match (found, all) {
            (None, _) => "not served".to_owned(),
            (_, true) => "all".to_owned(),
            (Some(api), false) => format!("only {}-{}", api.min_version, api.max_version),
        };
        ctx.say(format!("{name} {min}-{max}: {served}"));
    }
    let features = response.finalized_features.iter();
    for feature in features.filter(|feature| feature.name.as_str() == "transaction.version") {
        ctx.say(format!("transaction.version {}", feature.max_version_level));
    }
    Ok(())
}

/// Lists the versions that a broker serves and that no case can use.
fn newer_than_the_codec(ctx: &mut Ctx) -> Result<()> {
    let response = ctx.call(0, &ApiVersionsRequest::default())?;
    ctx.say("newer than the codec:");
    for (key, name, VersionRange { max, .. }) in known_apis() {
        let found = response.api_keys.iter().find(|api| api.api_key == key);
        if let Some(api) = found.filter(|api| api.max_version > max) {
            ctx.say(format!("{name} {}-{}", max + 1, api.max_version));
        }
    }
    Ok(())
}

fn of_api_versions(ctx: &mut Ctx) -> Result<()> {
    for version in 0..=4 {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(text(if version >= 3 { "conformance" } else { "" }))
            .with_client_software_version(text(if version >= 3 { "1" } else { "" }));
        let response = ctx.call(version, &request)?;
        let some = response.api_keys.len() > 10;
        ctx.say(format!("v{version}: {}, many: {some}", code(response.error_code)));
    }
    let bad = ApiVersionsRequest::default()
        .with_client_software_name(text("not a name!"))
        .with_client_software_version(text("1"));
    let response = ctx.call(3, &bad)?;
    ctx.say(format!("a bad name: {}", code(response.error_code)));
    Ok(())
}

fn of_api_versions_that_nobody_knows(ctx: &mut Ctx) -> Result<()> {
    let announced = ctx.call(0, &ApiVersionsRequest::default())?;
    let own = announced.api_keys.iter().find(|api| api.api_key == ApiVersionsRequest::KEY);
    let next = own.context("ApiVersions is announced")?.max_version + 1;
    for (name, version) in [("the next version", next), ("v99", 99)] {
        let mut connection = ctx.connect()?;
        connection.send_body(18, version, 2, &[0, 0, 0, 0])?;
        // The answer is in version 0.
        let response = connection.receive::<ApiVersionsRequest>(0)?;
        let code = code(response.error_code);
        let mut named = response.api_keys.iter();
        let named = named.any(|api| api.api_key == 18);
        ctx.say(format!("{name}: {code}, names ApiVersions: {named}"));
        let good = connection.call(0, &ApiVersionsRequest::default())?;
        ctx.say(format!("then v0: {}", super::ctx::code(good.error_code)));
    }
    Ok(())
}

fn of_produce(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let id = described(ctx, &topic)?.topic_id;
    each(ctx, |_, version| {
        let mut request = produce_request(&topic, 0, &Batch::of(["a"]));
        if version >= 13 {
            request.topic_data[0].name = TopicName::default();
            request.topic_data[0].topic_id = id;
        }
        Ok(request)
    })?;
    ctx.say("and nonsense:");
    each_in(ctx, VersionRange { min: 3, max: 12 }, |ctx, _| {
        Ok(produce_request(&ctx.name("nowhere"), 0, &Batch::of(["a"])))
    })
}

fn of_fetch(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let id = described(ctx, &topic)?.topic_id;
    let producer = ctx.transactional("id")?;
    ctx.begin(&producer, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a"]).by(&producer, 0))?;
    ctx.end("abort", &producer, false)?;
    ctx.settle(&topic, 0)?;
    let VersionRange { min, max } = <FetchRequest as Message>::VERSIONS;
    for version in min..=max {
        let mut request = fetch_request(&topic, 0, 0, Committed);
        if version >= 13 {
            request.topics[0].topic = TopicName::default();
            request.topics[0].topic_id = id;
        }
        let response = ctx.call(version, &request);
        let response: FetchResponse = match response {
            Ok(response) => response,
            Err(error) => {
                ctx.say(format!("v{version}: {error}"));
                continue;
            }
        };
        let answer = code(response.error_code);
        let found = response.responses.first().context("no topic")?;
        let named = (found.topic.as_str() == topic, found.topic_id == id);
        ctx.say(format!("v{version}: {answer}, by name {}, by id {}", named.0, named.1));
        let data = found.partitions.first().context("no partition")?.clone();
        ctx.say_fetched("  partition", &data)?;
    }
    Ok(())
}

fn of_list_offsets(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    ctx.fill(&topic, 0, &Batch::of(["a", "b"]))?;
    each(ctx, |_, version| {
        let isolation = if version >= 2 { Committed } else { Uncommitted };
        Ok(list_offsets_request(&topic, 0, LATEST, isolation))
    })
}

fn of_metadata(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 2)?;
    let nowhere = ctx.name("nowhere");
    let order = |response: &mut MetadataResponse| {
        response.topics.sort_by(|a, b| a.name.cmp(&b.name));
        for topic in &mut response.topics {
            topic.partitions.sort_by_key(|partition| partition.partition_index);
        }
    };
    each_ordered(ctx, <MetadataRequest as Message>::VERSIONS, order, |_, version| {
        let asked =
            |name: &str| MetadataRequestTopic::default().with_name(Some(TopicName(text(name))));
        let request =
            MetadataRequest::default().with_topics(Some(vec![asked(&topic), asked(&nowhere)]));
        Ok(if version >= 4 { request.with_allow_auto_topic_creation(false) } else { request })
    })
}

fn of_metadata_by_id(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let mut id = described(ctx, &topic)?.topic_id;
    for label in ["a known id", "an unknown id"] {
        ctx.say(label);
        each_in(ctx, VersionRange { min: 12, max: 13 }, |_, _| {
            let asked = MetadataRequestTopic::default().with_topic_id(id).with_name(None);
            Ok(MetadataRequest::default().with_topics(Some(vec![asked])))
        })?;
        id = "12345678-9abc-4def-8123-456789abcdef".parse()?;
    }
    Ok(())
}

fn of_find_coordinator(ctx: &mut Ctx) -> Result<()> {
    for (kind, key) in [(0, "group"), (1, "transactional id"), (7, "nonsense")] {
        ctx.say(key);
        each_in(ctx, VersionRange { min: i16::from(kind > 0), max: 6 }, |_, version| {
            let request = FindCoordinatorRequest::default().with_key_type(kind);
            Ok(match version {
                0..=3 => request.with_key(text("key")),
                _ => request.with_coordinator_keys(vec![text("key"), text("other")]),
            })
        })?;
    }
    Ok(())
}

fn of_init_producer_id(ctx: &mut Ctx) -> Result<()> {
    each(ctx, |ctx, version| Ok(init_request(Some(&ctx.name(&format!("id{version}"))), 60_000)))?;
    ctx.say("without a transactional id:");
    each(ctx, |_, _| Ok(init_request(None, 60_000)))
}

fn of_add_partitions_to_txn(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 2)?;
    each(ctx, |ctx, version| {
        let producer = ctx.transactional(&format!("id{version}"))?;
        let id = TransactionalId(text(producer.transactional_id()));
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(TopicName(text(&topic)))
            .with_partitions(vec![0]);
        let request = AddPartitionsToTxnRequest::default();
        if version <= 3 {
            return Ok(request
                .with_v3_and_below_transactional_id(id)
                .with_v3_and_below_producer_id(producer.id.into())
                .with_v3_and_below_producer_epoch(producer.epoch)
                .with_v3_and_below_topics(vec![topic]));
        }
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(id)
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
            .with_topics(vec![topic]);
        Ok(request.with_transactions(vec![transaction]))
    })
}

fn add_offsets_request(producer: &Producer, group: &str) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest::default()
        .with_transactional_id(text(producer.transactional_id()).into())
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
        .with_group_id(text(group).into())
}

fn of_add_offsets_to_txn(ctx: &mut Ctx) -> Result<()> {
    let group = ctx.name("g");
    each(ctx, |ctx, version| {
        let producer = ctx.transactional(&format!("id{version}"))?;
        Ok(add_offsets_request(&producer, &group))
    })
}

fn of_txn_offset_commit(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    for version in 0..=5 {
        let producer = ctx.transactional(&format!("id{version}"))?;
        if version < 5 {
            ctx.call(3, &add_offsets_request(&producer, &group))?;
        }
        let nobody = Speaker::nobody(&group);
        let at = (topic.as_str(), 0, 5);
        ctx.txn_offsets(version, &format!("v{version}"), &producer, &nobody, at)?;
    }
    Ok(())
}

fn of_end_txn(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    each(ctx, |ctx, version| {
        let producer = ctx.transactional(&format!("id{version}"))?;
        ctx.begin(&producer, &topic, &[0])?;
        Ok(end_request(&producer, true))
    })
}

fn of_offset_commit(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    let order = |response: &mut OffsetCommitResponse| {
        for topic in &mut response.topics {
            topic.partitions.sort_by_key(|partition| partition.partition_index);
        }
    };
    each_ordered(ctx, <OffsetCommitRequest as Message>::VERSIONS, order, |_, _| {
        let mut request = commit_request(&Speaker::nobody(&group), &[(&topic, 0, 5)]);
        let unknown = request.topics[0].partitions[0].clone().with_partition_index(9);
        request.topics[0].partitions.push(unknown);
        Ok(request)
    })
}

fn of_offset_fetch(ctx: &mut Ctx) -> Result<()> {
    let (topic, group) = (ctx.topic("t", 1)?, ctx.name("g"));
    ctx.commit("commit", &Speaker::nobody(&group), (&topic, 0, 5))?;
    each(ctx, |_, version| {
        let group_id = GroupId(text(&group));
        if version <= 7 {
            return Ok(OffsetFetchRequest::default()
                .with_group_id(group_id)
                .with_topics(Some(vec![offsets_of(&topic, &[0, 1])])));
        }
        let topics = OffsetFetchRequestTopics::default()
            .with_name(TopicName(text(&topic)))
            .with_partition_indexes(vec![0, 1]);
        let asked = OffsetFetchRequestGroup::default()
            .with_group_id(group_id)
            .with_topics(Some(vec![topics]));
        Ok(OffsetFetchRequest::default().with_groups(vec![asked]))
    })
}

fn of_join_group(ctx: &mut Ctx) -> Result<()> {
    for version in 0..=9 {
        let group = ctx.name(&format!("g{version}"));
        let mut request = ctx.member(&group)?.join_request();
        if version == 0 {
            request.rebalance_timeout_ms = -1;
        }
        let mut response = ctx.call(version, &request)?;
        if version >= 4 {
            ctx.say(format!("v{version}, without an id: {}", code(response.error_code)));
            request.member_id = response.member_id.clone();
            response = ctx.call(version, &request)?;
        }
        let kind = response.protocol_type.as_deref().unwrap_or("-").to_owned();
        ctx.say_joined(&format!("v{version}, {kind}"), &response);
    }
    Ok(())
}

fn of_sync_group(ctx: &mut Ctx) -> Result<()> {
    each(ctx, |ctx, version| {
        let member = ctx.alone(&ctx.name(&format!("g{version}")))?;
        let request = sync_request(&member.speaker(), &[]);
        Ok(match version {
            0..5 => request.with_protocol_type(None).with_protocol_name(None),
            _ => request,
        })
    })
}

fn of_heartbeat(ctx: &mut Ctx) -> Result<()> {
    each(ctx, |ctx, version| {
        let member = ctx.alone(&ctx.name(&format!("g{version}")))?;
        Ok(HeartbeatRequest::default()
            .with_group_id(text(&member.group).into())
            .with_member_id(text(&member.id))
            .with_generation_id(member.generation))
    })
}

fn of_leave_group(ctx: &mut Ctx) -> Result<()> {
    let VersionRange { min, max } = <LeaveGroupRequest as Message>::VERSIONS;
    for version in min..=max {
        let member = ctx.alone(&ctx.name(&format!("g{version}")))?;
        let request = LeaveGroupRequest::default().with_group_id(text(&member.group).into());
        let request = match version {
            0..3 => request.with_member_id(text(&member.id)),
            _ => {
                let who = MemberIdentity::default().with_member_id(text(&member.id));
                request.with_members(vec![who])
            }
        };
        let response = ctx.call(version, &request)?;
        let members: Vec<String> =
            response.members.iter().map(|member| code(member.error_code)).collect();
        ctx.say(format!("v{version}: {} {members:?}", code(response.error_code)));
        wait("the group's end", || {
            Ok((ctx.heartbeat_code(&member.speaker())? == 25).then_some(()))
        })?;
    }
    Ok(())
}

fn of_offset_for_leader_epoch(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    ctx.fill(&topic, 0, &Batch::of(["a"]))?;
    each(ctx, |_, _| Ok(super::places::epoch_request(&topic, 0, 0)))
}
