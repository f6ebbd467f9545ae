//! Producers and their transactions: the short forms that cases use.

use anyhow::{Context, Result};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest,
    TopicName, TxnOffsetCommitRequest,
};

use super::ctx::{Ctx, Producer, code, is_transient, text, wait};
use super::groups::Speaker;

const INIT: i16 = 4;
const ADD_PARTITIONS: i16 = 3;
const ADD_OFFSETS: i16 = 3;
const END: i16 = 3;
/// From here on EndTxn gives the next epoch (KIP-890).
const END_V2: i16 = 5;
pub(super) const TXN_OFFSETS: i16 = 3;
/// From here on TxnOffsetCommit adds the group to the transaction by itself (KIP-890).
pub(super) const TXN_OFFSETS_V2: i16 = 5;

pub(super) fn init_request(id: Option<&str>, timeout_ms: i32) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(id.map(|id| text(id).into()))
        .with_transaction_timeout_ms(timeout_ms)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1)
}

impl Producer {
    /// The same producer, as it thinks of itself, under another epoch.
    pub(super) fn in_epoch(&self, epoch: i16) -> Self {
        Self { epoch, ..self.clone() }
    }

    pub(super) fn transactional_id(&self) -> String {
        self.transactional_id.clone().unwrap_or_default()
    }
}

impl Ctx {
    /// An idempotent producer without transactions.
    pub(super) fn idempotent(&mut self) -> Result<Producer> {
        let (_, producer) = self.initialise(INIT, &init_request(None, 60_000))?;
        Ok(producer)
    }

    /// The owner of a transactional id, from now on.
    pub(super) fn transactional(&mut self, word: &str) -> Result<Producer> {
        self.transactional_for(word, 60_000)
    }

    pub(super) fn transactional_for(&mut self, word: &str, timeout_ms: i32) -> Result<Producer> {
        let id = self.name(word);
        let (answer, producer) = self.initialise(INIT, &init_request(Some(&id), timeout_ms))?;
        if answer != 0 {
            self.say(format!("initialising {word}: {}", code(answer)));
        }
        Ok(producer)
    }

    /// Asks until the answer is not of the passing kind.
    pub(super) fn initialise(
        &mut self,
        version: i16,
        request: &InitProducerIdRequest,
    ) -> Result<(i16, Producer)> {
        wait("a producer id", || {
            let answer = self.initialise_once(version, request)?;
            Ok((!is_transient(answer.0)).then_some(answer))
        })
    }

    pub(super) fn initialise_once(
        &mut self,
        version: i16,
        request: &InitProducerIdRequest,
    ) -> Result<(i16, Producer)> {
        let response = self.call(version, request)?;
        let producer = Producer {
            transactional_id: request.transactional_id.as_ref().map(|id| id.0.to_string()),
            id: response.producer_id.0,
            epoch: response.producer_epoch,
        };
        Ok((response.error_code, producer))
    }

    /// Asks, and writes the answer.
    pub(super) fn init(
        &mut self,
        label: &str,
        version: i16,
        request: &InitProducerIdRequest,
    ) -> Result<Producer> {
        let (answer, producer) = self.initialise(version, request)?;
        self.say_producer(label, answer, &producer);
        Ok(producer)
    }

    pub(super) fn say_producer(&mut self, label: &str, answer: i16, producer: &Producer) {
        let id = match producer.id {
            -1 => "-1".to_owned(),
            id => self.alias("p", id),
        };
        self.say(format!("{label}: {} {id} e{}", code(answer), producer.epoch));
    }

    /// Adds partitions of one topic to the transaction; writes the answer unless it is NONE.
    pub(super) fn begin(
        &mut self,
        producer: &Producer,
        topic: &str,
        partitions: &[i32],
    ) -> Result<()> {
        let answers = self.add_partitions(ADD_PARTITIONS, producer, topic, partitions)?;
        if answers.iter().any(|(_, answer)| *answer != 0) {
            self.say_partitions("adding partitions", &answers);
        }
        Ok(())
    }

