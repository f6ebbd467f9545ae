//! What breaks and what doesn't, as data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::handler::Topic;

fn contract(payload: &Value) -> Value {
    json!({ "properties": { "E": payload } })
}

fn breaks(old: &Value, new: &Value) -> Vec<String> {
    match check_compatible(&contract(old), &contract(new)) {
        Ok(()) => vec![],
        Err(breaks) => breaks
            .0
            .iter()
            .map(|found| {
                let text = found.to_string();
                text.split(": old").next().unwrap_or("").to_owned()
            })
            .collect(),
    }
}

fn schema_of<T: JsonSchema>() -> Value {
    // The generator inlines nothing but what is no struct; references are resolved in `$defs`.
    schemars::schema_for!(T).to_value()
}

macro_rules! form {
    ($($body:tt)*) => {{
        #[derive(JsonSchema)]
        #[allow(dead_code)]
        $($body)*
        schema_of::<Form>()
    }};
}

#[test]
fn what_reads_all_old_records_is_compatible() {
    let old = form!(
        struct Form {
            id: String,
            n: u32,
            of: Option<u8>,
        }
    );
    assert_eq!(breaks(&old, &old), [""; 0]);
    let added = form!(
        struct Form {
            id: String,
            n: u32,
            of: Option<u8>,
            more: Option<String>,
        }
    );
    assert_eq!(breaks(&old, &added), [""; 0], "an optional field");
    let wider = form!(
        struct Form {
            id: Option<String>,
            n: i64,
            of: Option<u16>,
        }
    );
    assert_eq!(breaks(&old, &wider), [""; 0], "wider types");
    let number = form!(
        struct Form {
            id: String,
            n: f64,
            of: Option<u8>,
        }
    );
    assert_eq!(breaks(&old, &number), [""; 0], "an integer is a number");
    let anything = form!(
        struct Form {
            id: serde_json::Value,
            n: u32,
            of: Option<u8>,
        }
    );
    assert_eq!(breaks(&old, &anything), [""; 0], "anything");
    let few = form!(
        enum Form {
            A,
            B,
        }
    );
    let more = form!(
        enum Form {
            A,
            B,
            C,
        }
    );
    assert_eq!(breaks(&few, &more), [""; 0], "one more variant");
}

#[test]
fn each_break_is_named_with_its_place() {
    let old = form!(
        struct Form {
            id: String,
            n: u32,
            of: Option<u8>,
        }
    );
    let check = |new: &Value, expected: &[&str]| {
        let found = breaks(&old, new);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}, not {expected}");
        }
    };
    let new = form!(
        struct Form {
            n: u32,
            of: Option<u8>,
        }
    );
    check(&new, &["E.id: the field was removed"]);
    let new = form!(
        struct Form {
            id: String,
            n: u32,
            of: Option<u8>,
            more: u8,
        }
    );
    check(&new, &["E.more: a new required field"]);
    let new = form!(
        struct Form {
            id: u8,
            n: u32,
            of: Option<u8>,
        }
    );
    check(&new, &["E.id: the type was string and is integer"]);
    let new = form!(
        struct Form {
            id: String,
            n: u8,
            of: Option<u8>,
        }
    );
    check(&new, &["E.n: narrowed, old records may have what is none any more: maximum 255"]);
    let new = form!(
        struct Form {
            id: String,
            n: u32,
            of: u8,
        }
    );
    check(&new, &["E.of: the type was integer or null and is integer", "E.of: a new required"]);
    let gone = json!({ "properties": {} });
    let error = check_compatible(&contract(&old), &gone).unwrap_err();
    assert!(error.to_string().starts_with("E: the record type was removed"), "{error}");
    let upcast = json!({ "properties": {}, OLDER: { "E": "E.v2" } });
    assert_eq!(check_compatible(&contract(&old), &upcast), Ok(()), "it is read as a newer one");
}

