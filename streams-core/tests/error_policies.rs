//! Error policies: each answer to each kind of failure, the order that retries keep, and what
//! aborts and restarts do to them.

#[path = "error_policies/histories.rs"]
mod histories;
#[path = "error_policies/parked.rs"]
mod parked;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use streams_core::error::{Disposition, TxnStep};
use streams_core::handler::{Completer, HandlerError};
use streams_core::prelude::*;
use streams_core::record::ProducerRecord;
use streams_core::testing::{Fault, TestDriver};
use streams_core::{
    Backoff, ErrorContext, ErrorPolicy, ErrorResponse, RetryOrder, SourceBuilder,
    TransactionResponse, dead_letter,
};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Events)]
enum Work {
    /// Is done, unless [`FAILURES`] says otherwise.
    Do(String),
    /// The same, by a completer that the test takes from [`COMPLETERS`].
    Later(String),
    /// The same, after an effect.
    Sooner(String),
}

#[derive(Events, Debug, PartialEq)]
enum Done {
    Done(String),
}

#[derive(StateStore)]
struct Store {
    runs: Table<String, u64>,
}

static DONE: Topic<Done> = Topic::new("done");

#[derive(Clone, Copy)]
enum Kind {
    Error,
    Panic,
    Fatal,
}

type Failures = BTreeMap<String, (u32, Kind)>;

thread_local! {
    /// How often, and how, the handler of each name fails. Handlers run in the test's thread.
    static FAILURES: RefCell<Failures> = const { RefCell::new(Failures::new()) };
    static COMPLETERS: RefCell<Vec<Completer<Store>>> = const { RefCell::new(vec![]) };
    /// The keys that were parked at the last release, with the number of their events.
    static PARKED: RefCell<Vec<(Vec<u8>, usize)>> = const { RefCell::new(vec![]) };
    /// How often the interjection fails.
    static SWEEP_FAILURES: Cell<u32> = const { Cell::new(0) };
}

#[derive(Debug, thiserror::Error)]
#[error("`{name}` is not done")]
struct NotDone {
    name: String,
    source: std::num::ParseIntError,
}

#[event_source(events = Work, store = Store)]
mod work {
    use super::*;

    #[event_handler("Do")]
    pub(super) fn done(ctx: &mut EventContext<Store>, name: String) -> Result<ExecutionState> {
        let key = ctx.key::<String>()?.unwrap_or_default();
        ctx.store.runs.update(name.clone(), |runs| *runs += 1);
        ctx.forward(&DONE, &key, Done::Done(name.clone()))?;
        let failure = FAILURES.with_borrow_mut(|failures| {
            let (left, kind) = failures.get_mut(&name)?;
            *left = left.checked_sub(1)?;
            Some(*kind)
        });
        let source = || "x".parse::<i32>().map(|_| ()).expect_err("no number");
        match failure {
            None => Ok(Complete),
            Some(Kind::Error) => Err(NotDone { name, source: source() }.into()),
            Some(Kind::Panic) => panic!("`{name}` panics"),
            Some(Kind::Fatal) => Err(HandlerError::fatal("nothing may run on")),
        }
    }

    #[event_handler("Later")]
    fn later(ctx: &mut EventContext<Store>, _: String) -> Result<ExecutionState> {
        COMPLETERS.with_borrow_mut(|completers| completers.push(ctx.completer()));
        Ok(Incomplete)
    }

    #[event_handler("Sooner")]
    fn sooner(ctx: &mut EventContext<Store>, name: String) -> Result<ExecutionState> {
        ctx.store.runs.update(format!("sooner {name}"), |runs| *runs += 1);
        later(ctx, name)
    }

    #[interjection(every = "10000s")]
    fn release(ctx: &mut EventContext<Store>, _: SystemTime) -> Result<ExecutionState> {
        let parked = ctx.parked();
        PARKED.set(parked.iter().map(|key| (key.key.clone(), key.events)).collect());
        assert_eq!(ctx.unpark_all(), parked.len());
        assert!(!ctx.unpark("nobody"));
        Ok(Complete)
    }

