//! Interjections run again after an abort, and their schedules outlive the owners of partitions.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use streams_core::eos::EosConfig;
use streams_core::handler::Completer;
use streams_core::prelude::*;
use streams_core::testing::{Fault, TestDriver};

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

fn answer(number: i64) {
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
    answer(7);
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
    answer(1);
    driver.run_pending().advance(60 * MINUTE);
    assert_eq!(COMPLETERS.take().len(), 1);
    driver.crash();
    assert_eq!(COMPLETERS.with_borrow(Vec::len), 1, "the next owner begins it");
    answer(2);
    driver.run_pending();
    assert_eq!(asked(&driver), [1, 2]);
}
