//! An interjection that is no function.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[event_source(events = ContactEvent, store = ContactStore)]
mod contacts {
    use super::*;

    #[default_handler]
    fn rest(_: &mut EventContext<ContactStore>, _: &Record) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[interjection(every = "1s")]
    struct Sweep;
}

fn main() {
    let _ = contacts::Source::routes();
}
