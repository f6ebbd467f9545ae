//! How payloads and keys become bytes, and bytes become payloads and keys.
//!
//! Pure: no async, no clock, no client.

mod bytes;
mod error;
mod int;
mod json;
mod key;
mod text;

use schemars::{Schema, SchemaGenerator};

pub use self::bytes::{RawBytes, SharedBytes};
pub use self::error::CodecError;
pub use self::int::{BigEndian, Integer, LexoInt64};
pub use self::json::Json;
pub use self::key::{AsKey, KeyCodec};
pub use self::text::Text;
use crate::record::{Headers, Record};

/// What a payload is decoded from: a record's value and headers.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'record> {
    /// The value; `None` is a tombstone.
    pub value: Option<&'record [u8]>,
    /// The headers that came with it.
    pub headers: &'record Headers,
}

impl<'record> Encoded<'record> {
    /// The value's bytes.
    ///
    /// # Errors
    /// If there is none: the record is a tombstone.
    pub fn bytes(self) -> Result<&'record [u8], CodecError> {
        self.value.ok_or(CodecError::Tombstone)
    }
}

impl<'record> From<&'record Record> for Encoded<'record> {
    fn from(record: &'record Record) -> Self {
        Self { value: record.value(), headers: record.headers() }
    }
}

/// A payload that knows how it becomes bytes. Derive it: `#[derive(EventCodec)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no event codec",
    label = "can't be read from or written to a record",
    note = "derive it: `#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]` on `{Self}`"
)]
pub trait EventCodec<'record>: Sized {
    /// The codec: [`Json`] unless the derive says otherwise.
    type Via: Codec<'record, Self>;
}

/// A way of turning a `T` into bytes and back.
#[diagnostic::on_unimplemented(
    message = "the `{Self}` codec can't carry `{T}`",
    label = "a derive is missing",
    note = "JSON needs all of `#[derive(EventCodec, Serialize, Deserialize, JsonSchema)]`"
)]
pub trait Codec<'record, T> {
    /// Appends `value` to `out`.
    ///
    /// # Errors
    /// If `value` has no form in this codec (JSON: a map whose keys are not strings).
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads a `T`, which may borrow from `encoded`.
    ///
    /// # Errors
    /// If the bytes are not a `T`, or there are none (a tombstone).
    fn decode(encoded: Encoded<'record>) -> Result<T, CodecError>;

    /// The JSON Schema of what [`Codec::encode`] writes.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

/// Appends `value` to `out`, by its own codec.
///
/// # Errors
/// As [`Codec::encode`].
pub fn encode<'record, T: EventCodec<'record>>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    <T::Via as Codec<'record, T>>::encode(value, out)
}

/// Reads a `T`, by its own codec.
///
/// # Errors
/// As [`Codec::decode`].
pub fn decode<'record, T: EventCodec<'record>>(encoded: Encoded<'record>) -> Result<T, CodecError> {
    <T::Via as Codec<'record, T>>::decode(encoded)
}
