//! Tables: keys and values that log their own changes.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeBounds;

use schemars::{Schema, SchemaGenerator};

use super::prefix::{Bounds, TupleKey, TupleKey3};
use super::rows::{Lookup, OrderedRows, Rows};
use super::{Changelog, EventSeq, StoreField, UndoLog};
use crate::codec::{CodecError, CodecSchema, Encoded, EventCodec, KeyCodec, decode, encode};
use crate::record::Headers;

/// Keys and values of one partition, in memory, in no order.
///
/// Every change is logged by the table itself, in the transaction of the event that makes it, and
/// undone if that transaction is aborted.
///
/// # Examples
/// ```
/// use streams_core::prelude::*;
///
/// #[derive(StateStore)]
/// struct Inventory {
///     stock: Table<String, u64>,
/// }
///
/// let mut ctx = streams_core::testing::context::<Inventory>();
/// let stock = &mut ctx.store.stock;
/// stock.put("apple".to_owned(), 3);
/// stock.update("pear".to_owned(), |count| *count += 1);
/// assert_eq!((stock.get("apple"), stock.get("pear")), (Some(&3), Some(&1)));
/// assert_eq!(stock.remove("apple"), Some(&3));
/// assert_eq!(stock.remove("apple"), None);
/// ```
#[derive(Debug)]
pub struct Table<K, V, R = HashMap<K, V>> {
    name: &'static str,
    rows: R,
    undo: UndoLog<(K, Option<V>)>,
}

/// A [`Table`] in the order of its keys, with [`range`](Table::range) scans.
///
/// # Examples
/// ```
/// use streams_core::prelude::*;
///
/// #[derive(StateStore)]
/// struct Reminders {
///     due: OrderedTable<u64, String>,
/// }
///
/// let mut ctx = streams_core::testing::context::<Reminders>();
/// let due = &mut ctx.store.due;
/// due.put(1_700, "call Billy".to_owned());
/// due.put(1_900, "call Bob".to_owned());
/// let now: Vec<u64> = due.range(..=1_800).map(|(at, _)| *at).collect();
/// assert_eq!(now, [1_700]);
/// assert_eq!(due.last(), Some((&1_900, &"call Bob".to_owned())));
/// ```
pub type OrderedTable<K, V> = Table<K, V, BTreeMap<K, V>>;

/// Up to so many changes of one event are searched for duplicates without an allocation.
const SCAN_CHANGES_MAX: usize = 8;

impl<K, V, R: Rows<Key = K, Value = V>> Table<K, V, R> {
    /// The value of `key`.
    pub fn get<Q: ?Sized>(&self, key: &Q) -> Option<&V>
    where
        R: Lookup<Q>,
    {
        self.rows.get_key_value(key).map(|(_, value)| value)
    }

    /// Whether `key` has a value.
    pub fn contains_key<Q: ?Sized>(&self, key: &Q) -> bool
    where
        R: Lookup<Q>,
    {
        self.rows.get_key_value(key).is_some()
    }

    /// Gives `key` the value `value`, and returns its former one.
    pub fn put(&mut self, key: K, value: V) -> Option<&V>
    where
        K: Clone,
    {
        let former = self.rows.insert(key.clone(), value);
        self.remember(key, former)
    }

    /// Takes `key` away, and returns its value. `None` if it was not there; then nothing changes.
    pub fn remove<Q: ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        R: Lookup<Q>,
    {
        let (key, value) = self.rows.remove_entry(key)?;
        self.remember(key, Some(value))
    }

    /// Changes the value of `key` in place; one that is not there starts as the default.
    pub fn update<T>(&mut self, key: K, change: impl FnOnce(&mut V) -> T) -> T
    where
        R: Lookup<K>,
        K: Clone,
        V: Clone + Default,
    {
        if let Some(value) = self.rows.get_mut(&key) {
            self.undo.push((key, Some(value.clone())));
            return change(value);
        }
        self.undo.push((key.clone(), None));
        change(self.rows.get_or_insert(key, V::default()))
    }

