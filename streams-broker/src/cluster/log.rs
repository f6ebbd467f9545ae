//! One partition's log: batches, segments, producers, transactions.
//!
//! - **BRK-1** Offsets are given out once, in order, without a gap: a batch begins where the one
//!   before ended. Compaction and retention take batches out; what stays keeps its offsets.
//! - **BRK-2** The last stable offset is the first offset of the oldest open transaction, or the
//!   end; it never goes back.
//! - **BRK-3** Up to the last stable offset every transaction is decided; the aborted ones are
//!   listed.
//!
//! A segment is a stretch of batches. The last one is the active one, which is written to; what is
//! compacted or deleted is a segment at a time, as in Kafka.

mod restore;

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

pub(super) use self::restore::{Shape, end_of, end_of_state};
use super::batch::{self, BatchHeader};
use super::configs::TopicConfig;
use super::producers::{Origin, Producers};

#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) base: i64,
    pub(super) next: i64,
    pub(super) max_timestamp: i64,
    pub(super) bytes: Bytes,
}

impl Batch {
    /// What it takes in memory.
    pub(super) const fn size(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }
}

/// A stretch of the log, up to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub(super) struct Segment {
    pub(super) base: i64,
    /// The size of its batches, as Kafka counts it.
    pub(super) bytes: usize,
    /// The timestamp of its first batch, from which `segment.ms` counts.
    pub(super) first_timestamp: i64,
    pub(super) max_timestamp: i64,
}

/// An aborted transaction, as a fetch lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub(crate) struct Aborted {
    /// The producer.
    pub(crate) producer_id: i64,
    /// Its first offset.
    pub(crate) first: i64,
    /// Its marker's offset.
    pub(crate) last: i64,
}

/// A batch that was written, or was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Its first offset.
    pub(crate) base: i64,
    /// The broker's time, where the topic wants it.
    pub(crate) append_time: Option<i64>,
    /// What it takes in memory; 0 for a repetition.
    pub(crate) size: usize,
}

/// One partition's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionLog {
    pub(super) batches: VecDeque<Batch>,
    pub(super) segments: VecDeque<Segment>,
    pub(super) start: i64,
    end: i64,
    pub(super) size_bytes: usize,
    pub(super) producers: Producers,
    /// In the order of their markers.
    pub(super) aborted: Vec<Aborted>,
    /// Up to here it is compacted.
    pub(super) clean_to: i64,
    /// When the tombstones and markers of a compacted batch may go, by its base offset.
    pub(super) horizons: BTreeMap<i64, i64>,
}

impl PartitionLog {
    /// The first offset.
    pub(crate) const fn start(&self) -> i64 {
        self.start
    }

    /// One past the last offset.
    pub(crate) const fn end(&self) -> i64 {
        self.end
    }

    /// The last stable offset.
    pub(crate) fn stable(&self) -> i64 {
        self.producers.first_open().unwrap_or(self.end).max(self.start)
    }

    /// What the batches take in memory.
    pub(crate) const fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// What is known of the producers.
    pub(crate) const fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Appends a batch; a repetition is told where it is already.
    ///
    /// # Errors
    /// `INVALID_PRODUCER_EPOCH`, `OUT_OF_ORDER_SEQUENCE_NUMBER` or `INVALID_TXN_STATE`.
    pub(crate) fn append(
        &mut self,
        (header, bytes): (&BatchHeader, &[u8]),
        origin: Origin,
        config: &TopicConfig,
        now: i64,
    ) -> Result<Written, i16> {
        let append_time = config.log_append_time.then_some(now);
        if header.producer_id >= 0 {
            if let Some(known) = self.producers.repeated(header) {
                let append_time = append_time.map(|_| known.timestamp);
                return Ok(Written { base: known.base, append_time, size: 0 });
            }
            self.producers.check(header, origin)?;
        }
        let base = self.end;
        let timestamp = append_time.unwrap_or(header.max_timestamp);
        self.roll_if_due(bytes.len(), timestamp, config);
        let bytes = batch::place(bytes, base, append_time);
        let size = self.push(header.offsets, timestamp, bytes);
        if header.producer_id >= 0 {
            self.producers.append(header, base, timestamp);
        }
        Ok(Written { base, append_time, size })
    }

    /// Begins a new segment, if the active one is full or old.
    fn roll_if_due(&mut self, bytes: usize, timestamp: i64, config: &TopicConfig) {
        let Some(active) = self.segments.back().filter(|active| active.bytes > 0) else {
            return;
        };
        let full = (active.bytes + bytes) as u64 > config.segment_bytes;
        let old = timestamp.saturating_sub(active.first_timestamp) > config.segment_ms;
        if full || old {
            self.roll();
        }
    }

    /// Begins a new segment.
    pub(super) fn roll(&mut self) {
        let segment = Segment {
            base: self.end,
            bytes: 0,
            first_timestamp: i64::MAX,
            max_timestamp: i64::MIN,
        };
        self.segments.push_back(segment);
    }

