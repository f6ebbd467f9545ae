//! Tables of the framework itself, in the changelog beside the user's store.
//!
//! A row is a key and a value of bytes in a named table. The keys in the changelog begin with
//! `\0streams.`, which no table of a store can have, so a store never sees these rows. A row that
//! an event writes belongs to that event: the event's transaction commits or undoes the row. A
//! table that this program does not know is kept as it is, so that a warm copy loses nothing of a
//! newer member's rows.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use super::{Changelog, EventSeq, UndoLog};
use crate::codec::CodecError;

/// A table of the framework, by its name: not empty, and without a zero byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameworkTable(pub(crate) &'static str);

/// One table's rows, in the order of their keys.
#[derive(Debug, Default)]
struct Rows {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
}

impl Rows {
    fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) -> Option<Vec<u8>> {
        let (key_len, value_len) = (key.len(), value.len());
        let former = self.rows.insert(key, value);
        match &former {
            Some(former) => self.bytes -= former.len(),
            None => self.bytes += key_len,
        }
        self.bytes += value_len;
        former
    }

    fn remove(&mut self, key: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let (key, value) = self.rows.remove_entry(key)?;
        self.bytes -= key.len() + value.len();
        Some((key, value))
    }
}

/// What undoes one change: the table's place, the key, and the former value.
#[derive(Debug)]
struct Former {
    table: usize,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// The framework's tables of one partition.
///
/// Without a row there is no allocation, and an event that writes none costs one comparison.
#[derive(Debug, Default)]
pub(crate) struct FrameworkTables {
    tables: Vec<(Cow<'static, str>, Rows)>,
    undo: UndoLog<Former>,
}

/// So many changes of one event are searched for duplicates without an allocation.
const SCAN_CHANGES_MAX: usize = 8;

impl FrameworkTables {
    fn place(&self, table: &str) -> Option<usize> {
        self.tables.iter().position(|(name, _)| name == table)
    }

    fn rows(&self, table: FrameworkTable) -> Option<&Rows> {
        self.place(table.0).map(|place| &self.tables[place].1)
    }

    fn place_or_new(&mut self, table: Cow<'static, str>) -> usize {
        self.place(&table).unwrap_or_else(|| {
            self.tables.push((table, Rows::default()));
            self.tables.len() - 1
        })
    }

    /// Returns the value of `key`.
    pub(crate) fn get(&self, table: FrameworkTable, key: &[u8]) -> Option<&[u8]> {
        self.rows(table)?.rows.get(key).map(Vec::as_slice)
    }

