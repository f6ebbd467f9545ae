//! Durable jobs in the test driver: the real worker, with faults, crashes and restarts.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::*;
use crate::prelude::*;
use crate::record::ProducerRecord;
use crate::testing::{Fault, TestDriver};

/// A step of a chain: `what` says what the job does.
#[derive(Clone, Debug, PartialEq, streams_derive::EventCodec, Serialize, Deserialize)]
struct Step {
    name: String,
    number: u32,
    what: String,
}

impl Job for Step {
    const TYPE: &'static str = "step";
}

/// A job type that no test registers.
#[derive(streams_derive::EventCodec, Serialize, Deserialize)]
struct Unknown;

impl Job for Unknown {
    const TYPE: &'static str = "unknown";
}

#[derive(streams_derive::EventCodec, Serialize, Deserialize)]
struct Order {
    key: String,
    name: String,
    what: String,
    after_ms: u64,
}

#[derive(streams_derive::Events)]
enum Orders {
    Begin(Order),
    Cancel(Order),
    Misuse(String),
    Remind(String),
}

#[derive(streams_derive::Events)]
enum Steps {
    Done(String),
}

static DONE: Topic<Steps> = Topic::new("done");

#[derive(streams_derive::StateStore)]
struct Chains {
    steps: Table<String, u64>,
}

#[streams_derive::event_source(events = Orders, store = Chains)]
mod chains {
    use super::*;

    #[event_handler("Begin")]
    fn begin(ctx: &mut EventContext<Chains>, order: Order) -> Result<ExecutionState> {
        let Order { key, name, what, after_ms } = order;
        ctx.forward(&DONE, &key, Steps::Done(format!("{name} 0")))?;
        let job = Step { name, number: 1, what };
        match after_ms {
            0 => ctx.schedule(&key, job)?,
            after => ctx.schedule_at(&key, job, start() + Duration::from_millis(after))?,
        };
        Ok(Complete)
    }

    #[event_handler("Cancel")]
    fn cancel(ctx: &mut EventContext<Chains>, order: Order) -> Result<ExecutionState> {
        let pending = ctx.pending_jobs(&order.key).len();
        let cancelled = ctx.cancel_jobs(&order.key);
        ctx.forward(&DONE, &order.key, Steps::Done(format!("{cancelled} of {pending}")))?;
        Ok(Complete)
    }

    #[event_handler("Remind")]
    fn remind(ctx: &mut EventContext<Chains>, name: String) -> Result<ExecutionState> {
        let what = "once".to_owned();
        let job = Step { name: name.clone(), number: 1, what };
        ctx.schedule_after(&name, job, Duration::from_secs(5))?;
        Ok(Complete)
    }

    #[event_handler("Misuse")]
    fn misuse(ctx: &mut EventContext<Chains>, key: String) -> Result<ExecutionState> {
        ctx.schedule(&key, Unknown)?;
        Ok(Complete)
    }
}

/// The test driver's first moment.
fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

thread_local! {
    /// How many runs have begun; the test driver runs them in the test's own thread.
    static RUNS: Cell<u64> = const { Cell::new(0) };
}

async fn run(step: Step, run: JobRun) -> Result<String, std::io::Error> {
    RUNS.set(RUNS.get() + 1);
    match step.what.as_str() {
        "panics" => panic!("a bug"),
        "fails once" if run.attempt() == 1 => Err(std::io::Error::other("no answer")),
        "takes long" => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(String::new())
        }
        _ => Ok(format!("{}.{}", run.step(), run.attempt())),
    }
}

fn finalize(
    ctx: &mut EventContext<Chains>,
    step: Step,
    result: &Result<String, JobError>,
) -> Result<Next> {
    let Step { name, number, what } = step;
    let result = match result {
        Ok(result) => result.clone(),
        Err(JobError::Failed { .. }) => return Ok(Next::Retry(Duration::from_secs(10))),
        Err(error) => error.to_string(),
    };
    if what == "no end" {
        return ctx.fail("the finalizer fails");
    }
    ctx.store.steps.update(name.clone(), |steps| *steps += 1);
    ctx.forward(&DONE, &name, Steps::Done(format!("{name} {number} ({result})")))?;
    Ok(match (number, what.as_str()) {
        (3.., _) | (_, "once" | "panics" | "takes long") => Next::Done,
        (_, _) => Next::then(Step { name, number: number + 1, what }),
    })
}

