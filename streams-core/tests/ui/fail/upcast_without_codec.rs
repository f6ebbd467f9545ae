//! An older form that can't be read.

use streams_core::prelude::*;

struct Old;

impl From<Old> for i64 {
    fn from(_: Old) -> Self {
        0
    }
}

#[derive(Events)]
enum Numbers {
    #[event("added.v2")]
    #[event("added.v1", upcast = Old)]
    Added(i64),
}

fn main() {
    let _ = Numbers::RECORD_TYPES;
}
