//! What a partition remembers of its producers: epochs, sequences, open transactions.
//!
//! A batch is a repetition if its sequence numbers are those of one of the last five, and else has
//! to follow the last one. Of a producer that is not known any sequence is taken, as Kafka does it:
//! its records may have gone by retention.

use std::collections::{BTreeMap, VecDeque};

use super::batch::BatchHeader;
use super::codes;

/// So many batches of a producer are remembered, to tell a repetition from a gap.
const SEQUENCE_WINDOW: usize = 5;
const NO_EPOCH: i16 = -1;
/// The epoch of the one coordinator that there is.
const COORDINATOR_EPOCH: i32 = 0;

/// A batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub(crate) struct Appended {
    first_sequence: i32,
    last_sequence: i32,
    /// Its first offset.
    pub(crate) base: i64,
    /// Its latest timestamp.
    pub(crate) timestamp: i64,
}

/// A producer, as the partition knows it.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    recent: VecDeque<Appended>,
    pub(crate) last_timestamp: i64,
    /// -1 before the first marker.
    pub(crate) coordinator_epoch: i32,
    /// The first offset of its open transaction.
    pub(crate) open: Option<i64>,
}

impl Producer {
    const fn unknown() -> Self {
        Self {
            epoch: NO_EPOCH,
            recent: VecDeque::new(),
            last_timestamp: -1,
            coordinator_epoch: -1,
            open: None,
        }
    }

    /// The last sequence number of its epoch.
    pub(crate) fn last_sequence(&self) -> Option<i32> {
        self.recent.back().map(|batch| batch.last_sequence)
    }

    fn enter(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.recent.clear();
        }
    }
}

/// How a batch that begins a transaction here came in: KIP-890 knows more of its first sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An idempotent producer, or a transactional one of the older protocol.
    Client,
    /// A transactional one of KIP-890's protocol, with the first batch of its transaction here.
    Begins,
}

/// The producers of a partition.
#[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize)]
pub(crate) struct Producers {
    by_id: BTreeMap<i64, Producer>,
    /// The open transactions: first offset, producer.
    open: BTreeMap<i64, i64>,
}

impl Producers {
    /// The batch of which this one is a repetition.
    pub(crate) fn repeated(&self, header: &BatchHeader) -> Option<Appended> {
        let producer = self.by_id.get(&header.producer_id)?;
        let range = (header.base_sequence, header.last_sequence());
        let same = |batch: &&Appended| (batch.first_sequence, batch.last_sequence) == range;
        let known = producer.recent.iter().filter(|_| producer.epoch == header.producer_epoch);
        known.copied().find(|batch| same(&batch))
    }

    /// Whether the producer may append this batch now.
    ///
    /// # Errors
    /// `INVALID_PRODUCER_EPOCH`, `OUT_OF_ORDER_SEQUENCE_NUMBER` or `INVALID_TXN_STATE`.
    pub(crate) fn check(&self, header: &BatchHeader, origin: Origin) -> Result<(), i16> {
        let unknown = Producer::unknown();
        let producer = self.by_id.get(&header.producer_id).unwrap_or(&unknown);
        if header.producer_epoch < producer.epoch {
            return Err(codes::INVALID_PRODUCER_EPOCH);
        }
        let sequence = header.base_sequence;
        let in_order = match producer.last_sequence() {
            None if origin == Origin::Begins => sequence == 0,
            _ if producer.epoch == NO_EPOCH => true,
            _ if header.producer_epoch != producer.epoch => sequence == 0,
            None => sequence == 0,
            Some(last) => sequence == next_sequence(last),
        };
        if !in_order {
            return Err(codes::OUT_OF_ORDER_SEQUENCE_NUMBER);
        }
        if producer.open.is_some() && !header.is_transactional() {
            return Err(codes::INVALID_TXN_STATE);
        }
        Ok(())
    }

    /// Takes note of a batch at `base`.
    pub(crate) fn append(&mut self, header: &BatchHeader, base: i64, timestamp: i64) {
        let producer = self.by_id.entry(header.producer_id).or_insert_with(Producer::unknown);
        producer.enter(header.producer_epoch);
        if producer.recent.len() == SEQUENCE_WINDOW {
            producer.recent.pop_front();
        }
        producer.recent.push_back(Appended {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base,
            timestamp,
        });
        producer.last_timestamp = timestamp;
        if header.is_transactional() && producer.open.is_none() {
            producer.open = Some(base);
            self.open.insert(base, header.producer_id);
        }
    }

    /// Takes note of a marker, which fences earlier epochs (BRK-4); returns where the transaction
    /// began here.
    pub(crate) fn end(&mut self, (id, epoch): (i64, i16), now: i64) -> Option<i64> {
        let producer = self.by_id.entry(id).or_insert_with(Producer::unknown);
        if producer.epoch < epoch {
            producer.enter(epoch);
        }
        producer.coordinator_epoch = COORDINATOR_EPOCH;
        producer.last_timestamp = now;
        let first = producer.open.take()?;
        self.open.remove(&first);
        Some(first)
    }

    /// Whether the producer has a transaction open here, in this epoch.
    pub(crate) fn is_open(&self, id: i64, epoch: i16) -> bool {
        self.by_id.get(&id).is_some_and(|known| known.open.is_some() && known.epoch == epoch)
    }

    /// Where the oldest open transaction begins.
    pub(crate) fn first_open(&self) -> Option<i64> {
        self.open.first_key_value().map(|(first, _)| *first)
    }

