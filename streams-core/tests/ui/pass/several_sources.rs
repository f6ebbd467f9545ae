//! Two sources in one process: one contract, two stores, each with its own routes.

use streams_core::prelude::*;

#[derive(Events)]
enum Letters {
    Letter(String),
}

#[derive(StateStore)]
struct Counts {
    counts: Table<String, u64>,
}

#[event_source(events = Letters, store = Counts)]
mod counting {
    use super::*;

    #[event_handler("Letter")]
    fn count(ctx: &mut EventContext<Counts>, letter: String) -> Result<ExecutionState> {
        ctx.store.counts.update(letter, |count| *count += 1);
        Ok(Complete)
    }
}

#[event_source(events = Letters, store = NoStore)]
mod reading {
    use super::*;

    #[event_handler("Letter")]
    fn read(_: &mut EventContext<NoStore>, _: String) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

#[test]
fn each_has_its_own_routes() {
    assert!(counting::Source::routes()[0].handler.ends_with("count"));
    assert!(reading::Source::routes()[0].handler.ends_with("read"));
}
