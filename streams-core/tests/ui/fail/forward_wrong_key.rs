//! A key of another type than the topic's.

#[path = "../model.rs"]
mod model;

use model::*;
use streams_core::prelude::*;

fn forward(ctx: &mut EventContext<ContactStore>, who: String) -> Result<()> {
    ctx.forward(&NOTIFIED, &17u32, NotifyEvents::Notified(who))
}

fn main() {
    let _ = forward;
}
