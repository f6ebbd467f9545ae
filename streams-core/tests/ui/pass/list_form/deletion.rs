//! The other file.

use streams_core::prelude::*;

use super::Known;

#[event_handler("name.removed.v1")]
pub(super) fn remove(ctx: &mut EventContext<Known>, name: String) -> Result<ExecutionState> {
    ctx.store.names.remove(&name);
    Ok(Complete)
}

#[interjection(every = "1h")]
pub(super) fn sweep(ctx: &mut EventContext<Known>, _: SystemTime) -> Result<ExecutionState> {
    let names: Vec<String> = ctx.store.names.iter().map(|(name, _)| name.clone()).collect();
    for name in names {
        ctx.store.names.remove(&name);
    }
    Ok(Complete)
}
