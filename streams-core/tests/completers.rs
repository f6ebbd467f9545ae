//! Asynchronous work: completers, events that stay incomplete for several steps, and their limits.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use streams_core::eos::EosConfig;
use streams_core::handler::Completer;
use streams_core::prelude::*;
use streams_core::testing::{Fault, TestDriver};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Metadata, Subscriber};

#[derive(Events)]
enum Jobs {
    /// Complete at once.
    Quick(i64),
    /// Forwards, and waits for its completer.
    Pinned(i64),
    /// Waits for so many completers, one after the other.
    Steps(i64),
    /// Waits for so many completers at the same time.
    Several(i64),
}

#[derive(Events, Debug, PartialEq)]
enum Reply {
    Done(i64),
}

static REPLIES: Topic<Reply> = Topic::new("replies");

thread_local! {
    /// The handlers run in the thread of the test.
    static COMPLETERS: RefCell<Vec<Completer<NoStore>>> = const { RefCell::new(vec![]) };
}

#[event_source(events = Jobs, store = NoStore)]
mod jobs {
    use super::*;

    #[event_handler("Quick")]
    pub(super) fn quick(ctx: &mut EventContext<NoStore>, job: i64) -> Result<ExecutionState> {
        ctx.forward(&REPLIES, "k", Reply::Done(job))?;
        Ok(Complete)
    }

    #[event_handler("Pinned")]
    fn pinned(ctx: &mut EventContext<NoStore>, job: i64) -> Result<ExecutionState> {
        quick(ctx, job)?;
        several(ctx, 1)
    }

    #[event_handler("Steps")]
    fn steps(ctx: &mut EventContext<NoStore>, steps: i64) -> Result<ExecutionState> {
        ctx.completer().complete(move |ctx| step(ctx, steps));
        Ok(Incomplete)
    }

    #[event_handler("Several")]
    fn several(ctx: &mut EventContext<NoStore>, count: i64) -> Result<ExecutionState> {
        for _ in 0..count {
            COMPLETERS.with_borrow_mut(|completers| completers.push(ctx.completer()));
        }
        Ok(Incomplete)
    }

    #[interjection(every = "10s")]
    fn poll(ctx: &mut EventContext<NoStore>, _: SystemTime) -> Result<ExecutionState> {
        several(ctx, 1)
    }
}

/// A finalizer that takes a completer for the next step; each step forwards its number.
fn step(ctx: &mut EventContext<NoStore>, left: i64) -> Result<ExecutionState> {
    jobs::quick(ctx, left)?;
    if left == 1 {
        return Ok(Complete);
    }
    ctx.completer().complete(move |ctx| step(ctx, left - 1));
    Ok(Incomplete)
}

/// The completers of the events so far.
fn completers() -> Vec<Completer<NoStore>> {
    COMPLETERS.take()
}

fn done(driver: &TestDriver<jobs::Source>) -> Vec<i64> {
    driver.read(&REPLIES).into_iter().map(|(_, Reply::Done(job))| job).collect()
}

fn small_batches(partitions: i32) -> TestDriver<jobs::Source> {
    let eos = EosConfig::default().target_batch_size(5).and_then(|eos| eos.max_batch_size(10));
    let eos = eos.expect("sizes in range");
    jobs::Source::builder().partitions(partitions).eos(eos).test_driver()
}

#[test]
fn a_partition_has_as_many_events_in_flight_as_the_setting_says() {
    let mut driver = jobs::Source::builder().in_flight_events_max(3).test_driver();
    driver.send_all((0..10).map(|_| ("k", Jobs::Several(1))));
    let [first, second, third] = completers().try_into().expect("three events begin");
    second.complete(|_| Ok(Complete));
    driver.run_pending();
    assert!(completers().is_empty(), "the first one holds the second back");
    first.complete(|_| Ok(Complete));
    driver.run_pending().then_committed(0, 2);
    let mut begun = completers();
    begun.push(third);
    while !begun.is_empty() {
        assert!(begun.len() <= 3, "{} events in flight", begun.len());
        begun.into_iter().for_each(|completer| completer.complete(|_| Ok(Complete)));
        driver.run_pending();
        begun = completers();
    }
    driver.then_committed(0, 10);
}

