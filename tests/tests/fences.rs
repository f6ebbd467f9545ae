//! Transactions that end in an unclear way, on the embedded broker: nothing is lost or doubled, and
//! the source goes on, or names the event that it can't commit.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::{Duration, Instant};

use streams_broker::cluster::codes::{
    INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE, NOT_ENOUGH_REPLICAS, PRODUCER_FENCED,
    TOPIC_AUTHORIZATION_FAILED, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, UNKNOWN_MEMBER_ID,
    UNKNOWN_SERVER_ERROR,
};
use streams_broker::{ApiKey, Broker, Fault, FaultKind};
use streams_core::client::rdkafka::RdTxnProducer;
use streams_core::client::{ClusterConfig, CoordinatorWatch, TxnProducer};
use streams_core::eos::EosConfig;
use streams_core::error::{Cause, Disposition};
use streams_core::prelude::*;
use streams_core::record::Outputs;
use streams_core::{EventProducer, RunningSource, SourceBuilder};
use streams_tests::counting::{Shared, Step, counts};
use streams_tests::oracle::read_committed;

const OUTPUT: &str = "output";

const PATIENCE: Duration = Duration::from_secs(40);

struct World {
    broker: Broker,
    producer: EventProducer<Step>,
}

impl World {
    fn new() -> Self {
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let broker = Broker::builder().topic("input", 1).topic("output", 1).start().unwrap();
        let topic = Topic::<Step>::new("input");
        let producer = EventProducer::new(&broker.bootstrap(), topic).unwrap();
        Self { broker, producer }
    }

    fn builder(&self, delays: &[u64]) -> SourceBuilder<counts::Source> {
        let shared = Shared::new(Topic::new(OUTPUT), delays);
        let builder = counts::Source::builder().shared(shared);
        let builder = builder.bootstrap(self.broker.bootstrap()).group("g").topic("input");
        builder.instance("a").leave_timeout(Duration::ZERO)
    }

    fn start(&self) -> RunningSource<counts::Source> {
        let source = self.builder(&[0]).start().unwrap();
        assert!(source.wait_for_active(1, PATIENCE));
        source
    }

    fn send(&self, step: &Step) {
        self.producer.send("key", step).unwrap();
        self.producer.flush(PATIENCE).unwrap();
    }

    fn send_all<'s>(&self, steps: impl IntoIterator<Item = &'s Step>) {
        steps.into_iter().for_each(|step| drop(self.producer.send("key", step)));
        self.producer.flush(PATIENCE).unwrap();
    }

    /// The committed outputs, once there are so many.
    fn outputs(&self, at_least: usize) -> Vec<String> {
        let bootstrap = self.broker.bootstrap();
        let read = read_committed(&bootstrap, "output", at_least, PATIENCE);
        let text = |value: Vec<u8>| String::from_utf8(value).unwrap();
        read.unwrap().into_iter().map(text).collect()
    }

    fn inject(&self, api: ApiKey, kind: FaultKind) {
        self.broker.inject(Fault { api, skip: 0, times: 1, kind });
    }
}

fn count() -> Step {
    Step::Count("w".to_owned())
}

fn counted(up_to: usize) -> Vec<String> {
    (1..=up_to).map(|n| format!("w={n}")).collect()
}

/// Commits, of which the second is answered with an error although the broker has done it.
fn committed_with_an_error(code: i16) {
    let world = World::new();
    let source = world.start();
    world.send(&count());
    assert_eq!(world.outputs(1), counted(1));
    world.inject(ApiKey::EndTxn, FaultKind::DoneThenError(code));
    world.send(&count());
    assert_eq!(world.outputs(2), counted(2), "after {code}");
    world.send(&count());
    assert_eq!(world.outputs(3), counted(3), "after {code}");
    source.stop();
    source.wait().unwrap();
    assert_eq!(world.outputs(3), counted(3), "after {code}");
}

#[test]
fn d6_a_commit_that_is_done_and_answered_with_producer_fenced() {
    committed_with_an_error(PRODUCER_FENCED);
}

#[test]
fn d6_a_commit_that_is_done_and_answered_with_invalid_producer_epoch() {
    committed_with_an_error(INVALID_PRODUCER_EPOCH);
}

#[test]
fn d6_a_commit_that_is_done_and_answered_with_invalid_txn_state() {
    committed_with_an_error(INVALID_TXN_STATE);
}

#[test]
fn d6_a_commit_that_is_done_and_answered_with_an_unknown_error() {
    committed_with_an_error(UNKNOWN_SERVER_ERROR);
}

