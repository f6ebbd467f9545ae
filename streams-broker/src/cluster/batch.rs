//! Record batches (format 2): what the broker reads of them, and the control batches it writes.
//!
//! A batch is kept as the client sent it. Only its base offset and its leader epoch are set, which
//! lie outside the checksum; and where the topic wants the broker's time, the timestamp and its
//! kind, with a new checksum.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::codes;
use super::compress::Codec;
use super::fault::FaultKind;
use super::records::Records;

/// The bytes before the records.
const HEADER_BYTES: usize = 61;
/// The bytes of the smallest batch of the oldest format.
const OLDEST_HEADER_BYTES: usize = LOG_OVERHEAD + 14;
/// Base offset and length: what the length does not count.
const LENGTH_AT: usize = 8;
const LOG_OVERHEAD: usize = 12;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;
const COUNT_AT: usize = 57;
const ATTRIBUTE_CODEC: i16 = 0x07;
const ATTRIBUTE_LOG_APPEND_TIME: i16 = 0x08;
const ATTRIBUTE_TRANSACTIONAL: i16 = 0x10;
const ATTRIBUTE_CONTROL: i16 = 0x20;

/// What the broker reads of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// How many offsets it takes.
    pub(crate) offsets: i64,
    /// What the records' timestamps count from.
    pub(crate) base_timestamp: i64,
    /// The latest timestamp in it, in milliseconds.
    pub(crate) max_timestamp: i64,
    /// -1 without idempotence.
    pub(crate) producer_id: i64,
    /// The producer's epoch.
    pub(crate) producer_epoch: i16,
    /// The sequence number of the first record.
    pub(crate) base_sequence: i32,
    /// How many records it has.
    pub(crate) count: usize,
    /// Codec, kind of timestamp, and what follows.
    pub(crate) attributes: i16,
}

impl BatchHeader {
    /// Whether it belongs to a transaction.
    pub(crate) const fn is_transactional(&self) -> bool {
        self.attributes & ATTRIBUTE_TRANSACTIONAL != 0
    }

