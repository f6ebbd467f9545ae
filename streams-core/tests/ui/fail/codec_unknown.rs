//! A codec one letter off.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_core::prelude::*;

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
#[codec(jsn)]
struct Number {
    number: u32,
}

#[derive(Events)]
enum Numbers {
    Number(Number),
}

fn main() {}
