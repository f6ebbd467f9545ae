//! A table: keys and values, in no order.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use super::{Changelog, EventSeq, StoreField, UndoLog};
use crate::codec::Encoded;
use crate::codec::{CodecError, EventCodec, KeyCodec, decode, encode};
use crate::record::Headers;

/// Keys and values of one partition, in memory, in no order.
///
/// Every change is logged by the table itself, in the transaction of the event that makes it, and
/// undone if that transaction is aborted.
#[derive(Debug)]
pub struct Table<K, V> {
    name: &'static str,
    rows: HashMap<K, V>,
    undo: UndoLog<(K, Option<V>)>,
}

impl<K: Hash + Eq + Clone, V> Table<K, V> {
    /// The value of `key`.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.rows.get(key)
    }

    /// Whether `key` has a value.
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.rows.contains_key(key)
    }

    /// Gives `key` the value `value`.
    pub fn put(&mut self, key: K, value: V) {
        let former = self.rows.insert(key.clone(), value);
        self.undo.push((key, former));
    }

    /// Takes `key` away. `None` if it was not there; then nothing changes.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        V: Clone,
    {
        let (key, value) = self.rows.remove_entry(key)?;
        self.undo.push((key, Some(value.clone())));
        Some(value)
    }

    /// Changes the value of `key` in place; one that is not there starts as the default.
    pub fn update<R>(&mut self, key: K, change: impl FnOnce(&mut V) -> R) -> R
    where
        V: Clone + Default,
    {
        let former = self.rows.get(&key).cloned();
        self.undo.push((key.clone(), former));
        change(self.rows.entry(key).or_default())
    }

    /// All rows, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl<K, V> StoreField for Table<K, V>
where
    K: KeyCodec + Hash + Eq + Clone + Send + 'static,
    V: for<'a> EventCodec<'a> + Send + 'static,
{
    fn create(name: &'static str) -> Self {
        Self { name, rows: HashMap::new(), undo: UndoLog::default() }
    }

    fn drain_changes(
        &mut self,
        event: EventSeq,
        changelog: &mut Changelog<'_>,
    ) -> Result<(), CodecError> {
        for (key, _) in self.undo.pending() {
            let value = self.rows.get(key).map(|value| |out: &mut Vec<u8>| encode(value, out));
            changelog.table_change(self.name, |out| key.encode_key(out), value)?;
        }
        self.undo.assign(event);
        Ok(())
    }

    fn undo_from(&mut self, event: EventSeq) {
        while let Some((key, former)) = self.undo.pop_from(event) {
            match former {
                Some(value) => drop(self.rows.insert(key, value)),
                None => drop(self.rows.remove(&key)),
            }
        }
    }

    fn commit_before(&mut self, event: EventSeq) {
        self.undo.commit_before(event);
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), CodecError> {
        let key = K::decode_key(key)?;
        if value.is_none() {
            self.rows.remove(&key);
            return Ok(());
        }
        let value = decode(Encoded { value, headers: &Headers::default() })?;
        self.rows.insert(key, value);
        Ok(())
    }
}
