//! A derived key that is no struct.

use streams_core::prelude::*;

#[derive(KeyCodec)]
enum Id {
    Order(String),
    Customer(String),
}

fn main() {}
