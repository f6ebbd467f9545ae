//! How payloads and keys become bytes, and bytes become payloads and keys.
//!
#![doc = include_str!("../docs/codecs.md")]
//!
//! Pure: no async, no clock, no client.

#[cfg(feature = "avro")]
pub mod avro;
mod bytes;
mod content_type;
mod error;
mod features;
mod int;
mod json;
mod key;
#[cfg(feature = "msgpack")]
mod msgpack;
pub(crate) mod part;
#[cfg(feature = "protobuf")]
mod protobuf;
mod std_types;
mod text;

use schemars::{Schema, SchemaGenerator};

#[cfg(feature = "avro")]
pub use self::avro::Avro;
pub use self::bytes::{RawBytes, SharedBytes};
pub use self::content_type::{ContentType, Negotiated};
pub use self::error::CodecError;
#[cfg(not(feature = "avro"))]
pub use self::features::avro::Avro;
#[cfg(not(feature = "msgpack"))]
pub use self::features::msgpack::MessagePack;
#[cfg(not(feature = "protobuf"))]
pub use self::features::protobuf::Protobuf;
pub use self::int::{BigEndian, IntNewtype, Integer, LexoInt64, LexoNewtype};
pub use self::json::Json;
pub use self::key::{AsKey, KeyCodec};
#[cfg(feature = "msgpack")]
pub use self::msgpack::MessagePack;
#[cfg(feature = "protobuf")]
pub use self::protobuf::Protobuf;
pub use self::std_types::{List, Primitive};
pub use self::text::Text;
use crate::record::{Headers, Record};

/// The header that says in which format a value is.
pub const CONTENT_TYPE_HEADER: &str = "content-type";

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

    /// The `content-type` header, if there is one; empty if it is not UTF-8.
    pub fn content_type(self) -> Option<&'record str> {
        let named = |name: &str| name.eq_ignore_ascii_case(CONTENT_TYPE_HEADER);
        let header = self.headers.iter().find(|header| named(header.name))?;
        Some(header.value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or(""))
    }
}

impl<'record> From<&'record Record> for Encoded<'record> {
    fn from(record: &'record Record) -> Self {
        Self { value: record.value(), headers: record.headers() }
    }
}

/// A payload that knows how it becomes bytes: an event's, or a table's value. Derive it:
/// `#[derive(EventCodec)]`.
///
/// Types of the standard library have it already: strings, bytes and integers have their own
/// formats, `bool`, `f32`, `f64` and (feature `uuid`) `Uuid` those of Kafka's serialisers
/// ([`Primitive`]). `()`, `Option<T>`, `Vec<T>`, maps, sets, tuples, arrays, durations and network
/// addresses are JSON by serde, whatever codec `T` itself has.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no event codec",
    label = "can't be read from or written to a record",
    note = "a type of your own: write `#[derive(EventCodec, Serialize, Deserialize)]` on it",
    note = "a type of another crate: wrap it, \
            `#[derive(EventCodec, Serialize, Deserialize)] struct Wrapper({Self});`"
)]
pub trait EventCodec<'record>: Sized {
    /// The codec: [`Json`] unless the derive says otherwise.
    type Via: Codec<'record, Self>;
}

/// A way of turning a `T` into bytes and back.
///
/// # Examples
/// A codec of one's own, for every payload that can be shown and parsed:
/// ```
/// use std::fmt::Display;
/// use std::str::FromStr;
///
/// use schemars::{Schema, SchemaGenerator, json_schema};
/// use streams_core::codec::{Codec, CodecError, CodecSchema, Encoded};
/// use streams_core::prelude::*;
///
/// enum Shown {}
///
/// impl<T: Display + FromStr<Err: Display>> Codec<'_, T> for Shown {
///     fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
///         out.extend_from_slice(value.to_string().as_bytes());
///         Ok(())
///     }
///
///     fn decode(encoded: Encoded<'_>) -> Result<T, CodecError> {
///         let text = std::str::from_utf8(encoded.bytes()?).map_err(CodecError::decode::<T>)?;
///         text.parse().map_err(CodecError::decode::<T>)
///     }
/// }
///
/// // Only for those who ask for the contract's schema.
/// impl<T: Display + FromStr<Err: Display>> CodecSchema<'_, T> for Shown {
///     fn schema(_: &mut SchemaGenerator) -> Schema {
///         json_schema!({ "type": "string" })
///     }
/// }
///
/// #[derive(EventCodec)]
/// #[codec(Shown)]
/// struct Address(std::net::IpAddr);
/// # impl Display for Address {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
/// #         self.0.fmt(f)
/// #     }
/// # }
/// # impl FromStr for Address {
/// #     type Err = std::net::AddrParseError;
/// #     fn from_str(text: &str) -> Result<Self, Self::Err> {
/// #         text.parse().map(Self)
/// #     }
/// # }
///
/// let mut out = vec![];
/// streams_core::codec::encode(&Address([127, 0, 0, 1].into()), &mut out)?;
/// assert_eq!(out, b"127.0.0.1");
/// # Ok::<(), CodecError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "the `{Self}` codec can't carry `{T}`",
    label = "a derive is missing",
    note = "JSON needs all of `#[derive(EventCodec, Serialize, Deserialize)]`"
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

    /// The `content-type` header of what [`Codec::encode`] writes, if it has one.
    const CONTENT_TYPE: Option<&'static str> = None;
}

