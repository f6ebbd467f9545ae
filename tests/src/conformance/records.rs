//! Record batches, written by hand so that they can be wrong, and read by hand so that nothing is
//! skipped.

use std::sync::LazyLock;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::ctx::Producer;

const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
const HEADER_BYTES: usize = 61;

/// A record: key and value; `None` is null.
pub(super) type Row = (Option<String>, Option<String>);

/// A batch to send.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) rows: Vec<Row>,
    /// The first record's time; each next one is a millisecond later.
    pub(super) time: i64,
    pub(super) transactional_id: Option<String>,
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) sequence: i32,
    pub(super) attributes: i16,
    pub(super) magic: i8,
    pub(super) base_offset: i64,
    pub(super) leader_epoch: i32,
    /// Instead of the number of records less one.
    pub(super) last_offset_delta: Option<i32>,
    /// Instead of the number of records.
    pub(super) count: Option<i32>,
}

/// The time of records that don't say: an hour ago, so that no broker finds them too old.
pub(super) fn t0() -> i64 {
    static T0: LazyLock<i64> = LazyLock::new(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX) - 3_600_000
    });
    *T0
}

impl Batch {
    pub(super) fn of<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let row = |value: &str| (None, Some(value.to_owned()));
        Self::rows(values.into_iter().map(row).collect())
    }

    pub(super) fn keyed<'a>(rows: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let row = |(key, value): (&str, &str)| {
            (Some(key.to_owned()), (value != "-").then(|| value.to_owned()))
        };
        Self::rows(rows.into_iter().map(row).collect())
    }

    pub(super) fn rows(rows: Vec<Row>) -> Self {
        Self {
            rows,
            time: t0(),
            transactional_id: None,
            producer_id: -1,
            epoch: -1,
            sequence: -1,
            attributes: 0,
            magic: 2,
            base_offset: 0,
            leader_epoch: -1,
            last_offset_delta: None,
            count: None,
        }
    }

    /// Idempotent, and transactional if the producer is.
    pub(super) fn by(mut self, producer: &Producer, sequence: i32) -> Self {
        self.transactional_id.clone_from(&producer.transactional_id);
        (self.producer_id, self.epoch) = (producer.id, producer.epoch);
        self.sequence = sequence;
        if producer.transactional_id.is_some() {
            self.attributes |= TRANSACTIONAL;
        }
        self
    }

    pub(super) const fn at(mut self, time: i64) -> Self {
        self.time = time;
        self
    }

    pub(super) const fn with(mut self, attributes: i16) -> Self {
        self.attributes |= attributes;
        self
    }

    pub(super) fn bytes(&self) -> Bytes {
        let mut records = BytesMut::new();
        for (delta, (key, value)) in (0_i64..).zip(&self.rows) {
            let mut record = BytesMut::new();
            record.put_u8(0);
            put_varint(&mut record, delta);
            put_varint(&mut record, delta);
            put_text(&mut record, key.as_deref());
            put_text(&mut record, value.as_deref());
            put_varint(&mut record, 0);
            put_varint(&mut records, record.len() as i64);
            records.extend_from_slice(&record);
        }
        let count = i32::try_from(self.rows.len()).unwrap_or(i32::MAX);
        let mut body = BytesMut::new();
        body.put_i16(self.attributes);
        body.put_i32(self.last_offset_delta.unwrap_or(count - 1));
        body.put_i64(self.time);
        body.put_i64(self.time + i64::from(count - 1).max(0));
        body.put_i64(self.producer_id);
        body.put_i16(self.epoch);
        body.put_i32(self.sequence);
        body.put_i32(self.count.unwrap_or(count));
        body.extend_from_slice(&records);
        let mut batch = BytesMut::new();
        batch.put_i64(self.base_offset);
        batch.put_i32(i32::try_from(body.len() + 9).unwrap_or(i32::MAX));
        batch.put_i32(self.leader_epoch);
        batch.put_i8(self.magic);
        batch.put_u32(crc32c::crc32c(&body));
        batch.extend_from_slice(&body);
        batch.freeze()
    }
}

fn put_varint(buffer: &mut BytesMut, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while left >= 0x80 {
        buffer.put_u8((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    buffer.put_u8(left as u8);
}

fn put_text(buffer: &mut BytesMut, text: Option<&str>) {
    match text {
        None => put_varint(buffer, -1),
        Some(text) => {
            put_varint(buffer, text.len() as i64);
            buffer.extend_from_slice(text.as_bytes());
        }
    }
}

/// A batch as it was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) base: i64,
    pub(super) last: i64,
    pub(super) leader_epoch: i32,
    pub(super) max_time: i64,
    pub(super) attributes: i16,
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) sequence: i32,
    pub(super) records: Vec<FetchedRecord>,
}

/// A record as it was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FetchedRecord {
    pub(super) offset: i64,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
}

impl Fetched {
    pub(super) const fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub(super) const fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }
}

/// Reads whole batches; what is left at the end is cut off, as clients do it.
pub(super) fn read(mut bytes: Bytes) -> Result<Vec<Fetched>> {
    let mut batches = Vec::new();
    while bytes.len() >= HEADER_BYTES {
        let length = (&bytes[8..12]).get_i32();
        let length = usize::try_from(length).context("a negative length")? + 12;
        if length > bytes.len() {
            break;
        }
        batches.push(read_batch(bytes.split_to(length))?);
    }
    Ok(batches)
}

fn read_batch(mut batch: Bytes) -> Result<Fetched> {
    let base = batch.get_i64();
    batch.get_i32();
    let leader_epoch = batch.get_i32();
    ensure!(batch.get_i8() == 2, "a batch of another format");
    ensure!(batch.get_u32() == crc32c::crc32c(&batch), "a wrong checksum");
    let attributes = batch.get_i16();
    let last = base + i64::from(batch.get_i32());
    batch.get_i64();
    let max_time = batch.get_i64();
    let (producer_id, epoch, sequence) = (batch.get_i64(), batch.get_i16(), batch.get_i32());
    let count = batch.get_i32();
    let mut records = Vec::new();
    // Compressed ones are only counted.
    if attributes & 7 == 0 {
        for _ in 0..count {
            records.push(read_record(&mut batch, base)?);
        }
        ensure!(batch.is_empty(), "{} bytes behind the records", batch.len());
    }
    Ok(Fetched {
        base,
        last,
        leader_epoch,
        max_time,
        attributes,
        producer_id,
        epoch,
        sequence,
        records,
    })
}

fn read_record(batch: &mut Bytes, base: i64) -> Result<FetchedRecord> {
    let length = usize::try_from(get_varint(batch)?)?;
    ensure!(length <= batch.len(), "a record longer than its batch");
    let mut record = batch.split_to(length);
    record.get_u8();
    get_varint(&mut record)?;
    let offset = base + get_varint(&mut record)?;
    let key = get_bytes(&mut record)?;
    let value = get_bytes(&mut record)?;
    Ok(FetchedRecord { offset, key, value })
}

fn get_varint(bytes: &mut Bytes) -> Result<i64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        ensure!(bytes.has_remaining() && shift < 64, "a varint without an end");
        let byte = bytes.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
}

fn get_bytes(bytes: &mut Bytes) -> Result<Option<Bytes>> {
    match get_varint(bytes)? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length)?;
            ensure!(length <= bytes.len(), "a text longer than its record");
            Ok(Some(bytes.split_to(length)))
        }
    }
}
