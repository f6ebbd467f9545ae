//! Topics and their logs: the short forms that cases use.

use anyhow::{Context, Result};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    CreateTopicsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest,
    TopicName,
};

use super::ctx::{Ctx, code, is_transient, text, wait};
use super::records::{Batch, Fetched, read, t0};

/// The newest versions that name topics by name.
pub(super) const PRODUCE: i16 = 9;
/// From here on Produce adds the partition to the transaction by itself (KIP-890).
pub(super) const PRODUCE_V2: i16 = 12;
pub(super) const FETCH: i16 = 12;
const LIST_OFFSETS: i16 = 6;
pub(super) const LATEST: i64 = -1;
pub(super) const EARLIEST: i64 = -2;

/// Which records a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    Uncommitted,
    Committed,
}
pub(super) use Isolation::{Committed, Uncommitted};

impl Ctx {
    /// A new topic, with all its leaders in office.
    pub(super) fn topic(&mut self, word: &str, partitions: i32) -> Result<String> {
        self.topic_with(word, partitions, &[])
    }

    pub(super) fn topic_with(
        &mut self,
        word: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<String> {
        let name = self.name(word);
        let config = |(key, value): &(&str, &str)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(&name)))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let request = request.with_timeout_ms(10_000);
        let response = self.call(5, &request)?;
        let made = response.topics.first().context("no result")?.error_code;
        if made != 0 {
            self.say(format!("topic {word}: {}", code(made)));
        }
        self.await_leaders(&name, partitions)?;
        Ok(name)
    }

    pub(super) fn await_leaders(&mut self, topic: &str, partitions: i32) -> Result<()> {
        let asked = MetadataRequestTopic::default().with_name(Some(TopicName(text(topic))));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        wait("the topic's leaders", || {
            let response = self.call(9, &request)?;
            let topic = response.topics.first().context("no topic")?;
            let led = topic.partitions.iter().filter(|p| p.leader_id.0 >= 0 && p.error_code == 0);
            Ok((led.count() >= usize::try_from(partitions)?).then_some(()))
        })?;
        for partition in 0..partitions {
            wait("the leader's log", || {
                let end = self.offset_at(topic, partition, LATEST, Uncommitted)?;
                Ok((end.error_code == 0).then_some(()))
            })?;
        }
        Ok(())
    }

    /// Sends a batch in the newest version without implicit adding, and writes the answer.
    pub(super) fn produce(
        &mut self,
        label: &str,
        topic: &str,
        partition: i32,
        batch: &Batch,
    ) -> Result<i16> {
        self.produce_in(PRODUCE, label, topic, partition, batch)
    }

    pub(super) fn produce_in(
        &mut self,
        version: i16,
        label: &str,
        topic: &str,
        partition: i32,
        batch: &Batch,
    ) -> Result<i16> {
        let request = produce_request(topic, partition, batch);
        let answer = self.send_records(version, &request)?;
        let mut line = format!("{label}: {}", code(answer.error_code));
        if answer.error_code == 0 {
            line += &format!(" at {}, log from {}", answer.base_offset, answer.log_start_offset);
        }
        self.say(line);
        Ok(answer.error_code)
    }

    /// Sends a Produce request for one partition until the answer is not of the passing kind.
    pub(super) fn send_records(
        &mut self,
        version: i16,
        request: &ProduceRequest,
    ) -> Result<PartitionProduceResponse> {
        wait("a leader that answers", || {
            let response = match request.transactional_id {
                None => self.call(version, request)?,
                Some(_) => self.call_verified(version, request)?,
            };
            let topic = response.responses.into_iter().next().context("no topic")?;
            let answer = topic.partition_responses.into_iter().next().context("no partition")?;
            Ok((!is_transient(answer.error_code)).then_some(answer))
        })
    }

    /// Produces without a word; for what a case does not look at.
    pub(super) fn fill(&mut self, topic: &str, partition: i32, batch: &Batch) -> Result<()> {
        let answer = self.send_records(PRODUCE, &produce_request(topic, partition, batch))?;
        if answer.error_code != 0 {
            self.say(format!("filling {topic}: {}", code(answer.error_code)));
        }
        Ok(())
    }

    /// Writes the whole log.
    pub(super) fn log(&mut self, label: &str, topic: &str, partition: i32) -> Result<()> {
        self.read(label, topic, partition, 0, Uncommitted)
    }

    /// Writes what a fetch from `offset` gives.
    pub(super) fn read(
        &mut self,
        label: &str,
        topic: &str,
        partition: i32,
        offset: i64,
        isolation: Isolation,
    ) -> Result<()> {
        let request = fetch_request(topic, partition, offset, isolation);
        let response = self.call(FETCH, &request)?;
        let topic = response.responses.first().context("no topic")?;
        let data = topic.partitions.first().context("no partition")?.clone();
        self.say_fetched(label, &data)
    }

    pub(super) fn say_fetched(&mut self, label: &str, data: &PartitionData) -> Result<()> {
        let aborted = match &data.aborted_transactions {
            None => "none".to_owned(),
            Some(list) => {
                let mut list: Vec<_> =
                    list.iter().map(|a| (a.first_offset, a.producer_id.0)).collect();
                list.sort_unstable();
                let list: Vec<String> =
                    list.iter().map(|(o, id)| format!("{}@{o}", self.alias("p", id))).collect();
                format!("[{}]", list.join(" "))
            }
        };
        self.say(format!(
            "{label}: {} end {} stable {} from {} aborted {aborted}",
            code(data.error_code),
            data.high_watermark,
            data.last_stable_offset,
            data.log_start_offset,
        ));
        for batch in read(data.records.clone().unwrap_or_default())? {
            let line = self.describe(&batch);
            self.say(format!("  {line}"));
        }
        Ok(())
    }

    fn describe(&mut self, batch: &Fetched) -> String {
        let mut line = format!("{}-{}", batch.base, batch.last);
        if batch.producer_id >= 0 {
            let producer = self.alias("p", batch.producer_id);
            line += &format!(" {producer} e{} s{}", batch.epoch, batch.sequence);
        }
        if batch.is_transactional() {
            line += " txn";
        }
        if batch.is_control() {
            let key = batch.records.first().and_then(|record| record.key.clone());
            let kind = key.and_then(|key| key.get(3).copied());
            return line + if kind == Some(1) { " COMMIT" } else { " ABORT" };
        }
        line += ":";
        let show = |bytes: &Option<bytes::Bytes>| {
            bytes.as_ref().map_or_else(|| "-".to_owned(), |b| String::from_utf8_lossy(b).into())
        };
        for record in &batch.records {
            let value = show(&record.value);
            // Where offsets are dense, the range says it all.
            let dense = batch.records.len() as i64 == batch.last - batch.base + 1;
            let at = if dense { String::new() } else { format!("{}:", record.offset) };
            line += &match &record.key {
                None => format!(" {at}{value}"),
                Some(_) => format!(" {at}{}={value}", show(&record.key)),
            };
        }
        line
    }

    /// Writes what ListOffsets says.
    pub(super) fn offset(
        &mut self,
        label: &str,
        topic: &str,
        partition: i32,
        time: i64,
        isolation: Isolation,
    ) -> Result<()> {
        let answer = self.offset_at(topic, partition, time, isolation)?;
        let time = if answer.timestamp > t0() / 2 {
            format!("T0+{}", answer.timestamp - t0())
        } else {
            answer.timestamp.to_string()
        };
        self.say(format!(
            "{label}: {} offset {} time {time} epoch {}",
            code(answer.error_code),
            answer.offset,
            answer.leader_epoch
        ));
        Ok(())
    }

    pub(super) fn offset_at(
        &mut self,
        topic: &str,
        partition: i32,
        time: i64,
        isolation: Isolation,
    ) -> Result<ListOffsetsPartitionResponse> {
        let request = list_offsets_request(topic, partition, time, isolation);
        let response = self.call(LIST_OFFSETS, &request)?;
        let topic = response.topics.into_iter().next().context("no topic")?;
        topic.partitions.into_iter().next().context("no partition")
    }

    /// Waits until nothing in the partition is undecided.
    pub(super) fn settle(&mut self, topic: &str, partition: i32) -> Result<()> {
        wait("the transactions' markers", || {
            let stable = self.offset_at(topic, partition, LATEST, Committed)?;
            let end = self.offset_at(topic, partition, LATEST, Uncommitted)?;
            Ok((stable.offset == end.offset).then_some(()))
        })
    }
}

pub(super) fn produce_request(topic: &str, partition: i32, batch: &Batch) -> ProduceRequest {
    produce_bytes(topic, partition, batch.bytes())
        .with_transactional_id(batch.transactional_id.as_ref().map(|id| text(id).into()))
}

pub(super) fn produce_bytes(topic: &str, partition: i32, bytes: bytes::Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(bytes));
    let data = TopicProduceData::default()
        .with_name(TopicName(text(topic)))
        .with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![data])
}

pub(super) fn fetch_request(
    topic: &str,
    partition: i32,
    offset: i64,
    isolation: Isolation,
) -> FetchRequest {
    let asked = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic =
        FetchTopic::default().with_topic(TopicName(text(topic))).with_partitions(vec![asked]);
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(1 << 24)
        .with_isolation_level(i8::from(isolation == Committed))
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

pub(super) fn list_offsets_request(
    topic: &str,
    partition: i32,
    time: i64,
    isolation: Isolation,
) -> ListOffsetsRequest {
    let asked =
        ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(time);
    let topic =
        ListOffsetsTopic::default().with_name(TopicName(text(topic))).with_partitions(vec![asked]);
    ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_isolation_level(i8::from(isolation == Committed))
        .with_topics(vec![topic])
}
