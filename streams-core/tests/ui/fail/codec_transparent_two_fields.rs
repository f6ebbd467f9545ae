//! Of two fields neither is the only one.

use streams_core::prelude::*;

#[derive(EventCodec)]
#[codec(transparent)]
struct Pair(String, String);

fn main() {}
