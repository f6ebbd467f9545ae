//! A key that has no equality.

use streams_core::prelude::*;

#[derive(StateStore)]
struct Store {
    prices: OrderedTable<f64, String>,
}

fn main() {}
