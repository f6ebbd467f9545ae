//! A newtype as a key, without its derive.

use streams_core::prelude::*;

#[derive(Clone, PartialEq, Eq, Hash)]
struct OrderId(String);

#[derive(StateStore)]
struct Store {
    orders: Table<OrderId, String>,
}

fn main() {}
