//! A codec behind a feature that is not enabled.

use serde::{Deserialize, Serialize};
use streams_core::prelude::*;

#[derive(EventCodec, Serialize, Deserialize)]
#[codec(msgpack)]
struct Contact {
    id: String,
}

fn main() {}
