//! A source without a store.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[event_source(events = ContactEvent)]
mod contacts {
    use super::*;

    #[default_handler]
    fn rest(_: &mut EventContext<ContactStore>, _: &Record) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {
    let _ = contacts::Source::routes();
}
