//! Older forms of a payload stay readable, one step at a time; handlers see the newest. And unknown
//! fields, which are serde's matter: ignored, unless the payload says otherwise.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_core::prelude::*;
use streams_core::record::{ProducerRecord, TopicPartition};
use streams_core::testing::TestDriver;

#[derive(EventCodec, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
struct Contact {
    first_name: String,
    last_name: String,
    emails: Vec<String>,
}

/// Borrows, as older forms may.
#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct ContactV2<'a> {
    name: &'a str,
    emails: Vec<String>,
}

impl From<ContactV2<'_>> for Contact {
    fn from(old: ContactV2<'_>) -> Self {
        let (first_name, last_name) = old.name.split_once(' ').unwrap_or((old.name, ""));
        let (first_name, last_name) = (first_name.to_owned(), last_name.to_owned());
        Self { first_name, last_name, emails: old.emails }
    }
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ContactV1<'a> {
    name: &'a str,
    email: String,
}

impl<'a> From<ContactV1<'a>> for ContactV2<'a> {
    fn from(old: ContactV1<'a>) -> Self {
        Self { name: old.name, emails: vec![old.email] }
    }
}

#[derive(Events, Debug, PartialEq)]
enum ContactEvent {
    #[event("contact.created.v3")]
    #[event("contact.created.v2", upcast = ContactV2<'_>)]
    #[event("contact.created.v1", upcast = ContactV1<'_>)]
    Created(Contact),
    #[event("Removed.v0", upcast = i64)]
    Removed(LexoId),
    Other(String),
}

#[derive(EventCodec, Debug, PartialEq)]
#[codec(transparent)]
struct LexoId(String);

impl From<i64> for LexoId {
    fn from(id: i64) -> Self {
        Self(format!("{id:08}"))
    }
}

#[derive(StateStore)]
struct Contacts {
    contacts: Table<String, Contact>,
    removed: Table<String, i64>,
}

#[event_source(events = ContactEvent, store = Contacts)]
mod contacts {
    use super::*;

    #[event_handler("contact.created.v3")]
    fn created(ctx: &mut EventContext<Contacts>, contact: Contact) -> Result<ExecutionState> {
        ctx.store.contacts.put(contact.last_name.clone(), contact);
        Ok(Complete)
    }

    #[event_handler("Removed")]
    fn removed(ctx: &mut EventContext<Contacts>, id: LexoId) -> Result<ExecutionState> {
        ctx.store.removed.put(id.0, 1);
        Ok(Complete)
    }

    #[event_handler("Other")]
    fn other(_: &mut EventContext<Contacts>, _: String) -> Result<ExecutionState> {
        Ok(Complete)
    }
}

fn record(record_type: &str, value: impl AsRef<[u8]>) -> ProducerRecord {
    ProducerRecord::to("test").record_type(record_type).value(value.as_ref().to_vec())
}

fn billy() -> Contact {
    let (first_name, last_name) = ("Billy".to_owned(), "Bob".to_owned());
    Contact { first_name, last_name, emails: vec!["a@b.c".to_owned()] }
}

const V3: &str = r#"{"first_name":"Billy","last_name":"Bob","emails":["a@b.c"],"new":1}"#;
const V2: &str = r#"{"name":"Billy Bob","emails":["a@b.c"],"new":1}"#;
const V1: &str = r#"{"name":"Billy Bob","email":"a@b.c"}"#;
const V1_NEW: &str = r#"{"name":"Billy Bob","email":"a@b.c","new":1}"#;

#[test]
fn older_forms_arrive_in_the_newest() {
    for (version, value) in [("v3", V3), ("v2", V2), ("v1", V1)] {
        let record_type = format!("contact.created.{version}");
        let mut driver = TestDriver::<contacts::Source>::new();
        driver.send_record(record(&record_type, value));
        assert_eq!(driver.store(0).contacts.get("Bob"), Some(&billy()), "{version}");
        let record = Record::new(TopicPartition::new("contacts", 0), 0)
            .with_record_type(&record_type)
            .with_value(value);
        let event = ContactEvent::decode(&record).unwrap();
        assert_eq!(event, Some(ContactEvent::Created(billy())), "{version}");
    }
    let mut driver = TestDriver::<contacts::Source>::new();
    driver.send_record(record("Removed.v0", 7_i64.to_be_bytes()));
    assert_eq!(driver.store(0).removed.get("00000007"), Some(&1));
}

#[test]
fn unknown_fields_are_the_payloads_choice() {
    let mut driver = TestDriver::<contacts::Source>::new();
    driver.send_record(record("contact.created.v2", V2));
    driver.when_record(record("contact.created.v1", V1_NEW)).then_fails("unknown field `new`");
}

#[test]
fn the_newest_is_what_is_sent_and_handled() {
    assert_eq!(ContactEvent::RECORD_TYPES, ["contact.created.v3", "Removed", "Other"]);
    assert_eq!(
        ContactEvent::OLDER_RECORD_TYPES,
        [
            ("contact.created.v2", "contact.created.v3"),
            ("contact.created.v1", "contact.created.v3"),
            ("Removed.v0", "Removed"),
        ]
    );
    assert_eq!(ContactEvent::Created(billy()).record_type(), "contact.created.v3");
    let [created, removed, other] = contacts::Source::routes() else { panic!("three routes") };
    assert_eq!(created.older, ["contact.created.v2", "contact.created.v1"]);
    assert_eq!((removed.older, other.older), (&["Removed.v0"][..], &[][..]));
}
