//! A live group of other clients' consumers moves to this framework, member by member, and back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use streams_tests::broker::TestBroker;
use streams_tests::observer::Observer;
use streams_tests::oracle::Total;
use streams_tests::workload::Workload;

use super::running_totals::Setting;

const PATIENCE: Duration = Duration::from_secs(60);
/// Both sides know `range`; among themselves the framework's members use their own.
const ASSIGNORS: [&str; 2] = ["--assignors", "incr_coop,range"];

/// A plain consumer of the group: it commits what it has read, and keeps the time of each update.
struct Plain {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<BTreeSet<i64>>>,
}

impl Plain {
    fn start(setting: &Setting) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &setting.bootstrap)
            .set("group.id", &setting.name)
            .set("partition.assignment.strategy", "range")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "200")
            .create()?;
        consumer.subscribe(&[&setting.topic("in")])?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::spawn(move || read(&consumer, &stopping));
        Ok(Self { stop, thread })
    }

    fn stop(self) -> Result<BTreeSet<i64>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("a plain consumer panicked"))?
    }
}

fn read(consumer: &BaseConsumer, stop: &AtomicBool) -> Result<BTreeSet<i64>> {
    let mut seen = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(Duration::from_millis(50)) else {
            continue;
        };
        let message = message?;
        let update: serde_json::Value = serde_json::from_slice(message.payload().unwrap_or(b""))?;
        seen.insert(update["ts"].as_i64().context("a time")?);
        // A rebalance may come between: then it is read again, by whoever has the partition.
        let _ = consumer.commit_message(&message, CommitMode::Async);
    }
    let _ = consumer.commit_consumer_state(CommitMode::Sync);
    consumer.unsubscribe();
    Ok(seen)
}

pub(crate) fn there_and_back(broker: &TestBroker, prefix: &str) -> Result<()> {
    let setting = Setting::new(broker, prefix)?;
    let workload = Workload { records: 20_000, ids: 200, rate: 1_000, seed: 23 };
    let observer = Observer::start(&setting.bootstrap, &setting.topic("out"))?;
    let mut arguments = vec!["--session-timeout", "6s"];
    arguments.extend(ASSIGNORS);
    let (one, two) = (Plain::start(&setting)?, Plain::start(&setting)?);
    let sender = setting.send(&workload);
    std::thread::sleep(Duration::from_secs(3));
    let mut ours = vec![setting.start_with(&arguments)?];
    std::thread::sleep(Duration::from_secs(2));
    let mut seen = one.stop()?;
    ours.push(setting.start_with(&arguments)?);
    std::thread::sleep(Duration::from_secs(2));
    seen.extend(two.stop()?);
    observer.wait_for(observer.count() + 3_000, PATIENCE).with_context(|| ours[0].stderr())?;
    let three = Plain::start(&setting)?;
    std::thread::sleep(Duration::from_secs(2));
    for member in &mut ours {
        member.stop(PATIENCE).with_context(|| member.stderr())?;
    }
    sender.join().map_err(|_| anyhow!("the sender panicked"))?.context("sending")?;
    std::thread::sleep(Duration::from_secs(5));
    seen.extend(three.stop()?);
    let mut times = BTreeSet::new();
    for one in observer.seen() {
        let total: Total = serde_json::from_slice(&one.payload)?;
        ensure!(times.insert(total.ts), "{total:?}: an update was processed twice");
    }
    let both = seen.union(&times).count();
    eprintln!("{} updates by the framework, {} by plain consumers", times.len(), seen.len());
    ensure!(both == 20_000, "{both} updates of 20,000 were processed: there is a gap");
    Ok(())
}
