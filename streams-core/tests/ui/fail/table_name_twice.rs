//! Two tables of one name.

use streams_core::prelude::*;

#[derive(StateStore)]
struct Store {
    names: Table<String, String>,
    #[table("names")]
    titles: Table<String, String>,
    #[table("")]
    empty: Table<String, String>,
    #[table(unquoted)]
    unquoted: Table<String, String>,
}

fn main() {}
