//! Parked events: the events of a key that wait until somebody unparks the key.
//!
//! Each is a row in the changelog, beside the store. Key: the length of the record's key (4 bytes,
//! big-endian), the record's key, the record's offset (8 bytes, big-endian): so the rows of one key
//! lie side by side, in the order in which the events run. Value: version 1, flags (1: has a
//! timestamp; 2: has a value), the timestamp (8 bytes, milliseconds since the Unix epoch, if flag
//! 1), the number and the bytes of the headers (4 bytes each), the headers, the value.

use bytes::Bytes;

use super::EventContext;
use crate::record::{Headers, Record, TopicPartition, encode_header};
use crate::store::{FrameworkTable, FrameworkTables, StateStore};

/// The events that wait.
pub(crate) const PARKED: FrameworkTable = FrameworkTable("parked");
/// The keys whose events may run: a row with an empty value each.
pub(crate) const UNPARKED: FrameworkTable = FrameworkTable("unparked");

const VERSION: u8 = 1;
const HAS_TIMESTAMP: u8 = 1;
const HAS_VALUE: u8 = 2;

/// A key whose events wait; see [`EventContext::parked`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkedKey {
    /// The bytes of the key.
    pub key: Vec<u8>,
    /// How many events of the key wait.
    pub events: usize,
    /// Whether the key is unparked: its events run, one after the other.
    pub is_unparked: bool,
}

impl<S: StateStore> EventContext<S> {
    /// Unparks a key: its events run in their order, each as an event of its own, and later events
    /// of the key go on behind them. Returns false if no event of the key waits.
    ///
    /// It is an effect of this event, mostly an interjection's: an abort takes it back, and after a
    /// crash the events run on. If an event fails again, the error policy decides about it again;
    /// [`ErrorResponse::Park`](crate::ErrorResponse::Park) parks the key as before.
    ///
    /// `key` has the bytes of the record's key: those of a `String` are its UTF-8.
    pub fn unpark(&mut self, key: impl AsRef<[u8]>) -> bool {
        let key = key.as_ref();
        let is_parked = is_parked(self.framework(), key);
        if is_parked {
            self.framework_mut().put(UNPARKED, key.to_vec(), Vec::new());
        }
        is_parked
    }

    /// Unparks all keys of the partition, as [`Self::unpark`] does. Returns their number.
    pub fn unpark_all(&mut self) -> usize {
        let parked = self.parked();
        parked.iter().filter(|parked| self.unpark(&parked.key)).count()
    }

    /// Returns the partition's keys whose events wait.
    pub fn parked(&self) -> Vec<ParkedKey> {
        let rows = self.framework();
        let mut parked: Vec<ParkedKey> = vec![];
        for (row_key, _) in rows.with_prefix(PARKED, b"") {
            let Some((key, _)) = split_row_key(row_key) else {
                continue;
            };
            match parked.last_mut().filter(|last| last.key == key) {
                Some(last) => last.events += 1,
                None => parked.push(ParkedKey {
                    key: key.to_vec(),
                    events: 1,
                    is_unparked: rows.get(UNPARKED, key).is_some(),
                }),
            }
        }
        parked
    }
}

/// Returns true if events of the key wait.
pub(crate) fn is_parked(rows: &FrameworkTables, key: &[u8]) -> bool {
    rows.len(PARKED) > 0 && rows.with_prefix(PARKED, &key_prefix(key)).next().is_some()
}

/// Parks a record. Returns false if it has no key.
pub(crate) fn park(rows: &mut FrameworkTables, record: &Record) -> bool {
    let Some(key) = record.key() else {
        return false;
    };
    rows.put(PARKED, row_key(key, record.offset()), encode(record));
    true
}

/// Removes a parked event, because it ends; the last one takes the key's mark with it.
pub(crate) fn remove(rows: &mut FrameworkTables, key: &[u8], offset: i64) {
    rows.remove(PARKED, &row_key(key, offset));
    if !is_parked(rows, key) {
        rows.remove(UNPARKED, key);
    }
}

/// Returns the first event of the first unparked key that `is_due`.
pub(crate) fn next_unparked(
    rows: &FrameworkTables,
    partition: &TopicPartition,
    is_due: impl Fn(&[u8]) -> bool,
) -> Option<Result<Record, &'static str>> {
    if rows.len(UNPARKED) == 0 {
        return None;
    }
    let (key, _) = rows.with_prefix(UNPARKED, b"").find(|(key, _)| is_due(key))?;
    let prefix = key_prefix(key);
    let (row_key, value) = rows.with_prefix(PARKED, &prefix).next()?;
    let offset = split_row_key(row_key).map(|(_, offset)| offset);
    let record = offset.and_then(|offset| decode(partition, key, offset, value));
    Some(record.ok_or("another version of the framework has parked the event: start that version"))
}

fn key_prefix(key: &[u8]) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(key.len() + 12);
    prefix.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
    prefix.extend_from_slice(key);
    prefix
}

