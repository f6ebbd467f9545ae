//! The example of GKES, whole: contacts are created, notified and deleted. One handler stands in
//! another file.
//!
//! `cargo run --example seed_contacts -- 127.0.0.1:9092` (a cluster, or `streams-broker`).

mod notification;

use serde::{Deserialize, Serialize};
use streams_core::prelude::*;

#[derive(EventCodec, Serialize, Deserialize, Clone, Default)]
#[serde(default)]
struct Contact {
    id: String,
    phone_number: String,
    email: String,
    first_name: String,
    last_name: String,
}

#[derive(EventCodec, Serialize, Deserialize)]
struct Notify {
    contact_id: String,
    notification_type: String,
}

#[derive(Events)]
#[expect(clippy::enum_variant_names, reason = "record types are named as the seed names them")]
enum ContactEvent {
    CreateContact(Contact),
    DeleteContact(Contact),
    NotifyContact(Notify),
}

#[derive(StateStore)]
struct ContactStore {
    contacts: Table<String, Contact>,
}

#[event_source(events = ContactEvent, store = ContactStore, handlers = [notification::notify])]
mod contacts {
    use super::*;

    #[event_handler("CreateContact")]
    fn create(ctx: &mut EventContext<ContactStore>, contact: Contact) -> Result<ExecutionState> {
        println!("Created contact: {}", contact.id);
        ctx.store.contacts.put(contact.id.clone(), contact);
        Ok(Complete)
    }

    #[event_handler("DeleteContact")]
    fn delete(ctx: &mut EventContext<ContactStore>, contact: Contact) -> Result<ExecutionState> {
        if ctx.store.contacts.remove(&contact.id).is_some() {
            println!("Deleted contact: {}", contact.id);
        }
        Ok(Complete)
    }
}

fn main() -> anyhow::Result<()> {
    let cluster = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let source = contacts::Source::builder()
        .bootstrap(&cluster)
        .group("ExampleEventSourceGroup")
        .topic("ExampleEventSource")
        .partitions(10)
        .start()?;

    let contact = Contact {
        id: "123".into(),
        phone_number: "+18005551212".into(),
        first_name: "Billy".into(),
        last_name: "Bob".into(),
        ..Contact::default()
    };
    let notify = || Notify { contact_id: "123".into(), notification_type: "email".into() };
    let producer = EventProducer::new(&cluster, Topic::<ContactEvent>::new("ExampleEventSource"))?;
    producer.send("123", &ContactEvent::CreateContact(contact.clone()))?;
    producer.send("123", &ContactEvent::NotifyContact(notify()))?;
    producer.send("123", &ContactEvent::DeleteContact(contact))?;
    producer.send("123", &ContactEvent::NotifyContact(notify()))?;

    Ok(source.run_until_signal()?)
}
