//! Counts and sums the updates of each id, exactly once: the workload of the tests and benchmarks.
//!
//! ```sh
//! cargo run --example running_totals -- --bootstrap localhost:9092 --group totals \
//!     --input updates --output totals --changelog totals-changelog --partitions 8
//! ```
//!
//! Input: record type `Update`, key = id, JSON `{"id","name","amount","ts"}`. Output: record type
//! `Event`, the same key, `{"id","name","count","sum","ts"}`. With `--tick 100ms --tick-output T`
//! an interjection counts in each partition's store and forwards `{"partition","n"}`. Standard
//! output gets a line when the source's state changes: `state Healthy`.

use std::sync::OnceLock;
use std::time::Duration;

use clap::Parser;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_core::eos::EosConfig;
use streams_core::group::Assignor;
use streams_core::prelude::*;
use streams_core::{Interjection, IntoOutcome, RunningSource, SourceBuilder, SourceState};

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct Update<'a> {
    id: &'a str,
    name: &'a str,
    amount: i64,
    ts: i64,
}

#[derive(Events)]
enum Updates<'a> {
    Update(Update<'a>),
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct Total<'a> {
    id: &'a str,
    name: &'a str,
    count: u64,
    sum: i64,
    ts: i64,
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct Tick {
    partition: i32,
    n: u64,
}

#[derive(Events)]
enum Totals<'a> {
    Event(Total<'a>),
}

#[derive(Events)]
enum Ticks {
    Tick(Tick),
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema, Clone, Default)]
struct RunningTotal {
    count: u64,
    sum: i64,
}

#[derive(StateStore)]
struct TotalsStore {
    totals: Table<String, RunningTotal>,
    ticks: Table<String, u64>,
}

static OUTPUT: OnceLock<Topic<Totals<'static>>> = OnceLock::new();
static TICK_OUTPUT: OnceLock<Topic<Ticks>> = OnceLock::new();

#[event_source(events = Updates<'_>, store = TotalsStore)]
mod totals {
    use super::*;

    #[event_handler("Update")]
    fn update(ctx: &mut EventContext<TotalsStore>, update: Update<'_>) -> Result<ExecutionState> {
        let Update { id, name, amount, ts } = update;
        let (count, sum) = ctx.store.totals.update(id.to_owned(), |total| {
            total.count += 1;
            total.sum += amount;
            (total.count, total.sum)
        });
        if let Some(output) = OUTPUT.get() {
            ctx.forward(output, id, Totals::Event(Total { id, name, count, sum, ts }))?;
        }
        Ok(Complete)
    }
}

fn tick(ctx: &mut EventContext<TotalsStore>) -> Result<ExecutionState> {
    let partition = ctx.topic_partition().partition();
    let n = ctx.store.ticks.update("ticks".to_owned(), |n| {
        *n += 1;
        *n
    });
    if let Some(output) = TICK_OUTPUT.get() {
        ctx.forward(output, &partition.to_string(), Ticks::Tick(Tick { partition, n }))?;
    }
    Ok(Complete)
}

