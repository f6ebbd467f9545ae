//! MessagePack, by rmp-serde.

use std::io::ErrorKind;

use rmp_serde::Deserializer;
use rmp_serde::decode::Error;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::{Codec, CodecError, CodecSchema, ContentType, Encoded};

/// Deeper than any payload, and far from the stack's end.
const DEPTH_MAX: usize = 128;

/// MessagePack by serde, structs as maps by their fields' names, so that fields can be added and
/// reordered as in JSON. Text and bytes borrow from the record. `#[codec(msgpack)]`.
#[derive(Debug)]
pub enum MessagePack {}

impl<'record, T: Serialize + Deserialize<'record>> Codec<'record, T> for MessagePack {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        rmp_serde::encode::write_named(out, value).map_err(CodecError::encode::<T>)
    }

    fn decode(encoded: Encoded<'record>) -> Result<T, CodecError> {
        let bytes = encoded.bytes()?;
        let mut deserializer = Deserializer::from_read_ref(bytes);
        deserializer.set_max_depth(DEPTH_MAX);
        let value = T::deserialize(&mut deserializer).map_err(CodecError::decode::<T>)?;
        match IgnoredAny::deserialize(&mut deserializer) {
            // Nothing is left of it.
            Err(Error::InvalidMarkerRead(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                Ok(value)
            }
            _ => Err(CodecError::decode::<T>("there are bytes behind the value")),
        }
    }
}

impl<'record, T> CodecSchema<'record, T> for MessagePack
where
    T: Serialize + Deserialize<'record> + JsonSchema,
{
    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

impl ContentType for MessagePack {
    const NAME: &'static str = "application/msgpack";

    fn is(media_type: &str) -> bool {
        [Self::NAME, "application/x-msgpack", "application/vnd.msgpack"]
            .iter()
            .any(|name| media_type.eq_ignore_ascii_case(name))
    }
}
