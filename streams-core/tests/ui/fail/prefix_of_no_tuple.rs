//! The rows that begin with a part of a key that has none.

use streams_core::prelude::*;

#[derive(StateStore)]
struct Store {
    names: OrderedTable<String, String>,
}

fn of(store: &Store) -> usize {
    store.names.prefix("ann").count()
}

fn main() {}
