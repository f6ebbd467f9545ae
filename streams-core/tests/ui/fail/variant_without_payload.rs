//! A variant without a payload.

use streams_core::prelude::*;

#[derive(Events)]
enum Jobs {
    Stopped,
    Failed { reason: String },
    Done(i64),
}

fn main() {}
