//! No handler at all.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[event_source(events = ContactEvent, store = ContactStore)]
mod contacts {
    use super::*;
}

fn main() {
    let _ = contacts::Source::routes();
}
