//! Integers: big-endian two's complement, and [`LexoInt64`], whose bytes sort as the numbers do.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{Codec, CodecError, CodecSchema, Encoded, EventCodec, KeyCodec};
use crate::__private::Newtype;

/// An integer as its bytes, the most significant first: the same as a value and as a key.
///
/// `i8` to `i128`, `u8` to `u128` and [`LexoInt64`] are written so, each in its own width, `isize`
/// and `usize` in eight bytes. GKES's `Int32Codec` and `Int64Codec` differ: both write eight bytes
/// in the machine's own order.
#[derive(Debug)]
pub enum BigEndian {}

impl<T: KeyCodec + Integer> Codec<'_, T> for BigEndian {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        value.encode_key(out);
        Ok(())
    }

    fn decode(encoded: Encoded<'_>) -> Result<T, CodecError> {
        T::decode_key(encoded.bytes()?)
    }
}

impl<T: KeyCodec + Integer + JsonSchema> CodecSchema<'_, T> for BigEndian {
    fn schema(generator: &mut SchemaGenerator) -> Schema {
        binary::<T>(generator)
    }
}

pub(super) const MEDIA_TYPE: &str = "application/octet-stream";

/// An integer's schema, which is not in JSON.
fn binary<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<T>();
    schema.insert("contentMediaType".to_owned(), MEDIA_TYPE.into());
    schema
}

/// What [`BigEndian`] carries.
pub trait Integer: sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

/// Exactly `N` bytes.
pub(super) fn exactly<T, const N: usize>(bytes: &[u8]) -> Result<[u8; N], CodecError> {
    bytes.try_into().map_err(|_| {
        CodecError::decode::<T>(format_args!("it has {} bytes and should have {N}", bytes.len()))
    })
}

macro_rules! integers {
    ($($int:ty),*) => {$(
        impl sealed::Sealed for $int {}

        impl Integer for $int {}

        impl EventCodec<'_> for $int {
            type Via = BigEndian;
        }
    )*};
}
integers!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize, LexoInt64);

/// `$sign` is the sign bit: with it flipped, the bytes of a part sort as the numbers do.
macro_rules! integer_keys {
    ($($int:ty as $wire:ty, $sign:expr);*) => {$(
        impl KeyCodec for $int {
            fn encode_key(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&(*self as $wire).to_be_bytes());
            }

            fn decode_key(bytes: &[u8]) -> Result<Self, CodecError> {
                from_wire(<$wire>::from_be_bytes(exactly::<Self, _>(bytes)?))
            }

            fn encode_part(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&((*self as $wire) ^ $sign).to_be_bytes());
            }

            fn decode_part(bytes: &mut &[u8]) -> Result<Self, CodecError> {
                let number = super::part::take::<Self>(bytes, size_of::<$wire>())?;
                from_wire(<$wire>::from_be_bytes(exactly::<Self, _>(number)?) ^ $sign)
            }

            fn key_schema() -> serde_json::Value {
                serde_json::json!({ "type": "integer", "contentMediaType": MEDIA_TYPE })
            }
        }
    )*};
}
integer_keys! {
    i8 as i8, i8::MIN;
    i16 as i16, i16::MIN;
    i32 as i32, i32::MIN;
    i64 as i64, i64::MIN;
    i128 as i128, i128::MIN;
    isize as i64, i64::MIN;
    u8 as u8, 0;
    u16 as u16, 0;
    u32 as u32, 0;
    u64 as u64, 0;
    u128 as u128, 0;
    usize as u64, 0
}

/// A number that may have been written on a machine with a wider `usize`.
fn from_wire<W: Copy + std::fmt::Display, T: TryFrom<W>>(number: W) -> Result<T, CodecError> {
    T::try_from(number).map_err(|_| {
        CodecError::decode::<T>(format_args!("{number} is too large for this machine"))
    })
}

/// An integer whose bytes sort as its values do, negative ones first: for keys in stores that sort
/// bytes. `i64` itself doesn't: its negative numbers come after the others.
///
/// GKES: `LexoInt64Codec`, whose nine bytes sort wrongly beyond 255 (they are little-endian). So
/// the layout is another: a sign byte, 0 for negative numbers and 1 for the others, then the
/// big-endian two's complement.
///
/// # Examples
/// ```
/// use streams_core::codec::{KeyCodec, LexoInt64};
///
/// let bytes = |number| {
///     let mut out = vec![];
///     LexoInt64(number).encode_key(&mut out);
///     out
/// };
/// assert!(bytes(-5) < bytes(-1) && bytes(-1) < bytes(0) && bytes(255) < bytes(256));
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
#[schemars(inline)]
pub struct LexoInt64(pub i64);

impl LexoInt64 {
    /// What it takes in bytes. GKES: `LexInt64Size`.
    pub const SIZE_BYTES: usize = 9;
}

