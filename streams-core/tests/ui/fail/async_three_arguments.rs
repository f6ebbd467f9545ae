//! An async handler takes what is shared, and its event.

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
    async fn notify(a: &u8, n: Notification, b: u8) -> std::io::Result<usize> {
        Ok(n.email.len() + usize::from(a + b))
    }
}

fn main() {
    let _ = contacts::Source::routes();
}
