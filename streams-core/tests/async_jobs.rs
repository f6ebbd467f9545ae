//! Jobs of [`AsyncJobScheduler`] in a source: order, results, effects, failures and bounds, with
//! the real worker and the clocks of the driver and of tokio in step.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use streams_core::jobs::{AsyncJobScheduler, JobError, JobResult, SchedulerConfig, complete};
use streams_core::prelude::*;
use streams_core::testing::{Fault, TestDriver};
use tokio::time::sleep;

const MS: Duration = Duration::from_millis(1);

#[derive(Events)]
enum Work {
    /// Schedules a job.
    Job(i64),
    /// Forwards and counts, then schedules a job.
    Effects(i64),
    /// Is complete at once.
    Quick(i64),
}

#[derive(Events, Debug, Clone, PartialEq)]
enum Out {
    Before(i64),
    Done(i64),
    Failed(String),
}

static OUT: Topic<Out> = Topic::new("out");

#[derive(StateStore)]
struct Counts {
    counts: Table<String, i64>,
}

type Jobs = AsyncJobScheduler<Counts, String, i64>;

struct App {
    jobs: Jobs,
}

#[event_source(events = Work, store = Counts, shared = App)]
mod work {
    use super::*;

    #[event_handler("Job")]
    fn job(ctx: &mut EventContext<Counts>, app: &App, number: i64) -> Result<ExecutionState> {
        let key = ctx.key::<String>()?.unwrap_or_default();
        app.jobs.schedule(ctx, key, number)
    }

    #[event_handler("Effects")]
    fn effects(ctx: &mut EventContext<Counts>, app: &App, number: i64) -> Result<ExecutionState> {
        count(ctx, Out::Before(number))?;
        job(ctx, app, number)
    }

    #[event_handler("Quick")]
    fn quick(ctx: &mut EventContext<Counts>, _: &App, number: i64) -> Result<ExecutionState> {
        count(ctx, Out::Done(number))?;
        Ok(Complete)
    }
}

fn count(ctx: &mut EventContext<Counts>, out: Out) -> Result<()> {
    let key = ctx.key::<String>()?.unwrap_or_default();
    ctx.store.counts.update(key.clone(), |count| *count += 1);
    ctx.forward(&OUT, &key, out)
}

/// The finalizer: forwards the job's result, or its error.
fn done(
    ctx: &mut EventContext<Counts>,
    _: String,
    _: i64,
    result: Result<i64, JobError>,
) -> Result<ExecutionState> {
    count(ctx, result.map_or_else(|error| Out::Failed(error.to_string()), Out::Done))?;
    Ok(Complete)
}

/// A job that takes so many milliseconds.
async fn takes(_: String, ms: i64) -> Result<i64, std::io::Error> {
    sleep(MS * u32::try_from(ms).expect("a time")).await;
    Ok(ms)
}

fn driver(jobs: Jobs) -> TestDriver<work::Source> {
    work::Source::builder().shared(App { jobs }).test_driver()
}

fn wide() -> SchedulerConfig {
    SchedulerConfig::default().concurrency(64)
}

/// What was forwarded, by key.
fn outs(driver: &TestDriver<work::Source>) -> BTreeMap<String, Vec<Out>> {
    let mut outs: BTreeMap<String, Vec<Out>> = BTreeMap::new();
    for (key, out) in driver.read(&OUT) {
        outs.entry(key).or_default().push(out);
    }
    outs
}

fn numbers(outs: &[Out]) -> Vec<i64> {
    let number = |out: &Out| match out {
        Out::Before(number) | Out::Done(number) => *number,
        Out::Failed(error) => panic!("{error}"),
    };
    outs.iter().map(number).collect()
}

