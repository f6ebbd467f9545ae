//! A key that an ordered table can't sort.

use streams_core::prelude::*;

#[derive(KeyCodec, Clone, PartialEq, Eq, Hash)]
struct OrderId(String);

#[derive(StateStore)]
struct Store {
    orders: OrderedTable<(u64, OrderId), String>,
}

fn main() {}