    /// Returns the rows whose keys begin with `prefix`, in the order of their keys.
    pub(crate) fn with_prefix<'t>(
        &'t self,
        table: FrameworkTable,
        prefix: &'t [u8],
    ) -> impl Iterator<Item = (&'t [u8], &'t [u8])> {
        let range = (Bound::Included(prefix), Bound::Unbounded);
        let rows = self.rows(table).into_iter();
        rows.flat_map(move |rows| rows.rows.range::<[u8], _>(range))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// Returns the number of a table's rows.
    pub(crate) fn len(&self, table: FrameworkTable) -> usize {
        self.rows(table).map_or(0, |rows| rows.rows.len())
    }

    /// Returns the bytes of a table's keys and values.
    pub(crate) fn bytes(&self, table: FrameworkTable) -> usize {
        self.rows(table).map_or(0, |rows| rows.bytes)
    }

    /// Gives `key` the value `value`, as a change of the current event.
    pub(crate) fn put(&mut self, table: FrameworkTable, key: Vec<u8>, value: Vec<u8>) {
        let place = self.place_or_new(Cow::Borrowed(table.0));
        let former = self.tables[place].1.insert(key.clone(), value);
        self.undo.push(Former { table: place, key, value: former });
    }

    /// Removes `key`, as a change of the current event. Returns false if there was no such row.
    pub(crate) fn remove(&mut self, table: FrameworkTable, key: &[u8]) -> bool {
        let Some(place) = self.place(table.0) else {
            return false;
        };
        let Some((key, value)) = self.tables[place].1.remove(key) else {
            return false;
        };
        self.undo.push(Former { table: place, key, value: Some(value) });
        true
    }

    /// Writes the changes of the current event, which is `event`, into `changelog`.
    pub(crate) fn drain_changes(
        &mut self,
        event: EventSeq,
        changelog: &mut Changelog<'_>,
    ) -> Result<(), CodecError> {
        let pending = || self.undo.pending().map(|former| (former.table, &former.key));
        let count = pending().len();
        if count == 0 {
            return Ok(());
        }
        let mut seen = HashSet::new();
        for (at, (table, key)) in pending().enumerate() {
            let is_first = match count <= SCAN_CHANGES_MAX {
                true => !pending().take(at).any(|other| other == (table, key)),
                false => seen.insert((table, key)),
            };
            if is_first {
                let (name, rows) = &self.tables[table];
                changelog.framework_change(name, key, rows.rows.get(key).map(Vec::as_slice))?;
            }
        }
        self.undo.assign(event);
        Ok(())
    }

    /// Undoes the changes of `event`, of later events, and of the current one, latest first; calls
    /// `undone` with each of their keys once the row is what it was.
    pub(crate) fn undo_from(
        &mut self,
        event: EventSeq,
        mut undone: impl FnMut(&str, &[u8], Option<&[u8]>),
    ) {
        while let Some(Former { table, key, value }) = self.undo.pop_from(event) {
            let (name, rows) = &mut self.tables[table];
            undone(name, &key, value.as_deref());
            match value {
                Some(value) => drop(rows.insert(key, value)),
                None => drop(rows.remove(&key)),
            }
        }
    }

    /// Keeps the changes of events before `event`, which are committed; calls `committed` with each
    /// of their keys, and with the value that the row has by now.
    pub(crate) fn commit_before(
        &mut self,
        event: EventSeq,
        mut committed: impl FnMut(&str, &[u8], Option<&[u8]>),
    ) {
        while let Some(Former { table, key, .. }) = self.undo.pop_before(event) {
            let (name, rows) = &self.tables[table];
            committed(name, &key, rows.rows.get(&key).map(Vec::as_slice));
        }
    }

    /// Applies one row of the changelog, while no event is processed.
    pub(crate) fn restore(&mut self, table: &str, key: &[u8], value: Option<&[u8]>) {
        match value {
            Some(value) => {
                let place = match self.place(table) {
                    Some(place) => place,
                    None => self.place_or_new(Cow::Owned(table.to_owned())),
                };
                self.tables[place].1.insert(key.to_vec(), value.to_vec());
            }
            None => {
                if let Some(place) = self.place(table) {
                    self.tables[place].1.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::{Headers, Outputs};
    use crate::store::{Change, framework_row};

    const JOBS: FrameworkTable = FrameworkTable("jobs");
    const PARKED: FrameworkTable = FrameworkTable("parked");

    /// Ends an event: what its changes write into the changelog is restored into `copy`.
    fn end(tables: &mut FrameworkTables, event: u64, copy: &mut FrameworkTables) -> usize {
        let (mut outputs, topic) = (Outputs::default(), Arc::from("changelog"));
        let mut changelog = Changelog::new(&mut outputs, &topic, 0);
        tables.drain_changes(EventSeq(event), &mut changelog).expect("bytes have a form");
        for output in outputs.iter() {
            let headers = Headers::default();
            let key = output.key.expect("a key");
            let change = Change { offset: 0, key, value: output.value, headers: &headers };
            assert!(crate::store::is_reserved(key), "a store would get the row");
            let (table, key) = framework_row(change.key).expect("a row of the framework");
            copy.restore(table, key, change.value);
        }
        outputs.len()
    }

    fn rows(tables: &FrameworkTables, table: FrameworkTable) -> Vec<(Vec<u8>, Vec<u8>)> {
        tables.with_prefix(table, b"").map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
    }

    #[test]
    fn rows_are_logged_once_an_event_and_restored_by_table() {
        let (mut tables, mut copy) = (FrameworkTables::default(), FrameworkTables::default());
        assert_eq!(end(&mut tables, 1, &mut copy), 0, "an event without rows writes none");
        tables.put(JOBS, b"a\0b".to_vec(), b"1".to_vec());
        tables.put(JOBS, b"a\0b".to_vec(), b"2".to_vec());
        tables.put(PARKED, b"a\0b".to_vec(), b"3".to_vec());
        assert_eq!(end(&mut tables, 2, &mut copy), 2);
        assert_eq!(copy.get(JOBS, b"a\0b"), Some(&b"2"[..]));
        assert_eq!(copy.get(PARKED, b"a\0b"), Some(&b"3"[..]));
        assert!(tables.remove(PARKED, b"a\0b"));
        assert!(!tables.remove(PARKED, b"a\0b"), "it is gone");
        assert_eq!(end(&mut tables, 3, &mut copy), 1);
        assert_eq!((copy.len(PARKED), copy.bytes(PARKED)), (0, 0));
        for number in 0..20_u8 {
            tables.put(JOBS, vec![number % 10], vec![number]);
        }
        assert_eq!(end(&mut tables, 4, &mut copy), 10, "each key once");
        assert_eq!(rows(&copy, JOBS), rows(&tables, JOBS));
        assert_eq!((copy.len(JOBS), copy.bytes(JOBS)), (11, 10 * 2 + 4));
    }

    #[test]
    fn an_abort_takes_rows_back_and_a_commit_keeps_them() {
        let (mut tables, mut copy) = (FrameworkTables::default(), FrameworkTables::default());
        tables.put(JOBS, b"a".to_vec(), b"1".to_vec());
        end(&mut tables, 1, &mut copy);
        tables.put(JOBS, b"a".to_vec(), b"2".to_vec());
        tables.put(JOBS, b"b".to_vec(), b"3".to_vec());
        end(&mut tables, 2, &mut copy);
        tables.remove(JOBS, b"a");
        let mut seen = vec![];
        tables.commit_before(EventSeq(2), |table, key, _| {
            seen.push((table.to_owned(), key.to_vec()));
        });
        assert_eq!(seen, [("jobs".to_owned(), b"a".to_vec())]);
        tables.undo_from(EventSeq(3), |_, _, _| {});
        assert_eq!(tables.get(JOBS, b"a"), Some(&b"2"[..]), "the current event alone is undone");
        let mut undone = vec![];
        tables.undo_from(EventSeq(0), |_, key, former| {
            undone.push((key.to_vec(), former.map(<[u8]>::to_vec)));
        });
        assert_eq!(undone, [(b"b".to_vec(), None), (b"a".to_vec(), Some(b"1".to_vec()))]);
        assert_eq!(rows(&tables, JOBS), [(b"a".to_vec(), b"1".to_vec())]);
        assert_eq!(tables.bytes(JOBS), 2);
    }

    #[test]
    fn a_prefix_finds_its_rows_and_no_others() {
        let mut tables = FrameworkTables::default();
        for key in ["a", "ab", "abc", "b"] {
            tables.put(JOBS, key.into(), vec![]);
        }
        let found: Vec<_> = tables.with_prefix(JOBS, b"ab").map(|(key, _)| key.to_vec()).collect();
        assert_eq!(found, [b"ab".to_vec(), b"abc".to_vec()]);
        assert_eq!(tables.with_prefix(PARKED, b"").count(), 0);
    }
}
