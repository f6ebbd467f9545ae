//! A misspelt option of a table, and a table without any.

use streams_core::prelude::*;

#[derive(StateStore)]
struct Store {
    #[table("people", upcst = u32)]
    contacts: Table<String, u64>,
    #[table]
    counts: Table<String, u64>,
}

fn main() {}
