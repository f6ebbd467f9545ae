//! A module without `use super::*`.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[event_source(events = ContactEvent, store = ContactStore)]
mod contacts {
    #[event_handler("CreateContact")]
    fn create(ctx: &mut EventContext<ContactStore>, contact: Contact) -> Result<ExecutionState> {
        ctx.store.contacts.put(contact.id.clone(), contact);
        Ok(Complete)
    }

    #[default_handler]
    fn rest(_: &mut EventContext<ContactStore>, _: &Record) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {}
