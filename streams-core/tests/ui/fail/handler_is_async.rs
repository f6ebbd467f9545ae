//! An async handler that wants the store.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

async fn send(_: &str) -> std::io::Result<()> {
    Ok(())
}

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
    async fn notify(_: &mut EventContext<ContactStore>, n: Notification) -> Result<ExecutionState> {
        send(&n.email).await?;
        Ok(Complete)
    }
}

fn main() {
    let _ = contacts::Source::routes();
}
