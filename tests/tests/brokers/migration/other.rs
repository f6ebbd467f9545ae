//! The other clients' consumers: plain ones of librdkafka, and Kafka's own console consumer.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use streams_tests::kafka;
use streams_tests::workload::now_us;

use super::{PATIENCE, SESSION, Setting};

const POLL: Duration = Duration::from_millis(5);
/// What a Java machine says that ends on SIGTERM in good order.
const ENDED_BY_SIGTERM: i32 = 143;

/// Something that runs on a thread of its own until it is told to end, at the latest when this is
/// dropped.
pub(super) struct Background<T = ()> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<T>>>,
}

impl<T: Send + 'static> Background<T> {
    pub(super) fn start(body: impl FnOnce(&AtomicBool) -> Result<T> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        Self { stop, thread: Some(std::thread::spawn(move || body(&stopping))) }
    }

    pub(super) fn end(mut self) -> Result<T> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it ends once")?;
        thread.join().map_err(|_| anyhow!("a thread panicked"))?
    }
}

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("{error:#}");
        }
    }
}

/// An update that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) partition: i32,
    /// When it was due, in microseconds since the Unix epoch.
    pub(super) due_us: i64,
    /// When it was read.
    pub(super) at_us: i64,
}

impl Read {
    pub(super) fn waited(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.at_us - self.due_us).unwrap_or(0))
    }
}

/// What the other clients have read.
#[derive(Clone, Default)]
pub(super) struct Reads(Arc<Mutex<Vec<Read>>>);

impl Reads {
    pub(super) fn list(&self) -> Vec<Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, partition: i32, payload: &[u8]) -> Result<()> {
        let update: serde_json::Value = serde_json::from_slice(payload)?;
        let due_us = update["ts"].as_i64().context("a time")?;
        let read = Read { partition, due_us, at_us: now_us() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(read);
        Ok(())
    }
}

/// A consumer of librdkafka, with `range`. As Java's, it commits by the clock, when partitions are
/// taken from it, and at its end.
pub(super) fn plain(setting: &Setting, reads: &Reads) -> Result<Background> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &setting.bootstrap)
        .set("group.id", &setting.name)
        .set("partition.assignment.strategy", "range")
        .set("auto.offset.reset", "earliest")
        .set("auto.commit.interval.ms", "500")
        .set("enable.auto.offset.store", "false")
        .set("session.timeout.ms", SESSION.as_millis().to_string())
        .set("heartbeat.interval.ms", "200")
        .create()?;
    consumer.subscribe(&[&setting.topic("in")])?;
    let reads = reads.clone();
    Ok(Background::start(move |stop| read(&consumer, &reads, stop)))
}

fn read(consumer: &BaseConsumer, reads: &Reads, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(Duration::from_millis(50)) else {
            continue;
        };
        let message = message?;
        reads.add(message.partition(), message.payload().unwrap_or(b""))?;
        // Not when it is polled: that happens again while the consumer is dropped.
        consumer.store_offset_from_message(&message)?;
    }
    Ok(())
}

/// Kafka's console consumer, with `cooperative-sticky`.
pub(super) fn java(setting: &Setting, reads: &Reads) -> Result<Background> {
    let session = format!("session.timeout.ms={}", SESSION.as_millis());
    let properties = [
        &session,
        "partition.assignment.strategy=org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
        "auto.offset.reset=earliest",
        "auto.commit.interval.ms=500",
        "heartbeat.interval.ms=200",
    ];
    // KIP-1147 renamed the options in 4.2. Kafka prints its warning about an old name among the
    // records.
    let (of_consumer, of_formatter) = match kafka::version()? {
        "3.9.1" | "4.1.0" => ("--consumer-property", "--property"),
        _ => ("--command-property", "--formatter-property"),
    };
    let topic = setting.topic("in");
    let mut arguments = vec!["--bootstrap-server", &setting.bootstrap, "--topic", &topic];
    arguments.extend(["--group", &setting.name, of_formatter, "print.partition=true"]);
    arguments.extend(properties.iter().flat_map(|property| [of_consumer, *property]));
    let mut program = kafka::tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &arguments)?;
    let mut output = Output { file: BufReader::new(program.open_stdout()?), line: String::new() };
    let reads = reads.clone();
    Ok(Background::start(move |stop| {
        while !stop.load(Ordering::Relaxed) {
            output.follow(&reads).with_context(|| program.stderr())?;
            std::thread::sleep(POLL);
        }
        program.signal(libc::SIGTERM)?;
        let status = program.wait(PATIENCE)?;
        let is_ordered = status.code() == Some(ENDED_BY_SIGTERM);
        ensure!(is_ordered, "it ended with {status}\n{}", program.stderr());
        output.follow(&reads)
    }))
}

/// What the console consumer prints, a record a line.
struct Output {
    file: BufReader<File>,
    /// The line that is not whole yet.
    line: String,
}

impl Output {
    /// Reads what has come since.
    fn follow(&mut self, reads: &Reads) -> Result<()> {
        while self.file.read_line(&mut self.line)? > 0 {
            let Some(line) = self.line.strip_suffix('\n') else {
                continue;
            };
            let record = line.strip_prefix("Partition:").and_then(|line| line.split_once('\t'));
            let (partition, payload) = record.with_context(|| format!("no record: {line}"))?;
            reads.add(partition.parse()?, payload.as_bytes())?;
            self.line.clear();
        }
        Ok(())
    }
}
