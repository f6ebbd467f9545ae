//! As `shared_wrong`, in an interjection.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

struct App;

struct Other;

#[event_source(events = ContactEvent, store = ContactStore, shared = App)]
mod contacts {
    use super::*;

    #[default_handler]
    fn rest(_: &mut EventContext<ContactStore>, _: &Record) -> Result<ExecutionState> {
        Ok(Complete)
    }

    #[interjection(every = "1s")]
    fn sweep(
        _: &mut EventContext<ContactStore>,
        _: &Other,
        _: SystemTime,
    ) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {
    let _ = contacts::Source::routes();
}
