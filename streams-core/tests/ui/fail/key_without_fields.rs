//! A derived key of nothing.

use streams_core::prelude::*;

#[derive(KeyCodec)]
struct Id;

fn main() {}
