//! GKES's example program, declared: contacts are created, notified and deleted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_core::handler::{Outcome, Route};
use streams_core::prelude::*;
use streams_core::record::{Headers, Outputs, RECORD_TYPE_HEADER, TopicPartition};
use streams_core::testing;

type ContactId = String;

#[derive(EventCodec, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
struct Contact {
    id: ContactId,
    phone_number: String,
    email: String,
    first_name: String,
    last_name: String,
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
struct NotifyContactEvent {
    contact_id: ContactId,
    notification_type: String,
}

#[derive(Events)]
enum ContactEvent {
    CreateContact(Contact),
    #[event("contact.deleted.v1")]
    DeleteContact(Contact),
    NotifyContact(NotifyContactEvent),
}

#[derive(Events)]
enum MailEvent {
    SendMail(String),
}

#[derive(StateStore)]
struct ContactStore {
    contacts: Table<ContactId, Contact>,
    notified: Table<ContactId, u64>,
}

static CONTACTS: Topic<ContactEvent> = Topic::new("contacts");
static MAILS: Topic<MailEvent> = Topic::new("mails");

#[event_source(events = ContactEvent, store = ContactStore)]
mod contacts {
    use super::*;

    #[event_handler("CreateContact")]
    fn create(ctx: &mut EventContext<ContactStore>, contact: Contact) -> Result<ExecutionState> {
        ctx.store.contacts.put(contact.id.clone(), contact);
        Ok(Complete)
    }

    #[event_handler("contact.deleted.v1")]
    fn delete(ctx: &mut EventContext<ContactStore>, contact: Contact) -> Result<ExecutionState> {
        ctx.store.contacts.remove(&contact.id);
        Ok(Complete)
    }

    #[event_handler("NotifyContact")]
    fn notify(
        ctx: &mut EventContext<ContactStore>,
        event: NotifyContactEvent,
    ) -> Result<ExecutionState> {
        let Some(contact) = ctx.store.contacts.get(&event.contact_id) else {
            return Ok(Complete);
        };
        let email = contact.email.clone();
        ctx.store.notified.update(event.contact_id.clone(), |count| *count += 1);
        ctx.forward(&MAILS, &event.contact_id, MailEvent::SendMail(email))?;
        Ok(Complete)
    }

    #[interjection(every = "1s", jitter = "100ms")]
    fn sweep(ctx: &mut EventContext<ContactStore>, _at: SystemTime) -> Result<ExecutionState> {
        assert!(ctx.is_interjection());
        Ok(Complete)
    }
}

fn billy() -> Contact {
    Contact {
        id: "123".into(),
        phone_number: "+18005551212".into(),
        email: "billy@bob.com".into(),
        first_name: "Billy".into(),
        last_name: "Bob".into(),
    }
}

fn record(event: &ContactEvent) -> Record {
    let mut outputs = Outputs::default();
    CONTACTS.write(&mut outputs, None, "123", event).unwrap();
    let output = outputs.iter().next().unwrap();
    let headers = Headers::from_pairs(output.headers().map(|header| (header.name, header.value)));
    Record::new(TopicPartition::new("contacts", 0), 0)
        .with_headers(headers)
        .with_key(output.key.unwrap().to_vec())
        .with_value(output.value.unwrap().to_vec())
}

fn notify() -> ContactEvent {
    ContactEvent::NotifyContact(NotifyContactEvent {
        contact_id: "123".into(),
        notification_type: "email".into(),
    })
}

#[test]
fn the_contacts_program_runs() {
    let mut ctx = testing::context();
    let events = [
        ContactEvent::CreateContact(billy()),
        notify(),
        ContactEvent::DeleteContact(billy()),
        notify(),
    ];
    for event in &events {
        let record = record(event);
        assert!(matches!(contacts::Source::dispatch(&mut ctx, &record), Outcome::Complete));
    }
    assert!(ctx.store.contacts.is_empty());
    assert_eq!(ctx.store.notified.get("123"), Some(&1), "the second one had no contact");
}

#[test]
fn the_routing_table_is_data() {
    let routes = [
        ("CreateContact", "Contact", "contacts::create"),
        ("contact.deleted.v1", "Contact", "contacts::delete"),
        ("NotifyContact", "NotifyContactEvent", "contacts::notify"),
    ]
    .map(|(record_type, payload, handler)| Route { record_type, payload, handler });
    assert_eq!(contacts::Source::routes(), routes);
    let [sweep] = contacts::Source::TABLE.interjections else { panic!("one interjection") };
    assert_eq!((sweep.name, sweep.every.as_millis()), ("contacts::sweep", 1_000));
    assert_eq!(sweep.jitter.as_millis(), 100);
    let mut ctx = testing::context();
    assert!(matches!((sweep.call)(&mut ctx, SystemTime::UNIX_EPOCH), Outcome::Complete));
}

#[test]
fn what_has_no_route_or_no_payload_is_told_apart() {
    let mut ctx = testing::context();
    let record = |record_type: &str, value: &'static [u8]| {
        Record::new(TopicPartition::new("contacts", 0), 0)
            .with_headers(Headers::from_pairs([(RECORD_TYPE_HEADER, Some(record_type.as_bytes()))]))
            .with_value(value)
    };
    let mut dispatch = |record: Record| contacts::Source::dispatch(&mut ctx, &record);
    assert!(matches!(dispatch(record("Nope", b"{}")), Outcome::Unrouted));
    assert!(matches!(dispatch(record("DeleteContact", b"{}")), Outcome::Unrouted), "the variant");
    assert!(matches!(dispatch(record("CreateContact", b"{")), Outcome::Undecodable(_)));
}
