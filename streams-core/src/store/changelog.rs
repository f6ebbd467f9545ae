//! The changelog: one record a change, in the transaction of the event that made it.
//!
//! A derived store has one changelog topic for all its tables, and compaction goes by the key
//! alone. So a table's keys are prefixed with its name and a zero byte: `contacts\0123`.

use std::fmt;
use std::sync::Arc;

use crate::codec::CodecError;
use crate::record::{Headers, OutputWriter, Outputs};

const NAME_END: u8 = 0;

/// What the keys of the framework's own records begin with: a table's name is not empty, so no
/// table's key does.
const RESERVED_PREFIX: &[u8] = b"\0streams.";
/// The key of the record that a group's first commit writes to each partition.
const OPENED_KEY: &[u8] = b"\0streams.opened";

/// Where a store's changes are written to: the changelog topic's partition of the same number.
#[derive(Debug)]
pub struct Changelog<'a> {
    outputs: &'a mut Outputs,
    topic: &'a Arc<str>,
    partition: i32,
}

impl<'a> Changelog<'a> {
    /// A changelog that writes records for `partition` of `topic` into `outputs`.
    pub const fn new(outputs: &'a mut Outputs, topic: &'a Arc<str>, partition: i32) -> Self {
        Self { outputs, topic, partition }
    }

    /// Starts a record, in a form of the store's own. The changelog is compacted by its key.
    pub fn record(&mut self) -> OutputWriter<'_> {
        let mut record = self.outputs.record_to(self.topic);
        record.partition(self.partition);
        record
    }

    /// Writes the record by which later owners know that `group` has processed the partition.
    pub(crate) fn opened(&mut self, group: &str) -> Result<(), CodecError> {
        let mut record = self.record();
        record.key_with(|out| {
            out.extend_from_slice(OPENED_KEY);
            Ok::<(), CodecError>(())
        })?;
        record.value_with(|out| {
            out.extend_from_slice(group.as_bytes());
            Ok::<(), CodecError>(())
        })?;
        record.finish();
        Ok(())
    }

    /// Writes that `key` of a table of the framework now has `value`, or that it is gone.
    pub(crate) fn framework_change(
        &mut self,
        table: &str,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), CodecError> {
        let mut record = self.record();
        record.key_with(|out| {
            out.extend_from_slice(RESERVED_PREFIX);
            out.extend_from_slice(table.as_bytes());
            out.push(NAME_END);
            out.extend_from_slice(key);
            Ok::<(), CodecError>(())
        })?;
        if let Some(value) = value {
            record.value_with(|out| {
                out.extend_from_slice(value);
                Ok::<(), CodecError>(())
            })?;
        }
        record.finish();
        Ok(())
    }

    /// Writes that `key` of `table` now has the value that `encode_value` writes, or, if that is
    /// `None`, that it is gone.
    ///
    /// # Errors
    /// What the encoder of the value returns, as [`CodecError::Table`].
    pub fn table_change(
        &mut self,
        table: &str,
        encode_key: impl FnOnce(&mut Vec<u8>),
        encode_value: Option<impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>>,
    ) -> Result<(), CodecError> {
        let mut record = self.record();
        record.key_with(|out| {
            out.extend_from_slice(table.as_bytes());
            out.push(NAME_END);
            encode_key(out);
            Ok::<(), CodecError>(())
        })?;
        if let Some(encode_value) = encode_value {
            record.value_with(encode_value).map_err(|error| error.in_table(table))?;
        }
        record.finish();
        Ok(())
    }
}

/// Returns true if a record with this key is the framework's own, and no change of a store.
pub(crate) fn is_reserved(key: &[u8]) -> bool {
    key.starts_with(RESERVED_PREFIX)
}

/// Returns true if this is the key of the record that [`Changelog::opened`] writes.
pub(crate) fn is_opened(key: &[u8]) -> bool {
    key == OPENED_KEY
}

/// Returns the table and the key within it, from a key of [`Changelog::framework_change`].
pub(crate) fn framework_row(key: &[u8]) -> Option<(&str, &[u8])> {
    let rest = key.strip_prefix(RESERVED_PREFIX)?;
    let end = rest.iter().position(|byte| *byte == NAME_END)?;
    Some((std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 1..]))
}

/// One record of the changelog, as it is restored.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Its offset in the changelog's partition.
    pub offset: i64,
    /// Its key.
    pub key: &'a [u8],
    /// Its value; `None` means that the key is gone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a Headers,
}

impl Change<'_> {
    /// An error that says where in the changelog it is.
    pub fn error(&self, reason: impl fmt::Display) -> CodecError {
        let reason = format!("its record at offset {}: {reason}", self.offset);
        CodecError::Decode { what: "the changelog", reason }
    }
}

/// The table's name and the key within the table, from a key of [`Changelog::table_change`].
///
/// # Errors
/// If the key has no table's name.
pub fn split_table_key<'a>(change: &Change<'a>) -> Result<(&'a [u8], &'a [u8]), CodecError> {
    let end = change.key.iter().position(|byte| *byte == NAME_END).ok_or_else(|| {
        change.error("no table's name before its key: is the topic another application's?")
    })?;
    Ok((&change.key[..end], &change.key[end + 1..]))
}
