//! The spans of an event's life, as a subscriber sees them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use streams_core::prelude::*;
use streams_core::testing::Fault;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

#[derive(Events)]
enum Numbers {
    Add(i64),
}

#[derive(StateStore)]
struct Sums {
    sums: Table<String, i64>,
}

#[event_source(events = Numbers, store = Sums)]
mod sums {
    use super::*;

    #[event_handler("Add")]
    fn add(ctx: &mut EventContext<Sums>, number: i64) -> Result<ExecutionState> {
        tracing::info!(target: "app", number, "adding");
        let Some(key) = ctx.key::<String>()? else { return ctx.fail("no key") };
        ctx.store.sums.update(key, |sum| *sum += number);
        Ok(Complete)
    }
}

type Fields = BTreeMap<&'static str, String>;

#[derive(Default)]
struct Seen {
    /// Name and fields by id.
    spans: Vec<(&'static str, Fields)>,
    follows: Vec<(u64, u64)>,
    entered: Vec<u64>,
    /// The span of each event, its target and its fields.
    events: Vec<(Option<u64>, &'static str, Fields)>,
}

#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Seen>>);

struct Read<'f>(&'f mut Fields);

impl Visit for Read<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("streams::") || metadata.target() == "app"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::new();
        span.record(&mut Read(&mut fields));
        let mut seen = self.0.lock().expect("no panic");
        seen.spans.push((span.metadata().name(), fields));
        Id::from_u64(seen.spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.0.lock().expect("no panic").follows.push((span.into_u64(), follows.into_u64()));
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Read(&mut fields));
        let mut seen = self.0.lock().expect("no panic");
        let parent = event.parent().map(Id::into_u64);
        let span = parent.or_else(|| seen.entered.last().copied());
        seen.events.push((span, event.metadata().target(), fields));
    }

    fn enter(&self, span: &Id) {
        self.0.lock().expect("no panic").entered.push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let left = self.0.lock().expect("no panic").entered.pop();
        assert_eq!(left, Some(span.into_u64()), "spans nest");
    }
}

#[test]
fn a_transaction_follows_from_its_events() {
    let listener = Listener::default();
    tracing::subscriber::with_default(listener.clone(), || {
        let mut driver = sums::Source::builder().topic("numbers").partitions(1).test_driver();
        driver.send("a", Numbers::Add(7));
        driver.inject(Fault::Abort);
        driver.send("b", Numbers::Add(8));
    });
    let seen = listener.0.lock().expect("no panic");
    let span = |id: u64| &seen.spans[usize::try_from(id).expect("small") - 1];
    let runs: Vec<&Fields> =
        seen.spans.iter().filter(|(name, _)| *name == "event").map(|(_, fields)| fields).collect();
    let place = |fields: &Fields, name: &str| fields.get(name).cloned().unwrap_or_default();
    let offsets: Vec<String> = runs.iter().map(|fields| place(fields, "offset")).collect();
    assert_eq!(offsets, ["0", "1", "1"], "the second event runs twice");
    for fields in runs {
        assert_eq!(
            (place(fields, "topic"), place(fields, "partition")),
            ("numbers".into(), "0".into())
        );
        assert_eq!(
            (place(fields, "name"), place(fields, "step")),
            ("Add".into(), "Handler".into())
        );
    }
    // What the handler logs belongs to the event's span.
    let logged = seen.events.iter().filter(|(_, target, _)| *target == "app");
    for (span_id, _, _) in logged {
        assert_eq!(span(span_id.expect("a span")).0, "event");
    }
    // Each transaction with an event follows from it, and says how it ended.
    let ends = seen.events.iter().filter(|(_, target, _)| *target == "streams::transaction");
    let ends: Vec<(u64, String)> =
        ends.map(|(id, _, fields)| (id.expect("a span"), place(fields, "result"))).collect();
    let results: Vec<&str> = ends.iter().map(|(_, result)| result.as_str()).collect();
    assert_eq!(results, ["committed", "aborted", "committed"]);
    for (id, _) in &ends {
        assert_eq!(span(*id).0, "transaction");
        assert!(seen.follows.iter().any(|(txn, event)| txn == id && span(*event).0 == "event"));
    }
}