fn row_key(key: &[u8], offset: i64) -> Vec<u8> {
    let mut row_key = key_prefix(key);
    row_key.extend_from_slice(&offset.to_be_bytes());
    row_key
}

fn split_row_key(row_key: &[u8]) -> Option<(&[u8], i64)> {
    let (length, rest) = row_key.split_first_chunk::<4>()?;
    let (key, offset) = rest.split_last_chunk::<8>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (key.len() == length).then_some((key, i64::from_be_bytes(*offset)))
}

fn encode(record: &Record) -> Vec<u8> {
    let mut headers = Vec::new();
    let mut count = 0_u32;
    for (name, value) in record.headers().iter().raw() {
        encode_header(&mut headers, name, value);
        count += 1;
    }
    let has_timestamp = if record.timestamp_ms().is_some() { HAS_TIMESTAMP } else { 0 };
    let has_value = if record.value().is_some() { HAS_VALUE } else { 0 };
    let mut row = vec![VERSION, has_timestamp | has_value];
    if let Some(timestamp_ms) = record.timestamp_ms() {
        row.extend_from_slice(&timestamp_ms.to_be_bytes());
    }
    row.extend_from_slice(&count.to_be_bytes());
    row.extend_from_slice(&u32::try_from(headers.len()).unwrap_or(u32::MAX).to_be_bytes());
    row.extend_from_slice(&headers);
    row.extend_from_slice(record.value().unwrap_or_default());
    row
}

fn decode(partition: &TopicPartition, key: &[u8], offset: i64, row: &[u8]) -> Option<Record> {
    let (&[version, flags], mut rest) = row.split_first_chunk::<2>()?;
    if version != VERSION || flags & !(HAS_TIMESTAMP | HAS_VALUE) != 0 {
        return None;
    }
    let mut record = Record::new(partition.clone(), offset).with_key(key.to_vec());
    if flags & HAS_TIMESTAMP != 0 {
        let (timestamp, behind) = rest.split_first_chunk::<8>()?;
        record = record.with_timestamp_ms(i64::from_be_bytes(*timestamp));
        rest = behind;
    }
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_be_bytes(*count)).ok()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (headers, value) = rest.split_at_checked(length)?;
    let headers = Headers::from_encoded(Bytes::copy_from_slice(headers), count);
    if headers.iter().count() != count {
        return None;
    }
    record = record.with_headers(headers);
    if flags & HAS_VALUE != 0 {
        record = record.with_value(value.to_vec());
    }
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_record_comes_back_as_it_was() {
        let at = TopicPartition::new("t", 3);
        let bare = Record::new(at.clone(), 7).with_key(&b"k"[..]);
        let full = bare
            .clone()
            .with_headers(Headers::from_pairs([("a", Some(&b"1"[..])), ("b", None)]))
            .with_timestamp_ms(-5)
            .with_value(&b""[..]);
        for record in [bare, full] {
            let row = encode(&record);
            let back = decode(&at, b"k", 7, &row).expect("it has the form");
            assert_eq!(back.headers(), record.headers());
            assert_eq!((back.key(), back.value()), (record.key(), record.value()));
            assert_eq!(back.timestamp_ms(), record.timestamp_ms());
            assert_eq!((back.offset(), back.topic_partition()), (7, &at));
            let cut = row.len() - record.value().map_or(0, <[u8]>::len);
            for end in 0..cut {
                assert!(decode(&at, b"k", 7, &row[..end]).is_none(), "{end} bytes are no row");
            }
        }
        assert!(decode(&at, b"k", 7, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_none(), "another version");
    }

    #[test]
    fn the_events_of_a_key_come_in_the_order_of_their_offsets() {
        let (at, mut rows) = (TopicPartition::new("t", 0), FrameworkTables::default());
        let record = |key: &'static str, offset| {
            Record::new(TopicPartition::new("t", 0), offset).with_key(key.as_bytes())
        };
        for (key, offset) in [("a", 300), ("a", 2), ("aa", 1), ("", 5)] {
            assert!(park(&mut rows, &record(key, offset)));
        }
        assert!(!park(&mut rows, &Record::new(at.clone(), 9)), "without a key there is no order");
        assert!(is_parked(&rows, b"a") && is_parked(&rows, b"") && !is_parked(&rows, b"b"));
        let next = |rows: &FrameworkTables| {
            let next = next_unparked(rows, &at, |_| true)?;
            Some(next.expect("it has the form").offset())
        };
        assert_eq!(next(&rows), None, "nobody has unparked a key");
        rows.put(UNPARKED, b"a".to_vec(), vec![]);
        assert_eq!(next(&rows), Some(2));
        remove(&mut rows, b"a", 2);
        assert_eq!(next(&rows), Some(300));
        remove(&mut rows, b"a", 300);
        assert_eq!((next(&rows), rows.len(UNPARKED), rows.len(PARKED)), (None, 0, 2));
    }
}
