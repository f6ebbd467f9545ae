//! UTF-8 text as it is.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::{Codec, CodecError, CodecSchema, ContentType, Encoded, EventCodec};

/// UTF-8 text without quotes, for payloads that are made from a `&str` and can be seen as one:
/// `String`, `&str`, `Cow<str>`, and structs with these two impls. `#[codec(string)]`.
#[derive(Debug)]
pub enum Text {}

impl<'record, T: From<&'record str> + AsRef<str>> Codec<'record, T> for Text {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(value.as_ref().as_bytes());
        Ok(())
    }

    fn decode(encoded: Encoded<'record>) -> Result<T, CodecError> {
        let text = std::str::from_utf8(encoded.bytes()?)
            .map_err(|e| CodecError::decode::<T>(format_args!("the value is not UTF-8: {e}")))?;
        Ok(T::from(text))
    }
}

impl<'record, T: From<&'record str> + AsRef<str>> CodecSchema<'record, T> for Text {
    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "contentMediaType": Self::NAME })
    }
}

impl EventCodec<'_> for String {
    type Via = Text;
}

impl<'record> EventCodec<'record> for &'record str {
    type Via = Text;
}

impl ContentType for Text {
    const NAME: &'static str = "text/plain";
}
