//! A contract that is described, with a payload that can't be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_core::prelude::*;

#[derive(EventCodec, Serialize, Deserialize)]
struct Contact {
    id: String,
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct Note {
    text: String,
}

#[derive(Events)]
enum ContactEvent {
    Create(Contact),
    Annotate(Note),
}

fn main() {
    println!("{}", ContactEvent::schema());
}
