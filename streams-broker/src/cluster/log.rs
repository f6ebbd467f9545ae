//! One partition's log: batches, producers, transactions.
//!
//! - **BRK-1** Offsets are dense: a batch begins where the one before ended.
//! - **BRK-2** The last stable offset is the first offset of the oldest open transaction, or the
//!   end; it never goes back.
//! - **BRK-3** Up to the last stable offset every transaction is decided; the aborted ones are
//!   listed.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::batch::{self, BatchHeader};
use super::codes;

/// So many batches of a producer are remembered, to tell a repetition from a gap.
const SEQUENCE_WINDOW: usize = 5;

#[derive(Clone, Debug)]
struct Batch {
    base: i64,
    next: i64,
    max_timestamp: i64,
    bytes: Bytes,
}

#[derive(Clone, Debug)]
struct Producer {
    epoch: i16,
    /// First and last sequence number, and base offset, of the last batches.
    recent: VecDeque<(i32, i32, i64)>,
}

/// An aborted transaction, as a fetch lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aborted {
    /// The producer.
    pub(crate) producer_id: i64,
    /// Its first offset.
    pub(crate) first: i64,
    /// Its marker's offset.
    pub(crate) last: i64,
}

/// One partition's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionLog {
    batches: VecDeque<Batch>,
    end: i64,
    size_bytes: usize,
    producers: BTreeMap<i64, Producer>,
    /// The first offset of each open transaction, by producer.
    open: BTreeMap<i64, i64>,
    aborted: Vec<Aborted>,
}

impl PartitionLog {
    /// The first offset.
    pub(crate) fn start(&self) -> i64 {
        self.batches.front().map_or(self.end, |batch| batch.base)
    }

    /// One past the last offset.
    pub(crate) const fn end(&self) -> i64 {
        self.end
    }

    /// The last stable offset.
    pub(crate) fn stable(&self) -> i64 {
        self.open.values().min().copied().unwrap_or(self.end)
    }

    /// What the batches take.
    pub(crate) const fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Appends a batch; returns its base offset. A repetition returns the one it had.
    ///
    /// # Errors
    /// `INVALID_PRODUCER_EPOCH` or `OUT_OF_ORDER_SEQUENCE_NUMBER`.
    pub(crate) fn append(&mut self, header: &BatchHeader, bytes: &[u8]) -> Result<i64, i16> {
        if header.producer_id >= 0
            && let Some(base) = self.check_sequence(header)?
        {
            return Ok(base);
        }
        let base = self.end;
        self.push(base, header.offsets, header.max_timestamp, batch::place(bytes, base));
        if header.producer_id >= 0 {
            self.remember(header, base);
            if header.transactional {
                self.open.entry(header.producer_id).or_insert(base);
            }
        }
        Ok(base)
    }

    fn push(&mut self, base: i64, offsets: i64, max_timestamp: i64, bytes: Bytes) {
        self.end = base + offsets;
        self.size_bytes += bytes.len();
        self.batches.push_back(Batch { base, next: self.end, max_timestamp, bytes });
    }

    /// `Some(base)` if the batch is there already.
    fn check_sequence(&self, header: &BatchHeader) -> Result<Option<i64>, i16> {
        let Some(producer) = self.producers.get(&header.producer_id) else {
            return Ok(None);
        };
        if header.producer_epoch < producer.epoch {
            return Err(codes::INVALID_PRODUCER_EPOCH);
        }
        let Some((_, last, _)) =
            producer.recent.back().filter(|_| header.producer_epoch == producer.epoch)
        else {
            let first = header.base_sequence == 0 || producer.recent.is_empty();
            return if first { Ok(None) } else { Err(codes::OUT_OF_ORDER_SEQUENCE_NUMBER) };
        };
        let range = (header.base_sequence, last_sequence(header));
        if let Some((_, _, base)) = producer.recent.iter().find(|(f, l, _)| (*f, *l) == range) {
            return Ok(Some(*base));
        }
        if header.base_sequence != next_sequence(*last) {
            return Err(codes::OUT_OF_ORDER_SEQUENCE_NUMBER);
        }
        Ok(None)
    }

