//! Topics: making, enlarging, deleting them.

use std::collections::BTreeSet;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::log::PartitionLog;
use super::{Cluster, NODE_ID, Topic, TopicConfig, codes};

/// The longest topic name.
const NAME_CHARS_MAX: usize = 249;
/// The most partitions that are made in one request.
const PARTITIONS_MAX: i32 = 10_000;

/// Kafka's error code, and what it says about it.
pub(super) type Refusal = (i16, String);

pub(super) fn is_name(name: &str) -> bool {
    check_name(name).is_ok()
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let why = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." => "'.' is not allowed".to_owned(),
        ".." => "'..' is not allowed".to_owned(),
        long if long.chars().count() > NAME_CHARS_MAX => {
            format!("the length of '{name}' is longer than the max allowed length {NAME_CHARS_MAX}")
        }
        name if !name.chars().all(legal) => format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' \
             and '-'"
        ),
        _ => return Ok(()),
    };
    Err((codes::INVALID_TOPIC_EXCEPTION, format!("Topic name is invalid: {why}")))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// The names that occur more than once.
fn repeated<'a>(names: impl Iterator<Item = &'a TopicName>) -> BTreeSet<&'a TopicName> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}

fn new_logs(count: i32) -> impl Iterator<Item = PartitionLog> {
    (0..count).map(|_| PartitionLog::default())
}

impl Cluster {
    /// Makes a topic; -1 partitions are the default number.
    ///
    /// # Errors
    /// Kafka's error code: `INVALID_TOPIC_EXCEPTION`, `INVALID_PARTITIONS`, `TOPIC_ALREADY_EXISTS`.
    pub fn create_topic(&mut self, name: &str, partitions: i32) -> Result<(), i16> {
        let config = TopicConfig::new(&self.settings);
        self.may_create(name).map_err(|(code, _)| code)?;
        let count = self.partition_count(partitions).map_err(|(code, _)| code)?;
        self.add_topic(name, count, config);
        self.note_changes(&std::collections::BTreeSet::new(), false);
        Ok(())
    }

    fn may_create(&self, name: &str) -> Result<(), Refusal> {
        check_name(name)?;
        if self.topics.contains_key(name) {
            let why = format!("Topic '{name}' already exists.");
            return Err((codes::TOPIC_ALREADY_EXISTS, why));
        }
        // In the names of metrics a dot and an underscore are the same.
        let unified = name.replace('.', "_");
        let collides = |known: &&String| unified != *name || known.contains('.');
        let mut known = self.topics.keys().filter(|known| known.replace('.', "_") == unified);
        if let Some(known) = known.find(collides) {
            let why = format!("Topic '{name}' collides with existing topic: {known}");
            return Err((codes::INVALID_TOPIC_EXCEPTION, why));
        }
        Ok(())
    }

    fn partition_count(&self, asked: i32) -> Result<i32, Refusal> {
        match asked {
            -1 => Ok(self.settings.default_partitions),
            ..=0 => {
                let why = "Number of partitions was set to an invalid non-positive value.";
                Err((codes::INVALID_PARTITIONS, why.to_owned()))
            }
            count if count > PARTITIONS_MAX => {
                let why = "Excessively large number of partitions per request.";
                Err((codes::POLICY_VIOLATION, why.to_owned()))
            }
            count => Ok(count),
        }
    }

    fn add_topic(&mut self, name: &str, partitions: i32, config: TopicConfig) {
        let id = self.ids.uuid();
        self.topic_names.insert(id, name.to_owned());
        let partitions = new_logs(partitions).collect();
        self.topics.insert(name.to_owned(), Topic { id, config, partitions });
    }

    fn remove_topic(&mut self, name: &str) -> Option<Topic> {
        let topic = self.topics.remove(name)?;
        self.topic_names.remove(&topic.id);
        Some(topic)
    }

    pub(super) fn create_topics(
        &mut self,
        version: i16,
        request: &CreateTopicsRequest,
    ) -> CreateTopicsResponse {
        let repeated = repeated(request.topics.iter().map(|topic| &topic.name));
        let mut results = Vec::new();
        for name in &repeated {
            let refusal = (codes::INVALID_REQUEST, "Duplicate topic name.".to_owned());
            results.push(refused(name, refusal));
        }
        for topic in request.topics.iter().filter(|topic| !repeated.contains(&topic.name)) {
            results.push(match self.to_create(topic) {
                Err(refusal) => refused(&topic.name, refusal),
                Ok((partitions, config)) => {
                    let created = self.created(version, &topic.name, partitions, &config);
                    if request.validate_only {
                        created
                    } else {
                        self.add_topic(&topic.name, partitions, config);
                        let id = self.topic_id(&topic.name).unwrap_or_default();
                        created.with_topic_id(id)
                    }
                }
            });
        }
        CreateTopicsResponse::default().with_topics(results)
    }

