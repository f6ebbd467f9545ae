//! What members that come, go and die cost: `incr_coop` with warm copies beside
//! `cooperative-sticky`, whose partitions are restored after they moved.
//!
//! ```sh
//! cargo build --release --examples && cargo run --release -p streams-benches --bin rebalance
//! ```
//!
//! Members of another application come and go first, while records flow: a JVM compiles what it is
//! to do, and what it has not done yet it compiles when it is measured. Then, each way in turn and
//! several times: a changelog of many keys lies there; one member works, at a fixed rate; a second
//! and a third come, one after the other, and the first and the second go again (SIGTERM); at last
//! one of three is killed. A record's latency is from the time it was due to the time at which a
//! `read_committed` consumer has its output, so a partition's longest pause is its greatest
//! latency. The oracle checks every run. At the end a member alone restores everything, if it is
//! much, beside a consumer that only reads it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Parser, ValueEnum};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use streams_benches::measure::{median, quantile};
use streams_benches::reader;
use streams_tests::broker::{TestBroker, create_compacted_topics, create_topics};
use streams_tests::kafka::Kafka;
use streams_tests::observer::{Observer, Seen};
use streams_tests::oracle::check_totals;
use streams_tests::process::{Program, example};
use streams_tests::workload::{Workload, now_us};

const PATIENCE: Duration = Duration::from_secs(180);
const PARTITIONS: i32 = 8;
const IDS: u64 = 200;
const WARM_UP: Duration = Duration::from_secs(10);
const STEADY: Duration = Duration::from_secs(8);
/// Between two changes, so that one is over before the next.
const PAUSE: Duration = Duration::from_secs(1);
/// What a killed member had goes on after its session.
const AFTER_KILL: Duration = Duration::from_secs(6);
const RESTORES: u32 = 3;
/// Fewer records take less time than to connect.
const RESTORED_MIN: u64 = 100_000;

/// Members come, go and die.
#[derive(Parser, Debug)]
struct Args {
    /// What it runs on.
    #[arg(long, value_enum, default_value = "kafka")]
    broker: On,
    /// Records before, each a changelog record of its own key's.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Records of another application before that, at twice the rate, while its members come and
    /// go: a JVM compiles what it is to do.
    #[arg(long, default_value_t = 200_000)]
    warm_up: u64,
    /// Each way so many times, in turn.
    #[arg(long, default_value_t = 3)]
    times: usize,
    /// Records a second.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// How long they are sent at most; all changes must be over by then.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// The session timeout.
    #[arg(long, default_value = "3s")]
    session: String,
    /// Only one of the ways, by its place in the table.
    #[arg(long)]
    only: Option<usize>,
    /// A `running_totals` of another commit: each way runs with it too, in turn.
    #[arg(long)]
    baseline: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum On {
    Kafka,
    Embedded,
}

/// How partitions are shared, and how many warm copies there are all the time.
#[derive(Clone, Copy, Debug)]
struct Way {
    assignor: &'static str,
    standby: &'static str,
}

const WAYS: [Way; 3] = [
    Way { assignor: "incr_coop", standby: "0" },
    Way { assignor: "incr_coop", standby: "1" },
    Way { assignor: "cooperative-sticky", standby: "0" },
];

const COLUMNS: usize = 9;
/// Of latency, in milliseconds.
const FIGURES: [&str; COLUMNS] = [
    "one member, p50 ms",
    "p99",
    "three, p50",
    "p99",
    "moves, p50",
    "p99",
    "p99 of moves by that of one member",
    "longest pause, moves",
    "longest pause, SIGKILL",
];

struct Run<'a> {
    args: &'a Args,
    bootstrap: &'a str,
    name: String,
    way: Way,
    /// Whether the members are those of the other commit.
    is_baseline: bool,
}

