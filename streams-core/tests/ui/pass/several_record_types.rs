//! One handler for several record types of one payload type, in both forms.

use streams_core::prelude::*;
use streams_core::testing::TestDriver;

#[derive(Events)]
enum Words {
    Said(String),
    #[event("word.written.v1")]
    Written(String),
    Heard(String),
}

#[derive(StateStore)]
struct Counts {
    words: Table<String, i64>,
}

#[event_source(events = Words, store = Counts)]
mod collected {
    use super::*;

    #[event_handler("Said", "word.written.v1")]
    fn count(ctx: &mut EventContext<Counts>, word: String) -> Result<ExecutionState> {
        ctx.store.words.update(word, |count| *count += 1);
        Ok(Complete)
    }

    #[event_handler("Heard")]
    fn heard(_: &mut EventContext<Counts>, _: String) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

#[event_source(events = Words, store = Counts, handlers = [all])]
struct Listed;

#[event_handler("Said", "Heard", "word.written.v1")]
fn all(ctx: &mut EventContext<Counts>, word: String) -> Result<ExecutionState> {
    ctx.store.words.update(word, |count| *count += 1);
    Ok(Complete)
}

fn counted<A: EventSource<Events = Words, Store = Counts, Shared = ()>>() -> Option<i64> {
    let mut driver = TestDriver::<A>::new();
    for event in [Words::Said, Words::Written, Words::Heard] {
        driver.send("", event("word".to_owned()));
    }
    driver.store(0).words.get("word").copied()
}

#[test]
fn each_is_a_route() {
    assert_eq!((counted::<collected::Source>(), counted::<Listed>()), (Some(2), Some(3)));
    let routes = Listed::routes().iter().map(|route| (route.record_type, route.handler));
    assert!(routes.eq([("Said", "all"), ("Heard", "all"), ("word.written.v1", "all")]));
}
