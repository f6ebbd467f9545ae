//! Isolation, fencing, timeouts, offsets.

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
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use super::*;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

#[derive(Clone, Copy)]
struct Producer {
    id: i64,
    epoch: i16,
    sequence: i32,
}

impl Bench {
    fn init(&mut self, transactional_id: &str) -> Producer {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(transactional_id))))
            .with_transaction_timeout_ms(10_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let ResponseKind::InitProducerId(response) =
            self.ask(4, RequestKind::InitProducerId(request))
        else {
            panic!("another response");
        };
        assert_eq!(response.error_code, 0);
        Producer { id: response.producer_id.0, epoch: response.producer_epoch, sequence: 0 }
    }

    fn add(&mut self, producer: Producer) -> i16 {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(TopicName(text("t")))
            .with_partitions(vec![0]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(text("id")))
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

    fn produce(&mut self, producer: &mut Producer, values: &[&str]) -> i16 {
        let records: Vec<Record> = values
            .iter()
            .enumerate()
            .map(|(n, value)| Record {
                transactional: true,
                control: false,
                delete_horizon: false,
                partition_leader_epoch: -1,
                producer_id: producer.id,
                producer_epoch: producer.epoch,
                timestamp_type: TimestampType::Creation,
                offset: i64::try_from(n).unwrap(),
                sequence: producer.sequence + i32::try_from(n).unwrap(),
                timestamp: 7,
                key: None,
                value: Some(Bytes::copy_from_slice(value.as_bytes())),
                headers: indexmap::IndexMap::new(),
            })
            .collect();
        let mut bytes = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
        let data = PartitionProduceData::default().with_index(0).with_records(Some(bytes.freeze()));
        let topic = TopicProduceData::default()
            .with_name(TopicName(text("t")))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]);
        match self.ask(9, RequestKind::Produce(request)) {
            ResponseKind::Produce(r) => {
                let code = r.responses[0].partition_responses[0].error_code;
                if code == 0 {
                    producer.sequence += i32::try_from(values.len()).unwrap();
                }
                code
            }
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, producer: Producer, commit: bool) -> i16 {
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text("id")))
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
            .with_committed(commit);
        match self.ask(3, RequestKind::EndTxn(request)) {
            ResponseKind::EndTxn(r) => r.error_code,
            other => panic!("{other:?}"),
        }
    }

    fn fetch_request(isolation: i8, offset: i64, wait: i32) -> RequestKind {
        let partition = FetchPartition::default()
            .with_partition(0)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(1 << 20);
        let topic =
            FetchTopic::default().with_topic(TopicName(text("t"))).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_isolation_level(isolation)
            .with_max_bytes(1 << 20)
            .with_min_bytes(1)
            .with_max_wait_ms(wait)
            .with_topics(vec![topic]);
        RequestKind::Fetch(request)
    }

    /// The size of what is fetched, the stable offset, and how many aborted are listed.
    fn fetched(&mut self, isolation: i8) -> (usize, i64, usize) {
        match self.ask(11, Self::fetch_request(isolation, 0, 0)) {
            ResponseKind::Fetch(r) => {
                let data = &r.responses[0].partitions[0];
                let bytes = data.records.as_ref().map_or(0, Bytes::len);
                let aborted = data.aborted_transactions.as_ref().map_or(0, Vec::len);
                (bytes, data.last_stable_offset, aborted)
            }
            other => panic!("{other:?}"),
        }
    }

    fn commit_offset(&mut self, producer: Producer, offset: i64, member: (&str, i32)) -> i16 {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(TransactionalId(text("id")))
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
            .with_group_id(GroupId(text("g")));
        self.ask(3, RequestKind::AddOffsetsToTxn(request));
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("m")));
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(TopicName(text("t")))
            .with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(TransactionalId(text("id")))
            .with_group_id(GroupId(text("g")))
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
            .with_generation_id(member.1)
            .with_member_id(text(member.0))
            .with_topics(vec![topic]);
        match self.ask(3, RequestKind::TxnOffsetCommit(request)) {
            ResponseKind::TxnOffsetCommit(r) => r.topics[0].partitions[0].error_code,
            other => panic!("{other:?}"),
        }
    }

    /// The committed offset, or the error code below zero.
    fn offset(&mut self, require_stable: bool) -> i64 {
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
}