    /// Whether it is a marker.
    pub(crate) const fn is_control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }

    /// Whether its timestamp is the broker's, and that of all its records.
    pub(crate) const fn is_log_append_time(&self) -> bool {
        self.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0
    }

    /// The codec, if it is one.
    pub(crate) const fn codec(&self) -> Option<Codec> {
        Codec::of(self.attributes)
    }

    /// The sequence number of the last record; sequence numbers go on with 0 after the greatest.
    pub(crate) fn last_sequence(&self) -> i32 {
        let more = i32::try_from(self.offsets - 1).unwrap_or(i32::MAX);
        let (last, over) = self.base_sequence.overflowing_add(more);
        if over { last & i32::MAX } else { last }
    }

    #[cfg(test)]
    pub(crate) const fn of_producer(producer_id: i64, transactional: bool) -> Self {
        Self {
            offsets: 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id,
            producer_epoch: 0,
            base_sequence: 0,
            count: 1,
            attributes: if transactional { ATTRIBUTE_TRANSACTIONAL } else { 0 },
        }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn int32(bytes: &[u8], at: usize) -> Option<i32> {
    array(bytes, at).map(i32::from_be_bytes)
}

fn int64(bytes: &[u8], at: usize) -> Option<i64> {
    array(bytes, at).map(i64::from_be_bytes)
}

fn int16(bytes: &[u8], at: usize) -> Option<i16> {
    array(bytes, at).map(i16::from_be_bytes)
}

/// Whether a record set begins with a control batch.
pub(crate) fn is_control(records: &[u8]) -> bool {
    int16(records, ATTRIBUTES_AT).unwrap_or_default() & ATTRIBUTE_CONTROL != 0
}

/// Whether a record set begins with a transactional batch.
pub(crate) fn is_transactional(records: &[u8]) -> bool {
    let attributes = int16(records, ATTRIBUTES_AT).unwrap_or_default();
    records.get(MAGIC_AT) == Some(&2) && attributes & ATTRIBUTE_TRANSACTIONAL != 0
}

/// The header of the one batch of a produced record set, which is checked but for its records.
///
/// # Errors
/// Kafka's error code. `INVALID_RECORD`: there is none, or more than one, or one of an older format
/// than 2, or its header contradicts itself. `CORRUPT_MESSAGE`: a length or the checksum is wrong.
/// `UNKNOWN_SERVER_ERROR`: there is no such codec.
pub(crate) fn single(records: &[u8]) -> Result<BatchHeader, i16> {
    let Some((length, magic)) = int32(records, LENGTH_AT).zip(records.get(MAGIC_AT)) else {
        return Err(codes::INVALID_RECORD);
    };
    let length = usize::try_from(length).map_err(|_| codes::CORRUPT_MESSAGE)?;
    let length = length.saturating_add(LOG_OVERHEAD);
    if length < OLDEST_HEADER_BYTES || *magic > 2 {
        return Err(codes::CORRUPT_MESSAGE);
    }
    // A batch that is cut off is none; and formats 0 and 1 are no longer written.
    if length != records.len() || *magic < 2 {
        return Err(codes::INVALID_RECORD);
    }
    if length < HEADER_BYTES {
        return Err(codes::CORRUPT_MESSAGE);
    }
    let crc = array(records, CRC_AT).map(u32::from_be_bytes);
    if crc != records.get(ATTRIBUTES_AT..).map(crc32c::crc32c) {
        return Err(codes::CORRUPT_MESSAGE);
    }
    let header = header(records).ok_or(codes::INVALID_RECORD)?;
    let counted = i64::try_from(header.count).is_ok_and(|count| count == header.offsets);
    let fits = header.offsets >= 1 && counted && int64(records, 0) == Some(0);
    let sequenced = header.producer_id < 0 || header.base_sequence >= 0;
    if !fits || !sequenced || header.is_control() {
        return Err(codes::INVALID_RECORD);
    }
    match header.codec() {
        Some(_) => Ok(header),
        // Kafka stumbles over it.
        None => Err(codes::UNKNOWN_SERVER_ERROR),
    }
}

/// The header of a batch.
pub(crate) fn header(batch: &[u8]) -> Option<BatchHeader> {
    Some(BatchHeader {
        offsets: i64::from(int32(batch, LAST_OFFSET_DELTA_AT)?) + 1,
        base_timestamp: int64(batch, BASE_TIMESTAMP_AT)?,
        max_timestamp: int64(batch, MAX_TIMESTAMP_AT)?,
        producer_id: int64(batch, PRODUCER_ID_AT)?,
        producer_epoch: int16(batch, PRODUCER_EPOCH_AT)?,
        base_sequence: int32(batch, BASE_SEQUENCE_AT)?,
        count: usize::try_from(int32(batch, COUNT_AT)?).ok()?,
        attributes: int16(batch, ATTRIBUTES_AT)?,
    })
}

/// The records of a batch, no longer compressed; `None` if they can't be expanded.
pub(crate) fn expand<'a>(header: &BatchHeader, batch: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    header.codec()?.expand(batch.get(HEADER_BYTES..)?)
}

/// The records in what [`expand`] gave.
pub(crate) fn records<'a>(header: &BatchHeader, expanded: &'a [u8]) -> Records<'a> {
    Records::new(expanded, header.count)
}

/// The batch with its place in the log, and with the broker's time if that counts.
pub(crate) fn place(batch: &[u8], base_offset: i64, append_time: Option<i64>) -> Bytes {
    let mut placed = BytesMut::from(batch);
    placed[..LENGTH_AT].copy_from_slice(&base_offset.to_be_bytes());
    placed[LEADER_EPOCH_AT..MAGIC_AT].copy_from_slice(&0_i32.to_be_bytes());
    if let Some(now) = append_time {
        let attributes = int16(batch, ATTRIBUTES_AT).unwrap_or_default();
        let attributes = attributes | ATTRIBUTE_LOG_APPEND_TIME;
        placed[ATTRIBUTES_AT..LAST_OFFSET_DELTA_AT].copy_from_slice(&attributes.to_be_bytes());
        placed[MAX_TIMESTAMP_AT..PRODUCER_ID_AT].copy_from_slice(&now.to_be_bytes());
        seal(&mut placed);
    }
    placed.freeze()
}

/// The bits of a batch's attributes that name a codec which does not exist.
const NO_CODEC: u8 = 7;

/// The batch as a fault leaves it.
pub(crate) fn damage(batch: &[u8], fault: FaultKind) -> Bytes {
    let mut damaged = BytesMut::from(batch);
    match fault {
        FaultKind::UnknownCodec => {
            damaged[ATTRIBUTES_AT + 1] |= NO_CODEC;
            seal(&mut damaged);
        }
        // The length of the first record.
        _ => damaged[HEADER_BYTES] ^= 0xff,
    }
    damaged.freeze()
}

