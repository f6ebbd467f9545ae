//! The end of a partition: what is decided, and where the records end.
//!
//! A transaction ends with a marker, which takes an offset and is shown to no consumer: one that
//! has read all records is not at the partition's end, and only a fetch that finds nothing would
//! tell it so. The headers of the last batches tell at once.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};

use super::admin::{Admin, REQUEST_TIMEOUT, Retry, UNKNOWN_TOPIC_OR_PARTITION, text};
use super::error::ClientError;

/// So many offsets before the end are looked at.
const LOOK_BACK: i64 = 16;
/// Enough for that many small batches. The first is always sent whole (KIP-74).
const BYTES_MAX: i32 = 16 * 1024;

/// The end of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Everything before it is committed or aborted: the last stable offset.
    pub stable: i64,
    /// One past the last offset before the end that can be a record's; the end itself, if the
    /// batches before it don't tell.
    pub records_end: i64,
}

impl Admin {
    /// Looks at what is before these ends.
    ///
    /// # Errors
    /// If a partition is not there, has no leader for ten seconds, or may not be read.
    pub async fn tails(
        &mut self,
        topic: &str,
        ends: &BTreeMap<i32, i64>,
    ) -> Result<BTreeMap<i32, Tail>, ClientError> {
        let mut retry = Retry::within(REQUEST_TIMEOUT);
        loop {
            let done = self.tails_or_ends(topic, ends).await;
            let what = || format!("reading the ends of topic `{topic}`");
            let done = done.map_err(|error| error.during(what));
            if done.is_err() {
                self.forget_leaders(topic);
            }
            if !retry.after(&done).await {
                return done;
            }
        }
    }

    async fn tails_or_ends(
        &mut self,
        topic: &str,
        ends: &BTreeMap<i32, i64>,
    ) -> Result<BTreeMap<i32, Tail>, ClientError> {
        let mut tails = self.try_tails(topic, ends, LOOK_BACK).await?;
        // What is before these ends is deleted, or so much of it that there is little left.
        let rest = ends.iter().filter(|(index, _)| !tails.contains_key(index));
        let rest: BTreeMap<i32, i64> = rest.map(|(index, end)| (*index, *end)).collect();
        if !rest.is_empty() {
            tails.extend(self.try_tails(topic, &rest, 0).await?);
        }
        Ok(tails)
    }

