//! A field that nothing logs.

use streams_core::prelude::*;

#[derive(StateStore)]
struct Store {
    names: Table<String, String>,
    count: u64,
}

fn main() {}
