//! Fetch and ListOffsets.

use super::client::Protocol;
use super::*;

#[test]
fn a_fetch_waits_for_records_and_no_longer_than_it_says() {
    let mut bench = Bench::new();
    let fetch = |offset| RequestKind::Fetch(Bench::fetch_request(1, 0, offset, 500));
    let waiting = bench.send(11, fetch(0));
    assert!(bench.replies().is_empty());
    let mut producer = bench.producer(Protocol::V1, "id");
    bench.produce(&mut producer, 0, &["a"]).unwrap();
    assert!(!bench.replies().contains_key(&waiting), "nothing is committed");
    let end = kafka_protocol::messages::EndTxnRequest::default()
        .with_transactional_id(kafka_protocol::messages::TransactionalId(client::text("id")))
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