    /// Changes the value of `key` in place. `None` if it was not there; then nothing changes.
    pub fn modify<Q: ?Sized, T>(&mut self, key: &Q, change: impl FnOnce(&mut V) -> T) -> Option<T>
    where
        R: Lookup<Q>,
        K: Clone,
        V: Clone,
    {
        let (found, former) = self.rows.get_key_value(key)?;
        self.undo.push((found.clone(), Some(former.clone())));
        self.rows.get_mut(key).map(change)
    }

    /// All rows; an [`OrderedTable`]'s in the order of their keys, or backwards.
    pub fn iter(&self) -> R::Iter<'_> {
        self.rows.iter()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    /// Keeps what a change replaced, and shows it.
    fn remember(&mut self, key: K, former: Option<V>) -> Option<&V> {
        self.undo.push((key, former));
        self.undo.last()?.1.as_ref()
    }
}

impl<'a, K, V, R: Rows<Key = K, Value = V>> IntoIterator for &'a Table<K, V, R> {
    type Item = (&'a K, &'a V);
    type IntoIter = R::Iter<'a>;

    fn into_iter(self) -> R::Iter<'a> {
        self.iter()
    }
}

/// The ranges of an [`OrderedTable`].
impl<K, V, R: Rows<Key = K, Value = V>> Table<K, V, R> {
    /// The rows whose keys lie in `range`, in the order of their keys.
    ///
    /// # Panics
    /// If the range ends before it starts, as [`BTreeMap::range`].
    pub fn range<Q: Ord + ?Sized>(
        &self,
        range: impl RangeBounds<Q>,
    ) -> <R as OrderedRows<Q>>::Range<'_>
    where
        R: OrderedRows<Q>,
        K: Borrow<Q>,
    {
        OrderedRows::range(&self.rows, range)
    }

    /// The rows whose key, which is a tuple, has `first` as its first part; in the order of their
    /// keys.
    ///
    /// # Examples
    /// ```
    /// use streams_core::prelude::*;
    ///
    /// #[derive(StateStore)]
    /// struct Store {
    ///     orders: OrderedTable<(String, u32), f64>,
    /// }
    ///
    /// let mut ctx = streams_core::testing::context::<Store>();
    /// let orders = &mut ctx.store.orders;
    /// orders.put(("ann".to_owned(), 2), 9.5);
    /// orders.put(("bob".to_owned(), 1), 7.0);
    /// orders.put(("ann".to_owned(), 1), 1.5);
    /// let of_ann: Vec<u32> = orders.prefix("ann").map(|((_, number), _)| *number).collect();
    /// assert_eq!(of_ann, [1, 2]);
    /// ```
    pub fn prefix<P: Ord + ?Sized>(&self, first: &P) -> <R as OrderedRows<P>>::Range<'_>
    where
        R: OrderedRows<P>,
        K: TupleKey<First: Borrow<P>>,
    {
        let compare = |key: &K| key.first().borrow().cmp(first);
        OrderedRows::<P>::range(&self.rows, Bounds::of(&compare).as_range())
    }

    /// The rows whose key, which is a tuple of at least three parts, has `first` and `second` as
    /// its first parts; in the order of their keys.
    pub fn prefix2<P: Ord + ?Sized, Q: Ord + ?Sized>(
        &self,
        first: &P,
        second: &Q,
    ) -> <R as OrderedRows<P>>::Range<'_>
    where
        R: OrderedRows<P>,
        K: TupleKey3<First: Borrow<P>, Second: Borrow<Q>>,
    {
        let compare = |key: &K| {
            let order = key.first().borrow().cmp(first);
            order.then_with(|| key.second().borrow().cmp(second))
        };
        OrderedRows::<P>::range(&self.rows, Bounds::of(&compare).as_range())
    }

    /// The row with the least key.
    pub fn first(&self) -> Option<(&K, &V)>
    where
        R: OrderedRows,
    {
        OrderedRows::first(&self.rows)
    }

