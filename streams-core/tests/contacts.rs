//! GKES's example program, declared: contacts are created, notified and deleted.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_core::handler::{Outcome, Route};
use streams_core::prelude::*;
use streams_core::record::TopicPartition;
use streams_core::testing::{self, TestDriver};

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
#[expect(clippy::enum_variant_names, reason = "they are the record types")]
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

static MAILS: Topic<MailEvent> = Topic::new("mails");

#[event_source(events = ContactEvent, store = ContactStore)]
mod contacts {
    use super::*;

    #[event_handler("CreateContact")]
    fn create(ctx: &mut EventContext<ContactStore>, contact: Contact) -> Result<ExecutionState> {
        let is_nameless = contact.first_name.is_empty();
        ctx.store.contacts.put(contact.id.clone(), contact);
        if is_nameless {
            return ctx.fail("a contact needs a name");
        }
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
        let contacts = ctx.store.contacts.len();
        ctx.store.notified.put("sweeps".to_owned(), contacts as u64);
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

fn notify() -> ContactEvent {
    ContactEvent::NotifyContact(NotifyContactEvent {
        contact_id: "123".into(),
        notification_type: "email".into(),
    })
}

fn text(bytes: Option<&[u8]>) -> &str {
    std::str::from_utf8(bytes.unwrap_or_default()).expect("text")
}

#[test]
fn the_contacts_program_runs() {
    let mut driver = TestDriver::<contacts::Source>::new();
    let events = [
        ContactEvent::CreateContact(billy()),
        notify(),
        ContactEvent::DeleteContact(billy()),
        notify(),
    ];
    driver.send_all(events.map(|event| ("123", event)));
    assert!(driver.store(0).contacts.is_empty());
    assert_eq!(driver.store(0).notified.get("123"), Some(&1), "the second had no contact");

    let outputs = driver.outputs();
    let [mail] = &outputs[..] else { panic!("one mail: {outputs:?}") };
    assert_eq!((&**mail.topic_partition().topic(), mail.record_type()), ("mails", "SendMail"));
    assert_eq!((text(mail.key()), text(mail.value())), ("123", "billy@bob.com"));

    let changelog = driver.changelog(0);
    let log = changelog.iter().map(|change| (text(change.key()), change.value()));
    let created = serde_json::to_vec(&billy()).unwrap();
    let once = 1u64.to_be_bytes();
    assert!(log.eq([
        ("contacts\x00123", Some(&created[..])),
        ("notified\x00123", Some(&once[..])),
        ("contacts\x00123", None),
    ]));
    driver.restart();
    assert!(driver.store(0).contacts.is_empty());
    assert_eq!(driver.store(0).notified.get("123"), Some(&1));
    assert_eq!(driver.outputs().len(), 1, "nothing comes again");
}

#[test]
fn the_routing_table_is_data() {
    let routes = contacts::Source::routes();
    let names = routes.iter().map(|route| (route.record_type, route.payload, route.handler));
    assert!(names.eq([
        ("CreateContact", "Contact", "contacts::create"),
        ("contact.deleted.v1", "Contact", "contacts::delete"),
        ("NotifyContact", "NotifyContactEvent", "contacts::notify"),
    ]));
    let lines: Vec<&str> = include_str!("contacts.rs").lines().collect();
    for (Route { file, line, .. }, name) in routes.iter().zip(["create", "delete", "notify"]) {
        assert!(file.ends_with("contacts.rs"), "{file}");
        let line = lines[*line as usize - 1];
        assert!(line.trim_start().starts_with(&format!("fn {name}(")), "{line}");
    }
    let [sweep] = contacts::Source::TABLE.interjections else { panic!("one interjection") };
    assert_eq!((sweep.name, sweep.every.as_millis()), ("contacts::sweep", 1_000));
    assert_eq!(sweep.jitter.as_millis(), 100);
}

#[test]
fn the_routing_table_is_a_text() {
    let table = contacts::Source::TABLE.to_string();
    let columns =
        |row: &'static str| row.split("  ").map(str::trim).filter(|text| !text.is_empty());
    let table: &'static str = table.leak();
    let rows: Vec<Vec<&str>> = table.lines().map(|row| columns(row).collect()).collect();
    assert_eq!(rows.len(), 4, "{table}");
    assert_eq!(rows[0][..3], ["CreateContact", "Contact", "contacts::create"]);
    assert!(rows[0][3].contains("contacts.rs:"), "{table}");
    assert_eq!(rows[3], ["every 1s +-100ms", "SystemTime", "contacts::sweep"]);
}

#[test]
fn an_interjection_is_an_event() {
    let mut driver = TestDriver::<contacts::Source>::new();
    driver.send("123", ContactEvent::CreateContact(billy())).interject("sweep");
    assert_eq!(driver.store(0).notified.get("sweeps"), Some(&1));
    assert_eq!(driver.changelog(0).len(), 2);
}

#[test]
fn what_has_no_route_or_no_payload_is_told_apart() {
    let mut ctx = testing::context();
    let record = |record_type: &str, value: &'static [u8]| {
        Record::new(TopicPartition::new("contacts", 0), 0)
            .with_record_type(record_type)
            .with_value(value)
    };
    let mut dispatch =
        |record: Record| contacts::Source::dispatch(&mut ctx, &Arc::new(()), &record);
    assert!(matches!(dispatch(record("Nope", b"{}")), Outcome::Unrouted));
    assert!(matches!(dispatch(record("DeleteContact", b"{}")), Outcome::Unrouted), "the variant");
    assert!(matches!(dispatch(record("CreateContact", b"{")), Outcome::Undecodable(_)));
    let tombstone = Record::new(TopicPartition::new("contacts", 0), 0);
    let tombstone = tombstone.with_record_type("CreateContact");
    let Outcome::Undecodable(error) = dispatch(tombstone) else { panic!("no payload") };
    assert!(error.to_string().contains("tombstone"), "{error}");
}

#[test]
fn a_handler_that_fails_leaves_no_trace() {
    let nameless = Contact { first_name: String::new(), ..billy() };
    let mut driver = TestDriver::<contacts::Source>::new();
    driver
        .given([("123", ContactEvent::CreateContact(billy()))])
        .when("9", ContactEvent::CreateContact(nameless))
        .then_fails("a contact needs a name");
    assert_eq!((driver.changelog(0).len(), driver.outputs().len()), (1, 0));
    assert_eq!(driver.committed(0), Some(1));
}

#[test]
fn the_contract_is_a_schema() {
    let schema = ContactEvent::schema();
    let deleted = &schema["properties"]["contact.deleted.v1"];
    assert_eq!(deleted["$ref"], "#/$defs/Contact");
    assert_eq!(schema["$defs"]["Contact"]["properties"]["email"]["type"], "string");
    assert_eq!(
        ContactEvent::RECORD_TYPES,
        ["CreateContact", "contact.deleted.v1", "NotifyContact"]
    );
}
