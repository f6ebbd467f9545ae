//! An event of another topic's contract.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

fn forward(ctx: &mut EventContext<ContactStore>, gone: DeleteContact) -> Result<()> {
    ctx.forward(&NOTIFIED, "1", ContactEvent::DeleteContact(gone))
}

fn main() {
    let _ = forward;
}
