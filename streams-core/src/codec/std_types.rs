//! Types of the standard library as payloads and as values of tables. Strings, bytes and integers
//! are in the rooms of their formats.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hash};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::int::{MEDIA_TYPE, exactly};
use super::{Codec, CodecError, CodecSchema, Encoded, EventCodec, Json, RawBytes};

/// The codec of `bool`, `f32`, `f64` and, with the feature `uuid`, `Uuid`: the bytes of Kafka's own
/// `BooleanSerializer` (one byte, 0 or 1), `FloatSerializer` and `DoubleSerializer` (IEEE 754,
/// big-endian), and `UUIDSerializer` (hyphenated text).
#[derive(Debug)]
pub enum Primitive {}

macro_rules! primitive {
    ($ty:ty, $value:ident => $bytes:expr, $encoded:ident => $decoded:expr) => {
        impl EventCodec<'_> for $ty {
            type Via = Primitive;
        }

        impl Codec<'_, $ty> for Primitive {
            fn encode($value: &$ty, out: &mut Vec<u8>) -> Result<(), CodecError> {
                out.extend_from_slice(&$bytes);
                Ok(())
            }

            fn decode(encoded: Encoded<'_>) -> Result<$ty, CodecError> {
                let $encoded = encoded.bytes()?;
                $decoded
            }
        }

        impl CodecSchema<'_, $ty> for Primitive {
            fn schema(generator: &mut SchemaGenerator) -> Schema {
                let mut schema = generator.subschema_for::<$ty>();
                schema.insert("contentMediaType".to_owned(), MEDIA_TYPE.into());
                schema
            }
        }
    };
}
primitive!(bool, value => [u8::from(*value)], bytes => super::KeyCodec::decode_key(bytes));
primitive!(f32, value => value.to_be_bytes(), bytes => {
    exactly::<f32, 4>(bytes).map(f32::from_be_bytes)
});
primitive!(f64, value => value.to_be_bytes(), bytes => {
    exactly::<f64, 8>(bytes).map(f64::from_be_bytes)
});

#[cfg(feature = "uuid")]
impl EventCodec<'_> for uuid::Uuid {
    type Via = Primitive;
}

#[cfg(feature = "uuid")]
impl Codec<'_, uuid::Uuid> for Primitive {
    fn encode(value: &uuid::Uuid, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let mut text = uuid::Uuid::encode_buffer();
        out.extend_from_slice(value.hyphenated().encode_lower(&mut text).as_bytes());
        Ok(())
    }

    fn decode(encoded: Encoded<'_>) -> Result<uuid::Uuid, CodecError> {
        uuid::Uuid::try_parse_ascii(encoded.bytes()?).map_err(CodecError::decode::<uuid::Uuid>)
    }
}

#[cfg(feature = "uuid")]
impl CodecSchema<'_, uuid::Uuid> for Primitive {
    fn schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "format": "uuid",
            "contentMediaType": "text/plain",
        })
    }
}

/// The codec of `Vec<T>`: [`RawBytes`] for `Vec<u8>`, and [`Json`] for any other `T`.
#[derive(Debug)]
pub enum List {}

impl<'record, T: Serialize + Deserialize<'record> + 'static> Codec<'record, Vec<T>> for List {
    fn encode(value: &Vec<T>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        match (value as &dyn Any).downcast_ref::<Vec<u8>>() {
            Some(bytes) => <RawBytes as Codec<'_, Vec<u8>>>::encode(bytes, out),
            None => Json::encode(value, out),
        }
    }

    fn decode(encoded: Encoded<'record>) -> Result<Vec<T>, CodecError> {
        if TypeId::of::<T>() != TypeId::of::<u8>() {
            return Json::decode(encoded);
        }
        let mut list: Vec<T> = vec![];
        if let Some(bytes) = (&mut list as &mut dyn Any).downcast_mut::<Vec<u8>>() {
            *bytes = RawBytes::decode(encoded)?;
        }
        Ok(list)
    }
}

impl<'record, T> CodecSchema<'record, Vec<T>> for List
where
    T: Serialize + Deserialize<'record> + JsonSchema + 'static,
{
    fn schema(generator: &mut SchemaGenerator) -> Schema {
        match TypeId::of::<T>() == TypeId::of::<u8>() {
            true => <RawBytes as CodecSchema<'_, Vec<u8>>>::schema(generator),
            false => <Json as CodecSchema<'record, Vec<T>>>::schema(generator),
        }
    }
}

impl<'record, T: Serialize + Deserialize<'record> + 'static> EventCodec<'record> for Vec<T> {
    type Via = List;
}

/// What serde writes as JSON.
macro_rules! json {
    ($($ty:ty),* $(,)?) => {$(
        impl EventCodec<'_> for $ty {
            type Via = Json;
        }
    )*};
}
json! {
    (),
    char,
    std::time::Duration,
    std::time::SystemTime,
    std::net::IpAddr,
    std::net::Ipv4Addr,
    std::net::Ipv6Addr,
    std::net::SocketAddr,
    std::path::PathBuf,
    serde_json::Value,
}

