//! An option that `#[event]` doesn't have.

use streams_core::prelude::*;

#[derive(Events)]
enum Numbers {
    #[event("added.v2")]
    #[event("added.v1", upcats = i32)]
    Added(i64),
}

fn main() {
    let _ = Numbers::RECORD_TYPES;
}
