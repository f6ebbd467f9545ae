//! Topics: making, deleting, describing them.

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::log::PartitionLog;
use super::{Cluster, NODE_ID, Topic, TopicConfig, codes};

/// The longest topic name.
const NAME_BYTES_MAX: usize = 249;
const PARTITIONS_MAX: i32 = 10_000;

fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let length = (1..=NAME_BYTES_MAX).contains(&name.len());
    length && name.chars().all(legal) && name != "." && name != ".."
}

impl Cluster {
    /// Makes a topic.
    ///
    /// # Errors
    /// Kafka's error code: `INVALID_TOPIC_EXCEPTION`, `INVALID_PARTITIONS`, `TOPIC_ALREADY_EXISTS`.
    pub fn create_topic(&mut self, name: &str, partitions: i32) -> Result<(), i16> {
        if !is_name(name) {
            return Err(codes::INVALID_TOPIC_EXCEPTION);
        }
        let partitions = match partitions {
            -1 => self.settings.default_partitions,
            count => count,
        };
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(codes::INVALID_PARTITIONS);
        }
        if self.topics.contains_key(name) {
            return Err(codes::TOPIC_ALREADY_EXISTS);
        }
        let partitions = (0..partitions).map(|_| PartitionLog::default()).collect();
        let id = self.ids.uuid();
        self.topic_names.insert(id, name.to_owned());
        let config = TopicConfig::new(&self.settings);
        self.topics.insert(name.to_owned(), Topic { id, config, partitions });
        Ok(())
    }

    fn remove_topic(&mut self, name: &str) -> Option<Topic> {
        let topic = self.topics.remove(name)?;
        self.topic_names.remove(&topic.id);
        Some(topic)
    }

    pub(super) fn create_topics(&mut self, request: &CreateTopicsRequest) -> CreateTopicsResponse {
        let mut results = Vec::new();
        for topic in &request.topics {
            let created = self.create(topic, request.validate_only);
            let partitions = self
                .topics
                .get(topic.name.as_str())
                .map_or(-1, |topic| topic.partitions.len() as i32);
            let result = CreatableTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(created.err().unwrap_or(codes::NONE))
                .with_num_partitions(partitions)
                .with_replication_factor(1)
                .with_configs(Some(Vec::new()));
            results.push(result);
        }
        CreateTopicsResponse::default().with_topics(results)
    }

    fn create(&mut self, topic: &CreatableTopic, validate_only: bool) -> Result<(), i16> {
        if !matches!(topic.replication_factor, -1 | 1) {
            return Err(codes::INVALID_REPLICATION_FACTOR);
        }
        let set = topic.configs.iter().filter_map(|config| {
            Some((config.name.to_string(), config.value.as_ref()?.to_string()))
        });
        let config = TopicConfig::with(set, &self.settings).map_err(|_| codes::INVALID_CONFIG)?;
        self.create_topic(&topic.name, topic.num_partitions)?;
        if validate_only {
            self.remove_topic(&topic.name);
        } else if let Some(made) = self.topics.get_mut(topic.name.as_str()) {
            made.config = config;
        }
        Ok(())
    }

    pub(super) fn delete_topics(&mut self, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
        let named = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::nil()));
        // From version 6 on, by name or by id.
        let stated = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
        let mut responses = Vec::new();
        for (name, id) in named.chain(stated) {
            let found = match &name {
                Some(name) => Some(name.to_string()),
                None => self.topic_name(id).map(str::to_owned),
            };
            let removed = found.as_deref().and_then(|name| self.remove_topic(name));
            let code = match (&removed, &name) {
                (Some(_), _) => codes::NONE,
                (None, Some(_)) => codes::UNKNOWN_TOPIC_OR_PARTITION,
                (None, None) => codes::UNKNOWN_TOPIC_ID,
            };
            let result = DeletableTopicResult::default()
                .with_name(found.map(|name| TopicName(StrBytes::from_string(name))))
                .with_topic_id(removed.map_or(id, |topic| topic.id))
                .with_error_code(code);
            responses.push(result);
        }
        DeleteTopicsResponse::default().with_responses(responses)
    }

    pub(super) fn metadata(&mut self, version: i16, request: &MetadataRequest) -> MetadataResponse {
        let all = || self.topics.keys().cloned().collect::<Vec<_>>();
        let names = match &request.topics {
            None => all(),
            Some(topics) if topics.is_empty() && version == 0 => all(),
            Some(topics) => {
                topics.iter().filter_map(|t| t.name.as_ref()).map(|n| n.to_string()).collect()
            }
        };
        let auto = self.settings.auto_create_topics && request.allow_auto_topic_creation;
        let topics = names.iter().map(|name| self.describe(name, auto)).collect();
        let broker = MetadataResponseBroker::default()
            .with_node_id(NODE_ID.into())
            .with_host(StrBytes::from_string(self.settings.host.clone()))
            .with_port(i32::from(self.settings.port));
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_cluster_id(Some(StrBytes::from_static_str("streams-broker")))
            .with_controller_id(NODE_ID.into())
            .with_topics(topics)
    }

    fn describe(&mut self, name: &str, auto_create: bool) -> MetadataResponseTopic {
        if auto_create && !self.topics.contains_key(name) {
            // A name that isn't one is answered below.
            let _ = self.create_topic(name, -1);
        }
        let described = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))));
        let Some(topic) = self.topics.get(name) else {
            let code = match is_name(name) {
                true => codes::UNKNOWN_TOPIC_OR_PARTITION,
                false => codes::INVALID_TOPIC_EXCEPTION,
            };
            return described.with_error_code(code);
        };
        let partition = |index: usize| {
            MetadataResponsePartition::default()
                .with_partition_index(i32::try_from(index).unwrap_or(i32::MAX))
                .with_leader_id(NODE_ID.into())
                .with_leader_epoch(0)
                .with_replica_nodes(vec![NODE_ID.into()])
                .with_isr_nodes(vec![NODE_ID.into()])
        };
        described.with_partitions((0..topic.partitions.len()).map(partition).collect())
    }
}
