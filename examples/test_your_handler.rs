//! Tests of an application without a broker: `cargo test --example test_your_handler`.
//!
//! The application counts the visits to pages and tells every hundredth visitor of a page; its
//! tests call one handler alone, tell a story, abort a transaction, and move the clock.

use std::time::Duration;

use streams_core::prelude::*;
use streams_core::testing::{ContextBuilder, Fault, TestDriver};

#[derive(Events)]
enum Visit {
    Visited(String),
}

#[derive(Events)]
enum Prize {
    Won(u64),
}

static PRIZES: Topic<Prize> = Topic::new("prizes");

#[derive(StateStore)]
struct Visits {
    pages: Table<String, u64>,
}

#[event_source(events = Visit, store = Visits)]
mod visits {
    use super::*;

    #[event_handler("Visited")]
    pub(super) fn visited(ctx: &mut EventContext<Visits>, page: String) -> Result<ExecutionState> {
        let Some(visitor) = ctx.key::<String>()? else { return ctx.fail("no visitor") };
        let count = ctx.store.pages.update(page, |count| {
            *count += 1;
            *count
        });
        if count.is_multiple_of(100) {
            ctx.forward(&PRIZES, &visitor, Prize::Won(count))?;
        }
        Ok(Complete)
    }

    #[interjection(every = "24h")]
    fn forget(ctx: &mut EventContext<Visits>, _at: SystemTime) -> Result<ExecutionState> {
        let pages: Vec<String> = ctx.store.pages.iter().map(|(page, _)| page.clone()).collect();
        pages.iter().for_each(|page| _ = ctx.store.pages.remove(page));
        Ok(Complete)
    }
}

fn page() -> Visit {
    Visit::Visited("/".to_owned())
}

fn main() {
    one_handler_alone();
    the_hundredth_visitor_wins();
    an_aborted_transaction_counts_once();
    every_day_begins_anew();
    println!("The four tests pass; `cargo test --example test_your_handler` runs them by name.");
}

#[cfg_attr(test, test)]
fn one_handler_alone() {
    let mut ctx = ContextBuilder::<Visits>::new()
        .key("ann")
        .store(|store| _ = store.pages.put("/".to_owned(), 99))
        .build();
    assert!(matches!(visits::visited(&mut ctx, "/".to_owned()), Ok(Complete)));
    assert_eq!(ctx.store.pages.get("/"), Some(&100));
    assert_eq!(ctx.finish().map(|effects| effects.outputs.len()).ok(), Some(1));
}

#[cfg_attr(test, test)]
fn the_hundredth_visitor_wins() {
    TestDriver::<visits::Source>::new()
        .given((1..=99).map(|_| ("bob", page())))
        .when("ann", page())
        .then_forwarded(&PRIZES, [("ann", Prize::Won(100))])
        .then_nothing_else()
        .then_committed(0, 100);
}

#[cfg_attr(test, test)]
fn an_aborted_transaction_counts_once() {
    TestDriver::<visits::Source>::new()
        .given([("ann", page())])
        .inject(Fault::Abort)
        .when("bob", page())
        .then_store(0, |store| assert_eq!(store.pages.get("/"), Some(&2)));
}

#[cfg_attr(test, test)]
fn every_day_begins_anew() {
    TestDriver::<visits::Source>::new()
        .given([("ann", page())])
        .when_time_passes(Duration::from_hours(24))
        .then_store(0, |store| assert!(store.pages.is_empty()));
}
