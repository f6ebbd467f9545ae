//! The end of a partition: what is decided, and where the records end.
//!
//! A transaction ends with a marker, which takes an offset and is shown to no consumer: one that
//! has read all records is not at the partition's end, and only a fetch that finds nothing would
//! tell it so. The headers of the last batches tell at once.

use std::collections::BTreeMap;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};

use super::admin::{Admin, REQUEST_TIMEOUT, Retry, text};
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

const OFFSET_OUT_OF_RANGE: i16 = 1;

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