    #[interjection(every = "10s")]
    fn sweep(ctx: &mut EventContext<Store>, _: SystemTime) -> Result<ExecutionState> {
        ctx.forward(&DONE, "sweep", Done::Done("swept".to_owned()))?;
        match SWEEP_FAILURES.get().checked_sub(1) {
            Some(left) => {
                SWEEP_FAILURES.set(left);
                ctx.fail("the broom is broken")
            }
            None => Ok(Complete),
        }
    }
}

fn fails(name: &str, times: u32, kind: Kind) {
    FAILURES.with_borrow_mut(|failures| failures.insert(name.to_owned(), (times, kind)));
}

fn event(name: &str) -> Work {
    Work::Do(name.to_owned())
}

fn builder() -> SourceBuilder<work::Source> {
    work::Source::builder()
}

/// What is done and committed, in its order, without what the interjection does.
fn outcome(driver: &TestDriver<work::Source>) -> Vec<String> {
    let of_done = |record: &Record| **record.topic_partition().topic() == *"done";
    let text = |record: Record| String::from_utf8(record.value().unwrap_or_default().to_vec());
    let all = driver.outputs().into_iter().filter(of_done).map(text);
    all.map(|name| name.expect("text")).filter(|name| name != "swept").collect()
}

fn letters(driver: &TestDriver<work::Source>) -> Vec<Record> {
    let is_letter = |record: &Record| **record.topic_partition().topic() == *"letters";
    driver.outputs().into_iter().filter(is_letter).collect()
}

fn header(record: &Record, name: &str) -> String {
    let mut values = record.headers().iter().raw().filter(|(found, _)| *found == name.as_bytes());
    let value = values.next().and_then(|(_, value)| value).expect("the header is there");
    assert!(values.next().is_none(), "`{name}` is there once");
    String::from_utf8(value.to_vec()).expect("text")
}