fn driver(bounds: DurableJobs) -> TestDriver<chains::Source> {
    RUNS.set(0);
    let config = JobConfig::default().timeout(Duration::from_millis(20));
    let source = chains::Source::builder().durable_job(config, run, finalize);
    source.durable_jobs(bounds).test_driver()
}

fn order(key: &str, name: &str, what: &str, after_ms: u64) -> Order {
    let (key, name, what) = (key.to_owned(), name.to_owned(), what.to_owned());
    Order { key, name, what, after_ms }
}

fn begin(driver: &mut TestDriver<chains::Source>, key: &str, name: &str, what: &str) {
    driver.send(key, Orders::Begin(order(key, name, what, 0)));
}

fn done(driver: &TestDriver<chains::Source>) -> Vec<String> {
    driver.read(&DONE).into_iter().map(|(_, Steps::Done(text))| text).collect()
}

#[test]
fn a_chain_of_three_steps_has_each_effect_once() {
    let mut driver = driver(DurableJobs::default());
    begin(&mut driver, "a", "x", "chain");
    assert_eq!(done(&driver), ["x 0", "x 1 (0.1)", "x 2 (1.1)", "x 3 (2.1)"]);
    assert_eq!(driver.store(0).steps.get("x"), Some(&3));
    assert_eq!(driver.committed(0), Some(1));
    driver.restart();
    assert_eq!(RUNS.get(), 3, "no job is left");
    assert_eq!(driver.store(0).steps.get("x"), Some(&3));
}

#[test]
fn a_job_begins_once_its_event_is_committed_and_not_before() {
    let mut driver = driver(DurableJobs::default());
    driver.inject(Fault::Abort).inject(Fault::LoseRequest);
    begin(&mut driver, "a", "x", "once");
    assert_eq!(done(&driver), ["x 0", "x 1 (0.1)"]);
    assert_eq!(RUNS.get(), 1, "a job ran for an event that was aborted");
}

#[test]
fn an_aborted_finalizer_runs_again_with_the_same_result() {
    for fault in [Fault::Abort, Fault::LoseRequest, Fault::LoseReply] {
        let mut driver = driver(DurableJobs::default());
        driver.hold_jobs();
        begin(&mut driver, "a", "x", "once");
        driver.inject(fault).run_job(0);
        assert_eq!(done(&driver), ["x 0", "x 1 (0.1)"], "{fault:?}");
        assert_eq!((RUNS.get(), driver.held_jobs()), (1, 0), "{fault:?}");
        driver.restart();
        assert_eq!(driver.held_jobs(), 0, "{fault:?}: the job is still pending");
    }
}

#[test]
fn a_crash_leaves_the_jobs_pending() {
    let mut driver = driver(DurableJobs::default());
    driver.hold_jobs();
    begin(&mut driver, "a", "x", "chain");
    begin(&mut driver, "b", "y", "chain");
    driver.run_job(0);
    assert_eq!(done(&driver), ["x 0", "y 0", "x 1 (0.1)"]);
    driver.crash();
    assert_eq!(driver.held_jobs(), 2);
    driver.release_jobs();
    let rest = ["x 2 (1.1)", "y 1 (0.1)", "x 3 (2.1)", "y 2 (1.1)", "y 3 (2.1)"];
    let mut all = done(&driver).split_off(3);
    all.sort();
    assert_eq!(all, {
        let mut rest = rest.map(str::to_owned);
        rest.sort();
        rest
    });
}

#[test]
fn jobs_of_a_key_run_in_order_and_keys_side_by_side() {
    let mut driver = driver(DurableJobs::default());
    driver.hold_jobs();
    begin(&mut driver, "a", "x", "chain");
    begin(&mut driver, "a", "y", "once");
    begin(&mut driver, "b", "z", "once");
    assert_eq!(driver.held_jobs(), 2, "one of each key");
    driver.run_job(1);
    driver.release_jobs();
    let finished = done(&driver).split_off(3);
    assert_eq!(finished, ["z 1 (0.1)", "x 1 (0.1)", "x 2 (1.1)", "x 3 (2.1)", "y 1 (0.1)"]);
}

