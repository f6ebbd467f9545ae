//! An older form without a name.

use streams_core::prelude::*;

#[derive(Events)]
enum Numbers {
    #[event("added.v2")]
    #[event("", upcast = i32)]
    Added(i64),
}

fn main() {
    let _ = Numbers::RECORD_TYPES;
}
