//! Ends that can't wait: at once, a second time, and after `leave_timeout`.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use streams_core::RunningSource;
use streams_tests::oracle::read_committed;
use streams_tests::workload::Workload;

use super::app::{Closed, PATIENCE, Setup, What, ended, slow, sound, wait_until};

const PARTITIONS: usize = 4;
/// An end at once takes a few round trips; this is far less than any of the timeouts.
const AT_ONCE: Duration = Duration::from_secs(5);

/// So many changes of each partition that a copy without them is not warm.
const LOAD: Workload = Workload { records: 8_000, ids: 400, rate: 0, seed: 5 };

fn setup(name: &str) -> Result<Setup> {
    Setup::new(name, i32::try_from(PARTITIONS)?)
}

/// EOS-5: what is open is aborted, by the member itself, and the events are the next owner's.
#[test]
fn stop_now_aborts_what_is_open() -> Result<()> {
    let setup = setup("stop-now")?;
    setup.app.stays_incomplete.store(true, Ordering::Relaxed);
    let member = setup.member::<sound::Source>().start()?;
    ensure!(member.wait_for_active(PARTITIONS, PATIENCE));
    let records = 400;
    // Of the start positions.
    let committed = setup.count(What::Committed);
    setup.send(&Workload { records, ..LOAD })?;
    let records = usize::try_from(records)?;
    wait_until("all is handled", || setup.count(What::Handled) == records)?;
    wait_until("outputs are in the log", || setup.open_offsets().is_ok_and(|open| open > 0))?;
    member.stop_now();
    let took = ended(member)?;
    ensure!(took < AT_ONCE, "{took:?}");
    ensure!(setup.open_offsets()? == 0, "a transaction is left open");
    let outputs = read_committed(&setup.broker.bootstrap(), &setup.topic("out"), 0, PATIENCE)?;
    ensure!(outputs.is_empty(), "{} outputs of what is incomplete", outputs.len());
    ensure!(setup.count(What::Committed) == committed);
    ensure!(setup.count(What::StoreMade) == setup.count(What::StoreRevoked));

    setup.app.stays_incomplete.store(false, Ordering::Relaxed);
    let next = setup.member::<sound::Source>().start()?;
    setup.check()?;
    next.stop();
    ended(next)?;
    Ok(())
}

/// A member that has all partitions, and one that gets none of them warm as long as `Closed` is
/// there.
fn first_and_slow(
    setup: &Setup,
    leave_timeout: Duration,
) -> Result<(RunningSource<sound::Source>, RunningSource<slow::Source>, Closed)> {
    let first = setup.member::<sound::Source>().leave_timeout(leave_timeout).start()?;
    ensure!(first.wait_for_active(PARTITIONS, PATIENCE));
    setup.send(&LOAD)?;
    setup.check()?;
    let closed = Closed::new(setup);
    let slow = setup.member::<slow::Source>().start()?;
    let stores = || setup.count(What::StoreMade);
    wait_until("it begins with a copy", || stores() == PARTITIONS + 1)?;
    Ok((first, slow, closed))
}

/// The other one goes on with all of it.
fn goes_on(setup: &Setup, slow: RunningSource<slow::Source>, closed: Closed) -> Result<()> {
    setup.send(&Workload { seed: 6, ..LOAD })?;
    drop(closed);
    ensure!(slow.wait_for_active(PARTITIONS, PATIENCE));
    setup.check()?;
    slow.stop();
    ended(slow)?;
    Ok(())
}

#[test]
fn a_drain_ends_with_the_leave_timeout() -> Result<()> {
    const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
    let setup = setup("leave-timeout")?;
    let (first, slow, closed) = first_and_slow(&setup, LEAVE_TIMEOUT)?;
    let asked = Instant::now();
    first.stop();
    while asked.elapsed() < LEAVE_TIMEOUT / 2 {
        ensure!(first.active_partitions().len() == PARTITIONS, "it goes on until then");
        std::thread::sleep(Duration::from_millis(20));
    }
    ended(first)?;
    let took = asked.elapsed();
    ensure!((LEAVE_TIMEOUT..LEAVE_TIMEOUT + AT_ONCE).contains(&took), "{took:?}");
    goes_on(&setup, slow, closed)
}

#[test]
fn stop_now_cuts_a_drain_short() -> Result<()> {
    let setup = setup("stop-and-now")?;
    let (first, slow, closed) = first_and_slow(&setup, PATIENCE)?;
    first.stop();
    std::thread::sleep(Duration::from_millis(500));
    ensure!(first.active_partitions().len() == PARTITIONS, "it goes on until then");
    first.stop_now();
    // Somebody else asks too.
    first.handle().stop_now();
    let took = ended(first)?;
    ensure!(took < AT_ONCE, "{took:?}");
    ensure!(setup.open_offsets()? == 0, "a transaction is left open");
    goes_on(&setup, slow, closed)
}

/// Handles of one source may all ask it to stop, and its owner may drop it meanwhile: the orderly
/// end takes the time that it takes.
#[test]
fn a_second_stop_and_a_drop_do_not_cut_a_drain_short() -> Result<()> {
    const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
    for name in ["stop-twice", "stop-and-drop"] {
        let setup = setup(name)?;
        let (first, slow, closed) = first_and_slow(&setup, LEAVE_TIMEOUT)?;
        let (asked, handle) = (Instant::now(), first.handle());
        first.stop();
        match name {
            "stop-twice" => {
                std::thread::sleep(Duration::from_millis(100));
                handle.stop();
                ended(first)?;
            }
            _ => drop(first),
        }
        let took = asked.elapsed();
        ensure!((LEAVE_TIMEOUT..LEAVE_TIMEOUT + AT_ONCE).contains(&took), "{name}: {took:?}");
        ensure!(handle.has_ended() && handle.failure().is_none(), "{name}: {handle:?}");
        ensure!(setup.open_offsets()? == 0, "{name}: a transaction is left open");
        goes_on(&setup, slow, closed)?;
    }
    Ok(())
}

/// Without a drain: what is incomplete when the source is dropped is completed, and committed.
#[test]
fn a_drop_after_a_stop_aborts_nothing() -> Result<()> {
    let setup = setup("stop-commits")?;
    let member = setup.member::<sound::Source>().start()?;
    ensure!(member.wait_for_active(PARTITIONS, PATIENCE));
    let records = 2_000;
    setup.send(&Workload { records, ..LOAD })?;
    wait_until("the first is handled", || setup.count(What::Handled) > 0)?;
    member.stop();
    drop(member);
    let handled = setup.count(What::Handled);
    let outputs =
        read_committed(&setup.broker.bootstrap(), &setup.topic("out"), handled, PATIENCE)?;
    ensure!(outputs.len() == handled, "{} of {handled} are committed", outputs.len());
    Ok(())
}
