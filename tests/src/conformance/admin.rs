//! Administration: the short forms that cases use.

use anyhow::{Context, Result};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteTopicsRequest, MetadataRequest, TopicName,
};

use super::ctx::{Ctx, code, text, wait};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

impl Ctx {
    /// Deletes a topic, writes the answer, and waits until it is gone.
    pub(super) fn delete_topic(&mut self, label: &str, topic: &str) -> Result<()> {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![TopicName(text(topic))])
            .with_timeout_ms(10_000);
        let response = self.call(5, &request)?;
        let answer = response.responses.first().context("no result")?.error_code;
        self.say(format!("{label}: {}", code(answer)));
        let asked = MetadataRequestTopic::default().with_name(Some(TopicName(text(topic))));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        wait("the topic's end", || {
            let response = self.call(9, &request)?;
            let topic = response.topics.first().context("no topic")?;
            Ok((topic.error_code == UNKNOWN_TOPIC_OR_PARTITION).then_some(()))
        })
    }

    /// Deletes the records before `offset`, and writes the answer.
    pub(super) fn delete_records(
        &mut self,
        label: &str,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<()> {
        let response = self.call(1, &delete_records_request(topic, partition, offset))?;
        let topic = response.topics.first().context("no topic")?;
        let answer = topic.partitions.first().context("no partition")?;
        let (answer, low) = (code(answer.error_code), answer.low_watermark);
        self.say(format!("{label}: {answer}, log from {low}"));
        Ok(())
    }
}

pub(super) fn delete_records_request(
    topic: &str,
    partition: i32,
    offset: i64,
) -> DeleteRecordsRequest {
    let asked =
        DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
    let topic = DeleteRecordsTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(vec![asked]);
    DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
}
