//! A handler in an impl.

use streams_core::prelude::*;

struct Handlers;

impl Handlers {
    #[event_handler("CreateContact")]
    fn create(&self, _: &mut EventContext<NoStore>, _: i64) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {}
