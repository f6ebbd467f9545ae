//! Older forms, the oldest first.

use streams_core::prelude::*;

#[derive(EventCodec)]
#[codec(transparent)]
struct Second(i64);

impl From<i32> for Second {
    fn from(first: i32) -> Self {
        Self(first.into())
    }
}

impl From<Second> for i64 {
    fn from(second: Second) -> Self {
        second.0
    }
}

#[derive(Events)]
enum Numbers {
    #[event("added.v3")]
    #[event("added.v1", upcast = i32)]
    #[event("added.v2", upcast = Second)]
    Added(i64),
}

fn main() {
    let _ = Numbers::RECORD_TYPES;
}
