//! A default handler that takes a payload.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[event_source(events = ContactEvent, store = ContactStore)]
mod contacts {
    use super::*;

    #[default_handler]
    fn rest(_: &mut EventContext<ContactStore>, _: Contact) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {
    let _ = contacts::Source::routes();
}
