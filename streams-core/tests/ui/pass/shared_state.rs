//! What all handlers share, given once, between context and event: to handlers of every kind, in
//! both forms, as a reference or as an `Arc` for a completer to take along.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use streams_core::prelude::*;
use streams_core::record::TopicPartition;

#[derive(Events)]
enum Numbers {
    Add(i64),
    Later(i64),
    Ignored(i64),
    Rest(i64),
}

/// A client of something, say.
struct App {
    factor: i64,
    sum: AtomicI64,
}

impl App {
    fn add(&self, number: i64) {
        self.sum.fetch_add(number * self.factor, Ordering::Relaxed);
    }
}

#[event_source(events = Numbers, store = NoStore, shared = App, handlers = [tick])]
mod numbers {
    use super::*;

    #[event_handler("Add")]
    fn add(_: &mut EventContext<NoStore>, app: &App, number: i64) -> Result<ExecutionState> {
        app.add(number);
        Ok(Complete)
    }

    #[event_handler("Later")]
    fn later(
        ctx: &mut EventContext<NoStore>,
        app: &Arc<App>,
        number: i64,
    ) -> Result<ExecutionState> {
        let (app, completer) = (Arc::clone(app), ctx.completer());
        let work = std::thread::spawn(move || {
            completer.complete(move |_| {
                app.add(number);
                Ok(Complete)
            });
        });
        work.join().expect("it doesn't panic");
        Ok(Incomplete)
    }

    /// It need not ask for it.
    #[event_handler("Ignored")]
    fn ignored(_: &mut EventContext<NoStore>, _: i64) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[default_handler]
    fn rest(_: &mut EventContext<NoStore>, app: &App, _: &Record) -> Result<ExecutionState> {
        app.add(1_000);
        Ok(Complete)
    }
}

#[interjection(every = "1s")]
fn tick(_: &mut EventContext<NoStore>, app: &App, _: SystemTime) -> Result<ExecutionState> {
    app.add(10_000);
    Ok(Complete)
}

#[test]
fn handlers_of_every_kind_share() {
    let app = Arc::new(App { factor: 2, sum: AtomicI64::new(0) });
    let mut driver = numbers::Source::builder().shared(Arc::clone(&app)).test_driver();
    driver.hold_completions().send("", Numbers::Add(1)).send("", Numbers::Later(10));
    assert_eq!((app.sum.load(Ordering::Relaxed), driver.committed(0)), (2, Some(1)));
    driver.complete(0).send("", Numbers::Ignored(100)).send("", Numbers::Rest(0));
    // Every second, as it says, and when the test wants it.
    driver.interject("tick");
    assert_eq!(app.sum.load(Ordering::Relaxed), 22_022);
}

/// A type with a comma in it, that is no path.
#[event_source(
    events = Numbers,
    store = NoStore,
    shared = (Box<dyn Fn(i64) -> i64 + Send + Sync>, i64),
)]
mod pair {
    use super::*;

    type Pair = (Box<dyn Fn(i64) -> i64 + Send + Sync>, i64);

    #[default_handler]
    fn rest(ctx: &mut EventContext<NoStore>, pair: &Pair, _: &Record) -> Result<ExecutionState> {
        if pair.0(pair.1) == 4 { Ok(Complete) } else { ctx.fail("another") }
    }
}

#[test]
fn any_type_is_shared() {
    let mut ctx = streams_core::testing::context();
    let double: Box<dyn Fn(i64) -> i64 + Send + Sync> = Box::new(|number| number * 2);
    let record = Record::new(TopicPartition::new("numbers", 0), 0);
    let outcome = pair::Source::dispatch(&mut ctx, &Arc::new((double, 2)), &record);
    assert!(matches!(outcome, streams_core::Outcome::Complete), "{outcome:?}");
}

/// Before it starts, and given as a value or as an `Arc`.
#[test]
fn it_is_given_to_the_builder() {
    let app = App { factor: 1, sum: AtomicI64::new(0) };
    let error = numbers::Source::builder().group("g").shared(app).topic("t").start().unwrap_err();
    assert!(error.to_string().contains("bootstrap"), "{error}");
    let app = Arc::new(App { factor: 1, sum: AtomicI64::new(0) });
    drop(numbers::Source::builder().shared(app));
}
