//! What members that come and go cost: `incr_coop` with warm copies beside `cooperative-sticky`,
//! whose partitions are restored after they moved.
//!
//! ```sh
//! cargo build --release --examples && cargo run --release -p streams-benches --bin rebalance
//! ```
//!
//! A changelog of many keys lies there first. Then one member works, at a fixed rate; a second one
//! comes, takes half of the partitions, and leaves again; at last the first is killed beside a
//! third. A record's latency is from the time it was due to the time at which a `read_committed`
//! consumer has its output, so a partition's longest pause is its greatest latency. The oracle
//! checks every run.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use streams_benches::measure::quantile;
use streams_tests::broker::create_topics;
use streams_tests::kafka::Kafka;
use streams_tests::observer::{Observer, Seen};
use streams_tests::oracle::check_totals;
use streams_tests::process::{Program, example};
use streams_tests::workload::{Workload, now_us};

const PATIENCE: Duration = Duration::from_secs(180);
const PARTITIONS: i32 = 8;
const WAYS: [&str; 2] = ["incr_coop", "cooperative-sticky"];
const STEADY: Duration = Duration::from_secs(8);

/// Members come and go.
#[derive(Parser, Debug)]
struct Args {
    /// A broker that runs already; by default one is started.
    #[arg(long)]
    bootstrap: Option<String>,
    /// Records before, each a changelog record of its own key's.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Records a second.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// The session timeout.
    #[arg(long, default_value = "3s")]
    session: String,
    /// Warm copies all the time.
    #[arg(long, default_value = "0")]
    standby: String,
    /// Only one of the ways.
    #[arg(long)]
    only: Option<String>,
}

struct Run<'a> {
    args: &'a Args,
    bootstrap: &'a str,
    name: String,
    way: &'static str,
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
            ("--assignors", self.way),
            ("--session-timeout", &self.args.session),
            ("--standby", &self.args.standby),
        ];
        let arguments: Vec<&str> = arguments.iter().flat_map(|(name, v)| [*name, *v]).collect();
        Program::start(&example("running_totals")?, &arguments)
    }

    /// Fills the changelog, then lets members come and go. Returns the table's row.
    fn run(&self) -> Result<Vec<f64>> {
        let topics = ["in", "out", "changelog"].map(|kind| self.topic(kind));
        let topics: Vec<(&str, i32)> = topics.iter().map(|t| (t.as_str(), PARTITIONS)).collect();
        create_topics(self.bootstrap, &topics)?;
        let Args { records, rate, .. } = *self.args;
        let before = Workload { records, ids: records.max(1), rate: 0, seed: 1 };
        before.send(self.bootstrap, &self.topic("in"))?;
        let observer = Observer::start(self.bootstrap, &self.topic("out"))?;
        let mut first = self.member()?;
        let filled = usize::try_from(records)?;
        observer.wait_for(filled, PATIENCE).with_context(|| first.stderr())?;
        let load = Workload { records: rate * 60, ids: records.max(1), rate, seed: 1 };
        let (sent, to, input) = (load.clone(), self.bootstrap.to_owned(), self.topic("in"));
        let sender = std::thread::spawn(move || sent.send(&to, &input));
        std::thread::sleep(Duration::from_secs(2));
        let steady_us = now_us();
        std::thread::sleep(STEADY);
        let moving_us = now_us();
        let mut second = self.member()?;
        await_active(&second, 4)?;
        std::thread::sleep(Duration::from_secs(2));
        second.stop(PATIENCE).with_context(|| second.stderr())?;
        let moved_us = now_us();
        let third = self.member()?;
        await_active(&third, 4)?;
        let killed_us = now_us();
        first.kill()?;
        sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        let all = usize::try_from(records + load.records)?;
        let seen = observer.finish(all, PATIENCE).with_context(|| third.stderr())?;
        let mut totals = before.totals();
        for (id, (count, sum)) in load.totals() {
            let total = totals.entry(id).or_default();
            *total = (total.0 + count, total.1 + sum);
        }
        let payloads: Vec<_> = seen.iter().map(|one| one.payload.clone()).collect();
        check_totals(&payloads, &totals)?;
        let during = |from: i64, to: i64| latencies(&seen[filled..], from, to);
        let (steady, moving) = (during(steady_us, moving_us), during(moving_us, moved_us));
        let crash = during(killed_us - 1_000_000, i64::MAX);
        Ok(vec![
            quantile(&steady, 0.5),
            quantile(&steady, 0.99),
            quantile(&moving, 0.99),
            quantile(&moving, 1.0),
            quantile(&crash, 1.0),
        ])
    }
}

/// In milliseconds, sorted, of the records that were due in that time.
fn latencies(seen: &[Seen], from_us: i64, to_us: i64) -> Vec<f64> {
    let due = seen.iter().filter(|one| (from_us..to_us).contains(&one.due_us));
    let mut millis: Vec<f64> = due.map(|one| one.latency().as_secs_f64() * 1_000.0).collect();
    millis.sort_by(f64::total_cmp);
    millis
}

fn await_active(member: &Program, partitions: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while member.stderr().lines().filter(|line| line.contains(" active ")).count() < partitions {
        anyhow::ensure!(Instant::now() < deadline, "not active: {}", member.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn main() -> Result<()> {
    let args = Args::parse();
    let kafka = match &args.bootstrap {
        Some(_) => None,
        None => Some(Kafka::start_with(&["-Xmx1g"])?),
    };
    let started = kafka.as_ref().map(Kafka::bootstrap);
    let bootstrap = args.bootstrap.clone().or(started).context("a broker")?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("a changelog of {} records; load before: {}", args.records, load.trim());
    println!(
        "\n| assignor | steady p50 ms | steady p99 | moves p99 | longest pause, moves | \
         longest pause, SIGKILL (session {}) |\n|---|---|---|---|---|---|",
        args.session
    );
    for way in WAYS {
        if args.only.as_deref().is_some_and(|only| only != way) {
            continue;
        }
        let name = format!("rebalance-{way}-{}", std::process::id());
        let run = Run { args: &args, bootstrap: &bootstrap, name, way };
        let figures = run.run().with_context(|| run.name.clone())?;
        let row: Vec<String> = figures.iter().map(|figure| format!("{figure:.1}")).collect();
        println!("| {way} | {} |", row.join(" | "));
    }
    Ok(())
}