impl KeyCodec for LexoInt64 {
    fn encode_key(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.0 >= 0));
        out.extend_from_slice(&self.0.to_be_bytes());
    }

    fn decode_key(bytes: &[u8]) -> Result<Self, CodecError> {
        let [sign, number @ ..] = exactly::<Self, { Self::SIZE_BYTES }>(bytes)?;
        let number = i64::from_be_bytes(number);
        if sign != u8::from(number >= 0) {
            return Err(CodecError::decode::<Self>(format_args!(
                "its sign byte is {sign} and its number is {number}"
            )));
        }
        Ok(Self(number))
    }

    fn encode_part(&self, out: &mut Vec<u8>) {
        self.encode_key(out);
    }

    fn decode_part(bytes: &mut &[u8]) -> Result<Self, CodecError> {
        Self::decode_key(super::part::take::<Self>(bytes, Self::SIZE_BYTES)?)
    }

    fn key_schema() -> serde_json::Value {
        serde_json::json!({ "type": "integer", "contentMediaType": MEDIA_TYPE })
    }
}

/// The codec of a struct with one integer, in [`BigEndian`]'s bytes. `#[codec(int)]`.
#[derive(Debug)]
pub enum IntNewtype {}

impl<'record, T> Codec<'record, T> for IntNewtype
where
    T: Newtype<'record, Inner: KeyCodec + Integer>,
{
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        value.inner().encode_key(out);
        Ok(())
    }

    fn decode(encoded: Encoded<'record>) -> Result<T, CodecError> {
        Ok(T::wrap(T::Inner::decode_key(encoded.bytes()?)?))
    }
}

impl<'record, T> CodecSchema<'record, T> for IntNewtype
where
    T: Newtype<'record, Inner: KeyCodec + Integer + JsonSchema>,
{
    fn schema(generator: &mut SchemaGenerator) -> Schema {
        binary::<T::Inner>(generator)
    }
}

/// The codec of a struct with one `i64`, in [`LexoInt64`]'s bytes. `#[codec(lexo_int64)]`.
#[derive(Debug)]
pub enum LexoNewtype {}

impl<'record, T: Newtype<'record, Inner = i64>> Codec<'record, T> for LexoNewtype {
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        LexoInt64(*value.inner()).encode_key(out);
        Ok(())
    }

    fn decode(encoded: Encoded<'record>) -> Result<T, CodecError> {
        Ok(T::wrap(LexoInt64::decode_key(encoded.bytes()?)?.0))
    }
}

impl<'record, T: Newtype<'record, Inner = i64>> CodecSchema<'record, T> for LexoNewtype {
    fn schema(generator: &mut SchemaGenerator) -> Schema {
        binary::<i64>(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(key: &impl KeyCodec) -> Vec<u8> {
        let mut out = vec![];
        key.encode_key(&mut out);
        out
    }

    /// Numbers of every magnitude and sign, from a fixed seed (SplitMix64), and the edges.
    fn numbers() -> Vec<i64> {
        let mut state = 7u64;
        let random = std::iter::repeat_with(move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let mixed = mixed ^ (mixed >> 31);
            mixed.cast_signed() >> (mixed % 63)
        });
        let edges = [i64::MIN, i64::MIN + 1, -256, -255, -1, 0, 1, 255, 256, i64::MAX];
        edges.into_iter().chain(random.take(1_000)).collect()
    }

    #[test]
    fn lexo_bytes_sort_as_the_numbers_do() {
        let numbers = numbers();
        for a in &numbers {
            let encoded = bytes(&LexoInt64(*a));
            assert_eq!(encoded.len(), LexoInt64::SIZE_BYTES);
            assert_eq!(LexoInt64::decode_key(&encoded).unwrap(), LexoInt64(*a));
            for b in &numbers {
                assert_eq!(encoded.cmp(&bytes(&LexoInt64(*b))), a.cmp(b), "{a} and {b}");
            }
        }
    }

    #[test]
    fn integers_keep_their_value_and_their_width() {
        for number in numbers() {
            assert_eq!(i64::decode_key(&bytes(&number)).unwrap(), number);
            assert_eq!(u64::decode_key(&bytes(&number.cast_unsigned())).unwrap() as i64, number);
        }
        assert_eq!(bytes(&1i32), [0, 0, 0, 1]);
        assert_eq!(bytes(&-2i64), [255, 255, 255, 255, 255, 255, 255, 254]);
    }

    #[test]
    fn the_wrong_size_is_an_error() {
        let message = |result: Result<LexoInt64, CodecError>| result.unwrap_err().to_string();
        for bytes in [&[1; 8][..], &[1; 10], &[]] {
            let len = bytes.len();
            let text = message(LexoInt64::decode_key(bytes));
            assert!(text.contains(&format!("it has {len} bytes and should have 9")), "{text}");
        }
        assert!(message(LexoInt64::decode_key(&[0; 9])).contains("sign byte is 0"));
        assert!(i32::decode_key(&[0; 8]).is_err());
    }
}