/// The batch with some of its records only, in the same place. They are no longer compressed.
pub(crate) fn retain(batch: &[u8], kept: &[u8], count: usize, max_timestamp: i64) -> Bytes {
    let mut retained = BytesMut::with_capacity(HEADER_BYTES + kept.len());
    retained.put_slice(&batch[..HEADER_BYTES]);
    retained.put_slice(kept);
    let length = u32::try_from(retained.len() - LOG_OVERHEAD).unwrap_or(u32::MAX);
    retained[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    let attributes = int16(batch, ATTRIBUTES_AT).unwrap_or_default() & !ATTRIBUTE_CODEC;
    retained[ATTRIBUTES_AT..LAST_OFFSET_DELTA_AT].copy_from_slice(&attributes.to_be_bytes());
    retained[MAX_TIMESTAMP_AT..PRODUCER_ID_AT].copy_from_slice(&max_timestamp.to_be_bytes());
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    retained[COUNT_AT..HEADER_BYTES].copy_from_slice(&count.to_be_bytes());
    seal(&mut retained);
    retained.freeze()
}

fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
}

/// The marker that ends a producer's transaction in a partition.
pub(crate) fn marker(base_offset: i64, producer: (i64, i16), commit: bool, now: i64) -> Bytes {
    let mut record = BytesMut::new();
    // Attributes, timestamp delta, offset delta; the key's length and key: version, type; the
    // value's length and value: version, coordinator epoch; no headers. Lengths are zigzag varints.
    record.put_slice(&[0, 0, 0, 8, 0, 0, 0, u8::from(commit), 12, 0, 0, 0, 0, 0, 0, 0]);
    let mut batch = BytesMut::with_capacity(HEADER_BYTES + 17);
    batch.put_i64(base_offset);
    batch.put_i32(66); // from the leader epoch to the end
    batch.put_i32(0);
    batch.put_i8(2);
    batch.put_u32(0);
    batch.put_i16(ATTRIBUTE_TRANSACTIONAL | ATTRIBUTE_CONTROL);
    batch.put_i32(0);
    batch.put_i64(now);
    batch.put_i64(now);
    batch.put_i64(producer.0);
    batch.put_i16(producer.1);
    batch.put_i32(-1);
    batch.put_i32(1);
    batch.put_u8(32); // the record's length, 16, as a zigzag varint
    batch.put_slice(&record);
    seal(&mut batch);
    batch.freeze()
}

#[cfg(test)]
mod tests {
    use kafka_protocol::records::RecordBatchDecoder;

    use super::*;

    #[test]
    fn a_marker_is_a_control_batch_that_others_can_read() {
        let marker = marker(7, (9, 3), true, 1_000);
        let mut bytes = marker.clone();
        let set = RecordBatchDecoder::decode(&mut bytes).unwrap();
        let record = &set.records[0];
        assert!(record.control && record.transactional);
        assert_eq!((record.offset, record.producer_id, record.producer_epoch), (7, 9, 3));
        assert_eq!(record.key.as_deref(), Some(&[0, 0, 0, 1][..]));
        let header = header(&marker).unwrap();
        assert!(header.is_control());
        let expanded = expand(&header, &marker).unwrap();
        assert!(records(&header, &expanded).all(|record| record.is_ok()));
    }

    #[test]
    fn garbage_is_refused() {
        assert_eq!(single(b"xyz"), Err(codes::INVALID_RECORD));
        assert_eq!(single(&[]), Err(codes::INVALID_RECORD));
        assert_eq!(single(&[0xff; 80]), Err(codes::CORRUPT_MESSAGE));
        let mut bytes = BytesMut::from(&marker(0, (1, 0), true, 0)[..]);
        assert_eq!(single(&bytes), Err(codes::INVALID_RECORD), "clients send no control batches");
        bytes[70] ^= 1;
        assert_eq!(single(&bytes), Err(codes::CORRUPT_MESSAGE));
        bytes[MAGIC_AT] = 1;
        assert_eq!(single(&bytes), Err(codes::INVALID_RECORD), "an older format");
        bytes.truncate(75);
        assert_eq!(single(&bytes), Err(codes::INVALID_RECORD), "cut off");
    }
}
