//! A source that is no module.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[event_source(events = ContactEvent, store = ContactStore)]
fn contacts() {}

fn main() {
    let _ = ContactEvent::RECORD_TYPES;
    contacts();
}
