//! Producers without transactions: where their records are, and who chooses the partition.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Result, ensure};
use streams_core::producer::{Destination, Producer};
use streams_core::record::{ProducerRecord, RoundRobin, partition_for_key};
use streams_tests::broker::TestBroker;
use streams_tests::oracle::read_committed;

const PATIENCE: Duration = Duration::from_secs(30);
const PARTITIONS: i32 = 3;

static TURNS: RoundRobin = RoundRobin::new();

/// A destination is created; each form of sending tells the record's partition and offset, which
/// the key or a partitioner has chosen.
pub(crate) fn places(broker: &TestBroker, topic: &str) -> Result<()> {
    let bootstrap = broker.bootstrap();
    let destination = Destination::new(topic).bootstrap(&bootstrap).partitions(PARTITIONS);
    let destination = destination.replication_factor(1).min_in_sync(1).create()?;
    ensure!(destination.num_partitions() == Some(PARTITIONS), "{destination:?}");
    let producer = destination.producer().build()?;
    let record = |key: &str| {
        let key = key.as_bytes().to_vec();
        ProducerRecord::to_default_topic().key(key).value("x")
    };
    for key in ["a", "b", "c", "d"] {
        let at = producer.produce(record(key))?;
        ensure!(at.partition() == partition_for_key(key.as_bytes(), PARTITIONS), "{key}: {at:?}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let awaited = runtime.block_on(producer.produce_async(record("a").partition(2)))?;
    let (sender, told) = mpsc::channel();
    let done = move |result| drop(sender.send(result));
    producer.produce_with(record("a").partition(2), done)?;
    let told = told.recv_timeout(PATIENCE)??;
    ensure!((told.partition(), told.offset) == (2, awaited.offset + 1), "{told:?}, {awaited:?}");
    let in_turn = Producer::builder().bootstrap(&bootstrap).topic(topic).partitioner(&TURNS);
    let in_turn = in_turn.build()?;
    let mut chosen = Vec::new();
    for _ in 0..PARTITIONS {
        chosen.push(in_turn.produce(record("a"))?.partition());
    }
    chosen.sort_unstable();
    ensure!(chosen == [0, 1, 2], "{chosen:?}");
    let read = read_committed(&bootstrap, topic, 9, PATIENCE)?;
    ensure!(read.len() == 9, "{} records", read.len());
    Ok(())
}