    /// Returns the offset behind the batch that holds `offset`. The batch's header is read, and its
    /// records are not: they may be unreadable.
    ///
    /// # Errors
    /// If the partition has no leader for ten seconds or may not be read, or the batch is not
    /// there.
    pub async fn batch_end(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<i64, ClientError> {
        let bytes = self.fetch_at(topic, partition, offset).await?;
        let batch = Batch::holding(&bytes, offset).map(|(batch, _)| batch.last_offset + 1);
        batch
            .ok_or_else(|| ClientError::refused(reading(topic, partition, offset), CORRUPT_MESSAGE))
    }

    /// Looks at the batch that holds `offset`, and returns why no client can read it, if so.
    ///
    /// # Errors
    /// If the partition has no leader for ten seconds or may not be read.
    pub async fn batch_damage(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<Option<String>, ClientError> {
        let bytes = self.fetch_at(topic, partition, offset).await?;
        Ok(Batch::holding(&bytes, offset).and_then(|(batch, bytes)| batch.damage(bytes)))
    }

    /// Fetches from `offset`: the batch that holds it is sent whole (KIP-74).
    async fn fetch_at(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<Bytes, ClientError> {
        let mut retry = Retry::within(REQUEST_TIMEOUT);
        loop {
            let done = self.try_fetch_at(topic, partition, offset).await;
            if done.is_err() {
                self.forget_leaders(topic);
            }
            if !retry.after(&done).await {
                return done;
            }
        }
    }

    async fn try_fetch_at(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<Bytes, ClientError> {
        let refused = |code| Err(ClientError::refused(reading(topic, partition, offset), code));
        let leaders = self.leaders(topic, &[partition]).await?;
        let Some(leader) = leaders.into_keys().next() else {
            return refused(UNKNOWN_TOPIC_OR_PARTITION);
        };
        let request = fetch(topic, std::iter::once((partition, offset)));
        let reply = self.call_at(&leader, &request, 11).await?;
        if reply.error_code != 0 {
            return refused(reply.error_code);
        }
        let partitions = reply.responses.into_iter().flat_map(|topic| topic.partitions);
        match partitions.into_iter().next() {
            Some(found) if found.error_code != 0 => refused(found.error_code),
            found => Ok(found.and_then(|found| found.records).unwrap_or_default()),
        }
    }

    /// Those whose log begins later are left out.
    async fn try_tails(
        &mut self,
        topic: &str,
        ends: &BTreeMap<i32, i64>,
        look_back: i64,
    ) -> Result<BTreeMap<i32, Tail>, ClientError> {
        let partitions: Vec<i32> = ends.keys().copied().collect();
        let mut tails = BTreeMap::new();
        for (leader, partitions) in self.leaders(topic, &partitions).await? {
            let of = |p: &i32| (*p, (ends.get(p).copied().unwrap_or(0) - look_back).max(0));
            let request = fetch(topic, partitions.iter().map(of));
            let reply = self.call_at(&leader, &request, 11).await?;
            let what = |index| format!("reading the end of {topic}-{index}");
            if reply.error_code != 0 {
                return Err(ClientError::refused(what(-1), reply.error_code));
            }
            for partition in reply.responses.iter().flat_map(|topic| &topic.partitions) {
                let index = partition.partition_index;
                let end = ends.get(&index).copied().unwrap_or(0);
                match partition.error_code {
                    0 => {}
                    OFFSET_OUT_OF_RANGE => continue,
                    code => return Err(ClientError::refused(what(index), code)),
                }
                let records_end = records_end(partition.records.as_deref().unwrap_or(&[]), end);
                tails.insert(index, Tail { stable: partition.last_stable_offset, records_end });
            }
        }
        Ok(tails)
    }
}

fn reading(topic: &str, partition: i32, offset: i64) -> String {
    format!("reading the batch at {topic}-{partition}@{offset}")
}

const OFFSET_OUT_OF_RANGE: i16 = 1;
const CORRUPT_MESSAGE: i16 = 2;

fn fetch(topic: &str, from: impl Iterator<Item = (i32, i64)>) -> FetchRequest {
    let partition = |(index, offset): (i32, i64)| {
        FetchPartition::default()
            .with_partition(index)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(BYTES_MAX)
    };
    let topic = FetchTopic::default()
        .with_topic(TopicName(text(topic)))
        .with_partitions(from.map(partition).collect());
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_isolation_level(1)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// A batch's header: Kafka's documentation, "Record Batch".
struct Batch {
    base_offset: i64,
    last_offset: i64,
    is_control: bool,
    /// How many bytes it takes.
    size: usize,
}

const ATTRIBUTES_CONTROL: u16 = 1 << 5;
const MAGIC: u8 = 2;
/// The checksum, and the bytes that it is of.
const SUM_AT: usize = 17;
const SUMMED_FROM: usize = 21;

fn read<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl Batch {
    /// `None` if the bytes don't begin with a whole header of this version.
    fn read(bytes: &[u8]) -> Option<Self> {
        let base_offset = i64::from_be_bytes(read(bytes, 0)?);
        let length = i32::from_be_bytes(read(bytes, 8)?);
        let [magic] = read(bytes, 16)?;
        let attributes = u16::from_be_bytes(read(bytes, 21)?);
        let last_offset_delta = i32::from_be_bytes(read(bytes, 23)?);
        (magic == MAGIC).then_some(Self {
            base_offset,
            last_offset: base_offset + i64::from(last_offset_delta),
            is_control: attributes & ATTRIBUTES_CONTROL != 0,
            size: 12 + usize::try_from(length).ok()?,
        })
    }

    /// The batch that holds `offset`, and the bytes from its beginning on.
    fn holding(mut bytes: &[u8], offset: i64) -> Option<(Self, &[u8])> {
        while let Some(batch) = Self::read(bytes) {
            if batch.last_offset >= offset {
                return Some((batch, bytes));
            }
            bytes = bytes.get(batch.size..)?;
        }
        None
    }

    /// Why this batch can't be read; `None` if that does not show.
    fn damage(&self, bytes: &[u8]) -> Option<String> {
        let summed = bytes.get(SUMMED_FROM..self.size)?;
        let written = u32::from_be_bytes(read(bytes, SUM_AT)?);
        let found = crc32c::crc32c(summed);
        (written != found).then(|| {
            format!(
                "CORRUPT_MESSAGE: its checksum is {written:#010x}, and its bytes have {found:#010x}"
            )
        })
    }
}

/// One past the last offset before `end` that can be a record's, by the batches before it.
fn records_end(mut bytes: &[u8], end: i64) -> i64 {
    let (mut last_record, mut first, mut last) = (None, None, -1);
    while let Some(batch) = Batch::read(bytes).filter(|batch| batch.base_offset < end) {
        first.get_or_insert(batch.base_offset);
        last = batch.last_offset;
        if !batch.is_control {
            last_record = Some(batch.last_offset + 1);
        }
        bytes = bytes.get(batch.size..).unwrap_or(&[]);
    }
    // Something before the end was not sent.
    if last < end - 1 {
        return end;
    }
    last_record.or(first).unwrap_or(end).min(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(base_offset: i64, records: i32, attributes: u16) -> Vec<u8> {
        let mut bytes = base_offset.to_be_bytes().to_vec();
        bytes.extend(60_i32.to_be_bytes());
        bytes.extend([0, 0, 0, 0, MAGIC, 0, 0, 0, 0]);
        bytes.extend(attributes.to_be_bytes());
        bytes.extend((records - 1).to_be_bytes());
        bytes.resize(12 + 60, 0);
        bytes
    }

    const MARKER: u16 = 0x30;
    const IN_TRANSACTION: u16 = 0x10;

    #[test]
    fn markers_at_the_end_are_no_records() {
        let log = |batches: &[Vec<u8>]| batches.concat();
        let data = || batch(3, 5, IN_TRANSACTION);
        assert_eq!(records_end(&log(&[data()]), 8), 8);
        assert_eq!(records_end(&log(&[data(), batch(8, 1, MARKER)]), 9), 8);
        let two = [data(), batch(8, 1, MARKER), batch(9, 1, MARKER)];
        assert_eq!(records_end(&log(&two), 10), 8);
        let between = [batch(2, 1, MARKER), batch(3, 1, MARKER), batch(4, 2, 0)];
        assert_eq!(records_end(&log(&between), 6), 6);
        let only = [batch(5, 1, MARKER), batch(6, 1, MARKER)];
        assert_eq!(records_end(&log(&only), 7), 5, "what is before them is not known");
        // Written since the end was asked for.
        let more = [data(), batch(8, 1, MARKER), batch(9, 3, IN_TRANSACTION)];
        assert_eq!(records_end(&log(&more), 9), 8);
        assert_eq!(records_end(&log(&more), 10), 10, "a batch that began before it");
    }

    #[test]
    fn the_end_of_a_batch_is_in_its_header() {
        let log = [batch(3, 5, 0), batch(8, 1, MARKER), batch(12, 3, 0)].concat();
        let end = |offset| Batch::holding(&log, offset).map(|(batch, _)| batch.last_offset + 1);
        let ends = [0, 3, 7, 8, 9, 12, 14].map(end);
        assert_eq!(ends, [8, 8, 8, 9, 15, 15, 15].map(Some));
        assert_eq!(end(15), None);
        assert!(Batch::holding(&log[..20], 3).is_none());
    }

    #[test]
    fn s3_a_checksum_that_is_wrong_is_damage() {
        let mut log = [batch(3, 5, 0), batch(8, 1, 0)].concat();
        let sum = crc32c::crc32c(&log[72 + SUMMED_FROM..]);
        log[72 + SUM_AT..72 + SUMMED_FROM].copy_from_slice(&sum.to_be_bytes());
        let damage = |log: &[u8], offset| {
            let (batch, bytes) = Batch::holding(log, offset).expect("it is there");
            batch.damage(bytes)
        };
        assert_eq!(damage(&log, 8), None);
        assert!(damage(&log, 4).expect("no sum").starts_with("CORRUPT_MESSAGE"));
        *log.last_mut().expect("a byte") ^= 1;
        assert!(damage(&log, 8).is_some());
        // Half of a batch tells nothing.
        assert_eq!(damage(&log[..log.len() - 1], 8), None);
    }

    #[test]
    fn what_is_not_all_there_tells_nothing() {
        let whole = [batch(3, 5, IN_TRANSACTION), batch(8, 1, MARKER)].concat();
        for length in 0..whole.len() {
            let found = records_end(&whole[..length], 9);
            assert!(found == 9 || (found == 8 && length > 72 + 26), "{length}: {found}");
        }
        assert_eq!(records_end(&batch(3, 5, 0), 20), 20);
        let mut old = batch(3, 5, 0);
        old[16] = 1;
        assert_eq!(records_end(&old, 8), 8);
        let mut negative = batch(3, 5, 0);
        negative[8..12].copy_from_slice(&(-1_i32).to_be_bytes());
        assert_eq!(records_end(&negative, 8), 8);
    }
}