/// A record whose bytes are no text.
fn broken() -> ProducerRecord {
    ProducerRecord::to("test")
        .key(&b"a"[..])
        .value(&b"\xff"[..])
        .header("trace", Some(b"7"))
        .record_type("Do")
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bad {
    Decode,
    Error,
    Panic,
}

const BAD: [Bad; 3] = [Bad::Decode, Bad::Error, Bad::Panic];

/// A driver with this policy for each kind of failure, after a bad event between two good ones.
fn meets(bad: Bad, policy: impl Into<ErrorPolicy>, times: u32) -> TestDriver<work::Source> {
    let policy = policy.into();
    let builder = builder().output("letters").on_decode_error(policy.clone());
    let mut driver = builder.on_handler_error(policy).test_driver();
    driver.send("a", event("first"));
    send_bad(&mut driver, bad, times);
    driver
}

fn send_bad(driver: &mut TestDriver<work::Source>, bad: Bad, times: u32) {
    match bad {
        Bad::Decode => {}
        Bad::Error => fails("bad", times, Kind::Error),
        Bad::Panic => fails("bad", times, Kind::Panic),
    }
    // A source that stops is what some tests are about.
    let sent = std::panic::AssertUnwindSafe(|| {
        match bad {
            Bad::Decode => driver.send_record(broken()),
            Bad::Error | Bad::Panic => driver.send("a", event("bad")),
        };
    });
    let _ = std::panic::catch_unwind(sent);
}

#[test]
fn skip_leaves_the_event_out() {
    for bad in BAD {
        let mut driver = meets(bad, ErrorPolicy::skip(), u32::MAX);
        driver.send("a", event("last")).then_committed(0, 3);
        assert_eq!(outcome(&driver), ["first", "last"], "{bad:?}");
        assert_eq!(driver.store(0).runs.get("bad"), None, "{bad:?}: its change is undone");
        driver.crash().then_committed(0, 3);
        assert_eq!(driver.store(0).runs.get("bad"), None, "{bad:?}: it was not logged");
    }
}

#[test]
fn a_dead_letter_has_the_record_and_the_headers_of_kip_1034() {
    for bad in BAD {
        let mut driver = meets(bad, ErrorPolicy::dead_letter("letters"), u32::MAX);
        driver.send("a", event("last")).then_committed(0, 3);
        assert_eq!(outcome(&driver), ["first", "last"], "{bad:?}");
        assert_eq!(driver.store(0).runs.get("bad"), None, "{bad:?}: its change is undone");
        let letters = letters(&driver);
        assert_eq!(letters.len(), 1, "{bad:?}");
        let letter = &letters[0];
        assert_eq!(letter.key(), Some(&b"a"[..]));
        assert_eq!(letter.record_type(), "Do");
        let headers = [
            dead_letter::TOPIC_HEADER,
            dead_letter::PARTITION_HEADER,
            dead_letter::OFFSET_HEADER,
            dead_letter::MESSAGE_HEADER,
            dead_letter::EXCEPTION_HEADER,
        ];
        let [topic, partition, offset, message, exception] =
            headers.map(|name| header(letter, name));
        assert_eq!([topic, partition, offset], ["test", "0", "1"]);
        let (kind, text) = match bad {
            Bad::Decode => ("Undecodable", "UTF-8"),
            Bad::Error => ("HandlerFailed", "`bad` is not done"),
            Bad::Panic => ("HandlerPanicked", "`bad` panics"),
        };
        assert!(message.contains(text), "{message}");
        assert_eq!(exception, format!("{kind}: {message}"));
        let trace = header(letter, dead_letter::STACKTRACE_HEADER);
        match bad {
            Bad::Decode => assert_eq!(header(letter, "trace"), "7", "its own headers stay"),
            Bad::Error => assert!(trace.contains("\nCaused by: invalid digit"), "{trace}"),
            Bad::Panic => assert_eq!(trace, exception),
        }
    }
}

#[test]
fn a_letter_that_fails_again_has_the_headers_of_its_last_failure() {
    let mut driver = meets(Bad::Decode, ErrorPolicy::dead_letter("letters"), 0);
    let letter = letters(&driver).remove(0);
    let mut again = ProducerRecord::to("test").key(&b"a"[..]).value(&b"\xff"[..]);
    for (name, value) in letter.headers().iter().raw() {
        again = again.header(name, value);
    }
    driver.send_record(again);
    let second = &letters(&driver)[1];
    assert_eq!(header(second, dead_letter::OFFSET_HEADER), "2");
    assert_eq!((header(second, "trace"), second.record_type()), ("7".to_owned(), "Do"));
}

#[test]
fn fail_stops_the_source_and_nothing_is_committed() {
    for bad in BAD {
        let mut driver = meets(bad, ErrorPolicy::fail(), 1);
        let error = driver.failure().expect("it stops").to_string();
        assert!(error.contains("record test-0@1 (type `Do`)"), "{bad:?}: {error}");
        assert!(!driver.has_exited());
        assert_eq!(driver.committed(0), Some(1), "{bad:?}");
        // The next start meets it again.
        if bad != Bad::Decode {
            driver.crash().then_committed(0, 2);
            assert_eq!(outcome(&driver), ["first", "bad"]);
        }
    }
}

#[test]
fn exit_ends_the_process_and_calls_the_hook() {
    for bad in BAD {
        let told = Arc::new(Mutex::new(vec![]));
        let hook = Arc::clone(&told);
        let builder = builder().on_decode_error(ErrorPolicy::exit());
        let builder = builder.on_handler_error(ErrorPolicy::exit());
        let mut driver = builder
            .on_fatal(move |error| hook.lock().expect("no panic").push(error.to_string()))
            .test_driver();
        driver.send("a", event("first"));
        send_bad(&mut driver, bad, 1);
        assert!(driver.has_exited(), "{bad:?}");
        let told = told.lock().expect("no panic");
        assert_eq!(told.len(), 1, "{bad:?}");
        assert!(told[0].contains("test-0@1"), "{told:?}");
        assert_eq!(driver.committed(0), Some(1), "{bad:?}");
    }
}

#[test]
fn a_fatal_error_of_a_handler_asks_no_policy() {
    let mut driver = builder().on_handler_error(ErrorPolicy::skip()).test_driver();
    fails("bad", 1, Kind::Fatal);
    stops(&mut driver, "bad");
    assert!(driver.has_exited());
    assert!(driver.failure().expect("why").to_string().contains("nothing may run on"));
}

#[test]
fn a_retry_runs_the_event_again_at_its_time() {
    for bad in [Bad::Error, Bad::Panic] {
        let backoff = Backoff::exponential(SECOND, 4 * SECOND);
        let mut driver = meets(bad, ErrorPolicy::retry(3, backoff), 3);
        driver.send("a", event("last")).then_committed(0, 1);
        driver.advance(SECOND * 2).then_committed(0, 1);
        driver.advance(SECOND * 4).then_committed(0, 1);
        driver.advance(SECOND).then_committed(0, 3);
        assert_eq!(outcome(&driver), ["first", "bad", "last"], "{bad:?}");
        assert_eq!(driver.store(0).runs.get("bad"), Some(&1), "{bad:?}: the others are undone");
    }
}

#[test]
fn after_the_last_attempt_the_next_policy_decides() {
    for bad in BAD {
        for order in [RetryOrder::Key, RetryOrder::Partition] {
            let policy = ErrorPolicy::retry(2, SECOND).order(order);
            let policy = policy.then(ErrorPolicy::dead_letter("letters"));
            let mut driver = meets(bad, policy, u32::MAX);
            driver.send("a", event("last")).advance(SECOND).then_committed(0, 1);
            assert!(letters(&driver).is_empty(), "{bad:?} {order:?}");
            driver.advance(SECOND).then_committed(0, 3);
            assert_eq!(letters(&driver).len(), 1, "{bad:?} {order:?}");
            assert_eq!(outcome(&driver), ["first", "last"], "{bad:?} {order:?}");
        }
    }
}

/// Keys `a` and `b` and no key at all, with a first event of `a` that fails twice.
fn mixed(driver: &mut TestDriver<work::Source>) {
    fails("a1", 2, Kind::Error);
    for name in ["a1", "b1", "a2", "b2"] {
        driver.send(&name[..1], event(name));
    }
    let record = ProducerRecord::to("test").value(&b"none"[..]).record_type("Do");
    driver.send_record(record);
}

#[test]
fn while_an_event_is_retried_by_key_other_keys_go_on() {
    let policy = ErrorPolicy::retry(5, SECOND).order(RetryOrder::Key);
    let mut driver = builder().on_handler_error(policy).test_driver();
    mixed(&mut driver);
    assert_eq!(outcome(&driver), ["b1", "b2", "none"]);
    driver.then_committed(0, 0).advance(SECOND).then_committed(0, 0);
    driver.advance(SECOND).then_committed(0, 5);
    assert_eq!(outcome(&driver), ["b1", "b2", "none", "a1", "a2"]);
    driver.send("a", event("a3"));
    assert_eq!(outcome(&driver)[5], "a3", "the key waits no more");
}

#[test]
fn while_an_event_is_retried_by_partition_all_wait() {
    let mut driver =
        builder().on_handler_error(ErrorPolicy::retry(5, SECOND)).partitions(2).test_driver();
    fails("bad", 2, Kind::Error);
    driver.send_to_partition(0, "a", event("bad"));
    driver.send_to_partition(0, "b", event("b"));
    driver.send_to_partition(1, "c", event("c"));
    assert_eq!(outcome(&driver), ["c"], "another partition goes on");
    driver.advance(SECOND).then_committed(0, 0).advance(SECOND).then_committed(0, 2);
    let of_first: Vec<_> = outcome(&driver).into_iter().filter(|name| name != "c").collect();
    assert_eq!(of_first, ["bad", "b"]);
}

#[test]
fn a_crash_in_the_middle_loses_and_doubles_nothing() {
    for order in [RetryOrder::Key, RetryOrder::Partition] {
        let policy = ErrorPolicy::retry(5, SECOND).order(order);
        let mut driver = builder().on_handler_error(policy).test_driver();
        mixed(&mut driver);
        // The second start meets the failed event at once, and it fails for the last time.
        driver.crash().then_committed(0, 0);
        driver.advance(SECOND).then_committed(0, 5);
        let mut all = outcome(&driver);
        let place = |name: &str| all.iter().position(|found| found == name);
        assert!(place("a1") < place("a2") && place("b1") < place("b2"), "{order:?}: {all:?}");
        all.sort();
        assert_eq!(all, ["a1", "a2", "b1", "b2", "none"], "{order:?}");
        for name in ["a1", "a2", "b1", "b2"] {
            assert_eq!(driver.store(0).runs.get(name), Some(&1), "{order:?}: {name}");
        }
    }
}

#[test]
fn aborts_in_the_middle_change_neither_the_attempts_nor_the_order() {
    for order in [RetryOrder::Key, RetryOrder::Partition] {
        let attempts = Arc::new(Mutex::new(vec![]));
        let asked = Arc::clone(&attempts);
        let policy = move |error: &ErrorContext<'_>| {
            asked.lock().expect("no panic").push(error.attempt());
            ErrorResponse::Retry { after: SECOND, order }
        };
        let mut driver = builder().on_handler_error(policy).test_driver();
        fails("a1", 3, Kind::Error);
        driver.send("b", event("b0"));
        driver.inject(Fault::Abort);
        driver.send("b", event("b1"));
        driver.inject(Fault::Abort).inject(Fault::LoseReply);
        driver.send_all([("a", event("a1")), ("b", event("b2")), ("a", event("a2"))]);
        driver.advance(SECOND).inject(Fault::LoseRequest).advance(SECOND);
        driver.inject(Fault::Abort);
        driver.advance(SECOND * 10).then_committed(0, 5);
        assert_eq!(*attempts.lock().expect("no panic"), [1, 2, 3], "{order:?}");
        let mut all = outcome(&driver);
        let place = |name: &str| all.iter().position(|found| found == name);
        assert!(place("a1") < place("a2"), "{order:?}: {all:?}");
        all.sort();
        assert_eq!(all, ["a1", "a2", "b0", "b1", "b2"], "{order:?}");
    }
}