    /// What a topic will be, if it can be.
    fn to_create(&self, topic: &CreatableTopic) -> Result<(i32, TopicConfig), Refusal> {
        self.may_create(&topic.name)?;
        let unset: Vec<&str> =
            topic.configs.iter().filter(|c| c.value.is_none()).map(|c| &*c.name).collect();
        if !unset.is_empty() {
            let why = format!("Null value not supported for topic configs: {}", unset.join(","));
            return Err((codes::INVALID_CONFIG, why));
        }
        let set = topic.configs.iter().filter_map(|config| {
            Some((config.name.to_string(), config.value.as_ref()?.to_string()))
        });
        let config = TopicConfig::with(set, &self.settings);
        let config = config.map_err(|why| (codes::INVALID_CONFIG, why))?;
        if !topic.assignments.is_empty() {
            return Ok((assigned_partitions(topic)?, config));
        }
        let factor = topic.replication_factor;
        if factor < -1 || factor == 0 {
            let why = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err((codes::INVALID_REPLICATION_FACTOR, why.to_owned()));
        }
        let partitions = self.partition_count(topic.num_partitions)?;
        if factor > 1 {
            let why = format!(
                "Unable to replicate the partition {factor} time(s): The target replication \
                 factor of {factor} cannot be reached because only 1 broker(s) are registered."
            );
            return Err((codes::INVALID_REPLICATION_FACTOR, why));
        }
        Ok((partitions, config))
    }

    fn created(
        &self,
        version: i16,
        name: &TopicName,
        partitions: i32,
        config: &TopicConfig,
    ) -> CreatableTopicResult {
        let result =
            CreatableTopicResult::default().with_name(name.clone()).with_error_message(None);
        if version < 5 {
            return result;
        }
        let configs = config.all(&self.settings).map(|value| {
            CreatableTopicConfigs::default()
                .with_name(text(value.definition.name))
                .with_value(Some(text(&value.value)))
                .with_config_source(value.source as i8)
        });
        result
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(Some(configs.collect()))
    }

    pub(super) fn create_partitions(
        &mut self,
        request: &CreatePartitionsRequest,
    ) -> CreatePartitionsResponse {
        let repeated = repeated(request.topics.iter().map(|topic| &topic.name));
        let result = |name: &TopicName, refusal: Option<Refusal>| {
            let (code, why) = refusal.unzip();
            CreatePartitionsTopicResult::default()
                .with_name(name.clone())
                .with_error_code(code.unwrap_or(codes::NONE))
                .with_error_message(why.as_deref().map(text))
        };
        let mut results = Vec::new();
        for name in &repeated {
            let refusal = (codes::INVALID_REQUEST, "Duplicate topic name.".to_owned());
            results.push(result(name, Some(refusal)));
        }
        for topic in request.topics.iter().filter(|topic| !repeated.contains(&topic.name)) {
            let enlarged = self.enlarge(topic, request.validate_only);
            results.push(result(&topic.name, enlarged.err()));
        }
        CreatePartitionsResponse::default().with_results(results)
    }

    fn enlarge(&mut self, asked: &CreatePartitionsTopic, only: bool) -> Result<(), Refusal> {
        let Some(topic) = self.topics.get_mut(asked.name.as_str()) else {
            let why = "This server does not host this topic-partition.";
            return Err((codes::UNKNOWN_TOPIC_OR_PARTITION, why.to_owned()));
        };
        let known = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        let why = match asked.count {
            count if count == known => format!("Topic already has {known} partition(s)."),
            count if count < known => format!(
                "The topic {} currently has {known} partition(s); {count} would not be an \
                 increase.",
                asked.name.0
            ),
            count if count - known > PARTITIONS_MAX => {
                let why = "Excessively large number of partitions per request.";
                return Err((codes::POLICY_VIOLATION, why.to_owned()));
            }
            _ => String::new(),
        };
        if !why.is_empty() {
            return Err((codes::INVALID_PARTITIONS, why));
        }
        let more = asked.count - known;
        if let Some(assigned) = &asked.assignments {
            if assigned.len() != more as usize {
                let why = format!(
                    "Attempted to add {more} additional partition(s), but only {} assignment(s) \
                     were specified.",
                    assigned.len()
                );
                return Err((codes::INVALID_REPLICA_ASSIGNMENT, why));
            }
            assigned.iter().try_for_each(|replicas| check_replicas(&replicas.broker_ids))?;
        }
        if !only {
            topic.partitions.extend(new_logs(more));
        }
        Ok(())
    }

