//! The typed key of a source that declares none.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

#[event_source(events = NotifyEvents, store = NoStore)]
mod notices {
    use super::*;

    #[event_handler("Notified")]
    fn notified(ctx: &mut EventContext<NoStore>, _: String) -> Result<ExecutionState> {
        let _ = Source::key(ctx)?;
        Ok(Complete)
    }
}

fn main() {}