#[test]
fn an_aborted_transaction_sends_no_letter_and_its_replay_sends_one() {
    let policy = ErrorPolicy::dead_letter("letters");
    let mut driver = builder().on_handler_error(policy).test_driver();
    fails("bad", u32::MAX, Kind::Panic);
    driver.inject(Fault::Abort);
    driver.send("a", event("bad")).then_committed(0, 1);
    assert_eq!(letters(&driver).len(), 1);
}

#[test]
fn many_events_wait_behind_one_within_the_window() {
    let policy = ErrorPolicy::retry(1, SECOND).order(RetryOrder::Key);
    let mut driver = builder().on_handler_error(policy).test_driver();
    fails("0", 1, Kind::Error);
    driver.send_all((0..3_000).map(|number| ("a", event(&number.to_string()))));
    driver.then_committed(0, 0);
    driver.advance(SECOND).then_committed(0, 3_000);
    let expected: Vec<String> = (0..3_000).map(|number| number.to_string()).collect();
    assert_eq!(outcome(&driver), expected);
}

/// Completes the last incomplete event with an error.
fn complete_badly(driver: &mut TestDriver<work::Source>) {
    let completer = COMPLETERS.with_borrow_mut(Vec::pop).expect("an incomplete event");
    completer.complete(|ctx| {
        ctx.forward(&DONE, "a", Done::Done("badly".to_owned()))?;
        Err(HandlerError::fail("it ends badly"))
    });
    driver.run_pending();
}

