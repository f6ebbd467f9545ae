//! Fetch: long polls, limits, refusals, topic ids.

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{
    EndTxnRequest, FetchRequest, FetchResponse, OffsetForLeaderEpochRequest, TopicName,
    TransactionalId, offset_for_leader_epoch_request,
};
use uuid::Uuid;

use super::client::{Protocol, batch_of, text};
use super::*;

impl Bench {
    fn fetch(&mut self, version: i16, request: FetchRequest) -> FetchResponse {
        match self.ask(version, RequestKind::Fetch(request)) {
            ResponseKind::Fetch(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// The sizes of what is fetched, by partition.
    fn fetched(&mut self, request: FetchRequest) -> Vec<usize> {
        let response = self.fetch(11, request);
        let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|p| p.records.as_ref().map_or(0, bytes::Bytes::len)).collect()
    }

    fn plain(&mut self, partition: i32, value: &str) {
        let batch = batch_of((-1, -1), 0, false, &[value]);
        self.produce_batch(9, None, partition, batch).unwrap();
    }
}

#[test]
fn a_fetch_waits_for_records_and_no_longer_than_it_says() {
    let mut bench = Bench::new();
    let fetch = |offset| RequestKind::Fetch(Bench::fetch_request(1, 0, offset, 500));
    let waiting = bench.send(11, fetch(0));
    assert!(bench.replies().is_empty());
    let mut producer = bench.producer(Protocol::V1, "id");
    bench.produce(&mut producer, 0, &["a"]).unwrap();
    assert!(!bench.replies().contains_key(&waiting), "nothing is committed");
    let end = EndTxnRequest::default()
        .with_transactional_id(TransactionalId(text("id")))
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
        .with_committed(true);
    bench.send(3, RequestKind::EndTxn(end));
    assert!(bench.replies().contains_key(&waiting));
    let late = bench.send(11, fetch(2));
    bench.wait(499);
    assert!(!bench.replies().contains_key(&late));
    bench.wait(1);
    assert!(bench.replies().contains_key(&late));
}

#[test]
fn a_fetch_waits_for_as_much_as_it_asks_for() {
    let mut bench = Bench::new();
    bench.plain(0, "a");
    let request = Bench::fetch_request(0, 0, 0, 500).with_min_bytes(100);
    let waiting = bench.send(11, RequestKind::Fetch(request));
    assert!(bench.replies().is_empty(), "a batch has 71 bytes");
    let batch = batch_of((-1, -1), 0, false, &["b"]);
    let data = kafka_protocol::messages::produce_request::PartitionProduceData::default()
        .with_records(Some(batch));
    let topic = kafka_protocol::messages::produce_request::TopicProduceData::default()
        .with_name(TopicName(text("t")))
        .with_partition_data(vec![data]);
    let produce = kafka_protocol::messages::ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(1)
        .with_topic_data(vec![topic]);
    bench.send(9, RequestKind::Produce(produce));
    assert!(bench.replies().contains_key(&waiting));
}

#[test]
fn the_first_batch_comes_whole_and_the_others_if_they_fit() {
    let mut bench = Bench::new();
    for partition in [0, 0, 1] {
        bench.plain(partition, "a");
    }
    let both = |most: i32, each: i32| {
        let partition =
            |index| FetchPartition::default().with_partition(index).with_partition_max_bytes(each);
        let topic = FetchTopic::default()
            .with_topic(TopicName(text("t")))
            .with_partitions(vec![partition(0), partition(1)]);
        FetchRequest::default().with_max_bytes(most).with_min_bytes(1).with_topics(vec![topic])
    };
    let one = bench.cluster.log("t", 1).unwrap().read(0, 1, 0, true).0.len();
    let size = i32::try_from(one).unwrap();
    for (most, each, expected) in [
        (1 << 20, 1 << 20, [2 * one, one]),
        (1 << 20, size, [one, one]),
        (1 << 20, 1, [one, 0]),
        (1, 1 << 20, [one, 0]),
        (2 * size, 1 << 20, [2 * one, 0]),
        (0, 0, [one, 0]),
    ] {
        assert_eq!(bench.fetched(both(most, each)), expected, "{most} {each}");
    }
}

#[test]
fn what_can_not_be_read_is_refused_at_once() {
    let mut bench = Bench::new();
    bench.plain(0, "a");
    let code = |bench: &mut Bench, request: FetchRequest| {
        bench.fetch(11, request).responses[0].partitions[0].error_code
    };
    let request = |partition, offset| Bench::fetch_request(0, partition, offset, 500);
    assert_eq!(code(&mut bench, request(0, 2)), codes::OFFSET_OUT_OF_RANGE);
    assert_eq!(code(&mut bench, request(0, -1)), codes::OFFSET_OUT_OF_RANGE);
    assert_eq!(code(&mut bench, request(7, 0)), codes::UNKNOWN_TOPIC_OR_PARTITION);
    let mut ahead = request(0, 0);
    ahead.topics[0].partitions[0].current_leader_epoch = 1;
    assert_eq!(code(&mut bench, ahead), codes::UNKNOWN_LEADER_EPOCH);
    let nothing = bench.fetch(11, request(0, 0).with_topics(vec![]));
    assert!(nothing.responses.is_empty());
}

#[test]
fn there_are_no_fetch_sessions() {
    let mut bench = Bench::new();
    bench.plain(0, "a");
    let request = |id, epoch| {
        let request = Bench::fetch_request(0, 0, 0, 0);
        request.with_session_id(id).with_session_epoch(epoch)
    };
    let first = bench.fetch(11, request(0, 0));
    assert_eq!((first.error_code, first.session_id), (0, 0));
    let next = bench.fetch(11, request(5, 1));
    assert_eq!(next.error_code, codes::FETCH_SESSION_ID_NOT_FOUND);
    assert!(next.responses.is_empty());
}

#[test]
fn newer_fetches_name_topics_by_id() {
    let mut bench = Bench::new();
    bench.plain(0, "a");
    let id = bench.cluster.topics["t"].id;
    let request = |id: Uuid| {
        let mut request = Bench::fetch_request(0, 0, 0, 500);
        request.topics[0].topic = TopicName::default();
        request.topics[0].topic_id = id;
        request
    };
    let known = bench.fetch(18, request(id));
    assert_eq!(known.responses[0].topic_id, id);
    assert!(known.responses[0].partitions[0].records.as_ref().is_some_and(|r| !r.is_empty()));
    let unknown = bench.fetch(18, request(Uuid::from_u128(1)));
    assert_eq!(unknown.responses[0].partitions[0].error_code, codes::UNKNOWN_TOPIC_ID);
}

#[test]
fn each_version_has_a_response_that_it_can_write() {
    let mut bench = Bench::new();
    bench.plain(0, "a");
    for version in 4..=12 {
        let read = bench.fetch(version, Bench::fetch_request(1, 0, 0, 0));
        assert_eq!(read.responses[0].partitions[0].error_code, 0, "Fetch {version}");
        let refused = bench.fetch(version, Bench::fetch_request(1, 9, 0, 0));
        assert_ne!(refused.responses[0].partitions[0].error_code, 0, "Fetch {version}");
    }
    for version in 3..=12 {
        let batch = batch_of((-1, -1), 0, false, &["a"]);
        assert!(bench.produce_batch(version, None, 0, batch.clone()).is_ok(), "{version}");
        assert!(bench.produce_batch(version, None, 9, batch).is_err(), "Produce {version}");
        let malformed = bytes::Bytes::from_static(b"xyz");
        assert!(bench.produce_batch(version, None, 0, malformed).is_err(), "Produce {version}");
    }
}

#[test]
fn the_one_leader_epoch_ends_where_the_log_does() {
    let mut bench = Bench::new();
    bench.plain(0, "a");
    let mut ask = |partition: i32, epoch: i32, current: i32| {
        let asked = offset_for_leader_epoch_request::OffsetForLeaderPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(current)
            .with_leader_epoch(epoch);
        let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
            .with_topic(TopicName(text("t")))
            .with_partitions(vec![asked]);
        let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
        match bench.ask(4, RequestKind::OffsetForLeaderEpoch(request)) {
            ResponseKind::OffsetForLeaderEpoch(r) => {
                let partition = &r.topics[0].partitions[0];
                (partition.error_code, partition.leader_epoch, partition.end_offset)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(0, 0, -1), (0, 0, 1));
    assert_eq!(ask(0, 0, 0), (0, 0, 1));
    assert_eq!(ask(0, 3, -1), (0, -1, -1), "an epoch that never was");
    assert_eq!(ask(1, 0, -1), (0, 0, 0), "nothing was written");
    assert_eq!(ask(0, -2, -1), (0, -2, 0), "before the first");
    assert_eq!(ask(0, -1, -1), (0, -1, -1));
    assert_eq!(ask(0, 0, 1), (codes::UNKNOWN_LEADER_EPOCH, -1, -1));
    assert_eq!(ask(9, 0, -1), (codes::UNKNOWN_TOPIC_OR_PARTITION, -1, -1));
}
