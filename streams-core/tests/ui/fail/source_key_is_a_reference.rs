//! A key that borrows.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[event_source(events = NotifyEvents, store = NoStore, key = &str)]
mod notices {
    use super::*;

    #[event_handler("Notified")]
    fn notified(_: &mut EventContext<NoStore>, _: String) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {}