fn complete_well(driver: &mut TestDriver<work::Source>) {
    let completer = COMPLETERS.with_borrow_mut(Vec::pop).expect("an incomplete event");
    completer.complete(|ctx| {
        ctx.forward(&DONE, "a", Done::Done("well".to_owned()))?;
        Ok(Complete)
    });
    driver.run_pending();
}

type Incompletely = fn(String) -> Work;

#[test]
fn a_finalizer_that_fails_goes_by_the_policy_with_and_without_earlier_effects() {
    for (incompletely, has_effects) in
        [(Work::Later as Incompletely, false), (Work::Sooner as Incompletely, true)]
    {
        let mut driver = builder().on_handler_error(ErrorPolicy::skip()).test_driver();
        driver.send("a", incompletely("x".to_owned()));
        driver.send("a", event("other"));
        complete_badly(&mut driver);
        driver.then_committed(0, 2);
        assert_eq!(outcome(&driver), ["other"], "{has_effects}");
        assert_eq!(driver.store(0).runs.get("sooner x"), None, "its first step is undone too");
        assert_eq!(driver.store(0).runs.get("other"), Some(&1), "{has_effects}");

        let letter = ErrorPolicy::dead_letter("letters");
        let mut driver = builder().on_handler_error(letter).test_driver();
        driver.send("a", incompletely("x".to_owned()));
        driver.send("a", event("other"));
        complete_badly(&mut driver);
        driver.then_committed(0, 2);
        assert_eq!((outcome(&driver), letters(&driver).len()), (vec!["other".to_owned()], 1));

        let mut driver = builder().on_handler_error(ErrorPolicy::retry(1, SECOND)).test_driver();
        driver.send("a", incompletely("x".to_owned()));
        complete_badly(&mut driver);
        assert!(COMPLETERS.with_borrow(Vec::is_empty), "it waits");
        driver.send("a", event("behind")).advance(SECOND);
        complete_well(&mut driver);
        driver.then_committed(0, 2);
        let mut all = outcome(&driver);
        all.sort();
        assert_eq!(all, ["behind", "well"], "{has_effects}");
        let first_step = driver.store(0).runs.get("sooner x");
        assert_eq!(first_step, has_effects.then_some(&1), "once");
    }
}