impl Run<'_> {
    fn topic(&self, kind: &str) -> String {
        format!("{}-{kind}", self.name)
    }

    fn member(&self) -> Result<Program> {
        let (input, output) = (self.topic("in"), self.topic("out"));
        let changelog = self.topic("changelog");
        let arguments = [
            ("--bootstrap", self.bootstrap),
            ("--group", &self.name),
            ("--input", &input),
            ("--output", &output),
            ("--changelog", &changelog),
            ("--assignors", self.way.assignor),
            ("--session-timeout", &self.args.session),
            ("--standby", self.way.standby),
        ];
        let arguments: Vec<&str> = arguments.iter().flat_map(|(name, v)| [*name, *v]).collect();
        match self.args.baseline.as_ref().filter(|_| self.is_baseline) {
            Some(program) => Program::start(program, &arguments),
            None => Program::start(&example("running_totals")?, &arguments),
        }
    }

    /// A member more; waits until it has so many partitions.
    fn join(&self, partitions: usize) -> Result<Program> {
        let member = self.member()?;
        await_lines(&member, " active ", partitions)?;
        Ok(member)
    }

    /// A member that has all partitions, and who reads what it writes.
    fn start(&self) -> Result<(Program, Observer)> {
        let topics = ["in", "out"].map(|kind| self.topic(kind));
        let topics: Vec<(&str, i32)> = topics.iter().map(|t| (t.as_str(), PARTITIONS)).collect();
        create_topics(self.bootstrap, &topics)?;
        create_compacted_topics(self.bootstrap, &[(&self.topic("changelog"), PARTITIONS)])?;
        let observer = Observer::start(self.bootstrap, &self.topic("out"))?;
        Ok((self.join(8)?, observer))
    }

    /// Others come and go while the records flow.
    fn warm_up(&self) -> Result<()> {
        let Args { warm_up: records, rate, .. } = *self.args;
        let (mut first, observer) = self.start()?;
        let load = Workload { records, ids: IDS, rate: 2 * rate, seed: 1 };
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| load.send(self.bootstrap, &self.topic("in")));
            while !sender.is_finished() {
                for mut other in [self.join(4)?, self.join(2)?] {
                    other.stop(PATIENCE).with_context(|| other.stderr())?;
                }
                std::thread::sleep(PAUSE);
            }
            sender.join().map_err(|_| anyhow!("the sender panicked"))?
        })?;
        observer.finish(usize::try_from(records)?, PATIENCE).with_context(|| first.stderr())?;
        first.stop(PATIENCE).with_context(|| first.stderr())
    }

    /// Fills the changelog, then lets members come and go. Returns the table's row.
    fn run(&self) -> Result<[f64; COLUMNS]> {
        let Args { records, rate, seconds, .. } = *self.args;
        let before = Workload { records, ids: records.max(1), rate: 0, seed: 1 };
        let (mut first, observer) = self.start()?;
        before.send(self.bootstrap, &self.topic("in"))?;
        let filled = usize::try_from(records)?;
        observer.wait_for(filled, PATIENCE).with_context(|| first.stderr())?;
        let load = Workload { records: rate * seconds, ids: IDS, rate, seed: 1 };
        let (sends, to, input) = (load.clone(), self.bootstrap.to_owned(), self.topic("in"));
        let go_on = Arc::new(AtomicBool::new(true));
        let goes_on = Arc::clone(&go_on);
        let sender = std::thread::spawn(move || {
            sends.send_while(&to, &input, || goes_on.load(Ordering::Relaxed))
        });
        std::thread::sleep(WARM_UP);
        let steady_us = now_us();
        std::thread::sleep(STEADY);
        let moving_us = now_us();
        let mut second = self.join(4)?;
        let mut third = self.join(2)?;
        let three_us = now_us();
        std::thread::sleep(PAUSE + STEADY);
        let leaving_us = now_us();
        first.stop(PATIENCE).with_context(|| first.stderr())?;
        second.stop(PATIENCE).with_context(|| second.stderr())?;
        let moved_us = now_us();
        std::thread::sleep(PAUSE);
        let others = [self.join(4)?, self.join(2)?];
        std::thread::sleep(3 * PAUSE);
        let killed_us = now_us();
        third.kill()?;
        std::thread::sleep(AFTER_KILL);
        ensure!(!sender.is_finished(), "the load ended before the changes: --seconds");
        go_on.store(false, Ordering::Relaxed);
        let sent = sender.join().map_err(|_| anyhow!("the sender panicked"))??;
        let load = Workload { records: sent, ..load };
        let all = usize::try_from(records + sent)?;
        let logs = || others.iter().map(Program::stderr).collect::<String>();
        let seen = observer.finish(all, PATIENCE).with_context(logs)?;
        let mut totals = before.totals();
        for (id, (count, sum)) in load.totals() {
            let total = totals.entry(id).or_default();
            *total = (total.0 + count, total.1 + sum);
        }
        let payloads: Vec<_> = seen.iter().map(|one| one.payload.clone()).collect();
        check_totals(&payloads, &totals)?;
        for mut member in others {
            member.stop(PATIENCE).with_context(|| member.stderr())?;
        }
        let during = |from: i64, to: i64| latencies(&seen[filled..], from, to);
        let (steady, three) = (during(steady_us, moving_us), during(three_us, leaving_us));
        let mut moving = during(moving_us, three_us);
        moving.extend(during(leaving_us, moved_us));
        moving.sort_by(f64::total_cmp);
        let crash = during(killed_us - 1_000_000, i64::MAX);
        Ok([
            quantile(&steady, 0.5),
            quantile(&steady, 0.99),
            quantile(&three, 0.5),
            quantile(&three, 0.99),
            quantile(&moving, 0.5),
            quantile(&moving, 0.99),
            quantile(&moving, 0.99) / quantile(&steady, 0.99),
            quantile(&moving, 1.0),
            quantile(&crash, 1.0),
        ])
    }

    /// Records a second that a member alone restores, and that a consumer reads.
    fn restores(&self) -> Result<(f64, f64)> {
        let mut rates = (Vec::new(), Vec::new());
        for _ in 0..RESTORES {
            let mut member = self.member()?;
            await_lines(&member, " joined ", 1)?;
            let begun = Instant::now();
            await_lines(&member, " active ", usize::try_from(PARTITIONS)?)?;
            let took = begun.elapsed();
            let restored: u64 = member.stderr().lines().filter_map(restored).sum();
            rates.0.push(per_second(restored, took));
            member.stop(PATIENCE).with_context(|| member.stderr())?;
            let (read, took) = read_all(self.bootstrap, &self.topic("changelog"))?;
            rates.1.push(per_second(read, took));
            println!("restored {restored}, read {read}: {:.0?}, {:.0?}", rates.0, rates.1);
        }
        Ok((median(&rates.0), median(&rates.1)))
    }
}