    /// The row with the greatest key.
    pub fn last(&self) -> Option<(&K, &V)>
    where
        R: OrderedRows,
    {
        OrderedRows::last(&self.rows)
    }
}

impl<K, V, R> Table<K, V, R>
where
    K: KeyCodec + Eq,
    V: for<'a> EventCodec<'a>,
    R: Rows<Key = K, Value = V> + Lookup<K>,
{
    /// Logs `keys`, each once, with the values that they have now.
    fn log<'k>(
        &self,
        keys: impl Iterator<Item = &'k K>,
        changelog: &mut Changelog<'_>,
    ) -> Result<(), CodecError>
    where
        K: 'k,
    {
        for key in keys {
            let value = self.get(key).map(|value| |out: &mut Vec<u8>| encode(value, out));
            changelog.table_change(self.name, |out| key.encode_key(out), value)?;
        }
        Ok(())
    }
}

impl<K, V, R> StoreField for Table<K, V, R>
where
    K: KeyCodec + Eq + Send + 'static,
    V: for<'a> EventCodec<'a> + Send + 'static,
    R: Rows<Key = K, Value = V> + Lookup<K> + Send + 'static,
{
    fn create(name: &'static str) -> Self {
        Self { name, rows: R::default(), undo: UndoLog::default() }
    }

    fn drain_changes(
        &mut self,
        event: EventSeq,
        changelog: &mut Changelog<'_>,
    ) -> Result<(), CodecError> {
        let keys = || self.undo.pending().map(|(key, _)| key);
        if keys().len() <= SCAN_CHANGES_MAX {
            let is_first = |(at, key): &(usize, &K)| !keys().take(*at).any(|other| other == *key);
            self.log(keys().enumerate().filter(is_first).map(|(_, key)| key), changelog)?;
        } else {
            self.log(R::distinct(keys()), changelog)?;
        }
        self.undo.assign(event);
        Ok(())
    }

    fn undo_from(&mut self, event: EventSeq) {
        while let Some((key, former)) = self.undo.pop_from(event) {
            match former {
                Some(value) => drop(self.rows.insert(key, value)),
                None => drop(self.rows.remove_entry(&key)),
            }
        }
    }

    fn commit_before(&mut self, event: EventSeq) {
        self.undo.commit_before(event);
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), CodecError> {
        let key = K::decode_key(key)?;
        if value.is_none() {
            self.rows.remove_entry(&key);
            return Ok(());
        }
        let value = decode(Encoded { value, headers: &Headers::default() })?;
        self.rows.insert(key, value);
        Ok(())
    }
}

/// A table whose rows have a type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no type of rows, so it has no older one",
    label = "only a `Table` or an `OrderedTable` takes `upcast`"
)]
pub trait TypedRows: StoreField {
    /// The type of its values.
    type Row: for<'a> EventCodec<'a>;
}

impl<K, V, R> TypedRows for Table<K, V, R>
where
    Self: StoreField,
    V: for<'a> EventCodec<'a>,
{
    type Row = V;
}

/// A table whose keys and rows can be described.
#[diagnostic::on_unimplemented(
    message = "the rows of `{Self}` have no schema",
    label = "this table can't be described",
    note = "for JSON and MessagePack derive `JsonSchema` on the type of its rows; for a field of \
            your own implement `DescribedRows`"
)]
pub trait DescribedRows<'row> {
    /// The JSON Schema of its keys.
    fn key_schema() -> serde_json::Value;

    /// The JSON Schema of its values.
    fn row_schema(generator: &mut SchemaGenerator) -> Schema;
}

impl<'row, K: KeyCodec, V, R> DescribedRows<'row> for Table<K, V, R>
where
    V: EventCodec<'row>,
    V::Via: CodecSchema<'row, V>,
{
    fn key_schema() -> serde_json::Value {
        K::key_schema()
    }

    fn row_schema(generator: &mut SchemaGenerator) -> Schema {
        V::Via::schema(generator)
    }
}