#[test]
fn an_interjection_that_fails_runs_again_at_its_next_time() {
    let policy = ErrorPolicy::retry(2, SECOND);
    let mut driver = builder().on_handler_error(policy.then(ErrorPolicy::fail())).test_driver();
    SWEEP_FAILURES.set(2);
    driver.send("a", event("a")).advance(SECOND * 11).advance(SECOND * 10);
    assert_eq!(SWEEP_FAILURES.get(), 0);
    assert!(driver.outputs().iter().all(|record| record.value() != Some(b"swept")));
    driver.advance(SECOND * 10);
    assert!(driver.outputs().iter().any(|record| record.value() == Some(b"swept")));
    // A run that went well begins the count again.
    SWEEP_FAILURES.set(3);
    driver.advance(SECOND * 20);
    let error = stops_when(&mut driver, |driver| {
        driver.advance(SECOND * 10);
    });
    assert!(error.contains("the broom is broken"), "{error}");
}

#[test]
fn an_interjection_has_no_letter_and_can_be_skipped() {
    let mut driver = builder().on_handler_error(ErrorPolicy::skip()).test_driver();
    SWEEP_FAILURES.set(1);
    driver.interject("sweep").send("a", event("a")).then_committed(0, 1);
    let letter = ErrorPolicy::dead_letter("letters");
    let mut driver = builder().on_handler_error(letter).test_driver();
    SWEEP_FAILURES.set(1);
    stops_when(&mut driver, |driver| {
        driver.interject("sweep");
    });
    assert!(letters(&driver).is_empty());
}

