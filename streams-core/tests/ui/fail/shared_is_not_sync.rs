//! Something that no two threads can share.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

struct App(std::cell::Cell<u64>);

#[event_source(events = ContactEvent, store = ContactStore, shared = App)]
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
