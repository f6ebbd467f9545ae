//! Counts and sums the updates of each id in steps, each after some work outside of Kafka: durable
//! jobs.
//!
//! ```sh
//! cargo run --example durable_jobs -- --bootstrap localhost:9092 --group jobs \
//!     --input updates --output totals --changelog jobs-changelog --partitions 8
//! ```
//!
//! Input: record type `Update`, key = id, JSON `{"id","name","amount","ts"}`. Each update schedules
//! a job, which works for `--work` in each of its `--steps` steps. A step's finalizer adds the
//! amount to the id's total and forwards it: record type `Event`, the same key,
//! `{"id","name","count","sum","ts","step"}`. Kill it as often as you like: each step counts once.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Parser;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_core::SourceBuilder;
use streams_core::jobs::durable::{DurableJobs, JobConfig, JobError, JobRun, Next};
use streams_core::prelude::*;

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct Update {
    id: String,
    name: String,
    amount: i64,
    ts: i64,
}

#[derive(Events)]
enum Updates {
    Update(Update),
}

/// The work that an update asks for.
#[derive(Job, EventCodec, Serialize, Deserialize)]
#[job("work")]
struct Work {
    update: Update,
    step: u32,
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct Total {
    id: String,
    name: String,
    count: u64,
    sum: i64,
    ts: i64,
    step: u32,
}

#[derive(Events)]
enum Totals {
    Event(Total),
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema, Clone, Default)]
struct RunningTotal {
    count: u64,
    sum: i64,
}

#[derive(StateStore)]
struct TotalsStore {
    totals: Table<String, RunningTotal>,
}

static OUTPUT: OnceLock<Topic<Totals>> = OnceLock::new();
static STEPS: OnceLock<u32> = OnceLock::new();

#[event_source(events = Updates, store = TotalsStore)]
mod jobs {
    use super::*;

    #[event_handler("Update")]
    fn update(ctx: &mut EventContext<TotalsStore>, update: Update) -> Result<ExecutionState> {
        ctx.schedule(&update.id.clone(), Work { update, step: 1 })?;
        Ok(Complete)
    }
}

/// A step is done: its effects are committed with what becomes of the job.
fn worked(
    ctx: &mut EventContext<TotalsStore>,
    work: Work,
    result: &Result<(), JobError>,
) -> Result<Next> {
    if let Err(error) = result {
        eprintln!("a step failed, and is tried again: {error}");
        return Ok(Next::Retry(Duration::from_secs(1)));
    }
    let Work { update, step } = work;
    let (count, sum) = ctx.store.totals.update(update.id.clone(), |total| {
        total.count += 1;
        total.sum += update.amount;
        (total.count, total.sum)
    });
    if let Some(output) = OUTPUT.get() {
        let Update { id, name, ts, .. } = &update;
        let (id, name, ts) = (id.clone(), name.clone(), *ts);
        ctx.forward(output, &update.id, Totals::Event(Total { id, name, count, sum, ts, step }))?;
    }
    Ok(match step < *STEPS.get().unwrap_or(&1) {
        true => Next::then(Work { update, step: step + 1 }),
        false => Next::Done,
    })
}

/// Durable jobs: work in steps, each with its effects exactly once.
#[derive(Parser, Debug)]
struct Args {
    /// The cluster: host:port, comma-separated.
    #[arg(long, env = "STREAMS_BOOTSTRAP", default_value = "127.0.0.1:9092")]
    bootstrap: String,
    /// The consumer group.
    #[arg(long, env = "STREAMS_GROUP", default_value = "durable-jobs")]
    group: String,
    /// The topic of the updates.
    #[arg(long, env = "STREAMS_INPUT", default_value = "updates")]
    input: String,
    /// The topic of the totals.
    #[arg(long, env = "STREAMS_OUTPUT", default_value = "totals")]
    output: String,
    /// The changelog topic.
    #[arg(long, env = "STREAMS_CHANGELOG", default_value = "durable-jobs-changelog")]
    changelog: String,
    /// The partitions of topics that have to be made.
    #[arg(long, env = "STREAMS_PARTITIONS")]
    partitions: Option<i32>,
    /// This instance's name in the group.
    #[arg(long, env = "STREAMS_INSTANCE")]
    instance: Option<String>,
    /// Without a heartbeat for so many seconds, others take the partitions over.
    #[arg(long, env = "STREAMS_SESSION_SECONDS", default_value_t = 10)]
    session_seconds: u64,
    /// Warm copies of each partition on other members.
    #[arg(long, env = "STREAMS_STANDBY", default_value_t = 0)]
    standby: usize,
    /// The steps of each job.
    #[arg(long, default_value_t = 3)]
    steps: u32,
    /// The milliseconds that each step works for.
    #[arg(long, default_value_t = 20)]
    work_ms: u64,
    /// The jobs of each partition that run at a time.
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// A file: until it is there, no step ends.
    #[arg(long)]
    gate: Option<PathBuf>,
}

const LOOK_EVERY: Duration = Duration::from_millis(500);

fn settings(args: &Args) -> SourceBuilder<jobs::Source> {
    let (work, gate) = (Duration::from_millis(args.work_ms), Arc::new(args.gate.clone()));
    let run = move |_: Work, _: JobRun| {
        let gate = Arc::clone(&gate);
        async move {
            while gate.as_ref().as_ref().is_some_and(|gate| !gate.exists()) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            tokio::time::sleep(work).await;
            Ok::<(), std::io::Error>(())
        }
    };
    let mut source = jobs::Source::builder()
        .durable_job(JobConfig::default(), run, worked)
        .durable_jobs(DurableJobs::default().concurrency(args.concurrency))
        .output(&args.output)
        .bootstrap(&args.bootstrap)
        .group(&args.group)
        .topic(&args.input)
        .changelog(&args.changelog)
        .standby_replicas(args.standby)
        .session_timeout(Duration::from_secs(args.session_seconds));
    if let Some(partitions) = args.partitions {
        source = source.partitions(partitions);
    }
    if let Some(instance) = &args.instance {
        source = source.instance(instance);
    }
    source
}

fn main() -> anyhow::Result<()> {
    streams_examples::log_to_stderr();
    let args = Args::parse();
    let source = settings(&args);
    STEPS.get_or_init(|| args.steps);
    OUTPUT.get_or_init(|| Topic::named(args.output));
    source.start()?.run_until_signal()?;
    Ok(())
}