#[test]
fn a_function_sees_the_event_and_decides() {
    let policy = ErrorPolicy::with(|error| {
        assert_eq!((error.offset(), error.record_type()), (Some(0), "Do"));
        assert_eq!(error.topic_partition().to_string(), "test-0");
        assert_eq!(error.input().and_then(Record::key), Some(&b"a"[..]));
        assert!(!error.is_panic() && !error.is_unrouted());
        match error.error().downcast_ref::<NotDone>() {
            Some(known) if known.name == "bad" => ErrorResponse::Continue,
            _ => ErrorResponse::FailConsumer,
        }
    });
    let mut driver = builder().on_handler_error(policy).test_driver();
    fails("bad", 1, Kind::Error);
    driver.send("a", event("bad")).then_committed(0, 1);
}

/// Sends an event after which the source stops, and returns why.
fn stops(driver: &mut TestDriver<work::Source>, name: &str) -> String {
    stops_when(driver, |driver| {
        driver.send("a", event(name));
    })
}

fn stops_when(
    driver: &mut TestDriver<work::Source>,
    run: impl FnOnce(&mut TestDriver<work::Source>),
) -> String {
    let run = std::panic::AssertUnwindSafe(|| run(driver));
    assert!(std::panic::catch_unwind(run).is_err(), "it stops");
    driver.failure().expect("why").to_string()
}

#[test]
fn a_policy_that_panics_or_names_an_unknown_topic_stops_the_source() {
    fails("bad", u32::MAX, Kind::Error);
    let panics = |_: &ErrorContext<'_>| panic!("the policy is broken");
    let error = stops(&mut builder().on_handler_error(panics).test_driver(), "bad");
    assert!(error.contains("callback `on_handler_error`"), "{error}");
    assert!(error.contains("the policy is broken"), "{error}");
    let unknown = |_: &ErrorContext<'_>| ErrorResponse::DeadLetter("lettres".to_owned());
    let error = stops(&mut builder().on_handler_error(unknown).test_driver(), "bad");
    assert!(error.contains("name it with `.output(\"lettres\")`"), "{error}");
    assert!(error.contains("`bad` is not done"), "{error}");
}

#[test]
fn a_transaction_error_is_told_with_its_count_and_may_stop_the_source() {
    let told = Arc::new(Mutex::new(vec![]));
    let hook = Arc::clone(&told);
    let builder = builder().on_transaction_error(move |error| {
        hook.lock().expect("no panic").push((error.error().step, error.failures()));
        match error.failures() {
            3 => TransactionResponse::FailConsumer,
            _ => TransactionResponse::Continue,
        }
    });
    let mut driver = builder.test_driver();
    driver.inject(Fault::Abort);
    driver.send("a", event("one")).then_committed(0, 1);
    driver.inject(Fault::LoseReply);
    driver.send("a", event("two")).then_committed(0, 2);
    assert_eq!(told.lock().expect("no panic").len(), 2);
    assert!(told.lock().expect("no panic").iter().all(|(_, failures)| *failures == 1));
    for _ in 0..3 {
        driver.inject(Fault::At(TxnStep::SendOffsets, Disposition::Abort));
    }
    let error = stops(&mut driver, "three");
    assert!(error.contains("sending the offsets failed"), "{error}");
    let last: Vec<_> = told.lock().expect("no panic")[2..].to_vec();
    let expected = [1, 2, 3].map(|failures| (TxnStep::SendOffsets, failures));
    assert_eq!(last, expected);
    assert_eq!(driver.committed(0), Some(2));
}

#[test]
fn a_transaction_error_may_end_the_process() {
    let mut driver =
        builder().on_transaction_error(|_| TransactionResponse::FatallyExit).test_driver();
    driver.inject(Fault::Abort);
    stops(&mut driver, "one");
    assert!(driver.has_exited());
}

#[test]
#[should_panic(expected = "the topic of dead letters must have a name, and be neither")]
fn a_letter_to_the_source_topic_is_refused() {
    let letter = ErrorPolicy::dead_letter("numbers");
    drop(builder().topic("numbers").on_handler_error(letter).test_driver());
}
