//! JSON, by serde.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{Codec, CodecError, Encoded};

/// JSON by serde: the default codec.
#[derive(Debug)]
pub enum Json {}

impl<'record, T: Serialize + Deserialize<'record> + JsonSchema> Codec<'record, T> for Json {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        serde_json::to_writer(out, value).map_err(CodecError::encode::<T>)
    }

    fn decode(encoded: Encoded<'record>) -> Result<T, CodecError> {
        serde_json::from_slice(encoded.bytes()?).map_err(CodecError::decode::<T>)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}
