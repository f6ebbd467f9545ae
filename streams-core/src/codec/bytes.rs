//! Bytes as they are.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::{Codec, CodecError, CodecSchema, ContentType, Encoded, EventCodec};

/// The bytes themselves, for payloads that are made from a slice and can be seen as one:
/// `Vec<u8>`, `&[u8]`, `Cow<[u8]>`, and structs with these two impls. `#[codec(bytes)]`.
#[derive(Debug)]
pub enum RawBytes {}

impl<'record, T: From<&'record [u8]> + AsRef<[u8]>> Codec<'record, T> for RawBytes {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(value.as_ref());
        Ok(())
    }

    fn decode(encoded: Encoded<'record>) -> Result<T, CodecError> {
        encoded.bytes().map(T::from)
    }
}

impl<'record, T: From<&'record [u8]> + AsRef<[u8]>> CodecSchema<'record, T> for RawBytes {
    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": Self::NAME,
        })
    }
}

impl<'record> EventCodec<'record> for &'record [u8] {
    type Via = RawBytes;
}

/// The codec of [`bytes::Bytes`], which can't be made from a slice of any lifetime.
#[derive(Debug)]
pub enum SharedBytes {}

impl Codec<'_, bytes::Bytes> for SharedBytes {
    fn encode(value: &bytes::Bytes, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(value);
        Ok(())
    }

    fn decode(encoded: Encoded<'_>) -> Result<bytes::Bytes, CodecError> {
        encoded.bytes().map(bytes::Bytes::copy_from_slice)
    }
}

impl CodecSchema<'_, bytes::Bytes> for SharedBytes {
    fn schema(generator: &mut SchemaGenerator) -> Schema {
        <RawBytes as CodecSchema<'_, Vec<u8>>>::schema(generator)
    }
}

impl EventCodec<'_> for bytes::Bytes {
    type Via = SharedBytes;
}

impl ContentType for RawBytes {
    const NAME: &'static str = "application/octet-stream";
}
