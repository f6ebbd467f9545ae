//! A record type that the destination's contract lacks.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

fn forward(ctx: &mut EventContext<ContactStore>, who: String) -> Result<()> {
    ctx.forward(&NOTIFIED, "1", NotifyEvents::Deleted(who))
}

fn main() {
    let _ = forward;
}
