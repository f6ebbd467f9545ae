//! What a client does, for tests: a producer of either protocol, a reader of either isolation.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use super::*;

pub(super) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// The two transaction protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// librdkafka's: what is written to is added first.
    V1,
    /// KIP-890's.
    V2,
}

impl Protocol {
    const fn pick(self, v1: i16, v2: i16) -> i16 {
        match self {
            Self::V1 => v1,
            Self::V2 => v2,
        }
    }
}

/// A transactional producer, or an idempotent one.
#[derive(Clone, Debug)]
pub(super) struct Producer {
    pub(super) protocol: Protocol,
    pub(super) name: Option<String>,
    pub(super) id: i64,
    pub(super) epoch: i16,
    /// The next sequence number, by partition.
    pub(super) sequences: BTreeMap<i32, i32>,
}

impl Producer {
    fn transactional_id(&self) -> TransactionalId {
        TransactionalId(text(self.name.as_deref().unwrap_or_default()))
    }
}

/// What a reader gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) values: Vec<String>,
    pub(super) stable: i64,
    pub(super) end: i64,
}

pub(super) fn batch_of(
    producer: (i64, i16),
    sequence: i32,
    transactional: bool,
    values: &[&str],
) -> Bytes {
    let records: Vec<Record> = values
        .iter()
        .enumerate()
        .map(|(n, value)| Record {
            transactional,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: producer.0,
            producer_epoch: producer.1,
            timestamp_type: TimestampType::Creation,
            offset: i64::try_from(n).unwrap(),
            sequence: sequence.wrapping_add(i32::try_from(n).unwrap()),
            timestamp: 1_000,
            key: Some(Bytes::copy_from_slice(value.as_bytes())),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: indexmap::IndexMap::new(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    bytes.freeze()
}

impl Bench {
    pub(super) fn init(
        &mut self,
        id: Option<&str>,
        expected: Option<(i64, i16)>,
    ) -> Result<(i64, i16), i16> {
        let (producer_id, epoch) = expected.unwrap_or((-1, -1));
        let request = InitProducerIdRequest::default()
            .with_transactional_id(id.map(|id| TransactionalId(text(id))))
            .with_transaction_timeout_ms(10_000)
            .with_producer_id(producer_id.into())
            .with_producer_epoch(epoch);
        match self.ask(5, RequestKind::InitProducerId(request)) {
            ResponseKind::InitProducerId(r) if r.error_code == 0 => {
                Ok((r.producer_id.0, r.producer_epoch))
            }
            ResponseKind::InitProducerId(r) => Err(r.error_code),
            other => panic!("{other:?}"),
        }
    }

    /// A new owner of a transactional id, which asks again while Kafka tells it to.
    pub(super) fn producer(&mut self, protocol: Protocol, name: &str) -> Producer {
        let given = match self.init(Some(name), None) {
            Err(codes::CONCURRENT_TRANSACTIONS) => self.init(Some(name), None),
            given => given,
        };
        let (id, epoch) = given.unwrap();
        let name = Some(name.to_owned());
        Producer { protocol, name, id, epoch, sequences: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, producer: &Producer, partition: i32) -> i16 {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(TopicName(text("t")))
            .with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(producer.transactional_id())
            .with_v3_and_below_producer_id(producer.id.into())
            .with_v3_and_below_producer_epoch(producer.epoch)
            .with_v3_and_below_topics(vec![topic]);
        match self.ask(3, RequestKind::AddPartitionsToTxn(request)) {
            ResponseKind::AddPartitionsToTxn(r) => {
                r.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn produce_batch(
        &mut self,
        version: i16,
        transactional_id: Option<&str>,
        partition: i32,
        batch: Bytes,
    ) -> Result<i64, i16> {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let topic = TopicProduceData::default()
            .with_name(TopicName(text("t")))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(transactional_id.map(|id| TransactionalId(text(id))))
            .with_acks(-1)
            .with_topic_data(vec![topic]);
        match self.ask(version, RequestKind::Produce(request)) {
            ResponseKind::Produce(r) => match &r.responses[0].partition_responses[0] {
                p if p.error_code == 0 => Ok(p.base_offset),
                p => Err(p.error_code),
            },
            other => panic!("{other:?}"),
        }
    }

    /// Produces by the producer's protocol, with adding the partition if that says so.
    pub(super) fn produce(
        &mut self,
        producer: &mut Producer,
        partition: i32,
        values: &[&str],
    ) -> Result<i64, i16> {
        if producer.protocol == Protocol::V1 && producer.name.is_some() {
            match self.add(producer, partition) {
                0 => {}
                code => return Err(code),
            }
        }
        self.produce_only(producer, partition, values)
    }

    pub(super) fn produce_only(
        &mut self,
        producer: &mut Producer,
        partition: i32,
        values: &[&str],
    ) -> Result<i64, i16> {
        let sequence = producer.sequences.get(&partition).copied().unwrap_or(0);
        let of = (producer.id, producer.epoch);
        let batch = batch_of(of, sequence, producer.name.is_some(), values);
        let version = producer.protocol.pick(9, 12);
        let name = producer.name.clone();
        let base = self.produce_batch(version, name.as_deref(), partition, batch)?;
        let next = sequence + i32::try_from(values.len()).unwrap();
        producer.sequences.insert(partition, next);
        Ok(base)
    }

    pub(super) fn end(&mut self, producer: &mut Producer, commit: bool) -> i16 {
        let request = EndTxnRequest::default()
            .with_transactional_id(producer.transactional_id())
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
            .with_committed(commit);
        match self.ask(producer.protocol.pick(3, 5), RequestKind::EndTxn(request)) {
            ResponseKind::EndTxn(r) => {
                if r.error_code == 0 && producer.protocol == Protocol::V2 {
                    producer.id = r.producer_id.0;
                    producer.epoch = r.producer_epoch;
                    producer.sequences.clear();
                }
                r.error_code
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn add_group(&mut self, producer: &Producer, group: &str) -> i16 {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(producer.transactional_id())
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
            .with_group_id(GroupId(text(group)));
        match self.ask(3, RequestKind::AddOffsetsToTxn(request)) {
            ResponseKind::AddOffsetsToTxn(r) => r.error_code,
            other => panic!("{other:?}"),
        }
    }

    /// Commits an offset of `t`-0 for group `g`, by the producer's protocol.
    pub(super) fn commit_offset(
        &mut self,
        producer: &Producer,
        offset: i64,
        member: (&str, i32),
    ) -> i16 {
        if producer.protocol == Protocol::V1 {
            match self.add_group(producer, "g") {
                0 => {}
                code => return code,
            }
        }
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("m")));
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(TopicName(text("t")))
            .with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(producer.transactional_id())
            .with_group_id(GroupId(text("g")))
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
            .with_generation_id(member.1)
            .with_member_id(text(member.0))
            .with_topics(vec![topic]);
        let version = producer.protocol.pick(3, 5);
        match self.ask(version, RequestKind::TxnOffsetCommit(request)) {
            ResponseKind::TxnOffsetCommit(r) => r.topics[0].partitions[0].error_code,
            other => panic!("{other:?}"),
        }
    }

    /// The committed offset of `t`-0 for group `g`, or the error code below zero.
    pub(super) fn offset(&mut self, require_stable: bool) -> i64 {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(TopicName(text("t")))
            .with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_topics(Some(vec![topic]))
            .with_require_stable(require_stable);
        match self.ask(7, RequestKind::OffsetFetch(request)) {
            ResponseKind::OffsetFetch(r) => match &r.topics[0].partitions[0] {
                p if p.error_code != 0 => -i64::from(p.error_code),
                p => p.committed_offset,
            },
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn fetch_request(
        isolation: i8,
        partition: i32,
        offset: i64,
        wait: i32,
    ) -> FetchRequest {
        let partition = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(1 << 20);
        let topic =
            FetchTopic::default().with_topic(TopicName(text("t"))).with_partitions(vec![partition]);
        FetchRequest::default()
            .with_isolation_level(isolation)
            .with_max_bytes(1 << 20)
            .with_min_bytes(1)
            .with_max_wait_ms(wait)
            .with_topics(vec![topic])
    }

    /// Reads a partition from its start as a consumer does: without markers and aborted records.
    pub(super) fn read(&mut self, isolation: i8, partition: i32) -> Read {
        let request = Self::fetch_request(isolation, partition, 0, 0);
        let ResponseKind::Fetch(response) = self.ask(11, RequestKind::Fetch(request)) else {
            panic!("another response");
        };
        let data = &response.responses[0].partitions[0];
        assert_eq!(data.error_code, 0);
        let mut aborted: Vec<(i64, i64)> = data
            .aborted_transactions
            .iter()
            .flatten()
            .map(|aborted| (aborted.first_offset, aborted.producer_id.0))
            .collect();
        let mut skipped: Vec<i64> = Vec::new();
        let mut values = Vec::new();
        let mut bytes = data.records.clone().unwrap_or_default();
        let sets = RecordBatchDecoder::decode_all(&mut bytes).unwrap();
        for record in sets.into_iter().flat_map(|set| set.records) {
            aborted.retain(|(first, producer)| {
                let begun = *first <= record.offset;
                if begun {
                    skipped.push(*producer);
                }
                !begun
            });
            if record.control {
                skipped.retain(|producer| *producer != record.producer_id);
            } else if !(record.transactional && skipped.contains(&record.producer_id)) {
                let value = record.value.unwrap_or_default();
                values.push(String::from_utf8(value.to_vec()).unwrap());
            }
        }
        Read { values, stable: data.last_stable_offset, end: data.high_watermark }
    }
}
