//! A handler that is no function.

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

    #[event_handler("CreateContact")]
    struct Create;
}

fn main() {
    let _ = contacts::Source::routes();
}
