//! An older form that nothing turns into the newer one.

use streams_core::prelude::*;

#[derive(Events)]
enum Numbers {
    #[event("added.v2")]
    #[event("added.v1", upcast = String)]
    Added(i64),
}

fn main() {
    let _ = Numbers::RECORD_TYPES;
}
