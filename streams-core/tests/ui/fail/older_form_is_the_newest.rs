//! An older form under the name of the newest.

use streams_core::prelude::*;

#[derive(Events)]
enum Numbers {
    #[event("added.v1", upcast = i32)]
    #[event("added.v1")]
    Added(i64),
}

fn main() {
    let _ = Numbers::RECORD_TYPES;
}
