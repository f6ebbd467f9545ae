//! An option of the source, one letter off.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[event_source(events = ContactEvent, stor = ContactStore)]
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
