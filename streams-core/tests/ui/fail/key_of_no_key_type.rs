//! The event's key, read as something that no key is.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

fn key(ctx: &mut EventContext<ContactStore>) -> Result<Option<Contact>> {
    Ok(ctx.key::<Contact>()?)
}

fn main() {
    let _ = key;
}