#[tokio::test(start_paused = true)]
async fn jobs_of_a_key_run_in_order_and_keys_in_parallel() {
    let mut driver = driver(Jobs::new(wide(), takes, done).expect("settings"));
    // The first job of each key is the longest: without lanes the others would overtake it.
    let jobs = [10, 5, 1].iter().flat_map(|ms| ["a", "b", "c"].map(|key| (key, Work::Job(*ms))));
    driver.send_all(jobs);
    driver.advance_async(MS * 10).await;
    assert_eq!(outs(&driver).values().map(|outs| numbers(outs)).collect::<Vec<_>>(), [[10]; 3]);
    driver.advance_async(MS * 7).await;
    assert_eq!(driver.committed(0), Some(9), "three keys in the time of one");
    for (key, outs) in outs(&driver) {
        assert_eq!(numbers(&outs), [10, 5, 1], "{key}");
        assert_eq!(driver.store(0).counts.get(&key), Some(&3));
    }
}

#[tokio::test(start_paused = true)]
async fn concurrency_bounds_the_jobs_that_run() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let job = move |_: String, number: i64| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            sleep(MS * 10).await;
            running.fetch_sub(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(number)
        }
    };
    let mut driver = driver(Jobs::new(wide().concurrency(3), job, done).expect("settings"));
    let keys: Vec<String> = (0..30).map(|key| format!("k{key}")).collect();
    driver.send_all(keys.iter().map(|key| (key, Work::Job(1))));
    driver.advance_async(MS * 99).await;
    assert_eq!(driver.committed(0), Some(27));
    driver.advance_async(MS * 2).await;
    assert_eq!((driver.committed(0), seen.load(Ordering::Relaxed)), (Some(30), 3));
}

/// Calls `run` with each order of the numbers below `count`.
fn in_every_order(count: usize, run: &mut impl FnMut(&[usize])) {
    fn permute(rest: &mut Vec<usize>, at: usize, run: &mut impl FnMut(&[usize])) {
        if at == rest.len() {
            return run(rest);
        }
        for other in at..rest.len() {
            rest.swap(at, other);
            permute(rest, at + 1, run);
            rest.swap(at, other);
        }
    }
    permute(&mut (0..count).collect(), 0, run);
}