#[test]
fn a_job_with_a_due_time_waits_and_holds_up_no_other() {
    let mut driver = driver(DurableJobs::default());
    driver.send("a", Orders::Begin(order("a", "late", "once", 5_000)));
    driver.send("a", Orders::Begin(order("a", "early", "once", 3_000)));
    begin(&mut driver, "a", "now", "once");
    assert_eq!(done(&driver).split_off(3), ["now 1 (0.1)"]);
    driver.advance(Duration::from_millis(2_999));
    assert_eq!(done(&driver).len(), 4);
    driver.crash();
    driver.advance(Duration::from_millis(1));
    assert_eq!(done(&driver).split_off(4), ["early 1 (0.1)"]);
    driver.advance(Duration::from_secs(10));
    assert_eq!(done(&driver).split_off(5), ["late 1 (0.1)"]);
}

#[test]
fn a_delay_counts_from_the_events_time() {
    let mut driver = driver(DurableJobs::default());
    driver.advance(Duration::from_secs(100));
    driver.send("a", Orders::Remind("x".to_owned()));
    driver.advance(Duration::from_millis(4_999));
    assert!(done(&driver).is_empty());
    driver.advance(Duration::from_millis(1));
    assert_eq!(done(&driver), ["x 1 (0.1)"]);
}

#[streams_derive::event_source(events = Steps, store = NoStore)]
mod storeless {
    use super::*;

    #[event_handler("Done")]
    fn begin(ctx: &mut EventContext<NoStore>, name: String) -> Result<ExecutionState> {
        let what = String::new();
        ctx.schedule(&name.clone(), Step { name, number: 1, what })?;
        Ok(Complete)
    }
}

#[test]
fn a_source_without_a_store_has_jobs_that_survive_too() {
    let finalize = |ctx: &mut EventContext<NoStore>, step: Step, _: &Result<String, JobError>| {
        ctx.forward(&DONE, &step.name.clone(), Steps::Done(step.name))?;
        Ok(Next::Done)
    };
    let source = storeless::Source::builder();
    let mut driver = source.durable_job(JobConfig::default(), run, finalize).test_driver();
    driver.hold_jobs().send("a", Steps::Done("x".to_owned()));
    driver.crash();
    driver.release_jobs();
    assert_eq!(driver.read(&DONE).len(), 1);
}

#[test]
fn another_attempt_comes_before_later_jobs_of_the_key() {
    let mut driver = driver(DurableJobs::default());
    begin(&mut driver, "a", "x", "fails once");
    begin(&mut driver, "a", "y", "once");
    assert_eq!(done(&driver), ["x 0", "y 0"]);
    driver.crash();
    driver.advance(Duration::from_secs(9));
    assert_eq!(done(&driver).len(), 2);
    driver.advance(Duration::from_secs(1));
    assert_eq!(done(&driver).split_off(2), ["x 1 (0.2)"], "the next step's first attempt fails");
    driver.advance(Duration::from_secs(20));
    assert_eq!(done(&driver).split_off(3), ["x 2 (1.2)", "x 3 (2.2)", "y 1 (0.1)"]);
}

#[test]
fn a_panic_and_a_timeout_are_results() {
    let mut driver = driver(DurableJobs::default());
    begin(&mut driver, "a", "x", "panics");
    begin(&mut driver, "a", "y", "takes long");
    let done = done(&driver);
    assert_eq!(done[1], "x 1 (the job panicked: a bug)");
    assert!(done[3].starts_with("y 1 (the job took longer than 20ms"), "{done:?}");
}

#[test]
fn a_finalizer_that_fails_stops_the_source_under_every_policy_and_its_job_is_kept() {
    let source = chains::Source::builder().durable_job(JobConfig::default(), run, finalize);
    let source = source.on_handler_error(crate::ErrorPolicy::skip());
    let mut driver = source.test_driver();
    for _ in 0..2 {
        let begun = std::panic::AssertUnwindSafe(|| begin(&mut driver, "a", "x", "no end"));
        assert!(std::panic::catch_unwind(begun).is_err(), "it stops");
        let error = driver.failure().expect("why").to_string();
        assert!(error.contains("the finalizer fails"), "{error}");
        let crashed = std::panic::AssertUnwindSafe(|| {
            driver.crash();
        });
        assert!(std::panic::catch_unwind(crashed).is_err(), "the job is pending still");
    }
}