/// Running totals of updates, exactly once.
#[derive(Parser, Debug)]
struct Args {
    /// The cluster: host:port, comma-separated.
    #[arg(long, env = "STREAMS_BOOTSTRAP", default_value = "127.0.0.1:9092")]
    bootstrap: String,
    /// The consumer group.
    #[arg(long, env = "STREAMS_GROUP", default_value = "running-totals")]
    group: String,
    /// The topic of the updates.
    #[arg(long, env = "STREAMS_INPUT", default_value = "updates")]
    input: String,
    /// The topic of the totals.
    #[arg(long, env = "STREAMS_OUTPUT", default_value = "totals")]
    output: String,
    /// The changelog topic.
    #[arg(long, env = "STREAMS_CHANGELOG", default_value = "running-totals-changelog")]
    changelog: String,
    /// The partitions of topics that have to be made.
    #[arg(long, env = "STREAMS_PARTITIONS")]
    partitions: Option<i32>,
    /// This instance's name in the group.
    #[arg(long, env = "STREAMS_INSTANCE")]
    instance: Option<String>,
    /// Without a heartbeat for this time, others take the partitions over.
    #[arg(long, env = "STREAMS_SESSION_TIMEOUT", value_parser = duration)]
    session_timeout: Option<Duration>,
    /// How long the group waits for a member that has to join again.
    #[arg(long, env = "STREAMS_REBALANCE_TIMEOUT", value_parser = duration)]
    rebalance_timeout: Option<Duration>,
    /// The time between two heartbeats.
    #[arg(long, env = "STREAMS_HEARTBEAT", value_parser = duration)]
    heartbeat: Option<Duration>,
    /// How long a leaving member lets its partitions move to others.
    #[arg(long, env = "STREAMS_LEAVE_TIMEOUT", value_parser = duration)]
    leave_timeout: Option<Duration>,
    /// Warm copies of each partition on other members.
    #[arg(long, env = "STREAMS_STANDBY", default_value_t = 0)]
    standby: usize,
    /// Partitions that move at a time.
    #[arg(long, env = "STREAMS_TRANSITIONS", default_value_t = 1)]
    transitions: usize,
    /// Where this member runs.
    #[arg(long, env = "STREAMS_RACK")]
    rack: Option<String>,
    /// How partitions are shared, by Kafka's names: incr_coop, cooperative-sticky, range,
    /// roundrobin.
    #[arg(long, env = "STREAMS_ASSIGNORS", value_delimiter = ',', value_parser = assignor)]
    assignors: Vec<Assignor>,
    /// Worker threads.
    #[arg(long, env = "STREAMS_WORKERS", default_value_t = 1)]
    workers: usize,
    /// Producers of each worker.
    #[arg(long, env = "STREAMS_POOL_SIZE")]
    pool_size: Option<usize>,
    /// A property of the Kafka clients, by librdkafka's name.
    #[arg(short = 'X', value_name = "NAME=VALUE", value_parser = property)]
    property: Vec<(String, String)>,
    /// The interval of the ticks, like 100ms or 1s.
    #[arg(long, env = "STREAMS_TICK", value_parser = duration, requires = "tick_output")]
    tick: Option<Duration>,
    /// The topic of the ticks.
    #[arg(long, env = "STREAMS_TICK_OUTPUT")]
    tick_output: Option<String>,
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn assignor(name: &str) -> Result<Assignor, String> {
    Assignor::from_name(name).ok_or_else(|| format!("`{name}` is no assignor"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_alphabetic());
    let number = digits.parse().map_err(|_| format!("`{text}` is not like 100ms or 1s"))?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(format!("`{text}` is not like 100ms or 1s")),
    }
}

fn settings(args: &Args) -> anyhow::Result<SourceBuilder<totals::Source>> {
    let mut source = totals::Source::builder()
        .output(&args.output)
        .bootstrap(&args.bootstrap)
        .group(&args.group)
        .topic(&args.input)
        .changelog(&args.changelog)
        .workers(args.workers)
        .standby_replicas(args.standby)
        .active_transitions(args.transitions);
    if let Some(partitions) = args.partitions {
        source = source.partitions(partitions);
    }
    for (name, value) in &args.property {
        source = source.property(name, value);
    }
    if let Some(instance) = &args.instance {
        source = source.instance(instance);
    }
    if let Some(timeout) = args.session_timeout {
        source = source.session_timeout(timeout);
    }
    if let Some(timeout) = args.rebalance_timeout {
        source = source.rebalance_timeout(timeout);
    }
    if let Some(interval) = args.heartbeat {
        source = source.heartbeat_interval(interval);
    }
    if let Some(timeout) = args.leave_timeout {
        source = source.leave_timeout(timeout);
    }
    if let Some(rack) = &args.rack {
        source = source.rack(rack);
    }
    if !args.assignors.is_empty() {
        source = source.assignors(args.assignors.clone());
    }
    if let Some(pool_size) = args.pool_size {
        source = source.eos(EosConfig::default().pool_size(pool_size)?);
    }
    Ok(source)
}

fn main() -> anyhow::Result<()> {
    streams_examples::log_to_stderr();
    let args = Args::parse();
    let mut source = settings(&args)?;
    if let (Some(every), Some(topic)) = (args.tick, args.tick_output) {
        source = source.output(&topic);
        TICK_OUTPUT.get_or_init(|| Topic::named(topic));
        source = source.interjection(Interjection {
            name: "tick",
            every,
            jitter: Duration::ZERO,
            call: |ctx, _shared, _at| tick(ctx).into_outcome(),
        });
    }
    OUTPUT.get_or_init(|| Topic::named(args.output));
    run(source.start()?)
}

/// Runs until SIGINT or SIGTERM. Prints a line when the source's state changes, as a health check
/// would see it: `state Stalled {3: Stall { .. }}`.
fn run(source: RunningSource<totals::Source>) -> anyhow::Result<()> {
    source.stop_on_signals();
    let mut last = None;
    loop {
        let has_ended = source.wait_until_ended(STATE_EVERY);
        let state = source.state();
        if last.replace(state) != Some(state) {
            match state {
                SourceState::Stalled => println!("state Stalled {:?}", source.stalled_partitions()),
                state => println!("state {state:?}"),
            }
        }
        if has_ended {
            return Ok(source.wait()?);
        }
    }
}

/// The time between two looks at the source's state.
const STATE_EVERY: Duration = Duration::from_millis(100);
