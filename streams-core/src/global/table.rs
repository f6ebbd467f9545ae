//! Rows of a topic that every process has, and how handlers read them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use super::builder::{CleanupPolicy, GlobalBuilder, GlobalSettings, OnTruncated, settings};
use super::error::{GlobalError, ReceiveError};
use super::log::GlobalChangeLog;
use super::receiver::ChangeLogReceiver;
use super::state::{GlobalState, GlobalWatch};
use crate::codec::{CodecError, Encoded, EventCodec, KeyCodec, decode};
use crate::record::{Headers, Record};
use crate::runtime::OnUnreadable;
use crate::store::rows::{Lookup, Rows};
use crate::store::{Change, is_reserved, split_table_key};

/// The most changes that are applied while the rows are locked: some 50 µs.
const CHANGES_PER_LOCK: usize = 256;

/// The rows of a topic, in memory, in every process that has such a table. Kafka Streams:
/// `GlobalKTable`.
///
/// The last record of a key is its row, and a tombstone removes it. Clones share the rows, and the
/// table ends with the last of them. All rows are in memory: nothing bounds them but the topic.
///
/// # Consistency
///
/// The rows are a prefix of each partition of the topic: a reader never sees a change of a
/// partition without all earlier ones. Between partitions there is no order, and the records of one
/// transaction appear one by one. What [`GlobalTable::read`] returns does not change while it is
/// held.
///
/// A key must stay in one partition, as a key's partitioner decides it. If partitions are added to
/// the topic, a key's later records go to another one; of two records in different partitions the
/// one that is received last wins.
///
/// # Tombstones
///
/// The broker removes a tombstone `delete.retention.ms` after it was written (by default 24 h). A
/// table that was behind for more than a quarter of that reads the whole topic again, so that a
/// deleted row does not stay. Its former rows serve meanwhile, and its memory holds both.
///
/// # Locks
///
/// A read takes a read lock for as long as one look-up lasts. The table's thread applies at most
/// 256 changes under the write lock, so a handler waits for some 50 µs at most; rows that are
/// replaced are freed after that.
///
/// # Examples
/// A table without a broker, for tests:
/// ```
/// use streams_core::global::GlobalTable;
///
/// let rates = [("EUR".to_owned(), 100), ("USD".to_owned(), 93)];
/// let rates: GlobalTable<String, i64> = GlobalTable::of_rows(rates);
/// assert_eq!(rates.get("USD").as_deref(), Some(&93));
/// assert_eq!(rates.get("GBP"), None);
/// assert!(rates.is_caught_up());
/// ```
pub struct GlobalTable<K, V, R = HashMap<K, Arc<V>>> {
    rows: Arc<RwLock<R>>,
    /// `None` for rows that never change.
    log: Option<Arc<GlobalChangeLog>>,
    watch: GlobalWatch,
    skipped: Arc<AtomicU64>,
    types: PhantomData<fn() -> (K, V)>,
}

/// A [`GlobalTable`] in the order of its keys, with [`range`](GlobalTable::range) scans; made by
/// [`GlobalTableBuilder::ordered`].
///
/// # Examples
/// ```
/// use streams_core::global::{GlobalTable, OrderedGlobalTable};
///
/// let steps = [(0, 10), (1_000, 8), (5_000, 5)];
/// let discounts: OrderedGlobalTable<u64, i64> = GlobalTable::of_rows(steps);
/// let step = discounts.range(..=1_200).pop();
/// assert_eq!(step.map(|(_, percent)| *percent), Some(8));
/// ```
pub type OrderedGlobalTable<K, V> = GlobalTable<K, V, BTreeMap<K, Arc<V>>>;

/// A global changelog or a table of one:
/// [`SourceBuilder::global`](crate::SourceBuilder::global) waits for it.
pub trait Global {
    /// What the source waits for.
    #[doc(hidden)]
    fn watch(&self) -> GlobalWatch;
}

impl Global for GlobalChangeLog {
    fn watch(&self) -> GlobalWatch {
        self.watch().clone()
    }
}

impl<K, V, R> Global for GlobalTable<K, V, R> {
    fn watch(&self) -> GlobalWatch {
        self.watch.clone()
    }
}

