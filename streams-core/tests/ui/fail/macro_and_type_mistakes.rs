//! Mistakes in names and in types are told in one go.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[derive(StateStore)]
struct OtherStore {
    names: Table<String, String>,
}

#[event_source(events = ContactEvent, store = ContactStore)]
mod contacts {
    use super::*;

    #[event_handler("CreateContct")]
    fn create(_: &mut EventContext<ContactStore>, _: Contact) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[event_handler("contact.deleted.v1")]
    fn delete(_: &mut EventContext<OtherStore>, _: DeleteContact) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[event_handler("NotifyContact")]
    fn notify(_: &mut EventContext<ContactStore>, _: Contact) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {
    let _ = contacts::Source::routes();
}