impl<'record, T: Serialize + Deserialize<'record>> EventCodec<'record> for Option<T> {
    type Via = Json;
}

impl<'record, T: Serialize + Deserialize<'record>> EventCodec<'record> for Box<T> {
    type Via = Json;
}

impl<'record, T: Serialize + Deserialize<'record>> EventCodec<'record> for VecDeque<T> {
    type Via = Json;
}

impl<'record, T: Serialize + Deserialize<'record> + Ord> EventCodec<'record> for BTreeSet<T> {
    type Via = Json;
}

impl<'record, T, S> EventCodec<'record> for HashSet<T, S>
where
    T: Serialize + Deserialize<'record> + Eq + Hash,
    S: BuildHasher + Default,
{
    type Via = Json;
}

impl<'record, K, V> EventCodec<'record> for BTreeMap<K, V>
where
    K: Serialize + Deserialize<'record> + Ord,
    V: Serialize + Deserialize<'record>,
{
    type Via = Json;
}

impl<'record, K, V, S> EventCodec<'record> for HashMap<K, V, S>
where
    K: Serialize + Deserialize<'record> + Eq + Hash,
    V: Serialize + Deserialize<'record>,
    S: BuildHasher + Default,
{
    type Via = Json;
}

impl<'record, T, const N: usize> EventCodec<'record> for [T; N]
where
    [T; N]: Serialize + Deserialize<'record>,
{
    type Via = Json;
}

macro_rules! tuples {
    ($(($($part:ident)+))*) => {$(
        #[diagnostic::do_not_recommend]
        impl<'record, $($part: Serialize + Deserialize<'record>),+> EventCodec<'record>
            for ($($part,)+)
        {
            type Via = Json;
        }
    )*};
}
tuples! { (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::super::{decode, encode};
    use super::*;
    use crate::record::Headers;

    /// `value` becomes `bytes`, and comes back.
    fn check<T: for<'a> EventCodec<'a> + PartialEq + Debug>(value: &T, bytes: &[u8]) {
        let mut out = vec![];
        encode(value, &mut out).expect("it has a form");
        assert_eq!(out, bytes, "{value:?}: {}", String::from_utf8_lossy(&out));
        let headers = Headers::default();
        let encoded = Encoded { value: Some(bytes), headers: &headers };
        assert_eq!(decode::<T>(encoded).expect("its own form"), *value);
    }

    #[test]
    fn types_of_the_standard_library_are_values() {
        check(&true, &[1]);
        check(&1.5f64, &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0]);
        check(&f32::INFINITY, &[0x7f, 0x80, 0, 0]);
        check(&(), b"null");
        check(&Some(7), b"7");
        check(&None::<String>, b"null");
        check(&vec!["a".to_owned()], br#"["a"]"#);
        check(&vec![1u8, 2], &[1, 2]);
        check(&vec![1i8, 2], b"[1,2]");
        check(&Vec::<String>::new(), b"[]");
        check(&("a".to_owned(), 2.5, vec![true]), br#"["a",2.5,[true]]"#);
        check(&BTreeMap::from([(1, "a".to_owned())]), br#"{"1":"a"}"#);
        check(&HashMap::<String, u8>::from([("a".to_owned(), 1)]), br#"{"a":1}"#);
        check(&BTreeSet::from([1, 2]), b"[1,2]");
        check(&HashSet::<u8>::from([1]), b"[1]");
        check(&VecDeque::from([1, 2]), b"[1,2]");
        check(&Box::new(1u64), b"1");
        check(&[1u64, 2], b"[1,2]");
        check(&'a', br#""a""#);
        check(&std::time::Duration::from_millis(1_500), br#"{"secs":1,"nanos":500000000}"#);
        check(&std::net::IpAddr::from([127, 0, 0, 1]), br#""127.0.0.1""#);
    }

    #[test]
    fn what_is_no_number_stays_it() {
        let mut out = vec![];
        encode(&f64::NAN, &mut out).expect("it has a form");
        let headers = Headers::default();
        let encoded = Encoded { value: Some(&out), headers: &headers };
        assert!(decode::<f64>(encoded).expect("its own form").is_nan());
        let encoded = Encoded { value: Some(&[2]), headers: &headers };
        let message = decode::<bool>(encoded).expect_err("not 0 or 1").to_string();
        assert!(message.contains("it is 2, and not 0 or 1"), "{message}");
    }

    #[cfg(feature = "uuid")]
    #[test]
    fn a_uuid_is_text_as_a_value_and_sixteen_bytes_as_a_key() {
        use crate::codec::KeyCodec;

        let uuid = uuid::Uuid::from_u128(1);
        check(&uuid, b"00000000-0000-0000-0000-000000000001");
        let mut key = vec![];
        (uuid, 7u8).encode_key(&mut key);
        assert_eq!(key, [&[0; 15][..], &[1, 7]].concat());
        assert_eq!(<(uuid::Uuid, u8)>::decode_key(&key).expect("its own form"), (uuid, 7));
    }
}