    fn push(&mut self, offsets: i64, max_timestamp: i64, bytes: Bytes) -> usize {
        if self.segments.is_empty() {
            self.roll();
        }
        if let Some(active) = self.segments.back_mut() {
            if active.bytes == 0 {
                active.first_timestamp = max_timestamp;
            }
            active.bytes += bytes.len();
            active.max_timestamp = active.max_timestamp.max(max_timestamp);
        }
        let base = self.end;
        self.end += offsets;
        let batch = Batch { base, next: self.end, max_timestamp, bytes };
        let size = batch.size();
        self.size_bytes += size;
        self.batches.push_back(batch);
        size
    }

    /// Ends a producer's transaction here, and fences its earlier epochs (BRK-4).
    pub(crate) fn end_transaction(&mut self, producer: (i64, i16), commit: bool, now: i64) {
        let base = self.end;
        self.push(1, now, batch::marker(base, producer, commit, now));
        if let (Some(first), false) = (self.producers.end(producer, now), commit) {
            self.aborted.push(Aborted { producer_id: producer.0, first, last: base });
        }
    }

    /// Forgets producers without an open transaction that were last heard of before then.
    pub(crate) fn expire_producers(&mut self, before: i64) {
        self.producers.expire(before);
    }

    /// The first batch that ends after an offset.
    pub(super) fn index_of(&self, offset: i64) -> usize {
        self.batches.partition_point(|batch| batch.next <= offset)
    }

