//! A contract that is no enum.

use streams_core::prelude::*;

#[derive(Events)]
struct Numbers {
    add: i64,
}

fn main() {}
