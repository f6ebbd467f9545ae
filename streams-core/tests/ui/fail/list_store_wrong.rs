//! As `store_wrong`, in the list form.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[derive(StateStore)]
struct OtherStore {
    names: Table<String, String>,
}

#[event_source(events = ContactEvent, store = ContactStore, handlers = [create, rest])]
struct Source;

#[event_handler("CreateContact")]
fn create(_: &mut EventContext<OtherStore>, _: Contact) -> Result<ExecutionState> {
    Ok(Complete)
}

#[default_handler]
fn rest(_: &mut EventContext<ContactStore>, _: &Record) -> Result<ExecutionState> {
    Ok(Complete)
}

fn main() {
    let _ = Source::routes();
}
