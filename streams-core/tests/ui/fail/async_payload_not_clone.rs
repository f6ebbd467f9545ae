//! A second attempt of a job needs its payload again.

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

    #[event_handler("NotifyContact")]
    async fn notify(n: Notification) -> std::io::Result<usize> {
        Ok(n.email.len())
    }
}

fn main() {
    let _ = contacts::Source::routes();
}