/// Counts the log lines that have these words.
struct Lines(&'static str, Arc<AtomicUsize>);

impl Visit for Lines {
    fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
        self.1.fetch_add(usize::from(format!("{value:?}").contains(self.0)), Ordering::Relaxed);
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Self(self.0, Arc::clone(&self.1)));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_partition_that_waits_for_its_limit_says_so_once() {
    let said = Arc::new(AtomicUsize::new(0));
    let lines = Lines("raise `in_flight_events_max`", Arc::clone(&said));
    tracing::subscriber::with_default(lines, || {
        let mut driver = jobs::Source::builder().in_flight_events_max(2).test_driver();
        driver.send_all((0..2).map(|_| ("k", Jobs::Several(1))));
        assert_eq!(said.load(Ordering::Relaxed), 0, "no further record waits");
        for _ in 0..5 {
            driver.send_all((0..2).map(|_| ("k", Jobs::Several(1))));
            completers().into_iter().for_each(|completer| completer.complete(|_| Ok(Complete)));
            driver.run_pending();
        }
        assert_eq!(said.load(Ordering::Relaxed), 1);
        completers().into_iter().for_each(|completer| completer.complete(|_| Ok(Complete)));
    });
}

#[test]
#[should_panic(expected = "in_flight_events_max")]
fn a_limit_of_no_events_in_flight_is_refused() {
    drop(jobs::Source::builder().in_flight_events_max(0).test_driver());
}

#[test]
fn finalizers_run_in_the_order_of_the_complete_calls() {
    let mut driver = jobs::Source::builder().test_driver();
    driver.send_all((0..3).map(|_| ("k", Jobs::Several(1))));
    let [first, second, third] = completers().try_into().expect("three jobs");
    for (completer, number) in [(third, 3), (first, 1), (second, 2)] {
        completer.complete(move |ctx| jobs::quick(ctx, number));
    }
    driver.run_pending().then_committed(0, 3);
    assert_eq!(done(&driver), [3, 1, 2]);
}

#[test]
fn s1_a_completion_of_a_pinned_event_is_accepted_though_its_transaction_is_full() {
    let mut driver = small_batches(1);
    driver.send("k", Jobs::Pinned(0));
    driver.send_all((1..=10).map(|job| ("k", Jobs::Quick(job))));
    assert_eq!(done(&driver), [0; 0], "the transaction is pinned");
    for completer in completers() {
        completer.complete(|_| Ok(Complete));
    }
    driver.run_pending().then_committed(0, 11);
    assert_eq!(done(&driver), (0..=10).collect::<Vec<_>>());
}

/// The job of the first event ends only when the completion of the second one has run.
#[test]
fn s1_any_completion_is_accepted_while_the_transaction_is_pinned() {
    let mut driver = small_batches(2);
    driver.send_to_partition(0, "k", Jobs::Several(1));
    driver.send_to_partition(1, "k", Jobs::Pinned(0));
    for job in 1..=20 {
        driver.send_to_partition(1, "k", Jobs::Quick(job));
    }
    let [first, pinned] = completers().try_into().expect("two jobs");
    let (done_first, first_done) = std::sync::mpsc::channel();
    first.complete(move |ctx| {
        done_first.send(()).expect("the test waits");
        jobs::quick(ctx, 100)
    });
    driver.run_pending();
    assert_eq!(first_done.try_recv(), Ok(()), "the completion waits for the pinned event");
    pinned.complete(|_| Ok(Complete));
    driver.run_pending().then_committed(0, 1).then_committed(1, 21);
}

/// 200 bytes of metadata have room for some 60 events behind an incomplete one.
#[test]
fn c4_a_partition_takes_no_more_events_than_its_metadata_has_room_for() {
    let eos = EosConfig::default().offset_metadata_max_bytes(200).unwrap();
    let mut driver = jobs::Source::builder().eos(eos).test_driver();
    driver.send("k", Jobs::Several(1));
    driver.send_all((1..=300).map(|job| ("k", Jobs::Quick(job))));
    let taken = done(&driver).len();
    assert!((40..100).contains(&taken), "{taken}");
    driver.crash();
    for completer in completers().into_iter().skip(1) {
        completer.complete(|_| Ok(Complete));
    }
    driver.run_pending().then_committed(0, 301);
    assert_eq!(done(&driver), (1..=300).collect::<Vec<_>>(), "each once, and in order");
}

#[test]
fn s2_a_finalizer_may_take_a_new_completer_any_number_of_times() {
    let mut driver = TestDriver::<jobs::Source>::new();
    driver.send("k", Jobs::Steps(4)).then_committed(0, 1);
    assert_eq!(done(&driver), [4, 3, 2, 1]);
}

#[test]
fn s2_the_steps_of_an_event_are_replayed_after_an_abort() {
    let mut driver = TestDriver::<jobs::Source>::new();
    driver.inject(Fault::Abort).send("k", Jobs::Steps(3)).then_committed(0, 1);
    assert_eq!(done(&driver), [3, 2, 1]);
}

#[test]
fn s6_incomplete_without_a_completer_fails_the_event() {
    let mut driver = TestDriver::<jobs::Source>::new();
    driver.when("k", Jobs::Several(0)).then_fails("returned `Incomplete` without a live completer");
    assert_eq!(driver.committed(0), Some(0));
}

#[test]
fn s6_a_finalizer_that_returns_incomplete_without_a_completer_fails_the_event() {
    let mut driver = TestDriver::<jobs::Source>::new();
    driver.send("k", Jobs::Several(1));
    for completer in completers() {
        completer.complete(|_| Ok(Incomplete));
    }
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        driver.run_pending();
    }));
    assert!(failed.is_err(), "the event waits for ever");
    driver.then_fails("take a new one with `ctx.completer()`");
}

#[test]
fn s6_an_event_waits_for_the_last_of_its_completers() {
    let mut driver = TestDriver::<jobs::Source>::new();
    driver.send("k", Jobs::Several(2));
    let [first, second] = completers().try_into().expect("two completers");
    first.complete(|_| Ok(Incomplete));
    driver.run_pending();
    assert_ne!(driver.committed(0), Some(1), "the second completer is alive");
    second.complete(|ctx| jobs::quick(ctx, 1));
    driver.run_pending().then_committed(0, 1);
    assert_eq!(done(&driver), [1]);
}

#[test]
fn s6_a_scheduled_interjection_runs_again_only_when_the_run_before_is_complete() {
    let mut driver = TestDriver::<jobs::Source>::new();
    driver.advance(Duration::from_secs(35));
    let runs = completers();
    assert_eq!(runs.len(), 1, "each run adds an incomplete one");
    for completer in runs {
        completer.complete(|_| Ok(Complete));
    }
    driver.run_pending();
    assert_eq!(completers().len(), 1, "the one that is due runs now");
}

/// As many as events that may be in flight.
#[test]
fn s6_incomplete_interjections_are_bounded() {
    let mut driver = TestDriver::<jobs::Source>::new();
    for _ in 0..1_005 {
        driver.interject("poll");
    }
    let mut runs = completers();
    assert_eq!(runs.len(), 1_000);
    runs.pop().expect("one").complete(|_| Ok(Complete));
    driver.run_pending();
    assert_eq!(completers().len(), 1, "the next one begins when one is complete");
}
