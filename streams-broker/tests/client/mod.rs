//! A client of a few blocking calls, over the raw protocol.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

pub(crate) type Result<T = ()> = anyhow::Result<T>;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Records of long ago would be deleted at once.
fn now_ms() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?)
}

fn check(code: i16) -> Result {
    ensure!(code == 0, "Kafka's error code {code}");
    Ok(())
}

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { stream })
    }

    fn ask<Q, A>(&mut self, api: ApiKey, version: i16, request: &Q) -> Result<A>
    where
        Q: Encodable,
        A: Decodable + HeaderVersion,
    {
        let mut bytes = BytesMut::new();
        bytes.put_i32(0);
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_client_id(Some(text("test")));
        header.encode(&mut bytes, api.request_header_version(version))?;
        request.encode(&mut bytes, version)?;
        let length = (bytes.len() - 4) as i32;
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&bytes)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut answer = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut answer)?;
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, A::header_version(version))?;
        A::decode(&mut answer, version)
    }

    pub(crate) fn init_producer(&mut self, id: Option<&str>) -> Result<(i64, i16)> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(id.map(|id| TransactionalId(text(id))))
            .with_transaction_timeout_ms(60_000);
        loop {
            let r: InitProducerIdResponse = self.ask(ApiKey::InitProducerId, 4, &request)?;
            // CONCURRENT_TRANSACTIONS: what was open is being aborted; ask again.
            if r.error_code != 51 {
                check(r.error_code)?;
                return Ok((r.producer_id.0, r.producer_epoch));
            }
        }
    }

    fn send(
        &mut self,
        transactional_id: Option<&str>,
        producer: (i64, i16),
        (name, partition): (&str, i32),
        value: &str,
    ) -> Result {
        let record = Record {
            transactional: transactional_id.is_some(),
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: producer.0,
            producer_epoch: producer.1,
            timestamp_type: TimestampType::Creation,
            offset: 0,
            sequence: if producer.0 < 0 { -1 } else { 0 },
            timestamp: now_ms()?,
            key: None,
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: IndexMap::new(),
        };
        let mut batch = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut batch, &[record], &options)?;
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(batch.freeze()));
        let data =
            TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(transactional_id.map(|id| TransactionalId(text(id))))
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![data]);
        // From version 12 on a transaction takes the partition in by itself.
        let r: ProduceResponse = self.ask(ApiKey::Produce, 12, &request)?;
        check(r.responses[0].partition_responses[0].error_code)
    }

    pub(crate) fn produce(&mut self, name: &str, partition: i32, value: &str) -> Result {
        self.send(None, (-1, -1), (name, partition), value)
    }

    pub(crate) fn produce_transactional(
        &mut self,
        id: &str,
        producer: (i64, i16),
        name: &str,
        partition: i32,
        value: &str,
    ) -> Result {
        self.send(Some(id), producer, (name, partition), value)
    }

    pub(crate) fn commit_offset_in(
        &mut self,
        id: &str,
        producer: (i64, i16),
        group: &str,
        (name, partition): (&str, i32),
        offset: i64,
    ) -> Result {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_metadata(None);
        let committed = TxnOffsetCommitRequestTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(TransactionalId(text(id)))
            .with_group_id(GroupId(text(group)))
            .with_producer_id(producer.0.into())
            .with_producer_epoch(producer.1)
            .with_generation_id(-1)
            .with_topics(vec![committed]);
        let r: TxnOffsetCommitResponse = self.ask(ApiKey::TxnOffsetCommit, 5, &request)?;
        check(r.topics[0].partitions[0].error_code)
    }

    /// Ends a transaction; returns the epoch to go on with.
    pub(crate) fn end(&mut self, id: &str, producer: (i64, i16), commit: bool) -> Result<i16> {
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text(id)))
            .with_producer_id(producer.0.into())
            .with_producer_epoch(producer.1)
            .with_committed(commit);
        let r: EndTxnResponse = self.ask(ApiKey::EndTxn, 5, &request)?;
        check(r.error_code)?;
        Ok(r.producer_epoch)
    }

    pub(crate) fn offset(&mut self, group: &str, name: &str, partition: i32) -> Result<i64> {
        let asked = OffsetFetchRequestTopic::default()
            .with_name(topic(name))
            .with_partition_indexes(vec![partition]);
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(Some(vec![asked]))
            .with_require_stable(true);
        let r: OffsetFetchResponse = self.ask(ApiKey::OffsetFetch, 7, &request)?;
        let partition = &r.topics[0].partitions[0];
        check(partition.error_code)?;
        Ok(partition.committed_offset)
    }

    /// The values of all committed records.
    pub(crate) fn committed(&mut self, name: &str, partition: i32) -> Result<Vec<String>> {
        let (mut offset, mut values) = (0, Vec::new());
        loop {
            let asked = FetchPartition::default()
                .with_partition(partition)
                .with_fetch_offset(offset)
                .with_partition_max_bytes(1 << 20);
            let asked = FetchTopic::default().with_topic(topic(name)).with_partitions(vec![asked]);
            let request = FetchRequest::default()
                .with_max_bytes(1 << 20)
                .with_isolation_level(1)
                .with_topics(vec![asked]);
            let r: FetchResponse = self.ask(ApiKey::Fetch, 11, &request)?;
            let data = &r.responses[0].partitions[0];
            check(data.error_code).with_context(|| format!("fetch at {offset}"))?;
            if offset >= data.last_stable_offset {
                return Ok(values);
            }
            let mut aborted: Vec<(i64, i64)> = Vec::new();
            for one in data.aborted_transactions.iter().flatten() {
                aborted.push((one.producer_id.0, one.first_offset));
            }
            let mut records = data.records.clone().context("records")?;
            let before = offset;
            for set in RecordBatchDecoder::decode_all(&mut records)? {
                for record in set.records {
                    offset = record.offset + 1;
                    let producer = record.producer_id;
                    if record.control {
                        // The first of the producer's that are aborted is over.
                        let ended =
                            |(id, first): &(i64, i64)| *id == producer && *first <= record.offset;
                        let over = aborted.iter().position(ended);
                        over.map(|at| aborted.remove(at));
                        continue;
                    }
                    let is_aborted =
                        |(id, first): &(i64, i64)| *id == producer && *first <= record.offset;
                    if !record.transactional || !aborted.iter().any(is_aborted) {
                        let value = record.value.context("a value")?;
                        values.push(String::from_utf8(value.to_vec())?);
                    }
                }
            }
            if offset == before {
                bail!("nothing at {offset} before {}", data.last_stable_offset);
            }
        }
    }
}
