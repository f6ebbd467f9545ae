//! The test driver: what a test can do with it, and that it keeps what production keeps.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use streams_core::OnUndecodable;
use streams_core::dead_letter::{MESSAGE_HEADER, OFFSET_HEADER};
use streams_core::eos::EosConfig;
use streams_core::error::{Disposition, TxnStep};
use streams_core::handler::Completer;
use streams_core::prelude::*;
use streams_core::record::ProducerRecord;
use streams_core::testing::{Fault, TestDriver};

#[derive(Events)]
enum Numbers {
    Add(i64),
    /// Waits for its completer.
    Later(i64),
    /// The same, and forwards before.
    Sooner(i64),
}

#[derive(Events, Debug, PartialEq)]
enum Sum {
    Changed(i64),
}

#[derive(StateStore)]
struct Sums {
    sums: Table<String, i64>,
}

static SUMS: Topic<Sum> = Topic::new("sums");

thread_local! {
    /// The handlers run in the thread of the test.
    static COMPLETERS: RefCell<Vec<Completer<Sums>>> = const { RefCell::new(vec![]) };
}

#[event_source(events = Numbers, store = Sums)]
mod sums {
    use super::*;

    #[event_handler("Add")]
    pub(super) fn add(ctx: &mut EventContext<Sums>, number: i64) -> Result<ExecutionState> {
        let Some(key) = ctx.key::<String>()? else { return ctx.fail("no key") };
        let sum = ctx.store.sums.update(key.clone(), |sum| {
            *sum += number;
            *sum
        });
        ctx.forward(&SUMS, &key, Sum::Changed(sum))?;
        Ok(Complete)
    }

    #[event_handler("Later")]
    fn later(ctx: &mut EventContext<Sums>, _: i64) -> Result<ExecutionState> {
        COMPLETERS.with_borrow_mut(|completers| completers.push(ctx.completer()));
        Ok(Incomplete)
    }

    #[event_handler("Sooner")]
    fn sooner(ctx: &mut EventContext<Sums>, number: i64) -> Result<ExecutionState> {
        add(ctx, number)?;
        later(ctx, number)
    }

    #[interjection(every = "10s", jitter = "1s")]
    fn sweep(ctx: &mut EventContext<Sums>, at: SystemTime) -> Result<ExecutionState> {
        let seconds = at.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let partition = ctx.topic_partition().partition();
        ctx.forward(&SUMS, &format!("swept {partition}"), Sum::Changed(seconds.cast_signed()))?;
        Ok(Complete)
    }
}

/// The completers of the events so far, the last first.
fn completers() -> Vec<Completer<Sums>> {
    COMPLETERS.take().into_iter().rev().collect()
}

fn message(run: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("it panics");
    panic.downcast_ref::<String>().expect("with a text").clone()
}

#[test]
fn keys_decide_the_partition_as_kafka_does() {
    let mut driver = sums::Source::builder().topic("numbers").partitions(4).test_driver();
    for key in 0..20 {
        driver.send(&format!("key-{key}"), Numbers::Add(key));
    }
    let outputs = driver.outputs();
    assert_eq!(outputs.len(), 20);
    for output in &outputs {
        let key = output.key().unwrap();
        let at = output.topic_partition().partition();
        assert_eq!(at, streams_core::record::partition_for_key(key, 4));
        assert!(driver.store(at).sums.get(std::str::from_utf8(key).unwrap()).is_some());
    }
    let committed: i64 = (0..4).filter_map(|partition| driver.committed(partition)).sum();
    assert_eq!(committed, 20);
    driver.send_to_partition(3, "anywhere", Numbers::Add(1));
    assert_eq!(driver.store(3).sums.get("anywhere"), Some(&1));
}

#[test]
fn an_abort_undoes_rewinds_and_replays() {
    let mut driver = TestDriver::<sums::Source>::new();
    driver.given([("a", Numbers::Add(1))]).inject(Fault::Abort);
    driver
        .when("a", Numbers::Add(2))
        .then_forwarded(&SUMS, [("a", Sum::Changed(3))])
        .then_store(0, |store| assert_eq!(store.sums.get("a"), Some(&3)))
        .then_committed(0, 2);
    let sent = driver.outputs();
    // The aborted one is in the log: offset 0, a marker, the aborted, a marker, the replayed.
    assert_eq!(sent.iter().map(Record::offset).collect::<Vec<_>>(), [0, 4]);
}

#[test]
fn a_lost_reply_is_committed_and_a_lost_request_is_replayed() {
    for (fault, offsets) in [(Fault::LoseReply, [0, 2]), (Fault::LoseRequest, [0, 4])] {
        let mut driver = TestDriver::<sums::Source>::new();
        driver.send("a", Numbers::Add(1)).inject(fault).send("a", Numbers::Add(2));
        assert_eq!(driver.outputs().iter().map(Record::offset).collect::<Vec<_>>(), offsets);
        assert_eq!(driver.store(0).sums.get("a"), Some(&3), "{fault:?}");
        assert_eq!(driver.committed(0), Some(2));
    }
}

