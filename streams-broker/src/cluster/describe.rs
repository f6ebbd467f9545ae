//! The cluster described: metadata, topics, nodes, coordinators.

use std::collections::BTreeSet;

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeClusterRequest, DescribeClusterResponse, DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::topics::is_name;
use super::{Cluster, NODE_ID, codes};

/// What everybody may do with a topic, as a set of bits: all but act for the cluster.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// What everybody may do with the cluster.
const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;
/// So many partitions are described in one response (`max.request.partition.size.limit`).
const DESCRIBED_PARTITIONS_MAX: usize = 2_000;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// The operations, if they are asked for; else the number that says that they aren't.
const fn operations(asked: bool, operations: i32) -> i32 {
    if asked { operations } else { i32::MIN }
}

impl Cluster {
    pub(super) fn metadata(&mut self, version: i16, request: &MetadataRequest) -> MetadataResponse {
        let mut topics = Vec::new();
        let asked = request.topics.as_deref().filter(|asked| !asked.is_empty() || version > 0);
        let ids = asked.is_some_and(|asked| asked.iter().any(|topic| !topic.topic_id.is_nil()));
        let mut seen = BTreeSet::new();
        for asked in asked.unwrap_or_default() {
            let name = match &asked.name {
                // One id in the request, and names count for nothing.
                _ if ids => self.topic_name(asked.topic_id).map(str::to_owned),
                name => name.as_ref().map(|name| name.to_string()),
            };
            match name {
                Some(name) if seen.insert(name.clone()) => {
                    topics.push(self.describe(&name, request.allow_auto_topic_creation));
                }
                None if ids && !asked.topic_id.is_nil() => {
                    let unknown = MetadataResponseTopic::default().with_name(None);
                    let unknown = unknown.with_topic_id(asked.topic_id);
                    topics.push(unknown.with_error_code(codes::UNKNOWN_TOPIC_ID));
                }
                _ => {}
            }
        }
        if asked.is_none() {
            let names: Vec<String> = self.topics.keys().cloned().collect();
            topics.extend(names.iter().map(|name| self.describe(name, false)));
        }
        for topic in &mut topics {
            let asked = version >= 8 && request.include_topic_authorized_operations;
            topic.topic_authorized_operations = operations(asked, TOPIC_OPERATIONS);
            if version < 12 && topic.name.is_none() {
                topic.name = Some(TopicName::default());
            }
        }
        let (host, port) = self.address();
        let broker = MetadataResponseBroker::default().with_node_id(NODE_ID.into());
        let cluster = (8..=10).contains(&version) && request.include_cluster_authorized_operations;
        MetadataResponse::default()
            .with_brokers(vec![broker.with_host(host).with_port(port)])
            .with_cluster_id(Some(text(&self.settings.cluster_id)))
            .with_controller_id(NODE_ID.into())
            .with_cluster_authorized_operations(operations(cluster, CLUSTER_OPERATIONS))
            .with_topics(topics)
    }

    fn describe(&mut self, name: &str, auto_create: bool) -> MetadataResponseTopic {
        if auto_create && self.settings.auto_create_topics && !self.topics.contains_key(name) {
            // A name that isn't one is answered below.
            let _ = self.create_topic(name, -1);
        }
        let described = MetadataResponseTopic::default().with_name(Some(topic_name(name)));
        let Some(topic) = self.topics.get(name) else {
            return described.with_error_code(missing(name));
        };
        let partition = |index: usize| {
            MetadataResponsePartition::default()
                .with_partition_index(i32::try_from(index).unwrap_or(i32::MAX))
                .with_leader_id(NODE_ID.into())
                .with_leader_epoch(0)
                .with_replica_nodes(vec![NODE_ID.into()])
                .with_isr_nodes(vec![NODE_ID.into()])
        };
        described
            .with_topic_id(topic.id)
            .with_partitions((0..topic.partitions.len()).map(partition).collect())
    }

    fn address(&self) -> (StrBytes, i32) {
        (text(&self.settings.host), i32::from(self.settings.port))
    }

