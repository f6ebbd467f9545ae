//! One handler twice in the list.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[event_source(events = ContactEvent, store = ContactStore, handlers = [create, rest, create])]
struct Source;

#[event_handler("CreateContact")]
fn create(_: &mut EventContext<ContactStore>, _: Contact) -> Result<ExecutionState> {
    Ok(Complete)
}

#[default_handler]
fn rest(_: &mut EventContext<ContactStore>, _: &Record) -> Result<ExecutionState> {
    Ok(Complete)
}

fn main() {
    let _ = Source::routes();
}
