//! A contract by an alias, which is no macro.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

type Alias = ContactEvent;

#[event_source(events = Alias, store = ContactStore)]
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
