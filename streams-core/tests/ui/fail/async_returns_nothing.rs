//! An async handler says whether its job has failed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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

    #[event_handler("NotifyContact")]
    async fn notify(n: Notification) {
        drop(n);
    }
}

fn main() {
    let _ = contacts::Source::routes();
}
