//! A text, where the old payload's type is asked for.

use streams_core::prelude::*;

#[derive(Events)]
enum Numbers {
    #[event("added.v2")]
    #[event("added.v1", upcast = "i32")]
    Added(i64),
}

fn main() {
    let _ = Numbers::RECORD_TYPES;
}
