//! Faults on demand.

use kafka_protocol::messages::{EndTxnRequest, TransactionalId};

use super::client::{Protocol, text};
use super::*;

#[test]
fn faults_refuse_or_lose_a_reply() {
    let mut bench = Bench::new();
    let mut producer = bench.producer(Protocol::V1, "id");
    let fault = |kind| Fault { api: ApiKey::EndTxn, skip: 0, times: 1, kind };
    bench.cluster.inject(fault(FaultKind::Error(51)));
    bench.produce(&mut producer, 0, &["a"]).unwrap();
    assert_eq!(bench.end(&mut producer, true), 51);
    assert_eq!(bench.read(1, 0).stable, 0, "it was not done");
    bench.cluster.inject(fault(FaultKind::LoseReply));
    let request = EndTxnRequest::default()
        .with_transactional_id(TransactionalId(text("id")))
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
        .with_committed(true);
    let id = bench.send(3, RequestKind::EndTxn(request));
    assert_eq!(bench.replies()[&id], Reply::Disconnect);
    assert_eq!(bench.read(1, 0).stable, 2, "it was done");
}
