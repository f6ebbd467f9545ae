//! A former row that can't become today's.

use serde::{Deserialize, Serialize};
use streams_core::prelude::*;

#[derive(EventCodec, Serialize, Deserialize)]
struct ContactV1 {
    email: String,
}

#[derive(StateStore)]
struct Store {
    #[table(upcast = ContactV1)]
    contacts: Table<String, Vec<String>>,
}

fn main() {}
