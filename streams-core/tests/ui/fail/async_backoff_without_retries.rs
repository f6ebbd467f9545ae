//! A back-off, and no further attempt.

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

    #[event_handler("NotifyContact", backoff = "1s")]
    async fn notify(n: Notification) -> std::io::Result<usize> {
        Ok(n.email.len())
    }
}

fn main() {
    let _ = contacts::Source::routes();
}
