//! Keys: of records, and of tables.

use super::CodecError;

/// A type that can be the key of a record or of a table.
///
/// Equal keys have equal bytes: partitioning and compaction go by the bytes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a type of keys",
    label = "can't be the key of a record or of a table",
    note = "take the part of it that is the key, or implement `KeyCodec` for it"
)]
pub trait KeyCodec: Sized {
    /// Appends the key's bytes to `out`.
    fn encode_key(&self, out: &mut Vec<u8>);

    /// Reads a key.
    ///
    /// # Errors
    /// If the bytes are not such a key (a `String` that is not UTF-8).
    fn decode_key(bytes: &[u8]) -> Result<Self, CodecError>;

    /// The JSON Schema of such a key; by default it says nothing.
    fn key_schema() -> serde_json::Value {
        serde_json::json!({})
    }
}

/// A borrowed form of the key `K`: `str` for `String`, so that forwarding needs no copy.
#[diagnostic::on_unimplemented(
    message = "the keys of this topic are `{K}`, not `{Self}`",
    label = "should be `{K}`, or what it borrows as (`str` for `String`)"
)]
pub trait AsKey<K> {
    /// Appends the same bytes as the `K` would.
    fn encode_as_key(&self, out: &mut Vec<u8>);
}

impl<K: KeyCodec> AsKey<K> for K {
    fn encode_as_key(&self, out: &mut Vec<u8>) {
        self.encode_key(out);
    }
}

impl AsKey<String> for str {
    fn encode_as_key(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl AsKey<Vec<u8>> for [u8] {
    fn encode_as_key(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl KeyCodec for String {
    fn encode_key(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode_key(bytes: &[u8]) -> Result<Self, CodecError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|e| CodecError::decode::<Self>(format_args!("the key is not UTF-8: {e}")))?;
        Ok(text.to_owned())
    }

    fn key_schema() -> serde_json::Value {
        serde_json::json!({ "type": "string" })
    }
}

impl KeyCodec for Vec<u8> {
    fn encode_key(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode_key(bytes: &[u8]) -> Result<Self, CodecError> {
        Ok(bytes.to_vec())
    }

    fn key_schema() -> serde_json::Value {
        serde_json::json!({ "type": "string", "contentEncoding": "base64" })
    }
}
