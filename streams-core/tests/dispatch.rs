//! How records find their handlers: borrowed payloads, headers that come twice, both forms of a
//! source, completers, and no allocation on the way.

mod allocations;

use std::borrow::Cow;
use std::sync::Arc;

use crate::allocations::allocations;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_core::handler::Outcome;
use streams_core::prelude::*;
use streams_core::record::{Headers, ProducerRecord, RECORD_TYPE_HEADER, TopicPartition};
use streams_core::testing::{self, TestDriver};

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct Reading<'a> {
    sensor: &'a str,
    #[serde(borrow)]
    note: Cow<'a, str>,
}

#[derive(Events)]
enum Readings<'a> {
    Reading(Reading<'a>),
    Line(&'a str),
    Blob(&'a [u8]),
    #[event("count.v1")]
    Count(i64),
}

static READINGS: Topic<Readings<'static>> = Topic::new("readings");

/// The list form: the handlers stand anywhere in the crate.
#[event_source(
    events = Readings<'_>,
    store = NoStore,
    handlers = [reading, elsewhere::line, elsewhere::blob, count],
)]
struct ReadingSource;

#[event_handler("Reading")]
fn reading(_: &mut EventContext<NoStore>, reading: Reading<'_>) -> Result<ExecutionState> {
    assert_eq!((reading.sensor, &*reading.note), ("a", "b"));
    assert!(matches!(reading.note, Cow::Borrowed(_)));
    Ok(Complete)
}

mod elsewhere {
    use streams_core::prelude::*;

    #[event_handler("Line")]
    pub(super) fn line(ctx: &mut EventContext<NoStore>, line: &str) -> Result<ExecutionState> {
        let value = ctx.input().and_then(Record::value);
        assert_eq!(value, Some(line.as_bytes()));
        Ok(if line.is_empty() { Incomplete } else { Complete })
    }

    #[event_handler("Blob")]
    pub(super) fn blob(_: &mut EventContext<NoStore>, blob: &[u8]) -> ExecutionState {
        assert_eq!(blob, [0xff, 0x00]);
        Complete
    }
}

#[event_handler("count.v1")]
fn count(_: &mut EventContext<NoStore>, count: i64) -> Result<ExecutionState> {
    Ok(if count > 0 { Complete } else { Incomplete })
}

/// What the handlers of a source share that shares nothing.
fn nothing() -> Arc<()> {
    Arc::new(())
}

fn record(event: Readings<'_>) -> Record {
    testing::record(&READINGS, "key", event).expect("it has a form")
}

#[test]
fn payloads_borrow_from_the_record() {
    let mut ctx = testing::context();
    let mut dispatch = |event| ReadingSource::dispatch(&mut ctx, &nothing(), &record(event));
    let reading = Readings::Reading(Reading { sensor: "a", note: "b".into() });
    assert!(matches!(dispatch(reading), Outcome::Complete));
    assert!(matches!(dispatch(Readings::Blob(&[0xff, 0x00])), Outcome::Complete));
    let decoded = record(Readings::Line("one"));
    assert!(matches!(Readings::decode(&decoded), Ok(Some(Readings::Line("one")))));
    let mut driver = TestDriver::<ReadingSource>::new();
    driver.send("key", Readings::Line("one")).then_committed(0, 1);
}

#[test]
fn text_that_is_not_utf8_is_not_decoded() {
    let record = Record::new(TopicPartition::new("readings", 0), 0)
        .with_record_type("Line")
        .with_value(&[b'a', 0xff][..]);
    let outcome = ReadingSource::dispatch(&mut testing::context(), &nothing(), &record);
    let Outcome::Undecodable(error) = outcome else { panic!("{outcome:?}") };
    assert!(error.to_string().contains("the value is not UTF-8"), "{error}");
}