    /// All producers, by their id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, producer))
    }

    /// Forgets the producers without an open transaction that were last heard of before then.
    pub(crate) fn expire(&mut self, before: i64) {
        self.by_id.retain(|_, known| known.open.is_some() || known.last_timestamp > before);
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// If something doesn't.
    pub(crate) fn check_invariants(&self) {
        for (id, producer) in &self.by_id {
            assert!(producer.recent.len() <= SEQUENCE_WINDOW, "a window is bounded");
            let listed = producer.open.is_none_or(|first| self.open.get(&first) == Some(id));
            assert!(listed, "BRK-2: an open transaction holds what is stable");
        }
        let open = self.by_id.values().filter(|producer| producer.open.is_some()).count();
        assert_eq!(open, self.open.len(), "BRK-2: what is stable is held by open transactions");
    }
}

/// Sequence numbers go on with 0 after the greatest.
const fn next_sequence(last: i32) -> i32 {
    if last == i32::MAX { 0 } else { last + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, base_sequence: i32, offsets: i64) -> BatchHeader {
        BatchHeader {
            producer_epoch: epoch,
            base_sequence,
            offsets,
            ..BatchHeader::of_producer(1, false)
        }
    }

    /// Appends; `Ok(None)` is appended, `Ok(Some(base))` a repetition.
    fn append(
        producers: &mut Producers,
        end: &mut i64,
        header: &BatchHeader,
    ) -> Result<Option<i64>, i16> {
        if let Some(known) = producers.repeated(header) {
            return Ok(Some(known.base));
        }
        producers.check(header, Origin::Client)?;
        producers.append(header, *end, 5);
        *end += header.offsets;
        producers.check_invariants();
        Ok(None)
    }

    #[test]
    fn sequences_repetitions_and_gaps() {
        let (mut known, mut end) = (Producers::default(), 0);
        let out_of_order = Err(codes::OUT_OF_ORDER_SEQUENCE_NUMBER);
        for n in 0..8 {
            assert_eq!(append(&mut known, &mut end, &batch(0, n * 2, 2)), Ok(None));
        }
        let cases = [
            ("a repetition", batch(0, 14, 2), Ok(Some(14))),
            ("five batches ago", batch(0, 6, 2), Ok(Some(6))),
            ("six batches ago", batch(0, 4, 2), out_of_order),
            ("part of a known one", batch(0, 14, 1), out_of_order),
            ("a gap", batch(0, 18, 2), out_of_order),
            ("a new epoch that does not begin at 0", batch(1, 16, 2), out_of_order),
            ("a new epoch", batch(1, 0, 2), Ok(None)),
            ("the old epoch's repetition", batch(0, 14, 2), Err(codes::INVALID_PRODUCER_EPOCH)),
            ("the new epoch goes on", batch(1, 2, 2), Ok(None)),
        ];
        for (name, header, expected) in cases {
            assert_eq!(append(&mut known, &mut end, &header), expected, "{name}");
        }
    }

    #[test]
    fn sequences_go_on_with_0_after_the_greatest() {
        let (mut known, mut end) = (Producers::default(), 0);
        let last = batch(0, i32::MAX - 1, 2);
        assert_eq!(last.last_sequence(), i32::MAX);
        assert_eq!(append(&mut known, &mut end, &last), Ok(None), "unknown: any sequence");
        assert_eq!(append(&mut known, &mut end, &batch(0, 0, 2)), Ok(None));
        let over = batch(0, i32::MAX, 3);
        assert_eq!(over.last_sequence(), 1);
    }

    #[test]
    fn with_kip_890_an_unknown_producer_begins_at_0() {
        let known = Producers::default();
        let (zero, one) = (batch(0, 0, 1), batch(0, 1, 1));
        assert_eq!(known.check(&one, Origin::Client), Ok(()));
        let refused = known.check(&one, Origin::Begins);
        assert_eq!(refused, Err(codes::OUT_OF_ORDER_SEQUENCE_NUMBER));
        assert_eq!(known.check(&zero, Origin::Begins), Ok(()));
    }

    #[test]
    fn brk4_a_marker_fences_the_epochs_before_it() {
        let mut known = Producers::default();
        known.end((1, 3), 0);
        assert_eq!(
            known.check(&batch(2, 0, 1), Origin::Client),
            Err(codes::INVALID_PRODUCER_EPOCH)
        );
        let late = known.check(&batch(3, 1, 1), Origin::Client);
        assert_eq!(late, Err(codes::OUT_OF_ORDER_SEQUENCE_NUMBER));
        assert_eq!(known.check(&batch(3, 0, 1), Origin::Client), Ok(()));
    }

    #[test]
    fn what_is_open_is_not_forgotten() {
        let (mut known, mut end) = (Producers::default(), 0);
        let open = BatchHeader::of_producer(1, true);
        append(&mut known, &mut end, &open).unwrap();
        let plain = known.check(&batch(0, 1, 1), Origin::Client);
        assert_eq!(plain, Err(codes::INVALID_TXN_STATE), "amid a transaction");
        known.expire(100);
        assert_eq!(known.iter().count(), 1);
        assert_eq!(known.end((1, 0), 50), Some(0));
        known.expire(49);
        assert_eq!(known.iter().count(), 1);
        known.expire(50);
        assert_eq!(known.iter().count(), 0);
        known.check_invariants();
    }
}
