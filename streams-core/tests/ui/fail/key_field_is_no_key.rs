//! One of the parts of a derived key is no key itself.

use streams_core::prelude::*;

#[derive(KeyCodec)]
struct Priced {
    order: String,
    price: f64,
}

fn main() {}