impl<K, V> GlobalTable<K, V> {
    /// Returns the settings of a table.
    pub fn builder() -> GlobalTableBuilder<K, V> {
        let nothing: fn(&Record) -> Result<(), ReceiveError> = |_| Ok(());
        let settings = GlobalBuilder::new(nothing).settings;
        let types = PhantomData;
        GlobalTableBuilder { settings, source: Source::Records, skips: false, types }
    }
}

impl<K, V, R: Rows<Key = K, Value = Arc<V>>> GlobalTable<K, V, R> {
    /// Returns a table of these rows, which never change: for tests of what reads it.
    pub fn of_rows(rows: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut table = R::default();
        for (key, value) in rows {
            table.insert(key, Arc::new(value));
        }
        Self {
            rows: Arc::new(RwLock::new(table)),
            log: None,
            watch: GlobalWatch::of_constant(),
            skipped: Arc::default(),
            types: PhantomData,
        }
    }

    /// Returns the value of `key`.
    pub fn get<Q: ?Sized>(&self, key: &Q) -> Option<Arc<V>>
    where
        R: Lookup<Q>,
    {
        self.lock().get_key_value(key).map(|(_, value)| Arc::clone(value))
    }

    /// Returns true if `key` has a row.
    pub fn contains_key<Q: ?Sized>(&self, key: &Q) -> bool
    where
        R: Lookup<Q>,
    {
        self.lock().get_key_value(key).is_some()
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Returns true if there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Locks the rows for several reads of one state. The table's changes wait meanwhile, and so do
    /// further readers behind a change: hold it for microseconds, and take no second one before the
    /// first is dropped.
    pub fn read(&self) -> GlobalRows<'_, K, V, R> {
        GlobalRows { rows: self.lock(), types: PhantomData }
    }

    fn lock(&self) -> RwLockReadGuard<'_, R> {
        // If a key's `Hash` or `Ord` panics in a change, the global changelog fails and says so.
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V, R> GlobalTable<K, V, R> {
    /// Returns the global changelog, with which partitions can be paused and resumed; `None` for a
    /// table [of rows](Self::of_rows).
    pub fn changelog(&self) -> Option<&GlobalChangeLog> {
        self.log.as_deref()
    }

    /// Returns true if the table has caught up: see [`GlobalChangeLog::is_caught_up`].
    pub fn is_caught_up(&self) -> bool {
        self.watch.is_caught_up()
    }

    /// Blocks until the table has caught up, at most for `timeout`.
    ///
    /// # Errors
    /// As [`GlobalChangeLog::wait_caught_up`].
    pub fn wait_caught_up(&self, timeout: Duration) -> Result<(), GlobalError> {
        self.watch.wait_caught_up(timeout)
    }

    /// Waits until the table has caught up.
    ///
    /// # Errors
    /// As [`GlobalChangeLog::caught_up`].
    pub fn caught_up(
        &self,
    ) -> impl Future<Output = Result<(), GlobalError>> + Send + use<K, V, R> + 'static {
        self.watch.clone().caught_up()
    }

    /// Returns whether the table is well: for a deployment's health check.
    pub fn state(&self) -> GlobalState {
        self.watch.state(Instant::now())
    }

    /// Returns the age of the rows: see [`GlobalChangeLog::staleness`].
    pub fn staleness(&self) -> Option<Duration> {
        self.watch.staleness(Instant::now())
    }

    /// Returns how many offsets each partition is behind: see [`GlobalChangeLog::lags`].
    pub fn lags(&self) -> BTreeMap<i32, i64> {
        self.watch.published().lags
    }

    /// Returns why the table has failed, if it has. Its rows stay as they were.
    pub fn failure(&self) -> Option<GlobalError> {
        self.watch.failure()
    }

    /// Returns how many records were left out because they are no row
    /// ([`GlobalTableBuilder::skip_undecodable`]).
    pub fn records_skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }
}

impl<K: Ord + Clone, V> OrderedGlobalTable<K, V> {
    /// Returns the rows whose keys lie in `range`, in the order of their keys.
    ///
    /// # Panics
    /// If the range ends before it starts, as [`BTreeMap::range`].
    pub fn range(&self, range: impl RangeBounds<K>) -> Vec<(K, Arc<V>)> {
        let rows = self.lock();
        rows.range(range).map(|(key, value)| (key.clone(), Arc::clone(value))).collect()
    }
}

impl<K, V, R> Clone for GlobalTable<K, V, R> {
    fn clone(&self) -> Self {
        Self {
            rows: Arc::clone(&self.rows),
            log: self.log.clone(),
            watch: self.watch.clone(),
            skipped: Arc::clone(&self.skipped),
            types: PhantomData,
        }
    }
}

