//! The number of partitions of topics, and how a topic gets more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{CreatePartitionsRequest, MetadataRequest, TopicName};

use super::ClientError;
use super::admin::{
    Admin, BACKOFF_MAX, BACKOFF_MIN, REQUEST_TIMEOUT, UNKNOWN_TOPIC_OR_PARTITION, text,
};

const INVALID_PARTITIONS: i16 = 37;

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
        let reply = self.call(&request, 9).await?;
        let mut counts: BTreeMap<String, Result<i32, i16>> =
            topics.iter().map(|topic| (topic.clone(), Err(UNKNOWN_TOPIC_OR_PARTITION))).collect();
        for described in reply.topics {
            let count = i32::try_from(described.partitions.len()).unwrap_or(i32::MAX);
            let count = match described.error_code {
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
        let reply = self.call(&request, 3).await?;
        let result = reply.results.first();
        let what = || format!("growing topic `{topic}` to {partitions} partitions");
        let Some(result) = result else {
            return Err(ClientError::connection("", "the reply names no topic"));
        };
        match result.error_code {
            // Another member may have been faster.
            0 | INVALID_PARTITIONS => {}
            code => return Err(ClientError::refused(what(), code)),
        }
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let mut backoff = BACKOFF_MIN;
        loop {
            let is_ready = self.partitions(topic).await?.is_some_and(|count| count >= partitions);
            if is_ready {
                return self.await_topic(topic).await;
            }
            if Instant::now() >= deadline {
                return Err(ClientError::refused(what(), result.error_code));
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }
}
