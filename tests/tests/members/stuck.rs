//! Handlers that do not return: the source ends all the same, and other members go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use streams_broker::Broker;
use streams_core::prelude::*;
use streams_core::{RunningSource, SourceBuilder, SourceState};
use streams_tests::oracle::read_committed;

use super::app::{PATIENCE, wait_until};

const PARTITIONS: usize = 2;
/// Longer than any end of a source that does not wait for its handlers.
const END_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

#[derive(Events)]
enum Job {
    Run(i64),
}

static DONE: Topic<Job> = Topic::new("done");

/// What a member's handlers wait for.
#[derive(Default)]
pub(crate) struct Gate {
    is_closed: AtomicBool,
    begun: AtomicUsize,
}

#[event_source(events = Job, store = NoStore, shared = Gate)]
mod jobs {
    use super::*;

    #[event_handler("Run")]
    fn run(
        ctx: &mut EventContext<NoStore>,
        gate: &Gate,
        job: i64,
    ) -> streams_core::Result<ExecutionState> {
        gate.begun.fetch_add(1, Ordering::Relaxed);
        while gate.is_closed.load(Ordering::Relaxed) {
            std::thread::sleep(POLL);
        }
        ctx.forward(&DONE, "job", Job::Run(job))?;
        Ok(Complete)
    }
}

fn broker() -> Result<Broker> {
    let partitions = i32::try_from(PARTITIONS)?;
    Ok(Broker::builder().topic("jobs", partitions).topic("done", 1).start()?)
}

fn member(broker: &Broker, gate: &Arc<Gate>) -> SourceBuilder<jobs::Source> {
    let member = jobs::Source::builder().bootstrap(broker.bootstrap()).group("stuck");
    member.topic("jobs").shared(Arc::clone(gate))
}

fn closed() -> Arc<Gate> {
    let gate = Arc::new(Gate::default());
    gate.is_closed.store(true, Ordering::Relaxed);
    gate
}

fn send(broker: &Broker) -> Result<()> {
    let jobs = EventProducer::new(&broker.bootstrap(), Topic::<Job>::new("jobs"))?;
    jobs.send("job", &Job::Run(1))?;
    Ok(jobs.flush(PATIENCE)?)
}

/// How the source ended, if it has within `END_MAX`.
fn end(member: RunningSource<jobs::Source>) -> Result<std::result::Result<(), String>> {
    let (ended, end) = channel();
    std::thread::spawn(move || {
        let _ = ended.send(member.wait().map_err(|error| error.to_string()));
    });
    end.recv_timeout(END_MAX).with_context(|| format!("the source has not ended in {END_MAX:?}"))
}

#[test]
fn s4_stop_now_ends_a_source_whose_handler_never_returns() -> Result<()> {
    let (broker, gate) = (broker()?, closed());
    let stuck = member(&broker, &gate).start()?;
    ensure!(stuck.wait_for_active(PARTITIONS, PATIENCE));
    send(&broker)?;
    wait_until("the handler has begun", || gate.begun.load(Ordering::Relaxed) == 1)?;
    stuck.stop();
    stuck.stop_now();
    let ended = end(stuck)?;
    let error = ended.err().context("it ended as if nothing were wrong")?;
    ensure!(error.contains("worker 0 is stuck in the handler of record jobs-"), "{error}");
    Ok(())
}

#[test]
fn s4_the_partitions_of_a_stuck_handler_go_to_another_member() -> Result<()> {
    let (broker, gate) = (broker()?, closed());
    let stuck = member(&broker, &gate).max_poll_interval(Duration::from_secs(1)).start()?;
    ensure!(stuck.wait_for_active(PARTITIONS, PATIENCE));
    send(&broker)?;
    wait_until("the handler has begun", || gate.begun.load(Ordering::Relaxed) == 1)?;
    let open = Arc::new(Gate::default());
    let next = member(&broker, &open).start()?;
    ensure!(next.wait_for_active(PARTITIONS, PATIENCE));
    wait_until("the job is done", || open.begun.load(Ordering::Relaxed) == 1)?;
    let error = end(stuck)?.err().context("it ended as if nothing were wrong")?;
    ensure!(error.contains("in the handler of record jobs-"), "{error}");
    // The handler returns after all, and what it has done is not committed.
    gate.is_closed.store(false, Ordering::Relaxed);
    std::thread::sleep(Duration::from_secs(1));
    next.stop();
    ensure!(end(next)?.is_ok());
    let outputs = read_committed(&broker.bootstrap(), "done", 1, PATIENCE)?;
    ensure!(outputs.len() == 1, "{} outputs of one job", outputs.len());
    Ok(())
}

#[test]
fn a_source_that_has_ended_says_so_without_being_consumed() -> Result<()> {
    let broker = broker()?;
    let source = member(&broker, &Arc::default()).start()?;
    ensure!(source.wait_for_active(PARTITIONS, PATIENCE));
    ensure!(source.state() == SourceState::Healthy);
    ensure!(!source.wait_until_ended(Duration::ZERO));
    let ended = source.ended();
    source.stop();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async { tokio::time::timeout(END_MAX, ended).await })?;
    ensure!(source.wait_until_ended(END_MAX));
    ensure!(source.state() == SourceState::Ended, "{:?}", source.state());
    ensure!(source.failure().is_none() && source.active_partitions().is_empty());
    source.wait()?;
    Ok(())
}

#[test]
fn a_source_that_failed_is_unhealthy_after_its_end_and_says_why() -> Result<()> {
    let (broker, gate) = (broker()?, closed());
    let stuck = member(&broker, &gate).max_poll_interval(Duration::from_millis(200)).start()?;
    ensure!(stuck.wait_for_active(PARTITIONS, PATIENCE));
    send(&broker)?;
    ensure!(stuck.wait_until_ended(PATIENCE));
    ensure!(stuck.state() == SourceState::Unhealthy, "{:?}", stuck.state());
    let failure = stuck.failure().context("it says nothing")?;
    ensure!(failure.contains("worker 0 is stuck"), "{failure}");
    Ok(())
}

#[test]
fn a_max_poll_interval_out_of_range_is_refused() -> Result<()> {
    let broker = broker()?;
    for interval in [Duration::from_millis(99), Duration::from_secs(24 * 3_600 + 1)] {
        let refused = member(&broker, &Arc::default()).max_poll_interval(interval).start();
        let error = refused.err().context("it starts")?.to_string();
        ensure!(error.contains("max_poll_interval"), "{error}");
    }
    Ok(())
}
