//! An error at each step of a transaction, under load; the oracle is on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use streams_broker::cluster::codes::{
    CONCURRENT_TRANSACTIONS, ILLEGAL_GENERATION, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE,
    NOT_COORDINATOR, NOT_ENOUGH_REPLICAS, OUT_OF_ORDER_SEQUENCE_NUMBER, PRODUCER_FENCED,
    UNKNOWN_MEMBER_ID, UNKNOWN_SERVER_ERROR,
};
use streams_broker::{ApiKey, Fault, FaultKind};
use streams_tests::broker::TestBroker;
use streams_tests::kafka::Kafka;
use streams_tests::proxy::{Lost, ProxyFault};
use streams_tests::workload::Workload;

use super::group::await_active;
use super::running_totals::{Setting, rate};

const PATIENCE: Duration = Duration::from_secs(90);

/// Produce, offsets, commit: refused in a way that is retried, refused in a way that aborts, done
/// with the reply lost, done and answered with an error.
const FAULTS: [(ApiKey, FaultKind); 17] = [
    (ApiKey::Produce, FaultKind::Error(NOT_ENOUGH_REPLICAS)),
    (ApiKey::Produce, FaultKind::Error(OUT_OF_ORDER_SEQUENCE_NUMBER)),
    (ApiKey::Produce, FaultKind::LoseReply),
    (ApiKey::AddPartitionsToTxn, FaultKind::Error(CONCURRENT_TRANSACTIONS)),
    (ApiKey::AddPartitionsToTxn, FaultKind::LoseReply),
    (ApiKey::AddOffsetsToTxn, FaultKind::Error(NOT_COORDINATOR)),
    (ApiKey::AddOffsetsToTxn, FaultKind::LoseReply),
    (ApiKey::TxnOffsetCommit, FaultKind::Error(ILLEGAL_GENERATION)),
    (ApiKey::TxnOffsetCommit, FaultKind::Error(UNKNOWN_MEMBER_ID)),
    (ApiKey::TxnOffsetCommit, FaultKind::LoseReply),
    (ApiKey::EndTxn, FaultKind::Error(INVALID_TXN_STATE)),
    (ApiKey::EndTxn, FaultKind::Error(CONCURRENT_TRANSACTIONS)),
    (ApiKey::EndTxn, FaultKind::LoseReply),
    (ApiKey::EndTxn, FaultKind::DoneThenError(UNKNOWN_SERVER_ERROR)),
    (ApiKey::EndTxn, FaultKind::DoneThenError(INVALID_PRODUCER_EPOCH)),
    (ApiKey::EndTxn, FaultKind::DoneThenError(INVALID_TXN_STATE)),
    (ApiKey::EndTxn, FaultKind::DoneThenError(PRODUCER_FENCED)),
];

/// The requests of a transaction, by Kafka's numbers: Produce, AddPartitionsToTxn, AddOffsetsToTxn,
/// TxnOffsetCommit, EndTxn.
const STEPS: [i16; 5] = [0, 24, 25, 28, 26];

/// On Apache Kafka, through a proxy: of each step a request is lost, and then a reply.
pub(crate) fn lost_on_kafka() -> Result<()> {
    let (kafka, proxy) = Kafka::start_behind_proxy()?;
    let broker = TestBroker::Kafka(kafka);
    let setting = Setting::new(&broker, "lost")?;
    let workload = Workload { records: 20 * rate(), ids: 200, rate: rate(), seed: 9 };
    let sender = setting.send(&workload);
    let mut program = setting.start("a")?;
    await_active(&program, 8)?;
    for api in STEPS {
        for lost in [Lost::Request, Lost::Reply] {
            proxy.inject(ProxyFault { api, skip: 3, lost });
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?;
    sent.context("sending")?;
    setting.check(&workload).with_context(|| program.stderr())?;
    ensure!(proxy.pending() == 0, "{} faults hit nothing", proxy.pending());
    program.stop(PATIENCE)?;
    setting.check(&workload)?;
    setting.check_ticks()
}

/// JoinGroup's number.
const JOIN_GROUP: i16 = 11;

/// D2: the JoinGroup of a static member is swallowed on its way to Apache Kafka. A generation
/// begins without the member, another member is assigned what it has, and it comes back.
pub(crate) fn missed_generation() -> Result<()> {
    let (kafka, proxy) = Kafka::start_behind_proxy()?;
    let broker = TestBroker::Kafka(kafka);
    let setting = Setting::new(&broker, "missed")?;
    let workload = Workload { records: 10_000, ids: 200, rate: 1_000, seed: 23 };
    let start = |instance| {
        let times = ["--session-timeout", "20s", "--rebalance-timeout", "4s"];
        setting.start_with(&[&["--instance", instance][..], &times].concat())
    };
    let mut late = start("late")?;
    super::group::await_active(&late, 8)?;
    let sender = setting.send(&workload);
    std::thread::sleep(Duration::from_millis(500));
    // The new member's JoinGroup passes.
    proxy.inject(ProxyFault { api: JOIN_GROUP, skip: 1, lost: Lost::Silently });
    let mut other = start("other")?;
    let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?;
    sent.context("sending")?;
    ensure!(proxy.pending() == 0, "the JoinGroup was not swallowed");
    let logs = || format!("{}\n{}", late.stderr(), other.stderr());
    setting.check(&workload).with_context(logs)?;
    ensure!(late.stderr().contains("has missed"), "{}", late.stderr());
    late.stop(PATIENCE)?;
    other.stop(PATIENCE)?;
    setting.check(&workload)?;
    setting.check_ticks()
}

/// The broker goes away under load, and comes back after three seconds.
pub(crate) fn kafka_restarts() -> Result<()> {
    let broker = TestBroker::Kafka(Kafka::start()?);
    let setting = Setting::new(&broker, "restart")?;
    let workload = Workload { records: 16 * rate(), ids: 200, rate: rate(), seed: 19 };
    let sender = setting.send(&workload);
    let mut program = setting.start("a")?;
    await_active(&program, 8)?;
    std::thread::sleep(Duration::from_millis(1_000));
    let TestBroker::Kafka(mut kafka) = broker else {
        unreachable!("it was made so");
    };
    kafka.restart(Duration::from_secs(3))?;
    setting.finish(&workload, sender, &mut program)
}

pub(crate) fn each_step(broker: &TestBroker, prefix: &str) -> Result<()> {
    let setting = Setting::new(broker, prefix)?;
    let workload = Workload { records: 16 * rate(), ids: 200, rate: rate(), seed: 5 };
    let sender = setting.send(&workload);
    let mut program = setting.start("a")?;
    await_active(&program, 8)?;
    for (api, kind) in FAULTS {
        broker.inject(Fault { api, skip: 3, times: 1, kind })?;
        std::thread::sleep(Duration::from_millis(400));
    }
    setting.finish(&workload, sender, &mut program)
}
