//! One handler, without the brackets of a list.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[event_source(events = ContactEvent, store = ContactStore, handlers = rest)]
struct Source;

#[default_handler]
fn rest(_: &mut EventContext<ContactStore>, _: &Record) -> Result<ExecutionState> {
    Ok(Complete)
}

fn main() {
    let _ = Source::routes();
}
