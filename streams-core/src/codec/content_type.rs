//! The format of a value, by its `content-type` header.

use std::marker::PhantomData;

use schemars::{Schema, SchemaGenerator};

use super::{Codec, CodecError, CodecSchema, Encoded};

/// A codec whose format has a media type.
pub trait ContentType {
    /// What is written into the `content-type` header.
    const NAME: &'static str;

    /// Whether `media_type`, without its parameters, is this format.
    fn is(media_type: &str) -> bool {
        media_type.eq_ignore_ascii_case(Self::NAME)
    }
}

/// A codec that writes the `content-type` header, and reads each of `Formats` by that header: a
/// tuple of up to four codecs. It writes the first, and takes a record without the header for the
/// first.
/// `#[codec(json, content_type)]`, `#[codec(msgpack, json)]`.
#[derive(Debug)]
pub struct Negotiated<Formats>(PhantomData<Formats>);

/// `application/json` of `application/json; charset=utf-8`
fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or("").trim()
}

#[cold]
fn refused<T>(found: &str, accepted: &[&str]) -> CodecError {
    CodecError::ContentType {
        what: std::any::type_name::<T>(),
        reason: format!("`{found}`, and it reads {}", accepted.join(", ")),
    }
}

macro_rules! negotiated {
    ($first:ident $($other:ident)*) => {
        impl<'record, T, $first, $($other),*> Codec<'record, T>
            for Negotiated<($first, $($other,)*)>
        where
            $first: Codec<'record, T> + ContentType,
            $($other: Codec<'record, T> + ContentType,)*
        {
            const CONTENT_TYPE: Option<&'static str> = Some($first::NAME);

            fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
                $first::encode(value, out)
            }

            fn decode(encoded: Encoded<'record>) -> Result<T, CodecError> {
                let Some(content_type) = encoded.content_type() else {
                    return $first::decode(encoded);
                };
                let found = media_type(content_type);
                if $first::is(found) {
                    return $first::decode(encoded);
                }
                $(if $other::is(found) {
                    return $other::decode(encoded);
                })*
                Err(refused::<T>(content_type, &[$first::NAME, $($other::NAME),*]))
            }
        }

        impl<'record, T, $first, $($other),*> CodecSchema<'record, T>
            for Negotiated<($first, $($other,)*)>
        where
            $first: CodecSchema<'record, T> + ContentType,
            $($other: Codec<'record, T> + ContentType,)*
        {
            fn schema(generator: &mut SchemaGenerator) -> Schema {
                $first::schema(generator)
            }
        }
    };
}
negotiated!(A);
negotiated!(A B);
negotiated!(A B C);
negotiated!(A B C D);
