//! A contract whose name is misspelt.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[event_source(events = ContactEvnt, store = ContactStore)]
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