/// A codec that can describe what it writes. Only schemas ask for it: a payload that nobody
/// describes needs none.
#[diagnostic::on_unimplemented(
    message = "`{T}` has no schema in the `{Self}` codec",
    label = "its contract can't be described",
    note = "for JSON and MessagePack derive `JsonSchema` on `{T}`; for a codec of your own \
            implement `CodecSchema`"
)]
pub trait CodecSchema<'record, T>: Codec<'record, T> {
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

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fmt::Debug;

    use schemars::generate::SchemaSettings;

    use super::*;

    static NO_HEADERS: std::sync::LazyLock<Headers> = std::sync::LazyLock::new(Headers::default);

    /// `value` becomes `bytes` and comes back, its schema has the type `schema`, and a tombstone is
    /// no `T`.
    fn check<T>(value: &T, bytes: &'static [u8], schema: &str)
    where
        T: EventCodec<'static> + PartialEq + Debug,
        T::Via: CodecSchema<'static, T>,
    {
        let mut out = b"before".to_vec();
        encode(value, &mut out).expect("it has a form");
        assert_eq!(out, [b"before", bytes].concat());
        let encoded = Encoded { value: Some(bytes), headers: &NO_HEADERS };
        assert_eq!(decode::<T>(encoded).expect("its own form"), *value);
        let mut generator = SchemaSettings::default().into_generator();
        let written = <T::Via as CodecSchema<'static, T>>::schema(&mut generator);
        assert_eq!(written.get("type").and_then(|ty| ty.as_str()), Some(schema));
        let tombstone = Encoded { value: None, headers: &NO_HEADERS };
        assert!(matches!(decode::<T>(tombstone), Err(CodecError::Tombstone)));
    }

    #[test]
    fn foreign_types_are_payloads() {
        check(&String::from("é"), "é".as_bytes(), "string");
        check(&"", b"", "string");
        check(&vec![0xffu8, 0], &[0xff, 0], "string");
        check(&&[0xffu8, 0][..], &[0xff, 0], "string");
        check(&::bytes::Bytes::from_static(b"a"), b"a", "string");
        check(&-2i32, &[255, 255, 255, 254], "integer");
        check(&1i64, &[0, 0, 0, 0, 0, 0, 0, 1], "integer");
        check(&u32::MAX, &[255; 4], "integer");
        check(&256u64, &[0, 0, 0, 0, 0, 0, 1, 0], "integer");
        check(&-1i8, &[255], "integer");
        check(&7u8, &[7], "integer");
        check(&1u16, &[0, 1], "integer");
        check(&-2isize, &[255, 255, 255, 255, 255, 255, 255, 254], "integer");
        check(&LexoInt64(1), &[1, 0, 0, 0, 0, 0, 0, 0, 1], "integer");
    }

    #[derive(Debug, PartialEq, streams_derive::EventCodec)]
    #[codec(bytes)]
    struct Blob<'a>(Cow<'a, [u8]>);

    impl<'a> From<&'a [u8]> for Blob<'a> {
        fn from(bytes: &'a [u8]) -> Self {
            Self(bytes.into())
        }
    }

    impl AsRef<[u8]> for Blob<'_> {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    #[derive(Debug, PartialEq, streams_derive::EventCodec)]
    #[codec(string)]
    struct Name(String);

    impl From<&str> for Name {
        fn from(text: &str) -> Self {
            Self(text.to_owned())
        }
    }

    impl AsRef<str> for Name {
        fn as_ref(&self) -> &str {
            &self.0
        }
    }

    #[derive(Debug, PartialEq, streams_derive::EventCodec)]
    #[codec(transparent)]
    struct Count {
        count: i64,
    }

    #[derive(Debug, PartialEq, streams_derive::EventCodec)]
    #[codec(transparent)]
    struct Line<'a>(&'a str);

    #[derive(
        Debug,
        PartialEq,
        streams_derive::EventCodec,
        serde::Serialize,
        serde::Deserialize,
        schemars::JsonSchema,
    )]
    struct Pair<T, const N: usize> {
        one: T,
        two: T,
    }

    #[test]
    fn derived_payloads_go_by_their_codec() {
        check(&Blob(b"\xff".into()), b"\xff", "string");
        check(&Name("a".to_owned()), b"a", "string");
        check(&Count { count: 1 }, &[0, 0, 0, 0, 0, 0, 0, 1], "integer");
        check(&Line("a"), b"a", "string");
        let mut out = vec![];
        encode(&Pair::<u8, 3> { one: 1, two: 2 }, &mut out).expect("it has a form");
        assert_eq!(out, br#"{"one":1,"two":2}"#);
    }

    #[test]
    fn what_is_no_text_says_so() {
        let encoded = Encoded { value: Some(b"a\xff"), headers: &NO_HEADERS };
        for message in [
            decode::<String>(encoded).expect_err("no text").to_string(),
            decode::<&str>(encoded).expect_err("no text").to_string(),
            String::decode_key(b"a\xff").expect_err("no text").to_string(),
        ] {
            assert!(message.contains("is not UTF-8"), "{message}");
        }
    }
}