impl<K, V, R> fmt::Debug for GlobalTable<K, V, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalTable")
            .field("topic", &self.watch.topic())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// The rows of a [`GlobalTable`], locked.
pub struct GlobalRows<'t, K, V, R = HashMap<K, Arc<V>>> {
    rows: RwLockReadGuard<'t, R>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V, R: Rows<Key = K, Value = Arc<V>>> GlobalRows<'_, K, V, R> {
    /// Returns the value of `key`.
    pub fn get<Q: ?Sized>(&self, key: &Q) -> Option<&V>
    where
        R: Lookup<Q>,
    {
        self.rows.get_key_value(key).map(|(_, value)| &**value)
    }

    /// Returns all rows; an [`OrderedGlobalTable`]'s in the order of their keys.
    pub fn iter<'a>(&'a self) -> impl Iterator<Item = (&'a K, &'a V)>
    where
        K: 'a,
        V: 'a,
    {
        self.rows.iter().map(|(key, value)| (key, &**value))
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns true if there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }
}

impl<K: Ord, V> GlobalRows<'_, K, V, BTreeMap<K, Arc<V>>> {
    /// Returns the rows whose keys lie in `range`, in the order of their keys.
    ///
    /// # Panics
    /// If the range ends before it starts, as [`BTreeMap::range`].
    pub fn range(&self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.range(range).map(|(key, value)| (key, &**value))
    }
}

impl<K, V, R> fmt::Debug for GlobalRows<'_, K, V, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalRows").finish_non_exhaustive()
    }
}

/// What the records of a table's topic are.
#[derive(Clone, Debug)]
enum Source {
    /// A row each: key and value.
    Records,
    /// The changes of a source's store, of which the rows of one table count.
    Changelog(String),
}

/// The settings of a [`GlobalTable`]; made by [`GlobalTable::builder`].
pub struct GlobalTableBuilder<K, V, R = HashMap<K, Arc<V>>> {
    settings: GlobalSettings,
    source: Source,
    skips: bool,
    types: PhantomData<Types<K, V, R>>,
}

/// What a builder builds, without owning any of it.
type Types<K, V, R> = fn() -> (K, V, R);

impl<K, V, R> GlobalTableBuilder<K, V, R> {
    settings!(settings);

    /// Keeps the rows in the order of their keys.
    #[must_use]
    pub fn ordered(self) -> GlobalTableBuilder<K, V, BTreeMap<K, Arc<V>>> {
        let Self { settings, source, skips, .. } = self;
        GlobalTableBuilder { settings, source, skips, types: PhantomData }
    }

    /// Reads the rows of one [`Table`](crate::Table) of another source: the topic is that source's
    /// changelog, and `table` the table's name (its field's, or what `#[table("..")]` says). Key
    /// and value types must be the table's.
    ///
    /// Each partition of the source has a table of its own: of rows with the same key in several
    /// partitions, the one that is received last wins.
    #[must_use]
    pub fn table_of_changelog(mut self, table: impl Into<String>) -> Self {
        self.source = Source::Changelog(table.into());
        self
    }

    /// Leaves out records that are no row (no key, or bytes that are no `K` or `V`), with a
    /// warning; [`GlobalTable::records_skipped`] counts them. By default such a record stops the
    /// table.
    #[must_use]
    pub const fn skip_undecodable(mut self) -> Self {
        self.skips = true;
        self
    }
}

impl<K, V, R> GlobalTableBuilder<K, V, R>
where
    K: KeyCodec + Send + Sync + 'static,
    V: for<'a> EventCodec<'a> + Send + Sync + 'static,
    R: Rows<Key = K, Value = Arc<V>> + Lookup<K> + Send + Sync + 'static,
{
    /// Checks the settings and the topic, and starts to read.
    ///
    /// Blocks until the topic is known. The rows come after that: give the table to
    /// [`SourceBuilder::global`](crate::SourceBuilder::global), or wait by
    /// [`GlobalTable::wait_caught_up`].
    ///
    /// # Errors
    /// As [`GlobalBuilder::start`].
    pub fn start(self) -> Result<GlobalTable<K, V, R>, GlobalError> {
        let rows = Arc::new(RwLock::new(R::default()));
        let skipped = Arc::new(AtomicU64::new(0));
        let receiver = TableReceiver {
            rows: Arc::clone(&rows),
            source: self.source,
            skips: self.skips,
            skipped: Arc::clone(&skipped),
            pending: Vec::new(),
            replaced: Vec::new(),
            again: None,
        };
        let log = GlobalChangeLog::start(self.settings, receiver)?;
        let watch = log.watch().clone();
        let log = Some(Arc::new(log));
        Ok(GlobalTable { rows, log, watch, skipped, types: PhantomData })
    }
}

