//! A store with types of its own choice.

use streams_core::prelude::*;

#[derive(StateStore)]
struct Store<V> {
    values: Table<String, V>,
}

fn main() {}