    pub(super) fn delete_topics(&mut self, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
        let named = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::nil()));
        // From version 6 on, by name or by id.
        let stated = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
        let asked: Vec<(Option<TopicName>, Uuid)> = named.chain(stated).collect();
        let mut responses = Vec::new();
        for (at, (name, id)) in asked.iter().enumerate() {
            let same = |other: &&(Option<TopicName>, Uuid)| *other == &(name.clone(), *id);
            if asked[..at].iter().any(|other| same(&other)) {
                continue;
            }
            let repeated = asked.iter().filter(same).count() > 1;
            responses.push(self.delete_topic(name.as_ref(), *id, repeated));
        }
        DeleteTopicsResponse::default().with_responses(responses)
    }

    fn delete_topic(
        &mut self,
        name: Option<&TopicName>,
        id: Uuid,
        repeated: bool,
    ) -> DeletableTopicResult {
        let result = DeletableTopicResult::default().with_name(name.cloned()).with_topic_id(id);
        let refuse = |code, why: &str| {
            result.clone().with_error_code(code).with_error_message(Some(text(why)))
        };
        let found = match (name, id.is_nil(), repeated) {
            (Some(_), false, _) => {
                let why = "You may not specify both topic name and topic id.";
                return refuse(codes::INVALID_REQUEST, why);
            }
            (None, true, _) => {
                let why = "Neither topic name nor id were specified.";
                return refuse(codes::INVALID_REQUEST, why);
            }
            (Some(_), true, true) => {
                return refuse(codes::INVALID_REQUEST, "Duplicate topic name.");
            }
            (None, false, true) => return refuse(codes::INVALID_REQUEST, "Duplicate topic id."),
            (Some(name), true, false) => Some(name.to_string()),
            (None, false, false) => self.topic_name(id).map(str::to_owned),
        };
        let removed = found.as_deref().and_then(|name| self.remove_topic(name));
        if let Some(name) = found.as_deref().filter(|_| removed.is_some()) {
            self.groups.values_mut().for_each(|group| group.offsets.remove_topic(name));
        }
        match removed {
            Some(topic) => result
                .with_name(found.map(|name| TopicName(StrBytes::from_string(name))))
                .with_topic_id(topic.id),
            None if name.is_some() => {
                let why = "This server does not host this topic-partition.";
                refuse(codes::UNKNOWN_TOPIC_OR_PARTITION, why)
            }
            None => refuse(codes::UNKNOWN_TOPIC_ID, "This server does not host this topic ID."),
        }
    }
}

fn refused(name: &TopicName, (code, why): Refusal) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name.clone())
        .with_error_code(code)
        .with_error_message(Some(StrBytes::from_string(why)))
}

/// How many partitions a topic gets that names their replicas.
fn assigned_partitions(topic: &CreatableTopic) -> Result<i32, Refusal> {
    let refuse = |code, why: &str| Err((code, why.to_owned()));
    let stated = "A manual partition assignment was specified, but ";
    if topic.replication_factor != -1 {
        let why = format!("{stated}replication factor was not set to -1.");
        return refuse(codes::INVALID_REQUEST, &why);
    }
    if topic.num_partitions != -1 {
        let why = format!("{stated}numPartitions was not set to -1.");
        return refuse(codes::INVALID_REQUEST, &why);
    }
    let mut indexes = BTreeSet::new();
    for assigned in &topic.assignments {
        if !indexes.insert(assigned.partition_index) {
            let why = format!(
                "Found multiple manual partition assignments for partition {}",
                assigned.partition_index
            );
            return refuse(codes::INVALID_REPLICA_ASSIGNMENT, &why);
        }
        check_replicas(&assigned.broker_ids)?;
    }
    if !indexes.iter().copied().eq(0..indexes.len() as i32) {
        let why = "partitions should be a consecutive 0-based integer sequence";
        return refuse(codes::INVALID_REPLICA_ASSIGNMENT, why);
    }
    i32::try_from(indexes.len()).ok().filter(|count| *count <= PARTITIONS_MAX).ok_or_else(|| {
        let why = "Excessively large number of partitions per request.";
        (codes::POLICY_VIOLATION, why.to_owned())
    })
}

fn check_replicas(replicas: &[kafka_protocol::messages::BrokerId]) -> Result<(), Refusal> {
    let why = match replicas {
        [one] if one.0 == NODE_ID => return Ok(()),
        [] => "The manual partition assignment includes an empty replica list.".to_owned(),
        [first, ..] => {
            let other = replicas.iter().find(|id| id.0 != NODE_ID);
            match other {
                Some(other) => format!(
                    "The manual partition assignment includes broker {}, but no such broker is \
                     registered.",
                    other.0
                ),
                None => format!(
                    "The manual partition assignment includes the broker {} more than once.",
                    first.0
                ),
            }
        }
    };
    Err((codes::INVALID_REPLICA_ASSIGNMENT, why))
}
