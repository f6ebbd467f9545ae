//! Tables without names.

use streams_core::prelude::*;

#[derive(StateStore)]
struct Store(Table<String, String>);

fn main() {}
