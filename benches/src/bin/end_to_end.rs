//! `running_totals` beside a bare rdkafka pool, on one node of Apache Kafka, in one run.
//!
//! ```sh
//! cargo build --release --examples && cargo run --release -p streams-benches --bin end_to_end
//! ```
//!
//! Rounds in turn, medians, a table. Throughput: the records lie there, and are read as fast as it
//! goes. Latency: an open loop; a record's latency is from the time it was due to the time at which
//! a `read_committed` consumer has its output. The oracle checks every run.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use streams_benches::measure::{cpu_seconds, median, peak_memory_mib, quantile};
use streams_benches::reader;
use streams_tests::broker::{create_compacted_topics, create_topics};
use streams_tests::kafka::Kafka;
use streams_tests::oracle::{Total, check_totals};
use streams_tests::process::{Program, example};
use streams_tests::workload::{Workload, now_us};

const PATIENCE: Duration = Duration::from_secs(180);
const PARTITIONS: i32 = 8;
const OURS: &str = "running_totals";
const POOL: &str = "pool";
const BASELINE: &str = "baseline";

/// Throughput and latency beside a bare rdkafka pool.
#[derive(Parser, Debug)]
struct Args {
    /// A broker that runs already; by default one is started.
    #[arg(long)]
    bootstrap: Option<String>,
    /// Records of a throughput run.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Records a second of a latency run.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Seconds that a latency run is measured, after ten of warm-up.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Only `throughput` or `latency`.
    #[arg(long)]
    only: Option<String>,
    /// A `running_totals` of another commit, which takes the place of the pool.
    #[arg(long)]
    baseline: Option<PathBuf>,
}

impl Args {
    fn implementations(&self) -> [&'static str; 2] {
        [OURS, if self.baseline.is_some() { BASELINE } else { POOL }]
    }

    fn program(&self, implementation: &str) -> Result<PathBuf> {
        match (implementation, &self.baseline) {
            (OURS, _) => example(OURS),
            (BASELINE, Some(program)) => Ok(program.clone()),
            _ => Ok(std::env::current_exe()?.with_file_name(implementation)),
        }
    }
}

/// One run's figures, by name.
type Figures = Vec<(&'static str, f64)>;

const WARM_UP_SECONDS: u64 = 10;
const WARM_UP_RECORDS: u64 = 300_000;

struct Run {
    bootstrap: String,
    name: String,
    program: PathBuf,
}

impl Run {
    fn topic(&self, kind: &str) -> String {
        format!("{}-{kind}", self.name)
    }

    fn prepare(&self) -> Result<()> {
        let topics = ["in", "out"].map(|kind| self.topic(kind));
        let topics: Vec<(&str, i32)> = topics.iter().map(|t| (t.as_str(), PARTITIONS)).collect();
        create_topics(&self.bootstrap, &topics)?;
        create_compacted_topics(&self.bootstrap, &[(&self.topic("changelog"), PARTITIONS)])
    }

    fn start(&self) -> Result<Program> {
        let partitions = PARTITIONS.to_string();
        let (input, output) = (self.topic("in"), self.topic("out"));
        let changelog = self.topic("changelog");
        let arguments = [
            ("--bootstrap", self.bootstrap.as_str()),
            ("--group", &self.name),
            ("--input", &input),
            ("--output", &output),
            ("--changelog", &changelog),
            ("--partitions", &partitions),
            ("--instance", "bench"),
        ];
        let arguments: Vec<&str> = arguments.iter().flat_map(|(name, v)| [*name, *v]).collect();
        Program::start(&self.program, &arguments)
    }

    fn reader(&self) -> Result<BaseConsumer> {
        let consumer: BaseConsumer =
            reader::config(&self.bootstrap).set("enable.partition.eof", "true").create()?;
        consumer.assign(&reader::beginning(&self.topic("out"), PARTITIONS)?)?;
        // A client's own start takes up to a second, and is not what is measured.
        let started = Instant::now();
        let mut ends = 0;
        while ends < PARTITIONS {
            anyhow::ensure!(started.elapsed() < PATIENCE, "the reader does not start");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Err(KafkaError::PartitionEOF(_))) => ends += 1,
                Some(other) => anyhow::bail!("an output before the start: {other:?}"),
                None => {}
            }
        }
        Ok(consumer)
    }

    /// The next output, if one comes soon.
    fn next(consumer: &BaseConsumer) -> Result<Option<Vec<u8>>> {
        match consumer.poll(Duration::from_millis(100)) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => Ok(None),
            Some(message) => Ok(Some(message?.payload().unwrap_or_default().to_vec())),
        }
    }

    fn throughput(&self, records: u64) -> Result<Figures> {
        self.prepare()?;
        let workload = Workload { records, ids: 10_000, rate: 0, seed: 1 };
        workload.send(&self.bootstrap, &self.topic("in"))?;
        let consumer = self.reader()?;
        let started = Instant::now();
        let mut program = self.start()?;
        let (mut first, mut outputs) = (None, Vec::new());
        while (outputs.len() as u64) < records {
            anyhow::ensure!(started.elapsed() < PATIENCE, "too slow: {}", program.stderr());
            if let Some(payload) = Self::next(&consumer)? {
                first.get_or_insert_with(|| started.elapsed());
                outputs.push(payload);
            }
        }
        let took = started.elapsed();
        let first = first.context("no output")?;
        let cpu = cpu_seconds(program.pid())?;
        let memory = peak_memory_mib(program.pid())?;
        program.stop(PATIENCE)?;
        check_totals(&outputs, &workload.totals())?;
        #[expect(clippy::cast_precision_loss, reason = "so many are not sent")]
        let records = records as f64;
        Ok(vec![
            ("records/s", records / (took - first).as_secs_f64()),
            ("CPU us/record", cpu * 1e6 / records),
            ("peak MiB", memory),
            ("start to first output, s", first.as_secs_f64()),
        ])
    }

    fn latency(&self, rate: u64, seconds: u64) -> Result<Figures> {
        self.prepare()?;
        let records = rate * (WARM_UP_SECONDS + seconds);
        let workload = Workload { records, ids: 10_000, rate, seed: 1 };
        let consumer = self.reader()?;
        let mut program = self.start()?;
        std::thread::sleep(Duration::from_secs(3));
        let (sent, bootstrap, input) = (workload.clone(), self.bootstrap.clone(), self.topic("in"));
        let sender = std::thread::spawn(move || sent.send(&bootstrap, &input));
        let warm = now_us() + i64::try_from(WARM_UP_SECONDS * 1_000_000)?;
        let (started, mut outputs, mut latencies) = (Instant::now(), Vec::new(), Vec::new());
        while (outputs.len() as u64) < records {
            anyhow::ensure!(started.elapsed() < PATIENCE, "too slow: {}", program.stderr());
            let Some(payload) = Self::next(&consumer)? else {
                continue;
            };
            let now = now_us();
            let total: Total = serde_json::from_slice(&payload)?;
            if total.ts >= warm {
                let micros = i32::try_from(now - total.ts).unwrap_or(i32::MAX);
                latencies.push(f64::from(micros) / 1_000.0);
            }
            outputs.push(payload);
        }
        sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        let cpu = cpu_seconds(program.pid())?;
        program.stop(PATIENCE)?;
        check_totals(&outputs, &workload.totals())?;
        latencies.sort_by(f64::total_cmp);
        let took = started.elapsed().as_secs_f64();
        Ok(vec![
            ("p50 ms", quantile(&latencies, 0.5)),
            ("p90 ms", quantile(&latencies, 0.9)),
            ("p99 ms", quantile(&latencies, 0.99)),
            ("max ms", quantile(&latencies, 1.0)),
            ("cores", cpu / took),
        ])
    }
}

