//! A snapshot of rows that have no schema.

use serde::{Deserialize, Serialize};
use streams_core::prelude::*;

#[derive(EventCodec, Serialize, Deserialize)]
struct Contact {
    email: String,
}

#[derive(StateStore)]
struct Store {
    contacts: Table<String, Contact>,
}

fn main() {
    streams_core::assert_store_snapshot!(Store, "schemas/store.json");
}