#[test]
fn of_two_record_types_the_first_counts() {
    let header = |name: &'static str| (RECORD_TYPE_HEADER, Some(name.as_bytes()));
    let record = Record::new(TopicPartition::new("readings", 0), 0)
        .with_headers(Headers::from_pairs([("other", None), header("count.v1"), header("Line")]))
        .with_value(1i64.to_be_bytes().to_vec());
    let outcome = ReadingSource::dispatch(&mut testing::context(), &nothing(), &record);
    assert!(matches!(outcome, Outcome::Complete));
}

#[test]
fn no_record_type_is_no_route() {
    let record = Record::new(TopicPartition::new("readings", 0), 0).with_value(&b"1"[..]);
    let null = Headers::from_pairs([(RECORD_TYPE_HEADER, None)]);
    for record in [record.clone(), record.with_headers(null)] {
        let outcome = ReadingSource::dispatch(&mut testing::context(), &nothing(), &record);
        assert!(matches!(outcome, Outcome::Unrouted), "{outcome:?}");
    }
}

#[test]
fn dispatch_allocates_nothing() {
    let mut ctx = testing::context();
    let reading = record(Readings::Reading(Reading { sensor: "a", note: "b".into() }));
    let count = record(Readings::Count(7));
    for record in [&reading, &count] {
        let mut outcome = None;
        let shared = nothing();
        let dispatch = || outcome = Some(ReadingSource::dispatch(&mut ctx, &shared, record));
        let allocations = allocations(dispatch);
        assert_eq!(allocations, 0, "{record:?}");
        assert!(matches!(outcome, Some(Outcome::Complete)));
    }
}

#[derive(StateStore)]
struct Sums {
    sums: Table<String, i64>,
}

#[derive(Events)]
enum Numbers {
    Add(i64),
    #[event("sub.v1")]
    Sub(i64),
}

/// The module form, with a handler of its own from elsewhere and one for the rest.
#[event_source(events = Numbers, store = Sums, handlers = [tick])]
mod numbers {
    use super::*;

    #[event_handler("Add")]
    fn add(ctx: &mut EventContext<Sums>, number: i64) -> Result<ExecutionState> {
        let completer = ctx.completer();
        let work = std::thread::spawn(move || {
            completer.complete(move |ctx| {
                let Some(key) = ctx.key()? else { return ctx.fail("no key") };
                ctx.store.sums.update(key, |sum| *sum += number);
                Ok(Complete)
            });
        });
        work.join().expect("it doesn't panic");
        Ok(Incomplete)
    }

    #[default_handler]
    fn rest(ctx: &mut EventContext<Sums>, record: &Record) -> Result<ExecutionState> {
        ctx.store.sums.put(record.record_type().to_owned(), -1);
        Ok(Complete)
    }
}

#[interjection(every = "250ms")]
fn tick(ctx: &mut EventContext<Sums>, at: SystemTime) -> Result<ExecutionState> {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    ctx.store.sums.put("ticked".to_owned(), seconds.cast_signed());
    Ok(Complete)
}

#[test]
fn a_completer_finishes_an_event_from_any_thread() {
    let mut driver = TestDriver::<numbers::Source>::new();
    driver.hold_completions().send("a", Numbers::Add(3));
    assert_eq!((driver.store(0).sums.get("a"), driver.committed(0)), (None, Some(0)));
    driver.complete(0);
    assert_eq!((driver.store(0).sums.get("a"), driver.committed(0)), (Some(&3), Some(1)));
    assert!(driver.held_completions().is_empty());
}

#[test]
fn the_default_handler_takes_the_rest() {
    let mut driver = TestDriver::<numbers::Source>::new();
    driver.send("a", Numbers::Sub(3));
    let other = ProducerRecord::to(driver.topic().to_owned()).record_type("count.v1");
    driver.send_record(other);
    let sums = &driver.store(0).sums;
    assert_eq!((sums.get("sub.v1"), sums.get("count.v1")), (Some(&-1), Some(&-1)));
}

