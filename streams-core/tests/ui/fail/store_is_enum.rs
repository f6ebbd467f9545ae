//! A store that is no struct.

use streams_core::prelude::*;

#[derive(StateStore)]
enum Store {
    Empty,
}

fn main() {}
