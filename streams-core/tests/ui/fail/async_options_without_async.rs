//! Options of async handlers, on one that owns the store while it runs.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[event_source(events = ContactEvent, store = ContactStore)]
mod contacts {
    use super::*;

    #[event_handler("CreateContact")]
    fn create(_: &mut EventContext<ContactStore>, _: Contact) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[event_handler("contact.deleted.v1")]
    fn delete(_: &mut EventContext<ContactStore>, _: DeleteContact) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[event_handler("NotifyContact", concurrency = 64, key = email)]
    fn notify(_: &mut EventContext<ContactStore>, _: Notification) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {
    let _ = contacts::Source::routes();
}
