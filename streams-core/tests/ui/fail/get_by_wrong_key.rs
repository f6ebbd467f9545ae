//! A row is looked for by a key of another type.

use streams_core::prelude::*;

#[derive(StateStore)]
struct Store {
    names: Table<String, String>,
    sorted: OrderedTable<String, u64>,
}

fn get(store: &Store) -> (Option<&String>, Option<&u64>) {
    (store.names.get(&17u32), store.sorted.get("right"))
}

fn main() {}
