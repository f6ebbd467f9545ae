//! The embedded broker beside Apache Kafka, each a process of its own, in one run.
//!
//! ```sh
//! cargo build --release -p streams-broker && cargo run --release -p streams-benches --bin broker
//! ```
//!
//! Rounds in turn, medians, a table. The client is librdkafka for both; it, the broker under test
//! and nothing else shares the machine. Start and memory are those of brokers that were just
//! started; the other figures those of one of each that has been warmed up.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use streams_benches::measure::{cpu_seconds, median, memory_mib, quantile};
use streams_benches::reader;
use streams_tests::broker::{create_topics, delete_topic};
use streams_tests::kafka::Kafka;
use streams_tests::probe;
use streams_tests::process::Program;

const PATIENCE: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 8;
const VALUE: [u8; 100] = [b'v'; 100];
const WARM_UP_RECORDS: u32 = 300_000;
const WARM_UP_TRANSACTIONS: u32 = 100;
/// Between two transactions: a transactional id that is used again at once meets a fixed retry.
const PAUSE: Duration = Duration::from_millis(25);
const BROKERS: [Kind; 2] = [Kind::Embedded, Kind::Kafka];

/// The embedded broker beside Apache Kafka.
#[derive(Parser, Debug)]
struct Args {
    /// Records of a round.
    #[arg(long, default_value_t = 1_000_000)]
    records: u32,
    /// Transactions of a round.
    #[arg(long, default_value_t = 300)]
    transactions: u32,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// One round's figures, by name.
type Figures = Vec<(&'static str, f64)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Embedded,
    Kafka,
}

#[derive(Debug)]
enum Process {
    Embedded(Program),
    Kafka(Kafka),
}

/// A running broker.
#[derive(Debug)]
struct Server {
    process: Process,
    bootstrap: String,
    first_answer: Duration,
}

impl Server {
    fn start(kind: Kind) -> Result<Self> {
        if kind == Kind::Kafka {
            let kafka = Kafka::start_with(&["-Xmx1g"])?;
            let (bootstrap, first_answer) = (kafka.bootstrap(), kafka.first_answer());
            return Ok(Self { process: Process::Kafka(kafka), bootstrap, first_answer });
        }
        let bootstrap = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let path = std::env::current_exe()?.with_file_name("streams-broker");
        let begun = Instant::now();
        let program = Program::start(&path, &["--listen", &bootstrap])?;
        probe::await_answer(&bootstrap).with_context(|| program.stderr())?;
        let first_answer = begun.elapsed();
        Ok(Self { process: Process::Embedded(program), bootstrap, first_answer })
    }

    fn pid(&self) -> u32 {
        match &self.process {
            Process::Embedded(program) => program.pid(),
            Process::Kafka(kafka) => kafka.pid(),
        }
    }

    /// Sends records, and waits until all are acknowledged.
    fn produce(&self, topic: &str, records: u32) -> Result<Duration> {
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "200000")
            .create()?;
        let begun = Instant::now();
        for number in 0..records {
            let partition = i32::try_from(number)? % PARTITIONS;
            let mut record = BaseRecord::<(), _>::to(topic).payload(&VALUE).partition(partition);
            while let Err((error, back)) = producer.send(record) {
                let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
                ensure!(error == full, "sending: {error}");
                std::thread::sleep(Duration::from_millis(1));
                record = back;
            }
        }
        producer.flush(PATIENCE)?;
        Ok(begun.elapsed())
    }

