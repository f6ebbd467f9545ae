//! Protocol Buffers, by prost.

use prost::Message;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::{Codec, CodecError, CodecSchema, ContentType, Encoded};

/// Protocol Buffers by prost: for messages, `#[derive(prost::Message)]` or generated from a
/// `.proto` file. Unknown fields are left out. `#[codec(protobuf)]`.
#[derive(Debug)]
pub enum Protobuf {}

impl<T: Message + Default> Codec<'_, T> for Protobuf {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        value.encode(out).map_err(CodecError::encode::<T>)
    }

    fn decode(encoded: Encoded<'_>) -> Result<T, CodecError> {
        T::decode(encoded.bytes()?).map_err(CodecError::decode::<T>)
    }
}

/// The message's own schema is its `.proto` file, so this says no more than its format.
impl<T: Message + Default> CodecSchema<'_, T> for Protobuf {
    fn schema(_: &mut SchemaGenerator) -> Schema {
        let name = std::any::type_name::<T>().rsplit("::").next();
        json_schema!({
            "type": "string",
            "title": name,
            "contentEncoding": "base64",
            "contentMediaType": Self::NAME,
        })
    }
}

impl ContentType for Protobuf {
    const NAME: &'static str = "application/x-protobuf";

    fn is(media_type: &str) -> bool {
        [Self::NAME, "application/protobuf", "application/vnd.google.protobuf"]
            .iter()
            .any(|name| media_type.eq_ignore_ascii_case(name))
    }
}