/// The records of a log line that says that a partition is restored.
fn restored(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(" restored ")?;
    let (_, number) = rest.split_once("records=")?;
    number.split_whitespace().next()?.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "so many are not read")]
fn per_second(records: u64, took: Duration) -> f64 {
    records as f64 / took.as_secs_f64()
}

/// Reads a topic to its end, and drops what it reads. The time is from before the client is made,
/// as a member's; it asks for metadata first, or librdkafka waits for half a second to know a
/// leader.
fn read_all(bootstrap: &str, topic: &str) -> Result<(u64, Duration)> {
    let begun = Instant::now();
    let consumer: BaseConsumer =
        reader::config(bootstrap).set("enable.partition.eof", "true").create()?;
    consumer.fetch_metadata(Some(topic), PATIENCE)?;
    consumer.assign(&reader::beginning(topic, PARTITIONS)?)?;
    let (mut read, mut open) = (0, PARTITIONS);
    while open > 0 {
        ensure!(begun.elapsed() < PATIENCE, "{read} records");
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(_)) => read += 1,
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(error.into()),
        }
    }
    Ok((read, begun.elapsed()))
}

/// In milliseconds, sorted, of the records that were due in that time.
fn latencies(seen: &[Seen], from_us: i64, to_us: i64) -> Vec<f64> {
    let due = seen.iter().filter(|one| (from_us..to_us).contains(&one.due_us));
    let mut millis: Vec<f64> = due.map(|one| one.latency().as_secs_f64() * 1_000.0).collect();
    millis.sort_by(f64::total_cmp);
    millis
}

fn await_lines(member: &Program, text: &str, count: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while member.stderr().lines().filter(|line| line.contains(text)).count() < count {
        ensure!(Instant::now() < deadline, "no {count} times `{text}`: {}", member.stderr());
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn main() -> Result<()> {
    let args = Args::parse();
    let broker = match args.broker {
        On::Kafka => TestBroker::Kafka(Kafka::start_with(&["-Xmx1g"])?),
        On::Embedded => TestBroker::embedded()?,
    };
    let bootstrap = broker.bootstrap();
    let named = |(way, is_baseline), name: String| {
        let bootstrap = bootstrap.as_str();
        Run { args: &args, bootstrap, name, way, is_baseline }
    };
    let id = std::process::id();
    if args.warm_up > 0 {
        named((WAYS[0], false), format!("rebalance-warm-up-{id}")).warm_up()?;
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{:?}, {} records before; load before: {}\n", args.broker, args.records, load.trim());
    println!("| assignor, standbys | {} |\n|---|{}", FIGURES.join(" | "), "---|".repeat(COLUMNS));
    let ways: Vec<Way> = match args.only {
        Some(only) => vec![*WAYS.get(only).context("--only: there is no such way")?],
        None => WAYS.to_vec(),
    };
    let programs: &[bool] = if args.baseline.is_some() { &[false, true] } else { &[false] };
    let with = |way: &Way| programs.iter().map(|is_baseline| (*way, *is_baseline)).collect();
    let ways: Vec<(Way, bool)> = ways.iter().flat_map(|way| -> Vec<_> { with(way) }).collect();
    let mut rows = vec![Vec::new(); ways.len()];
    let mut last = None;
    for time in 0..args.times {
        for (place, way) in ways.iter().enumerate() {
            let run = named(*way, format!("rebalance-{place}-{time}-{id}"));
            let figures = run.run().with_context(|| run.name.clone())?;
            println!("{}", row(way, "", &figures));
            rows[place].push(figures);
            last = Some(run);
        }
    }
    for (way, rows) in ways.iter().zip(&rows) {
        let column = |at: usize| median(&rows.iter().map(|row| row[at]).collect::<Vec<f64>>());
        println!("{}", row(way, ", median", &std::array::from_fn(column)));
    }
    if let Some(run) = last.filter(|_| args.records >= RESTORED_MIN) {
        let (ours, bare) = run.restores()?;
        println!("\nrestore {ours:.0} records/s, bare {bare:.0}: {:.2}", ours / bare);
    }
    Ok(())
}

fn row((way, is_baseline): &(Way, bool), note: &str, figures: &[f64; COLUMNS]) -> String {
    let figures: Vec<String> = figures.iter().map(|figure| format!("{figure:.1}")).collect();
    let program = if *is_baseline { ", baseline" } else { "" };
    format!("| {}, {}{program}{note} | {} |", way.assignor, way.standby, figures.join(" | "))
}
