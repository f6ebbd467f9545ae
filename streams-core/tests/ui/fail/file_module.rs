//! A module whose handlers are in another file.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[event_source(events = ContactEvent, store = ContactStore)]
mod handlers;

fn main() {}
