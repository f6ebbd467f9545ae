//! A list whose elements serde doesn't know.

use streams_core::prelude::*;

struct Line;

#[derive(StateStore)]
struct Store {
    lines: Table<String, Vec<Line>>,
}

fn main() {}
