//! What a [`Table`](super::Table) needs of its map: all in which a hash map and a B-tree differ.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, btree_map, hash_map};
use std::hash::Hash;
use std::ops::RangeBounds;

/// A map. Implemented for [`HashMap`] and [`BTreeMap`].
pub trait Rows: Default {
    /// Its keys.
    type Key;
    /// Its values.
    type Value;
    /// Its iterator, which goes both ways if the rows have an order.
    type Iter<'a>: ExactSizeIterator<Item = (&'a Self::Key, &'a Self::Value)>
    where
        Self: 'a;

    /// Gives `key` the value `value`, and returns its former one.
    fn insert(&mut self, key: Self::Key, value: Self::Value) -> Option<Self::Value>;

    /// The value of `key`, which is `value` if there was none.
    fn get_or_insert(&mut self, key: Self::Key, value: Self::Value) -> &mut Self::Value;

    /// All rows, in the map's order.
    fn iter(&self) -> Self::Iter<'_>;

    /// How many rows there are.
    fn len(&self) -> usize;

    /// Each of `keys` once, where it comes first.
    fn distinct<'k>(
        keys: impl Iterator<Item = &'k Self::Key>,
    ) -> impl Iterator<Item = &'k Self::Key>
    where
        Self::Key: 'k;
}

/// A map whose rows can be found by a `Q`.
#[diagnostic::on_unimplemented(
    message = "the rows of this table can't be found by `{Q}`",
    label = "should be the table's key, or what the key borrows as (`str` for `String`)"
)]
pub trait Lookup<Q: ?Sized>: Rows {
    /// The row of `key`.
    fn get_key_value(&self, key: &Q) -> Option<(&Self::Key, &Self::Value)>;

    /// The value of `key`.
    fn get_mut(&mut self, key: &Q) -> Option<&mut Self::Value>;

    /// Takes the row of `key` out.
    fn remove_entry(&mut self, key: &Q) -> Option<(Self::Key, Self::Value)>;
}

/// A map whose rows have the order of their keys; `By` is what they are searched by. Implemented
/// for [`BTreeMap`].
pub trait OrderedRows<By: ?Sized = ()>: Rows {
    /// The iterator over a range, which goes both ways.
    type Range<'a>: DoubleEndedIterator<Item = (&'a Self::Key, &'a Self::Value)>
    where
        Self: 'a;

    /// The rows whose keys lie in `range`.
    fn range<Q: Ord + ?Sized>(&self, range: impl RangeBounds<Q>) -> Self::Range<'_>
    where
        Self::Key: Borrow<Q>;

    /// The row with the least key.
    fn first(&self) -> Option<(&Self::Key, &Self::Value)>;

    /// The row with the greatest key.
    fn last(&self) -> Option<(&Self::Key, &Self::Value)>;
}

/// Nothing is: a hash map has no order. The bound of an impl for it says so to whoever asks for a
/// range of a `Table`, where the lack of an impl would only name a trait.
#[diagnostic::on_unimplemented(
    message = "a `Table` keeps its rows in no order, so it has no `range` and no `prefix`",
    label = "only an `OrderedTable` has this",
    note = "declare the field as `OrderedTable<Key, Value>`; its keys are `Ord`"
)]
pub trait OnlyOrderedTables {}

#[doc(hidden)]
impl<K: Hash + Eq, V, By: OnlyOrderedTables + ?Sized> OrderedRows<By> for HashMap<K, V> {
    type Range<'a>
        = std::iter::Empty<(&'a K, &'a V)>
    where
        Self: 'a;

    fn range<Q: Ord + ?Sized>(&self, _: impl RangeBounds<Q>) -> Self::Range<'_>
    where
        K: Borrow<Q>,
    {
        std::iter::empty()
    }

    fn first(&self) -> Option<(&K, &V)> {
        None
    }

    fn last(&self) -> Option<(&K, &V)> {
        None
    }
}

impl<K: Ord, V, By: ?Sized> OrderedRows<By> for BTreeMap<K, V> {
    type Range<'a>
        = btree_map::Range<'a, K, V>
    where
        Self: 'a;

    fn range<Q: Ord + ?Sized>(&self, range: impl RangeBounds<Q>) -> Self::Range<'_>
    where
        K: Borrow<Q>,
    {
        Self::range(self, range)
    }

    fn first(&self) -> Option<(&K, &V)> {
        self.first_key_value()
    }

    fn last(&self) -> Option<(&K, &V)> {
        self.last_key_value()
    }
}

macro_rules! rows {
    ($module:ident::$map:ident, $set:ident, $($bound:tt)+) => {
        impl<K: $($bound)+, V> Rows for $map<K, V> {
            type Key = K;
            type Value = V;
            type Iter<'a>
                = $module::Iter<'a, K, V>
            where
                Self: 'a;

            fn insert(&mut self, key: K, value: V) -> Option<V> {
                $map::insert(self, key, value)
            }

            fn get_or_insert(&mut self, key: K, value: V) -> &mut V {
                self.entry(key).or_insert(value)
            }

            fn iter(&self) -> Self::Iter<'_> {
                $map::iter(self)
            }

            fn len(&self) -> usize {
                $map::len(self)
            }

            fn distinct<'k>(keys: impl Iterator<Item = &'k K>) -> impl Iterator<Item = &'k K>
            where
                K: 'k,
            {
                let mut seen = $set::new();
                keys.filter(move |key| seen.insert(*key))
            }
        }

        #[diagnostic::do_not_recommend]
        impl<K: Borrow<Q> + $($bound)+, V, Q: $($bound)+ + ?Sized> Lookup<Q> for $map<K, V> {
            fn get_key_value(&self, key: &Q) -> Option<(&K, &V)> {
                $map::get_key_value(self, key)
            }

            fn get_mut(&mut self, key: &Q) -> Option<&mut V> {
                $map::get_mut(self, key)
            }

            fn remove_entry(&mut self, key: &Q) -> Option<(K, V)> {
                $map::remove_entry(self, key)
            }
        }
    };
}
rows!(hash_map::HashMap, HashSet, Hash + Eq);
rows!(btree_map::BTreeMap, BTreeSet, Ord);