#[test]
fn a_fenced_source_stops() {
    let mut driver = TestDriver::<sums::Source>::new();
    driver.inject(Fault::Fence).when("a", Numbers::Add(1)).then_fails("FENCED_INSTANCE_ID");
    assert_eq!((driver.outputs().len(), driver.committed(0)), (0, Some(0)));
    driver.crash();
    assert_eq!(driver.read(&SUMS), [("a".to_owned(), Sum::Changed(1))], "the next one goes on");
}

/// The group still counts on the member: the broker has aborted its transaction.
#[test]
fn c1_a_fence_that_the_group_explains_is_replayed() {
    for step in [TxnStep::Produce, TxnStep::SendOffsets, TxnStep::Commit] {
        let mut driver = TestDriver::<sums::Source>::new();
        driver.inject(Fault::At(step, Disposition::Fenced)).when("a", Numbers::Add(1));
        driver.then_forwarded(&SUMS, [("a", Sum::Changed(1))]).then_committed(0, 1);
    }
}

#[test]
fn c1_an_event_that_outlives_its_transaction_comes_again() {
    const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
    let mut driver = TestDriver::<sums::Source>::new();
    driver.send("a", Numbers::Sooner(5)).advance(TRANSACTION_TIMEOUT);
    let mut runs = completers();
    assert_eq!(runs.len(), 2, "it has come again");
    runs.swap_remove(0).complete(|_| Ok(Complete));
    driver.run_pending().then_committed(0, 1);
    assert_eq!(driver.read(&SUMS).into_iter().filter(|(key, _)| key == "a").count(), 1);
    drop(runs);

    let mut driver = TestDriver::<sums::Source>::new();
    driver.send("a", Numbers::Sooner(5)).advance(TRANSACTION_TIMEOUT);
    let text = message(|| _ = driver.advance(TRANSACTION_TIMEOUT));
    assert!(text.contains("record test-0@0 (type `Sooner`) was incomplete for longer"), "{text}");
}

#[test]
fn a_restart_and_a_crash_restore_from_the_changelog() {
    let mut driver = TestDriver::<sums::Source>::new();
    driver.send_all([("a", Numbers::Add(1)), ("b", Numbers::Add(2)), ("a", Numbers::Add(3))]);
    driver.restart().then_store(0, |store| assert_eq!(store.sums.get("a"), Some(&4)));
    driver.send("c", Numbers::Sooner(5)).send("d", Numbers::Add(6));
    assert_eq!((driver.outputs().len(), driver.uncommitted().len()), (3, 2));
    drop(completers());
    driver.crash();
    assert_eq!(driver.uncommitted().len(), 2, "both came again");
    for completer in completers() {
        completer.complete(|_| Ok(Complete));
    }
    driver.run_pending().then_committed(0, 5);
    let keys: Vec<_> = driver.read(&SUMS).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["a", "b", "a", "c", "d"]);
}

#[test]
fn interjections_come_by_the_clock_with_jitter() {
    let mut driver = sums::Source::builder().partitions(2).test_driver();
    driver.advance(Duration::from_millis(8_900));
    assert!(driver.outputs().is_empty());
    driver.advance(Duration::from_millis(2_200));
    assert_eq!(driver.outputs().len(), 2, "one in each partition");
    driver.advance(Duration::from_hours(1));
    let mut times = vec![];
    for (key, Sum::Changed(at)) in driver.read(&SUMS) {
        if key == "swept 0" {
            times.push(at);
        }
    }
    assert!((345..=376).contains(&times.len()), "{}", times.len());
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| (8..=11).contains(gap)), "{gaps:?}");
    assert!(gaps.contains(&9) && gaps.contains(&10), "they differ: {gaps:?}");
    driver.interject_in(1, "sweep");
    assert_eq!(driver.read(&SUMS).last().unwrap().0, "swept 1");
    let text = message(|| _ = driver.interject("sweeep"));
    assert_eq!(text, "no interjection `sweeep`: there are [\"sums::sweep\"]");
}

#[test]
fn completions_come_in_any_order_and_the_offset_waits_for_the_first() {
    let mut driver = TestDriver::<sums::Source>::new();
    driver.hold_completions();
    for number in 1..=3 {
        driver.send("a", Numbers::Later(number));
    }
    driver.send("b", Numbers::Add(1)).then_committed(0, 0);
    for completer in completers() {
        completer.complete(|ctx| sums::add(ctx, 1));
    }
    let offsets: Vec<_> =
        driver.held_completions().into_iter().map(|ticket| ticket.offset).collect();
    assert_eq!(offsets, [Some(2), Some(1), Some(0)]);
    driver.complete(0).then_committed(0, 0);
    driver.complete(1).then_committed(0, 1);
    driver.complete(0).then_committed(0, 4);
    assert_eq!(driver.store(0).sums.get("a"), Some(&3));
    assert_eq!(message(|| _ = driver.complete(0)), "no completion waits at 0: there are 0");
}

