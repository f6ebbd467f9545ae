//! A payload, where an event is asked for.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

fn forward(ctx: &mut EventContext<ContactStore>, who: String) -> Result<()> {
    ctx.forward(&NOTIFIED, "1", who)
}

fn main() {
    let _ = forward;
}