#[test]
fn a_cancelled_job_has_no_effect() {
    let mut driver = driver(DurableJobs::default());
    driver.hold_jobs();
    begin(&mut driver, "a", "x", "chain");
    begin(&mut driver, "a", "y", "chain");
    begin(&mut driver, "ab", "z", "once");
    assert_eq!(driver.held_jobs(), 2);
    driver.inject(Fault::Abort);
    driver.send("a", Orders::Cancel(order("a", "", "", 0)));
    assert_eq!(driver.held_jobs(), 1, "the run of the cancelled job is cancelled");
    driver.release_jobs();
    assert_eq!(done(&driver).split_off(3), ["2 of 2", "z 1 (0.1)"]);
    driver.restart();
    assert_eq!(done(&driver).len(), 5);
}

#[test]
fn a_bound_of_pending_jobs_pauses_the_partition() {
    for bounds in [DurableJobs::default().max_rows(2), DurableJobs::default().max_bytes(1_024)] {
        let mut driver = driver(bounds);
        driver.hold_jobs();
        let name = "n".repeat(500);
        let sent: Vec<_> = (0..5).map(|n| format!("k{n}")).collect();
        let events = sent.iter().map(|key| (key, Orders::Begin(order(key, &name, "once", 0))));
        driver.send_all(events);
        assert_eq!((driver.committed(0), driver.held_jobs()), (Some(2), 2), "{bounds:?}");
        driver.run_job(0);
        assert_eq!((driver.committed(0), driver.held_jobs()), (Some(3), 2), "{bounds:?}");
        driver.release_jobs();
        assert_eq!((driver.committed(0), RUNS.get()), (Some(5), 5), "{bounds:?}");
    }
}

#[test]
fn a_failed_event_has_scheduled_nothing_and_cancelled_nothing() {
    let mut ctx = crate::testing::context::<Chains>();
    let step = |name: &str| Step { name: name.to_owned(), number: 1, what: String::new() };
    let first = ctx.schedule("a", step("x")).expect("a job");
    let mark = ctx.mark();
    ctx.seal(mark).expect("bytes");
    ctx.begin(None);
    let mark = ctx.mark();
    ctx.schedule("a", step("y")).expect("a job");
    assert!(ctx.cancel_job("a", first));
    ctx.undo_event(mark);
    assert_eq!(ctx.pending_jobs("a"), [first]);
}

#[test]
fn the_bounds_and_types_are_checked() {
    let check = |source: crate::SourceBuilder<chains::Source>| {
        let source = source.bootstrap("b:1").group("g").topic("t");
        source.check().err().expect("it can't be used").to_string()
    };
    let source = chains::Source::builder;
    let rows = check(source().durable_jobs(DurableJobs::default().max_rows(0)));
    assert_eq!(rows, "`durable_jobs.max_rows` is 0: it must be from 1 to 100000000");
    let bytes = check(source().durable_jobs(DurableJobs::default().max_bytes(7)));
    assert!(bytes.starts_with("`durable_jobs.max_bytes` is 7"), "{bytes}");
    let none = check(source().durable_jobs(DurableJobs::default().concurrency(0)));
    assert!(none.starts_with("`durable_jobs.concurrency` is 0"), "{none}");
    let config = JobConfig::default();
    let twice = source().durable_job(config, run, finalize).durable_job(config, run, finalize);
    assert!(check(twice).contains("`step`: two job types of the source have this name"));
    let timeout = config.timeout(Duration::from_secs(1));
    let blocking = source().blocking_durable_job(
        timeout,
        |_: Step, _| Ok::<_, std::io::Error>(String::new()),
        finalize,
    );
    assert!(check(blocking).contains("a thread can't be cancelled"));
}