#[test]
fn enums_nested_types_and_lists_are_looked_into() {
    let old = form!(
        enum Form {
            Red,
            Green,
            Mixed { red: u8, green: u8 },
        }
    );
    let new = form!(
        enum Form {
            Red,
            Mixed { red: u8 },
        }
    );
    let found = breaks(&old, &new).join("\n");
    assert!(found.contains("none any more: \"Green\""), "{found}");
    assert!(found.contains("E.Mixed.green: the field was removed"), "{found}");

    let item = |fields: Value| json!({ "type": "object", "properties": fields });
    let list = |item: Value| json!({ "type": "array", "items": item });
    let old = list(item(json!({ "a": { "type": "string" } })));
    let new = list(item(json!({ "a": { "type": "boolean" } })));
    assert!(breaks(&old, &new)[0].starts_with("E[].a: the type was string and is boolean"));
    let tuple = |n: usize| json!({ "type": "array", "prefixItems": vec![json!({}); n] });
    assert!(breaks(&tuple(2), &tuple(3))[0].starts_with("E: the type was a tuple of 2"));
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let tree = |ty: &str| {
        let node = json!({ "type": "object", "properties": {
            "value": { "type": ty }, "next": { "$ref": "#/$defs/Tree" },
        }});
        json!({ "properties": { "E": { "$ref": "#/$defs/Tree" } }, "$defs": { "Tree": node } })
    };
    assert_eq!(check_compatible(&tree("string"), &tree("string")), Ok(()));
    let breaks = check_compatible(&tree("string"), &tree("integer")).unwrap_err();
    assert_eq!(breaks.0[0].at, "E.value");
}

#[derive(crate::EventCodec, Serialize, Deserialize, JsonSchema)]
struct Contact {
    /// Who it is.
    id: String,
}

#[derive(crate::Events)]
#[allow(dead_code, reason = "it is described and not used")]
enum ContactEvent {
    Create(Contact),
    #[event("contact.named.v1")]
    Name(String),
    Count(i64),
}

#[test]
fn an_application_is_an_async_api_document() {
    let topic = Topic::<ContactEvent, u64>::named("contact.events".to_owned());
    let document = AsyncApi::new("contacts").receives(&topic, "group-1").into_value();
    assert_eq!(document["asyncapi"], "3.0.0");
    let channel = &document["channels"]["contact_events"];
    assert_eq!(channel["address"], "contact.events");
    let reference = channel["messages"]["contact_named_v1"]["$ref"].as_str().unwrap();
    let message = document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
    assert_eq!(message["name"], "contact.named.v1");
    assert_eq!(message["contentType"], "text/plain");
    assert_eq!(message["headers"]["properties"]["__grt__"]["const"], "contact.named.v1");
    assert_eq!(message["bindings"]["kafka"]["key"]["type"], "integer");
    let messages = &document["components"]["messages"];
    assert_eq!(messages["contact_events_Count"]["contentType"], "application/octet-stream");
    let created = &messages["contact_events_Create"];
    assert_eq!(created["contentType"], "application/json");
    assert_eq!(created["payload"]["$ref"], "#/components/schemas/Contact");
    assert!(document["components"]["schemas"]["Contact"]["properties"]["id"].is_object());
    let operation = &document["operations"]["receive_contact_events"];
    assert_eq!(operation["bindings"]["kafka"]["groupId"]["const"], "group-1");
}

#[test]
fn a_snapshot_says_what_changed_and_how_to_accept_it() {
    let folder = std::env::temp_dir().join(format!("streams-snapshot-{}", std::process::id()));
    let path = folder.join("deeper/contact.json");
    let contact = |fields: Value, required: Value| {
        contract(&json!({ "type": "object", "properties": fields, "required": required }))
    };
    let text = json!({ "type": "string", "description": "for people" });
    let first = contact(json!({ "id": text }), json!(["id"]));
    let more = contact(json!({ "id": { "type": "string" }, "more": text }), json!(["id"]));
    let needs = contact(json!({ "id": text, "more": text }), json!(["id", "more"]));
    let check = |schema: &Value, accept: &str| {
        snapshot::check_with(&path, schema, accept).map_err(|error| error.to_string())
    };
    assert!(check(&first, "").unwrap_err().contains("STREAMS_SNAPSHOT=accept cargo test"));
    assert_eq!(check(&first, "accept"), Ok(()));
    assert_eq!(check(&first, ""), Ok(()));
    let said = check(&more, "").unwrap_err();
    assert!(said.contains("still reads all old records: accept it"), "{said}");
    assert!(said.contains("+      \"more\": {") || said.contains("+        \"more\": {"), "{said}");
    assert_eq!(check(&more, "accept"), Ok(()));
    for accept in ["", "accept"] {
        let said = check(&needs, accept).unwrap_err();
        assert!(said.contains("  - E.more: a new required field"), "{said}");
        assert!(said.contains("accept-breaking"), "{said}");
        assert!(said.contains("a record type of its own: `#[event(\"E.v2\")]`. If"), "{said}");
    }
    assert_eq!(check(&needs, "accept-breaking"), Ok(()));
    assert_eq!(check(&needs, ""), Ok(()));
    std::fs::remove_dir_all(folder).expect("it was made here");
}

