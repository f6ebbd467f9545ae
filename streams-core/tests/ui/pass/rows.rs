//! Tables whose keys are tuples and newtypes, and whose values are types of the standard library:
//! a crash restores them from the changelog.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use streams_core::prelude::*;
use streams_core::record::{Headers, TopicPartition};
use streams_core::schema::of_store;
use streams_core::store::Change;
use streams_core::testing::TestDriver;

#[derive(KeyCodec, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct OrderId(String);

#[derive(KeyCodec, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place {
    shelf: i16,
    order: OrderId,
}

#[derive(StateStore)]
struct Store {
    due: OrderedTable<(u64, OrderId), ()>,
    places: Table<Place, f64>,
    lines: Table<OrderId, Vec<String>>,
    paid: Table<(OrderId, bool), bool>,
    notes: Table<[u8; 2], Option<String>>,
    counts: Table<u8, BTreeMap<String, u32>>,
}

#[derive(Events)]
enum Orders {
    Placed(String),
    Sent(String),
}

#[event_source(events = Orders, store = Store, key = OrderId)]
mod orders {
    use super::*;

    #[event_handler("Placed")]
    fn placed(ctx: &mut EventContext<Store>, text: String) -> Result<ExecutionState> {
        let (id, store) = (Source::key(ctx)?, &mut ctx.store);
        let weight = i16::try_from(text.len())?;
        store.due.put((text.len() as u64, id.clone()), ());
        store.places.put(Place { shelf: -weight, order: id.clone() }, f64::from(weight) / 2.0);
        store.lines.update(id.clone(), |lines| lines.push(text.clone()));
        store.paid.put((id.clone(), true), text.is_empty());
        store.notes.put([0, 255], (weight > 1).then_some(text.clone()));
        store.counts.update(0, |counts| *counts.entry(text).or_default() += 1);
        Ok(Complete)
    }

    #[event_handler("Sent")]
    fn sent(ctx: &mut EventContext<Store>, _: String) -> Result<ExecutionState> {
        let id = Source::key(ctx)?;
        let of_one: Vec<_> = ctx.store.due.prefix(&1).map(|(key, ())| key.clone()).collect();
        for key in of_one.iter().filter(|key| key.1 == id) {
            ctx.store.due.remove(key);
        }
        ctx.store.lines.remove(&id);
        Ok(Complete)
    }
}

#[test]
fn rows_of_every_kind_are_restored() {
    let mut driver = TestDriver::<orders::Source>::new();
    driver.send("a\0", Orders::Placed("x".to_owned()));
    driver.send("b", Orders::Placed("x".to_owned()));
    driver.send("b", Orders::Placed("yy".to_owned()));
    driver.send("a\0", Orders::Sent(String::new()));
    driver.crash();
    let id = |text: &str| OrderId(text.to_owned());
    let store = driver.store(0);
    let due: Vec<_> = store.due.iter().map(|((at, id), ())| (*at, id.0.as_str())).collect();
    assert_eq!(due, [(1, "b"), (2, "b")]);
    let place = Place { shelf: -2, order: id("b") };
    assert_eq!((store.places.len(), store.places.get(&place)), (3, Some(&1.0)));
    assert_eq!(store.lines.get(&id("b")), Some(&vec!["x".to_owned(), "yy".to_owned()]));
    assert_eq!(store.lines.get(&id("a\0")), None);
    assert_eq!(store.paid.get(&(id("b"), true)), Some(&false));
    assert_eq!(store.notes.get(&[0, 255]), Some(&Some("yy".to_owned())));
    let counts = [("x".to_owned(), 2), ("yy".to_owned(), 1)];
    assert_eq!(store.counts.get(&0), Some(&counts.into()));
}

/// The rows of two former versions, and today's.
#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct ContactV1 {
    mail: String,
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
struct ContactV2 {
    email: String,
}

#[derive(EventCodec, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
struct Contact {
    emails: Vec<String>,
}

impl From<ContactV1> for Contact {
    fn from(old: ContactV1) -> Self {
        Self { emails: vec![old.mail] }
    }
}

impl From<ContactV2> for Contact {
    fn from(old: ContactV2) -> Self {
        Self { emails: vec![old.email] }
    }
}

#[derive(StateStore)]
struct Contacts {
    #[table("people", upcast = [ContactV2, ContactV1])]
    contacts: Table<String, Contact>,
    #[table(upcast = u32)]
    counts: Table<String, i64>,
}

#[test]
fn older_rows_are_restored_in_todays_type() {
    let mut store = Contacts::create(&TopicPartition::new("t", 0));
    let mut restore = |key: &str, value: &str| {
        let (key, headers) = (key.as_bytes(), Headers::default());
        let value = Some(value.as_bytes());
        store.restore(Change { offset: 7, key, value, headers: &headers })
    };
    restore("people\x001", r#"{"mail":"a"}"#).expect("the oldest form");
    restore("people\x002", r#"{"email":"b"}"#).expect("the form before today's");
    restore("people\x003", r#"{"emails":["c","d"]}"#).expect("today's form");
    let error = restore("people\x004", r#"{"post":"e"}"#).expect_err("no form").to_string();
    assert!(error.contains("missing field `emails`") && error.contains("offset 7"), "{error}");
    let [narrow, wide] = [&[0, 0, 0, 9][..], &[0, 0, 0, 0, 0, 0, 1, 0]];
    for (key, value) in [(b"counts\x00n", narrow), (b"counts\x00w", wide)] {
        let headers = Headers::default();
        let change = Change { offset: 8, key, value: Some(value), headers: &headers };
        store.restore(change).expect("a number of either width");
    }
    assert_eq!((store.counts.get("n"), store.counts.get("w")), (Some(&9), Some(&256)));
    let emails = |id: &str| store.contacts.get(id).map(|contact| contact.emails.join(","));
    assert_eq!(emails("1").as_deref(), Some("a"));
    assert_eq!(emails("2").as_deref(), Some("b"));
    assert_eq!(emails("3").as_deref(), Some("c,d"));
    assert_eq!(emails("4"), None);
}

#[test]
fn a_store_is_described_with_its_keys_and_its_older_rows() {
    let schema = of_store::<Contacts>();
    assert_eq!(schema["title"], "Contacts");
    assert_eq!(schema["properties"]["people"]["$ref"], "#/$defs/Contact");
    assert_eq!(schema["x-keys"]["people"]["type"], "string");
    assert_eq!(schema["x-older-rows"]["people"][1]["$ref"], "#/$defs/ContactV1");
}
