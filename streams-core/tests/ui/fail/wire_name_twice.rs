//! Two variants of one record type.

use streams_core::prelude::*;

#[derive(Events)]
enum Numbers {
    Add(i64),
    #[event("Add")]
    Sub(i64),
}

#[event_source(events = Numbers, store = NoStore)]
mod numbers {
    use super::*;

    #[event_handler("Add")]
    fn add(_: &mut EventContext<NoStore>, _: i64) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {}