#[test]
fn listed_and_collected_handlers_mix() {
    let names: Vec<_> = numbers::Source::TABLE.interjections.iter().map(|i| i.name).collect();
    assert_eq!(names, ["tick"]);
    let mut driver = TestDriver::<numbers::Source>::new();
    driver.interject("tick");
    let now = driver.now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(driver.store(0).sums.get("ticked"), Some(&now.cast_signed()));
}

#[derive(Events)]
enum Orders {
    Placed(i64),
    Note(String),
}

static SEEN: Topic<Orders> = Topic::new("seen");

/// A handler for each record type, and one for everything else.
#[event_source(events = Orders, store = NoStore)]
mod orders {
    use super::*;

    #[event_handler("Placed")]
    fn placed(ctx: &mut EventContext<NoStore>, order: i64) -> Result<ExecutionState> {
        ctx.forward(&SEEN, "k", Orders::Placed(order))?;
        Ok(Complete)
    }

    #[event_handler("Note")]
    fn note(_: &mut EventContext<NoStore>, _: String) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[default_handler]
    fn other(ctx: &mut EventContext<NoStore>, record: &Record) -> Result<ExecutionState> {
        let seen = format!("{}: {:?}", record.record_type(), record.value());
        ctx.forward(&SEEN, "k", Orders::Note(seen))?;
        Ok(Complete)
    }
}

#[test]
fn a_tombstone_reaches_the_default_handler_though_its_record_type_has_a_handler() {
    let mut driver = TestDriver::<orders::Source>::new();
    let record = || ProducerRecord::to("test").key("k").record_type("Placed");
    driver.send_record(record()).send_record(record().value(7_i64.to_be_bytes().to_vec()));
    let seen: Vec<_> = driver
        .outputs()
        .iter()
        .map(|record| String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned())
        .collect();
    assert_eq!(seen, ["Placed: None", "\0\0\0\0\0\0\0\u{7}"]);
    // What has a value and is no payload is broken: that is not for the default handler.
    driver.when_record(record().value("no number")).then_fails("can't be decoded");
}

#[test]
fn a_tombstone_without_a_default_handler_is_undecodable_and_the_error_says_what_to_do() {
    let mut driver = TestDriver::<ReadingSource>::new();
    driver.when_record(ProducerRecord::to("test").key("k").record_type("count.v1"));
    driver.then_fails("`#[default_handler]`");
}

#[derive(Events)]
enum Removals<'a> {
    Order(i64),
    Line(&'a str),
}

/// Tombstones of a record type are `None` for a handler that takes an `Option`.
#[event_source(events = Removals<'_>, store = NoStore)]
mod removals {
    use super::*;

    #[event_handler("Order")]
    fn order(ctx: &mut EventContext<NoStore>, order: Option<i64>) -> Result<ExecutionState> {
        ctx.forward(&SEEN, "k", Orders::Note(format!("order {order:?}")))?;
        Ok(Complete)
    }

    #[event_handler("Line")]
    fn line(ctx: &mut EventContext<NoStore>, line: Option<&str>) -> Result<ExecutionState> {
        ctx.forward(&SEEN, "k", Orders::Note(format!("line {line:?}")))?;
        Ok(Complete)
    }

    #[default_handler]
    fn other(ctx: &mut EventContext<NoStore>, _: &Record) -> Result<ExecutionState> {
        ctx.fail("no tombstone comes here")
    }
}

#[test]
fn a_handler_that_takes_an_option_gets_the_tombstones_of_its_record_type() {
    let mut driver = TestDriver::<removals::Source>::new();
    let record = |record_type| ProducerRecord::to("test").key("k").record_type(record_type);
    driver.send_record(record("Order")).send_record(record("Line"));
    driver.send_record(record("Order").value(7_i64.to_be_bytes().to_vec()));
    driver.send_record(record("Line").value("text"));
    let seen: Vec<_> = driver
        .outputs()
        .iter()
        .map(|record| String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned())
        .collect();
    assert_eq!(seen, ["order None", "line None", "order Some(7)", "line Some(\"text\")"]);
    driver.when_record(record("Order").value("no number")).then_fails("can't be decoded");
}
