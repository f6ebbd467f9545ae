//! The source calls the finalizer, so it has to see it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_core::jobs::JobResult;
use streams_core::prelude::*;

#[derive(Clone, EventCodec, Serialize, Deserialize, JsonSchema)]
pub struct Notification {
    pub email: String,
    pub weight: f64,
}

#[derive(Events)]
pub enum Notifications {
    NotifyContact(Notification),
}

#[event_source(events = Notifications, store = NoStore)]
mod contacts {
    use super::*;

    #[event_handler("NotifyContact", finalize = sent)]
    async fn notify(n: Notification) -> std::io::Result<usize> {
        Ok(n.email.len())
    }

    fn sent(
        _: &mut EventContext<NoStore>,
        _: Notification,
        _: JobResult<usize>,
    ) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn main() {
    let _ = contacts::Source::routes();
}
