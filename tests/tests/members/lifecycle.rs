//! Signals with a hook, futures, tokens of the run, and sources that stop together.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use streams_core::{RunState, RunningSource, Signal, SourceSet};

use super::app::{PATIENCE, Setup, sound, wait_until};

fn started(setup: &Setup) -> Result<RunningSource<sound::Source>> {
    let source = setup.member::<sound::Source>().start()?;
    ensure!(source.wait_for_active(1, PATIENCE));
    Ok(source)
}

/// Sends a signal to this process, once a handler of it is installed.
#[cfg(target_os = "linux")]
fn send(signal: Signal) -> Result<()> {
    let number = if signal == Signal::User1 { 10 } else { 12 };
    wait_until("the signal is listened to", || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|caught| u64::from_str_radix(caught.trim(), 16).ok());
        caught.is_some_and(|caught| caught & (1 << (number - 1)) != 0)
    })?;
    let process = std::process::id().to_string();
    let sent =
        std::process::Command::new("kill").args([&format!("-{number}"), &process]).status()?;
    ensure!(sent.success());
    Ok(())
}

/// GKES: `WaitForSignals` with a pre-hook and other signals than the usual ones.
#[cfg(target_os = "linux")]
#[test]
fn a_hook_decides_whether_a_signal_stops_the_source() -> Result<()> {
    let setup = Setup::new("signals", 1)?;
    let source = started(&setup)?;
    let handle = source.handle();
    let (sender, came) = mpsc::channel();
    let waits = std::thread::spawn(move || {
        source.wait_for_signals([Signal::User1, Signal::User2], |signal| {
            sender.send(signal).expect("the test waits");
            signal == Signal::User2
        })
    });
    send(Signal::User1)?;
    ensure!(came.recv_timeout(PATIENCE)? == Signal::User1);
    ensure!(!handle.wait_until_ended(Duration::from_millis(300)), "the hook has refused");
    send(Signal::User2)?;
    ensure!(came.recv_timeout(PATIENCE)? == Signal::User2);
    ensure!(handle.wait_until_ended(PATIENCE));
    waits.join().expect("no panic")?;
    ensure!(came.recv().is_err(), "the hook is called once more");
    Ok(())
}

/// GKES: `WaitForChannel`, `ForkRunStatus`.
#[test]
fn a_channel_stops_the_source_and_tasks_hear_of_it() -> Result<()> {
    let setup = Setup::new("channel", 1)?;
    let source = started(&setup)?;
    let (status, handle) = (source.run_status(), source.handle());
    ensure!(status.state() == RunState::Running);
    let task = std::thread::spawn({
        let status = status.fork();
        move || status.wait_stopping(PATIENCE)
    });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let waits = std::thread::spawn(move || source.wait_for(stopped));
    ensure!(!handle.wait_until_ended(Duration::from_millis(100)));
    drop(stop);
    waits.join().expect("no panic")?;
    ensure!(task.join().expect("no panic"), "the task hears of the stop");
    ensure!(status.state() == RunState::Ended);
    Ok(())
}

#[test]
fn a_future_runs_a_source_until_it_is_ready_or_the_source_fails() -> Result<()> {
    let setup = Setup::new("run-until", 1)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let source = started(&setup)?;
    let soon = async { tokio::time::sleep(Duration::from_millis(50)).await };
    runtime.block_on(source.run_until(soon))?;

    let source = started(&setup)?;
    let stop = source.handle();
    let failing = std::thread::spawn(move || {
        drop(stop.interject(0, |_| -> streams_core::Result<()> { panic!("a bug") }).wait());
    });
    let error = runtime.block_on(source.run_until(std::future::pending::<()>()));
    failing.join().expect("no panic");
    let error = error.err().context("it failed")?.to_string();
    ensure!(error.contains("panicked: a bug"), "{error}");
    Ok(())
}

#[test]
fn sources_of_a_set_stop_together_and_each_error_is_reported() -> Result<()> {
    let (orders, billing) = (Setup::new("orders", 1)?, Setup::new("billing", 1)?);
    let (first, second) = (started(&orders)?, started(&billing)?);
    let (first_handle, second_handle) = (first.handle(), second.handle());
    let set = SourceSet::new().with("orders", first).with("billing", second);
    let waits = std::thread::spawn(move || set.wait());
    ensure!(!first_handle.wait_until_ended(Duration::from_millis(100)));
    let bug = second_handle.interject(0, |_| -> streams_core::Result<()> { panic!("a bug") });
    ensure!(bug.wait().is_err());
    let error = waits.join().expect("no panic").err().context("one failed")?;
    let names: Vec<_> = error.failures().iter().map(|(name, _)| name.as_str()).collect();
    ensure!(names == ["billing"], "{names:?}");
    ensure!(error.to_string().starts_with("source `billing` failed: "), "{error}");
    ensure!(first_handle.has_ended() && first_handle.failure().is_none(), "in good order");

    let (first, second) = (started(&orders)?, started(&billing)?);
    let handles = [first.handle(), second.handle()];
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let set = SourceSet::new().with("orders", first).with("billing", second);
    let waits = std::thread::spawn(move || set.wait_for(stopped));
    stop.send(()).expect("the set waits");
    waits.join().expect("no panic")?;
    ensure!(handles.iter().all(streams_core::SourceHandle::has_ended));
    Ok(())
}
