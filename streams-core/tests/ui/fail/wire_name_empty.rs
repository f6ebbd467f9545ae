//! An empty record type in the contract.

use streams_core::prelude::*;

#[derive(Events)]
enum Numbers {
    #[event("")]
    Add(i64),
}

fn main() {}