    /// Reads records from the beginning.
    fn fetch(&self, topic: &str, records: u32) -> Result<Duration> {
        let consumer: BaseConsumer = reader::config(&self.bootstrap).create()?;
        let list = reader::beginning(topic, PARTITIONS)?;
        let begun = Instant::now();
        consumer.assign(&list)?;
        let mut read = 0;
        while read < records {
            ensure!(begun.elapsed() < PATIENCE, "{read} records of {records}");
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                message?;
                read += 1;
            }
        }
        Ok(begun.elapsed())
    }

    fn throughput(&self, topic: &str, records: u32) -> Result<Figures> {
        create_topics(&self.bootstrap, &[(topic, PARTITIONS)])?;
        let idle = cpu_seconds(self.pid())?;
        let produced = self.produce(topic, records)?;
        let between = cpu_seconds(self.pid())?;
        let fetched = self.fetch(topic, records)?;
        let done = cpu_seconds(self.pid())?;
        delete_topic(&self.bootstrap, topic)?;
        let count = f64::from(records);
        Ok(vec![
            ("produce, records/s", count / produced.as_secs_f64()),
            ("fetch, records/s", count / fetched.as_secs_f64()),
            ("produce, broker's CPU us/record", (between - idle) * 1e6 / count),
            ("fetch, broker's CPU us/record", (done - between) * 1e6 / count),
        ])
    }

    /// Transactions of one record: begin, send, acknowledged, commit.
    fn latency(&self, topic: &str, transactions: u32) -> Result<Figures> {
        create_topics(&self.bootstrap, &[(topic, PARTITIONS)])?;
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("transactional.id", topic)
            .set("linger.ms", "0")
            .set("retry.backoff.ms", "1")
            .create()?;
        producer.init_transactions(PATIENCE)?;
        let (mut whole, mut commits) = (Vec::new(), Vec::new());
        for _ in 0..transactions {
            std::thread::sleep(PAUSE);
            let begun = Instant::now();
            producer.begin_transaction()?;
            let record = BaseRecord::<(), _>::to(topic).payload(&VALUE).partition(0);
            producer.send(record).map_err(|(error, _)| error)?;
            // Its own flush would sleep in steps of 100 ms.
            while producer.in_flight_count() > 0 {
                producer.poll(Duration::ZERO);
                std::thread::sleep(Duration::from_micros(50));
            }
            let acknowledged = Instant::now();
            producer.commit_transaction(PATIENCE)?;
            whole.push(begun.elapsed().as_secs_f64() * 1e3);
            commits.push(acknowledged.elapsed().as_secs_f64() * 1e3);
        }
        delete_topic(&self.bootstrap, topic)?;
        whole.sort_by(f64::total_cmp);
        commits.sort_by(f64::total_cmp);
        Ok(vec![
            ("transaction, p50 ms", quantile(&whole, 0.5)),
            ("transaction, p99 ms", quantile(&whole, 0.99)),
            ("its commit, p50 ms", quantile(&commits, 0.5)),
            ("its commit, p99 ms", quantile(&commits, 0.99)),
        ])
    }
}

/// What a broker that was just started takes, alone and with records.
fn fresh(kind: Kind, records: u32) -> Result<Figures> {
    let server = Server::start(kind)?;
    let empty = memory_mib(server.pid())?;
    create_topics(&server.bootstrap, &[("memory", PARTITIONS)])?;
    server.produce("memory", records)?;
    let full = memory_mib(server.pid())?;
    Ok(vec![
        ("start to first answer, ms", server.first_answer.as_secs_f64() * 1e3),
        ("memory, empty, MiB", empty),
        ("memory, with the records, MiB", full),
    ])
}

fn table(runs: &[(Kind, Figures)]) {
    println!("\n| figure | embedded | Apache Kafka | ratio |\n|---|---|---|---|");
    let of = |kind| runs.iter().filter(move |(of, _)| *of == kind).flat_map(|(_, f)| f);
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in of(Kind::Embedded) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    for name in names {
        let [ours, theirs] = BROKERS.map(|kind| {
            let values: Vec<f64> = of(kind).filter(|f| f.0 == name).map(|f| f.1).collect();
            median(&values)
        });
        println!("| {name} | {ours:.2} | {theirs:.2} | {:.2} |", ours / theirs);
    }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name")).unwrap_or("");
    let model = model.split(": ").nth(1).unwrap_or("a processor without a name");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    format!("{cores} cores, {model}; librdkafka {librdkafka}; load before: {}", load.trim())
}

fn main() -> Result<()> {
    let args = Args::parse();
    println!("{}", machine());
    let mut runs = Vec::new();
    let mut run = |kind: Kind, figures: Result<Figures>| -> Result<()> {
        let figures = figures.with_context(|| format!("{kind:?}"))?;
        println!("{kind:?}: {figures:.2?}");
        runs.push((kind, figures));
        Ok(())
    };
    for _ in 0..args.rounds {
        for kind in BROKERS {
            run(kind, fresh(kind, args.records))?;
        }
    }
    let servers = BROKERS.map(|kind| Server::start(kind).map(|server| (kind, server)));
    let servers: Vec<(Kind, Server)> = servers.into_iter().collect::<Result<_>>()?;
    for (_, server) in &servers {
        server.throughput("warm-up", WARM_UP_RECORDS)?;
        server.latency("warm-up-transactions", WARM_UP_TRANSACTIONS)?;
    }
    for round in 0..args.rounds {
        for (kind, server) in &servers {
            run(*kind, server.throughput(&format!("records-{round}"), args.records))?;
            run(*kind, server.latency(&format!("transactions-{round}"), args.transactions))?;
        }
    }
    table(&runs);
    Ok(())
}
