//! Interjections: their results, what an abort does to them, and schedules that outlive the owners
//! of partitions.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use streams_core::eos::EosConfig;
use streams_core::handler::Completer;
use streams_core::prelude::*;
use streams_core::testing::{Fault, TestDriver};
use streams_core::{Answer, InterjectError, Interjected, ScheduleError, SourceHandle};

#[derive(Events)]
enum Ticks {
    Tick(i64),
}

#[derive(Events, Debug, PartialEq)]
enum Report {
    Hour(i64),
    Tick(i64),
    Asked(i64),
}

static REPORTS: Topic<Report> = Topic::new("reports");

thread_local! {
    /// The handlers run in the thread of the test.
    static SILENT_RUNS: Cell<usize> = const { Cell::new(0) };
    static COMPLETERS: RefCell<Vec<Completer<NoStore>>> = const { RefCell::new(vec![]) };
}

const MINUTE: Duration = Duration::from_secs(60);

/// No store, and most often no events: nothing is committed but for the interjections.
#[event_source(events = Ticks, store = NoStore)]
mod hourly {
    use super::*;

    #[event_handler("Tick")]
    fn tick(ctx: &mut EventContext<NoStore>, tick: i64) -> Result<ExecutionState> {
        ctx.forward(&REPORTS, "k", Report::Tick(tick))?;
        Ok(Complete)
    }

    #[interjection(every = "1h")]
    pub(super) fn report(
        ctx: &mut EventContext<NoStore>,
        at: SystemTime,
    ) -> Result<ExecutionState> {
        let minutes = at.duration_since(SystemTime::UNIX_EPOCH)?.as_secs() / 60;
        ctx.forward(&REPORTS, "k", Report::Hour(minutes.cast_signed()))?;
        Ok(Complete)
    }

    #[interjection(every = "1h")]
    fn silent(_: &mut EventContext<NoStore>, _: SystemTime) -> Result<ExecutionState> {
        SILENT_RUNS.set(SILENT_RUNS.get() + 1);
        Ok(Complete)
    }

    #[interjection(every = "20s")]
    fn often(_: &mut EventContext<NoStore>, _: SystemTime) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

#[event_source(events = Ticks, store = NoStore)]
mod slow {
    use super::*;

    #[event_handler("Tick")]
    fn tick(ctx: &mut EventContext<NoStore>, tick: i64) -> Result<ExecutionState> {
        ctx.forward(&REPORTS, "k", Report::Tick(tick))?;
        Ok(Complete)
    }