/// The member's partitions were lost since the producer was made, which explains any fence.
#[test]
fn d6_a_commit_that_is_done_and_answered_with_producer_fenced_after_a_loss() {
    let world = World::new();
    let source = world.start();
    world.send(&count());
    assert_eq!(world.outputs(1), counted(1));
    world.inject(ApiKey::Heartbeat, FaultKind::Error(UNKNOWN_MEMBER_ID));
    let deadline = Instant::now() + PATIENCE;
    while source.active_partitions().len() == 1 {
        assert!(Instant::now() < deadline, "the partition is lost");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(source.wait_for_active(1, PATIENCE));
    world.inject(ApiKey::EndTxn, FaultKind::DoneThenError(PRODUCER_FENCED));
    world.send(&count());
    assert_eq!(world.outputs(2), counted(2));
    world.send(&count());
    assert_eq!(world.outputs(3), counted(3));
    source.stop();
    source.wait().unwrap();
}

/// The source has no permission for its transactional ids.
#[test]
fn c3_a_missing_permission_ends_a_source_that_starts() {
    let world = World::new();
    world.send(&count());
    let kind = FaultKind::Error(TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    world.broker.inject(Fault { api: ApiKey::InitProducerId, skip: 0, times: u32::MAX, kind });
    let started = Instant::now();
    let source = world.builder(&[0]).start().unwrap();
    let text = source.wait().unwrap_err().to_string();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(text.contains("Transactional Id authorization failed"), "{text}");
}

/// A permission is missing for a moment, as while a broker restarts.
#[test]
fn c3_a_running_source_puts_up_with_a_missing_permission_for_a_while() {
    let world = World::new();
    let source = world.start();
    world.send(&count());
    assert_eq!(world.outputs(1), counted(1));
    world.inject(ApiKey::Produce, FaultKind::Error(TOPIC_AUTHORIZATION_FAILED));
    world.send(&count());
    assert_eq!(world.outputs(2), counted(2));
    source.stop();
    source.wait().unwrap();
}

/// The leader has too few replicas for as long as the flush waits.
#[test]
fn a_flush_names_the_topics_that_are_not_acknowledged() {
    let broker = Broker::builder().topic("output", 1).topic("changes", 1).start().unwrap();
    let cluster = ClusterConfig { bootstrap: broker.bootstrap(), ..ClusterConfig::default() };
    let watch = CoordinatorWatch::default();
    let producer = RdTxnProducer::new(&cluster, "id", PATIENCE, watch, 1 << 20).unwrap();
    producer.init(PATIENCE).unwrap();
    producer.begin().unwrap();
    let kind = FaultKind::Error(NOT_ENOUGH_REPLICAS);
    broker.inject(Fault { api: ApiKey::Produce, skip: 0, times: u32::MAX, kind });
    let mut outputs = Outputs::default();
    for topic in ["output", "changes", "output"] {
        outputs.record(topic).finish();
    }
    outputs.iter().for_each(|output| producer.send(output).unwrap());
    let error = producer.flush(Duration::from_secs(1)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("3 records for `changes`, `output` not acknowledged within 1s"),
        "{text}"
    );
    assert_eq!((error.disposition, error.cause), (Disposition::Recover, Cause::Outage));
}

/// The broker aborts transactions after a second.
fn short() -> EosConfig {
    EosConfig::default().transaction_timeout(Duration::from_secs(1)).unwrap()
}

#[test]
fn c1_an_event_that_outlives_its_transaction_is_replayed() {
    let world = World::new();
    let source = world.builder(&[3_000, 0]).eos(short()).start().unwrap();
    world.send(&Step::Later("w".to_owned()));
    assert_eq!(world.outputs(1), counted(1));
    world.send(&count());
    assert_eq!(world.outputs(2), counted(2));
    source.stop();
    source.wait().unwrap();
}

#[test]
fn c1_an_event_that_outlives_its_transaction_twice_is_named() {
    let world = World::new();
    let source = world.builder(&[3_000]).eos(short()).start().unwrap();
    world.send(&count());
    assert_eq!(world.outputs(1), counted(1));
    world.send(&Step::Later("w".to_owned()));
    let error = source.wait().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("input-0@1") && text.contains("`Later`"), "{text}");
    assert!(text.contains("`transaction_timeout`") && text.contains("1s"), "{text}");
    assert_eq!(world.outputs(1), counted(1), "nothing of it is committed");
}

#[test]
fn c1_a_handler_that_blocks_while_its_transaction_times_out() {
    let world = World::new();
    world.send_all(&[count(), Step::Sleep(3_000), count()]);
    let source = world.builder(&[0]).eos(short()).start().unwrap();
    assert_eq!(world.outputs(3), ["w=1", "slept=1", "w=2"]);
    world.send(&count());
    assert_eq!(world.outputs(4).last().unwrap(), "w=3");
    source.stop();
    source.wait().unwrap();
}
