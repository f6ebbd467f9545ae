//! Keys: of records, and of tables.

use super::CodecError;
use super::part;

/// A type that can be the key of a record or of a table: `String`, `Vec<u8>`, `[u8; N]`, integers,
/// `bool`, `Option` and tuples of keys, with the feature `uuid` also `Uuid`, and structs with
/// `#[derive(KeyCodec)]`.
///
/// Equal keys have equal bytes: partitioning and compaction go by the bytes.
///
/// # Composite keys
/// The bytes of a tuple, and of a derived struct with several fields, are those of its parts, one
/// after the other. They sort as the tuple does, and the bytes of `(a,)` begin those of `(a, b)`.
///
/// | part | bytes |
/// |---|---|
/// | `u8` to `u128` | big-endian, in its own width |
/// | `i8` to `i128` | the same, with the sign bit flipped |
/// | `usize`, `isize` | as `u64`, `i64` |
/// | `bool` | one byte, 0 or 1 |
/// | `[u8; N]`, `Uuid`, [`LexoInt64`](super::LexoInt64) | its own bytes |
/// | `Option<K>` | 0; or 1 and the part of the `K` |
/// | a tuple | its parts |
/// | `String`, `Vec<u8>`, any other key | its own bytes, 0 as `00 ff`, and then `00 01` |
///
/// # Examples
/// ```
/// use streams_core::prelude::*;
///
/// #[derive(KeyCodec, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
/// struct OrderId(String);
///
/// #[derive(StateStore)]
/// struct Store {
///     customers: Table<OrderId, String>,
///     due: OrderedTable<(u64, OrderId), ()>,
/// }
///
/// let mut ctx = streams_core::testing::context::<Store>();
/// let due = &mut ctx.store.due;
/// due.put((1_700, OrderId("b".to_owned())), ());
/// due.put((1_700, OrderId("a".to_owned())), ());
/// due.put((1_900, OrderId("c".to_owned())), ());
/// let ids: Vec<&str> = due.prefix(&1_700).map(|((_, id), ())| id.0.as_str()).collect();
/// assert_eq!(ids, ["a", "b"]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a type of keys",
    label = "can't be the key of a record or of a table",
    note = "a struct of your own: write `#[derive(KeyCodec, Clone, PartialEq, Eq, Hash, \
            PartialOrd, Ord)]` on it",
    note = "a type of another crate: take the part of it that is the key, as `String`, an integer, \
            or a tuple of them; or wrap it, `struct Key(..);`, and implement `KeyCodec` for `Key`"
)]
pub trait KeyCodec: Sized {
    /// Appends the key's bytes to `out`.
    fn encode_key(&self, out: &mut Vec<u8>);

    /// Reads a key.
    ///
    /// # Errors
    /// If the bytes are not such a key (a `String` that is not UTF-8).
    fn decode_key(bytes: &[u8]) -> Result<Self, CodecError>;

    /// Appends the key as one part of a composite key: with its end, so that another part can
    /// follow.
    ///
    /// The default appends [`KeyCodec::encode_key`]'s bytes, escaped and terminated, which sort as
    /// those do.
    fn encode_part(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.encode_key(out);
        part::terminate(out, start);
    }

    /// Reads what [`KeyCodec::encode_part`] has appended, and moves `bytes` behind it.
    ///
    /// # Errors
    /// If `bytes` does not begin with such a part.
    fn decode_part(bytes: &mut &[u8]) -> Result<Self, CodecError> {
        Self::decode_key(&part::take_terminated::<Self>(bytes)?)
    }

    /// The JSON Schema of such a key; by default it says nothing.
    fn key_schema() -> serde_json::Value {
        serde_json::json!({})
    }
}

/// A borrowed form of the key `K`, so that forwarding needs no copy: `str` for `String`, and
/// `(u64, &str)` for `(u64, String)`.
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

/// Keys whose bytes are equally many each time, and sort as they do: as parts they are the same.
macro_rules! fixed_parts {
    () => {
        fn encode_part(&self, out: &mut Vec<u8>) {
            self.encode_key(out);
        }

        fn decode_part(bytes: &mut &[u8]) -> Result<Self, CodecError> {
            let size = const { size_of::<Self>() };
            Self::decode_key(super::part::take::<Self>(bytes, size)?)
        }
    };
}

impl<const N: usize> KeyCodec for [u8; N] {
    fn encode_key(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode_key(bytes: &[u8]) -> Result<Self, CodecError> {
        super::int::exactly::<Self, N>(bytes)
    }

    fixed_parts!();

    fn key_schema() -> serde_json::Value {
        serde_json::json!({ "type": "string", "contentEncoding": "base64" })
    }
}

impl KeyCodec for bool {
    fn encode_key(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode_key(bytes: &[u8]) -> Result<Self, CodecError> {
        match super::int::exactly::<Self, 1>(bytes)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [byte] => Err(CodecError::decode::<Self>(format_args!("it is {byte}, and not 0 or 1"))),
        }
    }

    fixed_parts!();

    fn key_schema() -> serde_json::Value {
        serde_json::json!({ "type": "boolean", "contentMediaType": super::int::MEDIA_TYPE })
    }
}

#[cfg(feature = "uuid")]
impl KeyCodec for uuid::Uuid {
    fn encode_key(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode_key(bytes: &[u8]) -> Result<Self, CodecError> {
        super::int::exactly::<Self, 16>(bytes).map(Self::from_bytes)
    }

    fixed_parts!();

    fn key_schema() -> serde_json::Value {
        serde_json::json!({
            "type": "string",
            "format": "uuid",
            "contentMediaType": super::int::MEDIA_TYPE,
        })
    }
}