    fn remember(&mut self, header: &BatchHeader, base: i64) {
        let fresh = Producer { epoch: header.producer_epoch, recent: VecDeque::new() };
        let producer = self.producers.entry(header.producer_id).or_insert(fresh);
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.recent.clear();
        }
        producer.recent.push_back((header.base_sequence, last_sequence(header), base));
        if producer.recent.len() > SEQUENCE_WINDOW {
            producer.recent.pop_front();
        }
    }

    /// Ends a producer's transaction here, and fences its earlier epochs (BRK-4).
    pub(crate) fn end_transaction(&mut self, producer: (i64, i16), commit: bool, now: i64) {
        let base = self.end;
        self.push(base, 1, now, batch::marker(base, producer, commit, now));
        let (producer_id, epoch) = producer;
        let first = self.open.remove(&producer_id);
        if let (Some(first), false) = (first, commit) {
            self.aborted.push(Aborted { producer_id, first, last: base });
        }
        let fresh = Producer { epoch, recent: VecDeque::new() };
        let known = self.producers.entry(producer_id).or_insert(fresh);
        if known.epoch < epoch {
            known.epoch = epoch;
            known.recent.clear();
        }
    }

    fn index_of(&self, offset: i64) -> usize {
        self.batches.partition_point(|batch| batch.next <= offset)
    }

    /// The batches from the one that has `offset`, up to `limit` and about `max_bytes`; the first
    /// one comes whole, however large it is.
    pub(crate) fn read(&self, offset: i64, limit: i64, max_bytes: usize) -> Bytes {
        let from = self.index_of(offset);
        let mut size = 0;
        let chosen: Vec<&Batch> = self
            .batches
            .range(from..)
            .take_while(|batch| batch.next <= limit)
            .take_while(|batch| {
                size += batch.bytes.len();
                size <= max_bytes || size == batch.bytes.len()
            })
            .collect();
        match chosen.as_slice() {
            [] => Bytes::new(),
            [one] => one.bytes.clone(),
            many => {
                let mut all = BytesMut::with_capacity(many.iter().map(|b| b.bytes.len()).sum());
                many.iter().for_each(|batch| all.extend_from_slice(&batch.bytes));
                all.freeze()
            }
        }
    }

    /// The aborted transactions that a reader from `offset` up to `limit` meets.
    pub(crate) fn aborted(&self, offset: i64, limit: i64) -> Vec<Aborted> {
        let meets = |aborted: &&Aborted| aborted.last >= offset && aborted.first < limit;
        self.aborted.iter().filter(meets).copied().collect()
    }

    /// The first offset whose timestamp may be at or after `timestamp`, to the batch, and that
    /// batch's timestamp.
    pub(crate) fn at_time(&self, timestamp: i64) -> Option<(i64, i64)> {
        let found = self.batches.iter().find(|batch| batch.max_timestamp >= timestamp)?;
        Some((found.base, found.max_timestamp))
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// If something doesn't.
    pub(crate) fn check_invariants(&self) {
        let mut next = self.start();
        for batch in &self.batches {
            assert_eq!(batch.base, next, "BRK-1: offsets are dense");
            next = batch.next;
        }
        assert_eq!(next, self.end, "BRK-1: the log ends with its last batch");
        assert!(self.stable() <= self.end, "BRK-2: what is stable is there");
    }
}

fn last_sequence(header: &BatchHeader) -> i32 {
    let more = i32::try_from(header.offsets - 1).unwrap_or(i32::MAX);
    match header.base_sequence.checked_add(more) {
        Some(last) => last,
        // Sequence numbers go on with 0 after the greatest.
        None => more - (i32::MAX - header.base_sequence) - 1,
    }
}

const fn next_sequence(last: i32) -> i32 {
    if last == i32::MAX { 0 } else { last + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(producer: (i64, i16), base_sequence: i32, offsets: i64) -> BatchHeader {
        BatchHeader {
            offsets,
            max_timestamp: 0,
            producer_id: producer.0,
            producer_epoch: producer.1,
            base_sequence,
            transactional: true,
        }
    }

    const BYTES: [u8; 61] = [0; 61];

    #[test]
    fn sequences_repetitions_and_gaps() {
        let mut log = PartitionLog::default();
        for n in 0..8 {
            assert_eq!(log.append(&header((1, 0), n * 2, 2), &BYTES), Ok(i64::from(n) * 2));
        }
        assert_eq!(log.append(&header((1, 0), 14, 2), &BYTES), Ok(14), "a repetition");
        assert_eq!(log.append(&header((1, 0), 6, 2), &BYTES), Ok(6), "five batches ago");
        assert_eq!(
            log.append(&header((1, 0), 4, 2), &BYTES),
            Err(codes::OUT_OF_ORDER_SEQUENCE_NUMBER),
            "six batches ago"
        );
        assert_eq!(
            log.append(&header((1, 0), 18, 2), &BYTES),
            Err(codes::OUT_OF_ORDER_SEQUENCE_NUMBER),
            "a gap"
        );
        assert_eq!(log.end(), 16);
        log.check_invariants();
    }

    #[test]
    fn brk2_the_oldest_open_transaction_holds_what_is_stable() {
        let mut log = PartitionLog::default();
        log.append(&header((1, 0), 0, 3), &BYTES).unwrap();
        log.append(&header((2, 0), 0, 1), &BYTES).unwrap();
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
        log.append(&header((1, 0), 0, 1), &BYTES).unwrap();
        log.end_transaction((1, 1), false, 0);
        let late = log.append(&header((1, 0), 1, 1), &BYTES);
        assert_eq!(late, Err(codes::INVALID_PRODUCER_EPOCH));
        assert_eq!(log.append(&header((1, 1), 0, 1), &BYTES), Ok(2));
    }
}
