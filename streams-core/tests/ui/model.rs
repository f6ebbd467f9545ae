//! The contract and the store that most of the programs here use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_core::prelude::*;

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
pub struct Contact {
    pub id: String,
    pub email: String,
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
pub struct DeleteContact {
    pub id: String,
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
pub struct Notification {
    pub contact_id: String,
    pub email: String,
}

#[derive(Events)]
pub enum ContactEvent {
    CreateContact(Contact),
    #[event("contact.deleted.v1")]
    DeleteContact(DeleteContact),
    NotifyContact(Notification),
}

#[derive(StateStore)]
pub struct ContactStore {
    pub contacts: Table<String, Contact>,
}

#[derive(Events)]
pub enum NotifyEvents {
    Notified(String),
}

pub static NOTIFIED: Topic<NotifyEvents> = Topic::new("notified");
