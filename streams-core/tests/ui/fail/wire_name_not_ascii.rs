//! A record type that no header carries.

use streams_core::prelude::*;

#[derive(Events)]
enum Numbers {
    Größe(i64),
}

fn main() {}
