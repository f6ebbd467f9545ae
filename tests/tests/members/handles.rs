//! Queries and interjections with results, by handles that other threads hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use streams_core::{InterjectError, RunState};
use streams_tests::workload::Workload;

use super::app::{Closed, PATIENCE, Setup, ended, slow, sound, wait_until};

const PARTITIONS: i32 = 4;
const IDS: u64 = 400;
const LOAD: Workload = Workload { records: 8_000, ids: IDS, rate: 0, seed: 5 };

/// Is there another thread's error?
fn rows(source: &streams_core::SourceHandle<sound::Source>) -> Result<usize> {
    let counts = source.query_all(|store| store.rows()).wait();
    Ok(counts.into_values().sum::<Result<usize, InterjectError>>()?)
}

#[test]
fn other_threads_query_the_stores_by_a_handle_that_outlives_the_source() -> Result<()> {
    let setup = Setup::new("handles", PARTITIONS)?;
    let member = setup.member::<sound::Source>().workers(2).start()?;
    ensure!(member.wait_for_active(PARTITIONS.try_into()?, PATIENCE));
    setup.send(&LOAD)?;
    setup.check()?;
    let source = member.handle();
    let ids = usize::try_from(IDS)?;
    let asking = std::thread::spawn(move || -> Result<_> {
        ensure!(rows(&source)? == ids);
        // No two at a time.
        let inside = Arc::new(AtomicUsize::new(0));
        let counts = source.interject_all_sync(move |ctx| {
            let others = inside.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(10));
            inside.fetch_sub(1, Ordering::SeqCst);
            if others > 0 { ctx.fail("another one runs") } else { Ok(ctx.store.rows()) }
        });
        ensure!(counts.len() == 4, "{counts:?}");
        let sum = counts.into_values().sum::<Result<usize, InterjectError>>()?;
        ensure!(sum == ids, "{sum}");
        // In an executor, and of what is committed.
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let committed = runtime.block_on(source.query_committed(0, |store| store.rows()))?;
        ensure!((1..ids).contains(&committed), "{committed}");
        Ok(source)
    });
    let source = asking.join().expect("no panic")?;
    member.stop();
    ended(member)?;
    let error = source.query(0, |store| store.rows()).wait().expect_err("it has ended");
    ensure!(matches!(error, InterjectError::Stopped { .. }), "{error}");
    ensure!(source.has_ended() && source.run_status().state() == RunState::Ended);
    Ok(())
}

/// The errors that GKES calls `ErrPartitionNotAssigned` and `ErrPartitionNotReady`.
#[test]
fn a_partition_that_is_elsewhere_or_is_restored_is_an_error() -> Result<()> {
    let setup = Setup::new("elsewhere", PARTITIONS)?;
    let first = setup.member::<sound::Source>().start()?;
    ensure!(first.wait_for_active(PARTITIONS.try_into()?, PATIENCE));
    setup.send(&LOAD)?;
    setup.check()?;
    first.stop();
    ended(first)?;
    let closed = Closed::new(&setup);
    let second = setup.member::<slow::Source>().start()?;
    let ask = || second.query(0, |store| store.rows()).wait();
    let not_ready = || matches!(ask(), Err(InterjectError::PartitionNotReady { partition: 0 }));
    wait_until("the restore has begun", not_ready)?;
    drop(closed);
    ensure!(second.wait_for_active(PARTITIONS.try_into()?, PATIENCE));
    ensure!(ask()? > 0);

    let third = setup.member::<sound::Source>().start()?;
    ensure!(third.wait_for_active(1, PATIENCE));
    let moved = *third.active_partitions().first().expect("it has one");
    ensure!(third.query(moved, |store| store.rows()).wait()? > 0);
    let error = second.query(moved, |store| store.rows()).wait().expect_err("it has moved");
    ensure!(matches!(error, InterjectError::PartitionNotAssigned { .. }), "{error}");
    second.stop();
    third.stop();
    ended(second)?;
    ended(third)?;
    Ok(())
}
