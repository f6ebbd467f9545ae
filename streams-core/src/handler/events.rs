//! The contract of a topic.

use schemars::{Schema, SchemaGenerator};

use crate::codec::CodecError;
use crate::record::Record;

/// The closed contract of a topic: record type to payload. `#[derive(Events)]` on an enum.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a contract",
    label = "should be an enum with `#[derive(Events)]`"
)]
pub trait Events: Sized {
    /// The same contract, borrowing from a record; `Self` where nothing borrows.
    type At<'record>: Events;

    /// The enum's name.
    const NAME: &'static str;

    /// All record types, in the order of the variants.
    const RECORD_TYPES: &'static [&'static str];

    /// The record type of this event.
    fn record_type(&self) -> &'static str;

    /// Appends the payload's bytes to `out`.
    ///
    /// # Errors
    /// If the payload has no form in its codec.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads the event of a record; `None` if its record type is none of the contract's.
    ///
    /// # Errors
    /// If the record type is known and the bytes are not its payload.
    fn decode(record: &Record) -> Result<Option<Self::At<'_>>, CodecError>;

    #[doc(hidden)]
    fn payload_schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)>;

    /// One JSON Schema (2020-12): each record type's payload, shared types once in `$defs`.
    fn schemas() -> serde_json::Value {
        let mut generator = SchemaGenerator::default();
        let events: serde_json::Map<String, serde_json::Value> =
            Self::payload_schemas(&mut generator)
                .into_iter()
                .map(|(name, schema)| (name.to_owned(), schema.to_value()))
                .collect();
        serde_json::json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": Self::NAME,
            "properties": events,
            "$defs": generator.take_definitions(true),
        })
    }
}
