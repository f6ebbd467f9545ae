//! A key that a hash map can't find.

use streams_core::prelude::*;

#[derive(KeyCodec, Clone, PartialEq, Eq)]
struct OrderId(String);

#[derive(StateStore)]
struct Store {
    orders: Table<OrderId, String>,
}

fn main() {}
