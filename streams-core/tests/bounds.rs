//! Bounds in bytes, next to those by count.

use std::time::Duration;

use streams_core::eos::EosConfig;
use streams_core::prelude::*;
use streams_core::testing::TestDriver;

#[derive(Events)]
enum Requests {
    /// Forwards so many bytes.
    Bytes(i64),
}

#[derive(Events)]
enum Blobs {
    Blob(Vec<u8>),
}

static BLOBS: Topic<Blobs> = Topic::new("blobs");

#[event_source(events = Requests, store = NoStore)]
mod blobs {
    use super::*;

    #[event_handler("Bytes")]
    fn bytes(ctx: &mut EventContext<NoStore>, bytes: i64) -> Result<ExecutionState> {
        ctx.forward(&BLOBS, "k", Blobs::Blob(vec![0; usize::try_from(bytes)?]))?;
        Ok(Complete)
    }
}

/// How many outputs each transaction has: a marker stands behind each.
fn transactions<A: EventSource>(driver: &TestDriver<A>) -> Vec<i64> {
    let offsets: Vec<i64> = driver.outputs().iter().map(Record::offset).collect();
    let mut sizes = vec![];
    for run in offsets.chunk_by(|a, b| a + 1 == *b) {
        sizes.push(run[run.len() - 1] - run[0] + 1);
    }
    sizes
}

#[test]
fn u4_a_transaction_takes_no_more_bytes_than_its_bound() {
    let mut driver = blobs::Source::builder().test_driver();
    driver.latency(Duration::from_millis(5));
    driver.send_all((0..400).map(|_| ("k", Requests::Bytes(100_000)))).then_committed(0, 400);
    // The outputs of a second transaction may stand before the marker of the first.
    let largest = transactions(&driver).into_iter().max().unwrap_or(0);
    assert!(largest <= 2 * 168, "{largest} outputs of 100 kB, and the bound is 16 MiB");
}

#[test]
fn u4_a_worker_begins_no_event_while_too_many_bytes_are_unsent() {
    let eos = EosConfig::default().max_batch_bytes(10_000).unwrap();
    let eos = eos.max_unsent_bytes(10_000).unwrap();
    let mut driver = blobs::Source::builder().partitions(3).eos(eos).test_driver();
    driver.latency(Duration::from_millis(5));
    driver.send_all((0..100).map(|_| ("k", Requests::Bytes(3_000))));
    driver.send_all((0..10).map(|_| ("k", Requests::Bytes(50_000))));
    assert_eq!(driver.outputs().len(), 110, "an event that exceeds the bounds goes alone");
    let largest = transactions(&driver).into_iter().max().unwrap_or(0);
    assert!(largest <= 2 * 4, "{largest} outputs of 3 kB, and the bound is 10 kB");
}