    pub(super) fn describe_cluster(
        &self,
        request: &DescribeClusterRequest,
    ) -> DescribeClusterResponse {
        let response = DescribeClusterResponse::default();
        let refuse = |code, words: &str| {
            DescribeClusterResponse::default()
                .with_error_code(code)
                .with_error_message(Some(text(words)))
        };
        match request.endpoint_type {
            1 => {}
            2 => {
                let words = "The request was sent to an endpoint of type BROKER, but we wanted an \
                             endpoint of type CONTROLLER";
                return refuse(codes::MISMATCHED_ENDPOINT_TYPE, words);
            }
            _ => {
                let words = "Unsupported endpoint type";
                return refuse(codes::UNSUPPORTED_ENDPOINT_TYPE, words);
            }
        }
        let (host, port) = self.address();
        let broker = DescribeClusterBroker::default().with_broker_id(NODE_ID.into());
        let asked = request.include_cluster_authorized_operations;
        response
            .with_cluster_id(text(&self.settings.cluster_id))
            .with_controller_id(NODE_ID.into())
            .with_brokers(vec![broker.with_host(host).with_port(port).with_rack(None)])
            .with_cluster_authorized_operations(operations(asked, CLUSTER_OPERATIONS))
    }

    pub(super) fn describe_topic_partitions(
        &self,
        request: &DescribeTopicPartitionsRequest,
    ) -> DescribeTopicPartitionsResponse {
        let mut names: BTreeSet<&str> = request.topics.iter().map(|t| t.name.as_str()).collect();
        if names.is_empty() {
            names.extend(self.topics.keys().map(String::as_str));
        }
        let (from, mut index) = match &request.cursor {
            Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index.max(0) as usize),
            None => ("", 0),
        };
        let asked = usize::try_from(request.response_partition_limit).unwrap_or(0).max(1);
        let mut left = asked.min(DESCRIBED_PARTITIONS_MAX);
        let mut response = DescribeTopicPartitionsResponse::default().with_next_cursor(None);
        for name in names.into_iter().filter(|name| *name >= from) {
            let described = DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(topic_name(name)))
                .with_topic_authorized_operations(TOPIC_OPERATIONS);
            let Some(topic) = self.topics.get(name) else {
                response.topics.push(described.with_error_code(missing(name)));
                continue;
            };
            if left == 0 {
                response.next_cursor = Some(
                    Cursor::default().with_topic_name(topic_name(name)).with_partition_index(0),
                );
                break;
            }
            let first = if name == from { std::mem::take(&mut index) } else { 0 };
            let last = topic.partitions.len().min(first.saturating_add(left));
            left -= last.saturating_sub(first);
            let partitions = (first..last).map(describe_partition).collect();
            response.topics.push(described.with_topic_id(topic.id).with_partitions(partitions));
            if last < topic.partitions.len() {
                let cursor = Cursor::default().with_topic_name(topic_name(name));
                response.next_cursor = Some(cursor.with_partition_index(last as i32));
                break;
            }
        }
        response
    }

    pub(super) fn find_coordinator(
        &self,
        version: i16,
        request: &FindCoordinatorRequest,
    ) -> FindCoordinatorResponse {
        let (host, port) = self.address();
        // Groups and transactions; there are no share groups here.
        let known = matches!(request.key_type, 0 | 1);
        let code = if known { codes::NONE } else { codes::INVALID_REQUEST };
        let node: BrokerId = if known { NODE_ID.into() } else { (-1).into() };
        let (host, port) = if known { (host, port) } else { (StrBytes::default(), -1) };
        if version < 4 {
            return FindCoordinatorResponse::default()
                .with_error_code(code)
                .with_error_message(Some(text(if known { "NONE" } else { "Unknown key type" })))
                .with_node_id(node)
                .with_host(host)
                .with_port(port);
        }
        let coordinator = |key: &StrBytes| {
            Coordinator::default()
                .with_key(key.clone())
                .with_error_code(code)
                .with_node_id(node)
                .with_host(host.clone())
                .with_port(port)
        };
        let coordinators = request.coordinator_keys.iter().map(coordinator).collect();
        FindCoordinatorResponse::default().with_coordinators(coordinators)
    }

    /// The id of a topic.
    pub fn topic_id(&self, name: &str) -> Option<Uuid> {
        self.topics.get(name).map(|topic| topic.id)
    }
}

/// Why there is no topic of that name.
fn missing(name: &str) -> i16 {
    if is_name(name) { codes::UNKNOWN_TOPIC_OR_PARTITION } else { codes::INVALID_TOPIC_EXCEPTION }
}

fn describe_partition(index: usize) -> DescribeTopicPartitionsResponsePartition {
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(i32::try_from(index).unwrap_or(i32::MAX))
        .with_leader_id(NODE_ID.into())
        .with_leader_epoch(0)
        .with_replica_nodes(vec![NODE_ID.into()])
        .with_isr_nodes(vec![NODE_ID.into()])
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}
