//! A member that leaves while its group can't rebalance: another one is stopped, and has not been
//! expelled yet. The oracle is always on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use streams_tests::broker::TestBroker;
use streams_tests::process::Program;
use streams_tests::workload::Workload;

use super::group::await_active;
use super::running_totals::{Setting, rate, seed};

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than a test.
const SESSION: &str = "60s";
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// To abort or to commit what is open, and to leave, takes a few round trips.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Two members under load share the partitions; then the second is stopped.
fn stuck(
    broker: &TestBroker,
    prefix: &str,
    leave_timeout: &str,
    then: impl FnOnce(&mut Program) -> Result<()>,
) -> Result<()> {
    let setting = Setting::new(broker, prefix)?;
    let workload = Workload { records: 12 * rate(), ids: 200, rate: rate(), seed: seed() };
    let sender = setting.send(&workload);
    let arguments = ["--session-timeout", SESSION, "--leave-timeout", leave_timeout];
    let mut first = setting.start_with(&arguments)?;
    await_active(&first, 8)?;
    let mut second = setting.start_with(&arguments)?;
    await_active(&second, 4)?;
    second.signal(libc::SIGSTOP)?;
    let ended = then(&mut first).with_context(|| first.stderr());
    second.signal(libc::SIGCONT)?;
    ended?;
    setting.finish(&workload, sender, &mut second)
}

/// Asks it to end, by a signal.
fn ask(member: &Program, signal: i32) -> Result<Instant> {
    let asked = Instant::now();
    member.signal(signal)?;
    Ok(asked)
}

/// Waits for its end, in good order.
fn await_end(member: &mut Program, asked: Instant) -> Result<Duration> {
    let status = member.wait(PATIENCE)?;
    ensure!(status.success(), "it ended with {status}");
    Ok(asked.elapsed())
}

/// Two signals of different kinds, as two people would send them.
pub(crate) fn second_signal(broker: &TestBroker, prefix: &str) -> Result<()> {
    stuck(broker, prefix, "60s", |first| {
        ask(first, libc::SIGTERM)?;
        ensure!(first.wait(Duration::from_secs(2)).is_err(), "it waits for the others");
        ensure!(first.stderr().contains("leaving: partitions move to others first"));
        let asked = ask(first, libc::SIGINT)?;
        let took = await_end(first, asked)?;
        eprintln!("the second signal: {took:?}");
        ensure!(took < AT_ONCE, "it took {took:?}");
        Ok(())
    })
}

/// What is open is committed before it leaves, though the group is not done with its rebalance.
pub(crate) fn leave_timeout(broker: &TestBroker, prefix: &str) -> Result<()> {
    let seconds = format!("{}s", LEAVE_TIMEOUT.as_secs());
    stuck(broker, prefix, &seconds, |first| {
        let asked = ask(first, libc::SIGTERM)?;
        let took = await_end(first, asked)?;
        eprintln!("a leave timeout of {LEAVE_TIMEOUT:?}: {took:?}");
        let log = first.stderr();
        ensure!(log.contains("not all partitions have moved: leaving as it is"));
        ensure!(!log.contains("transaction step failed"), "what is open is committed");
        ensure!((LEAVE_TIMEOUT..LEAVE_TIMEOUT + AT_ONCE).contains(&took), "it took {took:?}");
        Ok(())
    })
}
