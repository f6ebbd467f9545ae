//! The only field has no codec.

use streams_core::prelude::*;

struct Inner;

#[derive(EventCodec)]
#[codec(transparent)]
struct Outer(Inner);

fn main() {}
