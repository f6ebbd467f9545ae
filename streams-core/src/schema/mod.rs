//! Contracts, described: as JSON Schema, as AsyncAPI, and whether a change breaks their readers.

use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::handler::Events;

/// A contract that can be described, because each of its payloads can: `#[derive(Events)]` sees to
/// it. [`Events::schema`] is what it is for.
pub trait Described: Events {
    #[doc(hidden)]
    fn payload_schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)>;
}

/// The contract's JSON Schema: what [`Events::schema`] returns.
pub fn of<E: Described>() -> Value {
    let mut generator = SchemaGenerator::default();
    let events: Map<String, Value> = E::payload_schemas(&mut generator)
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema.to_value()))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": E::NAME,
        "properties": events,
        "$defs": generator.take_definitions(true),
    })
}
