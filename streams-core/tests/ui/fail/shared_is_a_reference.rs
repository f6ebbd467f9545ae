//! A reference, where the type itself is asked for.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

struct App;

#[event_source(events = ContactEvent, store = ContactStore, shared = &App)]
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
