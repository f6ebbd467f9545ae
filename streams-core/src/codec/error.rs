//! What can be wrong with bytes.

use std::fmt;

/// Bytes that are not what they should be, or a value that has no bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The record has no value, and the payload needs one.
    #[error(
        "the record is a tombstone (its value is null), and this payload needs a value: \
         let the handler take `Option<Payload>`, which is `None` for a tombstone, or write a \
         `#[default_handler]`, or don't send null"
    )]
    Tombstone,
    /// The bytes can't be read.
    #[error("can't decode {what}: {reason}")]
    Decode {
        /// The type that was asked for.
        what: &'static str,
        /// What the codec says.
        reason: String,
    },
    /// The record is in another format than the payload's codec reads.
    #[error(
        "can't decode {what}: the record's `content-type` is {reason}: let its producer send one \
         of these, or add the format to the payload, `#[codec(json, msgpack)]`"
    )]
    ContentType {
        /// The type that was asked for.
        what: &'static str,
        /// The record's content type, and what the codec reads.
        reason: String,
    },
    /// The value can't be written.
    #[error("can't encode {what}: {reason}")]
    Encode {
        /// The type that was given.
        what: &'static str,
        /// What the codec says.
        reason: String,
    },
    /// A row of a table can't be written.
    #[error("a row of table `{table}`: {source}")]
    Table {
        /// The table.
        table: String,
        /// What the codec of the row's value says.
        source: Box<Self>,
    },
}

impl CodecError {
    /// The same error, of a row of this table.
    pub(crate) fn in_table(self, table: &str) -> Self {
        Self::Table { table: table.to_owned(), source: Box::new(self) }
    }

    /// Bytes that are not a `T`.
    pub fn decode<T: ?Sized>(reason: impl fmt::Display) -> Self {
        Self::Decode { what: std::any::type_name::<T>(), reason: reason.to_string() }
    }

    /// A `T` that has no form.
    pub fn encode<T: ?Sized>(reason: impl fmt::Display) -> Self {
        Self::Encode { what: std::any::type_name::<T>(), reason: reason.to_string() }
    }
}
