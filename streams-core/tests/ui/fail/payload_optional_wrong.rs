//! A tombstone's handler takes another payload.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[event_source(events = NotifyEvents, store = NoStore)]
mod notices {
    use super::*;

    #[event_handler("Notified")]
    fn notified(_: &mut EventContext<NoStore>, _: Option<Contact>) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {}