    /// Asks a slow service.
    #[interjection(every = "1h")]
    fn ask(ctx: &mut EventContext<NoStore>, _: SystemTime) -> Result<ExecutionState> {
        COMPLETERS.with_borrow_mut(|completers| completers.push(ctx.completer()));
        Ok(Incomplete)
    }
}

fn hours(driver: &TestDriver<hourly::Source>) -> Vec<i64> {
    let start = 1_767_225_600 / 60;
    let hour = |(_, report)| match report {
        Report::Hour(minutes) => Some(minutes - start),
        Report::Tick(_) | Report::Asked(_) => None,
    };
    driver.read(&REPORTS).into_iter().filter_map(hour).collect()
}

fn answer_slow(number: i64) {
    for completer in COMPLETERS.take() {
        completer.complete(move |ctx| {
            ctx.forward(&REPORTS, "k", Report::Asked(number))?;
            Ok(Complete)
        });
    }
}

fn asked(driver: &TestDriver<slow::Source>) -> Vec<i64> {
    let asked = |(_, report)| match report {
        Report::Asked(number) => Some(number),
        Report::Tick(_) | Report::Hour(_) => None,
    };
    driver.read(&REPORTS).into_iter().filter_map(asked).collect()
}

#[test]
fn d9_an_interjection_that_somebody_asked_for_runs_again_after_an_abort() {
    for faults in [vec![Fault::Abort], vec![Fault::LoseRequest, Fault::Abort]] {
        let mut driver = TestDriver::<hourly::Source>::new();
        for fault in faults {
            driver.inject(fault);
        }
        driver.interject("report");
        assert_eq!(hours(&driver), [0]);
    }
}

#[test]
fn d9_the_effects_of_an_interjection_are_committed_once() {
    let mut driver = TestDriver::<hourly::Source>::new();
    driver.inject(Fault::LoseReply).interject("report");
    driver.inject(Fault::Abort).send("k", Ticks::Tick(1));
    assert_eq!(hours(&driver), [0], "it was committed before the abort");
}

#[test]
fn d9_a_scheduled_interjection_runs_again_after_an_abort() {
    let mut driver = TestDriver::<hourly::Source>::new();
    driver.advance(59 * MINUTE).inject(Fault::Abort).advance(62 * MINUTE);
    assert_eq!(hours(&driver), [60, 120]);
}

#[test]
fn d9_an_incomplete_interjection_runs_again_after_an_abort() {
    let mut driver = TestDriver::<slow::Source>::new();
    driver.interject("ask").advance(61 * MINUTE);
    assert_eq!(COMPLETERS.with_borrow(Vec::len), 2, "one was asked for, one is scheduled");
    driver.inject(Fault::Abort).send("k", Ticks::Tick(1));
    let runs = COMPLETERS.with_borrow(Vec::len);
    assert_eq!(runs, 4, "the abort undid both");
    answer_slow(7);
    driver.run_pending();
    assert_eq!(asked(&driver), [7, 7]);
    driver.inject(Fault::Abort).send("k", Ticks::Tick(1)).advance(30 * MINUTE);
    assert_eq!(asked(&driver), [7, 7], "they are committed");
}

#[test]
fn d9_a_schedule_survives_moves_without_a_store_and_without_events() {
    SILENT_RUNS.set(0);
    let mut driver = TestDriver::<hourly::Source>::new();
    for n in 0..10 {
        driver.advance(59 * MINUTE);
        match n % 2 {
            0 => driver.restart(),
            _ => driver.crash(),
        };
    }
    assert_eq!(hours(&driver), [60, 120, 180, 240, 300, 360, 420, 480, 540]);
    assert_eq!(SILENT_RUNS.get(), 9, "runs without effects are committed as well");
}

#[test]
fn c4_the_start_refuses_a_limit_that_the_schedule_alone_exceeds() {
    let least = streams_core::eos::metadata_bytes_min(3);
    let eos = |bytes| EosConfig::default().offset_metadata_max_bytes(bytes).unwrap();
    let start = |bytes| hourly::Source::builder().eos(eos(bytes)).test_driver();
    let panic = std::panic::catch_unwind(|| start(least - 1)).expect_err("it is too small");
    let text = panic.downcast_ref::<String>().expect("with a text");
    assert!(text.contains(&format!("`offset_metadata_max_bytes` is `{}`", least - 1)), "{text}");
    assert!(text.contains("3 interjections"), "{text}");
    start(least).send("k", Ticks::Tick(1)).then_committed(0, 1);
}

#[test]
fn d9_a_run_that_is_incomplete_when_its_partition_moves_is_begun_again() {
    let mut driver = TestDriver::<slow::Source>::new();
    driver.advance(61 * MINUTE);
    answer_slow(1);
    driver.run_pending().advance(60 * MINUTE);
    assert_eq!(COMPLETERS.take().len(), 1);
    driver.crash();
    assert_eq!(COMPLETERS.with_borrow(Vec::len), 1, "the next owner begins it");
    answer_slow(2);
    driver.run_pending();
    assert_eq!(asked(&driver), [1, 2]);
}

#[derive(StateStore)]
struct Counts {
    counts: Table<String, i64>,
}

#[event_source(events = Ticks, store = Counts)]
mod counting {
    use super::*;

