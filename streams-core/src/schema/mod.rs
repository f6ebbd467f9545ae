//! Contracts, described: as JSON Schema, as AsyncAPI, and whether a change breaks their readers.
//!
#![doc = include_str!("../docs/schema.md")]

mod async_api;
mod compatible;
mod rows;
mod snapshot;
#[cfg(test)]
mod tests;

use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

pub use self::async_api::AsyncApi;
pub use self::compatible::{Break, Breaks, Change, check_compatible};
pub use self::rows::{DescribedStore, TableSchema, of_store};
pub use self::snapshot::{SnapshotError, check_snapshot};
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
    let older: Map<String, Value> = E::OLDER_RECORD_TYPES
        .iter()
        .map(|(older, newest)| ((*older).to_owned(), (*newest).into()))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": E::NAME,
        "properties": events,
        OLDER: older,
        "$defs": generator.take_definitions(true),
    })
}

/// The record types of older forms that are still read, each with the one that it becomes.
const OLDER: &str = "x-older-record-types";

/// Fails, as an assertion, if a contract is not the one whose schema is kept in a file of the
/// repository, and says what changed and how to accept it.
///
/// The path is relative to the crate's `Cargo.toml`. Run the tests with `STREAMS_SNAPSHOT=accept`
/// to write the file, and to accept a change that breaks no reader of old records; a change that
/// does is accepted by `STREAMS_SNAPSHOT=accept-breaking`.
///
/// # Examples
/// ```no_run
/// # use schemars::JsonSchema;
/// # use serde::{Deserialize, Serialize};
/// # use streams_core::prelude::*;
/// # #[derive(EventCodec, Serialize, Deserialize, JsonSchema)]
/// # struct Contact { id: String }
/// #[derive(Events)]
/// enum ContactEvent {
///     CreateContact(Contact),
/// }
///
/// #[test]
/// fn the_contract_is_kept() {
///     streams_core::assert_schema_snapshot!(ContactEvent, "schemas/contact_event.json");
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! assert_schema_snapshot {
    ($events:ty, $path:expr $(,)?) => {{
        let path = ::std::path::Path::new(::core::env!("CARGO_MANIFEST_DIR")).join($path);
        let schema = <$events as $crate::Events>::schema();
        if let ::core::result::Result::Err(error) = $crate::schema::check_snapshot(&path, &schema) {
            ::core::panic!("{error}");
        }
    }};
}
