//! A range of rows that have no order.

use streams_core::prelude::*;

#[derive(StateStore)]
struct Store {
    due: Table<u64, String>,
    by_name: Table<(String, u64), String>,
}

fn due(store: &Store) -> usize {
    store.due.range(..7).count() + store.by_name.prefix("ann").count()
}

fn main() {}
