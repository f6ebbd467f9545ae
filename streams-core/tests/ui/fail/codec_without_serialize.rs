//! A payload that serde can't write.

use schemars::JsonSchema;
use serde::Deserialize;
use streams_core::prelude::*;

#[derive(EventCodec, Deserialize, JsonSchema)]
struct Number {
    number: u32,
}

#[derive(Events)]
enum Numbers {
    Number(Number),
}

fn main() {}
