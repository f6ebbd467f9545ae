//! A source that is given something else to share.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

struct App;

#[event_source(events = ContactEvent, store = ContactStore, shared = App)]
mod contacts {
    use super::*;

    #[default_handler]
    fn rest(_: &mut EventContext<ContactStore>, _: &Record) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {
    let _ = contacts::Source::builder().shared("app").start();
}