impl<K, V, R> fmt::Debug for GlobalTableBuilder<K, V, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalTableBuilder")
            .field("settings", &self.settings)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Makes rows of records.
struct TableReceiver<K, V, R> {
    rows: Arc<RwLock<R>>,
    source: Source,
    skips: bool,
    skipped: Arc<AtomicU64>,
    /// What is decoded and not applied yet; no value removes the row.
    pending: Vec<(K, Option<Arc<V>>)>,
    /// Former values: they are freed when the rows are not locked any more.
    replaced: Vec<Arc<V>>,
    /// The rows of a topic that is read again; they replace the others when it is read.
    again: Option<R>,
}

impl<K, V, R> TableReceiver<K, V, R>
where
    K: KeyCodec,
    V: for<'a> EventCodec<'a>,
{
    /// Returns the key and the value of a record; `None` if it is none of this table's.
    fn row(&self, record: &Record) -> Result<Option<(K, Option<V>)>, CodecError> {
        let no_headers = Headers::default();
        let key = record.key().ok_or_else(|| {
            CodecError::decode::<K>("the record has no key, and a row of a table needs one")
        });
        let value = record.value();
        let (key, headers) = match &self.source {
            Source::Records => (key?, record.headers()),
            Source::Changelog(table) => {
                let (key, headers) = (key?, record.headers());
                if is_reserved(key) {
                    return Ok(None);
                }
                let change = Change { offset: record.offset(), key, value, headers };
                let (found, key) = split_table_key(&change)?;
                if found != table.as_bytes() {
                    return Ok(None);
                }
                (key, &no_headers)
            }
        };
        let key = K::decode_key(key)?;
        let value =
            value.map(|value| decode(Encoded { value: Some(value), headers })).transpose()?;
        Ok(Some((key, value)))
    }
}