    /// The batches from the one that has `offset`, up to `limit` and `max_bytes`; and where they
    /// end. The first one comes whole however large it is, if at least one is asked for.
    pub(crate) fn read(
        &self,
        offset: i64,
        limit: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> (Bytes, i64) {
        let from = self.index_of(offset);
        let mut size = 0;
        let chosen = self.batches.range(from..).take_while(|batch| {
            let first = size == 0 && at_least_one;
            size += batch.bytes.len();
            batch.next <= limit && (first || size <= max_bytes)
        });
        let chosen: Vec<&Batch> = chosen.collect();
        match chosen.as_slice() {
            [] => (Bytes::new(), offset),
            [one] => (one.bytes.clone(), one.next),
            [.., last] => {
                let size = chosen.iter().map(|batch| batch.bytes.len()).sum();
                let mut all = BytesMut::with_capacity(size);
                chosen.iter().for_each(|batch| all.extend_from_slice(&batch.bytes));
                (all.freeze(), last.next)
            }
        }
    }

    /// How many bytes [`PartitionLog::read`] would give, without giving them.
    pub(crate) fn readable(&self, offset: i64, limit: i64, max_bytes: usize) -> usize {
        let from = self.index_of(offset);
        let mut size = 0;
        for batch in self.batches.range(from..).take_while(|batch| batch.next <= limit) {
            size += batch.bytes.len();
            if size >= max_bytes {
                return max_bytes;
            }
        }
        size
    }

    /// The aborted transactions that a reader from `offset` up to `limit` meets.
    pub(crate) fn aborted(&self, offset: i64, limit: i64) -> Vec<Aborted> {
        let from = self.aborted.partition_point(|aborted| aborted.last < offset);
        let meets = |aborted: &&Aborted| aborted.first < limit;
        self.aborted[from..].iter().filter(meets).copied().collect()
    }

    /// The first record at or after a timestamp: its offset and its timestamp.
    pub(crate) fn at_time(&self, timestamp: i64) -> Option<(i64, i64)> {
        let from = self.index_of(self.start);
        let late = |batch: &&Batch| batch.max_timestamp >= timestamp;
        let mut found = self.batches.range(from..).filter(late);
        found.find_map(|batch| self.record_at(batch, timestamp))
    }

    /// The record with the latest timestamp: its offset and its timestamp.
    pub(crate) fn latest_time(&self) -> Option<(i64, i64)> {
        let from = self.index_of(self.start);
        let latest = self.batches.range(from..).map(|batch| batch.max_timestamp).max()?;
        self.at_time(latest)
    }

    fn record_at(&self, batch: &Batch, timestamp: i64) -> Option<(i64, i64)> {
        let header = batch::header(&batch.bytes)?;
        if header.is_log_append_time() {
            return Some((batch.base.max(self.start), batch.max_timestamp));
        }
        let expanded = batch::expand(&header, &batch.bytes)?;
        let records = batch::records(&header, &expanded).map_while(Result::ok);
        let mut placed = records.map(|record| {
            let offset = batch.base + i64::from(record.offset_delta);
            (offset, header.base_timestamp.wrapping_add(record.timestamp_delta))
        });
        placed.find(|(offset, time)| *offset >= self.start && *time >= timestamp)
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// If something doesn't.
    pub(crate) fn check_invariants(&self) {
        let mut next = self.batches.front().map_or(self.end, |batch| batch.base);
        let mut size = 0;
        for batch in &self.batches {
            let taken_out = self.start.max(self.clean_to);
            let follows = batch.base == next || (next < batch.base && next <= taken_out);
            assert!(follows, "BRK-1: offset {next} is there, or was taken out");
            next = batch.next;
            size += batch.size();
        }
        assert!(next <= self.end && self.start <= self.end, "BRK-1: the log ends with its end");
        assert_eq!(size, self.size_bytes, "what is held is counted");
        let bytes: usize = self.segments.iter().map(|segment| segment.bytes).sum();
        let held: usize = self.batches.iter().map(|batch| batch.bytes.len()).sum();
        assert_eq!(bytes, held, "each batch is in a segment");
        let stable = self.stable();
        assert!((self.start..=self.end).contains(&stable), "BRK-2: what is stable is there");
        let ordered = self.aborted.is_sorted_by_key(|aborted| aborted.last);
        assert!(ordered, "BRK-3: aborted transactions are listed in order");
        self.producers.check_invariants();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, codes};
    use super::*;

    fn header(producer: (i64, i16), base_sequence: i32, offsets: i64) -> BatchHeader {
        let (producer_id, producer_epoch) = producer;
        let header = BatchHeader::of_producer(producer_id, true);
        BatchHeader { offsets, producer_epoch, base_sequence, ..header }
    }

    fn append(log: &mut PartitionLog, header: &BatchHeader) -> Result<i64, i16> {
        let config = TopicConfig::new(&Settings::default());
        let written = log.append((header, &[0; 61]), Origin::Client, &config, 0);
        written.map(|written| written.base)
    }

    #[test]
    fn brk1_a_batch_begins_where_the_one_before_it_ended() {
        let mut log = PartitionLog::default();
        assert_eq!(append(&mut log, &header((1, 0), 0, 3)), Ok(0));
        assert_eq!(append(&mut log, &header((2, 0), 0, 2)), Ok(3));
        let gap = append(&mut log, &header((2, 0), 5, 1));
        assert_eq!(gap, Err(codes::OUT_OF_ORDER_SEQUENCE_NUMBER));
        log.end_transaction((2, 0), true, 0);
        assert_eq!(append(&mut log, &header((1, 0), 3, 1)), Ok(6), "a marker takes one offset");
        assert_eq!(append(&mut log, &header((1, 0), 3, 1)), Ok(6), "a repetition takes none");
        assert_eq!(log.end(), 7, "a refused batch takes none");
        log.check_invariants();
    }

    #[test]
    #[should_panic(expected = "BRK-1")]
    fn brk1_a_gap_between_batches_is_found_out() {
        let mut log = PartitionLog::default();
        for sequence in 0..3 {
            append(&mut log, &header((1, 0), sequence, 1)).unwrap();
        }
        log.check_invariants();
        log.batches.remove(1);
        log.check_invariants();
    }

    #[test]
    fn brk2_the_oldest_open_transaction_holds_what_is_stable() {
        let mut log = PartitionLog::default();
        append(&mut log, &header((1, 0), 0, 3)).unwrap();
        append(&mut log, &header((2, 0), 0, 1)).unwrap();
        assert_eq!(log.stable(), 0);
        log.end_transaction((1, 0), false, 0);
        assert_eq!(log.stable(), 3, "the second one is still open");
        log.end_transaction((2, 0), true, 0);
        assert_eq!(log.stable(), 6);
        assert_eq!(log.aborted(0, 6), [Aborted { producer_id: 1, first: 0, last: 4 }]);
        assert!(log.aborted(5, 6).is_empty());
        log.check_invariants();
    }

    #[test]
    fn brk4_an_earlier_epoch_appends_nothing() {
        let mut log = PartitionLog::default();
        append(&mut log, &header((1, 0), 0, 1)).unwrap();
        log.end_transaction((1, 1), false, 0);
        let late = append(&mut log, &header((1, 0), 1, 1));
        assert_eq!(late, Err(codes::INVALID_PRODUCER_EPOCH));
        assert_eq!(append(&mut log, &header((1, 1), 0, 1)), Ok(2));
    }

    #[test]
    fn a_read_has_whole_batches_and_at_least_one_if_asked() {
        let mut log = PartitionLog::default();
        for n in 0..3 {
            append(&mut log, &header((1, 0), n, 1)).unwrap();
        }
        for (offset, limit, max_bytes, at_least_one, expected) in [
            (0, 3, 1_000, false, (183, 3)),
            (1, 3, 1_000, false, (122, 3)),
            (0, 2, 1_000, false, (122, 2)),
            (0, 3, 122, false, (122, 2)),
            (0, 3, 60, false, (0, 0)),
            (0, 3, 60, true, (61, 1)),
            (0, 0, 60, true, (0, 0)),
            (3, 3, 1_000, true, (0, 3)),
        ] {
            let (bytes, end) = log.read(offset, limit, max_bytes, at_least_one);
            assert_eq!((bytes.len(), end), expected, "{offset}..{limit} {max_bytes}");
        }
    }
}
