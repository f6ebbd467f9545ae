//! What a handler asks for is not what the source shares.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

struct App;

struct Other;

#[event_source(events = ContactEvent, store = ContactStore, shared = App)]
mod contacts {
    use super::*;

    #[event_handler("CreateContact")]
    fn create(_: &mut EventContext<ContactStore>, _: &Other, _: Contact) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[event_handler("contact.deleted.v1")]
    fn delete(_: &mut EventContext<ContactStore>, _: DeleteContact) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[event_handler("NotifyContact")]
    fn notify(_: &mut EventContext<ContactStore>, _: Notification) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {
    let _ = contacts::Source::routes();
}
