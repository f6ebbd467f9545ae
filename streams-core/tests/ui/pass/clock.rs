//! The time that a handler sees is the worker's: virtual in tests.

use std::time::Duration;

use streams_core::prelude::*;
use streams_core::testing::{ContextBuilder, TestDriver, context};

#[derive(Events)]
enum Orders {
    Placed(String),
}

#[derive(StateStore)]
struct Store {
    due: OrderedTable<SystemSeconds, String>,
}

type SystemSeconds = u64;

fn seconds(at: SystemTime) -> SystemSeconds {
    at.duration_since(SystemTime::UNIX_EPOCH).expect("later than 1970").as_secs()
}

#[event_source(events = Orders, store = Store)]
mod orders {
    use super::*;

    #[event_handler("Placed")]
    pub(super) fn placed(ctx: &mut EventContext<Store>, id: String) -> Result<ExecutionState> {
        let due = seconds(ctx.now() + Duration::from_secs(60));
        ctx.store.due.put(due, id);
        Ok(Complete)
    }

    #[interjection(every = "30s")]
    fn expire(ctx: &mut EventContext<Store>, at: SystemTime) -> Result<ExecutionState> {
        assert_eq!(ctx.now(), at);
        let due: Vec<u64> = ctx.store.due.range(..=seconds(at)).map(|(due, _)| *due).collect();
        for due in due {
            ctx.store.due.remove(&due);
        }
        Ok(Complete)
    }
}

#[test]
fn a_deadline_by_the_workers_clock_passes_in_virtual_time() {
    let mut driver = TestDriver::<orders::Source>::new();
    driver.advance(Duration::from_secs(7)).send("k", Orders::Placed("a".to_owned()));
    let due = driver.store(0).due.first().map(|(due, _)| *due);
    assert_eq!(due, Some(seconds(driver.now()) + 60));
    driver.advance(Duration::from_secs(59));
    assert_eq!(driver.store(0).due.len(), 1);
    driver.advance(Duration::from_secs(30));
    assert!(driver.store(0).due.is_empty());
}

#[test]
fn a_context_for_one_handler_has_a_clock_of_its_own() {
    let mut ctx = context::<Store>();
    assert_eq!(ctx.now(), TestDriver::<orders::Source>::new().now());
    ctx.advance(Duration::from_secs(5));
    let now = ctx.now();
    assert_eq!(orders::placed(&mut ctx, "a".to_owned()).expect("no error"), Complete);
    assert_eq!(ctx.store.due.first().map(|(due, _)| *due), Some(seconds(now) + 60));
    let ctx = ContextBuilder::<Store>::new().now(SystemTime::UNIX_EPOCH).build();
    assert_eq!(ctx.now(), SystemTime::UNIX_EPOCH);
}