#[test]
fn the_advice_names_the_record_types_that_break() {
    let folder = std::env::temp_dir().join(format!("streams-advice-{}", std::process::id()));
    let path = folder.join("orders.json");
    let contract = |fields: [Value; 3]| {
        let [placed, paid, kept] = fields.map(|fields| {
            let required: Vec<_> = fields.as_object().expect("fields").keys().cloned().collect();
            json!({ "type": "object", "properties": fields, "required": required })
        });
        json!({ "properties": {
            "order.placed.v1": placed, "order.paid": paid, "order.placed": kept
        } })
    };
    let text = json!({ "type": "string" });
    let one = json!({ "id": text });
    let more = json!({ "id": text, "by": text });
    let old = contract([one.clone(), one.clone(), one.clone()]);
    snapshot::check_with(&path, &old, "accept").expect("written");
    let new = contract([more.clone(), more, one]);
    let said = snapshot::check_with(&path, &new, "").unwrap_err().to_string();
    let advice = "`#[event(\"order.paid.v2\")]`, `#[event(\"order.placed.v2\")]`. If no record";
    assert!(said.contains(advice), "{said}");
    std::fs::remove_dir_all(folder).expect("it was made here");
}

fn store(rows: &Value, older: &Value) -> Value {
    json!({
        "properties": { "people": rows },
        "x-keys": { "people": { "type": "string" } },
        "x-older-rows": { "people": older },
    })
}

#[test]
fn a_row_breaks_unless_todays_form_or_an_older_one_reads_it() {
    let form = |field: &str| {
        let properties = json!({ field: { "type": "string" } });
        json!({ "type": "object", "properties": properties, "required": [field] })
    };
    let (v1, v2, v3) = (form("mail"), form("email"), form("emails"));
    let check = |old: &Value, new: &Value| {
        let breaks = check_compatible(old, new);
        breaks.map_or_else(|breaks| breaks.to_string(), |()| String::new())
    };
    let old = store(&v2, &json!([v1]));
    assert_eq!(check(&old, &store(&v3, &json!([v2, v1]))), "", "both forms are still read");
    let text = check(&old, &store(&v3, &json!([v1])));
    assert!(text.contains("people.emails: a new required field"), "{text}");
    let text = check(&old, &store(&v3, &json!([v2])));
    assert!(text.contains("people.mail: the field was removed"), "the oldest: {text}");
    let text = check(&old, &json!({ "properties": {}, "x-keys": {} }));
    assert!(text.starts_with("people: the table was removed"), "{text}");
    let mut keys = old.clone();
    keys["x-keys"]["people"]["type"] = "integer".into();
    let text = check(&old, &keys);
    assert!(text.starts_with("people (its keys): the type was"), "{text}");
}

#[test]
fn a_snapshot_of_rows_speaks_of_rows() {
    let folder = std::env::temp_dir().join(format!("streams-rows-{}", std::process::id()));
    let path = folder.join("store.json");
    let text = json!({ "type": "string" });
    let check = |rows: &Value, accept: &str| {
        let checked = super::snapshot::check_with(&path, &store(rows, &json!([])), accept);
        checked.map_or_else(|error| error.to_string(), |()| String::new())
    };
    assert!(check(&text, "").contains("there is no snapshot"));
    assert_eq!(check(&text, "accept"), "");
    assert_eq!(check(&text, ""), "");
    let wider = json!({ "type": ["string", "null"] });
    assert!(check(&wider, "").contains("still take all old rows"));
    let breaking = check(&json!({ "type": "integer" }), "accept");
    assert!(breaking.contains("people: the type was string and is integer"), "{breaking}");
    assert!(breaking.contains("`#[table(upcast = FormerRow)]`"), "{breaking}");
    std::fs::remove_dir_all(&folder).expect("the test's own folder");
}
