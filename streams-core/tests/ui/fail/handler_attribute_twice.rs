//! Two record types, an attribute each.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[derive(Events)]
enum Changes {
    CreateContact(Contact),
    ChangeContact(Contact),
}

#[event_source(events = Changes, store = ContactStore)]
mod contacts {
    use super::*;

    #[event_handler("CreateContact")]
    #[event_handler("ChangeContact")]
    fn create(_: &mut EventContext<ContactStore>, _: Contact) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {
    let _ = contacts::Source::routes();
}