impl<K, V, R> ChangeLogReceiver for TableReceiver<K, V, R>
where
    K: KeyCodec + Send + Sync + 'static,
    V: for<'a> EventCodec<'a> + Send + Sync + 'static,
    R: Rows<Key = K, Value = Arc<V>> + Lookup<K> + Send + Sync + 'static,
{
    fn receive_change(&mut self, record: &Record) -> Result<(), ReceiveError> {
        match self.row(record) {
            Ok(Some((key, value))) => self.pending.push((key, value.map(Arc::new))),
            Ok(None) => {}
            Err(error) if self.skips => {
                let (partition, offset) = (record.topic_partition(), record.offset());
                tracing::warn!(%partition, offset, %error, "left out a record that is no row");
                self.skipped.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => return Err(error.into()),
        }
        match self.pending.len() >= CHANGES_PER_LOCK {
            true => self.apply(),
            false => Ok(()),
        }
    }

    fn apply(&mut self) -> Result<(), ReceiveError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        {
            let mut locked = None;
            let rows = match &mut self.again {
                Some(again) => again,
                None => {
                    let rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
                    &mut **locked.insert(rows)
                }
            };
            for (key, value) in self.pending.drain(..) {
                let former = match value {
                    Some(value) => rows.insert(key, value),
                    None => rows.remove_entry(&key).map(|(_, former)| former),
                };
                self.replaced.extend(former);
            }
        }
        self.replaced.clear();
        Ok(())
    }

    fn caught_up(&mut self) -> Result<(), ReceiveError> {
        if let Some(mut again) = self.again.take() {
            let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut *rows, &mut again);
            // Freeing many rows takes long.
            drop(rows);
            drop(again);
        }
        Ok(())
    }

    fn begin_again(&mut self) -> Result<bool, ReceiveError> {
        self.pending.clear();
        self.again = Some(R::default());
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::TopicPartition;

    type Receiver = TableReceiver<String, i64, HashMap<String, Arc<i64>>>;

    fn receiver(source: Source, skips: bool) -> Receiver {
        let (rows, skipped) = (Arc::default(), Arc::default());
        Receiver { rows, source, skips, skipped, pending: vec![], replaced: vec![], again: None }
    }

    fn record(key: &'static [u8], value: Option<i64>) -> Record {
        let record = Record::new(TopicPartition::new("t", 0), 7).with_key(key);
        match value {
            Some(value) => record.with_value(value.to_be_bytes().to_vec()),
            None => record,
        }
    }

    fn rows(receiver: &mut Receiver) -> BTreeMap<String, i64> {
        receiver.apply().expect("it never fails");
        let rows = receiver.rows.read().expect("nothing panicked");
        rows.iter().map(|(key, value)| (key.clone(), **value)).collect()
    }

    #[test]
    fn the_last_record_of_a_key_is_its_row_and_a_tombstone_removes_it() {
        let mut receiver = receiver(Source::Records, false);
        for (key, value) in [(b"a", Some(1)), (b"b", Some(2)), (b"a", Some(3)), (b"b", None)] {
            receiver.receive_change(&record(key, value)).expect("a row");
        }
        assert_eq!(rows(&mut receiver), [("a".to_owned(), 3)].into());
    }

    #[test]
    fn many_changes_are_applied_before_the_end_is_reached() {
        let mut receiver = receiver(Source::Records, false);
        for value in 0..i64::try_from(CHANGES_PER_LOCK).expect("small") {
            receiver.receive_change(&record(b"a", Some(value))).expect("a row");
        }
        assert!(receiver.pending.is_empty());
        assert_eq!(receiver.rows.read().expect("nothing panicked").len(), 1);
    }

    #[test]
    fn of_a_changelog_one_table_counts() {
        let mut receiver = receiver(Source::Changelog("sums".to_owned()), false);
        for key in [&b"sums\0a"[..], b"names\0a", b"\0streams.opened", b"sums\0b"] {
            receiver.receive_change(&record(key, Some(1))).expect("a change");
        }
        receiver.receive_change(&record(b"sums\0b", None)).expect("a change");
        assert_eq!(rows(&mut receiver), [("a".to_owned(), 1)].into());
        let error = receiver.receive_change(&record(b"a", Some(1))).expect_err("no table's name");
        assert!(error.to_string().contains("another application's"), "{error}");
    }

    #[test]
    fn a_record_that_is_no_row_fails_or_is_counted() {
        let bad = || record(b"a", None).with_value(&b"abc"[..]);
        let keyless = Record::new(TopicPartition::new("t", 0), 7).with_value(&b"12345678"[..]);
        let mut strict = receiver(Source::Records, false);
        assert!(strict.receive_change(&bad()).is_err());
        let error = strict.receive_change(&keyless).expect_err("no key").to_string();
        assert!(error.contains("no key"), "{error}");
        let mut lenient = receiver(Source::Records, true);
        lenient.receive_change(&bad()).expect("left out");
        lenient.receive_change(&keyless).expect("left out");
        assert_eq!(lenient.skipped.load(Ordering::Relaxed), 2);
        assert!(rows(&mut lenient).is_empty());
    }

    #[test]
    fn a_table_that_begins_again_serves_its_former_rows_until_it_has_caught_up() {
        let mut receiver = receiver(Source::Records, false);
        receiver.receive_change(&record(b"a", Some(1))).expect("a row");
        receiver.receive_change(&record(b"b", Some(1))).expect("a row");
        assert_eq!(rows(&mut receiver).len(), 2);
        assert!(receiver.begin_again().expect("it can"));
        receiver.receive_change(&record(b"b", Some(2))).expect("a row");
        let former = [("a".to_owned(), 1), ("b".to_owned(), 1)].into();
        assert_eq!(rows(&mut receiver), former);
        receiver.caught_up().expect("it never fails");
        assert_eq!(rows(&mut receiver), [("b".to_owned(), 2)].into());
        receiver.receive_change(&record(b"c", Some(3))).expect("a row");
        assert_eq!(rows(&mut receiver).len(), 2);
    }

    #[test]
    fn what_is_read_under_one_lock_does_not_change() {
        let table: GlobalTable<String, i64> = GlobalTable::of_rows([("a".to_owned(), 1)]);
        let rows = table.read();
        assert_eq!((rows.get("a"), rows.get("b"), rows.len()), (Some(&1), None, 1));
        assert_eq!(rows.iter().collect::<Vec<_>>(), [(&"a".to_owned(), &1)]);
    }
}
