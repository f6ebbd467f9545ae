//! A table whose values have no bytes.

use streams_core::prelude::*;

struct Opaque;

#[derive(StateStore)]
struct Store {
    values: Table<String, Opaque>,
}

fn main() {}
