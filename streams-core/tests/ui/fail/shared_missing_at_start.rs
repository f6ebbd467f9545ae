//! A source that starts without what its handlers share.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

struct App;

#[event_source(events = ContactEvent, store = ContactStore, shared = App)]
mod contacts {
    use super::*;

    #[default_handler]
    fn rest(_: &mut EventContext<ContactStore>, _: &Record) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {
    let _ = contacts::Source::builder().bootstrap("kafka:9092").start();
}
