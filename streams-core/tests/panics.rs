//! Panics in the application's code outside of handlers: each names its place, and the source stops
//! as it does after a handler's panic.

use std::cell::Cell;
use std::time::Duration;

use streams_core::codec::{Codec, CodecError, Encoded};
use streams_core::prelude::*;
use streams_core::record::TopicPartition;
use streams_core::store::{Change, Changelog, EventSeq};
use streams_core::testing::{Fault, TestDriver};

thread_local! {
    /// What panics from now on: the driver runs the worker in the test's own thread.
    static PANICS: Cell<&'static str> = const { Cell::new("") };
}

fn may_panic(name: &str) {
    assert!(PANICS.get() != name, "boom in {name}");
}

#[derive(Events)]
enum Numbers {
    Add(i64),
}

/// A value whose encoding may panic.
#[derive(Clone, Copy, Default)]
struct Sum(i64);

enum Fragile {}

impl Codec<'_, Sum> for Fragile {
    fn encode(value: &Sum, out: &mut Vec<u8>) -> std::result::Result<(), CodecError> {
        may_panic("encode");
        streams_core::codec::encode(&value.0, out)
    }

    fn decode(encoded: Encoded<'_>) -> std::result::Result<Sum, CodecError> {
        may_panic("decode");
        streams_core::codec::decode(encoded).map(Sum)
    }
}

impl EventCodec<'_> for Sum {
    type Via = Fragile;
}

#[derive(StateStore)]
struct Tables {
    sums: Table<String, Sum>,
}

struct Store(Tables);

impl StateStore for Store {
    fn create(at: &TopicPartition) -> Self {
        may_panic("create");
        Self(Tables::create(at))
    }

    fn drain_changes(
        &mut self,
        event: EventSeq,
        changelog: &mut Changelog<'_>,
    ) -> std::result::Result<(), CodecError> {
        self.0.drain_changes(event, changelog)
    }

    fn undo_from(&mut self, event: EventSeq) {
        may_panic("undo_from");
        self.0.undo_from(event);
    }

    fn commit_before(&mut self, event: EventSeq) {
        may_panic("commit_before");
        self.0.commit_before(event);
    }

    fn restore(&mut self, change: Change<'_>) -> std::result::Result<(), CodecError> {
        self.0.restore(change)
    }

    fn revoked(&mut self) {
        may_panic("revoked");
    }
}

static OUT: Topic<Numbers> = Topic::new("out");

#[event_source(events = Numbers, store = Store)]
mod sums {
    use super::*;

    #[event_handler("Add")]
    fn add(ctx: &mut EventContext<Store>, number: i64) -> Result<ExecutionState> {
        let Some(key) = ctx.key::<String>()? else { return ctx.fail("no key") };
        ctx.store.0.sums.update(key.clone(), |sum| sum.0 += number);
        ctx.forward(&OUT, &key, Numbers::Add(number))?;
        Ok(Complete)
    }
}

type Driver = TestDriver<sums::Source>;

fn driver() -> Driver {
    let call = |name| move |_: &TopicPartition| may_panic(name);
    sums::Source::builder()
        .topic("in")
        .on_activated(call("on_activated"))
        .on_will_revoke(call("on_will_revoke"))
        .on_revoked(call("on_revoked"))
        .test_driver()
}

/// Processes one event, and a second one while `name` panics. Returns why the source stopped.
fn failure(name: &'static str, act: impl FnOnce(&mut Driver)) -> (Driver, String) {
    let mut driver = driver();
    driver.send("a", Numbers::Add(1));
    PANICS.set(name);
    act(&mut driver);
    PANICS.set("");
    let failure = driver.failure().map(ToString::to_string);
    (driver, failure.unwrap_or_else(|| "no failure".to_owned()))
}

/// The event is undone, and processed once when the panic is gone.
fn send_while(name: &'static str, expected: &str) {
    let (mut driver, failure) = failure(name, |driver| {
        driver.when("a", Numbers::Add(2));
    });
    assert!(failure.contains(expected), "{failure}");
    assert_eq!(driver.outputs().len(), 1);
    driver.crash();
    assert_eq!(driver.outputs().len(), 2);
    assert_eq!(driver.store(0).0.sums.get("a").map(|sum| sum.0), Some(3));
}

#[test]
fn c9_a_codec_that_panics_names_the_record_and_its_type() {
    let expected = "the changes of record in-0@1 (type `Add`) panicked: boom in encode";
    send_while("encode", expected);
}

#[test]
fn c9_a_store_that_panics_after_a_commit_names_its_partition() {
    let (mut driver, failure) = failure("commit_before", |driver| {
        driver.when("a", Numbers::Add(2));
    });
    let expected = "`commit_before` of the store of in-0 panicked: boom in commit_before";
    assert!(failure.contains(expected), "{failure}");
    assert_eq!(driver.outputs().len(), 2, "it was committed before that");
    driver.crash();
    assert_eq!(driver.outputs().len(), 2);
}

#[test]
fn c9_a_store_that_panics_while_it_is_rewound_names_its_partition() {
    let (mut driver, failure) = failure("undo_from", |driver| {
        driver.inject(Fault::Abort).when("a", Numbers::Add(2));
    });
    let expected = "`undo_from` of the store of in-0 panicked: boom in undo_from";
    assert!(failure.contains(expected), "{failure}");
    assert_eq!(driver.outputs().len(), 1);
    driver.crash();
    assert_eq!(driver.outputs().len(), 2);
}

#[test]
fn c9_a_restore_that_panics_names_partition_offset_and_table() {
    let mut driver = driver();
    driver.send("a", Numbers::Add(1));
    // The partition's first record says that it was opened.
    let change = driver.changelog(0).last().map(Record::offset).unwrap_or_default();
    PANICS.set("decode");
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        driver.crash();
    }));
    PANICS.set("");
    assert!(failed.is_err(), "the driver says that the source does not start");
    let failure = driver.failure().map(ToString::to_string).unwrap_or_default();
    let expected = format!(
        "the restore of in-0 from offset {change} of its changelog (table `sums`) panicked: boom \
         in decode"
    );
    assert!(failure.contains(&expected), "{failure}");
    driver.crash();
    assert_eq!(driver.store(0).0.sums.get("a").map(|sum| sum.0), Some(1));
}

#[test]
fn c9_a_store_that_can_not_be_made_names_its_partition() {
    let mut driver = driver();
    PANICS.set("create");
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        driver.crash();
    }));
    PANICS.set("");
    assert!(failed.is_err(), "the driver says that the source does not start");
    let failure = driver.failure().map(ToString::to_string).unwrap_or_default();
    assert!(failure.contains("`create` of the store of in-0 panicked"), "{failure}");
}

#[test]
fn c9_a_callback_that_panics_names_itself_and_its_partition() {
    for name in ["on_activated", "on_will_revoke", "on_revoked"] {
        let mut driver = driver();
        driver.send("a", Numbers::Add(1));
        PANICS.set(name);
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            driver.restart().advance(Duration::from_secs(1));
        }));
        PANICS.set("");
        drop(ended);
        // A restart forgets why the instance before it failed.
        if name == "on_activated" {
            let failure = driver.failure().map(ToString::to_string).unwrap_or_default();
            assert!(
                failure.contains("callback `on_activated` of in-0 panicked: boom"),
                "{failure}"
            );
        }
        driver.crash();
        assert_eq!(driver.outputs().len(), 1);
    }
}