#[test]
fn brk3_what_is_open_or_aborted_is_not_read_committed() {
    let mut bench = Bench::new();
    let mut producer = bench.init("id");
    assert_eq!(bench.produce(&mut producer, &["a"]), codes::INVALID_TXN_STATE, "not added");
    assert_eq!(bench.add(producer), 0);
    assert_eq!(bench.produce(&mut producer, &["a", "b"]), 0);
    assert_eq!(bench.fetched(1), (0, 0, 0), "open");
    assert!(bench.fetched(0).0 > 0, "read_uncommitted sees it");
    assert_eq!(bench.end(producer, false), 0);
    let (bytes, stable, aborted) = bench.fetched(1);
    assert!(bytes > 0);
    assert_eq!((stable, aborted), (3, 1), "the reader drops what is listed");
}

#[test]
fn a_lost_reply_to_end_txn_can_be_asked_for_again() {
    let mut bench = Bench::new();
    let mut producer = bench.init("id");
    bench.add(producer);
    bench.produce(&mut producer, &["a"]);
    assert_eq!(bench.end(producer, true), 0);
    assert_eq!(bench.end(producer, true), 0);
    assert_eq!(bench.end(producer, false), codes::INVALID_TXN_STATE);
}

#[test]
fn brk4_a_new_owner_fences_the_old_one_and_aborts_what_it_left() {
    let mut bench = Bench::new();
    let mut old = bench.init("id");
    bench.add(old);
    bench.produce(&mut old, &["a"]);
    let new = bench.init("id");
    assert_eq!((new.id, new.epoch), (old.id, old.epoch + 1));
    assert_eq!(bench.fetched(1).1, 2, "aborted at once");
    assert_eq!(bench.end(old, true), codes::PRODUCER_FENCED);
    assert_eq!(bench.add(old), codes::PRODUCER_FENCED);
    assert_eq!(bench.produce(&mut old, &["b"]), codes::INVALID_PRODUCER_EPOCH);
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_fenced() {
    let mut bench = Bench::new();
    let mut producer = bench.init("id");
    bench.add(producer);
    bench.produce(&mut producer, &["a"]);
    assert_eq!(bench.cluster.poll_timeout(), Some(bench.now + 10_000));
    bench.wait(10_000);
    assert_eq!(bench.fetched(1).1, 2);
    assert_eq!(bench.end(producer, true), codes::PRODUCER_FENCED);
}

#[test]
fn brk5_offsets_are_seen_when_they_are_committed() {
    let mut bench = Bench::new();
    let producer = bench.init("id");
    assert_eq!(bench.commit_offset(producer, 5, ("", -1)), 0);
    assert_eq!(bench.offset(false), -1);
    assert_eq!(bench.offset(true), -i64::from(codes::UNSTABLE_OFFSET_COMMIT));
    bench.end(producer, false);
    assert_eq!(bench.offset(true), -1);
    assert_eq!(bench.commit_offset(producer, 7, ("", -1)), 0);
    bench.end(producer, true);
    assert_eq!(bench.offset(true), 7);
}

#[test]
fn offsets_are_fenced_by_member() {
    let mut bench = Bench::new();
    let producer = bench.init("id");
    let stranger = bench.commit_offset(producer, 5, ("nobody", 1));
    assert_eq!(stranger, codes::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_fetch_waits_for_records_and_no_longer_than_it_says() {
    let mut bench = Bench::new();
    let waiting = bench.send(11, Bench::fetch_request(1, 0, 500));
    assert!(bench.replies().is_empty());
    let mut producer = bench.init("id");
    bench.add(producer);
    bench.produce(&mut producer, &["a"]);
    bench.end(producer, true);
    assert_eq!(bench.offset(true), -1);
    let late = bench.send(11, Bench::fetch_request(1, 2, 500));
    bench.wait(499);
    assert!(!bench.replies().contains_key(&late));
    bench.wait(1);
    assert!(bench.replies().contains_key(&late));
    let _ = waiting;
}

#[test]
fn faults_refuse_or_lose_a_reply() {
    let mut bench = Bench::new();
    let mut producer = bench.init("id");
    let fault = |kind| Fault { api: ApiKey::EndTxn, skip: 0, times: 1, kind };
    bench.cluster.inject(fault(FaultKind::Error(51)));
    bench.add(producer);
    bench.produce(&mut producer, &["a"]);
    assert_eq!(bench.end(producer, true), 51);
    assert_eq!(bench.fetched(1).1, 0, "it was not done");
    bench.cluster.inject(fault(FaultKind::LoseReply));
    let request = EndTxnRequest::default()
        .with_transactional_id(TransactionalId(text("id")))
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
        .with_committed(true);
    let id = bench.send(3, RequestKind::EndTxn(request));
    assert_eq!(bench.replies()[&id], Reply::Disconnect);
    assert_eq!(bench.fetched(1).1, 2, "it was done");
}
