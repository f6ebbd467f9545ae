//! Runs cases on a broker.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use anyhow::{Result, ensure};
use kafka_protocol::messages::{FindCoordinatorRequest, InitProducerIdRequest};

use super::Case;
use super::Transcript;
use super::ctx::{Ctx, is_transient, text, wait};
use super::producers::init_request;

/// So many ids reach every partition of the coordinators' topics.
const COORDINATED_IDS: usize = 40;

/// Waits until the broker's coordinators are all in office.
///
/// # Errors
/// If they don't come, or nobody is there.
pub fn prepare(bootstrap: &str, run: &str) -> Result<()> {
    let mut ctx = Ctx::new(bootstrap, "prepare", run);
    for kind in [0, 1] {
        let request = FindCoordinatorRequest::default().with_key(text("any")).with_key_type(kind);
        wait("a coordinator", || Ok((ctx.call(3, &request)?.error_code == 0).then_some(())))?;
    }
    for number in 0..COORDINATED_IDS {
        let group = ctx.name(&format!("g{number}"));
        let request = super::groups::commit_request(&super::groups::Speaker::nobody(&group), &[]);
        let id = ctx.name(&format!("t{number}"));
        let init: InitProducerIdRequest = init_request(Some(&id), 60_000);
        wait("the coordinators", || {
            let group = ctx.call(8, &request)?;
            let busy = group.topics.iter().flat_map(|t| &t.partitions);
            let busy = busy.into_iter().any(|p| is_transient(p.error_code));
            Ok((!busy && ctx.initialise_once(4, &init)?.0 == 0).then_some(()))
        })?;
    }
    Ok(())
}

/// Runs a case; its transcript's lines come back, also when it fails or panics.
///
/// # Errors
/// If it writes nothing at all.
pub fn run(case: &Case, bootstrap: &str, run: &str) -> Result<Vec<String>> {
    let mut ctx = Ctx::new(bootstrap, case.name, run);
    match catch_unwind(AssertUnwindSafe(|| (case.body)(&mut ctx))) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => ctx.say(format!("the case ended: {error:#}")),
        Err(_) => ctx.say("the case panicked"),
    }
    let lines = ctx.into_lines();
    ensure!(!lines.is_empty(), "{} writes nothing", case.name);
    Ok(lines)
}

/// Runs cases, `threads` at a time.
///
/// # Errors
/// As [`prepare`] and [`run`].
pub fn run_all(cases: &[Case], bootstrap: &str, threads: usize) -> Result<Transcript> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let name = format!("{:x}", since.as_millis());
    prepare(bootstrap, &name)?;
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let lines = run(case, bootstrap, &name);
                    let mut done = done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    done.insert(case.name.to_owned(), lines);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let lines = done.into_iter().map(|(name, lines)| Ok((name, lines?)));
    Ok(Transcript(lines.collect::<Result<_>>()?))
}