#[tokio::test(start_paused = true)]
async fn offsets_commit_only_past_contiguous_completions_in_every_order() {
    let mut orders = vec![];
    in_every_order(4, &mut |order| orders.push(order.to_vec()));
    assert_eq!(orders.len(), 24);
    for order in orders {
        let mut driver = driver(Jobs::new(wide(), takes, done).expect("settings"));
        driver.hold_completions();
        driver.send_all(["a", "b", "c", "d"].map(|key| (key, Work::Job(1))));
        driver.advance_async(MS * 2).await;
        let mut done = [false; 4];
        for event in &order {
            let held = driver.held_completions();
            let is_it = |offset: Option<i64>| offset.is_some_and(|at| at == *event as i64);
            let place = held.iter().position(|ticket| is_it(ticket.offset)).expect("it waits");
            driver.complete(place);
            done[*event] = true;
            let contiguous = done.iter().take_while(|done| **done).count();
            assert_eq!(driver.committed(0), Some(contiguous as i64), "{order:?} at {event}");
        }
        assert_eq!(driver.read(&OUT).len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_runs_jobs_again_and_their_effects_count_once() {
    for event in [Work::Job, Work::Effects] {
        let mut driver = driver(Jobs::new(wide(), takes, done).expect("settings"));
        driver.send_all([("a", event(5)), ("b", event(9)), ("c", Work::Quick(0))]);
        driver.inject(Fault::Abort);
        driver.advance_async(MS * 5).await;
        driver.advance_async(MS * 5_000).await;
        assert_eq!(driver.committed(0), Some(3));
        for key in ["a", "b", "c"] {
            let expected = outs(&driver)[key].len() as i64;
            assert_eq!(driver.store(0).counts.get(key), Some(&expected), "{key}");
        }
        let dones = driver.read(&OUT).into_iter().filter(|(_, out)| matches!(out, Out::Done(_)));
        assert_eq!(dones.count(), 3);
    }
}

/// Counts the jobs that are dropped before their end.
struct Dropped(Arc<AtomicUsize>);

impl Dropped {
    fn has_ended(self) {
        std::mem::forget(self);
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_of_a_lost_partition_are_cancelled_and_its_holds_end() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dropped);
    let job = move |_: String, ms: i64| {
        let dropped = Dropped(Arc::clone(&count));
        async move {
            sleep(MS * u32::try_from(ms).expect("a time")).await;
            dropped.has_ended();
            Ok::<_, std::io::Error>(ms)
        }
    };
    let config = wide().concurrency(2).max_pending_jobs(4);
    let jobs = Jobs::new(config, job, done).expect("settings");
    let mut driver = driver(jobs.clone());
    driver.send_all((0..20).map(|_| ("a", Work::Job(10))));
    driver.send_all((0..20).map(|_| ("b", Work::Job(10))));
    driver.advance_async(MS).await;
    let counts = jobs.counts();
    assert_eq!((counts.pending, counts.running, counts.holds), (5, 1, 1));
    driver.crash();
    driver.advance_async(MS).await;
    assert_eq!(dropped.load(Ordering::Relaxed), 1, "the running one was dropped");
    assert_eq!(jobs.counts().pending, 5, "the new instance's jobs alone");
    driver.advance_async(MS * 1_000).await;
    assert_eq!(driver.committed(0), Some(40));
    assert_eq!(driver.read(&OUT).len(), 40);
    assert_eq!(jobs.counts(), streams_core::jobs::JobCounts::default());
    // A good stop cancels as well.
    driver.send("a", Work::Job(10));
    driver.advance_async(MS).await;
    driver.restart();
    driver.advance_async(MS * 20).await;
    assert_eq!((dropped.load(Ordering::Relaxed), driver.committed(0)), (2, Some(41)));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_never_ends_holds_the_offset_until_its_timeout() {
    let config = wide().timeout(MS * 50);
    let mut driver = driver(Jobs::new(config, takes, done).expect("settings"));
    driver.send_all([("a", Work::Job(3_600_000)), ("b", Work::Job(1)), ("a", Work::Job(1))]);
    driver.advance_async(MS * 49).await;
    assert_eq!(driver.committed(0), Some(0));
    driver.advance_async(MS * 3).await;
    assert_eq!(driver.committed(0), Some(3));
    let outs = outs(&driver);
    assert!(matches!(&outs["a"][0], Out::Failed(error) if error.contains("longer than 50ms")));
    assert_eq!(outs["a"][1], Out::Done(1));
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_runs_again_before_the_later_jobs_of_its_key() {
    let attempts = Arc::new(Mutex::new(vec![]));
    let log = Arc::clone(&attempts);
    let job = move |_: String, number: i64| {
        let mut log = log.lock().expect("no panic");
        log.push(number);
        let nth = log.iter().filter(|known| **known == number).count();
        async move {
            match number {
                1 if nth < 3 => Err(std::io::Error::other("busy")),
                2 => Err(std::io::Error::other("broken")),
                _ => Ok(number),
            }
        }
    };
    let config = wide().retries(3, MS * 100);
    let mut driver = driver(Jobs::new(config, job, done).expect("settings"));
    driver.send_all([1, 3].map(|number| ("a", Work::Job(number))));
    driver.send("b", Work::Job(2));
    driver.advance_async(MS * 40).await;
    assert_eq!(*attempts.lock().expect("no panic"), [1, 2], "at least half of the back-off");
    driver.advance_async(MS * 300).await;
    assert_eq!(driver.committed(0), Some(3));
    let outs = outs(&driver);
    assert_eq!(numbers(&outs["a"]), [1, 3]);
    let expected = "the job failed in attempt 3: broken";
    assert_eq!(outs["b"], [Out::Failed(expected.to_owned())]);
    let of = |number| attempts.lock().expect("no panic").iter().filter(|n| **n == number).count();
    assert_eq!((of(1), of(2), of(3)), (3, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_job_reaches_its_finalizer() {
    let job = |_: String, number: i64| {
        assert!(number != 1, "before the future");
        async move {
            assert!(number != 2, "in the future");
            Ok::<_, std::io::Error>(number)
        }
    };
    let config = wide().retries(5, MS);
    let mut driver = driver(Jobs::new(config, job, done).expect("settings"));
    driver.send_all([1, 2, 3].map(|number| ("a", Work::Job(number))));
    driver.advance_async(MS).await;
    let outs = outs(&driver);
    let failed = |reason: &str| Out::Failed(format!("the job panicked: {reason}"));
    assert_eq!(outs["a"], [failed("before the future"), failed("in the future"), Out::Done(3)]);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_the_finalizer_passes_on_stops_the_source() {
    let job = |_: String, _: i64| async { Err::<i64, _>(std::io::Error::other("no route")) };
    let mut driver = driver(Jobs::new(wide(), job, complete).expect("settings"));
    driver.hold_completions().send("a", Work::Job(1));
    driver.advance_async(MS).await;
    let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        driver.complete(0);
    }));
    assert!(stopped.is_err());
    let failure = driver.failure().expect("a failure").to_string();
    assert!(failure.contains("the job failed in attempt 1: no route"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_key_gives_its_place_to_others() {
    let jobs = Jobs::new(wide().concurrency(1), takes, done).expect("settings");
    let mut driver = driver(jobs.clone());
    driver.send_all([("a", Work::Job(50)), ("a", Work::Job(50)), ("b", Work::Job(2))]);
    driver.advance_async(MS).await;
    assert_eq!(jobs.cancel_key(&"a".to_owned()), 2);
    driver.advance_async(MS * 4).await;
    assert_eq!(driver.committed(0), Some(3));
    let outs = outs(&driver);
    assert!(
        outs["a"]
            .iter()
            .all(|out| matches!(out, Out::Failed(error) if error.contains("cancelled")))
    );
    assert_eq!(numbers(&outs["b"]), [2]);
}

/// Three schedulers behind one another; each finalizer but the last schedules the next job.
fn chain() -> Jobs {
    let third = Jobs::new(wide(), takes, done).expect("settings");
    let second = Jobs::new(wide(), takes, then(third)).expect("settings");
    Jobs::new(wide(), takes, then(second)).expect("settings")
}

fn then(
    next: Jobs,
) -> impl Fn(&mut EventContext<Counts>, String, i64, JobResult<i64>) -> Result<ExecutionState> {
    move |ctx, key, number, result| {
        count(ctx, Out::Before(result?))?;
        next.schedule(ctx, key, number)
    }
}

#[tokio::test(start_paused = true)]
async fn chained_jobs_with_effects_before_and_after_count_once() {
    for aborts in 0..3 {
        let mut driver = driver(chain());
        driver.send_all([("a", Work::Effects(4)), ("a", Work::Effects(1)), ("b", Work::Job(2))]);
        driver.advance_async(MS * 3).await;
        assert_eq!(driver.committed(0), Some(0), "all steps are one transaction's");
        for _ in 0..aborts {
            driver.inject(Fault::Abort);
        }
        driver.advance_async(MS * 10_000).await;
        assert_eq!(driver.committed(0), Some(3), "{aborts} aborts");
        let outs = outs(&driver);
        assert_eq!(numbers(&outs["a"]).len(), 8, "two events of four steps");
        let ends = outs["a"].iter().filter(|out| matches!(out, Out::Done(_))).cloned();
        assert_eq!(ends.collect::<Vec<_>>(), [Out::Done(4), Out::Done(1)], "in their order");
        assert_eq!(numbers(&outs["b"]), [2, 2, 2]);
        assert_eq!(driver.store(0).counts.get("a"), Some(&8));
    }
}

#[tokio::test(start_paused = true)]
async fn limits_change_at_run_time() {
    let config = wide().concurrency(1).max_concurrent_keys(2).worker_queue_depth(1);
    let jobs = Jobs::new(config, takes, done).expect("settings");
    let mut driver = driver(jobs.clone());
    driver.send_all((0..10).map(|_| ("a", Work::Job(1_000))));
    assert_eq!(jobs.counts().pending, 3, "one runs, one waits, and one exceeds the limit");
    jobs.set_worker_queue_depth(4).expect("in range");
    driver.run_pending();
    assert_eq!(jobs.counts().pending, 6);
    jobs.set_worker_queue_depth(100).expect("in range");
    driver.run_pending();
    assert_eq!((jobs.counts().pending, jobs.counts().holds), (10, 0));
    driver.send_all(["b", "c", "d", "e"].map(|key| (key, Work::Job(1))));
    assert_eq!(jobs.counts().keys, 3, "the third key exceeds the limit");
    jobs.set_max_concurrent_keys(10).expect("in range");
    driver.run_pending();
    assert_eq!(jobs.counts().keys, 5);
    assert!(jobs.set_max_concurrent_keys(0).is_err());
    assert!(jobs.set_worker_queue_depth(usize::MAX).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_full_scheduler_stays_within_its_bound_and_drops_nothing() {
    const PARTITIONS: i32 = 8;
    const INPUTS: usize = 1_000_000;
    const PENDING_MAX: usize = 500;
    let config = wide().concurrency(50).max_pending_jobs(PENDING_MAX).worker_queue_depth(20);
    let most = Arc::new(AtomicUsize::new(0));
    let jobs: Arc<std::sync::OnceLock<Jobs>> = Arc::default();
    let (seen, known) = (Arc::clone(&most), Arc::clone(&jobs));
    let job = move |_: String, _: i64| {
        let pending = known.get().map_or(0, |jobs| jobs.counts().pending);
        seen.fetch_max(pending, Ordering::Relaxed);
        async {
            sleep(MS).await;
            Ok::<_, std::io::Error>(0)
        }
    };
    let jobs = jobs.get_or_init(|| Jobs::new(config, job, complete).expect("settings"));
    let builder = work::Source::builder().shared(App { jobs: jobs.clone() });
    let mut driver = builder.partitions(PARTITIONS).in_flight_events_max(100_000).test_driver();
    let keys: Vec<String> = (0..1_000).map(|key| format!("k{key}")).collect();
    let events = (0..INPUTS).map(|at| (&keys[at % keys.len()], Work::Job(0)));
    driver.send_all(events);
    let bound = PENDING_MAX + usize::try_from(PARTITIONS).expect("few");
    assert!(jobs.counts().pending <= bound, "{:?}", jobs.counts());
    driver.advance_async(MS * 200).await;
    let committed = |driver: &TestDriver<work::Source>| -> i64 {
        (0..PARTITIONS).filter_map(|partition| driver.committed(partition)).sum()
    };
    let after = committed(&driver);
    assert!(after > 0, "the slow job makes progress");
    let most = most.load(Ordering::Relaxed);
    assert!((PENDING_MAX..=bound).contains(&most), "{most} jobs at a time, {after} events done");
}

#[test]
fn blocking_and_computing_jobs_run_in_their_own_threads() {
    let thread = || std::thread::current().name().unwrap_or_default().to_owned();
    let names = Arc::new(Mutex::new(vec![]));
    let log = Arc::clone(&names);
    let job = move |_: String, number: i64| {
        log.lock().expect("no panic").push(thread());
        std::thread::sleep(MS * 2);
        assert!(number != 7, "seven");
        Ok::<_, std::io::Error>(number)
    };
    for compute in [false, true] {
        let config = wide().concurrency(4);
        let jobs = match compute {
            false => Jobs::blocking(config, job.clone(), done),
            true => Jobs::compute(config, job.clone(), done),
        };
        let mut driver = driver(jobs.expect("settings"));
        let keys = ["a", "b", "c", "d", "e"];
        driver.send_all((0..10).flat_map(|number| keys.map(|key| (key, Work::Job(number)))));
        let is_done = |driver: &TestDriver<work::Source>| driver.committed(0) == Some(50);
        assert!(driver.wait_until(Duration::from_secs(30), is_done));
        for (key, outs) in outs(&driver) {
            let seventh = Out::Failed("the job panicked: seven".to_owned());
            let expected = (0..10).map(|n| if n == 7 { seventh.clone() } else { Out::Done(n) });
            assert_eq!(outs, expected.collect::<Vec<_>>(), "{key}");
        }
        let names = std::mem::take(&mut *names.lock().expect("no panic"));
        let expected = if compute { "streams-compute" } else { "streams-blocking" };
        assert!(names.iter().all(|name| name == expected), "{names:?}");
    }
}

#[test]
fn a_blocking_job_that_is_too_slow_is_over_and_keeps_its_key_from_others() {
    let job = |_: String, ms: i64| {
        std::thread::sleep(MS * u32::try_from(ms).expect("a time"));
        Ok::<_, std::io::Error>(ms)
    };
    let config = wide().timeout(MS * 100);
    let mut driver = driver(Jobs::blocking(config, job, done).expect("settings"));
    driver.send_all([("a", Work::Job(400)), ("a", Work::Job(1)), ("b", Work::Job(1))]);
    let failed = |driver: &TestDriver<work::Source>| driver.committed(0) == Some(1);
    assert!(driver.wait_until(Duration::from_secs(30), failed));
    assert_eq!(outs(&driver)["a"].len(), 1, "the second job of the key waits for the thread");
    let all = |driver: &TestDriver<work::Source>| driver.committed(0) == Some(3);
    assert!(driver.wait_until(Duration::from_secs(30), all));
    assert_eq!(outs(&driver)["a"][1], Out::Done(1));
}

#[test]
fn jobs_of_a_runtime_that_is_shut_down_reach_their_finalizers() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let jobs = runtime.block_on(async { Jobs::new(wide().timeout(MS * 60_000), takes, done) });
    let mut driver = driver(jobs.expect("settings"));
    driver.send_all([("a", Work::Job(1)), ("a", Work::Job(2)), ("b", Work::Job(3))]);
    assert_eq!(driver.committed(0), Some(0));
    drop(runtime);
    driver.run_pending();
    assert_eq!(driver.committed(0), Some(3));
    // No start of a thousand jobs is nested in another.
    driver.send_all((0..1_000).map(|number| ("c", Work::Job(number))));
    assert_eq!(driver.committed(0), Some(1_003));
    assert!(driver.read(&OUT).iter().all(|(_, out)| matches!(out, Out::Failed(_))));
}

#[test]
fn a_scheduler_made_outside_of_a_runtime_brings_its_own() {
    let mut driver = driver(Jobs::new(wide(), takes, done).expect("settings"));
    driver.send_all([("a", Work::Job(5)), ("b", Work::Job(1))]);
    let all = |driver: &TestDriver<work::Source>| driver.committed(0) == Some(2);
    assert!(driver.wait_until(Duration::from_secs(30), all));
}

/// Real threads: ends of jobs, schedules and timers meet in any order.
#[test]
fn order_by_key_holds_on_several_threads() {
    const KEYS: i64 = 50;
    const JOBS: i64 = 400;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(4).enable_time().build().expect("a runtime");
    let running: Arc<Mutex<BTreeMap<String, i64>>> = Arc::default();
    let job = move |key: String, number: i64| {
        let running = Arc::clone(&running);
        async move {
            let before = running.lock().expect("no panic").insert(key.clone(), number);
            assert_eq!(before, None, "two jobs of {key} run");
            tokio::task::yield_now().await;
            running.lock().expect("no panic").remove(&key);
            match number % 97 {
                1 => Err(std::io::Error::other("an attempt is left")),
                _ => Ok(number),
            }
        }
    };
    let config = wide().concurrency(16).worker_queue_depth(20).retries(2, MS);
    let jobs = runtime.block_on(async { Jobs::new(config, job, done) }).expect("settings");
    let mut driver = driver(jobs.clone());
    let keys: Vec<String> = (0..KEYS).map(|key| format!("k{key}")).collect();
    driver.send_all((0..JOBS).flat_map(|n| keys.iter().map(move |key| (key, Work::Job(n)))));
    let is_done = |driver: &TestDriver<work::Source>| driver.committed(0) == Some(KEYS * JOBS);
    assert!(driver.wait_until(Duration::from_secs(120), is_done), "{:?}", jobs.counts());
    let expected = (0..JOBS).map(|number| match number % 97 {
        1 => Out::Failed("the job failed in attempt 2: an attempt is left".to_owned()),
        _ => Out::Done(number),
    });
    let expected: Vec<Out> = expected.collect();
    let outs = outs(&driver);
    assert_eq!(outs.len(), keys.len());
    for (key, outs) in outs {
        assert_eq!(outs, expected, "{key}");
    }
    assert_eq!(jobs.counts(), streams_core::jobs::JobCounts::default());
}
