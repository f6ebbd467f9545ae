//! A payload without a codec: said once, where the contract names it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_core::prelude::*;

#[derive(Serialize, Deserialize, JsonSchema)]
struct Number {
    number: u32,
}

#[derive(Events)]
enum Numbers {
    Number(Number),
}

#[event_source(events = Numbers, store = NoStore)]
mod numbers {
    use super::*;

    #[event_handler("Number")]
    fn number(_: &mut EventContext<NoStore>, _: Number) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {}
