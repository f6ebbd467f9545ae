//! A derived key of any type.

use streams_core::prelude::*;

#[derive(KeyCodec)]
struct Id<T>(T);

fn main() {}