    pub(super) fn say_partitions(&mut self, label: &str, answers: &[(i32, i16)]) {
        let list: Vec<String> = answers
            .iter()
            .map(|(partition, answer)| format!("{partition} {}", code(*answer)))
            .collect();
        self.say(format!("{label}: {}", list.join(", ")));
    }

    /// The answers for each partition, once none is of the passing kind.
    pub(super) fn add_partitions(
        &mut self,
        version: i16,
        producer: &Producer,
        topic: &str,
        partitions: &[i32],
    ) -> Result<Vec<(i32, i16)>> {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(partitions.to_vec());
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(text(producer.transactional_id()).into())
            .with_v3_and_below_producer_id(producer.id.into())
            .with_v3_and_below_producer_epoch(producer.epoch)
            .with_v3_and_below_topics(vec![topic]);
        wait("an answer to AddPartitionsToTxn", || {
            let response = self.call(version, &request)?;
            let topics = response.results_by_topic_v3_and_below;
            let mut answers: Vec<(i32, i16)> = topics
                .iter()
                .flat_map(|topic| &topic.results_by_partition)
                .map(|result| (result.partition_index, result.partition_error_code))
                .collect();
            answers.sort_unstable();
            Ok((!answers.iter().any(|(_, answer)| is_transient(*answer))).then_some(answers))
        })
    }

    /// Adds a group to the transaction, and writes the answer.
    pub(super) fn add_offsets(
        &mut self,
        label: &str,
        producer: &Producer,
        group: &str,
    ) -> Result<()> {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(text(producer.transactional_id()).into())
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
            .with_group_id(text(group).into());
        let answer = wait("an answer to AddOffsetsToTxn", || {
            let answer = self.call(ADD_OFFSETS, &request)?.error_code;
            Ok((!is_transient(answer)).then_some(answer))
        })?;
        self.say(format!("{label}: {}", code(answer)));
        Ok(())
    }

    /// Commits an offset in the transaction, and writes the answer.
    pub(super) fn txn_offsets(
        &mut self,
        version: i16,
        label: &str,
        producer: &Producer,
        speaker: &Speaker<'_>,
        (topic, partition, offset): (&str, i32, i64),
    ) -> Result<()> {
        let asked = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("meta")));
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![asked]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(text(producer.transactional_id()).into())
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
            .with_group_id(text(speaker.group).into())
            .with_generation_id(speaker.generation)
            .with_member_id(text(speaker.member))
            .with_group_instance_id(speaker.instance.map(text))
            .with_topics(vec![topic]);
        let answer = wait("an answer to TxnOffsetCommit", || {
            let response = self.call_verified(version, &request)?;
            let topic = response.topics.first().context("no topic")?;
            let answer = topic.partitions.first().context("no partition")?.error_code;
            Ok((!is_transient(answer)).then_some(answer))
        })?;
        self.say(format!("{label}: {}", code(answer)));
        Ok(())
    }

    /// Commits or aborts, and writes the answer.
    pub(super) fn end(&mut self, label: &str, producer: &Producer, commit: bool) -> Result<i16> {
        let request = end_request(producer, commit);
        let answer = wait("an answer to EndTxn", || {
            let answer = self.call(END, &request)?.error_code;
            Ok((!is_transient(answer)).then_some(answer))
        })?;
        self.say(format!("{label}: {}", code(answer)));
        Ok(answer)
    }

    /// Commits or aborts by KIP-890's protocol; the producer goes on under the epoch it is given.
    pub(super) fn end_v2(
        &mut self,
        label: &str,
        producer: &mut Producer,
        commit: bool,
    ) -> Result<i16> {
        let request = end_request(producer, commit);
        let response = wait("an answer to EndTxn", || {
            let response = self.call(END_V2, &request)?;
            Ok((!is_transient(response.error_code)).then_some(response))
        })?;
        let next = Producer {
            id: response.producer_id.0,
            epoch: response.producer_epoch,
            transactional_id: producer.transactional_id.clone(),
        };
        self.say_producer(label, response.error_code, &next);
        if response.error_code == 0 {
            *producer = next;
        }
        Ok(response.error_code)
    }
}

pub(super) fn end_request(producer: &Producer, commit: bool) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(text(producer.transactional_id()).into())
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
        .with_committed(commit)
}