    /// A negative tick stays incomplete, after it had effects.
    #[event_handler("Tick")]
    fn tick(ctx: &mut EventContext<Counts>, tick: i64) -> Result<ExecutionState> {
        let Some(key) = ctx.key::<String>()? else { return ctx.fail("no key") };
        ctx.store.counts.update(key, |count| *count += tick);
        if tick >= 0 {
            return Ok(Complete);
        }
        PARKED.with_borrow_mut(|parked| parked.push(ctx.completer()));
        Ok(Incomplete)
    }
}

thread_local! {
    static PARKED: RefCell<Vec<Completer<Counts>>> = const { RefCell::new(vec![]) };
}

type Counting = TestDriver<counting::Source>;

/// The result, which must be there.
#[track_caller]
fn answer<R>(asked: Interjected<R>) -> std::result::Result<R, InterjectError> {
    match asked.wait_timeout(Duration::ZERO) {
        Ok(answer) => answer,
        Err(asked) => panic!("no answer of {asked:?}"),
    }
}

/// The handle of a result that is not there.
#[track_caller]
fn waits<R>(asked: Interjected<R>) -> Interjected<R> {
    asked.wait_timeout(Duration::ZERO).err().expect("it must not be answered yet")
}

#[test]
fn a_query_reads_the_store() {
    let mut driver = Counting::new();
    driver.send("a", Ticks::Tick(2)).send("b", Ticks::Tick(3));
    let (rows, b) = (
        driver.handle().query(0, |store| store.counts.len()),
        driver.handle().query_committed(0, |store| store.counts.get("b").copied()),
    );
    driver.run_pending();
    assert_eq!(answer(rows).unwrap(), 2);
    assert_eq!(answer(b).unwrap(), Some(3));
    let elsewhere = driver.handle().query(7, |store| store.counts.len());
    driver.run_pending();
    let error = answer(elsewhere).unwrap_err();
    assert!(matches!(error, InterjectError::PartitionNotAssigned { partition: 7 }), "{error}");
}

/// While an incomplete event keeps the transaction open, nothing that was in it is committed.
#[test]
fn a_result_with_effects_comes_when_they_are_committed_and_a_query_at_once() {
    let mut driver = Counting::new();
    driver.send("a", Ticks::Tick(-1));
    let source = driver.handle();
    let query = source.query(0, |store| store.counts.get("a").copied());
    let committed = source.query_committed(0, |store| store.counts.get("a").copied());
    let insert = source.interject(0, |ctx| {
        ctx.store.counts.put("b".to_owned(), 7);
        Ok(ctx.store.counts.len())
    });
    driver.run_pending();
    assert_eq!(answer(query).unwrap(), Some(-1), "it sees what is not committed");
    let (committed, insert) = (waits(committed), waits(insert));
    for completer in PARKED.take() {
        completer.complete(|_| Ok(Complete));
    }
    driver.run_pending();
    assert_eq!(answer(committed).unwrap(), Some(-1));
    assert_eq!(answer(insert).unwrap(), 2);
    assert_eq!(driver.changelog(0).len(), 2);
}

#[test]
fn the_result_of_the_run_that_is_committed_counts() {
    let mut driver = Counting::new();
    let mut runs = 0;
    let insert = driver.inject(Fault::Abort).handle().interject(0, move |ctx| {
        runs += 1;
        ctx.store.counts.put("runs".to_owned(), runs);
        Ok(runs)
    });
    driver.run_pending();
    assert_eq!(answer(insert).unwrap(), 2, "the first run was aborted");
    assert_eq!(driver.store(0).counts.get("runs"), Some(&2));
    assert_eq!(driver.changelog(0).len(), 1);
}

#[test]
fn an_error_goes_to_the_caller_and_the_source_goes_on() {
    let mut driver = Counting::new();
    let failed = driver.interject_once(0, |ctx| {
        ctx.store.counts.put("a".to_owned(), 1);
        ctx.fail::<()>("there is no order 7")
    });
    let error = failed.unwrap_err();
    assert!(matches!(error, InterjectError::Failed { partition: 0, .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "the interjection of partition 0 failed: there is no order 7; its effects are undone"
    );
    driver.send("b", Ticks::Tick(1));
    assert_eq!(driver.store(0).counts.len(), 1, "its effects are undone");
    // Nobody waits for this one.
    drop(driver.handle().interject(0, |ctx| ctx.fail::<()>("no")));
    driver.run_pending().send("b", Ticks::Tick(1));
}

#[test]
fn a_query_that_panics_fails_alone_and_other_panics_stop_the_source() {
    let mut driver = Counting::new();
    let query = driver.handle().query(0, |store| store.counts.get("a").copied().unwrap());
    driver.run_pending();
    let error = answer(query).unwrap_err();
    assert!(matches!(error, InterjectError::Panicked { .. }), "{error}");
    driver.send("b", Ticks::Tick(1));

    let asked = driver.interject_once(0, |_| -> Result<()> { panic!("no way") });
    let error = asked.unwrap_err().to_string();
    assert_eq!(error, "the interjection of partition 0 panicked: no way");
    assert!(driver.failure().is_some());

    let mut driver = Counting::new();
    let fatal = driver.interject_once(0, |_| -> Result<()> {
        Err(streams_core::HandlerError::fatal("the disk is gone"))
    });
    assert!(matches!(fatal, Err(InterjectError::Failed { .. })));
    assert!(driver.failure().is_some_and(|error| error.to_string().contains("the disk is gone")));
}

#[test]
fn the_queue_is_bounded_and_nothing_is_dropped_silently() {
    let mut driver = counting::Source::builder().interjection_queue(2).test_driver();
    let source = driver.handle();
    let ask = || source.query(0, |store| store.counts.len());
    let (first, second, third) = (ask(), ask(), ask());
    let error = answer(third).unwrap_err();
    assert!(matches!(error, InterjectError::QueueFull { limit: 2, .. }), "{error}");
    driver.run_pending();
    assert_eq!((answer(first).unwrap(), answer(second).unwrap()), (0, 0));
    let again = ask();
    driver.run_pending();
    assert_eq!(answer(again).unwrap(), 0);
    driver.restart();
    let error = answer(ask()).unwrap_err();
    assert!(matches!(error, InterjectError::Stopped { .. }), "of another instance: {error}");
}

#[test]
fn all_partitions_are_asked_at_once() {
    let mut driver = counting::Source::builder().partitions(3).test_driver();
    for partition in 0..3 {
        for key in ["a", "b", "c"].iter().take(usize::try_from(partition).unwrap()) {
            driver.send_to_partition(partition, *key, Ticks::Tick(1));
        }
    }
    let counts = driver.handle().query_all(|store| store.counts.len());
    let failures = driver.handle().interject_all(|ctx| {
        let partition = ctx.topic_partition().partition();
        if partition == 1 { ctx.fail("not this one") } else { Ok(partition) }
    });
    driver.run_pending();
    let counts: Vec<_> = counts.wait().into_iter().map(|(p, n)| (p, n.unwrap())).collect();
    assert_eq!(counts, [(0, 0), (1, 1), (2, 2)]);
    let failures = failures.wait();
    assert_eq!(failures.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    let failed = failures.values().filter(|result| result.is_err()).count();
    assert_eq!(failed, 1, "one result each");
}

#[test]
fn an_asynchronous_interjection_is_answered_when_it_is_complete() {
    let mut driver = Counting::new();
    let source = driver.handle();
    let ask = |source: &SourceHandle<counting::Source>| {
        source.interject_async(0, |ctx, answer: Answer<&'static str>| {
            let completer = ctx.completer();
            ANSWERS.with_borrow_mut(|answers| answers.push((completer, answer)));
            Ok(Incomplete)
        })
    };
    let asked = ask(&source);
    driver.run_pending();
    let asked = waits(asked);
    let (completer, to) = ANSWERS.take().pop().unwrap();
    completer.complete(move |ctx| {
        ctx.store.counts.put("late".to_owned(), 1);
        to.set("done");
        Ok(Complete)
    });
    driver.run_pending();
    assert_eq!(answer(asked).unwrap(), "done");
    assert_eq!(driver.changelog(0).len(), 1);

    let (failed, dropped, silent) = (ask(&source), ask(&source), ask(&source));
    driver.run_pending();
    let mut completers = ANSWERS.take().into_iter().map(|(completer, _)| completer);
    completers.next().unwrap().complete(|ctx| ctx.fail("the service said no"));
    drop(completers.next().unwrap());
    completers.next().unwrap().complete(|_| Ok(Complete));
    driver.run_pending();
    for (asked, text) in
        [(failed, "the service said no"), (dropped, "was dropped"), (silent, "without a result")]
    {
        let error = answer(asked).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    driver.send("a", Ticks::Tick(1));
}

thread_local! {
    static ANSWERS: RefCell<Vec<(Completer<Counts>, Answer<&'static str>)>> =
        const { RefCell::new(vec![]) };
}

#[test]
fn a_completion_that_fails_after_effects_stops_the_source_and_tells_the_caller() {
    let mut driver = Counting::new();
    let asked = driver.handle().interject_async(0, |ctx, _: Answer<()>| {
        ctx.store.counts.put("early".to_owned(), 1);
        PARKED.with_borrow_mut(|parked| parked.push(ctx.completer()));
        Ok(Incomplete)
    });
    driver.run_pending();
    let asked = waits(asked);
    PARKED.take().pop().unwrap().complete(|ctx| ctx.fail("no"));
    // The driver's own calls panic from here on.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| _ = driver.run_pending()));
    assert!(matches!(answer(asked), Err(InterjectError::Failed { .. })));
    assert!(driver.failure().is_some());
}

/// A schedule that counts its runs, and the times of day at which it ran, in seconds.
type Runs = Arc<Mutex<Vec<u64>>>;

fn counted(
    runs: &Runs,
) -> impl Fn(&mut EventContext<Counts>, SystemTime) -> Result<ExecutionState> + Send + Sync + use<>
{
    let runs = Arc::clone(runs);
    move |ctx, at| {
        let seconds = at.duration_since(SystemTime::UNIX_EPOCH)?.as_secs() - 1_767_225_600;
        runs.lock().expect("no panic").push(seconds / 60);
        ctx.store.counts.update("runs".to_owned(), |count| *count += 1);
        Ok(Complete)
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn an_interjection_is_scheduled_while_the_source_runs_and_cancelled() {
    let (mut driver, runs) = (Counting::new(), Runs::default());
    let schedule = |driver: &Counting| {
        driver.handle().schedule_interjection("sweep", HOUR, Duration::ZERO, counted(&runs))
    };
    let sweep = schedule(&driver).unwrap();
    assert!(matches!(schedule(&driver), Err(ScheduleError::NameTaken { .. })));
    driver.advance(3 * HOUR).advance(30 * MINUTE);
    assert_eq!(*runs.lock().unwrap(), [60, 120, 180]);
    sweep.cancel();
    driver.advance(5 * HOUR);
    assert_eq!(runs.lock().unwrap().len(), 3, "it is cancelled");
    let again = schedule(&driver).unwrap();
    assert_eq!(again.name(), "sweep");
    driver.advance(59 * MINUTE);
    assert_eq!(runs.lock().unwrap().len(), 3, "the interval begins anew");
    driver.advance(2 * MINUTE);
    assert_eq!(runs.lock().unwrap().len(), 4);
    assert_eq!(driver.store(0).counts.get("runs"), Some(&4));
}

#[test]
fn a_schedule_with_captures_is_known_from_the_start() {
    let runs = Runs::default();
    let mut driver = counting::Source::builder()
        .schedule_interjection("sweep", HOUR, Duration::ZERO, counted(&runs))
        .test_driver();
    let taken =
        driver.handle().schedule_interjection("sweep", HOUR, Duration::ZERO, counted(&runs));
    assert!(matches!(taken, Err(ScheduleError::NameTaken { .. })));
    driver.advance(30 * MINUTE).restart().advance(31 * MINUTE).interject("sweep");
    assert_eq!(*runs.lock().unwrap(), [60, 61]);
}

/// The application schedules after each start: the next owner continues the interval.
#[test]
fn a_schedule_that_is_made_again_after_a_move_continues() {
    for crashes in [false, true] {
        let (mut driver, runs) = (Counting::new(), Runs::default());
        let schedule = |driver: &Counting| {
            let source = driver.handle();
            drop(source.schedule_interjection("sweep", HOUR, Duration::ZERO, counted(&runs)));
        };
        schedule(&driver);
        driver.advance(45 * MINUTE);
        match crashes {
            true => driver.crash(),
            false => driver.restart(),
        };
        driver.advance(5 * MINUTE);
        schedule(&driver);
        driver.advance(11 * MINUTE);
        assert_eq!(*runs.lock().unwrap(), [60], "crashes: {crashes}");
    }
}

#[test]
fn an_aborted_run_of_a_new_schedule_runs_again_and_others_are_not_hurried() {
    let (mut driver, runs) = (Counting::new(), Runs::default());
    let source = driver.handle();
    drop(source.schedule_interjection("sweep", HOUR, Duration::ZERO, counted(&runs)));
    // Too frequent for a commit of its own.
    let often = Runs::default();
    let half = Duration::from_secs(30);
    drop(source.schedule_interjection("often", half, Duration::ZERO, counted(&often)));
    driver.run_pending().inject(Fault::Abort).send("a", Ticks::Tick(1));
    assert_eq!(runs.lock().unwrap().len() + often.lock().unwrap().len(), 0, "none is due");
    driver.advance(59 * MINUTE + half / 2).inject(Fault::Abort).advance(2 * MINUTE);
    let runs = runs.lock().unwrap();
    assert!(matches!(runs[..], [60] | [60, 60]), "{runs:?}");
    assert_eq!(driver.store(0).counts.get("a"), Some(&1));
}

/// A worker that has no time for an interjection does not make up for it later.
#[test]
fn runs_that_take_longer_than_their_interval_do_not_pile_up() {
    const EVERY: Duration = Duration::from_secs(30);
    // One transaction at a time, which takes ten minutes.
    let eos = EosConfig::default().pending_transactions(0).unwrap().pool_size(1).unwrap();
    let (mut driver, runs) = (counting::Source::builder().eos(eos).test_driver(), Runs::default());
    driver.latency(5 * MINUTE);
    let noted = Arc::clone(&runs);
    let often = move |ctx: &mut EventContext<Counts>, at: SystemTime| {
        let seconds = at.duration_since(SystemTime::UNIX_EPOCH)?.as_secs() - 1_767_225_600;
        noted.lock().unwrap().push(seconds);
        // With effects for ever, the driver would never be done.
        if seconds < HOUR.as_secs() {
            ctx.store.counts.update("runs".to_owned(), |count| *count += 1);
        }
        Ok(Complete)
    };
    drop(driver.handle().schedule_interjection("often", EVERY, Duration::ZERO, often));
    driver.advance(HOUR + HOUR);
    let runs = runs.lock().unwrap();
    let apart: Vec<_> = runs.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        apart.iter().all(|seconds| *seconds >= EVERY.as_secs()),
        "none is made up for: {runs:?}"
    );
    assert!(apart.iter().any(|seconds| *seconds > 2 * EVERY.as_secs()), "it had to wait: {runs:?}");
}

#[test]
fn a_scheduled_run_that_is_incomplete_does_not_begin_again() {
    let mut driver = TestDriver::<slow::Source>::new();
    driver.advance(5 * HOUR);
    assert_eq!(COMPLETERS.with_borrow(Vec::len), 1, "four more times have come");
    answer_slow(1);
    driver.run_pending();
    assert_eq!(COMPLETERS.with_borrow(Vec::len), 1, "it is due");
    answer_slow(2);
    driver.run_pending();
    assert_eq!(COMPLETERS.with_borrow(Vec::len), 0, "once, however many it has missed");
    assert_eq!(asked(&driver), [1, 2]);
}

#[test]
fn schedules_are_checked() {
    let driver = Counting::new();
    let schedule = |every, jitter| {
        let source = driver.handle();
        source.schedule_interjection("s", every, jitter, |_, _| Ok(Complete))
    };
    assert!(matches!(schedule(Duration::ZERO, Duration::ZERO), Err(ScheduleError::Invalid(_))));
    assert!(matches!(schedule(MINUTE, HOUR), Err(ScheduleError::Invalid(_))));
    let text = |builder: streams_core::SourceBuilder<counting::Source>| {
        let start = std::panic::AssertUnwindSafe(|| builder.test_driver());
        let panic = std::panic::catch_unwind(start).expect_err("a setting can't be used");
        panic.downcast_ref::<String>().expect("with a text").clone()
    };
    let none = text(counting::Source::builder().interjection_queue(0));
    assert!(none.contains("`interjection_queue` is 0"), "{none}");
    let often = |_: &mut EventContext<Counts>, _| Ok(Complete);
    let never = text(counting::Source::builder().schedule_interjection(
        "s",
        Duration::ZERO,
        Duration::ZERO,
        often,
    ));
    assert!(never.contains("`every` is"), "{never}");
}
