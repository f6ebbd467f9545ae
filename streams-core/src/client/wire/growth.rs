//! The number of partitions of topics, and how a topic gets more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, MetadataRequest, TopicName,
};

use super::ClientError;
use super::admin::{
    Admin, BACKOFF_MAX, BACKOFF_MIN, NOT_CONTROLLER, REQUEST_TIMEOUT, UNKNOWN_TOPIC_OR_PARTITION,
    text,
};
use super::error::LEADER_NOT_AVAILABLE;

const INVALID_PARTITIONS: i16 = 37;

fn code_of(reply: &CreatePartitionsResponse) -> Option<i16> {
    reply.results.first().map(|result| result.error_code)
}

impl Admin {
    /// The number of partitions of each of these topics, or Kafka's error code. One request asks
    /// for all of them.
    ///
    /// # Errors
    /// If no broker answers.
    pub async fn counts(
        &mut self,
        topics: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Result<i32, i16>>, ClientError> {
        let asked =
            |name: &String| MetadataRequestTopic::default().with_name(Some(TopicName(text(name))));
        let request = MetadataRequest::default()
            .with_topics(Some(topics.iter().map(asked).collect()))
            .with_allow_auto_topic_creation(false);
        let what = || format!("describing topics {topics:?}");
        let reply = self.call(&request, 9).await.map_err(|error| error.during(what))?;
        self.learn(&reply);
        let mut counts: BTreeMap<String, Result<i32, i16>> =
            topics.iter().map(|topic| (topic.clone(), Err(UNKNOWN_TOPIC_OR_PARTITION))).collect();
        for described in reply.topics {
            let count = i32::try_from(described.partitions.len()).unwrap_or(i32::MAX);
            let count = match described.error_code {
                // The brokers hear of a new topic before they hear of its partitions.
                0 if count == 0 => Err(LEADER_NOT_AVAILABLE),
                0 => Ok(count),
                code => Err(code),
            };
            if let Some(name) = described.name {
                counts.insert(name.to_string(), count);
            }
        }
        Ok(counts)
    }

    /// Grows a topic to `partitions`; does nothing if it has as many already. Returns once the
    /// topic is described with all of them.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn grow_topic(&mut self, topic: &str, partitions: i32) -> Result<(), ClientError> {
        let grown = CreatePartitionsTopic::default()
            .with_name(TopicName(text(topic)))
            .with_count(partitions)
            .with_assignments(None);
        let request =
            CreatePartitionsRequest::default().with_topics(vec![grown]).with_timeout_ms(10_000);
        let what = || format!("growing topic `{topic}` to {partitions} partitions");
        let mut reply = self.call(&request, 3).await;
        if reply.as_ref().is_ok_and(|reply| code_of(reply) == Some(NOT_CONTROLLER)) {
            reply = self.call_controller(&request, 3).await;
        }
        let reply = reply.map_err(|error| error.during(what))?;
        match code_of(&reply) {
            // Another member may have been faster.
            Some(0 | INVALID_PARTITIONS) => {}
            Some(code) => return Err(ClientError::refused(what(), code)),
            None => return Err(ClientError::connection("", "the reply names no topic")),
        }
        let started = Instant::now();
        let mut backoff = BACKOFF_MIN;
        loop {
            let is_ready = self.partitions(topic).await?.is_some_and(|count| count >= partitions);
            if is_ready {
                return self.await_topic(topic).await;
            }
            let waited = started.elapsed();
            if waited >= REQUEST_TIMEOUT {
                let reason = format!("it does not have {partitions} partitions yet");
                return Err(ClientError::NotReady { topic: topic.to_owned(), waited, reason });
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }
}
