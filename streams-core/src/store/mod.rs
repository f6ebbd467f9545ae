//! The state of a partition: tables that write their own changelog and can be undone.
//!
//! Every change belongs to the event that made it, and every event to a transaction. When an event
//! is done, [`StateStore::drain_changes`] writes its changes into the transaction's changelog
//! records. When the transaction is committed, [`StateStore::commit_before`] forgets how to undo
//! it; when it is aborted, or the event fails, [`StateStore::undo_from`] takes the changes back, so
//! that an aborted transaction leaves no trace.
//!
//! Pure: no async, no clock, no client.

mod changelog;
mod framework;
mod prefix;
pub(crate) mod rows;
mod table;
#[cfg(test)]
mod tests;
mod undo;

pub use self::changelog::{Change, Changelog, split_table_key};
pub(crate) use self::changelog::{framework_row, is_opened, is_reserved};
pub(crate) use self::framework::{FrameworkTable, FrameworkTables};
pub use self::table::{DescribedRows, OrderedTable, Table, TypedRows};
pub use self::undo::UndoLog;
use crate::codec::CodecError;
use crate::record::TopicPartition;

/// The number of an event in its task: each event has a greater one than the one before.
///
/// Not an offset: interjections have numbers too, and a replayed event gets a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventSeq(pub u64);

impl EventSeq {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The state of one partition. `#[derive(StateStore)]` on a struct of tables, or written by hand
/// for other structures (trees, heaps, disk), with [`UndoLog`] to help.
///
/// The derive writes each call through to every table. A table's name, which prefixes its keys in
/// the changelog, is its field's, or what `#[table("..")]` says: so a field can be renamed and the
/// table keeps its rows. A change of a table that the store doesn't have any more is an error at
/// the next start, not a loss.
///
/// The changelog also has records of the framework itself. Their keys begin with `\0streams.`: a
/// store never gets them, and a store written by hand must not use such keys.
///
/// # Examples
/// ```
/// use streams_core::prelude::*;
///
/// #[derive(StateStore)]
/// struct ContactStore {
///     emails: Table<String, String>,
///     #[table("by_age")]
///     ages: OrderedTable<u32, String>,
/// }
/// ```
///
/// By hand, a running total that remembers its former values:
/// ```
/// use streams_core::codec::CodecError;
/// use streams_core::prelude::*;
/// use streams_core::record::TopicPartition;
/// use streams_core::store::{Change, Changelog, EventSeq, UndoLog};
///
/// #[derive(Default)]
/// struct Total {
///     total: i64,
///     former: UndoLog<i64>,
/// }
///
/// impl Total {
///     fn add(&mut self, amount: i64) {
///         self.former.push(self.total);
///         self.total += amount;
///     }
/// }
///
/// impl StateStore for Total {
///     fn create(_: &TopicPartition) -> Self {
///         Self::default()
///     }
///
///     fn drain_changes(
///         &mut self,
///         event: EventSeq,
///         changelog: &mut Changelog<'_>,
///     ) -> Result<(), CodecError> {
///         if self.former.pending().len() > 0 {
///             let mut record = changelog.record();
///             record.key_with(|out| {
///                 out.extend_from_slice(b"total");
///                 Ok::<_, CodecError>(())
///             })?;
///             record.value_with(|out| streams_core::codec::encode(&self.total, out))?;
///             record.finish();
///         }
///         self.former.assign(event);
///         Ok(())
///     }
///
///     fn undo_from(&mut self, event: EventSeq) {
///         while let Some(former) = self.former.pop_from(event) {
///             self.total = former;
///         }
///     }
///
///     fn commit_before(&mut self, event: EventSeq) {
///         self.former.commit_before(event);
///     }
///
///     fn restore(&mut self, change: Change<'_>) -> Result<(), CodecError> {
///         let total = change.value.and_then(|value| value.try_into().ok());
///         let total = total.ok_or_else(|| change.error("not a total of eight bytes"))?;
///         self.total = i64::from_be_bytes(total);
///         Ok(())
///     }
/// }
///
/// let mut ctx = streams_core::testing::context::<Total>();
/// ctx.store.add(5);
/// ctx.store.undo_from(EventSeq(0));
/// assert_eq!(ctx.store.total, 0);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a state store",
    label = "should be a struct with `#[derive(StateStore)]`"
)]
pub trait StateStore: Sized + Send + 'static {
    /// An empty store for `partition`.
    fn create(partition: &TopicPartition) -> Self;

    /// Writes all changes since the last call into `changelog`; they belong to `event`.
    ///
    /// # Errors
    /// If a key or a value has no bytes. The event fails then, and its changes are undone.
    fn drain_changes(
        &mut self,
        event: EventSeq,
        changelog: &mut Changelog<'_>,
    ) -> Result<(), CodecError>;

    /// Undoes all changes that belong to `event` or a later one, or to none yet, latest first.
    fn undo_from(&mut self, event: EventSeq);

    /// All changes that belong to events before `event` are committed: they won't be undone.
    fn commit_before(&mut self, event: EventSeq);

    /// Applies one record of the changelog, in order, while no event is processed: before the
    /// first one, and again after the last one, if the partition moves away and the store stays as
    /// a copy.
    ///
    /// # Errors
    /// If it is no record of this store. The partition is not processed then.
    fn restore(&mut self, change: Change<'_>) -> Result<(), CodecError>;

    /// Nobody needs the store any more: the last call.
    fn revoked(&mut self) {}
}

/// One field of a derived store: a table, or whatever else writes its own changelog.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a table, so its changes would be lost at the next restart",
    label = "not a table",
    note = "keep it in a `Table<Key, Value>`, or implement `StoreField` for it"
)]
pub trait StoreField: Sized + Send + 'static {
    /// An empty one; `name` is the field's, and prefixes its keys in the changelog.
    fn create(name: &'static str) -> Self;

    /// As [`StateStore::drain_changes`].
    ///
    /// # Errors
    /// As [`StateStore::drain_changes`].
    fn drain_changes(
        &mut self,
        event: EventSeq,
        changelog: &mut Changelog<'_>,
    ) -> Result<(), CodecError>;

    /// As [`StateStore::undo_from`].
    fn undo_from(&mut self, event: EventSeq);

    /// As [`StateStore::commit_before`].
    fn commit_before(&mut self, event: EventSeq);

    /// Applies one change: `key` is without the field's name; no `value` means removed.
    ///
    /// # Errors
    /// If the bytes are not a key and a value of this field.
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), CodecError>;
}

/// No state: `#[event_source(events = .., store = NoStore)]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStore;

impl StateStore for NoStore {
    fn create(_: &TopicPartition) -> Self {
        Self
    }

    fn drain_changes(&mut self, _: EventSeq, _: &mut Changelog<'_>) -> Result<(), CodecError> {
        Ok(())
    }

    fn undo_from(&mut self, _: EventSeq) {}

    fn commit_before(&mut self, _: EventSeq) {}

    fn restore(&mut self, change: Change<'_>) -> Result<(), CodecError> {
        Err(change.error("the application keeps no state (`store = NoStore`)"))
    }
}
