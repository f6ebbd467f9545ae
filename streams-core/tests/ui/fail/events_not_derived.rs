//! An enum that is no contract.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

enum Plain {
    CreateContact(Contact),
}

#[event_source(events = Plain, store = ContactStore)]
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
