//! Ranges of an ordered table by the first parts of its keys, which are tuples.
//!
//! A B-tree finds rows by whatever its keys borrow as. So a tuple borrows as a [`Probe`]: a key, or
//! one of the two bounds around all keys with the same first parts.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Bound;

/// A key that is a tuple.
#[diagnostic::on_unimplemented(
    message = "the keys of this table are `{Self}`, which has no parts to search by",
    label = "only an `OrderedTable<(First, ..), Value>` has this"
)]
pub trait TupleKey: for<'p> Borrow<dyn Probe<Self> + 'p> + Ord {
    /// Its first part.
    type First;

    /// Its first part.
    fn first(&self) -> &Self::First;
}

/// A key that is a tuple of at least three parts.
#[diagnostic::on_unimplemented(
    message = "the keys of this table are `{Self}`, which has no three parts",
    label = "only an `OrderedTable<(First, Second, Third, ..), Value>` has this"
)]
pub trait TupleKey3: TupleKey {
    /// Its second part.
    type Second;

    /// Its second part.
    fn second(&self) -> &Self::Second;
}

/// A key, or a bound of a range of keys.
pub trait Probe<K> {
    /// The key, if it is one.
    fn key(&self) -> Option<&K>;

    /// Where it lies, seen from `key`; a bound equals no key.
    fn compare(&self, key: &K) -> Ordering;
}

impl<K: Ord> Ord for dyn Probe<K> + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.key(), other.key()) {
            (_, Some(key)) => self.compare(key),
            (Some(key), None) => other.compare(key).reverse(),
            // Only a range compares its bounds with each other, and it has them in order.
            (None, None) => Ordering::Less,
        }
    }
}

impl<K: Ord> PartialOrd for dyn Probe<K> + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> PartialEq for dyn Probe<K> + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<K: Ord> Eq for dyn Probe<K> + '_ {}

/// Before or behind all keys that `of` calls equal.
struct Edge<'p, K> {
    of: &'p dyn Fn(&K) -> Ordering,
    /// How the edge compares with those keys.
    side: Ordering,
}

impl<K> Probe<K> for Edge<'_, K> {
    fn key(&self) -> Option<&K> {
        None
    }

    fn compare(&self, key: &K) -> Ordering {
        (self.of)(key).reverse().then(self.side)
    }
}

/// All keys that a function calls equal. It has to order keys as they are ordered.
pub(super) struct Bounds<'p, K>(Edge<'p, K>, Edge<'p, K>);

impl<'p, K: 'p> Bounds<'p, K> {
    /// The keys for which `of`, which compares the key with what is searched for, returns `Equal`.
    pub(super) fn of(of: &'p dyn Fn(&K) -> Ordering) -> Self {
        Self(Edge { of, side: Ordering::Less }, Edge { of, side: Ordering::Greater })
    }

    pub(super) fn as_range(&self) -> (Bound<&(dyn Probe<K> + 'p)>, Bound<&(dyn Probe<K> + 'p)>) {
        (Bound::Excluded(&self.0), Bound::Excluded(&self.1))
    }
}

macro_rules! tuples {
    ($(($($part:ident)+))*) => {$(
        impl<$($part: Ord + 'static),+> Probe<($($part,)+)> for ($($part,)+) {
            fn key(&self) -> Option<&Self> {
                Some(self)
            }

            fn compare(&self, key: &Self) -> Ordering {
                self.cmp(key)
            }
        }

        impl<'p, $($part: Ord + 'static),+> Borrow<dyn Probe<($($part,)+)> + 'p> for ($($part,)+) {
            fn borrow(&self) -> &(dyn Probe<Self> + 'p) {
                self
            }
        }

        impl<$($part: Ord + 'static),+> TupleKey for ($($part,)+) {
            type First = A;

            fn first(&self) -> &A {
                &self.0
            }
        }
    )*};
}
tuples! { (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }

macro_rules! tuples_of_three {
    ($(($($part:ident)+))*) => {$(
        impl<$($part: Ord + 'static),+> TupleKey3 for ($($part,)+) {
            type Second = B;

            fn second(&self) -> &B {
                &self.1
            }
        }
    )*};
}
tuples_of_three! { (A B C) (A B C D) (A B C D E) (A B C D E F) }

#[cfg(test)]
mod tests {
    use super::super::{OrderedTable, StoreField};

    #[test]
    fn a_prefix_finds_the_rows_whose_keys_begin_with_it() {
        let mut table = OrderedTable::<(u8, String, i8), ()>::create("t");
        let keys = || {
            let texts = ["", "\0", "a", "b"].into_iter();
            texts.flat_map(|text| [-1, 0, 1].map(|number| (text, number)))
        };
        assert_eq!(table.prefix(&0).count(), 0);
        for first in [0, 1, 3] {
            for (text, number) in keys() {
                table.put((first, text.into(), number), ());
            }
        }
        for first in 0..5 {
            let found: Vec<_> = table.prefix(&first).map(|(key, ())| key.clone()).collect();
            let of_all = table.iter().map(|(key, ())| key.clone());
            assert_eq!(found, of_all.filter(|key| key.0 == first).collect::<Vec<_>>());
            for second in ["", "\0", "a", "aa"] {
                let found = table.prefix2(&first, second).map(|(key, ())| key.clone());
                let of_all = table.iter().map(|(key, ())| key.clone());
                let expected = of_all.filter(|key| key.0 == first && key.1 == second);
                assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            }
        }
        let last = table.prefix(&1).next_back().map(|(key, ())| key.clone());
        assert_eq!(last, Some((1, "b".to_owned(), 1)));
    }
}
