//! One partition's log: batches, producers, transactions.
//!
//! - **BRK-1** Offsets are dense: a batch begins where the one before ended.
//! - **BRK-2** The last stable offset is the first offset of the oldest open transaction, or the
//!   end; it never goes back.
//! - **BRK-3** Up to the last stable offset every transaction is decided; the aborted ones are
//!   listed.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::batch::{self, BatchHeader};
use super::producers::{Origin, Producers};

#[derive(Clone, Debug)]
struct Batch {
    base: i64,
    next: i64,
    max_timestamp: i64,
    bytes: Bytes,
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
    producers: Producers,
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
        self.producers.first_open().unwrap_or(self.end)
    }

    /// What the batches take.
    pub(crate) const fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// What is known of the producers.
    pub(crate) const fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Appends a batch; returns its base offset. A repetition returns the one it had.
    ///
    /// # Errors
    /// `INVALID_PRODUCER_EPOCH`, `OUT_OF_ORDER_SEQUENCE_NUMBER` or `INVALID_TXN_STATE`.
    pub(crate) fn append(
        &mut self,
        header: &BatchHeader,
        bytes: &[u8],
        origin: Origin,
    ) -> Result<i64, i16> {
        if header.producer_id >= 0 {
            if let Some(known) = self.producers.repeated(header) {
                return Ok(known.base);
            }
            self.producers.check(header, origin)?;
        }
        let base = self.end;
        self.push(base, header.offsets, header.max_timestamp, batch::place(bytes, base));
        if header.producer_id >= 0 {
            self.producers.append(header, base, header.max_timestamp);
        }
        Ok(base)
    }

    fn push(&mut self, base: i64, offsets: i64, max_timestamp: i64, bytes: Bytes) {
        self.end = base + offsets;
        self.size_bytes += bytes.len();
        self.batches.push_back(Batch { base, next: self.end, max_timestamp, bytes });
    }

    /// Ends a producer's transaction here, and fences its earlier epochs (BRK-4).
    pub(crate) fn end_transaction(&mut self, producer: (i64, i16), commit: bool, now: i64) {
        let base = self.end;
        self.push(base, 1, now, batch::marker(base, producer, commit, now));
        if let (Some(first), false) = (self.producers.end(producer, now), commit) {
            self.aborted.push(Aborted { producer_id: producer.0, first, last: base });
        }
    }

    /// Forgets producers without an open transaction that were last heard of before then.
    pub(crate) fn expire_producers(&mut self, before: i64) {
        self.producers.expire(before);
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
        self.producers.check_invariants();
    }
}

#[cfg(test)]
mod tests {
    use super::super::codes;
    use super::*;

    fn header(producer: (i64, i16), base_sequence: i32, offsets: i64) -> BatchHeader {
        let (producer_id, producer_epoch) = producer;
        let header = BatchHeader::of_producer(producer_id);
        BatchHeader { offsets, producer_epoch, base_sequence, transactional: true, ..header }
    }

    fn append(log: &mut PartitionLog, header: &BatchHeader) -> Result<i64, i16> {
        log.append(header, &BYTES, Origin::Client)
    }

    const BYTES: [u8; 61] = [0; 61];

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
}
