//! A store that is none.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

struct Plain;

#[event_source(events = ContactEvent, store = Plain)]
mod contacts {
    use super::*;

    #[event_handler("CreateContact")]
    fn create(_: &mut EventContext<Plain>, _: Contact) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[event_handler("contact.deleted.v1")]
    fn delete(_: &mut EventContext<Plain>, _: DeleteContact) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[event_handler("NotifyContact")]
    fn notify(_: &mut EventContext<Plain>, _: Notification) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {
    let _ = contacts::Source::routes();
}
