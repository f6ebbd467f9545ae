//! A durable job without a codec.

use streams_core::prelude::*;

#[derive(Job)]
struct SendMail {
    address: String,
}

fn main() {}
