//! A contract with a type of its own choice.

use streams_core::prelude::*;

#[derive(Events)]
enum Numbers<T> {
    Add(T),
}

fn main() {}
