//! JSON, by serde.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{Codec, CodecError, CodecSchema, ContentType, Encoded};

/// JSON by serde: the default codec.
#[derive(Debug)]
pub enum Json {}

impl<'record, T: Serialize + Deserialize<'record>> Codec<'record, T> for Json {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        serde_json::to_writer(out, value).map_err(CodecError::encode::<T>)
    }

    fn decode(encoded: Encoded<'record>) -> Result<T, CodecError> {
        serde_json::from_slice(encoded.bytes()?).map_err(CodecError::decode::<T>)
    }
}

impl<'record, T> CodecSchema<'record, T> for Json
where
    T: Serialize + Deserialize<'record> + JsonSchema,
{
    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

impl ContentType for Json {
    const NAME: &'static str = "application/json";

    fn is(media_type: &str) -> bool {
        media_type.eq_ignore_ascii_case(Self::NAME)
            || media_type.eq_ignore_ascii_case("text/json")
            || media_type.to_ascii_lowercase().ends_with("+json")
    }
}
