//! Bytes, text and integers as they are.
//!
//! Integers are big-endian, as GKES's `Int32Codec` and `Int64Codec` on the wire; [`LexoInt64`]
//! sorts by its bytes.

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Codec, CodecError, Encoded, EventCodec, KeyCodec};

/// The value's bytes, as they are.
#[derive(Debug)]
pub enum RawBytes {}

impl<T: From<Vec<u8>> + AsRef<[u8]>> Codec<'_, T> for RawBytes {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(value.as_ref());
        Ok(())
    }

    fn decode(encoded: Encoded<'_>) -> Result<T, CodecError> {
        Ok(encoded.bytes()?.to_vec().into())
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "contentEncoding": "base64"})
    }
}

impl EventCodec<'_> for Vec<u8> {
    type Via = RawBytes;
}

impl EventCodec<'_> for Bytes {
    type Via = RawBytes;
}

/// UTF-8 text, as it is.
#[derive(Debug)]
pub enum Text {}

impl<T: From<String> + AsRef<str>> Codec<'_, T> for Text {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(value.as_ref().as_bytes());
        Ok(())
    }

    fn decode(encoded: Encoded<'_>) -> Result<T, CodecError> {
        let text = std::str::from_utf8(encoded.bytes()?).map_err(CodecError::decode::<T>)?;
        Ok(text.to_owned().into())
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

impl EventCodec<'_> for String {
    type Via = Text;
}

/// Integers in big-endian bytes.
#[derive(Debug)]
pub enum BigEndian {}

macro_rules! integers {
    ($($int:ty),*) => {$(
        impl EventCodec<'_> for $int {
            type Via = BigEndian;
        }

        impl Codec<'_, $int> for BigEndian {
            fn encode(value: &$int, out: &mut Vec<u8>) -> Result<(), CodecError> {
                value.encode_key(out);
                Ok(())
            }

            fn decode(encoded: Encoded<'_>) -> Result<$int, CodecError> {
                <$int>::decode_key(encoded.bytes()?)
            }

            fn schema(generator: &mut SchemaGenerator) -> Schema {
                generator.subschema_for::<$int>()
            }
        }
    )*};
}
integers!(i32, i64, u32, u64, LexoInt64);

/// An integer whose bytes sort as its values do, negative ones first: for keys in ordered stores.
///
/// GKES: `LexoInt64Codec`. Nine bytes: a sign byte (0 for negative, 1 otherwise), then the
/// big-endian two's complement.
///
/// # Examples
/// ```
/// use streams_core::codec::{KeyCodec, LexoInt64};
///
/// let bytes = |n| {
///     let mut out = Vec::new();
///     LexoInt64(n).encode_key(&mut out);
///     out
/// };
/// assert!(bytes(-5) < bytes(-1) && bytes(-1) < bytes(0) && bytes(0) < bytes(300));
/// ```
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub struct LexoInt64(pub i64);

const LEXO_INT64_BYTES: usize = 9;

impl KeyCodec for LexoInt64 {
    fn encode_key(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.0 >= 0));
        out.extend_from_slice(&self.0.to_be_bytes());
    }

    fn decode_key(bytes: &[u8]) -> Result<Self, CodecError> {
        let wrong = || {
            let len = bytes.len();
            CodecError::decode::<Self>(format_args!("{len} bytes, not {LEXO_INT64_BYTES}"))
        };
        let (sign, number) = bytes.split_first().ok_or_else(wrong)?;
        let number = i64::from_be_bytes(number.try_into().map_err(|_| wrong())?);
        if *sign != u8::from(number >= 0) {
            return Err(CodecError::decode::<Self>("the sign byte contradicts the number"));
        }
        Ok(Self(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lexo_int64_sorts_and_round_trips() {
        let numbers = [i64::MIN, -1_000, -256, -1, 0, 1, 255, 256, i64::MAX];
        let encoded: Vec<Vec<u8>> = numbers
            .iter()
            .map(|n| {
                let mut out = Vec::new();
                LexoInt64(*n).encode_key(&mut out);
                out
            })
            .collect();
        assert!(encoded.is_sorted());
        for (number, bytes) in numbers.iter().zip(&encoded) {
            assert_eq!(bytes.len(), LEXO_INT64_BYTES);
            assert_eq!(LexoInt64::decode_key(bytes).unwrap(), LexoInt64(*number));
        }
        assert!(LexoInt64::decode_key(&encoded[0][..8]).is_err());
        assert!(LexoInt64::decode_key(&[]).is_err());
    }

    #[test]
    fn integers_of_the_wrong_length_are_an_error() {
        assert!(i64::decode_key(&[1, 2, 3]).is_err());
        assert!(String::decode_key(&[0xff]).unwrap_err().to_string().contains("UTF-8"));
    }
}
