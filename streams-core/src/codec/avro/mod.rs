//! Avro in a schema registry's wire format; `apache-avro` parses the schemas.
//!
//! A value begins with a zero byte and the id of the schema that it was written with, four bytes,
//! the most significant first; the datum follows. So a reader needs the writer's schema: it is in a
//! [`Registry`], which the application fills, or which asks a [`RegistryClient`].

mod decode;
mod encode;
mod registry;
mod schema;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub use self::registry::{Registry, RegistryClient, RegistryError};
use super::{Codec, CodecError, CodecSchema, ContentType, Encoded};

const MAGIC: u8 = 0;
const PREFIX_BYTES: usize = 5;

/// The Avro schema of a payload.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no Avro schema",
    label = "should implement `AvroPayload`",
    note = "`impl AvroPayload for {Self} {{ const SCHEMA: &'static str = \
            include_str!(\"contact.avsc\"); }}`"
)]
pub trait AvroPayload {
    /// The schema that it is written with, as JSON.
    const SCHEMA: &'static str;

    /// The name under which the registry's client registers it: a registry calls it a subject.
    const SUBJECT: &'static str = "";

    /// Where the ids of schemas come from.
    fn registry() -> &'static Registry {
        Registry::global()
    }
}

/// Avro, with the writer's schema by its id: see [`avro`](self). Text and bytes borrow from the
/// record. `#[codec(avro)]`.
#[derive(Debug)]
pub enum Avro {}

impl<'record, T> Codec<'record, T> for Avro
where
    T: Serialize + Deserialize<'record> + AvroPayload,
{
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let (id, schema) =
            T::registry().writer(T::SUBJECT, T::SCHEMA).map_err(CodecError::encode::<T>)?;
        out.push(MAGIC);
        out.extend_from_slice(&id.to_be_bytes());
        encode::encode(&schema, value, out).map_err(CodecError::encode::<T>)
    }

    fn decode(encoded: Encoded<'record>) -> Result<T, CodecError> {
        let bytes = encoded.bytes()?;
        let Some((&[MAGIC, a, b, c, d], datum)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
            return Err(CodecError::decode::<T>(format_args!(
                "it does not begin with a zero byte and a schema's id (it has {} bytes): does its \
                 producer use a schema registry's serializer?",
                bytes.len()
            )));
        };
        let id = u32::from_be_bytes([a, b, c, d]);
        let schema = T::registry().reader(id).map_err(CodecError::decode::<T>)?;
        let (value, rest) = decode::decode(&schema, datum).map_err(|error| {
            CodecError::decode::<T>(format_args!("written with the schema {id}: {error}"))
        })?;
        match rest {
            [] => Ok(value),
            _ => Err(CodecError::decode::<T>("there are bytes behind the value")),
        }
    }
}

/// Its schema says no more than its format, and carries the Avro schema beside.
impl<'record, T> CodecSchema<'record, T> for Avro
where
    T: Serialize + Deserialize<'record> + AvroPayload,
{
    fn schema(_: &mut SchemaGenerator) -> Schema {
        let avro: serde_json::Value = serde_json::from_str(T::SCHEMA).unwrap_or_default();
        json_schema!({
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": Self::NAME,
            "x-avro-schema": avro,
        })
    }
}

impl ContentType for Avro {
    const NAME: &'static str = "application/vnd.apache.avro+binary";

    fn is(media_type: &str) -> bool {
        [Self::NAME, "application/avro", "avro/binary"]
            .iter()
            .any(|name| media_type.eq_ignore_ascii_case(name))
    }
}
