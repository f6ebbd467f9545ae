//! A handler for what the contract reads as something newer.

use streams_core::prelude::*;

#[derive(Events)]
enum Numbers {
    #[event("added.v2")]
    #[event("added.v1", upcast = i32)]
    Added(i64),
}

#[event_source(events = Numbers, store = NoStore)]
mod contacts {
    use super::*;

    #[event_handler("added.v1")]
    fn added(_: &mut EventContext<NoStore>, _: i64) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {
    let _ = contacts::Source::routes();
}