fn table(mode: &str, implementations: [&str; 2], runs: &[(&'static str, Figures)]) {
    let [ours, other] = implementations;
    println!("\n### {mode}\n\n| figure | {ours} | {other} | ratio |\n|---|---|---|---|");
    let names: Vec<&str> = runs.iter().take(1).flat_map(|(_, f)| f.iter().map(|f| f.0)).collect();
    for name in names {
        let [ours, other] = implementations.map(|implementation| {
            let of = runs.iter().filter(|(i, _)| *i == implementation);
            let values = of.flat_map(|(_, f)| f.iter().filter(|f| f.0 == name).map(|f| f.1));
            median(&values.collect::<Vec<_>>())
        });
        println!("| {name} | {ours:.2} | {other:.2} | {:.2} |", ours / other);
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let kafka = match &args.bootstrap {
        Some(_) => None,
        None => Some(Kafka::start_with(&["-Xmx1g"])?),
    };
    let bootstrap = match (&args.bootstrap, &kafka) {
        (Some(bootstrap), _) => bootstrap.clone(),
        (None, kafka) => kafka.as_ref().map(Kafka::bootstrap).context("a broker")?,
    };
    let cores = std::thread::available_parallelism()?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{cores} cores, shared with the broker and the reader; load before: {}", load.trim());
    // A broker that was just started is slow: nobody is measured on it.
    let run_of = |implementation: &str, name: String| -> Result<Run> {
        Ok(Run { bootstrap: bootstrap.clone(), name, program: args.program(implementation)? })
    };
    let implementations = args.implementations();
    for implementation in implementations {
        let run =
            run_of(implementation, format!("warm-up-{implementation}-{}", std::process::id()))?;
        run.throughput(WARM_UP_RECORDS).context("warming up")?;
    }
    for mode in ["throughput", "latency"] {
        if args.only.as_deref().is_some_and(|only| only != mode) {
            continue;
        }
        let mut runs = Vec::new();
        for round in 0..args.rounds {
            let mut in_turn = implementations;
            if round % 2 == 1 {
                in_turn.reverse();
            }
            for implementation in in_turn {
                let name = format!("{mode}-{implementation}-{round}-{}", std::process::id());
                let run = run_of(implementation, name)?;
                let figures = match mode {
                    "throughput" => run.throughput(args.records),
                    _ => run.latency(args.rate, args.seconds),
                };
                let figures = figures.with_context(|| run.name.clone())?;
                println!("{mode} {implementation} {round}: {figures:?}");
                runs.push((implementation, figures));
            }
        }
        table(mode, implementations, &runs);
    }
    Ok(())
}
