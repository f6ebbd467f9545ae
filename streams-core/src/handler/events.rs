//! The contract of a topic.

use crate::codec::CodecError;
use crate::record::Record;
use crate::schema::Described;

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

    /// The record types of older forms, each with the one that it becomes when it is read:
    /// `#[event("contact.created.v1", upcast = ContactV1)]`.
    const OLDER_RECORD_TYPES: &'static [(&'static str, &'static str)] = &[];

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

    /// The `content-type` header that goes with it, if its codec has one.
    fn content_type(&self) -> Option<&'static str> {
        None
    }

    /// One JSON Schema (2020-12): each record type's payload, shared types once in `$defs`.
    /// Payloads in JSON derive `JsonSchema` for it.
    ///
    /// ```json
    /// { "title": "ContactEvent",
    ///   "properties": { "CreateContact": { "$ref": "#/$defs/Contact" } } }
    /// ```
    fn schema() -> serde_json::Value
    where
        Self: Described,
    {
        crate::schema::of::<Self>()
    }
}
