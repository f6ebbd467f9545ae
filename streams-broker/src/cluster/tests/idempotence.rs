//! Idempotent producers without a transaction, and what batches must be.

use bytes::Bytes;

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};

use super::client::{batch_of, text};
use super::*;

#[test]
fn a_repeated_batch_is_written_once_and_answered_alike() {
    let mut bench = Bench::new();
    let producer = bench.init(None, None).unwrap();
    let mut produce = |sequence, values: &[&str]| {
        bench.produce_batch(9, None, 0, batch_of(producer, sequence, false, values))
    };
    assert_eq!(produce(0, &["a", "b"]), Ok(0));
    assert_eq!(produce(2, &["c"]), Ok(2));
    assert_eq!(produce(0, &["a", "b"]), Ok(0));
    assert_eq!(produce(4, &["e"]), Err(codes::OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_eq!(produce(3, &["d"]), Ok(3));
    assert_eq!(bench.read(1, 0).values, ["a", "b", "c", "d"]);
}

#[test]
fn each_idempotent_producer_has_an_id_of_its_own() {
    let mut bench = Bench::new();
    let (first, second) = (bench.init(None, None), bench.init(None, None));
    assert_ne!(first, second);
    assert_eq!(first.unwrap().1, 0);
}

#[test]
fn a_partition_forgets_a_producer_that_says_nothing() {
    let mut bench = Bench::new();
    let producer = bench.init(None, None).unwrap();
    let batch = |sequence| batch_of(producer, sequence, false, &["a"]);
    assert_eq!(bench.produce_batch(9, None, 0, batch(0)), Ok(0));
    bench.wait(86_400_000 + 3_600_000);
    let unknown = bench.produce_batch(9, None, 0, batch(7));
    assert_eq!(unknown, Ok(1), "of an unknown producer any sequence is taken");
}

#[test]
fn a_record_set_is_one_batch_of_format_2() {
    let mut bench = Bench::new();
    let good = batch_of((-1, -1), 0, false, &["a"]);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        Bytes::from(bytes)
    };
    let two = Bytes::from([&good[..], &good[..]].concat());
    for (name, batch, expected) in [
        ("nothing", Bytes::new(), Err(codes::INVALID_RECORD)),
        ("format 1", changed(16, 1), Err(codes::INVALID_RECORD)),
        ("no format", changed(16, 3), Err(codes::CORRUPT_MESSAGE)),
        ("a wrong checksum", changed(69, 99), Err(codes::CORRUPT_MESSAGE)),
        ("two batches", two, Err(codes::INVALID_RECORD)),
        ("a base offset", changed(7, 1), Err(codes::INVALID_RECORD)),
        ("a batch", good.clone(), Ok(0)),
    ] {
        assert_eq!(bench.produce_batch(9, None, 0, batch), expected, "{name}");
    }
    let unknown = bench.produce_batch(9, None, 5, good.clone());
    assert_eq!(unknown, Err(codes::UNKNOWN_TOPIC_OR_PARTITION));
    let unacknowledged = |index: i32| {
        let data = PartitionProduceData::default().with_index(index);
        let topic = TopicProduceData::default()
            .with_name(TopicName(text("t")))
            .with_partition_data(vec![data.with_records(Some(good.clone()))]);
        let request = ProduceRequest::default().with_transactional_id(None).with_acks(0);
        RequestKind::Produce(request.with_topic_data(vec![topic]))
    };
    for (partition, expected) in [(0, Reply::Nothing), (5, Reply::Disconnect)] {
        let id = bench.send(9, unacknowledged(partition));
        assert_eq!(bench.replies()[&id], expected, "{partition}");
    }
}