#[test]
fn a_dropped_completer_stops_the_source() {
    let mut driver = TestDriver::<sums::Source>::new();
    driver.send("a", Numbers::Later(1));
    drop(completers());
    let text = message(|| _ = driver.run_pending());
    assert!(text.contains("dropped without completing it"), "{text}");
    driver.then_fails("dropped without completing it");
}

fn broken(driver: &TestDriver<sums::Source>) -> ProducerRecord {
    ProducerRecord::to(driver.topic().to_owned())
        .key(&b"a"[..])
        .value(&b"not eight bytes"[..])
        .header("trace", Some(b"7"))
        .record_type("Add")
}

#[test]
fn what_does_not_decode_goes_by_its_policy() {
    let mut driver = TestDriver::<sums::Source>::new();
    driver.when_record(broken(&driver)).then_fails("record test-0@0 (type `Add`) can't be decoded");
    assert_eq!(driver.committed(0), Some(0));

    let skip = sums::Source::builder().on_undecodable(OnUndecodable::Skip);
    let mut driver = skip.test_driver();
    driver.when_record(broken(&driver)).then_committed(0, 1).then_nothing_else();

    let letters = OnUndecodable::DeadLetter("letters".to_owned());
    let mut driver = sums::Source::builder().on_undecodable(letters).test_driver();
    let unknown = ProducerRecord::to("test").record_type("Nope");
    driver.send_record(broken(&driver)).send_record(unknown).then_committed(0, 2);
    let letters = driver.outputs();
    let header = |place: usize, name| {
        String::from_utf8_lossy(letters[place].headers().get(name).unwrap().unwrap()).into_owned()
    };
    assert_eq!((header(0, "trace"), header(0, OFFSET_HEADER)), ("7".into(), "0".into()));
    assert!(header(0, MESSAGE_HEADER).contains("it has 15 bytes"), "{}", header(0, MESSAGE_HEADER));
    assert!(header(1, MESSAGE_HEADER).contains("has no handler"), "{}", header(1, MESSAGE_HEADER));
}

#[test]
fn with_latency_transactions_fill_until_the_batch_delay() {
    let eos = EosConfig::default().batch_delay(Duration::from_millis(30)).unwrap();
    let mut driver = sums::Source::builder().eos(eos).test_driver();
    let start = driver.now();
    driver.latency(Duration::from_millis(20));
    driver.send_all((0..3_000).map(|number| ("a", Numbers::Add(number))));
    driver.then_committed(0, 3_000);
    let took = driver.now().duration_since(start).unwrap();
    assert!(took >= Duration::from_millis(40), "a flush and a commit at least: {took:?}");
    let offsets: Vec<_> = driver.outputs().iter().map(Record::offset).collect();
    let markers = usize::try_from(offsets[2_999]).unwrap() - 2_999;
    assert!((1..20).contains(&markers), "many events to a transaction: {markers} markers");
}

#[test]
fn a_mismatch_shows_both_sides() {
    let mut driver = TestDriver::<sums::Source>::new();
    driver.when("a", Numbers::Add(1));
    let text = message(|| {
        driver.then_forwarded(&SUMS, [("a", Sum::Changed(1)), ("b", Sum::Changed(2))]);
    });
    assert_eq!(
        text,
        "what was forwarded to `sums` is not what was expected\n    \
         Changed key=\"a\" value=0x0000000000000001\n  \
         - expected: Changed key=\"b\" value=0x0000000000000002\n  \
         + actual:   (nothing)\n"
    );
    let text = message(|| _ = driver.then_nothing_else());
    assert!(text.contains("sums-0: Changed key=\"a\""), "{text}");
    assert!(message(|| _ = driver.then_fails("x")).contains("the source runs on"));
}

/// The oracle reads only what is committed: per key the sums are those of a run without faults,
/// each once and in order.
#[test]
fn faults_and_crashes_at_random_change_nothing() {
    for seed in 1..=200u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        };
        let mut driver = sums::Source::builder().partitions(3).test_driver();
        driver.latency(Duration::from_millis(random(8)));
        let mut expected: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for _ in 0..40 {
            match random(8) {
                0 => _ = driver.inject(Fault::Abort),
                1 => _ = driver.inject(Fault::LoseReply),
                2 => _ = driver.inject(Fault::LoseRequest),
                _ => {}
            }
            let events: Vec<_> = (0..random(6))
                .map(|_| (format!("k{}", random(5)), random(100).cast_signed()))
                .collect();
            for (key, number) in &events {
                let sums = expected.entry(key.clone()).or_default();
                sums.push(sums.last().unwrap_or(&0) + number);
            }
            driver.send_all(events.iter().map(|(key, number)| (key, Numbers::Add(*number))));
            match random(10) {
                0 => _ = driver.crash(),
                1 => _ = driver.restart(),
                _ => {}
            }
        }
        let mut actual: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for (key, Sum::Changed(sum)) in driver.read(&SUMS) {
            actual.entry(key).or_default().push(sum);
        }
        actual.retain(|key, _| key.starts_with('k'));
        assert_eq!(actual, expected, "seed {seed}");
    }
}
