//! A value of another crate's type, which has no codec.

use streams_core::prelude::*;

#[derive(StateStore)]
struct Store {
    schemas: Table<String, schemars::Schema>,
}

fn main() {}
