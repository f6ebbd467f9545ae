//! Topics and configurations made, altered, described; and every response in every version.

use bytes::BytesMut;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use super::*;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatableTopic {
    let configs = configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    });
    CreatableTopic::default()
        .with_name(TopicName(text(name)))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs.collect())
}

impl Bench {
    fn create(&mut self, topics: Vec<CreatableTopic>) -> Vec<(i16, Option<String>)> {
        let request = CreateTopicsRequest::default().with_topics(topics);
        match self.ask(7, RequestKind::CreateTopics(request)) {
            ResponseKind::CreateTopics(r) => {
                let why = |why: StrBytes| why.to_string();
                r.topics.into_iter().map(|t| (t.error_code, t.error_message.map(why))).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn alter(&mut self, name: &str, change: i8, value: &str) -> (i16, Option<StrBytes>) {
        let config = AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(change)
            .with_value(Some(text(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("t"))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        match self.ask(1, RequestKind::IncrementalAlterConfigs(request)) {
            ResponseKind::IncrementalAlterConfigs(r) => {
                (r.responses[0].error_code, r.responses[0].error_message.clone())
            }
            other => panic!("{other:?}"),
        }
    }

    fn config(&mut self, name: &str) -> (String, i8) {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("t"))
            .with_configuration_keys(Some(vec![text(name)]));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        match self.ask(4, RequestKind::DescribeConfigs(request)) {
            ResponseKind::DescribeConfigs(r) => {
                let config = &r.results[0].configs[0];
                (config.value.as_ref().unwrap().to_string(), config.config_source)
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn topics_are_made_by_kafkas_rules() {
    let mut bench = Bench::new();
    let mut replicated = topic("r", 1, &[]);
    replicated.replication_factor = 2;
    let codes: Vec<i16> = bench
        .create(vec![
            topic("ok", 3, &[("cleanup.policy", "compact")]),
            topic("t", 1, &[]),
            topic("a b", 1, &[]),
            topic("n", 0, &[]),
            topic("c", 1, &[("retention.ms", "x")]),
            topic("u", 1, &[("nonsense", "x")]),
            replicated,
        ])
        .into_iter()
        .map(|(code, _)| code)
        .collect();
    assert_eq!(
        codes,
        [
            codes::NONE,
            codes::TOPIC_ALREADY_EXISTS,
            codes::INVALID_TOPIC_EXCEPTION,
            codes::INVALID_PARTITIONS,
            codes::INVALID_CONFIG,
            codes::INVALID_CONFIG,
            codes::INVALID_REPLICATION_FACTOR,
        ]
    );
    assert!(bench.cluster.topic_config("ok").unwrap().compact);
    let twice = bench.create(vec![topic("d", 1, &[]), topic("d", 1, &[])]);
    assert_eq!(twice, [(codes::INVALID_REQUEST, Some("Duplicate topic name.".to_owned()))]);
    bench.create(vec![topic("a.b", 1, &[])]);
    assert_eq!(bench.create(vec![topic("a_b", 1, &[])])[0].0, codes::INVALID_TOPIC_EXCEPTION);
}

#[test]
fn a_topic_made_anew_has_another_id_and_can_be_deleted_by_it() {
    let mut bench = Bench::new();
    let before = bench.cluster.topic_id("t").unwrap();
    let delete = |id| {
        let state = DeleteTopicState::default().with_name(None).with_topic_id(id);
        RequestKind::DeleteTopics(DeleteTopicsRequest::default().with_topics(vec![state]))
    };
    match bench.ask(6, delete(before)) {
        ResponseKind::DeleteTopics(r) => {
            assert_eq!(r.responses[0].error_code, codes::NONE);
            assert_eq!(r.responses[0].name, Some(TopicName(text("t"))));
        }
        other => panic!("{other:?}"),
    }
    bench.cluster.create_topic("t", 1).unwrap();
    assert_ne!(bench.cluster.topic_id("t"), Some(before));
    match bench.ask(6, delete(before)) {
        ResponseKind::DeleteTopics(r) => {
            assert_eq!(r.responses[0].error_code, codes::UNKNOWN_TOPIC_ID);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn partitions_are_added_and_never_taken() {
    let mut bench = Bench::new();
    let mut enlarge = |count| {
        let topic = CreatePartitionsTopic::default()
            .with_name(TopicName(text("t")))
            .with_count(count)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]);
        match bench.ask(3, RequestKind::CreatePartitions(request)) {
            ResponseKind::CreatePartitions(r) => r.results[0].error_code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(enlarge(2), codes::INVALID_PARTITIONS);
    assert_eq!(enlarge(1), codes::INVALID_PARTITIONS);
    assert_eq!(enlarge(4), codes::NONE);
    assert_eq!(enlarge(3), codes::INVALID_PARTITIONS);
}

#[test]
fn configurations_are_altered_one_by_one() {
    let mut bench = Bench::new();
    assert_eq!(bench.config("cleanup.policy"), ("delete".to_owned(), 5));
    assert_eq!(bench.alter("cleanup.policy", 2, "compact"), (codes::NONE, None));
    assert_eq!(bench.config("cleanup.policy"), ("delete,compact".to_owned(), 1));
    assert_eq!(bench.alter("cleanup.policy", 3, "delete"), (codes::NONE, None));
    assert_eq!(bench.alter("retention.ms", 0, "1000"), (codes::NONE, None));
    let config = bench.cluster.topic_config("t").unwrap();
    assert!(config.compact && !config.delete && config.retention_ms == Some(1_000));
    assert_eq!(bench.alter("retention.ms", 1, ""), (codes::NONE, None));
    assert_eq!(bench.config("retention.ms"), ("604800000".to_owned(), 5));
    let (code, why) = bench.alter("retention.ms", 2, "1");
    assert_eq!(code, codes::INVALID_CONFIG);
    let said = "Can't APPEND to key retention.ms because its type is not LIST.";
    assert_eq!(why.as_deref(), Some(said));
    assert_eq!(bench.alter("segment.bytes", 0, "1").0, codes::INVALID_CONFIG);
}

fn group() -> GroupId {
    GroupId(text("g"))
}

/// Requests about topics with something in them.
fn topic_requests() -> Vec<RequestKind> {
    let named = || TopicName(text("t"));
    let resource = DescribeConfigsResource::default().with_resource_type(2);
    let resource = resource.with_resource_name(text("t")).with_configuration_keys(None);
    let asked = MetadataRequestTopic::default().with_name(Some(named()));
    let enlarged = CreatePartitionsTopic::default().with_name(named()).with_assignments(None);
    let create = CreateTopicsRequest::default().with_topics(vec![topic("new", 1, &[])]);
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![TopicName(text("no"))]);
    let enlarge = CreatePartitionsRequest::default().with_topics(vec![enlarged]);
    let describe = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let coordinator = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    vec![
        RequestKind::ApiVersions(Default::default()),
        RequestKind::Metadata(MetadataRequest::default().with_topics(Some(vec![asked]))),
        RequestKind::CreateTopics(create),
        RequestKind::DeleteTopics(delete),
        RequestKind::CreatePartitions(enlarge),
        RequestKind::DescribeConfigs(describe.with_include_synonyms(true)),
        RequestKind::AlterConfigs(Default::default()),
        RequestKind::IncrementalAlterConfigs(Default::default()),
        RequestKind::DescribeCluster(Default::default()),
        RequestKind::DescribeTopicPartitions(Default::default()),
        RequestKind::FindCoordinator(coordinator),
    ]
}

/// Requests about groups with something in them.
fn group_requests() -> Vec<RequestKind> {
    let offsets = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions(vec![OffsetCommitRequestPartition::default()]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![offsets]);
    let fetched = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(None);
    let fetch = OffsetFetchRequest::default().with_group_id(group()).with_topics(None);
    let join = JoinGroupRequest::default().with_group_id(group()).with_session_timeout_ms(1);
    let leave = LeaveGroupRequest::default().with_group_id(group());
    let describe = DescribeGroupsRequest::default().with_groups(vec![group(), GroupId(text("no"))]);
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text("no"))]);
    vec![
        RequestKind::OffsetCommit(commit),
        RequestKind::OffsetFetch(fetch.with_groups(vec![fetched])),
        RequestKind::OffsetDelete(OffsetDeleteRequest::default().with_group_id(group())),
        RequestKind::JoinGroup(join.with_member_id(text("m"))),
        RequestKind::SyncGroup(Default::default()),
        RequestKind::Heartbeat(Default::default()),
        RequestKind::LeaveGroup(leave.with_members(vec![Default::default()])),
        RequestKind::ListGroups(Default::default()),
        RequestKind::DescribeGroups(describe.with_include_authorized_operations(true)),
        RequestKind::DeleteGroups(delete),
    ]
}

#[test]
fn every_response_can_be_written_in_every_version_that_is_served() {
    for request in topic_requests().into_iter().chain(group_requests()) {
        let api = fault::api_of(&request).expect("it has a key");
        for version in (0..32).filter(|version| is_served(api, *version)) {
            let mut bench = Bench::new();
            let response = bench.ask(version, request.clone());
            let written = response.encode(&mut BytesMut::new(), version);
            assert!(written.is_ok(), "{api:?} {version}: {written:?} {response:?}");
        }
    }
}
