//! The handler of notifications.

use super::{ContactStore, Notify};
use streams_core::prelude::*;

#[event_handler("NotifyContact")]
pub(super) fn notify(ctx: &mut EventContext<ContactStore>, n: Notify) -> Result<ExecutionState> {
    match ctx.store.contacts.get(&n.contact_id) {
        Some(contact) => println!("Notifying contact: {} by {}", contact.id, n.notification_type),
        None => println!("Contact {} does not exist!", n.contact_id),
    }
    Ok(Complete)
}