#[test]
fn a_job_of_an_unregistered_type_is_refused_when_it_is_scheduled() {
    let mut driver = driver(DurableJobs::default());
    driver.when("a", Orders::Misuse("a".to_owned()));
    driver.then_fails("nobody has registered the job type `unknown`");
}

#[test]
#[should_panic(
    expected = "test-0 has 2 pending jobs of type `unknown`, which nobody has registered"
)]
fn a_pending_job_that_nobody_knows_stops_the_source_and_is_not_dropped() {
    let mut driver = driver(DurableJobs::default());
    for id in 0..2 {
        let key = [&b"\0streams.jobs\0"[..], &row_key(b"a", JobId(id))].concat();
        let (job_type, payload) = ("unknown", &b"null"[..]);
        let row = JobRow { step: 0, attempt: 1, due_ms: None, holds_key: false, job_type, payload };
        let record = ProducerRecord::to("gkes_change_log_test_test").key(key).value(row.encode());
        driver.send_record(record);
    }
    driver.crash();
}

#[test]
fn blocking_and_computing_jobs_run_too() {
    let config = JobConfig::default();
    let run = |step: Step, _: JobRun| Ok::<_, std::io::Error>(step.what);
    for computes in [false, true] {
        let source = chains::Source::builder();
        let source = match computes {
            true => source.compute_durable_job(config, run, finalize),
            false => source.blocking_durable_job(config, run, finalize),
        };
        let mut driver = source.test_driver();
        begin(&mut driver, "a", "x", "once");
        assert_eq!(done(&driver), ["x 0", "x 1 (once)"]);
    }
}

/// Faults, crashes and restarts at random; at the end each step of each chain has happened once,
/// and the steps of a key in their order.
#[test]
fn each_step_happens_exactly_once_whatever_goes_wrong() {
    for seed in 1..40_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut below = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 16) % bound
        };
        let config = JobConfig::default();
        let source = chains::Source::builder().durable_job(config, run, finalize).partitions(2);
        let bounds = DurableJobs::default().concurrency(3).max_rows(6);
        let mut driver = source.durable_jobs(bounds).test_driver();
        driver.hold_jobs();
        driver.latency(Duration::from_millis(below(3)));
        let mut names = BTreeMap::<String, Vec<String>>::new();
        for number in 0..60 {
            match below(10) {
                0..4 => {
                    let (key, name) = (format!("key {}", below(5)), format!("job {number}"));
                    begin(&mut driver, &key, &name, "chain");
                    names.entry(key).or_default().push(name);
                }
                fault @ 4..7 => {
                    let faults = [Fault::Abort, Fault::LoseRequest, Fault::LoseReply];
                    driver.inject(faults[usize::try_from(fault - 4).expect("small")]);
                }
                7 if below(2) == 0 => {
                    driver.crash();
                }
                7 => {
                    driver.restart();
                }
                _ => {
                    if let Some(count) = std::num::NonZeroU64::new(driver.held_jobs() as u64) {
                        driver.run_job(usize::try_from(below(count.get())).expect("small"));
                    }
                }
            }
        }
        driver.release_jobs();
        driver.advance(Duration::from_secs(1));
        let done = done(&driver);
        for (key, names) in names {
            let steps = names.iter().flat_map(|name| (1..4).map(move |n| format!("{name} {n} ")));
            let steps: Vec<_> = steps.collect();
            let is_of_key = |text: &String| {
                let name = text.rsplit_once(" (").map(|(name, _)| name.rsplit_once(' '));
                name.flatten().is_some_and(|(name, _)| names.iter().any(|known| known == name))
            };
            let seen = done.iter().filter(|text| is_of_key(text));
            let seen = seen.map(|text| text[..text.find('(').expect("a step")].to_owned());
            assert_eq!(seen.collect::<Vec<_>>(), steps, "seed {seed}, {key}");
            for name in &names {
                let stored = (0..2).find_map(|p| driver.store(p).steps.get(name.as_str()).copied());
                assert_eq!(stored, Some(3), "seed {seed}, {name}");
            }
        }
        let runs = RUNS.get();
        driver.crash();
        assert_eq!(RUNS.get(), runs, "seed {seed}: a job is still pending");
    }
}
